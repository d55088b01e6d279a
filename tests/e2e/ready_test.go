package e2e

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// later runs a visit in the background.
func later(visit func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- visit() }()
	return done
}

// portsSettle is how long the daemon waits for a site's other ports when one is open, and for one that was closed.
const portsSettle = 2 * time.Second

// tries is how often something is tried that a machine which stands still for seconds can spoil.
const tries = 5

// TestRootLatePortGetsItsVisitors: a visitor of a port is held until somebody listens on that port, also when the
// site's other ports are open.
func TestRootLatePortGetsItsVisitors(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, c := range []*client{n.outside, n.local} {
		s := n.deploy("late-"+c.name, "ports: [80/tcp, 81/tcp]")
		for _, to := range []netip.AddrPort{s.addr4(81), s.addr6(81)} {
			s.visitLatePort(c, to)
		}
	}
}

// visitLatePort has a client wake the site by a port on which it begins to listen when its other one is open.
func (s *site) visitLatePort(c *client, to netip.AddrPort) {
	t := s.n.t
	t.Helper()
	network := map[bool]string{true: "tcp4", false: "tcp6"}[to.Addr().Is4()]
	for range tries {
		s.park()
		mark := s.n.mark()
		late := later(func() error {
			_, err := c.get(to, "/")
			return err
		})
		open := s.await(mark, "running") // port 80 is
		c.mustGet(s.addr4(80), "/listen?on="+network+"/:81")
		took := time.Since(open.Time)
		err := testutil.Receive(t, patience, "the late port's visitor", late)
		if errors.Is(err, unix.ECONNREFUSED) && took >= portsSettle {
			continue // it was given up on meanwhile, as it should
		}
		if err != nil {
			t.Errorf("%s client: %s, on which somebody listened after %v: %v", c.name, to, took, err)
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d starts: %q", got, s.story(mark))
		}
		return
	}
	t.Errorf("%s client: in none of %d tries somebody listened on %s within %v", c.name, tries, to, portsSettle)
}

// TestRootPortThatStaysClosedIsRefused: ports that nobody listens on when the others have been open for a while
// are answered by the replica's own kernel.
func TestRootPortThatStaysClosedIsRefused(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("half", "ports: [80/tcp, 81/tcp]")
	mark := n.mark()
	for _, c := range []*client{n.outside, n.local} {
		for _, to := range []netip.AddrPort{s.addr4(81), s.addr6(81)} {
			if conn, err := c.connect(to); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s client: %s: %v %v, want it refused", c.name, to, conn, err)
			}
			c.greet(netip.AddrPortFrom(to.Addr(), 80))
		}
	}
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts: %q", got, s.story(mark))
	}
}

// TestRootOneFamilyListeners: a site that listens for one family serves that one, and refuses the other.
func TestRootOneFamilyListeners(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, listen := range []string{"tcp4/:80", "tcp6/:80"} { // Go's tcp6 is IPV6_V6ONLY
		s := n.deploy(listen[:4], "env: {GUEST: serve, LISTEN: "+listen+"}")
		open, closed := s.addr4(80), s.addr6(80)
		if listen == "tcp6/:80" {
			open, closed = closed, open
		}
		for _, c := range []*client{n.outside, n.local} {
			if (c == n.local) != (listen == "tcp4/:80") {
				continue // each takes its time
			}
			mark := n.mark()
			refused := later(func() error { // it may come first
				_, err := c.connect(closed)
				return err
			})
			c.greet(open)
			if err := testutil.Receive(t, patience, "the other family's visitor", refused); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s client, %s: %v, want it refused", c.name, closed, err)
			}
			if got := s.starts(mark); got != 1 {
				t.Errorf("%d starts: %q", got, s.story(mark))
			}
		}
	}
}

func TestRootDatagramWakes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("names", "ports: [53/udp]", "env: {GUEST: serve, LISTEN: 'udp/:53'}")
		for _, c := range []*client{n.outside, n.local} {
			for _, to := range []netip.AddrPort{s.addr4(53), s.addr6(53)} {
				s.park()
				mark := n.mark()
				conn, err := c.dial(t.Context(), "udp", to.String())
				if err != nil {
					t.Fatal(err)
				}
				flight := []string{"first", "second", "third", "fourth", "fifth"} // before any answer
				for _, text := range flight {
					if _, err := conn.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
				}
				for _, text := range flight {
					if got, err := readUDP(conn); err != nil || got != "echo "+text {
						t.Fatalf("%s client: %s answers %q (%v), want that to %s", c.name, to, got, err, text)
					}
				}
				if got, err := askUDP(conn, "awake"); err != nil || got != "echo awake" {
					t.Errorf("%s client: %s answers %q (%v)", c.name, to, got, err)
				}
				_ = conn.Close()
				if got := s.starts(mark); got != 1 {
					t.Errorf("%d starts: %q", got, s.story(mark))
				}
			}
		}
	})
}

// TestRootLoopbackListenerIsNotReady: who listens on 127.0.0.1 alone cannot be visited, and must not be taken for
// ready.
func TestRootLoopbackListenerIsNotReady(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shy", "env: {GUEST: serve, LISTEN: 'tcp/127.0.0.1:80 tcp/[::1]:80'}", "start: {timeout: 1s}")
	mark := n.mark()
	begin := time.Now()
	if conn, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connect: %v %v, want it refused", conn, err)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("refused after %v, before the start timeout", took)
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, "nobody listened") {
		t.Errorf("failed because %q", ev.Reason)
	}
	// Parked, if the time until the next try is over already.
	if v := s.get(); v.Phase == api.PhaseRunning || v.Phase == api.PhaseWaking || v.Error == nil {
		t.Errorf("the site is %s, its last error %v", v.Phase, v.Error)
	}
}

// TestRootVisitorWhoGivesUp: the site comes up for nobody, and is parked again.
func TestRootVisitorWhoGivesUp(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("missed", "ports: [80/tcp, 81/tcp]", "idle: 1s")
	mark := n.mark()
	ctx, giveUp := context.WithCancel(t.Context())
	gone := later(func() error {
		_, err := n.outside.dial(ctx, "tcp", s.addr4(81).String())
		return err
	})
	s.await(mark, "waking")
	giveUp()
	if err := testutil.Receive(t, patience, "the visitor to go", gone); err == nil {
		t.Error("the visitor was connected to a closed port")
	}
	s.await(mark, "running")
	s.await(mark, "parked")
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts: %q", got, s.story(mark))
	}
	n.outside.greet(s.addr4(80))
}

// TestRootHoldDeadline: visitors are held for as long as the start of their site may take, also where that is longer than the configuration's
// deadline, and whoever applies such a spec is told.
func TestRootHoldDeadline(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "hold: {deadline: 1s}"})
	text := n.spec("slow", "env: {GUEST: serve, START: 2s}", "start: {timeout: 1h}")
	res, err := n.api.Apply(n.ctx(), n.parse(text), true)
	if err != nil || len(res) != 1 || !slices.ContainsFunc(res[0].Warnings, func(w string) bool { return strings.HasPrefix(w, "start.timeout: ") }) {
		t.Errorf("applied with %+v (%v), want a warning about start.timeout", res, err)
	}
	s := n.apply(text)
	mark := n.mark()
	outside := later(func() error { _, err := n.outside.get(s.addr4(80), "/"); return err })
	local := later(func() error { _, err := n.local.get(s.addr6(80), "/"); return err })
	for name, visit := range map[string]<-chan error{"outside": outside, "local": local} {
		if err := testutil.Receive(t, 2*patience, "the visitor's answer", visit); err != nil {
			t.Errorf("the %s visitor of a site that starts for two seconds: %v", name, err)
		}
	}
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts: %q", got, s.story(mark))
	}
}

// TestRootListenerComesBack: a server that stops listening for a moment, as many do when they reload, loses nobody; one that
// does not come back is no reason to wait for ever.
func TestRootListenerComesBack(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("reloads")
	for _, c := range []*client{n.outside, n.local} {
		s.comesBack(c)
	}
	s.paused(n.outside, "1h")
	if _, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) { // after a while
		t.Errorf("the first visitor of a port that is closed for good: %v", err)
	}
	n.outside.refused(n, s.addr4(80))
	n.outside.refused(n, s.addr6(80))
}

// comesBack has the site stop listening for a moment in which a visitor comes.
func (s *site) comesBack(c *client) {
	t := s.n.t
	t.Helper()
	for range tries {
		begin := time.Now()
		pid := s.paused(c, "300ms")
		_, err := c.get(s.addr4(80), "/")
		if errors.Is(err, unix.ECONNREFUSED) && time.Since(begin) >= portsSettle {
			s.park() // that port of this replica was given up on for good
			continue
		}
		if err != nil {
			t.Errorf("%s client, who came while the site did not listen: %v", c.name, err)
		}
		if now := s.pid(); now != pid {
			t.Errorf("process %d became %d", pid, now)
		}
		return
	}
	t.Errorf("%s client: in none of %d tries the site listened again within %v", c.name, tries, portsSettle)
}

// paused has the site stop listening for a while.
func (s *site) paused(c *client, d string) (pid int) {
	s.n.t.Helper()
	c.greet(s.addr4(80))
	pid = s.pid()
	c.mustGet(s.addr4(80), "/pause?d="+d)
	return pid
}
