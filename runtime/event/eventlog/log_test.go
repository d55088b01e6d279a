package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/event"
)

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func add(t testing.TB, j *Log, kinds ...string) {
	t.Helper()
	for _, k := range kinds {
		if _, err := j.Append(event.Event{Site: "blog", Kind: k}); err != nil {
			t.Fatal(err)
		}
	}
}

func closeIt(t testing.TB, j *Log) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// list puts the chosen events into words: "1 waking".
func list(t testing.TB, j *Log, o event.Query) []string {
	t.Helper()
	out := []string{}
	for e, err := range j.Events(t.Context(), o) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %s", e.Seq, e.Kind))
	}
	return out
}

func wantList(t testing.TB, j *Log, o event.Query, want ...string) {
	t.Helper()
	if got := list(t, j, o); !slices.Equal(got, want) {
		t.Errorf("events %+v: %q, want %q", o, got, want)
	}
}

func TestNumbersGoOnAfterReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "events")
	j := open(t, dir, Options{})
	first, err := j.Append(event.Event{
		Site: "blog", Replica: "blog-1", Kind: "waking", Reason: "first packet", Text: "all of it\nin two lines",
		Fields: map[string]any{"client": "192.0.2.1"},
	})
	if err != nil || first.Seq != 1 || first.Time.IsZero() {
		t.Fatalf("first event: %+v, %v", first, err)
	}
	add(t, j, "running")
	closeIt(t, j)

	j = open(t, dir, Options{})
	add(t, j, "parked")
	wantList(t, j, event.Query{}, "1 waking", "2 running", "3 parked")
	for e, err := range j.Events(t.Context(), event.Query{}) {
		if err != nil || e.Text != first.Text || e.Fields["client"] != "192.0.2.1" || !e.Time.Equal(first.Time) {
			t.Errorf("read again: %+v (%v), want %+v", e, err, first)
		}
		break
	}
}

func TestGivenTimeIsKept(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	at := time.Date(2026, 11, 22, 10, 31, 7, 482e6, time.UTC)
	if e, err := j.Append(event.Event{Time: at}); err != nil || !e.Time.Equal(at) {
		t.Errorf("got %v, %v", e.Time, err)
	}
}

// kill -9 in the middle of a write leaves half a line.
func TestTornLastLineIsCutOff(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	add(t, j, "one", "two")
	path := j.current()
	closeIt(t, j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole) - 1; cut > bytes.IndexByte(whole, '\n')+1; cut-- {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, dir, Options{})
		wantList(t, j, event.Query{}, "1 one")
		add(t, j, "next")
		closeIt(t, j)
		j = open(t, dir, Options{})
		wantList(t, j, event.Query{}, "1 one", "2 next")
		closeIt(t, j)
	}
}

func TestDamagedLinesAreSkipped(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	add(t, j, "one", "two", "three", "four")
	path := j.current()
	closeIt(t, j)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[1] = append(bytes.Repeat([]byte{0}, len(lines[1])-1), '\n')
	lines[2] = []byte("\n{}\nnull\n[1]\n")
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, Options{})
	add(t, j, "five")
	wantList(t, j, event.Query{}, "1 one", "4 four", "5 five")
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	opts := Options{MaxSize: 1000}
	j := open(t, dir, opts)
	const n = 100
	for i := range n {
		add(t, j, fmt.Sprintf("event-%d", i))
		for _, path := range []string{j.current(), j.previous()} {
			if info, err := os.Stat(path); err == nil && info.Size() > opts.MaxSize {
				t.Fatalf("%s has %d bytes, want at most %d", path, info.Size(), opts.MaxSize)
			}
		}
	}
	if got := list(t, j, event.Query{}); len(got) != n {
		t.Errorf("%d events in memory, want %d", len(got), n)
	}
	closeIt(t, j)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("files %v (%v), want two", entries, err)
	}
	j = open(t, dir, opts)
	add(t, j, "next")
	got := list(t, j, event.Query{})
	if len(got) < 8 || got[len(got)-1] != fmt.Sprintf("%d next", n+1) || got[len(got)-2] != fmt.Sprintf("%d event-%d", n, n-1) {
		t.Fatalf("after a restart: %q, want a file or two full of them, numbered on", got)
	}
	for i, s := range got {
		if want := fmt.Sprintf("%d ", n+2-len(got)+i); !strings.HasPrefix(s, want) {
			t.Errorf("event %d is %q, want number %s", i, s, want)
		}
	}
}

// A line larger than a whole file is still written, alone.
func TestEventLargerThanAFile(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{MaxSize: 100})
	add(t, j, "one", strings.Repeat("x", 1000), "three")
	closeIt(t, j)
	j = open(t, dir, Options{MaxSize: 100})
	wantList(t, j, event.Query{Since: 2}, "3 three")
}

func TestRotationThatWasInterrupted(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{MaxSize: 200})
	add(t, j, "one", "two")
	closeIt(t, j)
	if err := os.Rename(j.current(), j.previous()); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, Options{MaxSize: 200})
	add(t, j, "three")
	wantList(t, j, event.Query{}, "1 one", "2 two", "3 three")
	if err := os.Remove(j.current()); err != nil { // somebody tidied up
		t.Fatal(err)
	}
	add(t, j, "four", "five", "six")
	closeIt(t, j)
	j = open(t, dir, Options{MaxSize: 200})
	if got := list(t, j, event.Query{Last: 1}); !slices.Equal(got, []string{"6 six"}) {
		t.Errorf("after the file was removed: %q", got)
	}
}

// A full disk: the event is lost to the file, those before and after are not.
func TestWriteThatFailsHalfWay(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	add(t, j, "one")
	info, err := os.Stat(j.current())
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = uint64(info.Size()) + 10
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, err = j.Append(event.Event{Site: "blog", Kind: "two"})
	if back := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, unix.EFBIG) {
		t.Fatalf("append beyond the limit: %v, want EFBIG", err)
	}
	add(t, j, "three")
	wantList(t, j, event.Query{}, "1 one", "2 two", "3 three") // those who follow have it
	closeIt(t, j)
	j = open(t, dir, Options{})
	wantList(t, j, event.Query{}, "1 one", "3 three")
}

func TestChoosing(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	for i := range 6 {
		if _, err := j.Append(event.Event{Site: []string{"blog", "shop"}[i%2], Kind: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	wantList(t, j, event.Query{Since: 4}, "5 k", "6 k")
	wantList(t, j, event.Query{Since: 6})
	wantList(t, j, event.Query{Since: 600})
	wantList(t, j, event.Query{Last: 2}, "5 k", "6 k")
	wantList(t, j, event.Query{Last: 99, Since: 5}, "6 k")
	wantList(t, j, event.Query{Site: "shop"}, "2 k", "4 k", "6 k")
	wantList(t, j, event.Query{Site: "shop", Last: 2}, "4 k", "6 k")
	wantList(t, j, event.Query{Site: "blog", Since: 1, Last: 1}, "5 k")
	wantList(t, j, event.Query{Site: "nobody"})

	var newest []uint64
	j.Newest(func(e event.Event) bool { newest = append(newest, e.Seq); return len(newest) < 3 })
	if !slices.Equal(newest, []uint64{6, 5, 4}) {
		t.Errorf("Newest: %v", newest)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	const keep = 10
	j := open(t, dir, Options{Keep: keep})
	check := func(seq int) {
		t.Helper()
		if n := len(j.ring); n > 2*keep || n < min(seq, keep) {
			t.Fatalf("%d events in memory after %d, want %d to %d", n, seq, min(seq, keep), 2*keep)
		}
		if cap(j.ring) > 4*keep {
			t.Fatalf("room for %d events in memory", cap(j.ring))
		}
		if last := j.ring[len(j.ring)-1].Seq; last != uint64(seq) {
			t.Fatalf("the newest is %d, want %d", last, seq)
		}
	}
	for i := range 95 {
		add(t, j, "k")
		check(i + 1)
	}
	closeIt(t, j)
	j = open(t, dir, Options{Keep: keep})
	check(95)
}

// follow collects numbers until it has seen `until`.
func follow(ctx context.Context, j *Log, o event.Query, until uint64, started chan<- struct{}) []uint64 {
	o.Follow = true
	var got []uint64
	for e, err := range j.Events(ctx, o) {
		if err != nil {
			break
		}
		if len(got) == 0 {
			close(started)
		}
		got = append(got, e.Seq)
		if e.Seq == until {
			break
		}
	}
	return got
}

func TestFollowersGetEverythingInOrder(t *testing.T) {
	const writers, each, followers = 4, 300, 4
	j := open(t, t.TempDir(), Options{MaxSize: 20000})
	add(t, j, "first")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var followed, written sync.WaitGroup
	results := make([][]uint64, followers)
	for i := range followers {
		started := make(chan struct{})
		followed.Go(func() { results[i] = follow(ctx, j, event.Query{}, 1+writers*each, started) })
		<-started
	}
	for w := range writers {
		written.Go(func() {
			for range each {
				if _, err := j.Append(event.Event{Kind: "k", Site: fmt.Sprint(w)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written.Wait()
	followed.Wait()
	for i, got := range results {
		if len(got) != 1+writers*each {
			t.Errorf("follower %d got %d events, want %d", i, len(got), 1+writers*each)
			continue
		}
		for k, seq := range got {
			if seq != uint64(k+1) {
				t.Errorf("follower %d: event %d is number %d", i, k, seq)
				break
			}
		}
	}
}

func TestFollowChooses(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	add(t, j, "1", "2", "3")
	started, done := make(chan struct{}), make(chan []uint64)
	go func() {
		done <- follow(t.Context(), j, event.Query{Site: "blog", Last: 1}, 6, started)
	}()
	<-started
	for _, site := range []string{"shop", "blog", "blog"} {
		if _, err := j.Append(event.Event{Site: site}); err != nil {
			t.Fatal(err)
		}
	}
	// Last is about what was there before; what comes is not limited
	if got := <-done; !slices.Equal(got, []uint64{3, 5, 6}) {
		t.Errorf("followed %v, want 3, 5, 6", got)
	}
}

func TestFollowEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*Log, context.CancelFunc) error
	}{
		{"with the event log", func(j *Log, _ context.CancelFunc) error { return j.Close() }},
		{"with the context", func(_ *Log, cancel context.CancelFunc) error { cancel(); return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, t.TempDir(), Options{})
			add(t, j, "k")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			started, done := make(chan struct{}), make(chan []uint64)
			go func() { done <- follow(ctx, j, event.Query{}, 99, started) }()
			<-started
			if err := c.end(j, cancel); err != nil {
				t.Fatal(err)
			}
			if got := <-done; len(got) != 1 {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	add(t, j, "one")
	closeIt(t, j)
	closeIt(t, j) // twice is no error
	if _, err := j.Append(event.Event{Kind: "late"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after close: %v, want os.ErrClosed", err)
	}
	if got := list(t, j, event.Query{Follow: true}); len(got) == 0 {
		t.Error("what was kept can be read no more")
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "events"), Options{}); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("opened a event log below a file: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	j := open(b, b.TempDir(), Options{})
	e := event.Event{Site: "blog", Replica: "blog-1", Kind: "running", Reason: "listening"}
	for b.Loop() {
		if _, err := j.Append(e); err != nil {
			b.Fatal(err)
		}
	}
}
