package testutil

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// RepeatedSYNs is how many SYNs the kernel has sent again in the network namespace of the calling thread (see [NS.Do]). That a
// connection was answered at its first packet is told by this, not by a clock: a client repeats its SYN after a second, which a busy machine takes
// for many other things.
func RepeatedSYNs(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	// TcpExt: names, TcpExt: values, …
	names, rest, _ := strings.Cut(string(b), "\n")
	values, _, _ := strings.Cut(rest, "\n")
	i := slices.Index(strings.Fields(names), "TCPSynRetrans")
	if i < 0 || i >= len(strings.Fields(values)) {
		t.Fatalf("the kernel does not count SYNs that it sends again:\n%s", b)
	}
	count, err := strconv.Atoi(strings.Fields(values)[i])
	if err != nil {
		t.Fatal(err)
	}
	return count
}
