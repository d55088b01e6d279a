package e2e

import (
	"testing"
)

// TestRootUmaskOfTheNode: whatever umask the daemon was started with, a site that runs as a user starts, from an
// image that this daemon has unpacked.
func TestRootUmaskOfTheNode(t *testing.T) {
	for _, umask := range []string{"027", "077", "000"} {
		t.Run(umask, func(t *testing.T) {
			n := newMachine(t, options{})
			n.enter = append(n.enter, "sh", "-c", "umask "+umask+`; exec "$0" "$@"`)
			n.start()
			s := n.deploy("masked", `user: "1000"`)
			n.outside.greet(s.addr4(80))
		})
	}
}
