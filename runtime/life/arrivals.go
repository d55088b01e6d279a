package life

import (
	"io"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/arrivals"
	"github.com/fcnode/fcnode/runtime/policy"
)

// ArrivalsEvery is how often is read who came. Pauses count from two seconds on.
const ArrivalsEvery = time.Second

// What was learnt of pauses is put on disk so long after it has changed, of so many
// sites at once: kill -9 loses no more, on a node with thousands that are busy a little more.
const (
	pausesKept     = 10 * time.Second
	pausesKeptOnce = 50
)

// Arrivals is who came to the sites of a host, and what that has taught. Read is called
// by one goroutine.
type Arrivals struct {
	host   *Host
	meter  *arrivals.Meter
	record *arrivals.Record

	unkept    map[*Site]time.Time // whose pauses are not on disk, since when
	plansKept time.Time
}

// OpenArrivals goes on with what an earlier daemon has counted, before a replica that
// it has left is adopted or removed.
func OpenArrivals(h *Host, kernel arrivals.Kernel) *Arrivals {
	meter := arrivals.NewMeter(kernel, h.Now)
	record := arrivals.Open(arrivals.Options{
		Dir:  filepath.Join(h.Cfg.StateDir, "arrivals"),
		Keep: time.Duration(h.Cfg.Record.Keep), Disk: int64(h.Cfg.Record.Disk),
		Lost: func(err error) { h.Log.Error("arrivals are not recorded", "error", err) },
		Bad: func(path string, why error) {
			h.MoveAside(h.Cfg.StateDir, path, "", why, "its arrivals are not in the record")
		},
	}, meter)
	plans, bad := policy.OpenPlans(h.Cfg)
	if h.Plans = plans; bad != nil {
		h.MoveAside(h.Cfg.StateDir, plans.File(), "", bad, "what the pauses of all sites have taught is learnt anew")
	}
	return &Arrivals{host: h, meter: meter, record: record, unkept: map[*Site]time.Time{}}
}

// Read takes what came since the last time.
func (a *Arrivals) Read() {
	visits, err := a.meter.Read()
	if err != nil {
		a.host.Log.Error("cannot read all that came; the rest counts for the next time", "error", err)
	}
	now := time.Now()
	for _, v := range visits {
		st := a.host.Finder.ByID(v.Site)
		if st == nil {
			continue
		}
		a.record.Add(now, st.Name, v.Arrivals)
		if v.Resumed {
			v.Begin = time.Time{} // and so it ends no pause
		}
		if a.host.Guard(st, func() { a.visited(st, policy.Visits{Begin: v.Begin, End: v.End, Requests: v.Arrivals}) }) {
			if _, due := a.unkept[st]; !due {
				a.unkept[st] = now
			}
		}
	}
	a.record.Save(now)
	a.keep(now, pausesKept, pausesKeptOnce)
}

// keep puts on disk what was learnt of sites that have waited for it for a time.
func (a *Arrivals) keep(now time.Time, after time.Duration, most int) {
	for st, since := range a.unkept {
		if now.Sub(since) < after {
			continue
		}
		if most--; most < 0 {
			break
		}
		delete(a.unkept, st)
		a.host.each(st, (*Live).keepPauses)
	}
	if now.Sub(a.plansKept) >= after {
		a.plansKept = now
		if err := a.host.Plans.Save(); err != nil {
			a.host.Log.Error("what the pauses of all sites have taught is not kept", "error", err)
		}
	}
}

// ended takes the last counters of a replica.
func (a *Arrivals) ended(id bpf.ReplicaID, of bpf.SiteID, l bpf.Load) { a.meter.Ended(id, of, l) }

// hours are the arrivals of a site in each hour of the day; nil: not known.
func (a *Arrivals) hours(siteName string) *[24]uint64 {
	hours, err := a.record.Hours(siteName)
	if err != nil {
		a.host.Log.Error("the hour in which the fewest come to a site is not known", "site", siteName, "error", err)
		return nil
	}
	return hours
}

// Export writes the record.
func (a *Arrivals) Export(w io.Writer, q arrivals.Query) error { return a.record.Export(w, q) }

// End reads for the last time, and puts on disk what all sites have taught.
func (a *Arrivals) End() {
	a.Read()
	a.keep(time.Now(), 0, len(a.unkept))
}

// Close puts the record on disk.
func (a *Arrivals) Close() error { return a.record.Close() }
