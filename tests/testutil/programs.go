package testutil

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// EnvBinDir names the folder with fcnode and its helpers; unset, it is bin/ of the module.
const EnvBinDir = "FCNODE_BIN_DIR"

// Program returns the path of one of fcnode's own programs, as built by `make build`.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(EnvBinDir)
	if dir == "" {
		out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
		if err != nil {
			t.Fatalf("looking for the module's root (or set %s): %v", EnvBinDir, err)
		}
		dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not built (make build): %v", name, err)
	}
	return path
}
