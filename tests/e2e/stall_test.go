package e2e

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootStalledDisk: while the disk of the state folder answers nobody, sites that have their memory wake and
// serve, and the node answers; the visitors of one that cannot start without it are held, and served when it is back.
func TestRootStalledDisk(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	disk := testutil.NewDisk(t, 256<<20)
	n := newNode(t, options{stateDir: filepath.Join(disk.Dir, "state")})
	cold, running := n.deploy("cold", "idle: 1s"), n.deploy("running")
	n.outside.greet(running.addr4(80))
	frozen := make([]*site, 6)
	for i := range frozen {
		frozen[i] = n.deploy(fmt.Sprintf("frozen-%d", i), "idle: 1s", "tiers: [frozen]")
	}
	var all sync.WaitGroup
	for _, s := range frozen {
		all.Go(func() { s.sleepOn("frozen") })
	}
	all.Wait()
	stuck := []*site{cold}
	if _, err := criu.Find(t.Context(), ""); err == nil {
		stuck = append(stuck, n.checkpointed("dumped"), n.checkpointed("dumped-too", "lifetime: 1h"))
		for _, s := range stuck[1:] {
			s.awaitCheckpoint()
		}
	}
	mark := n.mark()
	resume := disk.Stall(testutil.Timeout(time.Minute))
	defer resume()
	var held sync.WaitGroup
	defer held.Wait()
	for _, s := range stuck {
		held.Go(func() { n.outside.greet(s.addr4(80)) })
	}
	for _, s := range frozen {
		n.outside.greet(s.addr4(80))
		if got := s.get(); len(got.Replicas) != 1 {
			t.Errorf("%s is shown with %+v", s.name, got.Replicas)
		}
	}
	n.outside.greet(running.addr4(80))
	if _, err := n.api.List(n.ctx()); err != nil {
		t.Errorf("list: %v", err)
	}
	if got := cold.get().Phase; got != api.PhaseWaking {
		t.Errorf("the site that starts without a disk is %s", got)
	}
	resume()
	held.Wait()
	for _, s := range stuck {
		s.await(mark, "running")
	}
	for _, s := range frozen {
		s.await(mark, "waking") // what was told meanwhile is kept
	}
}
