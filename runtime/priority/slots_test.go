package priority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlotsFull(t *testing.T) {
	q := NewSlots(1)
	if q.Full() {
		t.Error("nobody starts, and there is no turn left")
	}
	leave, err := q.Enter(t.Context(), netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	if !q.Full() {
		t.Error("there is one turn, it is taken, and there is another one")
	}
	leave()
}

func TestSlotsAreTakenInTurn(t *testing.T) {
	q := NewSlots(2)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := q.Enter(ctx, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := q.Enter(ctx, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan func())
	go func() {
		leave, err := q.Enter(ctx, netip.Prefix{})
		if err != nil {
			t.Error(err)
		}
		came <- leave
	}()
	first()
	first() // twice is fine, and frees one turn only
	third := <-came
	cancel()
	if _, err := q.Enter(ctx, netip.Prefix{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with two under way a third got a slot: %v", err)
	}
	second()
	third()
}

// starts is a queue in which each start takes a while, in synctest's clock.
type starts struct {
	*Slots
	took time.Duration

	mu    sync.Mutex
	order []string
	waits map[string]time.Duration
}

func (s *starts) served() (order []string, waits map[string]time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order), maps.Clone(s.waits)
}

func (s *starts) ask(name string, source string) {
	begin := time.Now()
	prefix := netip.Prefix{}
	if source != "" {
		prefix = netip.MustParsePrefix(source)
	}
	go func() {
		leave, err := s.Enter(context.Background(), prefix)
		if err != nil {
			panic(err)
		}
		s.mu.Lock()
		s.order, s.waits[name] = append(s.order, name), time.Since(begin)
		s.mu.Unlock()
		<-time.After(s.took)
		leave()
	}()
	synctest.Wait()
}

// TestSlotsAreFair: whoever wakes many sites at once, by one network or with forged sources, delays another visitor by no more than a few starts.
func TestSlotsAreFair(t *testing.T) {
	for name, attacker := range map[string]func(i int) string{
		"one network":    func(int) string { return "198.51.100.0/24" },
		"forged sources": func(i int) string { return fmt.Sprintf("11.%d.%d.0/24", i>>8, i&255) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &starts{Slots: NewSlots(1), took: time.Second, waits: map[string]time.Duration{}}
				for i := range 160 {
					s.ask(fmt.Sprint("attack ", i), attacker(i))
				}
				<-time.After(5500 * time.Millisecond)
				s.ask("visitor", "192.0.2.0/24")
				<-time.After(10 * time.Second)
				synctest.Wait()
				order, waits := s.served()
				if wait, served := waits["visitor"]; !served || wait > 3*time.Second {
					t.Errorf("the visitor has waited for %s (served: %v): %q", wait, served, order)
				}
				<-time.After(200 * time.Second)
				synctest.Wait()
				if order, _ = s.served(); len(order) != 161 || s.Full() {
					t.Errorf("%d of 161 have had a slot", len(order))
				}
			})
		})
	}
}

// TestSlotsStarveNobody: who has had a slot, as a gateway for one of its visitors, has another one while sources that had none keep coming.
func TestSlotsStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starts{Slots: NewSlots(1), took: time.Second, waits: map[string]time.Duration{}}
		s.ask("busy", "203.0.113.0/24") // from here on the queue is never empty
		s.ask("gateway 1", "192.0.2.0/24")
		s.ask("gateway 2", "192.0.2.0/24")
		for i := range 60 {
			s.ask(fmt.Sprint("new ", i), fmt.Sprintf("11.0.%d.0/24", i))
			<-time.After(500 * time.Millisecond) // twice as many as are served
		}
		synctest.Wait()
		order, waits := s.served()
		if wait, served := waits["gateway 2"]; !served || wait > 8*time.Second {
			t.Errorf("it has waited for %s (served: %v): %q", wait, served, order)
		}
		<-time.After(60 * time.Second)
		synctest.Wait()
	})
}

// TestSlotsInOrder: in an ordinary queue of different sources who comes first is served first.
func TestSlotsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starts{Slots: NewSlots(1), took: 100 * time.Millisecond, waits: map[string]time.Duration{}}
		want := []string{"0", "1", "2", "3", "4"}
		for i, name := range want {
			s.ask(name, fmt.Sprintf("10.0.%d.0/24", i))
		}
		<-time.After(time.Second)
		synctest.Wait()
		if order, _ := s.served(); !slices.Equal(order, want) {
			t.Errorf("served %q", order)
		}
	})
}

// TestSlotsGivenUp: who gives up, waiting or just served, leaves his slot to others.
func TestSlotsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		first, err := s.Enter(t.Context(), netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 { // some of them are served in the moment in which they give up
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				leave, err := s.Enter(ctx, netip.Prefix{})
				if err == nil {
					leave()
				}
				close(done)
			}()
			synctest.Wait()
			go first()
			cancel()
			<-done
			synctest.Wait()
			if s.Full() {
				t.Fatal("a slot is lost")
			}
			if first, err = s.Enter(t.Context(), netip.Prefix{}); err != nil {
				t.Fatal(err)
			}
		}
		first()
		if s.Full() || len(s.queue) != 0 {
			t.Errorf("%d are in the queue", len(s.queue))
		}
	})
}
