package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// waitingCRIU is the CRIU that the node has ready for its next restore.
func (n *node) waitingCRIU() (pid int) {
	n.t.Helper()
	testutil.WaitFor(n.t, patience, "a CRIU that waits", func() error {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, name := range lines {
			line, _ := os.ReadFile(name) // may have ended
			group, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cgroup"))
			if strings.Contains(string(line), "\x00swrk\x00") && strings.Contains(string(group), n.id+"/") {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(name)))
				return err
			}
		}
		return errors.New("none is there")
	})
	return pid
}

// TestRootHungRestoreStartsCold: visitors whose site's restore hangs get their answer from a cold start, once it has had
// its time; the image is gone, an event says why, and the tier is given up for a while.
func TestRootHungRestoreStartsCold(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{more: fmt.Sprintf("checkpoints: {timeout: %s}", testutil.Timeout(2*time.Second))})
	for name, stop := range map[string]func(criu int) int{
		"CRIU":    func(criu int) int { return criu },
		"monitor": func(criu int) int { return parentOf(t, criu) },
	} {
		s := n.checkpointed("hung")
		s.awaitCheckpoint()
		if err := unix.Kill(stop(n.waitingCRIU()), unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		mark := n.mark()
		answers := make(chan error, 3)
		for range cap(answers) {
			go func() {
				_, err := n.outside.get(s.addr4(80), "/")
				answers <- err
			}()
		}
		for range cap(answers) {
			if err := testutil.Receive(t, patience, "an answer", answers); err != nil {
				t.Errorf("%s is stopped: %v; %q", name, err, s.story(mark))
			}
		}
		if ev := s.await(mark, "not-restored"); !strings.Contains(ev.Reason, "within") || !strings.Contains(ev.Text, "not checkpointed again before") {
			t.Errorf("%s is stopped: %s; %s", name, ev.Reason, ev.Text)
		}
		if got := kinds(s.events(mark), "failed"); len(got) > 0 || s.starts(mark) != 1 {
			t.Errorf("%s is stopped: %q", name, s.story(mark))
		}
		n.checkReplicas(s)
		if err := n.api.Delete(n.ctx(), s.name); err != nil {
			t.Fatal(err)
		}
		n.awaitImages()
	}
}

// TestRootSilentRestoreStartsCold: a site that was restored and accepts nobody is ended, and the next
// visitors are answered by a cold start.
func TestRootSilentRestoreStartsCold(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{more: fmt.Sprintf("checkpoints: {timeout: %s}", testutil.Timeout(4*time.Second))})
	s := n.deploy("silent", "idle: 4s", "tiers: [checkpointed]", "checkpoint: {warm: 1}")
	s.awaitCheckpoint()
	mark := n.mark()
	s.wake()
	s.await(mark, "running")
	// It looks like one whose memory does not come: alive, listening, and nothing runs.
	stopped(t, s.pid())
	gone := make(chan error, 1)
	go func() {
		_, err := n.outside.get(s.addr4(80), "/")
		gone <- err
	}()
	if ev := s.await(mark, "not-restored"); !strings.Contains(ev.Reason, "accepted none of 1 connections") {
		t.Errorf("the reason is %q", ev.Reason)
	}
	if err := testutil.Receive(t, patience, "the end of its connection", gone); err == nil {
		t.Error("who was connected to it has an answer")
	}
	n.outside.greet(s.addr4(80))
	if got := kinds(s.events(mark), "failed"); len(got) > 0 {
		t.Errorf("%q", s.story(mark))
	}
	n.checkReplicas(s)
}

// stopped stops a process that CRIU may not have let go of yet: it sees to the
// signals of what it traces.
func stopped(t *testing.T, pid int) {
	t.Helper()
	testutil.WaitFor(t, patience, "every thread to stop", func() error {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return err
		}
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err == nil && len(threads) == 0 {
			err = fmt.Errorf("process %d is gone", pid)
		}
		for _, thread := range threads {
			b, readErr := os.ReadFile(thread)
			if readErr != nil || !bytes.Contains(b, []byte("\nState:\tT")) || !bytes.Contains(b, []byte("\nTracerPid:\t0\n")) {
				err = fmt.Errorf("%s (%w):\n%s", thread, readErr, b)
			}
		}
		return err
	})
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	var parent int
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		_, err = fmt.Sscanf(string(b[strings.LastIndexByte(string(b), ')')+1:]), "%s %d", new(string), &parent)
	}
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
