package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// spoken is a protocol with a server of Debian's packages as a site, and a client of theirs as its visitor.
type spoken struct {
	name string
	root string // of both programs: see tests/apps/build.sh; "": of testdata/talk, which is both
	// spec has the lines of the site's spec; DATA is a folder that it may write to.
	spec string
	port uint16
	udp  bool
	data string // a folder of root that DATA begins as; "": an empty one
	user int    // whose DATA is
	// files are written into DATA.
	files map[string]string
	// note has the client leave a text with the server, and notes has it read all of them.
	note  func(c *talk, text string)
	notes func(c *talk) string
}

// talk is one run after the other of clients in the visitor's network namespace.
type talk struct {
	t    *testing.T
	n    *node
	root string
	data string // the site's folder
	to   netip.AddrPort
}

var protocols = []spoken{
	{
		name: "mariadb", root: "mariadb", port: 3306, data: "/var/lib/mysql", user: 65534, // its server speaks first
		spec: `command: [/usr/sbin/mariadbd, --no-defaults, --user=nobody, --datadir=/var/lib/mysql, --socket=/tmp/mariadb.sock, --pid-file=/tmp/mariadb.pid,
  --init-file=/srv/init.sql, --skip-name-resolve, --innodb-log-file-size=4M, --innodb-buffer-pool-size=32M]
volumes: [{source: DATA, target: /var/lib/mysql}]`,
		note: func(c *talk, text string) {
			c.mysql("CREATE TABLE IF NOT EXISTS notes (n INT AUTO_INCREMENT PRIMARY KEY, text TEXT); INSERT INTO notes (text) VALUES ('" + text + "')")
		},
		notes: func(c *talk) string { return c.mysql("SELECT text FROM notes ORDER BY n") },
	},
	{
		name: "postgresql", root: "postgres", port: 5432, data: "/var/lib/postgresql/data", user: 106,
		spec: `command: [/usr/bin/postgres, -D, /var/lib/postgresql/data, -c, "listen_addresses=*", -c, unix_socket_directories=, -c, jit=off]
user: postgres
ready: {exec: [/usr/bin/pg_isready, --host=127.0.0.1, --quiet]} # it listens before it has recovered, and refuses visitors until then
volumes: [{source: DATA, target: /var/lib/postgresql/data}]`,
		note: func(c *talk, text string) {
			c.psql("CREATE TABLE IF NOT EXISTS notes (n SERIAL, text TEXT); INSERT INTO notes (text) VALUES ('" + text + "')")
		},
		notes: func(c *talk) string { return c.psql("SELECT text FROM notes ORDER BY n") },
	},
	{
		name: "redis", root: "redis", port: 6379,
		spec: `command: [/usr/bin/redis-server, --dir, /data, --appendonly, "yes", --protected-mode, "no"]
ready: {exec: [/usr/bin/redis-cli, -e, ping]} # as PostgreSQL
volumes: [{source: DATA, target: /data}]`,
		note:  func(c *talk, text string) { c.redis("RPUSH", "notes", text) },
		notes: func(c *talk) string { return c.redis("LRANGE", "notes", "0", "-1") },
	},
	{
		name: "ssh", root: "ssh", port: 22,
		spec: `command: [/usr/sbin/sshd, -D, -e]
volumes: [{source: DATA, target: /data}]`,
		note:  func(c *talk, text string) { c.ssh("echo " + text + " >>/data/notes") },
		notes: func(c *talk) string { return c.ssh("while read -r line; do echo $line; done </data/notes") },
	},
	{
		name: "smtp", root: "exim", port: 25, user: 101,
		spec: `command: [/usr/sbin/exim4, -bdf, -q1m]
volumes: [{source: DATA, target: /data}]`,
		note: func(c *talk, text string) {
			c.run("Subject: "+text+"\r\n\r\n"+text+"\r\n", "/usr/bin/curl", "--silent", "--show-error", "--mail-from", "visitor@example.org",
				"--mail-rcpt", "notes@example.com", "--upload-file", "-", "smtp://"+c.to.String())
		},
		notes: (*talk).mail,
	},
	{
		name: "dns", root: "knot", port: 53, udp: true,
		spec: `command: [/usr/sbin/knotd, -c, /etc/knot/knot.conf]
volumes: [{source: DATA, target: /data}]`,
		files: map[string]string{"example.com.zone": "@ 3600 SOA ns.example.com. root.example.com. 1 3600 600 86400 60\n@ 3600 NS ns\nns 3600 A 192.0.2.1\n"},
		note: func(c *talk, text string) {
			c.run(fmt.Sprintf("server %s %d\nzone example.com.\nadd notes.example.com. 60 TXT %s\nsend\nquit\n", c.to.Addr(), c.to.Port(), text), "/usr/bin/knsupdate")
		},
		notes: func(c *talk) string {
			return strings.ReplaceAll(c.run("", "/usr/bin/kdig", "+short", "+notcp", "-p", strconv.Itoa(int(c.to.Port())), "@"+c.to.Addr().String(), "notes.example.com", "TXT"), `"`, "")
		},
	},
	talks("http3", 443, true),
	talks("websocket", 80, false),
	talks("grpc", 50051, false),
}

// talks has both sides of a protocol spoken by the program in testdata/talk.
func talks(name string, port uint16, udp bool) spoken {
	return spoken{
		name: name, port: port, udp: udp,
		spec:  fmt.Sprintf("command: [/talk, serve, %s, ':%d', /data/notes]\nvolumes: [{source: DATA, target: /data}]", name, port),
		note:  func(c *talk, text string) { c.run("", "/talk", "note", name, c.to.String(), text) },
		notes: func(c *talk) string { return c.run("", "/talk", "note", name, c.to.String()) },
	}
}

// talkRoot is a root file system with that program.
func talkRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	program, err := os.ReadFile(testutil.Program(t, "e2e-talk"))
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(root, "talk"), program, 0o755), os.Mkdir(filepath.Join(root, "dev"), 0o755)) //nolint:gosec // a program
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestRootClients: servers of other protocols than HTTP are woken by their own clients from each tier, and have what these have left there
// before.
func TestRootClients(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.sleeps(t, n.in(t))
		})
	}
}

// sleeps has a site sleep in each tier in turn, and its client come to it there.
func (p spoken) sleeps(t *testing.T, n *node) {
	var root string
	if p.root == "" {
		root = talkRoot(t)
	} else {
		root = apps.Root(t, p.root)
	}
	c := &talk{t: t, n: n, root: root, data: p.fill(t, n, root)}
	apply := func(tier string) *site {
		proto := "tcp"
		if p.udp {
			proto = "udp"
		}
		return n.apply(fmt.Sprintf("name: %s\nimage: dir:%s\nports: [%d/%s]\n%s\nidle: 1s\nudpIdle: off\ntiers: [%s]\ncheckpoint: {warm: 1}\n",
			p.name, root, p.port, proto, strings.ReplaceAll(p.spec, "DATA", c.data), tier))
	}
	s := apply("frozen")
	defer n.remove(s)
	visits := 0
	visit := func(t *testing.T, from api.Tier) *site {
		c, s := c.in(t), n.in(t).on(s)
		mark := n.mark()
		visits++
		if c.to = s.addr4(p.port); visits%2 == 0 {
			c.to = s.addr6(p.port)
		}
		p.note(c, fmt.Sprint("visit", visits))
		if got, want := strings.Join(strings.Fields(p.notes(c)), " "), noted(visits); got != want {
			t.Errorf("from %s it has the notes %q, want %q", from, got, want)
		}
		if tr := storyOf(t, s.await(mark, "woken")); tr.From != from || tr.Result != api.ResultOK {
			t.Errorf("a wake from %s, want from %s: %+v; %q", tr.From, from, tr, s.story(mark))
		}
		return s
	}
	if t.Run("cold", func(t *testing.T) { visit(t, api.TierCold).awaitTier(api.TierFrozen) }) &&
		t.Run("frozen", func(t *testing.T) { visit(t, api.TierFrozen) }) {
		t.Run("checkpointed", func(t *testing.T) {
			needCRIU(t)
			n.in(t).on(s).park()
			apply("checkpointed")
			visit(t, api.TierCold).awaitTier(api.TierCheckpointed) // all of it is in the volume, and not in a process alone
			visit(t, api.TierCheckpointed)
		})
	}
}

// noted is what that many visits have left.
func noted(visits int) string {
	var all []string
	for i := range visits {
		all = append(all, fmt.Sprint("visit", i+1))
	}
	return strings.Join(all, " ")
}

// fill makes the folder of a site's data.
func (p spoken) fill(t *testing.T, n *node, root string) string {
	t.Helper()
	data := n.path(p.name)
	if p.data != "" {
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(root, p.data), data).CombinedOutput(); err != nil {
			t.Fatalf("the data of %s: %v\n%s", p.name, err, out)
		}
		return data
	}
	err := os.Mkdir(data, 0o755)
	for name, text := range p.files {
		err = errors.Join(err, os.WriteFile(filepath.Join(data, name), []byte(text), 0o644)) //nolint:gosec // a site's
	}
	if err := errors.Join(err, os.Chown(data, p.user, p.user)); err != nil {
		t.Fatal(err)
	}
	return data
}

// on is the same site of a node for a subtest.
func (n *node) on(s *site) *site {
	other := *s
	other.n = n
	return &other
}

func (c *talk) in(t *testing.T) *talk {
	other := *c
	other.t, other.n = t, c.n.in(t)
	return &other
}

// run runs a program of the root in the visitor's namespace, and returns what it says.
func (c *talk) run(input string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*testutil.Timeout(patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", `mount --rbind /dev "$1/dev" && exec chroot "$@"`, "visitor", c.root}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C"}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	c.n.outside.ns.Start(c.t, cmd)
	if err := cmd.Wait(); err != nil {
		c.t.Fatalf("%v: %v\n%s%s", args, err, out.String(), said.String())
	}
	return out.String()
}

func (c *talk) mysql(query string) string {
	c.t.Helper()
	return c.run(query, "/usr/bin/mariadb", "--no-defaults", "--host="+c.to.Addr().String(), "--port="+strconv.Itoa(int(c.to.Port())), "--user=visitor", "--password=secret",
		"--skip-column-names", "--batch", "notes")
}

func (c *talk) psql(query string) string {
	c.t.Helper()
	return c.run(query, "/usr/bin/psql", "--no-psqlrc", "--quiet", "--tuples-only", "--set=ON_ERROR_STOP=1", "--host="+c.to.Addr().String(), "--port="+strconv.Itoa(int(c.to.Port())), "--username=postgres")
}

func (c *talk) redis(args ...string) string {
	c.t.Helper()
	return c.run("", append([]string{"/usr/bin/redis-cli", "-e", "-h", c.to.Addr().String(), "-p", strconv.Itoa(int(c.to.Port()))}, args...)...)
}

func (c *talk) ssh(command string) string {
	c.t.Helper()
	return c.run("", "/usr/bin/ssh", "-n", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-p", strconv.Itoa(int(c.to.Port())), "root@"+c.to.Addr().String(), command)
}

// mail reads the subjects of what was delivered, when all that was accepted is.
func (c *talk) mail() string {
	c.t.Helper()
	var subjects []string
	testutil.WaitFor(c.t, patience, "the mail to be delivered", func() error {
		queued, err := filepath.Glob(filepath.Join(c.data, "spool/input/*-H"))
		if err != nil || len(queued) > 0 {
			return fmt.Errorf("in the queue: %q (%w)", queued, err)
		}
		inbox, err := os.ReadFile(filepath.Join(c.data, "inbox"))
		if err != nil {
			return err
		}
		subjects = nil
		for line := range strings.Lines(string(inbox)) {
			if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
				subjects = append(subjects, strings.TrimSpace(subject))
			}
		}
		return nil
	})
	return strings.Join(subjects, " ")
}
