package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// kept is a visitor's connection that is kept open, and on which it asks now and then.
type kept struct {
	conn net.Conn
	in   *bufio.Reader
}

func (c *client) keep(to netip.AddrPort) kept {
	c.t.Helper()
	k, err := c.tryKeep(to)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// tryKeep is for visitors in the background, who cannot end the test.
func (c *client) tryKeep(to netip.AddrPort) (kept, error) {
	conn, err := c.connect(to)
	if err != nil {
		return kept{}, fmt.Errorf("%s client: connecting to %s: %w", c.name, to, err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return kept{conn: conn, in: bufio.NewReader(conn)}, nil
}

// ask gets a page over it.
func (k kept) ask() error {
	if err := k.conn.SetDeadline(time.Now().Add(testutil.Timeout(patience))); err != nil {
		return err
	}
	if _, err := io.WriteString(k.conn, "GET /bytes?n=10 HTTP/1.1\r\nHost: site\r\n\r\n"); err != nil {
		return err
	}
	_, err := read(http.ReadResponse(k.in, nil))
	return err
}

// ready waits until so many replicas take connections, and returns them. That one listens the kernel may tell an instant before its monitor
// has told who its processes are.
func (s *site) ready(want int) (out []api.Replica) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site's replicas", func() error {
		out = nil
		all := s.get().Replicas
		for _, r := range all {
			if r.State == "ready" && r.PID != 0 {
				out = append(out, r)
			}
		}
		if len(out) != want {
			return fmt.Errorf("%d of the replicas %+v are ready, want %d", len(out), all, want)
		}
		return nil
	})
	return out
}

// conns gives the connections of each replica by its name.
func conns(replicas []api.Replica) map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range replicas {
		out[r.ID] = r.Conns.Now
	}
	return out
}

// TestRootScaleOut: connections beyond the target make more replicas, told by the kernel; new connections go to those that
// have few, those that are there stay; and when the need is over the site shrinks again, without an error for anybody.
func TestRootScaleOut(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 3, target: {conns: 4}}", "circulate: {drain: 30s}")
	mark := n.mark()
	var visitors []kept
	visit := func(count int) {
		for range count {
			visitors = append(visitors, n.outside.keep(s.addr4(80)))
		}
	}
	visit(1)
	first := s.ready(1)[0]
	visit(30)
	out := s.await(mark, "scaled-out")
	s.ready(3)
	if !strings.Contains(out.Reason, "connections a replica > 4") || out.Fields["evidence"] == nil {
		t.Errorf("scaled out for %q with %v", out.Reason, out.Fields)
	}
	// those who are there have stayed where they were
	s.awaitConns(31)
	if now := conns(s.get().Replicas); now[first.ID] < 10 {
		t.Errorf("of the connections of before %v are left", now)
	}
	visit(30)
	s.awaitConns(61)
	now := conns(s.get().Replicas)
	for id, count := range now {
		// By chance and two choices each: those that came after are within a few of one another.
		if id != first.ID && count < 8 {
			t.Errorf("replica %s has %d of the connections %v", id, count, now)
		}
	}
	s.await(mark, "joined")
	for i, v := range visitors {
		if err := v.ask(); err != nil {
			t.Fatalf("connection %d of %d while scaled out: %v", i, len(visitors), err)
		}
	}
	metrics := new(strings.Builder)
	if err := n.api.Metrics(n.ctx(), metrics); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`fcnode_scale_decisions_total{decision="scaled-out",resource=""} `,
		`fcnode_scale_triggers_total{trigger="conns"} `, // the kernel has told; what came of it: TestRootScaleGoesFirst
		`fcnode_site_connections{site="shop"} 61`, `fcnode_scale_out_first_connection_seconds_count `,
	} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("the metrics have no %s:\n%s", want, metrics)
		}
	}
}

// TestRootScaleInDrains: replicas that are not needed any more go, and nobody notices: neither who keeps a connection to one
// of them nor who makes new ones all the time.
func TestRootScaleInDrains(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 3, target: {conns: 8}}", "circulate: {drain: 1m}")
	mark := n.mark()
	var visitors []kept
	for range 60 {
		visitors = append(visitors, n.outside.keep(s.addr4(80)))
	}
	s.ready(3)
	load := startLoad(n.local, s.addr4(80), s.addr6(80))
	for _, v := range visitors[1:] { // the crowd goes, but for one
		v.conn.Close()
	}
	in := n.awaitSlow(mark, s.name, "scaled-in")
	if in.Fields["evidence"] == nil {
		t.Errorf("scaled in for %q without evidence", in.Reason)
	}
	s.await(mark, "draining")
	load.more(t, 20)
	if err := visitors[0].ask(); err != nil {
		t.Errorf("who stayed: %v", err)
	}
	load.more(t, 20)
	load.end(t)
	visitors[0].conn.Close()
	testutil.WaitFor(t, 3*patience, "one replica", func() error {
		if v := s.get(); len(v.Replicas) > 2 { // how many are enough for the load is the scaler's to say
			return fmt.Errorf("there are %+v", v.Replicas)
		}
		return nil
	})
}

// awaitSlow waits for what takes as long as a replica must have been unneeded.
func (n *node) awaitSlow(after uint64, name, kind string) (out api.Event) {
	n.t.Helper()
	testutil.WaitFor(n.t, 3*patience, "the event "+kind, func() error {
		for ev, err := range n.api.Events(n.ctx(), api.EventOptions{Since: after, Site: name}) {
			if err != nil {
				return err
			}
			if ev.Kind == kind {
				out = ev
				return nil
			}
		}
		return fmt.Errorf("there is no event %s", kind)
	})
	return out
}

// TestRootScaleNoise: visitors who come and go around the target make few actions.
func TestRootScaleNoise(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 4, target: {conns: 10}}")
	mark := n.mark()
	var visitors []kept
	for range few(300) {
		if len(visitors) > 12 { // from below the target to beyond it, and back
			for _, v := range visitors {
				v.conn.Close()
			}
			visitors = nil
		}
		visitors = append(visitors, n.outside.keep(s.addr4(80)))
	}
	actions := kinds(s.events(mark), "scaled-out", "scaled-in")
	// A replica is not given back for seconds; taking it can happen once before that.
	if len(actions) > 3 {
		t.Errorf("noise has made the actions %q", s.story(mark))
	}
}

// TestRootScaleKilled: a daemon that is killed while it scales out is followed by one that goes on with what it finds:
// whoever is connected stays so, and the load is carried by as many replicas as it takes.
func TestRootScaleKilled(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 3, target: {conns: 4}}")
	for round := range few(4) {
		mark := n.mark()
		visitors := []kept{n.outside.keep(s.addr4(80))}
		for range 40 {
			visitors = append(visitors, n.outside.keep(s.addr4(80)))
		}
		if round%2 == 0 {
			s.await(mark, "scaled-out")
		} else {
			s.ready(3)
		}
		n.kill()
		n.start()
		s.ready(3)
		for i, v := range visitors {
			if err := v.ask(); err != nil {
				t.Errorf("round %d: connection %d: %v", round, i, err)
			}
			v.conn.Close()
		}
		s.park()
	}
}

// TestRootScaleUpSaysWhyNot: where the machine cannot set a limit that is to be scaled, the site runs all the same, and the
// reason is told once.
func TestRootScaleUpSaysWhyNot(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "limits: {cpu: {min: 0.25, max: 2}, memory: {min: 64MiB, max: 1GiB}, pids: {min: 64, max: 512}}")
	mark := n.mark()
	info, err := n.api.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	lacking := 0
	for _, controller := range []string{"cpu", "memory", "pids"} {
		has := false
		for _, have := range info.Cgroup.Controllers {
			has = has || have == controller
		}
		if !has {
			lacking++
		}
	}
	for range 2 {
		n.outside.greet(s.addr4(80))
		s.ready(1)
		s.park()
	}
	if told := kinds(s.events(mark), "not-scaled"); len(told) != lacking {
		t.Errorf("%d limits cannot be scaled, told of %q", lacking, s.story(mark))
	}
	if why := s.get().NotScaled; len(why) != lacking {
		t.Errorf("%d limits cannot be scaled, get says %q", lacking, why)
	}
}
