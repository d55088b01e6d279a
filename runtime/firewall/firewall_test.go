package firewall

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
)

var someRules = []netctl.FirewallChain{{Family: "inet", Table: "fw", Name: "forward", Hook: "forward"}}

// machine is a firewall and a data path.
type machine struct {
	mu      sync.Mutex
	chains  []netctl.FirewallChain
	err     error
	reads   int
	panics  bool // a read does
	faults  int
	changed func()
	byStack []bool
	events  []event.Event
}

func (m *machine) Firewall() ([]netctl.FirewallChain, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.panics {
		_ = m.chains[len(m.chains)+m.reads] // as a library does that takes what it reads for something else
	}
	return m.chains, m.err
}

func (m *machine) WatchFirewall(changed func()) (func() error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = changed
	return func() error { return nil }, nil
}

func (m *machine) SetByStack(on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byStack = append(m.byStack, on)
	return nil
}

func (m *machine) follower(mode string) *Follower {
	return &Follower{Mode: mode, Network: m, Datapath: m, Log: slog.New(slog.DiscardHandler), Tell: func(e event.Event) { m.events = append(m.events, e) }, Guard: m.guard}
}

func (m *machine) guard(f func() error) (err error) {
	if fault := guard.Run(func() { err = f() }); fault != nil {
		m.faults++
		return fault
	}
	return err
}

// become changes the rules.
func (m *machine) become(chains []netctl.FirewallChain, err error) {
	m.mu.Lock()
	m.chains, m.err = chains, err
	m.mu.Unlock()
}

func TestSync(t *testing.T) {
	errRead := errors.New("no buffer space")
	for _, tt := range []struct {
		name   string
		mode   string
		chains []netctl.FirewallChain
		err    error
		want   bool
		events int
	}{
		{"nothing", Respect, nil, nil, false, 0},
		{"rules", Respect, someRules, nil, true, 1},
		{"unreadable", Respect, nil, errRead, true, 1},
		{"bypassed", Bypass, someRules, nil, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{chains: tt.chains, err: tt.err}
			f := m.follower(tt.mode)
			for range 2 { // it is told once
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(m.byStack, []bool{tt.want, tt.want}) {
				t.Errorf("by the stack: %v, want %v", m.byStack, tt.want)
			}
			if len(m.events) != tt.events {
				t.Errorf("events %+v, want %d", m.events, tt.events)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		f := m.follower(Respect)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Follow(ctx); close(done) }()
		wait := func(want bool) {
			t.Helper()
			synctest.Wait()
			if got := m.byStack[len(m.byStack)-1]; got != want {
				t.Fatalf("by the stack: %v, want %v", got, want)
			}
		}
		wait(false)
		m.become(someRules, nil)
		m.changed()
		<-time.After(2 * gatherFor)
		wait(true)
		before := m.reads
		for range 1000 { // a program that writes one rule after the other
			m.changed()
		}
		<-time.After(2 * gatherFor)
		wait(true)
		if n := m.reads - before; n > 3 {
			t.Errorf("the rules were read %d times", n)
		}
		m.become(nil, nil) // without a word, as the older iptables
		<-time.After(legacyEvery + gatherFor)
		wait(false)
		if len(m.events) != 2 {
			t.Errorf("events %+v", m.events)
		}
		cancel()
		<-done
	})
}

// TestFollowPanics: a read that panics is one that failed: packets pass the firewall, it is told, and the next read counts again.
func TestFollowPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{panics: true}
		f := m.follower(Respect)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Follow(ctx); close(done) }()
		<-time.After(3*legacyEvery + legacyEvery/2) // in the middle between two reads
		m.mu.Lock()
		if !m.byStack[len(m.byStack)-1] || m.faults < 3 || m.reads != m.faults {
			t.Errorf("by the stack: %v; %d reads panicked, of %d", m.byStack, m.faults, m.reads)
		}
		if len(m.events) == 0 || !strings.Contains(m.events[0].Reason, "cannot be read") || !strings.Contains(m.events[0].Reason, "panic: runtime error: index out of range") {
			t.Errorf("events %+v", m.events)
		}
		m.panics = false
		m.mu.Unlock()
		m.changed()
		<-time.After(2 * gatherFor)
		cancel()
		<-done
		if m.byStack[len(m.byStack)-1] {
			t.Errorf("there are no rules, and by the stack: %v", m.byStack)
		}
	})
}
