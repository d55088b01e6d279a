package life

import (
	"net/netip"
	"slices"
	"testing"
)

// TestProvenAreExpected: the listener of who has proven his address is told before his packets are released, and that of others is not.
func TestProvenAreExpected(t *testing.T) {
	for name, want := range map[string][]netip.AddrPort{"SYN": nil, "proof": {netip.MustParseAddrPort("10.77.0.12:80")}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, "tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
				w.proven = want != nil
				d.up(t, s)
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.released != 1 || !slices.Equal(w.expect, want) {
					t.Errorf("%d packets are released, cookies are expected at %v; want 1 and %v", w.released, w.expect, want)
				}
			})
		})
	}
}
