package sites

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func pool(prefix string) *addresses { return newAddresses(netip.MustParsePrefix(prefix)) }

func allocate(t testing.TB, a *addresses, want string) {
	t.Helper()
	got, err := a.allocate()
	if err != nil {
		t.Fatal(err)
	}
	if got != netip.MustParseAddr(want) {
		t.Fatalf("allocated %s, want %s", got, want)
	}
}

// Which addresses of a prefix are given out, and how many.
func TestAddressesOfAPrefix(t *testing.T) {
	for _, c := range []struct {
		prefix      string
		first, last string
		room        int
	}{
		{"10.77.0.0/24", "10.77.0.1", "10.77.0.254", 254}, // neither network nor broadcast
		{"10.77.0.99/24", "10.77.0.1", "10.77.0.254", 254},
		{"10.77.0.4/30", "10.77.0.5", "10.77.0.6", 2},
		{"10.77.0.4/31", "10.77.0.4", "10.77.0.5", 2}, // RFC 3021
		{"10.77.0.7/32", "10.77.0.7", "10.77.0.7", 1},
		{"10.77.0.0/16", "10.77.0.1", "10.77.255.254", 65534},
		{"fd77:fc::/120", "fd77:fc::1", "fd77:fc::ff", 255}, // IPv6 has no broadcast
		{"fd77:fc::8/127", "fd77:fc::8", "fd77:fc::9", 2},   // RFC 6164
		{"fd77:fc::8/128", "fd77:fc::8", "fd77:fc::8", 1},
		{"fd77:fc::fff0/124", "fd77:fc::fff1", "fd77:fc::ffff", 15},
	} {
		t.Run(c.prefix, func(t *testing.T) {
			a := pool(c.prefix)
			seen := map[netip.Addr]bool{}
			var first, last netip.Addr
			for range c.room {
				got, err := a.allocate()
				if err != nil {
					t.Fatalf("after %d: %v", len(seen), err)
				}
				if seen[got] || !a.contains(got) || !a.used(got) {
					t.Fatalf("got %s: given before %v, in the prefix %v, used %v", got, seen[got], a.contains(got), a.used(got))
				}
				if !first.IsValid() {
					first = got
				}
				seen[got], last = true, got
			}
			if first.String() != c.first || last.String() != c.last {
				t.Errorf("gave out %s to %s, want %s to %s", first, last, c.first, c.last)
			}
			if got, err := a.allocate(); !errors.Is(err, errNoAddress) || !strings.Contains(err.Error(), a.prefix.String()) {
				t.Errorf("one more: %s, %v, want errNoAddress with the prefix", got, err)
			}
			// what is freed can be had again, from everywhere
			for _, addr := range []netip.Addr{first, last} {
				a.free(addr)
				allocate(t, a, addr.String())
			}
		})
	}
}

func TestLargePrefixes(t *testing.T) {
	for _, c := range []struct{ prefix, first, second string }{
		{"fd77:fc::/64", "fd77:fc::1", "fd77:fc::2"},
		{"fd00::/8", "fd00::1", "fd00::2"},
		{"10.0.0.0/8", "10.0.0.1", "10.0.0.2"},
		{"::/0", "::1", "::2"},
	} {
		a := pool(c.prefix)
		allocate(t, a, c.first)
		allocate(t, a, c.second)
	}
}

func TestAllocateCarriesOver(t *testing.T) {
	a := pool("10.77.0.0/16")
	a.next = 255
	allocate(t, a, "10.77.0.255") // in the middle of a /16 it is an address as any
	allocate(t, a, "10.77.1.0")
	b := pool("fd77::ff:0/104")
	b.next = 0xffff
	allocate(t, b, "fd77::ffff")
	allocate(t, b, "fd77::1:0")
}

func TestExplicitAddresses(t *testing.T) {
	a := pool("10.77.0.0/24")
	two := netip.MustParseAddr("10.77.0.2")
	if !a.take(two) || a.take(two) {
		t.Fatal("an address can be taken once")
	}
	allocate(t, a, "10.77.0.1")
	allocate(t, a, "10.77.0.3") // 2 is passed over
	for _, s := range []string{"10.77.0.0", "10.77.0.255"} {
		addr := netip.MustParseAddr(s)
		if !a.take(addr) || !a.used(addr) || a.take(addr) {
			t.Errorf("%s is not given out, but may be asked for, once", s)
		}
		a.free(addr)
		if a.used(addr) {
			t.Errorf("%s is used after it was freed", s)
		}
	}
}

func TestExplicitFarIntoALargePrefix(t *testing.T) {
	a := pool("fd77:fc::/64")
	for _, s := range []string{"fd77:fc::dead:beef:1:2", "fd77:fc:0:0:ffff:ffff:ffff:ffff", "fd77:fc::10:0", "fd77:fc::f:ffff"} {
		addr := netip.MustParseAddr(s)
		if a.used(addr) || !a.take(addr) || a.take(addr) || !a.used(addr) {
			t.Errorf("%s cannot be taken exactly once", s)
		}
	}
	if words := len(a.bits); words > maxBits/64 {
		t.Errorf("%d words of bits, want at most %d", words, maxBits/64)
	}
	addr := netip.MustParseAddr("fd77:fc::dead:beef:1:2")
	a.free(addr)
	if a.used(addr) || !a.take(addr) {
		t.Error("a far address is not free after it was freed")
	}
	allocate(t, a, "fd77:fc::1")
}

// A deleted site's address goes to another as late as possible: visitors may
// still have it in their caches.
func TestFreedAddressesComeLast(t *testing.T) {
	a := pool("10.77.0.0/29")
	for _, want := range []string{"10.77.0.1", "10.77.0.2", "10.77.0.3"} {
		allocate(t, a, want)
	}
	a.free(netip.MustParseAddr("10.77.0.2"))
	for _, want := range []string{"10.77.0.4", "10.77.0.5", "10.77.0.6", "10.77.0.2"} {
		allocate(t, a, want)
	}
	if _, err := a.allocate(); !errors.Is(err, errNoAddress) {
		t.Errorf("full: %v", err)
	}
}

func TestFreeOfWhatIsNotUsed(t *testing.T) {
	a := pool("10.77.0.0/24")
	a.free(netip.MustParseAddr("10.77.0.200"))
	a.free(netip.MustParseAddr("192.0.2.1"))
	a.free(netip.MustParseAddr("fd77::1"))
	allocate(t, a, "10.77.0.1")
}

func BenchmarkAllocate(b *testing.B) {
	const sites = 100000
	for _, prefix := range []string{"10.64.0.0/10", "fd77:fc::/64"} {
		b.Run(strings.ReplaceAll(prefix, "/", "-"), func(b *testing.B) {
			for b.Loop() {
				a := pool(prefix)
				for range sites {
					if _, err := a.allocate(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sites, "ns/address")
		})
	}
}

// A daemon that starts with 100,000 sites on disk has them all in a row before
// the first free one.
func BenchmarkAllocateBehindMany(b *testing.B) {
	a := pool("fd77:fc::/64")
	for range 100000 {
		if _, err := a.allocate(); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		a.next = a.first
		addr, err := a.allocate()
		if err != nil {
			b.Fatal(err)
		}
		a.free(addr)
	}
}
