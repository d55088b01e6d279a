package netctl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/google/go-cmp/cmp"
)

// fakeClock goes when it is told to.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Duration
	timers []*fakeTimer
	set    int // timers set so far
}

type fakeTimer struct {
	at      time.Duration
	f       func()
	stopped bool
}

func (c *fakeClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set++
	timer := &fakeTimer{at: c.now + d, f: f}
	c.timers = append(c.timers, timer)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := timer.stopped
		timer.stopped = true
		return !was
	}
}

// advance lets the time pass, and runs what is due in its order.
func (c *fakeClock) advance(d time.Duration) {
	end := c.Now() + d
	for {
		c.mu.Lock()
		var next *fakeTimer
		for _, timer := range c.timers {
			if !timer.stopped && timer.at <= end && (next == nil || timer.at < next.at) {
				next = timer
			}
		}
		if next == nil {
			c.now = end
			c.mu.Unlock()
			return
		}
		c.now = max(c.now, next.at)
		next.stopped = true
		c.mu.Unlock()
		next.f()
	}
}

func (c *fakeClock) pending() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, timer := range c.timers {
		if !timer.stopped {
			n++
		}
	}
	return n
}

// recorder notes what is injected; frames named in fail cannot be sent.
type recorder struct {
	mu   sync.Mutex
	sent []string
	fail string
}

func (r *recorder) Inject(frame []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != "" && string(frame) == r.fail {
		return errInjected
	}
	r.sent = append(r.sent, string(frame))
	return nil
}

func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

type holderRig struct {
	*Holder
	clock            *fakeClock
	released, denied *recorder
	expiries         []Expired
}

func newRig(cfg HoldConfig) *holderRig {
	r := &holderRig{clock: &fakeClock{}, released: &recorder{}, denied: &recorder{}}
	r.Holder = NewHolder(cfg, r.released, r.denied, r.clock, func(e Expired) { r.expiries = append(r.expiries, e) })
	return r
}

var roomy = HoldConfig{PerSite: 4, Total: 8, Deadline: 30 * time.Second}

// syn is a SYN of client number i to a site; its data tells it from others.
func syn(site bpf.SiteID, i int) bpf.HeldPacket {
	return bpf.HeldPacket{
		Time: uint64(1000 + i), Site: site, Proto: bpf.TCP, Seq: 7,
		Client: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i)),
		VIP:    netip.AddrPortFrom(netip.MustParseAddr("10.77.0.1"), 80),
		Data:   fmt.Appendf(nil, "%d/%d", site, i),
	}
}

func mustAdd(t *testing.T, h *holderRig, p bpf.HeldPacket, wantFirst bool) {
	t.Helper()
	first, err := h.Add(p, 0)
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	if first != wantFirst {
		t.Errorf("Add: first is %v, want %v", first, wantFirst)
	}
}

func wantHeld(t *testing.T, h *holderRig, packets, sites int) {
	t.Helper()
	if p, s := h.Held(); p != packets || s != sites {
		t.Errorf("held: %d packets of %d sites, want %d of %d", p, s, packets, sites)
	}
}

func TestHolderReleasesInOrder(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	mustAdd(t, h, syn(2, 1), true)
	mustAdd(t, h, syn(1, 2), false)
	mustAdd(t, h, syn(1, 3), false)
	n, oldest, err := h.Release(1)
	if err != nil || n != 3 || oldest != 1001 {
		t.Errorf("Release: %d packets, oldest %d, error %v; want 3, 1001, none", n, oldest, err)
	}
	if diff := cmp.Diff([]string{"1/1", "1/2", "1/3"}, h.released.got()); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
	wantHeld(t, h, 1, 1)
	if n, _, _ := h.Release(1); n != 0 {
		t.Errorf("a second Release sends %d packets, want 0", n)
	}
	mustAdd(t, h, syn(1, 4), true) // a new wake
}

func TestHolderReleaseIf(t *testing.T) {
	h := newRig(roomy)
	port := func(i int, port uint16) bpf.HeldPacket {
		p := syn(1, i)
		p.VIP = netip.AddrPortFrom(p.VIP.Addr(), port)
		return p
	}
	listening := func(ports ...uint16) func(netip.AddrPort, bpf.Proto, bool) bool {
		return func(vip netip.AddrPort, _ bpf.Proto, _ bool) bool { return slices.Contains(ports, vip.Port()) }
	}
	mustAdd(t, h, port(1, 80), true)
	mustAdd(t, h, port(2, 443), false)
	mustAdd(t, h, port(3, 80), false)
	if n, oldest, err := h.ReleaseIf(1, listening(443)); n != 1 || oldest != 1002 || err != nil {
		t.Errorf("ReleaseIf: %d, %d, %v; want 1 packet, of 1002", n, oldest, err)
	}
	wantHeld(t, h, 2, 1)
	mustAdd(t, h, port(3, 80), false) // still known as a repetition
	wantHeld(t, h, 2, 1)
	mustAdd(t, h, port(2, 443), false) // no repetition any more
	h.clock.advance(roomy.Deadline / 2)
	mustAdd(t, h, port(4, 80), false)
	h.clock.advance(roomy.Deadline / 2)
	if diff := cmp.Diff([]Expired{{1, 3}}, h.expiries); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
	if n, _, err := h.ReleaseIf(1, listening(80, 443)); n != 1 || err != nil {
		t.Errorf("ReleaseIf of the rest: %d, %v; want 1", n, err)
	}
	if diff := cmp.Diff([]string{"1/2", "1/4"}, h.released.got()); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
	wantHeld(t, h, 0, 0)
}

func TestHolderKeepsRetransmissionsOnce(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	mustAdd(t, h, syn(1, 1), false)
	wantHeld(t, h, 1, 1)

	// Anything that differs is another packet.
	other := syn(1, 1)
	other.Seq++
	mustAdd(t, h, other, false)
	other = syn(1, 1)
	other.VIP = netip.AddrPortFrom(other.VIP.Addr(), 443)
	mustAdd(t, h, other, false)
	wantHeld(t, h, 3, 1)

	h.Drop(1)
	mustAdd(t, h, syn(1, 1), true) // after the wake it is not a repetition
	wantHeld(t, h, 1, 1)
}

func TestHolderKeepsEveryDatagram(t *testing.T) {
	h := newRig(roomy)
	p := syn(1, 1)
	p.Proto = bpf.UDP
	mustAdd(t, h, p, true)
	mustAdd(t, h, p, false)
	wantHeld(t, h, 2, 1)
}

// TestHolderCountsFlows: as many clients are held as may be, each with what it sends before it has an answer; a flood of one of them, or of
// others, is bounded, and takes nothing from another site.
func TestHolderCountsFlows(t *testing.T) {
	h := newRig(HoldConfig{PerSite: 3, Total: 100, Deadline: 30 * time.Second})
	from := func(client int) bpf.HeldPacket {
		p := syn(1, client)
		p.Proto = bpf.UDP
		return p
	}
	full := func(what string, client int) {
		t.Helper()
		if first, err := h.Add(from(client), 0); first || !errors.Is(err, ErrHoldSiteFull) {
			t.Errorf("%s: first %v, error %v; want false, ErrHoldSiteFull", what, first, err)
		}
	}
	for i := range 3 * bpf.Flight {
		mustAdd(t, h, from(i%3), i == 0)
	}
	full("a client more", 9)
	full("a datagram more of a client's", 1)
	wantHeld(t, h, 3*bpf.Flight, 1)
	mustAdd(t, h, syn(2, 1), true)
	if n, _, err := h.Release(1); n != 3*bpf.Flight || err != nil {
		t.Errorf("%d were released (%v), want all", n, err)
	}
	for i := range 1 + 2*3*bpf.Flight {
		_, _ = h.Add(from(1), 0)
		if p, _ := h.Held(); p > 1+1+(bpf.Flight-1)*3 {
			t.Fatalf("%d packets are held after %d datagrams of one client", p, i+1)
		}
	}
	mustAdd(t, h, from(2), false) // has room all the same
}

func TestHolderCaps(t *testing.T) {
	h := newRig(roomy)
	for i := range 4 {
		mustAdd(t, h, syn(1, i), i == 0)
	}
	if first, err := h.Add(syn(1, 9), 0); first || !errors.Is(err, ErrHoldSiteFull) {
		t.Errorf("Add above the site's cap: first %v, error %v; want false, ErrHoldSiteFull", first, err)
	}
	mustAdd(t, h, syn(1, 2), false) // a repetition is not one more
	for i := range 4 {
		mustAdd(t, h, syn(2, i), i == 0)
	}
	// A site whose first packet finds no room has to be woken all the same,
	// once.
	// A site whose first packet finds no room has to be woken all the same, once.
	for i := range 6 { // those who hold most give up one each, as long as they hold more then
		mustAdd(t, h, syn(bpf.SiteID(3+i), 1), true)
		wantHeld(t, h, 8, 3+i)
	}
	if first, err := h.Add(syn(9, 1), 0); !first || !errors.Is(err, ErrHoldTotalFull) {
		t.Errorf("Add of a ninth site: first %v, error %v; want true, ErrHoldTotalFull", first, err)
	}
	if first, err := h.Add(syn(9, 2), 0); first || !errors.Is(err, ErrHoldTotalFull) {
		t.Errorf("Add of a ninth site again: first %v, error %v; want false, ErrHoldTotalFull", first, err)
	}
	wantHeld(t, h, 8, 9)
	for site, want := range map[bpf.SiteID]int{9: 0, 2: 1, 1: 1, 5: 1} {
		if n := h.Drop(site); n != want {
			t.Errorf("Drop of site %d: %d packets, want %d", site, n, want)
		}
	}
	mustAdd(t, h, syn(9, 3), true) // room again
	wantHeld(t, h, 6, 6)
}

func TestHolderRefuse(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	mustAdd(t, h, syn(1, 2), false)
	h.denied.fail = "1/1"
	n, err := h.Refuse(1)
	if n != 2 || !errors.Is(err, errInjected) {
		t.Errorf("Refuse: %d, %v; want 2 and the injector's error", n, err)
	}
	if diff := cmp.Diff([]string{"1/2"}, h.denied.got()); diff != "" {
		t.Errorf("refused though the first failed (-want +got):\n%s", diff)
	}
	wantHeld(t, h, 0, 0)
}

func TestHolderExpiry(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	h.clock.advance(10 * time.Second)
	mustAdd(t, h, syn(2, 1), true)
	mustAdd(t, h, syn(1, 2), false)
	if n := h.clock.pending(); n != 1 {
		t.Fatalf("%d timers for 3 packets, want 1", n)
	}
	h.clock.advance(19 * time.Second)
	if len(h.expiries) != 0 {
		t.Fatalf("expired after 29 s: %v", h.expiries)
	}
	h.clock.advance(time.Second)
	wantHeld(t, h, 2, 2)
	mustAdd(t, h, syn(1, 1), false) // its repetition is held anew, behind the other
	h.clock.advance(10 * time.Second)
	if diff := cmp.Diff([]Expired{{1, 1}, {2, 1}, {1, 1}}, h.expiries); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1/1", "2/1", "1/2"}, h.denied.got()); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	n, _, err := h.Release(1)
	if n != 1 || err != nil {
		t.Errorf("Release of the repetition: %d, %v; want 1", n, err)
	}
	wantHeld(t, h, 0, 0)
	if n := h.clock.pending(); n != 0 {
		t.Errorf("%d timers for no packets, want 0", n)
	}
	if len(h.released.got()) != 1 {
		t.Errorf("released %v, want only the repetition", h.released.got())
	}
}

// A site whose start may take longer is held for longer, and no other for it: whichever came first.
func TestHolderDeadlineOfASite(t *testing.T) {
	for _, longFirst := range []bool{true, false} {
		h := newRig(HoldConfig{PerSite: 4, Total: 8, Deadline: 30 * time.Second})
		add := func(p bpf.HeldPacket, within time.Duration) {
			t.Helper()
			if _, err := h.Add(p, within); err != nil {
				t.Fatal(err)
			}
		}
		if longFirst {
			add(syn(1, 1), 2*time.Minute)
		}
		add(syn(2, 1), time.Second) // less than the configuration says
		add(syn(3, 1), 0)
		if !longFirst {
			add(syn(1, 1), 2*time.Minute)
		}
		add(syn(1, 2), time.Second) // its site has a time
		if n := h.clock.pending(); n != 1 {
			t.Errorf("%d timers, want 1", n)
		}
		h.clock.advance(29 * time.Second)
		wantHeld(t, h, 4, 3)
		h.clock.advance(time.Second)
		wantHeld(t, h, 2, 1)
		h.clock.advance(89 * time.Second)
		wantHeld(t, h, 2, 1)
		h.clock.advance(time.Second)
		wantHeld(t, h, 0, 0)
		if diff := cmp.Diff([]Expired{{2, 1}, {3, 1}, {1, 2}}, h.expiries); diff != "" {
			t.Errorf("expiries (-want +got):\n%s", diff)
		}
		if h.clock.pending() != 0 || len(h.held.lines) != 0 {
			t.Errorf("%d timers and %d lines are left", h.clock.pending(), len(h.held.lines))
		}
	}
}

func TestHolderExpiryOfWhatFoundNoRoom(t *testing.T) {
	h := newRig(HoldConfig{PerSite: 1, Total: 1, Deadline: time.Second})
	mustAdd(t, h, syn(1, 1), true)
	if first, _ := h.Add(syn(2, 1), 0); !first {
		t.Error("first is false for a site without room")
	}
	h.clock.advance(time.Second)
	if diff := cmp.Diff([]Expired{{1, 1}, {2, 0}}, h.expiries); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
	wantHeld(t, h, 0, 0)
	mustAdd(t, h, syn(2, 1), true)
}

func TestHolderTimerOfReleasedPackets(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	mustAdd(t, h, syn(2, 1), true)
	h.Drop(1) // the timer stays, though its packet is gone
	h.clock.advance(5 * time.Second)
	mustAdd(t, h, syn(3, 1), true)
	h.Drop(2)
	h.clock.advance(29 * time.Second)
	if len(h.expiries) != 0 {
		t.Fatalf("expired too early: %v", h.expiries)
	}
	h.clock.advance(time.Second)
	if diff := cmp.Diff([]Expired{{3, 1}}, h.expiries); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
}

// A timer that goes off while its packets are being taken must neither expire
// others early nor leave the Holder without a timer.
func TestHolderStaleTimer(t *testing.T) {
	h := newRig(roomy)
	mustAdd(t, h, syn(1, 1), true)
	stale := h.clock.timers[0].f
	h.Drop(1)
	h.clock.advance(time.Second)
	mustAdd(t, h, syn(2, 1), true)
	stale()
	wantHeld(t, h, 1, 1)
	h.clock.advance(30 * time.Second)
	wantHeld(t, h, 0, 0)
}

func TestHolderConcurrentUse(t *testing.T) {
	const sites, clients = 8, 200
	h := NewHolder(HoldConfig{PerSite: clients, Total: sites * clients, Deadline: time.Hour}, &recorder{}, &recorder{}, &fakeClock{}, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	out := 0
	for s := range bpf.SiteID(sites) {
		wg.Go(func() {
			for i := range clients {
				if _, err := h.Add(syn(s, i), 0); err != nil {
					t.Errorf("Add: %v", err)
				}
			}
		})
		wg.Go(func() {
			n := 0
			for range clients {
				released, _, _ := h.Release(s)
				refused, _ := h.Refuse(s)
				n += released + refused + h.Drop(s)
			}
			mu.Lock()
			out += n
			mu.Unlock()
		})
	}
	wg.Wait()
	left, _ := h.Held()
	if out+left != sites*clients {
		t.Errorf("%d packets came out and %d are left, of %d", out, left, sites*clients)
	}
	for s := range bpf.SiteID(sites) {
		h.Drop(s)
	}
	if p, s := h.Held(); p != 0 || s != 0 || len(h.held.lines) != 0 {
		t.Errorf("not empty after all: %d packets of %d sites", p, s)
	}
}

func BenchmarkHolderAddRelease(b *testing.B) {
	h := NewHolder(HoldConfig{PerSite: 64, Total: 1 << 20, Deadline: time.Hour}, discard{}, discard{}, &fakeClock{}, nil)
	for s := range bpf.SiteID(10_000) {
		_, _ = h.Add(syn(s, 1), 0)
	}
	p := syn(1<<20, 1)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = h.Add(p, 0)
		_, _, _ = h.Release(p.Site)
	}
}

type discard struct{}

func (discard) Inject([]byte) error { return nil }
