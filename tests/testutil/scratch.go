package testutil

import (
	"os"
	"testing"
)

// EnvScratch names the variable with the folder on which a small disk of its own is mounted, for tests that limit
// a disk or fill it. The rig's machines have one, and Vagrant's.
const EnvScratch = "FCNODE_SCRATCH"

// Scratch returns a new folder on that disk; the test is skipped on machines without one.
func Scratch(t testing.TB) string {
	t.Helper()
	top := os.Getenv(EnvScratch)
	if top == "" {
		t.Skipf("%s NOT RUN: needs a disk to itself, which the machines of make test-vm have", SkipMarker)
	}
	dir, err := os.MkdirTemp(top, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
