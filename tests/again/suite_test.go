package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gotestsum does of the real one what suite.sh needs of it.
const gotestsum = `#!/bin/bash
while [ "$1" != -- ]; do [ "$1" != --jsonfile ] || file=$2; shift; done
shift
"$@" >"$file"
`

// TestSuite: what suite.sh makes of a suite of which one test fails.
func TestSuite(t *testing.T) {
	bin := t.TempDir()
	for _, tool := range []string{"again", "skips"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/tests/"+tool, "../"+tool).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", tool, err, out)
		}
	}
	script(t, bin+"/tests/gotestsum", gotestsum)
	const (
		event  = `{"Action":"%s","Package":"p","Test":"A"}\n{"Action":"%s","Package":"p"}\n`
		failed = `printf '` + event + `' fail fail; exit 1`
		passed = `printf '` + event + `' pass pass; exit 0`
		alone  = `if [ "$RUN" = '^(A)$' ]; then ` + passed + `; fi; ` + failed
	)
	tests := []struct {
		name, suite, run string
		code             int
		told             string
	}{
		{"passes", passed, "", 0, ""},
		{"fails", failed, "", 1, "=== again, by themselves: ^(A)$"},
		{"passes alone", alone, "", 0, "FAILED IN COMPANY, PASSED ALONE on s: ^(A)$"},
		{"was chosen", `[ "$RUN" = A ] || exit 9; ` + failed, "A", 1, ""},
		{"cannot run", `printf '` + event + `' fail fail; exit 3`, "", 3, ""},
		{"cannot run again", `[ -z "$RUN" ] || { printf '` + event + `' pass pass; exit 3; }; ` + failed, "", 3, "=== again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			script(t, dir+"/suite", "#!/bin/bash\n"+tt.suite+"\n")
			cmd := exec.CommandContext(t.Context(), "../suite.sh", "s", dir+"/suite")
			cmd.Env = append(os.Environ(), "BIN="+bin, "RESULTS="+dir, "RUN="+tt.run)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.told) {
				t.Errorf("exit code %d, want %d, and %q in:\n%s", code, tt.code, tt.told, out)
			}
			if again := strings.Contains(string(out), "=== again"); again != (tt.told != "") {
				t.Errorf("run again: %v\n%s", again, out)
			}
			for _, file := range []string{"s.json", "s-again.json"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil && (file == "s.json" || tt.told != "") {
					t.Error(err)
				}
			}
		})
	}
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
}
