package deny

import (
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/store"
)

// kernel does what the data path does: the longest match decides.
type kernel struct {
	set   map[netip.Prefix]uint64
	now   uint64
	full  int // how many fit; 0: all
	fails error
}

var errFull = errors.New("full")

func (k *kernel) SetDenied(p netip.Prefix, until uint64) error {
	if _, there := k.set[p]; !there && k.full > 0 && len(k.set) >= k.full {
		return errFull
	}
	k.set[p] = until
	return nil
}

func (k *kernel) DeleteDenied(p netip.Prefix) error {
	delete(k.set, p)
	return nil
}

func (k *kernel) Denied() (map[netip.Prefix]uint64, error) { return maps.Clone(k.set), k.fails }

func (k *kernel) drops(addr string) bool {
	a := netip.MustParseAddr(addr)
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, _ := a.Prefix(bits)
		if until, there := k.set[p]; there {
			return until == 0 || until > k.now
		}
	}
	return false
}

type rig struct {
	*List
	t    *testing.T
	k    *kernel
	path string
	st   *store.Store
	wall time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, k: &kernel{set: map[netip.Prefix]uint64{}, now: 1000}, path: filepath.Join(t.TempDir(), "state.db"), wall: time.Date(2026, 11, 30, 1, 0, 0, 0, time.UTC)}
	r.restart(false)
	t.Cleanup(func() { _ = r.st.Close() })
	return r
}

// restart is what a daemon does that finds what another has left.
func (r *rig) restart(adopt bool) {
	r.t.Helper()
	var err error
	if r.st != nil {
		err = r.st.Close()
	}
	if err == nil {
		r.st, err = store.Open(r.path, store.Options{})
	}
	if err == nil {
		r.List, err = Open(Options{
			Kernel: r.k, Disk: r.st, Log: slog.New(slog.DiscardHandler), Adopt: adopt,
			Clock: func() time.Time { return r.wall }, Now: func() uint64 { return r.k.now },
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) pass(d time.Duration) { r.wall, r.k.now = r.wall.Add(d), r.k.now+uint64(d) }

func (r *rig) add(lasting time.Duration, prefixes ...string) {
	r.t.Helper()
	if err := r.Add(parseAll(r.t, prefixes...), lasting); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) remove(prefixes ...string) {
	r.t.Helper()
	if n, err := r.Remove(parseAll(r.t, prefixes...)); err != nil || n != len(prefixes) {
		r.t.Fatalf("removed %d (%v), want %d", n, err, len(prefixes))
	}
}

func parseAll(t *testing.T, texts ...string) (out []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func (r *rig) want(what string, drops bool, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		if got := r.k.drops(a); got != drops {
			r.t.Errorf("%s: %s is dropped: %v, want %v (the kernel has %v)", what, a, got, drops, r.k.set)
		}
	}
}

func (r *rig) listed(want ...string) {
	r.t.Helper()
	var got []string
	for _, d := range r.All() {
		got = append(got, d.Prefix.String())
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("listed %v, want %v", got, want)
	}
}

func TestDeniedOutlivesDaemonsAndBoots(t *testing.T) {
	r := newRig(t)
	r.add(0, "192.0.2.0/24", "2001:db8::1")
	r.add(time.Hour, "198.51.100.7")
	r.restart(false)
	r.want("the next daemon", true, "192.0.2.200", "2001:db8::1", "198.51.100.7")
	clear(r.k.set) // a boot
	r.k.now = 5
	r.restart(false)
	r.want("after a boot", true, "192.0.2.200", "2001:db8::1", "198.51.100.7")
	r.listed("192.0.2.0/24", "198.51.100.7/32", "2001:db8::1/128")
	r.pass(61 * time.Minute)
	r.want("after its hour, by the kernel itself", false, "198.51.100.7")
	r.listed("192.0.2.0/24", "2001:db8::1/128")
	if err := r.Prune(); err != nil || len(r.k.set) != 2 {
		t.Errorf("cleared away: %v, the kernel has %v", err, r.k.set)
	}
	r.restart(false)
	r.listed("192.0.2.0/24", "2001:db8::1/128")
}

// What ended while no daemon ran is not denied anew, and goes off the disk.
func TestEndedBetweenDaemons(t *testing.T) {
	r := newRig(t)
	r.add(time.Minute, "192.0.2.7")
	r.pass(time.Hour)
	r.restart(false)
	r.listed()
	r.pass(time.Second)
	r.want("after its minute", false, "192.0.2.7")
	if err := r.Prune(); err != nil || len(r.k.set) != 0 {
		t.Errorf("cleared away: %v, the kernel has %v", err, r.k.set)
	}
	r.pass(-2 * time.Hour) // it would be denied again if it were still on disk
	r.restart(false)
	r.listed()
}

// The kernel asks the longest prefix alone: a short denial inside of a long one
// must not let its address in when it ends, in whatever order they came.
func TestDenialsThatCoverEachOther(t *testing.T) {
	for _, first := range []string{"inner", "outer"} {
		t.Run(first+" first", func(t *testing.T) {
			r := newRig(t)
			inner := func() { r.add(time.Minute, "192.0.2.7", "2001:db8::7") }
			outer := func() { r.add(time.Hour, "192.0.2.0/24", "2001:db8::/64") }
			if first == "inner" {
				inner()
				outer()
			} else {
				outer()
				inner()
			}
			r.pass(2 * time.Minute)
			r.want("the inner one is over", true, "192.0.2.7", "192.0.2.8", "2001:db8::7")
			if err := r.Prune(); err != nil {
				t.Fatal(err)
			}
			r.want("and cleared away", true, "192.0.2.7")
			r.remove("192.0.2.0/24", "2001:db8::/64")
			r.want("both are gone", false, "192.0.2.7", "192.0.2.8", "2001:db8::7")
		})
	}
	r := newRig(t)
	r.add(time.Hour, "192.0.2.7")
	r.add(0, "192.0.2.0/24")
	r.remove("192.0.2.0/24")
	r.want("the inner one stays", true, "192.0.2.7")
	r.want("without the outer one", false, "192.0.2.8")
	r.pass(2 * time.Hour)
	r.want("with its own end", false, "192.0.2.7")
	r.add(time.Hour, "192.0.2.7")
	r.remove("192.0.2.7")
	r.want("removed", false, "192.0.2.7")
}

func TestAllOrNone(t *testing.T) {
	r := newRig(t)
	r.add(time.Minute, "192.0.2.1")
	before := maps.Clone(r.k.set)
	r.k.full = 2
	if err := r.Add(parseAll(t, "192.0.2.1", "192.0.2.2", "192.0.2.3"), 0); !errors.Is(err, errFull) {
		t.Errorf("error %v, want that of the kernel", err)
	}
	if !maps.Equal(r.k.set, before) {
		t.Errorf("the kernel has %v, want %v", r.k.set, before)
	}
	r.listed("192.0.2.1/32")
	r.restart(false)
	r.listed("192.0.2.1/32")
}

// A daemon was killed between the kernel and the disk: the disk says what holds;
// unless it was lost.
func TestKernelAndDiskDiffer(t *testing.T) {
	r := newRig(t)
	r.add(0, "192.0.2.1")
	stray := netip.MustParsePrefix("192.0.2.9/32")
	r.k.set[stray] = r.k.now + uint64(time.Hour)
	r.restart(false)
	r.want("never acknowledged", false, "192.0.2.9")
	r.k.set[stray] = r.k.now + uint64(time.Hour)
	r.restart(true)
	r.want("the disk was lost", true, "192.0.2.9", "192.0.2.1")
	r.listed("192.0.2.1/32", "192.0.2.9/32")
	r.restart(false)
	r.listed("192.0.2.1/32", "192.0.2.9/32")
	r.pass(2 * time.Hour)
	r.listed("192.0.2.1/32")
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "192.0.2.7/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "2001:db8::1/64": "2001:db8::/64",
		"::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.0/120": "192.0.2.0/24", "10.0.0.0/8": "10.0.0.0/8",
	} {
		if p, err := Parse(text); err != nil || p.String() != want {
			t.Errorf("%s: %v (%v), want %s", text, p, err, want)
		}
	}
	for _, text := range []string{
		"", "x", "192.0.2.7/33", "0.0.0.0/0", "::/0", "2000::/3", "128.0.0.0/7", "127.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "224.0.0.1",
		"ff02::1", "169.254.0.1", "0.0.0.0", "192.0.2.1-192.0.2.9",
	} {
		if p, err := Parse(text); !errors.Is(err, ErrBad) {
			t.Errorf("%q: %v (%v), want that it cannot be denied", text, p, err)
		}
	}
	if err := newRig(t).Add([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, 0); !errors.Is(err, ErrBad) {
		t.Errorf("the world is denied: %v", err)
	}
}

func BenchmarkAdd(b *testing.B) {
	k := &kernel{set: map[netip.Prefix]uint64{}}
	st, err := store.Open(filepath.Join(b.TempDir(), "state.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	l, err := Open(Options{Kernel: k, Disk: st, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Now: func() uint64 { return 1 }})
	if err != nil {
		b.Fatal(err)
	}
	var many []netip.Prefix
	for i := range 50_000 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	for b.Loop() {
		if err := l.Add(many, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
