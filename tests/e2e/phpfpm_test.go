package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// visitor is the address of the client outside.
const visitor = "198.51.100.2"

// customer is whose files the site of docs/php-fpm.md has: the user that its spec names.
const customer = 2001

// shopPage is what that site has had all along.
const shopPage = `<?php
if (isset($_GET['session'])) { session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; }
file_put_contents(dirname(__DIR__) . '/visits', "x", FILE_APPEND);
echo json_encode(['path' => $_SERVER['REQUEST_URI'], 'from' => $_SERVER['REMOTE_ADDR'],
	'visits' => filesize(dirname(__DIR__) . '/visits'), 'session' => $_SESSION['n'] ?? 0]);
`

// page is a page of the documentation: files, by their paths, which their first lines name in a comment, and commands.
type page struct {
	files    map[string]string
	commands []string
}

var (
	block = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	where = regexp.MustCompile(`(?m)\A(?:#!.*\n)?[#;] (/.*)$`)
	typed = regexp.MustCompile(`(?m)^    (\S.*)$`)
)

// walked reads a page with other paths in it. A block that names no file fails the test.
func walked(t *testing.T, name string, fill func(string) string) page {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	p := page{files: map[string]string{}}
	for _, b := range block.FindAllStringSubmatch(string(raw), -1) {
		at := where.FindStringSubmatch(b[1])
		if at == nil {
			t.Fatalf("%s has a block without a path:\n%s", name, b[1])
		}
		p.files[at[1]] = fill(b[1])
	}
	for _, c := range typed.FindAllStringSubmatch(block.ReplaceAllString(string(raw), ""), -1) {
		p.commands = append(p.commands, fill(c[1]))
	}
	return p
}

// next takes the page's next command, which is to begin so.
func (p *page) next(t *testing.T, begin string) []string {
	t.Helper()
	if len(p.commands) == 0 || !strings.HasPrefix(p.commands[0], begin) {
		t.Fatalf("the page goes on with %q, not with %s", p.commands, begin)
	}
	c := p.commands[0]
	p.commands = p.commands[1:]
	return strings.Fields(c)
}

// TestRootFromPHPFPM walks through docs/php-fpm.md: a site of nginx and a pool of PHP-FPM becomes one that sleeps, behind the same
// nginx, with its files where they are, and nobody who visits it in between is turned away.
func TestRootFromPHPFPM(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	root := apps.Root(t, "fpm")
	old := n.phpVersion(root)
	fill := replacer(map[string]string{
		"/srv/images/php": n.path("php"), "/srv/sites/shop": n.path("shop"), "/etc/fcnode/sites": n.path("sites"),
		"/etc/nginx/sites-enabled/": n.path("enabled") + "/", "/etc/nginx/conf.d/fcnode.conf": n.path("conf.d/fcnode.conf"), "/run/php/shop.sock": n.path("shop.sock"),
		"192.0.2.10": shared, "8.2": old, "= shop\n": fmt.Sprintf("= %d\n", customer),
		"*/15 * * * *": "0 0 1 1 *", // it is not to wake the site in between
	})
	doc := walked(t, "php-fpm.md", fill)
	if got := doc.next(t, "mmdebstrap"); !slices.Contains(got, n.path("php")) {
		t.Fatalf("the image is made by %q", got)
	}
	n.copyRoot(root, "php")
	n.shopFiles()
	for path, text := range doc.files {
		n.writeAt(fill(path), text)
	}
	if err := os.Chmod(doc.next(t, "chmod")[2], 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}

	conf := n.write("fpm.conf", fmt.Sprintf("[global]\nerror_log = %s\n", n.path("fpm.err"))+doc.files["/etc/php/8.2/fpm/pool.d/shop.conf"])
	pool := unpacked(t, root, "usr/sbin/php-fpm"+old, "--nodaemonize", "-n", "--fpm-config", conf)
	stopPool := n.background(pool, 0)
	testutil.WaitFor(t, patience, "the old pool to listen", func() error {
		_, err := os.Stat(n.path("shop.sock"))
		return err
	})
	stopFront := n.phpFront(t)
	n.listening(80)
	before := n.shop(t, "/some/page")
	if before.From != visitor || before.Visits != 1 {
		t.Errorf("before, its page says %+v", before)
	}

	out := n.cli(doc.next(t, "fcnode apply")[1:]...)
	says(t, "apply", out, "shop")
	s := n.find("shop")
	if a, err := n.local.get(s.addr4(80), "/tried"); err != nil || !strings.Contains(a.body, `"visits":2`) {
		t.Fatalf("by its address: %+v, %v; %q\n%s", a, err, s.story(0), n.cli("logs", "shop"))
	}
	remove := doc.next(t, "rm")
	if err := os.Remove(remove[1]); err != nil {
		t.Fatal(err)
	}
	routes := doc.next(t, "fcnode routes")
	if err := os.MkdirAll(n.path("conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	workers := n.nginxWorkers(t)
	n.cli(append(routes[1:slices.Index(routes, "--hook")], "--hook", "kill -HUP $(cat "+n.path("nginx.pid")+")")...)
	if len(doc.commands) > 0 {
		t.Errorf("the page goes on with %q, which nobody tries", doc.commands)
	}
	testutil.WaitFor(t, patience, "nginx to have read its configuration", func() error { // the old one serves on for a moment
		for _, pid := range workers {
			if _, err := os.Stat("/proc/" + pid); err == nil {
				return fmt.Errorf("worker %s is there", pid)
			}
		}
		return nil
	})
	stopPool()
	if status, body, err := n.outside.visit(nil, "http://shop.example.com/static.txt"); err != nil || status != http.StatusOK || body != "still here\n" {
		t.Errorf("a file of the site: %d %q, %v", status, body, err)
	}
	after := n.shop(t, "/some/page?session")
	if after.From != visitor || after.Path != "/some/page?session" || after.Visits != 3 {
		t.Errorf("after, its page says %+v", after)
	}
	sessions, err := filepath.Glob(n.path("shop/sessions/sess_*"))
	if err != nil || len(sessions) != 1 {
		t.Fatalf("the sessions are %q, %v", sessions, err)
	}
	for _, path := range append(sessions, n.path("shop/visits")) {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil || st.Uid != customer {
			t.Errorf("%s belongs to %d, %v", path, st.Uid, err)
		}
	}
	if out := n.cli("logs", "shop"); !strings.Contains(out, "GET /some/page?session") {
		t.Errorf("its log is\n%s", out)
	}
	for _, tier := range []api.Tier{api.TierFrozen, api.TierPrepared, api.TierCheckpointed} {
		t.Run(string(tier), func(t *testing.T) { n.in(t).shopSleeps(t, doc, tier) })
	}
	n.copyRoot(n.path("php"), "php-2")
	if out := n.cli("deploy", "shop", "--image", "dir:"+n.path("php-2")); !strings.Contains(out, "shop  circulated") && !strings.Contains(out, "shop  updated") {
		t.Errorf("deploy says %q", out) // it is updated where it sleeps by now
	}
	n.shop(t, "/")
	if v := s.get(); v.Spec.Image != "dir:"+n.path("php-2") {
		t.Errorf("it runs from %s", v.Spec.Image)
	}
	stopFront()
}

// copyRoot makes a folder that is an image.
func (n *node) copyRoot(from, name string) {
	n.t.Helper()
	if out, err := exec.Command("cp", "-a", from, n.path(name)).CombinedOutput(); err != nil {
		n.t.Fatalf("copying an image: %v: %s", err, out)
	}
}

// shopSleeps lets the site sleep in a tier, and visits it.
func (n *node) shopSleeps(t *testing.T, doc page, tier api.Tier) {
	if tier == api.TierCheckpointed {
		needCRIU(t)
	}
	file := n.path("sites/shop.yaml")
	n.writeAt(file, doc.files["/etc/fcnode/sites/shop.yaml"]+fmt.Sprintf("idle: 1s\ntiers: [%s]\ncheckpoint: {warm: 1}\n", tier))
	s, mark := n.find("shop"), n.mark()
	n.cli("apply", "-f", file)
	s.await(mark, "draining") // the next visitor is the new replica's
	before := n.shop(t, "/")
	for range 2 {
		s.await(mark, string(tier))
		s.awaitTier(tier)
		mark = n.mark()
		now := n.shop(t, "/?session")
		if now.Visits != before.Visits+1 {
			t.Errorf("its page said %+v before, and %+v now", before, now)
		}
		before = now
		if tr := storyOf(t, s.await(mark, "woken")); tr.From != tier {
			t.Errorf("it woke from %s: %q", tr.From, s.story(0))
		}
	}
}

// shopSays is what the page says.
type shopSays struct {
	Path    string
	From    string
	Visits  int
	Session int
}

// shop visits it by its name.
func (n *node) shop(t *testing.T, path string) (says shopSays) {
	t.Helper()
	status, body, err := n.outside.visit(nil, "http://shop.example.com"+path)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal([]byte(body), &says)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d, %v:\n%s\n%s", path, status, err, body, n.cli("logs", "shop"))
	}
	return says
}

// shopFiles are those of the customer, who owns them alone.
func (n *node) shopFiles() {
	n.t.Helper()
	n.write("shop/public/index.php", shopPage)
	n.write("shop/public/static.txt", "still here\n")
	if err := os.Mkdir(n.path("shop/sessions"), 0o700); err != nil {
		n.t.Fatal(err)
	}
	for _, path := range []string{"shop", "shop/sessions", "shop/public", "shop/public/index.php", "shop/public/static.txt"} {
		if err := os.Chown(n.path(path), customer, customer); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, dir := range []string{n.dir, filepath.Dir(n.dir)} { // the old pool reaches it as in /srv
		if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as above
			n.t.Fatal(err)
		}
	}
}

// phpVersion is that of the packages in a root folder, as 8.2.
func (n *node) phpVersion(root string) string {
	n.t.Helper()
	programs, err := filepath.Glob(filepath.Join(root, "usr/sbin/php-fpm[0-9]*"))
	if err != nil || len(programs) != 1 {
		n.t.Fatalf("php-fpm of %s: %v, %v", root, programs, err)
	}
	return strings.TrimPrefix(filepath.Base(programs[0]), "php-fpm")
}

// phpFront starts the nginx of the machine, with what lies in its folders.
func (n *node) phpFront(t *testing.T) (stop func()) {
	t.Helper()
	root := apps.Root(t, "fpm")
	for _, name := range []string{"fastcgi.conf", "mime.types"} {
		text, err := os.ReadFile(filepath.Join(root, "etc/nginx", name))
		if err != nil {
			t.Fatal(err)
		}
		n.write(name, string(text))
	}
	fill := replacer(map[string]string{"DIR": n.dir})
	n.write("around", fill(frontEnds[0].around[:strings.Index(frontEnds[0].around, "include FILE")]+"include mime.types; include DIR/enabled/*.conf; include DIR/conf.d/*.conf;\n}"))
	return n.background(unpacked(t, root, frontEnds[0].program, "-p", n.dir, "-e", n.path("nginx.err"), "-c", n.path("around")), 0)
}

// nginxWorkers are the processes of the machine's nginx that serve.
func (n *node) nginxWorkers(t *testing.T) []string {
	t.Helper()
	pid, err := os.ReadFile(n.path("nginx.pid"))
	if err != nil {
		t.Fatal(err)
	}
	master := strings.TrimSpace(string(pid))
	children, err := os.ReadFile("/proc/" + master + "/task/" + master + "/children")
	if err != nil || len(children) == 0 {
		t.Fatalf("the workers of nginx: %q, %v", children, err)
	}
	return strings.Fields(string(children))
}

// writeAt writes a file at an absolute path below the node's folder; others are the machine's, which stay as they are.
func (n *node) writeAt(path, text string) {
	n.t.Helper()
	if name, ours := strings.CutPrefix(path, n.dir+"/"); ours {
		n.write(name, text)
	}
}
