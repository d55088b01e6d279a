package load

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// serve answers on loopback and counts connections and requests.
type server struct {
	*httptest.Server
	conns, requests, now, most atomic.Int64
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		now := s.now.Add(1)
		defer s.now.Add(-1)
		for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
		}
		h(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func greet(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }

func TestEveryRequestIsCounted(t *testing.T) {
	for name, keep := range map[string]bool{"keep-alive": true, "a connection each": false} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, greet)
			r, err := Run(t.Context(), Config{URL: s.URL, KeepAlive: keep, Timeout: testutil.Timeout(10 * time.Second)},
				Evenly(Constant(400), 500*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			if r.Sent != 200 || r.OK != 200 || s.requests.Load() != 200 {
				t.Errorf("%v; the server saw %d", r, s.requests.Load())
			}
			if r.Elapsed < 490*time.Millisecond {
				t.Errorf("sent within %v what should take half a second", r.Elapsed)
			}
			if conns := s.conns.Load(); keep == (conns == 200) {
				t.Errorf("%d connections", conns)
			}
			if r.Quantile(0.5) <= 0 || r.Quantile(0.5) > r.Quantile(0.99) {
				t.Errorf("quantiles: %v", r)
			}
		})
	}
}

// A stall counts for all who came during it: the server is shut for a while, and
// requests that came later than the first one waited too.
func TestLatencyCountsFromTheIntendedMoment(t *testing.T) {
	const stall = 300 * time.Millisecond
	var gate sync.Mutex
	var first sync.Once
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		gate.Lock()
		first.Do(func() { <-time.After(stall) })
		gate.Unlock()
		greet(w, r)
	})
	// One request at a time: a closed loop would see one slow answer and 59 quick ones.
	r, err := Run(t.Context(), Config{URL: s.URL, KeepAlive: true, InFlight: 1, Timeout: testutil.Timeout(30 * time.Second), Objective: stall / 3},
		Evenly(Constant(200), stall))
	if err != nil {
		t.Fatal(err)
	}
	if r.OK != 60 || s.most.Load() != 1 {
		t.Fatalf("%v, at most %d at a time", r, s.most.Load())
	}
	// Two thirds of them came while more than a third of the stall was still to come.
	if r.Over() < 0.6 || r.Quantile(0.5) < stall/3 {
		t.Errorf("%v: the stall was left out", r)
	}
	if r.Late(0.5) < stall/4 {
		t.Errorf("late by %v only, although one request at a time was allowed", r.Late(0.5))
	}
	if w := r.Windows[0]; len(r.Windows) != 1 || w.Sent != 60 || w.Over != int(r.Over()*60+0.5) || w.Most < stall/3 {
		t.Errorf("windows %+v", r.Windows)
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	released := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/status":
			http.Error(w, "no", http.StatusServiceUnavailable)
		case "/reset":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		default:
			<-released
		}
	})
	t.Cleanup(func() { close(released) })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + gone.Addr().String()
	_ = gone.Close()
	for url, want := range map[string]Failure{s.URL + "/status": Status, s.URL + "/reset": Reset, s.URL + "/hang": TimedOut, refused: Refused} {
		timeout := testutil.Timeout(10 * time.Second)
		if want == TimedOut {
			timeout = 50 * time.Millisecond
		}
		r, err := Run(t.Context(), Config{URL: url, Timeout: timeout}, Evenly(Constant(100), 50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent != 5 || r.Failed[want] != 5 || r.Errors() != 5 || r.Over() != 1 || r.FirstError[want] == "" {
			t.Errorf("%s: %v", url, r)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := serve(t, greet)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	n := 0
	endless := func(yield func(time.Duration) bool) {
		for i := 0; yield(time.Duration(i) * time.Millisecond); i++ {
			if n++; n == 20 {
				cancel(why)
			}
		}
	}
	r, err := Run(ctx, Config{URL: s.URL, KeepAlive: true}, endless)
	if !errors.Is(err, why) || r == nil || r.Sent > 20 {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := Run(t.Context(), Config{URL: "://"}, endless); err == nil || !strings.Contains(err.Error(), "load") {
		t.Errorf("a wrong URL gives %v", err)
	}
}
