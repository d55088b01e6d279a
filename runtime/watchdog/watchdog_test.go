package watchdog

import (
	"context"
	"errors"
	"strings"
	"sync"
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

// TestBeat: the kernel is told that the daemon is well several times within its patience, not while a loop hangs, and again
// afterwards; an error is told once in a row.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silence = 10 * time.Second
		w := Watch{Ask: func() {}}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex // of these
		var last time.Time
		var broken error
		var told []string
		over := make(chan struct{})
		go func() {
			defer close(over)
			w.Beat(ctx, silence, func() error {
				mu.Lock()
				defer mu.Unlock()
				last = time.Now()
				return broken
			}, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, err.Error())
			})
		}()
		after := func(wait time.Duration) time.Duration {
			<-time.After(wait)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return time.Since(last)
		}
		says := func(n int, text string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != n || !strings.Contains(told[n-1], text) {
				t.Errorf("told: %q", told)
			}
		}
		for range 30 {
			if silent := after(777 * time.Millisecond); silent > silence/5 {
				t.Fatalf("silent for %s", silent)
			}
		}
		end := make(chan struct{})
		go w.Held.During(func() { <-end })
		if silent := after(4 * time.Second); silent > silence/5 {
			t.Errorf("at one packet for 4 s: silent for %s", silent)
		}
		if silent := after(12 * time.Second); silent < silence {
			t.Errorf("at one packet for 16 s: silent for %s only", silent)
		}
		close(end)
		if silent := after(2 * time.Second); silent > silence/5 {
			t.Errorf("it goes on: silent for %s", silent)
		}
		says(1, "held packets")
		mu.Lock()
		broken = errors.New("no such map")
		mu.Unlock()
		after(5 * time.Second)
		says(2, "no such map")
		cancel()
		<-over
	})
}
