package testutil

import (
	"os"
	"os/exec"
	"strings"
)

// criuPrefix is where packaging/criu.sh puts a CRIU where the distribution's does not do.
const criuPrefix = "/usr/local/lib/fcnode/criu/criu"

// CRIU is the path of the program that packaging/criu.sh chose for this kernel; "" where there is none.
func CRIU() string {
	if _, err := os.Stat(criuPrefix); err == nil {
		return criuPrefix
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(dir + "/criu"); err == nil {
			return path
		}
	}
	return ""
}

// CRIUVersion is what it says of itself, such as "4.2.1".
func CRIUVersion() (string, error) {
	out, err := exec.Command(CRIU(), "--version").Output()
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(strings.TrimSpace(first), "Version: "), nil
}
