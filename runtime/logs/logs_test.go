package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// limit is how long a test waits for what should take milliseconds.
const limit = 10 * time.Second

func open(t *testing.T, dir string, opts Options) *Writer {
	t.Helper()
	w, err := OpenWriter(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func write(t *testing.T, w *Writer, stream, text string) {
	t.Helper()
	if err := w.Copy(stream, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func texts(t *testing.T, dir string, opts ReadOptions) []string {
	t.Helper()
	var got []string
	err := Read(t.Context(), dir, opts, func(l Line) error {
		got = append(got, l.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLineFormat(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 31, 7, 482_000_000, time.UTC)
	for _, tt := range []struct {
		line Line
		want string
	}{
		{Line{Time: at, Stream: Stdout, Text: "text"}, "2026-11-22T10:31:07.482000000Z stdout F text\n"},
		{Line{Time: at, Stream: Stderr, Partial: true, Replica: "blog-12", Text: "a b "}, "2026-11-22T10:31:07.482000000Z stderr P:blog-12 a b \n"},
		{Line{Time: at, Stream: Stdout, Text: ""}, "2026-11-22T10:31:07.482000000Z stdout F \n"},
	} {
		text := appendLine(nil, tt.line.Time, tt.line.Stream, tt.line.Replica, tt.line.Partial, []byte(tt.line.Text))
		if string(text) != tt.want {
			t.Errorf("line %q, want %q", text, tt.want)
		}
		got, err := Parse(text)
		if err != nil || got != tt.line {
			t.Errorf("parsed %+v (%v), want %+v", got, err, tt.line)
		}
	}
}

func TestParseBad(t *testing.T) {
	for _, text := range []string{
		"", "x", "2026-11-22T10:31:07.482000000Z", "2026-11-22T10:31:07.482000000Z stdout F",
		"yesterday stdout F x", "2026-11-22T10:31:07.482000000Z stdout Q x", strings.Repeat("\x00", 100),
	} {
		if l, err := Parse([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrFormat", text, l, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-11-22T10:31:07.482000000Z stdout F:x text"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(appendLine(nil, l.Time, l.Stream, l.Replica, l.Partial, []byte(l.Text)))
		if err != nil || again.Text != l.Text || again.Stream != l.Stream || !again.Time.Equal(l.Time) {
			t.Errorf("%+v became %+v (%v)", l, again, err)
		}
	})
}

// TestCopy: lines however the reads are cut, the last one without a newline,
// long ones in parts.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{Replica: "r-1"})
	long := strings.Repeat("x", MaxLine)
	pr, pw := io.Pipe()
	go func() {
		for _, s := range []string{"on", "e\ntw", "o\n\nthree\n", long + "rest\n", "last"} {
			_, _ = io.WriteString(pw, s)
		}
		_ = pw.Close()
	}()
	if err := w.Copy(Stdout, pr); err != nil {
		t.Fatal(err)
	}
	var got []Line
	err := Read(t.Context(), dir, ReadOptions{Tail: All}, func(l Line) error {
		l.Time = time.Time{}
		got = append(got, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	line := func(text string) Line { return Line{Stream: Stdout, Replica: "r-1", Text: text} }
	part := line(long)
	part.Partial = true
	want := []Line{line("one"), line("two"), line(""), line("three"), part, line("rest"), line("last")}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestRotation: files stay below the size, the number of them stays, the newest
// lines are kept.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{MaxSize: 2000, Files: 3})
	for i := range 500 {
		write(t, w, Stdout, fmt.Sprintf("line %d\n", i))
	}
	files, err := filepath.Glob(filepath.Join(dir, fileName+"*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v %v, want 3", files, err)
	}
	for _, name := range files {
		if st, err := os.Stat(name); err != nil || st.Size() > 2000 {
			t.Errorf("%s has %v bytes (%v)", name, st.Size(), err)
		}
	}
	got := texts(t, dir, ReadOptions{Tail: All})
	if len(got) < 60 || got[len(got)-1] != "line 499" || got[0] != fmt.Sprintf("line %d", 500-len(got)) {
		t.Errorf("%d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
	if got := texts(t, dir, ReadOptions{Tail: 50}); len(got) != 50 || got[0] != "line 450" {
		t.Errorf("tail: %d lines from %q", len(got), got[0])
	}
	if got := texts(t, dir, ReadOptions{Tail: 0}); len(got) != 0 {
		t.Errorf("tail 0: %q", got)
	}
}

// TestWritersShareALog: several monitors rotate one log, and no line is lost or
// torn.
func TestWritersShareALog(t *testing.T) {
	dir := t.TempDir()
	const writers, lines = 4, 300
	var wg sync.WaitGroup
	for i := range writers {
		w := open(t, dir, Options{Replica: fmt.Sprintf("r-%d", i), MaxSize: 20_000, Files: 50})
		wg.Go(func() {
			for n := range lines {
				if err := w.Copy(Stdout, strings.NewReader(fmt.Sprintf("%d %d\n", i, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := make([]int, writers)
	for _, text := range texts(t, dir, ReadOptions{Tail: All}) {
		var i, n int
		if _, err := fmt.Sscanf(text, "%d %d", &i, &n); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		next[i]++
	}
	for i, n := range next {
		if n != lines {
			t.Errorf("writer %d has %d lines, want %d", i, n, lines)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, fileName+".*")); len(files) < 2 {
		t.Errorf("the log was not rotated: %v", files)
	}
}

// TestDiskFull: a log that cannot be written does not stop the site, and says
// so later.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{Replica: "r-1"})
	write(t, w, Stdout, "before\n")
	good := w.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	w.file = full
	if err := os.Symlink("/dev/full", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, fileName), filepath.Join(dir, "kept")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "link"), filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "lost 1\nlost 2\n")
	if err := os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	_ = good.Close()
	write(t, w, Stdout, "after\n")
	want := []string{"before", "fcnode: 2 lines were lost: the log could not be written", "after"}
	if d := cmp.Diff(want, texts(t, dir, ReadOptions{Tail: All})); d != "" {
		t.Error(d)
	}
}

func TestReadPassesOverGarbage(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{})
	write(t, w, Stdout, "one\n")
	f, err := os.OpenFile(filepath.Join(dir, fileName), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(strings.Repeat("\x00", 4096) + "\ngarbage\n")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, w, Stdout, "two\n")
	if got := texts(t, dir, ReadOptions{Tail: All}); !cmp.Equal(got, []string{"one", "two"}) {
		t.Errorf("lines %q", got)
	}
}

func TestReadSince(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{})
	write(t, w, Stdout, "old\n")
	var last Line
	if err := Read(t.Context(), dir, ReadOptions{Tail: All}, func(l Line) error { last = l; return nil }); err != nil {
		t.Fatal(err)
	}
	since := last.Time.Add(time.Nanosecond)
	for !time.Now().After(since) { // the clock has to move on
	}
	write(t, w, Stdout, "new\n")
	if got := texts(t, dir, ReadOptions{Tail: All, Since: since}); !cmp.Equal(got, []string{"new"}) {
		t.Errorf("lines %q", got)
	}
}

// TestFollow: from a log that does not exist yet, across rotations, to the end
// of the context.
func TestFollow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string, 1000)
	done := make(chan error, 1)
	go func() {
		done <- Read(ctx, dir, ReadOptions{Tail: All, Follow: true}, func(l Line) error {
			lines <- l.Text
			return nil
		})
	}()
	w := open(t, dir, Options{MaxSize: 1000, Files: 2})
	for i := range 200 {
		want := fmt.Sprintf("line %d", i)
		write(t, w, Stdout, want+"\n")
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("line %q, want %q", got, want)
			}
		case <-time.After(limit):
			t.Fatalf("no %q", want)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("following ended with %v", err)
		}
	case <-time.After(limit):
		t.Fatal("following does not end")
	}
}

func TestReadMissing(t *testing.T) {
	if got := texts(t, filepath.Join(t.TempDir(), "none"), ReadOptions{Tail: All}); len(got) != 0 {
		t.Errorf("lines %q", got)
	}
}

func TestEmitError(t *testing.T) {
	dir := t.TempDir()
	write(t, open(t, dir, Options{}), Stdout, "one\ntwo\n")
	stop := errors.New("stop")
	for _, tail := range []int{All, 2} {
		n := 0
		err := Read(t.Context(), dir, ReadOptions{Tail: tail}, func(Line) error { n++; return stop })
		if !errors.Is(err, stop) || n != 1 {
			t.Errorf("tail %d: %v after %d lines", tail, err, n)
		}
	}
}
