package main

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestCPU: the processor time of a machine is told while it runs and after its end.
func TestCPU(t *testing.T) {
	m := &machine{cmd: exec.Command("sh", "-c", "while :; do :; done"), exited: make(chan struct{})}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const some = 50 * time.Millisecond
	testutil.WaitFor(t, time.Minute, "a busy program to have used a processor", func() error {
		if used := m.cpu(); used < some {
			return fmt.Errorf("it has for %v", used)
		}
		return nil
	})
	if err := m.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = m.cmd.Wait() // that it was killed
	close(m.exited)
	if used := m.cpu(); used < some || used > time.Minute {
		t.Errorf("afterwards it is said to have used %v", used)
	}
}
