package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// visit lets clients visit at the same instant, each once, and returns their errors.
func visit(count int, one func(i int) error) error {
	var all sync.WaitGroup
	errs := make([]error, count)
	begin := make(chan struct{})
	for i := range count {
		all.Go(func() {
			<-begin
			errs[i] = one(i)
		})
	}
	close(begin)
	all.Wait()
	return errors.Join(errs...)
}

// TestRootCrowdOnParkedSiteIsOneStart: who comes while a site wakes waits for the site, and not for his own packet to be
// sent again.
func TestRootCrowdOnParkedSiteIsOneStart(t *testing.T) {
	onEachWay(t, "hold: {perSite: 100}", func(t *testing.T, n *node) {
		s := n.deploy("crowded")
		// After a second without an answer a client repeats its SYN. A machine that stands still for so long after the
		// site is ready has it do so, too; what is lost on the way is lost each time.
		const most = 5
		for range most {
			again, ready := s.rush(100)
			if again == 0 || ready >= time.Second {
				return
			}
			t.Logf("%d SYNs were repeated though the site was ready after %v", again, ready)
			s.park()
		}
		t.Errorf("in each of %d rounds SYNs had to be repeated though the site was ready", most)
	})
}

// rush has so many visitors come to a parked site at once. It returns how many SYNs were repeated, and after what time the
// site was ready.
func (s *site) rush(visitors int) (again int, ready time.Duration) {
	n := s.n
	n.t.Helper()
	mark := n.mark()
	to := []netip.AddrPort{s.addr4(80), s.addr6(80)}
	who := []*client{n.outside, n.outside, n.local}
	before := repeatedSYNs(n)
	err := visit(visitors, func(i int) error {
		_, err := who[i%len(who)].get(to[i%2], "/")
		return err
	})
	if err != nil {
		n.t.Errorf("somebody was not answered:\n%v", err)
	}
	if got := s.starts(mark); got != 1 {
		n.t.Errorf("%d starts for one crowd: %q", got, s.story(mark))
	}
	s.await(mark, "woken")
	return repeatedSYNs(n) - before, s.step(api.StepReleased)
}

// repeatedSYNs is how many SYNs the kernel has sent again for the clients of a node.
func repeatedSYNs(n *node) int {
	n.t.Helper()
	total := 0
	for _, c := range []*client{n.local, n.outside} {
		c.ns.Do(n.t, func() { total += testutil.RepeatedSYNs(n.t) })
	}
	return total
}

// step is when the last wake reached a step.
func (s *site) step(name string) time.Duration {
	s.n.t.Helper()
	traces, err := s.n.api.Traces(s.n.ctx(), s.name, 1)
	if err != nil || len(traces) != 1 {
		s.n.t.Fatalf("traces of %s: %v, %v", s.name, traces, err)
	}
	for _, st := range traces[0].Steps {
		if st.Name == name {
			return st.At.Duration()
		}
	}
	s.n.t.Fatalf("the last wake of %s has no step %q: %+v", s.name, name, traces[0])
	return 0
}

// TestRootCrowdBeyondTheCapIsAnsweredToo: what cannot be held is repeated by its sender.
func TestRootCrowdBeyondTheCapIsAnsweredToo(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "hold: {perSite: 8}"})
	s := n.deploy("overrun")
	mark := n.mark()
	err := visit(40, func(int) error {
		_, err := n.outside.get(s.addr4(80), "/")
		return err
	})
	if err != nil {
		t.Errorf("somebody was not answered:\n%v", err)
	}
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts for one crowd: %q", got, s.story(mark))
	}
}

func TestRootTwoSitesWakeAtOnce(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	sites := []*site{n.deploy("one"), n.deploy("two")}
	mark := n.mark()
	err := visit(20, func(i int) error {
		s := sites[i%2]
		a, err := n.outside.get(s.addr4(80), "/")
		if err != nil {
			return err
		}
		if want := fmt.Sprintf(greeting, a.from, s.addr4(80), s.name); a.body != want {
			return fmt.Errorf("got %q, want %q", a.body, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, s := range sites {
		if got := s.starts(mark); got != 1 {
			t.Errorf("%s: %d starts: %q", s.name, got, s.story(mark))
		}
	}
}
