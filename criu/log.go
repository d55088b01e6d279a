package criu

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// errorLines is how many of a log's lines an error carries.
const errorLines = 6

// logTail gives the errors of CRIU's log, the first ones: what follows is
// mostly their consequence. Where there are none, the log's last lines.
func logTail(dir string) []string {
	b, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		return nil
	}
	return errorsOf(b)
}

func errorsOf(log []byte) []string {
	var failed, last []string
	for line := range bytes.Lines(log) {
		text := strings.TrimSpace(string(line))
		if text == "" || harmless(text) {
			continue
		}
		if strings.Contains(text, "Error (") && len(failed) < errorLines {
			failed = append(failed, text)
		}
		last = append(last, text)
		if len(last) > errorLines {
			last = last[1:]
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return last
}

// harmless are complaints that CRIU lives with: it wants more open files for
// itself than it may have without CAP_SYS_RESOURCE.
func harmless(line string) bool { return strings.Contains(line, "Can't setup RLIMIT_NOFILE for self") }
