package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// What is behind the guest's web server, as php-fpm is behind nginx: it comes up the time BACK after it.
//
//	GET /back   502 until it is up
//	GET /hang   answers; no other request is answered from then on
const (
	backPort   = "127.0.0.1:9000"
	backSocket = "/back.sock"
	backFile   = "/back.up"
	isBack     = "is-back" // as the guest's argument: ends with 0 when it is up
)

// hung is whether the guest answers nobody any more.
var hung atomic.Bool

// hangs keeps requests from being answered, once that was asked for.
func hangs(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hung.Load() {
			<-r.Context().Done()
			return
		}
		h.ServeHTTP(w, r)
	})
}

func backGuest(mux *http.ServeMux) {
	var up atomic.Bool
	if after, err := time.ParseDuration(os.Getenv("BACK")); err == nil {
		time.AfterFunc(after, func() {
			_, errTCP := net.Listen("tcp4", backPort)
			_, errUnix := net.Listen("unix", backSocket)
			if err := errors.Join(errTCP, errUnix, os.WriteFile(backFile, nil, 0o600)); err != nil {
				fmt.Fprintln(os.Stderr, "guest:", err)
				return
			}
			up.Store(true)
		})
	}
	mux.HandleFunc("GET /hang", func(http.ResponseWriter, *http.Request) { hung.Store(true) })
	mux.HandleFunc("GET /back", func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			http.Error(w, "nothing is behind it", http.StatusBadGateway)
		}
	})
}

// TestRootReadyProbes: the first visitor of a site whose web server is up before what is behind it gets no error, by each kind of probe, and is
// the only one that is counted.
func TestRootReadyProbes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for kind, probe := range map[string]string{
		"http": "http: /back", "tcp": "tcp: 9000", "unix": "unix: " + backSocket, "file": "file: " + backFile, "exec": "exec: [/site, " + isBack + "]",
	} {
		s := n.deploy("ready-"+kind, "env: {GUEST: serve, BACK: 300ms}", "ready: {"+probe+"}")
		mark := n.mark()
		n.outside.mustGet(s.addr4(80), "/back")
		n.outside.mustGet(s.addr6(80), "/back")
		if tr := s.lastWake(mark); !slices.ContainsFunc(tr.Steps, func(s api.Step) bool { return s.Name == api.StepReady }) {
			t.Errorf("%s: the steps of its wake are %v", kind, tr.Steps)
		}
		if r := s.get().Replicas; len(r) != 1 || r[0].Conns.Total != 2 {
			t.Errorf("%s: two came, and are counted as %+v", kind, r)
		}
	}
}

// TestRootHangingApplications: an application that hangs is replaced where it has a health probe, and told where it has none.
func TestRootHangingApplications(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	probed := n.deploy("probed", "health: {http: /, every: 1s, timeout: 500ms, failures: 2}")
	mute := n.deploy("mute", "health: {answer: 5s}")
	n.outside.greet(probed.addr4(80))
	n.outside.greet(mute.addr4(80))
	if r := probed.get().Replicas; len(r) != 1 || r[0].Conns.Total != 1 {
		t.Errorf("one came, and is counted as %+v", r)
	}
	mark := n.mark()
	for _, s := range []*site{probed, mute} {
		n.outside.mustGet(s.addr4(80), "/hang")
	}
	probed.await(mark, "unhealthy")
	probed.await(mark, "drained")
	n.outside.greet(probed.addr4(80)) // by another replica
	waits := later(func() error {
		_, err := n.outside.get(mute.addr4(80), "/")
		return err
	})
	if ev := mute.await(mark, "stalled"); !strings.Contains(ev.Reason, "nobody has got an answer") {
		t.Errorf("the event says %q", ev.Reason)
	}
	mute.park()
	if err := testutil.Receive(t, patience, "the visitor's end", waits); err == nil {
		t.Error("it answered")
	}
}
