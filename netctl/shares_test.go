package netctl

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// of is a SYN from an address.
func of(site bpf.SiteID, from string, i int) bpf.HeldPacket {
	p := syn(site, i)
	p.Client = netip.AddrPortFrom(netip.MustParseAddr(from), uint16(i))
	return p
}

// TestHolderIsFair: whoever fills the Holder, by one network or with forged sources at some sites, keeps nobody else's packets out.
func TestHolderIsFair(t *testing.T) {
	cfg := HoldConfig{PerSite: 8, Total: 64, Deadline: 30 * time.Second}
	one := func(i int) string { return fmt.Sprintf("198.51.100.%d", i%256) }
	for _, c := range []struct {
		name     string
		attacker func(i int) string
		sites    int
	}{
		{"one network, eight sites", one, 8},
		{"one network, all sites", one, 64},
		{"one IPv6 network, all sites", func(i int) string { return fmt.Sprintf("2001:db8:1:1:%x::1", i) }, 64},
		{"forged, eight sites", func(i int) string { return fmt.Sprintf("%d.%d.1.1", 11+i/256, i%256) }, 8},
	} {
		attacker, sites := c.attacker, c.sites
		t.Run(c.name, func(t *testing.T) {
			h := newRig(cfg)
			refused := 0
			attack := func(n int) {
				for i := range n {
					_, err := h.Add(of(bpf.SiteID(1+i%sites), attacker(i), i), 0)
					switch {
					case errors.Is(err, ErrHoldSiteFull), errors.Is(err, ErrHoldTotalFull):
						refused++
					case err != nil:
						t.Fatal(err)
					}
				}
			}
			attack(1000)
			if p, _ := h.Held(); p != cfg.Total || refused != 1000-cfg.Total {
				t.Fatalf("%d held, %d refused", p, refused)
			}
			for i := range 5 {
				mustAdd(t, h, of(bpf.SiteID(100+i), "192.0.2.1", i), true)
			}
			attack(1000) // goes on
			if p, _ := h.Held(); p != cfg.Total {
				t.Errorf("%d held, want %d", p, cfg.Total)
			}
			for i := range 5 {
				if n, _, err := h.Release(bpf.SiteID(100 + i)); n != 1 || err != nil {
					t.Errorf("visitor %d: %d packets of his are released (%v), want 1", i, n, err)
				}
			}
		})
	}
}

// TestHolderAddsUp: whatever is added, given up, released and expired, the Holder keeps to its bounds, what is counted is what there is, and nothing is
// left in the end.
func TestHolderAddsUp(t *testing.T) {
	cfg := HoldConfig{PerSite: 4, Total: 12, Deadline: 30 * time.Second}
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		h := newRig(cfg)
		for range 400 {
			site := bpf.SiteID(1 + random.IntN(8))
			switch random.IntN(12) {
			case 0:
				_, _, _ = h.Release(site)
			case 1:
				_, _, _ = h.ReleaseIf(site, func(netip.AddrPort, bpf.Proto, bool) bool { return random.IntN(2) == 0 })
			case 2:
				h.clock.advance(time.Duration(random.IntN(20)) * time.Second)
			default:
				client, proto := random.IntN(50), bpf.TCP
				if random.IntN(4) == 0 {
					client, proto = client%2, bpf.UDP
				}
				p := of(site, fmt.Sprintf("10.0.%d.1", random.IntN(6)), client)
				p.Proto = proto
				_, _ = h.Add(p, time.Duration(random.IntN(2))*time.Minute)
			}
			checkHolder(t, &h.held, cfg)
		}
		h.clock.advance(time.Hour)
		q := &h.held
		if len(q.sites)+len(q.sources)+len(q.lines)+q.total+len(q.bySite.levels)+len(q.bySource.levels) != 0 || h.clock.pending() != 0 {
			t.Fatalf("seed %d: left in the end: %+v", seed, q)
		}
	}
}

func checkHolder(t *testing.T, q *heldQueue, cfg HoldConfig) {
	t.Helper()
	total, lined := 0, 0
	bySource := map[netip.Prefix]int{}
	mostSite := 0
	for id, s := range q.sites {
		n, entries, held := 0, 0, 0
		for _, packets := range s.flows {
			held += packets
		}
		var last *heldPacket
		for p := s.first; p != nil; p = p.after {
			last = p
			entries++
			if p.data != nil {
				n++
				bySource[bpf.SourceOf(p.key.client.Addr())]++
			}
		}
		if n != s.packets || n > bpf.Flight*cfg.PerSite || len(s.flows) > cfg.PerSite || held != n || last != s.last || entries == 0 || entries > n+1 {
			t.Fatalf("site %d: %d packets in %d entries, %d counted, the last is %v", id, n, entries, s.packets, last == s.last)
		}
		total += n
		mostSite = max(mostSite, n)
		lined += entries
	}
	if total != q.total || total > cfg.Total {
		t.Fatalf("%d packets, %d counted", total, q.total)
	}
	if _, most := q.bySite.most(); most != mostSite {
		t.Fatalf("a site holds %d, and %d is said to be the most", mostSite, most)
	}
	mostSource := 0
	for network, n := range bySource {
		own := 0
		if from := q.sources[network]; from != nil {
			for p := from.newest; p != nil; p = p.older {
				own++
			}
		}
		if own != n || q.sources[network].packets != n {
			t.Fatalf("%s: %d packets, %d in its list", network, n, own)
		}
		mostSource = max(mostSource, n)
	}
	if _, most := q.bySource.most(); most != mostSource || len(q.sources) != len(bySource) {
		t.Fatalf("a source holds %d of %d, and %d is said to be the most", mostSource, len(bySource), most)
	}
	for _, l := range q.lines {
		for p := l.oldest; p != nil; p = p.next {
			lined--
		}
	}
	if lined != 0 {
		t.Fatalf("%d entries of sites are in no line", lined)
	}
}
