package eventlog

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestDiskThatStalls: who tells of something goes on while the disk stands still, and those who follow have it; when the disk goes on it has all, in order, and what is
// told then is on it at once.
func TestDiskThatStalls(t *testing.T) {
	j, err := Open(t.TempDir(), Options{Keep: 200})
	if err != nil {
		t.Fatal(err)
	}
	disk, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	_ = j.file.Close() // nothing was written
	j.file = w
	const full = 64 << 10 // of a pipe
	if _, err := w.Write(make([]byte, full-1)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		if _, err := j.Append(event.Event{Kind: event.Failed, Reason: "told"}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for _, err := range j.Events(t.Context(), event.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != 150 {
		t.Errorf("those who follow have %d", seen)
	}
	var refused error
	for range 200 { // more than are kept for it
		if _, err := j.Append(event.Event{Kind: event.Failed}); err != nil {
			refused = err
		}
	}
	if refused == nil || !strings.Contains(refused.Error(), "wait for the disk") {
		t.Errorf("with a full queue: %v", refused)
	}
	lines := bufio.NewReaderSize(disk, full)
	next := func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	next() // what has filled it
	for i := range 150 {
		if line := next(); !strings.Contains(line, `"told"`) {
			t.Fatalf("line %d: %s", i, line)
		}
	}
	for range 51 { // one was being written when the queue was full
		next()
	}
	testutil.WaitFor(t, lastPatience, "a disk that is not late", func() error {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.late {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if _, err := j.Append(event.Event{Kind: event.Failed, Reason: "after"}); err != nil {
		t.Fatal(err)
	}
	if line := next(); !strings.Contains(line, `"after"`) {
		t.Errorf("after it: %s", line)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
