package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/spec"
)

func init() { time.Local = time.UTC } // synctest's time begins at midnight there

// rig is a clock over sites that do what they are told to. Its time is synctest's,
// which begins at midnight UTC, 2000-01-01.
type rig struct {
	*Clock

	dir  string
	work *sync.WaitGroup

	mu    sync.Mutex
	sites []Site
	tasks []string
	told  []event.Event
	end   chan error // of a run; nil: at once

	panics int
}

func (r *rig) open() {
	r.work = &sync.WaitGroup{}
	r.Clock = New(Options{
		Dir: r.dir, Go: r.work.Go, Log: slog.New(slog.DiscardHandler),
		Guard: func(f func()) {
			if fault := guard.Run(f); fault != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.panics++
			}
		},
		Sites: func() []Site { return r.sites },
		Tell: func(ev event.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.told = append(r.told, ev)
		},
	})
}

func (r *rig) site(name string, at ...string) {
	s := Site{Name: name, Run: func(ctx context.Context, t spec.Task) (Outcome, error) {
		r.mu.Lock()
		r.tasks = append(r.tasks, fmt.Sprintf("%s %s %s", name, t.At, time.Now().UTC().Format("15:04")))
		end := r.end
		r.mu.Unlock()
		out := Outcome{Replica: name + "-1", Code: 7}
		if end == nil {
			return out, nil
		}
		select {
		case err := <-end:
			return out, err
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}}
	for _, a := range at {
		s.Tasks = append(s.Tasks, spec.Task{At: a, Exec: []string{"/bin/true"}})
	}
	r.sites = append(slices.DeleteFunc(r.sites, func(s Site) bool { return s.Name == name }), s)
}

// pass ticks each minute for a while, as a daemon does, and gives what was run.
func (r *rig) pass(d time.Duration) (ran []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	time.Sleep(d) //nolint:forbidigo // synctest's
	cancel()
	running.Wait()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	ran, r.tasks = r.tasks, nil
	slices.Sort(ran)
	return ran
}

func (r *rig) kinds() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range r.told {
		out = append(out, ev.Kind+" "+ev.Reason)
	}
	r.told = nil
	slices.Sort(out) // runs end in no order
	return out
}

func on(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "schedule")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{dir: dir}
		r.open()
		test(t, r)
		r.work.Wait()
	})
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestOnTime: each command runs at its times, and what it ended with is told.
func TestOnTime(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.site("a", "*/15 * * * *", "0 1 * * *")
		want(t, "in an hour", r.pass(61*time.Minute+time.Second), "a */15 * * * * 00:15", "a */15 * * * * 00:30", "a */15 * * * * 00:45", "a */15 * * * * 01:00", "a 0 1 * * * 01:00")
		told := r.told[0]
		if told.Kind != event.Ran || told.Site != "a" || told.Replica != "a-1" || told.Reason != "*/15 * * * *: exit code 7" || told.Fields["code"] != 7 || told.Text != "" {
			t.Errorf("%+v", told)
		}
		r.site("a", "*/30 * * * *", "2 * * * *") // another spec, between two ticks
		want(t, "in its first minute", r.pass(59*time.Second+time.Second/2), "a 2 * * * * 01:02")
		r.site("a", "*/30 * * * *")
		r.site("b", "5 * * * *")
		want(t, "in another", r.pass(time.Hour), "a */30 * * * * 01:30", "a */30 * * * * 02:00", "b 5 * * * * 01:05")
	})
}

// TestOverlap: what still runs is not run once more, and that is told; others are.
func TestOverlap(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.end = make(chan error)
		r.site("a", "* * * * *")
		r.site("b", "2 * * * *")
		want(t, "while the first runs", r.pass(2*time.Minute+time.Second), "a * * * * * 00:01", "b 2 * * * * 00:02")
		want(t, "told", r.kinds(), "not-ran * * * * *: the daemon is stopping", "not-ran * * * * *: the run before is still under way", "not-ran 2 * * * *: the daemon is stopping")
		want(t, "after it", r.pass(time.Minute), "a * * * * * 00:03")
		_ = r.kinds()
		r.site("c", "* * * * *")
		r.sites = r.sites[2:]
		time.Sleep(time.Second) //nolint:forbidigo // synctest's
		go func() { r.end <- errors.New("it broke") }()
		want(t, "another", r.pass(time.Minute), "c * * * * * 00:04")
		want(t, "told", r.kinds(), "not-ran * * * * *: it broke")
	})
}

// TestTimeout: a run that takes too long is ended.
func TestTimeout(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.end = make(chan error)
		r.site("a", "0 1 * * *")
		want(t, "ran", r.pass(2*time.Hour+time.Minute), "a 0 1 * * * 01:00")
		want(t, "told", r.kinds(), "not-ran 0 1 * * *: it took longer than 1h")
	})
}

// TestMissed: what was missed while no daemon ran is run once; not so what was not asked for then, nor twice because a daemon died.
func TestMissed(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.site("a", "*/10 * * * *", "30 23 * * *")
		r.site("new", "*/10 * * * *")
		r.sites = r.sites[:1]
		want(t, "first", r.pass(11*time.Minute), "a */10 * * * * 00:10")
		time.Sleep(5 * time.Hour) //nolint:forbidigo // synctest's
		r.open()                  // another daemon
		_ = r.kinds()
		r.site("a", "*/10 * * * *", "30 23 * * *", "*/20 * * * *")
		r.site("new", "*/10 * * * *")
		r.Sweep()
		want(t, "at the start", r.pass(time.Second), "a */10 * * * * 05:11")
		if ev := r.told[0]; ev.Kind != event.Ran || ev.Text != "it was due at 2000-01-01T00:20:00Z, when no daemon could run it" {
			t.Errorf("%+v", ev)
		}
		r.open() // which died at once
		want(t, "at the next start", r.pass(time.Second))
		r.site("a")
		r.sites = r.sites[:0]
		r.Tick(t.Context(), time.Now())
		r.open()
		r.Sweep()
		if left, err := os.ReadDir(r.dir); err != nil || len(left) != 0 {
			t.Errorf("of sites that are gone there is left %v (%v)", left, err)
		}
	})
}

// TestDamaged: a file that is none is no missed run, and a full disk keeps nothing from being run.
func TestDamaged(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		if err := errors.Join(os.MkdirAll(r.dir, 0o700), os.WriteFile(filepath.Join(r.dir, "a.json"), []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
		r.site("a", "* * * * *")
		want(t, "at the start", r.pass(time.Second))
		if err := errors.Join(os.RemoveAll(r.dir), os.WriteFile(r.dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		want(t, "without a folder", r.pass(time.Minute), "a * * * * * 00:01")
	})
}

// TestClockSetBack: the wall clock was wrong and is set: what is due then is run.
func TestClockSetBack(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.site("a", "*/10 * * * *")
		at := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, ahead := range []time.Duration{0, time.Minute, 5 * time.Hour, 5*time.Hour + time.Minute, -3 * time.Hour, -3*time.Hour + 10*time.Minute} {
			r.Tick(t.Context(), at.Add(ahead))
			synctest.Wait()
		}
		if len(r.tasks) != 2 { // five hours later, once, and ten minutes after it was set back
			t.Errorf("%q", r.tasks)
		}
	})
}

// TestPanic: what panics for one site keeps nobody else's commands back, in this minute and the next ones.
func TestPanic(t *testing.T) {
	on(t, func(t *testing.T, r *rig) {
		r.site("a", "* * * * *")
		r.site("b", "* * * * *")
		work := r.opts.Go
		begun := 0
		r.opts.Go = func(f func()) {
			if begun++; begun == 1 { // a's, which comes first
				panic("a bug")
			}
			work(f)
		}
		ran := r.pass(2*time.Minute + time.Second)
		if want := []string{"b * * * * * 00:01", "b * * * * * 00:02"}; !slices.Equal(ran, want) || r.panics != 1 {
			t.Errorf("ran %q, with %d panics; want %q", ran, r.panics, want)
		}
	})
}
