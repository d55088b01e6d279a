package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSuite: what suite.sh makes of a suite, by the gotestsum that judges the
// real ones.
func TestSuite(t *testing.T) {
	bin := t.TempDir()
	build(t, bin, ".")
	build(t, bin, "-modfile=../tools/go.mod", "-ldflags=-s -w", "gotest.tools/gotestsum")
	const (
		event  = `{"Action":"start","Package":"p"}\n{"Action":"run","Package":"p","Test":"A"}\n{"Action":"%s","Package":"p","Test":"A"}\n{"Action":"%s","Package":"p"}\n`
		failed = `printf '` + event + `' fail fail; exit 1`
		passed = `printf '` + event + `' pass pass; exit 0`
		alone  = `if [ "$RUN" = '^A$' ]; then echo plain text; ` + passed + `; fi; `
		leak   = `printf '{"Action":"start","Package":"q"}\n{"Action":"output","Package":"q","Output":"leak\\n"}\n{"Action":"%s","Package":"q"}\n' `
	)
	many := `for t in A B C D; do printf '{"Action":"fail","Package":"p","Test":"'$t'"}\n'; done; printf '{"Action":"fail","Package":"p"}\n'; exit 1`
	for _, tt := range []struct {
		name, suite, run string
		good             bool
		told, untold     string
	}{
		{"passes", passed, "", true, "1 tests ran", "COMPANY"},
		{"passes with messages", "echo message >&2; echo plain text; " + passed, "", true, "message", "error"},
		{"fails", failed, "", false, "2 runs, 2 tests, 2 failures", "COMPANY"},
		{"passes alone", alone + failed, "", true, "FAILED IN COMPANY, PASSED ALONE on unit:\np.A: 2 runs, 1 failures", ""},
		{"passes alone, with messages", "echo message >&2; " + alone + failed, "", true, "p.A: 2 runs, 1 failures", "error"},
		{"was chosen", `[ "$RUN" = A ] || exit 9; ` + failed, "A", false, "1 tests, 1 failure", "COMPANY"},
		{"cannot run", `printf '` + event + `' fail fail; exit 3`, "", false, "1 tests, 1 failure", "COMPANY"},
		{"cannot run again", `[ -z "$RUN" ] || exit 3; ` + failed, "", false, "1 tests, 1 failure", "COMPANY"},
		{"too many fail", many, "", false, "4 failures", "COMPANY"},
		{"leaks", `[ -z "$RUN" ] || { ` + leak + `pass; exit 0; }; ` + leak + `fail; exit 1`, "", false, "FAILED THOUGH NONE OF ITS TESTS DID: q", ""},
		{"leaks beside a failure", alone + leak + `fail; ` + failed, "", false, "FAILED THOUGH NONE OF ITS TESTS DID: q", ""},
		{"runs nothing", "exit 0", "", false, "no test ran", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/bash\n" + tt.suite + "\n"
			if err := os.WriteFile(dir+"/suite", []byte(script), 0o755); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "../suite.sh", "unit", dir+"/suite")
			cmd.Env = append(os.Environ(), "BIN="+bin, "RESULTS="+dir, "RUN="+tt.run)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if (err == nil) != tt.good || !strings.Contains(string(out), tt.told) {
				t.Errorf("%v, want success: %v, and %q in:\n%s", err, tt.good, tt.told, out)
			}
			if tt.untold != "" && strings.Contains(string(out), tt.untold) {
				t.Errorf("%q in:\n%s", tt.untold, out)
			}
		})
	}
}

func build(t *testing.T, bin string, args ...string) {
	t.Helper()
	args = append([]string{"build", "-trimpath", "-o", filepath.Join(bin, "tests") + "/"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}
