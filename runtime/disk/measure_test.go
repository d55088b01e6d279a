package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	outside := t.TempDir()
	if err := errors.Join(
		os.Mkdir(in("a"), 0o755), os.WriteFile(in("a/file"), make([]byte, 1<<20), 0o600), os.Link(in("a/file"), in("link")),
		os.Symlink(outside, in("elsewhere")), os.WriteFile(filepath.Join(outside, "large"), make([]byte, 1<<20), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	use, err := Measure(t.Context(), Use{}, dir, in("gone"))
	if err != nil {
		t.Fatal(err)
	}
	if use.Inodes != 4 || use.Bytes < 1<<20 || use.Bytes > 1<<20+64<<10 {
		t.Errorf("%+v, want the file once, the link, and two folders", use)
	}
}

func TestMeasureStopsAtALimit(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if use, err := Measure(t.Context(), Use{Inodes: 10}, dir); err != nil || use.Inodes != 11 || !use.Over(Use{Inodes: 10}) {
		t.Errorf("%+v %v, want one more than the limit", use, err)
	}
}

// TestMeasureDeep: a tree that no path reaches is measured, and one that would take too many
// descriptors is not.
func TestMeasureDeep(t *testing.T) {
	dir := t.TempDir()
	deepen := func(levels int) {
		t.Helper()
		at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		for range levels {
			if err != nil {
				t.Fatal(err)
			}
			name := "a-name-of-some-length"
			if err := unix.Mkdirat(at, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				t.Fatal(err)
			}
			next, open := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			_ = unix.Close(at) // a folder
			at, err = next, open
		}
		_ = unix.Close(at) // as above
	}
	deepen(maxDepth)
	if use, err := Measure(t.Context(), Use{}, dir); err != nil || use.Inodes != maxDepth+1 {
		t.Errorf("%+v %v, want %d folders", use, err, maxDepth+1)
	}
	deepen(maxDepth + 1)
	if _, err := Measure(t.Context(), Use{}, dir); !errors.Is(err, ErrTooDeep) {
		t.Errorf("one more: %v", err)
	}
}

func TestMeasureEnds(t *testing.T) {
	dir := t.TempDir()
	for i := range paceEntries {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, Use{}, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("of who is not waited for any more: %v", err)
	}
}

func TestUse(t *testing.T) {
	most := Use{Bytes: 100, Inodes: 10}
	for _, tt := range []struct {
		use   Use
		over  bool
		share float64
	}{
		{Use{}, false, 0}, {Use{Bytes: 100, Inodes: 1}, false, 1}, {Use{Bytes: 101}, true, 1.01}, {Use{Bytes: 50, Inodes: 11}, true, 1.1},
	} {
		if over, share := tt.use.Over(most), tt.use.Share(most); over != tt.over || share != tt.share {
			t.Errorf("%+v of %+v: %v %v", tt.use, most, over, share)
		}
		if tt.use.Over(Use{}) || tt.use.Share(Use{}) != 0 {
			t.Errorf("%+v is over no limit", tt.use)
		}
	}
}

// TestMeasureSince: what is new is told from what was there and is written to, and that from what lies still.
func TestMeasureSince(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	made, changed, err := MeasureSince(t.Context(), time.Now().Add(-time.Hour), dir)
	if err != nil || made.Bytes < 1<<20 || changed != made {
		t.Errorf("within the hour: %+v made, %+v changed, %v", made, changed, err)
	}
	made, changed, err = MeasureSince(t.Context(), time.Now().Add(time.Hour), dir)
	if err != nil || made != (Use{}) || changed != (Use{}) {
		t.Errorf("in an hour: %+v made, %+v changed, %v", made, changed, err)
	}
	m := measuring{since: 100}
	for _, times := range [][2]int64{{50, 60}, {50, 150}, {150, 150}} {
		st := unix.Statx_t{Mask: unix.STATX_BTIME, Blocks: 2, Btime: unix.StatxTimestamp{Sec: times[0]}, Ctime: unix.StatxTimestamp{Sec: times[1]}}
		if err := m.count(&st, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := m.use(), (Use{Bytes: 2048, Inodes: 2}); got != want {
		t.Errorf("changed: %+v, want %+v", got, want)
	}
	if got, want := m.made.use(), (Use{Bytes: 1024, Inodes: 1}); got != want {
		t.Errorf("made: %+v, want %+v", got, want)
	}
}
