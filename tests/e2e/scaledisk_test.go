package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// wbps is what a site may write to its only disk now, as fcnode says it.
func (s *site) wbps() int64 {
	s.n.t.Helper()
	io := s.get().Limits.IO
	if len(io) != 1 {
		s.n.t.Fatalf("limits of disks: %+v", io)
	}
	return io[0].WriteBytes
}

// awaitWBPS waits until the daemon and the kernel agree on what a replica may write, which is as wanted: either may be read in the middle of
// a change.
func (s *site) awaitWBPS(r api.Replica, what string, is func(now int64) bool) (now int64) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, 3*patience, what, func() error {
		now = s.wbps()
		have := s.n.limit(r, "io.max")
		if !is(now) || !strings.Contains(have, fmt.Sprintf("wbps=%d riops=5000 wiops=max", now)) {
			return fmt.Errorf("the daemon says %d bytes/s, the kernel has %q: %q", now, have, s.story(0))
		}
		return nil
	})
	return now
}

// writing has a site write to its volume, round after round, until stop is called.
func (s *site) writing() (stop func()) {
	var done sync.WaitGroup
	over := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if _, err := s.n.outside.get(s.addr4(80), fmt.Sprintf("/write?path=/data/file&bytes=%d", 2*mib)); err != nil {
				s.n.t.Error(err)
				return
			}
		}
	})
	return func() {
		close(over)
		done.Wait()
	}
}

// TestRootScaleIOInPlace: the rate at which a site may write goes down when it is not needed and up when it is used up, by one write each
// to io.max, for the same processes. What is fixed of the disk stays.
func TestRootScaleIOInPlace(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "io controller")
	t.Parallel()
	disk := testutil.Scratch(t)
	n := newNode(t, options{})
	s := n.deploy("shop", "volumes: [{source: "+disk+", target: /data}]", "limits: {io: [{device: "+disk+", wbps: {min: 1MiB, max: 32MiB}, riops: 5000}]}")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	replica := s.ready(1)[0]
	processes := n.limit(replica, "cgroup.procs")
	down := n.awaitSlow(mark, s.name, "scaled-down")
	if down.Fields["resource"] != "io" || down.Fields["rate"] != "wbps" || down.Fields["device"] != disk || down.Fields["from"] != float64(32*mib) {
		t.Errorf("scaled down: %+v", down)
	}
	low := s.awaitWBPS(replica, "a low rate", func(now int64) bool { return now < 8*mib })

	mark = n.mark()
	stop := s.writing()
	up := n.awaitSlow(mark, s.name, "scaled-up")
	if up.Fields["resource"] != "io" || up.Fields["rate"] != "wbps" || up.Fields["evidence"] == nil {
		t.Errorf("scaled up: %+v", up)
	}
	t.Log(up.Text, up.Fields)
	testutil.WaitFor(t, 3*patience, "rates at which the disk is no longer in the way", func() error {
		if now := s.wbps(); now < 4*low {
			return fmt.Errorf("%d bytes/s after %d: %q", now, low, s.story(mark))
		}
		return nil
	})
	stop()
	io := s.get().Limits.IO[0]
	if io.Min.WriteBytes != mib || io.Max.WriteBytes != 32*mib || io.Reads != 5000 || io.Max.Reads != 0 {
		t.Errorf("the limits are shown as %+v", io)
	}
	if got := n.limit(replica, "io.max"); !strings.Contains(got, "riops=5000") {
		t.Errorf("io.max is %q", got)
	}
	if now := n.limit(s.ready(1)[0], "cgroup.procs"); now != processes {
		t.Errorf("the processes are %q, were %q", now, processes)
	}
	mark = n.mark()
	n.kill()
	before := n.limit(replica, "io.max")
	n.start()
	s.ready(1)
	s.awaitWBPS(replica, "the rate that was found", func(now int64) bool {
		// What is not needed any more may be taken back at once; then from what it was.
		goesOn := slices.ContainsFunc(s.events(mark), func(ev api.Event) bool {
			from, ok := ev.Fields["from"].(float64)
			return ok && strings.HasPrefix(ev.Kind, "scaled-") && strings.Contains(before, fmt.Sprintf("wbps=%.0f ", from))
		})
		return goesOn || strings.Contains(before, fmt.Sprintf("wbps=%d ", now))
	})
}

// TestRootScaleIOBudget: who came first gives up what is more than its share of the disk, though it uses all of it.
func TestRootScaleIOBudget(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "io controller")
	t.Parallel()
	disk := testutil.Scratch(t)
	n := newNode(t, options{more: "budget: {io: [{device: " + disk + ", wbps: 4MiB}]}\n"})
	var sites []*site
	for _, name := range []string{"blog", "shop"} {
		folder := testutil.Scratch(t)
		s := n.deploy(name, "volumes: [{source: "+folder+", target: /data}]", "limits: {io: [{device: "+folder+", wbps: {min: 512KiB, max: 32MiB}}]}")
		n.outside.greet(s.addr4(80))
		s.ready(1)
		if now := s.wbps(); now > 4*mib {
			t.Errorf("%s begins with %d bytes/s", name, now)
		}
		sites = append(sites, s)
		defer s.writing()()
	}
	testutil.WaitFor(t, 6*patience, "half of the disk for each", func() error {
		blog, shop := sites[0].wbps(), sites[1].wbps()
		if blog+shop > 4*mib+2 || blog < 2*mib-1 || shop < 2*mib-1 {
			return fmt.Errorf("of 4 MiB/s they have %d and %d: %q", blog, shop, sites[0].story(0))
		}
		return nil
	})
}
