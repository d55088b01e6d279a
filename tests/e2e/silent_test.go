package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootSilentDaemon: once the daemon has been silent for long enough, stopped or killed, visitors of sites that sleep are
// refused at once instead of being left to wait; those of a site that is awake are served all the while, and connections that
// there are live on. The next daemon, and one that goes on, wakes sites as ever.
func TestRootSilentDaemon(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: fmt.Sprintf("hold: {deadline: %s, silence: %s}", testutil.Timeout(30*time.Second), testutil.Timeout(3*time.Second))})
	awake, parked := n.deploy("awake"), n.deploy("parked")
	icy := n.deploy("icy", "idle: 1s", "tiers: [frozen]")
	n.outside.greet(awake.addr4(80))
	n.outside.greet(icy.addr4(80))
	sleeps := func() {
		testutil.WaitFor(t, patience, "sleep", func() error {
			if v := icy.get(); v.Tier != api.TierFrozen {
				return fmt.Errorf("it is %s", v.Tier)
			}
			return nil
		})
	}
	sleeps()
	kept := n.outside.keep(awake.addr4(80))

	asleep := []netip.AddrPort{parked.addr4(80), parked.addr6(80), icy.addr4(80), icy.addr6(80)}
	wantSilent := func(how string) {
		t.Helper()
		for _, c := range []*client{n.outside, n.local} {
			for _, to := range asleep {
				testutil.WaitFor(t, patience, how+": the refusal of "+c.name+" at "+to.String(), func() error {
					conn, err := c.connect(to)
					if errors.Is(err, unix.ECONNREFUSED) {
						return nil
					}
					if err == nil {
						_ = conn.Close()
						return errors.New("it was let in")
					}
					return err
				})
			}
		}
		n.outside.greet(awake.addr4(80))
		if err := kept.ask(); err != nil {
			t.Errorf("%s: a connection that there was: %v", how, err)
		}
	}
	n.pauseDaemon(func() { wantSilent("stopped") })
	for _, s := range []*site{parked, icy} { // soon after
		testutil.WaitFor(t, patience, "a visitor's answer when the daemon goes on", func() error {
			_, err := n.outside.get(s.addr4(80), "/")
			return err
		})
	}
	parked.park()
	sleeps()

	n.kill()
	wantSilent("killed")
	n.start()
	for _, to := range asleep {
		n.outside.greet(to)
	}
}
