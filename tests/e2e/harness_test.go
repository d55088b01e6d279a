package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

// What the configuration of every node says.
const (
	prefix4 = "10.77.0.0/16"
	prefix6 = "fd77:fc::/64"
	uplink  = "up0"
)

// node is a daemon under test with its machine.
type node struct {
	t   testing.TB
	dir string // for this node's files
	ns  *testutil.NS
	id  string // unique: names what lies outside of dir

	outside, local *client
	api            *api.Client

	daemon  *exec.Cmd     // nil while none runs
	daemons int           // so far
	notify  *net.UnixConn // on which it says that it is ready
	machine machineState  // before the first daemon

	enter  []string // what a command line begins with that is to run on the machine
	mounts string   // file with the machine's mounts
}

// options of a node.
type options struct {
	attach   string // how programs are attached; auto
	noUplink bool   // no fast path: packets go through the stack
	stateDir string
	prefixes string // of the VIPs; one of each family
	more     string // further lines of the configuration
	hybrid   bool   // the machine has no cgroup v2 where it belongs
}

// newNode makes a machine and starts a daemon on it.
func newNode(t testing.TB, o options) *node {
	t.Helper()
	n := newMachine(t, o)
	n.start()
	return n
}

// newMachine makes a machine for a daemon, with an outside client, and sees to its end.
func newMachine(t testing.TB, o options) *node {
	t.Helper()
	testutil.Privileged(t)
	n := &node{t: t, dir: t.TempDir(), ns: testutil.NetNS(t), id: testutil.Unique(t), mounts: "/proc/self/mountinfo"}
	n.local = &client{t: t, name: "local", ns: n.ns}
	n.outside = &client{t: t, name: "outside", ns: testutil.NetNS(t)}
	n.cable()
	if o.noUplink { // then it is its administrator's to make it a router
		n.ns.Sysctl(t, "net/ipv4/conf/"+uplink+"/forwarding", "1")
		n.ns.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	}
	if o.hybrid {
		n.hide()
	}
	n.configure(o)
	n.api = api.NewClient(n.run("fcnode.sock"))
	n.machine = n.look()
	t.Cleanup(n.end)
	return n
}

// cable joins the outside client to the node, which is its router.
func (n *node) cable() {
	n.t.Helper()
	testutil.Cable(n.t, n.ns, n.outside.ns, uplink,
		[]netip.Prefix{netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8:77::1/64")},
		[]netip.Prefix{netip.MustParsePrefix("198.51.100.2/24"), netip.MustParsePrefix("2001:db8:77::2/64")})
	for _, router := range []string{"198.51.100.1", "2001:db8:77::1"} {
		if err := n.outside.ns.Netlink().RouteAdd(&netlink.Route{Gw: net.ParseIP(router)}); err != nil {
			n.t.Fatalf("giving the outside client its router: %v", err)
		}
		// Neighbours know each other from here on: their link-local addresses, from which they would
		// ask for each other later, take a second to become valid.
		n.outside.ping(netip.MustParseAddr(router))
	}
}

// hide gives the machine a mount namespace without cgroup v2.
func (n *node) hide() {
	n.t.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /sys/fs/cgroup && echo ready && exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	n.ns.Start(n.t, cmd)
	n.t.Cleanup(func() {
		_ = in.Close() // ends it
		if err := cmd.Wait(); err != nil {
			n.t.Error(err)
		}
	})
	testutil.WaitLine(n.t, patience, bufio.NewReader(out), "ready")
	pid := strconv.Itoa(cmd.Process.Pid)
	n.enter = []string{"nsenter", "--mount", "--target", pid}
	n.mounts = "/proc/" + pid + "/mountinfo"
}

// run is a path in the node's run directory.
func (n *node) run(name string) string { return filepath.Join("/run", n.id, name) }

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) pins() string { return filepath.Join("/sys/fs/bpf", n.id) }

func (n *node) configure(o options) {
	n.t.Helper()
	if o.attach == "" {
		o.attach = "auto"
	}
	if o.prefixes == "" {
		o.prefixes = prefix4 + `, "` + prefix6 + `"`
	}
	if o.stateDir == "" {
		o.stateDir = n.path("state")
	}
	uplinks := "[" + uplink + "]"
	if o.noUplink {
		uplinks = "[]"
	}
	text := fmt.Sprintf(`
attach: %s
prefixes: [%s]
uplinks: %s
stateDir: %s
runDir: %s
pinDir: %s
cgroupRoot: /%s
sitesDir: %s
volumeRoots: [/]
runner: %s
maxSites: 1024
start: {timeout: %s}
hold: {deadline: %s, silence: 10m}
wake: {source: {burst: 1000}}
checkpoints: {timeout: %s}
`, o.attach, o.prefixes, uplinks, o.stateDir, n.run(""), n.pins(), n.id, n.path("sites"),
		testutil.Program(n.t, "fcnode-runner"), testutil.Timeout(30*time.Second), testutil.Timeout(30*time.Second), testutil.Timeout(10*time.Second)) // the defaults
	for line := range strings.Lines(o.more) { // in the place of ours
		field, _, _ := strings.Cut(line, ":")
		text = regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(field)+`:.*\n`).ReplaceAllString(text, "")
	}
	n.write("fcnode.yaml", text+o.more+"\n")
}

// write makes a file below the node's folder.
func (n *node) write(name, text string) string {
	n.t.Helper()
	path := n.path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// openNotify makes the socket on which one daemon says that it is ready, and returns its path.
func (n *node) openNotify() string {
	n.t.Helper()
	n.daemons++
	path := n.path(fmt.Sprintf("notify-%d", n.daemons))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.notify != nil {
		_ = n.notify.Close() // of a daemon that is dead
	}
	n.notify = conn
	return path
}

// command is the program itself, to be started inside of the node's network namespace.
func (n *node) command(args ...string) *exec.Cmd {
	args = slices.Concat(n.enter, []string{testutil.Program(n.t, "fcnode")}, args)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FCNODE_SOCKET="+n.run("fcnode.sock"))
	return cmd
}

// start starts the daemon and waits until it is ready.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.awaitReady()
}

// launch starts the daemon.
func (n *node) launch() {
	n.t.Helper()
	log, err := os.OpenFile(n.path("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.daemon = n.command("run", "--config", n.path("fcnode.yaml"), "--log-level", "debug")
	n.daemon.Env = append(n.daemon.Env, "NOTIFY_SOCKET="+n.openNotify())
	n.daemon.Stdout, n.daemon.Stderr = log, log
	n.ns.Start(n.t, n.daemon)
}

// awaitReady waits for READY=1, or for the daemon's end.
func (n *node) awaitReady() {
	n.t.Helper()
	conn, pid := n.notify, n.daemon.Process.Pid
	if err := conn.SetReadDeadline(time.Now().Add(testutil.Timeout(patience))); err != nil {
		n.t.Fatal(err)
	}
	go func() {
		waitPid(pid)
		_ = conn.SetReadDeadline(time.Now()) // nothing will come, if it did not
	}()
	buf := make([]byte, 4096)
	for {
		c, err := conn.Read(buf)
		if err != nil {
			_ = n.signal(syscall.SIGQUIT) // it logs what it waits for
			n.t.Fatalf("the daemon did not become ready: %v", err)
		}
		if bytes.Contains(buf[:c], []byte("READY=1")) {
			return
		}
	}
}

// waitPid returns when a process has ended, without collecting it.
func waitPid(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
			return
		}
	}
}

// signal ends the daemon by a signal and waits for it.
func (n *node) signal(sig syscall.Signal) error {
	n.t.Helper()
	if err := n.daemon.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
	testutil.WaitExit(n.t, patience, n.daemon.Process.Pid)
	err := n.daemon.Wait()
	n.daemon = nil
	n.api.Close()
	return err
}

// kill is kill -9.
func (n *node) kill() {
	n.t.Helper()
	_ = n.signal(syscall.SIGKILL) // that it was killed
}

// stop ends the daemon in order.
func (n *node) stop() {
	n.t.Helper()
	if err := n.signal(syscall.SIGTERM); err != nil {
		n.t.Errorf("the daemon ended with %v after SIGTERM", err)
	}
}

// end stops the daemon, tears the node down and checks that nothing is left.
func (n *node) end() {
	defer func() {
		if n.t.Failed() {
			n.t.Logf("the daemon's log:\n%s", n.log())
		}
	}()
	if n.daemon != nil {
		n.stop()
	}
	if n.notify != nil {
		_ = n.notify.Close()
	}
	n.api.Close()
	cmd := n.command("teardown", "--config", n.path("fcnode.yaml"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	n.ns.Start(n.t, cmd)
	if err := cmd.Wait(); err != nil {
		n.t.Errorf("teardown: %v\n%s", err, out.String())
	}
	n.checkGone()
}

// log is what the daemons have written.
func (n *node) log() string {
	b, err := os.ReadFile(n.path("daemon.log"))
	if err != nil {
		return err.Error()
	}
	const most = 20 << 10
	return string(b[max(0, len(b)-most):])
}

// image makes a root directory with the guest in it, once per node, and returns its reference.
func (n *node) image() string {
	n.t.Helper()
	root := n.path("image")
	if _, err := os.Stat(root); err == nil {
		return "dir:" + root
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.MkdirAll(root, 0o755), os.WriteFile(filepath.Join(root, "site"), exe, 0o755))
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return "dir:" + root
}

// spec is the text of a spec that runs the guest; more are further lines of it.
func (n *node) spec(name string, more ...string) string {
	n.t.Helper()
	text := fmt.Sprintf("name: %s\nimage: %s\n", name, n.image())
	given := strings.Join(more, "\n") + "\n"
	for field, line := range map[string]string{
		"command:": "command: [/site]", "ports:": "ports: [80/tcp]", "env:": "env: {GUEST: serve}", "idle:": "idle: never",
		"stop:": "stop: {grace: " + testutil.Timeout(10*time.Second).String() + "}", // the default
	} {
		if !strings.Contains("\n"+given, "\n"+field) {
			text += line + "\n"
		}
	}
	if strings.Contains(given, "idle:") && !strings.Contains(given, "idle: never") && !strings.Contains(given, "tiers:") {
		text += "tiers: [cold]\n" // what the node would choose depends on the machine
	}
	return text + given
}

// parse reads specs as the command line does.
func (n *node) parse(text ...string) []spec.Site {
	n.t.Helper()
	sites, err := spec.Parse("test.yaml", strings.NewReader(strings.Join(text, "\n---\n")))
	if err != nil {
		n.t.Fatal(err)
	}
	return sites
}

// site is a deployed site.
type site struct {
	n      *node
	name   string
	v4, v6 netip.Addr
}

// deploy applies the spec of a site that runs the guest.
func (n *node) deploy(name string, more ...string) *site {
	n.t.Helper()
	return n.apply(n.spec(name, more...))
}

// apply applies one spec.
func (n *node) apply(text string) *site {
	n.t.Helper()
	return n.applyAll(text)[0]
}

// applyAll applies specs with one request.
func (n *node) applyAll(texts ...string) (out []*site) {
	n.t.Helper()
	res, err := n.api.Apply(n.ctx(), n.parse(texts...), false)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range res {
		s := &site{n: n, name: r.Name}
		for _, a := range r.Addresses {
			s.setAddr(a)
		}
		out = append(out, s)
	}
	return out
}

func (s *site) setAddr(a netip.Addr) {
	if a.Is4() {
		s.v4 = a
	} else {
		s.v6 = a
	}
}

// addr4 and addr6 are the site's address with a port.
func (s *site) addr4(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.v4, port) }
func (s *site) addr6(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.v6, port) }

// get is what the node says about the site.
func (s *site) get() api.Site {
	s.n.t.Helper()
	v, err := s.n.api.Get(s.n.ctx(), s.name)
	if err != nil {
		s.n.t.Fatal(err)
	}
	return v
}

// park parks the site by force.
func (s *site) park() {
	s.n.t.Helper()
	if _, err := s.n.api.Park(s.n.ctx(), s.name, true); err != nil {
		s.n.t.Fatal(err)
	}
}

// wake wakes it by hand.
func (s *site) wake() {
	s.n.t.Helper()
	if _, err := s.n.api.Wake(s.n.ctx(), s.name); err != nil {
		s.n.t.Fatal(err)
	}
}
