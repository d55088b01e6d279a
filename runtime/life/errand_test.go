package life

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/logs"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/tests/testutil"
)

// begins has a command wake the site in the background.
func begins(s *Site) <-chan error {
	done := make(chan error, 1)
	go func() {
		r, _, err := s.errand(context.Background(), "schedule: * * * * *")
		if err == nil {
			<-time.After(10 * time.Minute) // which is how long it takes
			s.With(func(l *Live) { errandOver(l, r) })
		}
		done <- err
	}()
	synctest.Wait()
	return done
}

// TestErrandWakesAndLeaves: a command on schedule wakes a site that sleeps and keeps it awake while it runs; then the site goes back to sleep at once, as it has not
// been visited.
func TestErrandWakesAndLeaves(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [{tier: frozen, after: 5m}, {tier: cold, after: 1h}]", func(t *testing.T, w *world, d *daemon, s *Site) {
		over := begins(s)
		if d.phase(s) != site.Waking {
			t.Fatalf("the site is %s", d.phase(s))
		}
		d.listen(s, w.ids()[0])
		pass(9 * time.Minute)
		if asleep(w) {
			t.Fatalf("it sleeps while the command runs: %q", d.kinds())
		}
		pass(time.Minute + 1100*time.Millisecond)
		if err := <-over; err != nil || !asleep(w) {
			t.Fatalf("the command is over (%v) and the site awake: %q", err, d.kinds())
		}
		pass(30 * time.Minute)
		over = begins(s)
		if asleep(w) {
			t.Fatal("it was not thawed")
		}
		pass(10*time.Minute + 1100*time.Millisecond)
		if err := <-over; err != nil || !asleep(w) {
			t.Fatalf("the next command is over (%v) and the site awake: %q", err, d.kinds())
		}
		d.visit(s)
		if asleep(w) {
			t.Error("a visitor does not wake it")
		}
	})
}

// TestErrandIsNoVisit: the idle time of a site counts from its last visitor, whatever was run since; who comes while a command runs is a visitor like others.
func TestErrandIsNoVisit(t *testing.T) {
	inWorld(t, "idle: 15m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		d.visit(s)
		w.leave(id)
		pass(7 * time.Minute)
		over := begins(s)
		pass(7*time.Minute + 30*time.Second)
		if asleep(w) {
			t.Fatal("it sleeps while the command runs")
		}
		pass(2*time.Minute + 31*time.Second)
		if err := <-over; err != nil || !asleep(w) {
			t.Fatalf("idle for 17 minutes and awake (%v): %q", err, d.kinds())
		}
		over = begins(s)
		d.visit(s)
		pass(9 * time.Minute)
		w.leave(id)
		pass(10 * time.Minute)
		if err := <-over; err != nil || asleep(w) {
			t.Fatalf("a visitor has left ten minutes ago, and it sleeps (%v): %q", err, d.kinds())
		}
		pass(6 * time.Minute)
		if !asleep(w) {
			t.Errorf("a visitor has left sixteen minutes ago: %q", d.kinds())
		}
	})
}

// TestErrandToABrokenSite: a command does not start what has just failed to start, and does not wait for ever for what fails.
func TestErrandToABrokenSite(t *testing.T) {
	inWorld(t, "idle: 5m", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.broken = errors.New("no such program")
		if err := <-begins(s); err == nil || !strings.Contains(err.Error(), "no such program") {
			t.Errorf("%v", err)
		}
		before := d.count(event.Waking)
		if err := <-begins(s); err == nil || !strings.Contains(err.Error(), "the site does not start: ") || d.count(event.Waking) != before {
			t.Errorf("%v; tried %d times", err, d.count(event.Waking))
		}
	})
}

// TestErrandWaits: of many sites one is woken for its command at a time.
func TestErrandWaits(t *testing.T) {
	inWorld(t, "idle: 5m", func(t *testing.T, w *world, d *daemon, s *Site) {
		leave, err := d.Errands.Enter(t.Context(), netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		over := begins(s)
		if d.phase(s) != site.Parked {
			t.Errorf("another site is being woken, and this one is %s", d.phase(s))
		}
		leave()
		synctest.Wait()
		if d.phase(s) != site.Waking {
			t.Errorf("it is %s", d.phase(s))
		}
		d.listen(s, w.ids()[0])
		pass(11 * time.Minute)
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// TestOutputOfErrands: what a command prints is in the site's log, at a bounded speed and up to a bound; what holds its pipes open is not waited for.
func TestOutputOfErrands(t *testing.T) {
	h := &Host{Log: slog.New(slog.DiscardHandler)}
	h.Cfg.StateDir = t.TempDir()
	in, _, outR, outW, errR, errW := pipes(t)
	end := h.copyOutput(t.Context(), "a", "a-1", []*os.File{in, outR, errR})
	_, err := io.WriteString(outW, "one\ntwo")
	if _, err2 := io.WriteString(errW, "three\n"); err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	outW.Close() // errW stays open
	var got []string
	read := func() error {
		got = nil
		return logs.Read(t.Context(), h.LogDir("a"), logs.ReadOptions{Tail: logs.All}, func(l logs.Line) error {
			got = append(got, l.Stream+" "+l.Replica+" "+l.Text)
			return nil
		})
	}
	testutil.WaitFor(t, 10*time.Second, "all that was printed", func() error { // end does not wait for long
		if err := read(); err != nil || len(got) < 3 {
			return fmt.Errorf("%q (%w)", got, err)
		}
		return nil
	})
	end()
	err = read()
	text := strings.Join(got, "; ")
	for _, want := range []string{"stdout a-1 one", "stdout a-1 two", "stderr a-1 three"} {
		if err != nil || len(got) != 3 || !strings.Contains(text, want) {
			t.Fatalf("the log has %q (%v), want %q", text, err, want)
		}
	}
}

func pipes(t *testing.T) (in, inW, outR, outW, errR, errW *os.File) {
	t.Helper()
	one := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	in, inW = one()
	outR, outW = one()
	errR, errW = one()
	return in, inW, outR, outW, errR, errW
}

// TestSlowly: of what is printed without an end a part is kept, and the rest is read, but not fast.
func TestSlowly(t *testing.T) {
	_, _, r, w, _, _ := pipes(t)
	go func() {
		defer w.Close()
		for range 20 {
			if _, err := w.Write(make([]byte, saidMost/10)); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // or it takes its time
	got, err := io.ReadAll(&slowly{from: r, ctx: ctx})
	if err != nil || len(got) > saidMost+64 || len(got) < saidMost-saidPiece || !strings.HasSuffix(string(got), "\nfcnode: the rest of the output is left out\n") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
