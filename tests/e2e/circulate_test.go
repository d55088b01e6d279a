package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// replicas waits until the site has so many replicas, each of them running, and returns them.
func (s *site) replicas(want int) (out []api.Replica) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site's replicas", func() error {
		out = s.get().Replicas
		if len(out) != want {
			return fmt.Errorf("site %s has the replicas %+v, want %d", s.name, out, want)
		}
		for _, r := range out {
			if r.PID == 0 {
				return fmt.Errorf("replica %s has no process yet", r.ID)
			}
		}
		return nil
	})
	return out
}

func (s *site) circulate() {
	s.n.t.Helper()
	if _, err := s.n.api.Circulate(s.n.ctx(), s.name); err != nil {
		s.n.t.Fatal(err)
	}
}

// TestRootCirculateUnderLoad: a replica is replaced by a fresh one, and nobody notices: neither who keeps a connection nor
// who makes one for each request, by the address of either family, from here and from outside.
func TestRootCirculateUnderLoad(t *testing.T) {
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("busy", "circulate: {drain: 1s}")
		n.outside.greet(s.addr4(80))
		loads := []*load{startLoad(n.outside, s.addr4(80), s.addr6(80)), startLoad(n.local, s.addr4(80), s.addr6(80))}
		for range few(2) {
			pid, mark := s.pid(), n.mark()
			s.circulate()
			s.await(mark, "draining")
			s.await(mark, "drained")
			for _, l := range loads {
				l.more(t, 20)
			}
			if now := s.pid(); now == pid {
				t.Errorf("the site has its old process %d: %q", pid, s.story(mark))
			}
		}
		for _, l := range loads {
			l.end(t)
		}
	})
}

// TestRootDrainingKeepsConnections: who is connected stays with the old replica until he has done, and it ends with the
// last of them; a daemon that is killed meanwhile changes nothing.
func TestRootDrainingKeepsConnections(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("calm", "circulate: {drain: 1h}", "udpIdle: 10s", "ports: [80/tcp, 53/udp]", "env: {GUEST: serve, LISTEN: 'tcp/:80 udp/:53'}")
	n.outside.greet(s.addr4(80))
	old := s.replicas(1)[0]
	visitor := n.outside.keep(s.addr4(80))
	datagrams, err := n.outside.dial(t.Context(), "udp", s.addr4(53).String())
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	ask := func() {
		t.Helper()
		if err := visitor.ask(); err != nil {
			t.Fatalf("on the kept connection: %v", err)
		}
		if got, err := askUDP(datagrams, "still there?"); err != nil || got != "echo still there?" {
			t.Fatalf("the flow of datagrams: %q, %v", got, err)
		}
	}
	ask()
	mark := n.mark()
	s.circulate()
	s.await(mark, "draining")
	ask()
	for range 10 { // of new ones it gets none
		n.outside.greet(s.addr4(80))
	}
	n.kill()
	ask()
	n.start()
	ask()
	for _, r := range s.replicas(2) {
		switch {
		case r.ID == old.ID && (r.Conns.Now != 1 || r.State != "draining" || r.PID != old.PID):
			t.Errorf("the old replica: %+v, was %+v", r, old)
		case r.ID != old.ID && (r.Conns.Total < 10 || r.State != "ready" || r.ID != "calm-2"):
			t.Errorf("the next replica: %+v", r)
		}
	}
	if err := visitor.conn.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.lasts(datagrams) {
		if want := r.ID == old.ID; (r.Flows == 1) != want {
			t.Errorf("replica %s has %d flows of UDP that last, the old one is %s", r.ID, r.Flows, old.ID)
		}
	}
	for _, text := range []string{"now", "still"} { // the last connection has ended, this flow has not
		if got, err := askUDP(datagrams, text); err != nil || got != "echo "+text {
			t.Fatalf("the flow of datagrams: %q, %v", got, err)
		}
		if a := s.replicas(2); a[0].ID != old.ID && a[1].ID != old.ID {
			t.Fatalf("the old replica has gone: %q", s.story(mark))
		}
	}
	s.await(mark, "drained")
	if r := s.replicas(1)[0]; r.ID == old.ID {
		t.Errorf("the old replica stays: %q", s.story(mark))
	}
	if got, err := askUDP(datagrams, "and now?"); err != nil || got != "echo and now?" {
		t.Errorf("after the flow's end: %q, %v", got, err)
	}
}

// TestRootCirculateNextFails: a next replica that does not come up changes nothing for the visitors, and what the old one
// is replaced by is tried again.
func TestRootCirculateNextFails(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("steady", "circulate: {drain: 1s}", "hostname: old")
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80))
	pid := s.pid()
	for _, bad := range []string{"env: {GUEST: exit}", "command: [/no/such/program]"} {
		mark := n.mark()
		n.deploy("steady", "circulate: {drain: 1s}", bad)
		if ev := s.await(mark, "not-circulated"); ev.Reason == "" || !strings.Contains(ev.Text, "the old replica stays") {
			t.Errorf("the event says %+v", ev)
		}
		l.more(t, 20)
		if now := s.pid(); now != pid {
			t.Errorf("process %d became %d", pid, now)
		}
	}
	mark := n.mark()
	n.deploy("steady", "circulate: {drain: 1s}", "hostname: new")
	s.await(mark, "drained")
	l.more(t, 20)
	l.end(t)
	if host := n.outside.greet(s.addr4(80)); host != "new" {
		t.Errorf("after a spec that works the host is called %q: %q", host, s.story(mark))
	}
}

// TestRootLifetime: replicas are replaced when they have lived for as long as the spec says.
func TestRootLifetime(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("mortal", "lifetime: {after: 1s, jitter: 0%}", "circulate: {drain: 1s}")
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80))
	mark := n.mark()
	for range 2 {
		ev := s.await(mark, "drained")
		mark = ev.Seq
	}
	l.end(t)
	if !strings.Contains(fmt.Sprint(s.story(0)), "its lifetime is over") {
		t.Errorf("nothing says why replicas were replaced: %q", s.story(0))
	}
}

// TestRootCirculateApart: where old and new must not stand side by side, the old one ends first, and visitors are held.
func TestRootCirculateApart(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("alone", "circulate: {overlap: false}")
	n.outside.greet(s.addr4(80))
	pid, mark := s.pid(), n.mark()
	s.circulate()
	s.await(mark, "running")
	n.outside.greet(s.addr4(80))
	if now := s.pid(); now == pid || strings.Contains(fmt.Sprint(s.story(mark)), "draining") {
		t.Errorf("process %d became %d: %q", pid, now, s.story(mark))
	}
	// so do replicas of which the ports differ
	mark = n.mark()
	n.deploy("alone", "ports: [8080/tcp, 80/tcp]", "env: {GUEST: serve, LISTEN: 'tcp/:80 tcp/:8080'}")
	n.outside.greet(s.addr4(8080))
	n.outside.greet(s.addr4(80))
	if strings.Contains(fmt.Sprint(s.story(mark)), "draining") {
		t.Errorf("other ports: %q", s.story(mark))
	}
}

// TestRootCirculateAhead: the next replica is there before it is needed, frozen, and takes over at once.
func TestRootCirculateAhead(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	mark := n.mark()
	s := n.deploy("ahead", "lifetime: {after: 40s, jitter: 0%}", "circulate: {ahead: true, drain: 1s}")
	n.outside.greet(s.addr4(80))
	spare := n.awaitSlow(mark, s.name, "spare")
	takesOver := func() bool { // as it may already when this machine is busy
		return slices.ContainsFunc(s.events(spare.Seq), func(ev api.Event) bool { return ev.Kind == "waking" && ev.Replica == spare.Replica })
	}
	l := startLoad(n.outside, s.addr4(80))
	l.more(t, 20)
	for _, r := range s.get().Replicas {
		if visited := r.Conns.Total > 0; visited == (r.ID == spare.Replica) && !takesOver() {
			t.Errorf("with %s as the spare one: %+v", spare.Replica, r)
		}
	}
	n.awaitSlow(spare.Seq, s.name, "drained") // at the end of its lifetime
	l.more(t, 20)
	l.end(t)
	if !takesOver() {
		t.Errorf("the spare replica %s did not take over: %q", spare.Replica, s.story(mark))
	}
}

// TestRootKilledWhileCirculating: whatever the daemon was at when it was killed, no request is lost, and one replica is
// left in the end.
func TestRootKilledWhileCirculating(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("busy", "circulate: {drain: 1s}")
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80), s.addr6(80))
	for _, at := range []string{"circulating", "draining"} {
		mark := n.mark()
		s.circulate()
		s.await(mark, at)
		n.kill()
		l.more(t, 20)
		n.start()
		l.more(t, 20)
		s.replicas(1)
	}
	l.end(t)
}

// TestRootNewImageCirculates: a name that stands for another image now is a reason, though the spec is the same.
func TestRootNewImageCirculates(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	first := strings.TrimPrefix(n.image(), "dir:")
	second, current := n.path("second"), n.path("current")
	if err := errors.Join(os.CopyFS(second, os.DirFS(first)), os.CopyFS(current, os.DirFS(first))); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(n.spec("deployed", "circulate: {drain: 1s}"), first, current, 1)
	s := n.apply(text)
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80))
	pid, mark := s.pid(), n.mark()
	n.apply(text)
	l.more(t, 20)
	if now := s.pid(); now != pid {
		t.Errorf("nothing has changed, and process %d became %d: %q", pid, now, s.story(mark))
	}
	if err := errors.Join(os.Rename(current, n.path("old")), os.Rename(second, current)); err != nil {
		t.Fatal(err)
	}
	n.apply(text)
	s.await(mark, "drained")
	l.more(t, 20)
	l.end(t)
	if story := fmt.Sprint(s.story(mark)); !strings.Contains(story, "new image") {
		t.Errorf("nothing says why the replica was replaced: %s", story)
	}
}
