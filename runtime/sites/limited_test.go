package sites

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
)

// TestLimitedIsTold: who is limited is told with the line of the configuration, and a flood of forged sources fills no log.
func TestLimitedIsTold(t *testing.T) {
	w := NewTable(&life.Host{Cfg: config.Default(), Log: slog.New(slog.DiscardHandler)}).LimitedWakes()
	now := time.Date(2026, 11, 30, 5, 0, 0, 0, time.UTC)
	source := netip.MustParsePrefix("192.0.2.0/24")
	ev, ok := w.event(bpf.Limited{Peer: source}, now)
	want := "192.0.2.0/24 wakes more sites than wake.source of the configuration allows: 64, and one more each 1s"
	if !ok || ev.Kind != event.Limited || ev.Reason != want || ev.Fields["source"] != "192.0.2.0/24" || ev.Site != "" {
		t.Errorf("%+v, want %q", ev, want)
	}
	ev, ok = w.event(bpf.Limited{Peer: netip.MustParsePrefix("192.0.2.7/32"), Site: 5}, now)
	if !ok || !strings.Contains(ev.Reason, "wake.site of the configuration allows: 8 times, and once more each 5s") || !strings.Contains(ev.Text, "192.0.2.7") {
		t.Errorf("of a site: %+v", ev)
	}
	for limit, name := range map[bpf.Limit]string{bpf.LimitConnections: "network.rate.connections", bpf.LimitPackets: "network.rate.packets"} {
		ev, ok = w.event(bpf.Limited{Limit: limit, Peer: netip.MustParsePrefix("198.51.100.7/32"), Site: 5}, now)
		if !ok || !strings.Contains(ev.Reason, name) || ev.Fields["to"] != "198.51.100.7" {
			t.Errorf("of what a site sends: %+v", ev)
		}
	}
	told := 4
	for i := range 1000 {
		if _, ok := w.event(bpf.Limited{Peer: netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255))}, now.Add(time.Second)); ok {
			told++
		}
	}
	if told != limitedMost {
		t.Errorf("%d were told within a second, want %d", told, limitedMost)
	}
	ev, ok = w.event(bpf.Limited{Peer: source}, now.Add(time.Minute))
	if !ok || !strings.Contains(ev.Text, "; 984 more were not told before") {
		t.Errorf("a minute later: %v, %+v", ok, ev)
	}
	if ev, _ = w.event(bpf.Limited{Peer: source}, now.Add(time.Minute)); strings.Contains(ev.Text, "not told") {
		t.Errorf("told twice: %+v", ev)
	}
	for range limitedMost {
		w.event(bpf.Limited{Peer: source}, now.Add(time.Minute))
	}
	ev, ok = w.event(bpf.Limited{Peer: netip.MustParsePrefix("192.0.2.7/32"), Limit: bpf.LimitTrust}, now.Add(time.Minute))
	if !ok || !strings.Contains(ev.Text, "wake.proof: auto") || !strings.Contains(ev.Text, "192.0.2.7") {
		t.Errorf("of proofs, after as many as are told: %v, %+v", ok, ev)
	}
}
