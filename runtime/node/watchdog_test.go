package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/sites"
)

// TestStalled: a loop that waits is well however long, one that is at one thing for too long is not, and is again when that is over.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{Host: &life.Host{}}
		n.table = sites.NewTable(n.Host)
		const limit = 15 * time.Second
		want := func(when, what string) {
			t.Helper()
			got := n.stalled(limit)
			synctest.Wait()
			if what == "" && got != "" || !strings.Contains(got, what) {
				t.Errorf("%s: %q is stalled, want %q", when, got, what)
			}
		}
		<-time.After(time.Hour)
		want("when nobody comes", "")
		end := make(chan struct{})
		go n.held.during(func() { <-end })
		synctest.Wait()
		<-time.After(10 * time.Second)
		want("at one packet for 10 s", "")
		<-time.After(10 * time.Second)
		want("at one packet for 20 s", "held packets (for 20s)")
		close(end)
		synctest.Wait()
		want("when it goes on", "")
	})
}
