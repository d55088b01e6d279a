package container

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// binGuest is the guest's program, where everybody can execute it.
func binGuest(t testing.TB) string {
	t.Helper()
	bin, err := binDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, "container-guest")
}

// asNobody runs a program as a user of the machine without rights.
func asNobody(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
