package sites

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
)

// Sources can be forged: what is told of them is bounded, and the rest counted.
const (
	limitedMost  = 20
	limitedEvery = time.Minute
)

// LimitedWakes tells what wakes the data path has dropped.
type LimitedWakes struct {
	table  *Table
	since  time.Time // of told and untold
	told   int
	untold int
}

// LimitedWakes of the sites of this table.
func (t *Table) LimitedWakes() *LimitedWakes { return &LimitedWakes{table: t} }

// Read takes them from the data path until the reader is closed.
func (w *LimitedWakes) Read(from *bpf.LimitedReader) {
	for {
		l, err := from.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			w.table.host.Log.Error("a limited wake cannot be read", "error", err)
			continue
		}
		if ev, ok := w.event(l, time.Now()); ok {
			w.table.host.Tell(ev)
		}
	}
}

// event puts it into words, unless too many were told of late.
func (w *LimitedWakes) event(l bpf.Limited, now time.Time) (event.Event, bool) {
	if now.Sub(w.since) >= limitedEvery {
		w.since, w.told = now, 0
	}
	if w.told >= limitedMost && l.Limit != bpf.LimitTrust { // which is of all, and told seldom
		w.untold++
		return event.Event{}, false
	}
	w.told++
	limits := w.table.host.Cfg.Wake
	ev := event.Event{Kind: event.Limited}
	if l.Site != 0 {
		if e := w.table.ByID(l.Site); e != nil {
			ev.Site = e.Name
		}
	}
	switch {
	case l.Limit == bpf.LimitTrust:
		ev.Fields = map[string]any{"source": l.Peer.String()}
		ev.Reason = "more clients begin handshakes with sites that sleep than end them, as in a flood of forged sources"
		ev.Text = fmt.Sprintf("each client has to prove its address before it wakes a site, until that is over (wake.proof: auto); the last packet said that it came from %s", l.Peer.Addr())
	case l.Limit != bpf.LimitWakes:
		ev.Fields = map[string]any{"to": l.Peer.Addr().String()}
		what := "packets"
		if l.Limit == bpf.LimitConnections {
			what = "connections"
		}
		ev.Reason = fmt.Sprintf("it sends more into the Internet than network.rate.%s of its spec or of the configuration allows, the last to %s", what, l.Peer.Addr())
		ev.Text = "what is beyond is dropped; answers to visitors, and whom network.allow names by address, are not affected"
	case l.Site == 0:
		ev.Fields = map[string]any{"source": l.Peer.String()}
		ev.Reason = fmt.Sprintf("%s wakes more sites than wake.source of the configuration allows: %d, and one more each %s", l.Peer, limits.Source.Burst, limits.Source.Every)
		ev.Text = "what of it would wake a site is dropped; running sites are not affected"
	default:
		ev.Fields = map[string]any{"source": l.Peer.String()}
		ev.Reason = fmt.Sprintf("woken more often for nobody than wake.site of the configuration allows: %d times, and once more each %s", limits.Site.Burst, limits.Site.Every)
		ev.Text = fmt.Sprintf("the last packet said that it came from %s", l.Peer.Addr())
	}
	if w.untold > 0 {
		ev.Text += fmt.Sprintf("; %d more were not told before", w.untold)
		w.untold = 0
	}
	return ev, true
}
