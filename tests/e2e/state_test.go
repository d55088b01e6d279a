package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootStateExported: what a node exports while it serves is what it begins with after all else was lost, with the same addresses, and its visitors
// wake its sites. Nothing is imported beside a daemon, over replicas that run or, unasked, over sites.
func TestRootStateExported(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s, other := n.deploy("one"), n.deploy("two")
	n.outside.greet(s.addr4(80))
	n.cli("deny", "add", "192.0.2.0/24")
	file := n.path("node.state")
	n.cli("state", "export", file)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if out := n.cli("state", "export", "-"); !strings.Contains(out, "sha256:") {
		t.Errorf("it writes %q", out)
	}
	n.deploy("three")
	config := "--config=" + n.path("fcnode.yaml")
	says(t, "beside a daemon", n.cliFails("state", "import", file, "--replace", config), "another fcnode is running", "systemctl stop fcnode")
	n.stop()
	says(t, "over replicas", n.cliFails("state", "import", file, "--replace", config), "fcnode teardown")
	n.start()
	s.park()
	n.stop()
	says(t, "over sites", n.cliFails("state", "import", file, config), "3 sites", "--replace")
	damaged := n.write("damaged.state", "{}")
	says(t, "of what is none", n.cliFails("state", "import", damaged, "--replace", config), damaged, "checksum")
	if out := n.cli("state", "import", file, "--replace", config); !strings.HasPrefix(out, "2 sites") {
		t.Errorf("it says %q", out)
	}
	n.start()
	for _, s := range []*site{s, other} {
		n.outside.greet(s.addr4(80))
		n.outside.greet(s.addr6(80))
	}
	if got := n.list(); len(got) != 2 {
		t.Errorf("sites: %q", got)
	}
	if out := n.cli("deny", "list"); !strings.Contains(out, "192.0.2.0/24") {
		t.Errorf("denied: %q", out)
	}
}
