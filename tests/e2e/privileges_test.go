package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootPrivilegesWithinTheNodes: a spec gets what the node's configuration allows. What is more is refused where its line
// is and nothing is applied; and when the configuration allows less than it did, the site's next start is refused.
func TestRootPrivilegesWithinTheNodes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.configure(options{more: "privileges: {capabilities: [NET_RAW], userns: host}"})
	n.start()
	file := n.write("bad.yaml", n.spec("fine")+"---\n"+n.spec("bad")+"capabilities: {add: [NET_RAW, MKNOD]}\nnoNewPrivileges: false\n")
	line := strings.Count(n.spec("fine"), "\n") + 1 + strings.Count(n.spec("bad"), "\n") + 1
	says(t, "apply", n.cliFails("apply", "-f", file), fmt.Sprintf("%s:%d:", file, line), "capabilities.add[1]", "MKNOD",
		fmt.Sprintf("%s:%d:", file, line+1), "noNewPrivileges", "privileges.newPrivileges")
	if got := n.list(); len(got) > 0 {
		t.Errorf("applied: %q", got)
	}
	s := n.deploy("good", "capabilities: {add: [NET_RAW]}")
	n.outside.greet(s.addr4(80))
	s.park()
	n.stop()
	n.configure(options{})
	n.start()
	mark := n.mark()
	if conn, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v %v, want it refused", conn, err)
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, "capabilities.add[0]") || !strings.Contains(ev.Reason, "NET_RAW") {
		t.Errorf("the event says %q", ev.Reason)
	}
}
