package life

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// app is what answers within the replicas of a world.
type app struct {
	status atomic.Int32 // of HTTP; 0: nobody listens; -1: it hangs
	asked  atomic.Int32
}

func (a *app) dial(netip.AddrPort) (net.Conn, error) {
	a.asked.Add(1)
	status := int(a.status.Load())
	if status == 0 {
		return nil, unix.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		if status < 0 {
			_, _ = io.Copy(io.Discard, ours) // until who asks has had enough
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(ours)); err != nil {
			return
		}
		resp := http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1}
		_ = resp.Write(ours) // who asked may have gone
	}()
	return theirs, nil
}

// lastEvent of a kind.
func (d *daemon) lastEvent(t *testing.T, kind event.Kind) (out event.Event) {
	t.Helper()
	for ev, err := range d.Eventlog.Events(t.Context(), event.Query{}) {
		if err != nil {
			t.Error(err)
		}
		if ev.Kind == kind {
			out = ev
		}
	}
	return out
}

// TestReadyProbe: somebody listens, but visitors are held until the probe has passed.
func TestReadyProbe(t *testing.T) {
	inWorld(t, "idle: 1h, ready: {http: /up}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(502)
		w.answers = a.dial
		id := d.up(t, s)
		pass(5 * time.Second)
		d.visit(s)
		if released, refused := w.counts(); released != 0 || refused != 0 || d.phase(s) != site.Waking {
			t.Fatalf("its gateway is bad still: %d let in, %d refused, %s", released, refused, d.phase(s))
		}
		if asked := a.asked.Load(); asked < 10 || asked > 40 {
			t.Errorf("asked %d times in five seconds", asked)
		}
		a.status.Store(200)
		pass(laterAsk)
		if released, _ := w.counts(); released != 2 || d.phase(s) != site.Running {
			t.Errorf("ready: %d of 2 let in, %s", released, d.phase(s))
		}
		before := a.asked.Load()
		pass(time.Minute)
		if st, err := w.Stats(id); err != nil || st.ConnsTotal != 0 || st.Closed || a.asked.Load() != before {
			t.Errorf("counted %d visits (%v), closed: %v, asked %d times more", st.ConnsTotal, err, st.Closed, a.asked.Load()-before)
		}
		wantKinds(t, d, event.Waking, event.Running)
	})
}

// TestReadyAtOnce: whoever is ready when it listens is asked once, a millisecond later.
func TestReadyAtOnce(t *testing.T) {
	inWorld(t, "idle: 1h, ready: {tcp: 9000}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(200)
		w.answers = a.dial
		d.up(t, s)
		pass(firstAsk)
		if released, _ := w.counts(); released != 1 || a.asked.Load() != 1 {
			t.Errorf("%d let in after %d questions", released, a.asked.Load())
		}
	})
}

// TestNeverReady: the start fails at its time, and people read what the probe has found.
func TestNeverReady(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		says   string
	}{
		"bad":    {503, "its ready probe has not passed within 10s: GET /up on port 80: status 503, want 200 to 399"},
		"nobody": {0, "its ready probe has not passed within 10s: GET /up on port 80: nobody listens on port 80"},
		"hung":   {-1, "its ready probe has not passed within 10s: GET /up on port 80: no answer within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, "idle: 1h, start: {timeout: 10s}, ready: {http: /up, timeout: 1s}", func(t *testing.T, w *world, d *daemon, s *Site) {
				var a app
				a.status.Store(int32(c.status))
				w.answers = a.dial
				d.up(t, s)
				pass(11 * time.Second)
				if _, refused := w.counts(); refused != 1 || len(w.ids()) != 0 {
					t.Errorf("%d refused, replicas %v", refused, w.ids())
				}
				if ev := d.lastEvent(t, event.Failed); !strings.HasPrefix(ev.Reason, c.says) {
					t.Errorf("the event says %q, want %q", ev.Reason, c.says)
				}
			})
		})
	}
}

// TestReadyEverywhere: the next replica of a circulation and one more of a site that is scaled out get no flows before they are ready, and
// one that was prepared neither; one that was frozen was ready before.
func TestReadyEverywhere(t *testing.T) {
	var a app
	closed := func(t *testing.T, w *world, d *daemon, s *Site, id bpf.ReplicaID) {
		t.Helper()
		a.status.Store(503)
		d.listen(s, id)
		pass(time.Second)
		if st, err := w.Stats(id); err != nil || !st.Closed {
			t.Fatalf("replica %d gets visitors and is not ready (%v)", id, err)
		}
		a.status.Store(200)
		pass(time.Second)
		if st, err := w.Stats(id); err != nil || st.Closed {
			t.Fatalf("replica %d is ready and gets no visitors (%v)", id, err)
		}
	}
	begin := func(t *testing.T, w *world, d *daemon, s *Site) bpf.ReplicaID {
		t.Helper()
		a.status.Store(200)
		w.answers = a.dial
		id := d.up(t, s)
		pass(time.Second)
		return id
	}
	t.Run("circulation", func(t *testing.T) {
		inWorld(t, "idle: 1h, ready: {http: /}", func(t *testing.T, w *world, d *daemon, s *Site) {
			old := begin(t, w, d, s)
			s.With(func(l *Live) { _ = l.Circulate("asked for") })
			synctest.Wait()
			next := w.ids()[1]
			a.status.Store(503)
			d.listen(s, next)
			pass(20 * time.Second)
			if ids := w.ids(); len(ids) != 2 || ids[0] != old {
				t.Fatalf("the next one is not ready, and the replicas are %v", ids)
			}
			closed(t, w, d, s, next)
			pass(time.Minute)
			if ids := w.ids(); len(ids) != 1 || ids[0] != next {
				t.Errorf("the replicas are %v", ids)
			}
		})
	})
	t.Run("scale-out", func(t *testing.T) {
		inWorld(t, "idle: 1h, ready: {http: /}, scale: {max: 2}", func(t *testing.T, w *world, d *daemon, s *Site) {
			begin(t, w, d, s)
			s.With(func(l *Live) { l.Scaled().Ask(site.ScaleAsked{Want: 2, Reason: "a test"}) })
			synctest.Wait()
			closed(t, w, d, s, w.ids()[1])
		})
	})
	t.Run("prepared", func(t *testing.T) {
		inWorld(t, "idle: 1m, tiers: [prepared], ready: {http: /}", func(t *testing.T, w *world, d *daemon, s *Site) {
			begin(t, w, d, s)
			pass(2 * time.Minute)
			d.visit(s)
			closed(t, w, d, s, w.ids()[0])
			if released, _ := w.counts(); released != 2 {
				t.Errorf("%d of 2 let in", released)
			}
		})
	})
	t.Run("frozen", func(t *testing.T) {
		inWorld(t, "idle: 1m, tiers: [frozen], ready: {http: /}", func(t *testing.T, w *world, d *daemon, s *Site) {
			id := begin(t, w, d, s)
			asked := a.asked.Load()
			pass(2 * time.Minute)
			a.status.Store(503)
			d.visit(s)
			if st, err := w.Stats(id); err != nil || st.Closed || st.ConnsTotal != 1 || a.asked.Load() != asked {
				t.Errorf("thawed: closed %v, %d visitors (%v), asked %d times more", st.Closed, st.ConnsTotal, err, a.asked.Load()-asked)
			}
		})
	})
}

// TestReadyOverDeath: the daemon dies while a replica is asked, and the next one goes on.
func TestReadyOverDeath(t *testing.T) {
	const specs = "idle: 1h, ready: {http: /}"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(503)
		w.answers = a.dial
		id := d.up(t, s)
		pass(time.Second)
		kernel, set := w.replicas[id].kernel, w.sites[s.ID]
		d.kill()
		next := w.start(specs)
		*d = *next
		s = next.all["a"]
		stats, err := w.Stats(id)
		if err != nil || !stats.Closed {
			t.Fatalf("closed: %v (%v)", stats.Closed, err)
		}
		if err := Adopt(s, site.ReplicaID(id), w.containers["a-1.1"], kernel, fakeNamespace{w}, stats, set); err != nil {
			t.Error(err)
		}
		s.With((*Live).AllAdopted)
		pass(2 * time.Second)
		if st, err := w.Stats(id); err != nil || !st.Closed || d.phase(s) != site.Waking {
			t.Fatalf("not ready: closed %v (%v), %s", st.Closed, err, d.phase(s))
		}
		a.status.Store(200)
		pass(time.Second)
		if st, err := w.Stats(id); err != nil || st.Closed || d.phase(s) != site.Running {
			t.Errorf("ready: closed %v (%v), %s", st.Closed, err, d.phase(s))
		}
	})
}

// TestHeldForTheStart: a visitor is held for a little longer than the start of his site may take, and the start's end answers him.
func TestHeldForTheStart(t *testing.T) {
	for specs, want := range map[string]time.Duration{
		"idle: 1h, start: {timeout: 2m}": 2*time.Minute + holdMargin, "idle: 1h": time.Duration(config.Default().Start.Timeout) + holdMargin,
	} {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			d.visit(s)
			if w.within != want {
				t.Errorf("%s: held for %s, want %s", specs, w.within, want)
			}
			pass(want - 2*holdMargin)
			if _, refused := w.counts(); refused != 0 {
				t.Errorf("%s: refused before its start's time was over", specs)
			}
			pass(2 * holdMargin)
			if _, refused := w.counts(); refused != 1 {
				t.Errorf("%s: %d refused", specs, refused)
			}
			warned := d.HeldLong(parseLife(t, specs))
			if long := want > time.Minute; long != (len(warned) == 1) {
				t.Errorf("%s: warned %q", specs, warned)
			}
		})
	}
}

// TestSaysOnWhatItListens: of a start that comes to nothing people read on what it does listen.
func TestSaysOnWhatItListens(t *testing.T) {
	inWorld(t, "idle: 1h, start: {timeout: 10s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		pass(11 * time.Second)
		want := "nobody listened on its ports (80/tcp) within 10s; it listens on 127.0.0.1:9000; its image exposes 9000/tcp"
		if ev := d.lastEvent(t, event.Failed); ev.Reason != want {
			t.Errorf("the event says %q, want %q", ev.Reason, want)
		}
	})
}
