package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/tests/testutil"
)

// fileServer is a machine with folders that it exports by NFS.
type fileServer struct {
	t      *testing.T
	folder string // the root of what it exports
	ns     *testutil.NS
	link   netlink.Link
}

// filer is the address of a file server; the node is .1.
const filer = "203.0.113.2"

// newFileServer makes one, which is there for longer than a node that is made after it.
func newFileServer(t *testing.T, folders ...string) *fileServer {
	t.Helper()
	f := &fileServer{t: t, folder: t.TempDir(), ns: testutil.NetNS(t)}
	for _, name := range folders {
		if err := os.MkdirAll(f.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testutil.ServeNFS(t, f.ns, f.folder)
	return f
}

// join joins it to the node.
func (f *fileServer) join(n *node) {
	f.t.Helper()
	_, f.link = testutil.Cable(f.t, n.ns, f.ns, "files0", []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}, []netip.Prefix{netip.MustParsePrefix(filer + "/24")})
	n.machine = n.look() // the cable is the machine's own
}

func (f *fileServer) path(name string) string { return filepath.Join(f.folder, name) }

// away cuts the server off; back joins it again.
func (f *fileServer) away() {
	f.t.Helper()
	if err := f.ns.Netlink().LinkSetDown(f.link); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fileServer) back() {
	f.t.Helper()
	if err := f.ns.Netlink().LinkSetUp(f.link); err != nil {
		f.t.Fatal(err)
	}
}

// onServer is a spec's volume of the server, at /data.
func onServer(folder, more string) string {
	return fmt.Sprintf("userns: host\nvolumes: [{source: \"nfs://%s/sites/%s\", target: /data%s}]", filer, folder, more)
}

// fails wakes a site and returns why it does not start.
func (s *site) fails() string {
	s.n.t.Helper()
	mark := s.n.mark()
	if _, err := s.n.api.Wake(s.n.ctx(), s.name); err == nil {
		s.n.t.Errorf("site %s starts", s.name)
	}
	return s.await(mark, "failed").Reason
}

// TestRootNFS: sites have what a server exports, as far as the node's configuration allows it; while the server is away they do not start and say why,
// others do, what runs waits for it, and all goes on when it is back.
func TestRootNFS(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "NFS")
	t.Parallel()
	server := newFileServer(t, "sites/one", "sites/two", "private")
	n := newMachine(t, options{})
	server.join(n)
	if err := os.Symlink("../private", server.path("sites/link")); err != nil {
		t.Fatal(err)
	}
	n.configure(options{more: "nfsRoots: [\"nfs://" + filer + "/sites\"]"})
	n.start()

	file := n.write("bad.yaml", n.spec("bad", "userns: host")+"volumes:\n  - {source: \"nfs://"+filer+"/private\", target: /a}\n")
	says(t, "apply", n.cliFails("apply", "-f", file), file+":", "volumes[0].source", "nfsRoots", "nfs://"+filer+"/sites")
	file = n.write("bad.yaml", n.spec("bad", strings.TrimPrefix(onServer("one", ""), "userns: host\n")))
	says(t, "apply", n.cliFails("apply", "-f", file), file+":", "volumes[0].source", "userns: host", "mapped owners")

	one, two, plain := n.deploy("one", onServer("one", "")), n.deploy("two", onServer("two", ", soft: true, readOnly: true")), n.deploy("plain")
	one.wrote("/data/file", "kept")
	if got, err := os.ReadFile(server.path("sites/one/file")); err != nil || string(got) != "kept" {
		t.Fatalf("the server has %q: %v", got, err)
	}
	mount := func(s *site) string {
		n.outside.greet(s.addr4(80))
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.get().Replicas[0].PID))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(list)) {
			if strings.Contains(line, " /data ") {
				return line
			}
		}
		return ""
	}
	says(t, "the mount", mount(one), " nfs4 ", "nosuid,nodev", "hard", "vers=4.2")
	says(t, "the soft mount", mount(two), " ro,", "nosuid,nodev", "softerr")

	link := n.deploy("link", onServer("link", ""))
	says(t, "the event", link.fails(), "/sites/link", "symbolic links on a server are not followed")
	gone := n.deploy("gone", onServer("gone", ""))
	says(t, "the event", gone.fails(), filer, "/sites/gone", "no such file")

	n.kill()
	n.start()
	one.reads("adopted", "/data/file", "kept")
	one.park()
	two.park()
	plain.park()
	one.reads("woken", "/data/file", "kept")

	server.away()
	written := make(chan error, 1)
	go func() {
		_, err := n.outside.ask(http.MethodPost, one.addr4(80), "/file?path=/data/late", strings.NewReader("late"))
		written <- err
	}()
	says(t, "the event", two.fails(), "nfs://"+filer+"/sites/two", "server "+filer, "can start when")
	n.outside.greet(plain.addr4(80))
	n.outside.greet(one.addr4(80))
	n.kill()
	n.start() // which waits for no server
	n.outside.greet(one.addr4(80))
	select {
	case err := <-written:
		t.Errorf("written without the server: %v", err)
	default:
	}

	server.back()
	if err := testutil.Receive(t, 2*patience, "what waited for the server", written); err != nil {
		t.Errorf("what was written while the server was away: %v", err)
	}
	one.reads("when the server is back", "/data/late", "late")
	two.wake()
	n.outside.greet(two.addr4(80))
	if _, err := n.outside.ask(http.MethodPost, two.addr4(80), "/file?path=/data/x", strings.NewReader("x")); err == nil {
		t.Error("a read-only volume was written to")
	}
	if mounts, err := os.ReadFile(n.mounts); err != nil || strings.Contains(string(mounts), " nfs4 ") {
		t.Errorf("the node itself has mounted it: %v\n%s", err, mounts)
	}
}

// TestRootNFSStopped: a server that refuses is told at once; and a site that waits for one that is away can be stopped.
func TestRootNFSStopped(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "NFS")
	t.Parallel()
	server := newFileServer(t, "sites/one")
	n := newMachine(t, options{})
	server.join(n)
	n.configure(options{more: "nfsRoots: [\"nfs://" + filer + "/sites\", \"nfs://" + filer + ":2050/sites\"]"})
	n.start()
	refused := n.deploy("refused", "userns: host", "volumes: [{source: \"nfs://"+filer+":2050/sites/one\", target: /data}]")
	says(t, "the event", refused.fails(), "connection refused")

	s := n.deploy("one", onServer("one", ""), "stop: {grace: 1s}")
	n.outside.greet(s.addr4(80))
	server.away()
	written := make(chan error, 1)
	go func() {
		_, err := n.outside.ask(http.MethodPost, s.addr4(80), "/file?path=/data/late", strings.NewReader("late"))
		written <- err
	}()
	mark := n.mark()
	s.park()
	s.await(mark, "parked")
	if err := testutil.Receive(t, 2*patience, "the end of the connection", written); err == nil {
		t.Error("written without the server")
	}
	server.back()
	s.wake()
	n.outside.greet(s.addr4(80))
}
