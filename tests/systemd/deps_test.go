package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDepsWithoutGo: on a machine without Go nothing is installed, built or downloaded; the one who asked is told what
// is missing.
func TestDepsWithoutGo(t *testing.T) {
	path := t.TempDir()
	for _, tool := range []string{"bash", "dirname", "awk"} {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(found, filepath.Join(path, tool)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", filepath.Join("..", "..", "packaging", "deps.sh"), "build", "demo")
	cmd.Env = []string{"PATH=" + path}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no go command found") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("deps.sh: %v\n%s", err, out)
	}
}
