package watchdog

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStalled: a loop that waits is well however long, one that is at one thing for too long is not, and is again when that is over.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := make(chan struct{}, 1) // its lock
		w := Watch{Ask: func() {
			table <- struct{}{}
			<-table
		}}
		const limit = 15 * time.Second
		want := func(when, what string) {
			t.Helper()
			got := w.Stalled(limit)
			synctest.Wait()
			if what == "" && got != "" || !strings.Contains(got, what) {
				t.Errorf("%s: %q is stalled, want %q", when, got, what)
			}
		}
		<-time.After(time.Hour)
		want("when nobody comes", "")
		end := make(chan struct{})
		go w.Held.During(func() { <-end })
		synctest.Wait()
		<-time.After(10 * time.Second)
		want("at one packet for 10 s", "")
		<-time.After(10 * time.Second)
		want("at one packet for 20 s", "held packets (for 20s)")
		close(end)
		synctest.Wait()
		want("when it goes on", "")
		table <- struct{}{}
		want("when the table begins to hang", "")
		<-time.After(20 * time.Second)
		want("when nobody can ask the table", "table of sites (for 20s)")
		<-table
		synctest.Wait()
		want("when the table answers again", "")
	})
}
