package testutil

import (
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

var uniqueCounter atomic.Uint32

// Unique returns a name no other test of this machine's runs uses now: lower-case
// letters and digits starting with a letter, at most 11 characters, so that it fits a
// network device (15 characters) with a short prefix, a cgroup and a folder.
func Unique(t testing.TB) string {
	t.Helper()
	name := "t" + strconv.FormatInt(int64(os.Getpid()), 36) + "x" + strconv.FormatUint(uint64(uniqueCounter.Add(1)), 36)
	if len(name) > 11 {
		t.Fatalf("unique name %q is longer than 11 characters", name)
	}
	return name
}
