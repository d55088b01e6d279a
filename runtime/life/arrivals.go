package life

import (
	"io"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/arrivals"
)

// ArrivalsEvery is how often is read who came. Pauses count from two seconds on.
const ArrivalsEvery = time.Second

// Arrivals is who came to the sites of a host.
type Arrivals struct {
	host   *Host
	meter  *arrivals.Meter
	record *arrivals.Record
}

// OpenArrivals goes on with what an earlier daemon has counted, before a replica that
// it has left is adopted or removed.
func OpenArrivals(h *Host, kernel arrivals.Kernel) (*Arrivals, error) {
	meter := arrivals.NewMeter(kernel, h.Now)
	record, err := arrivals.Open(arrivals.Options{
		Dir:  filepath.Join(h.Cfg.StateDir, "arrivals"),
		Keep: time.Duration(h.Cfg.Record.Keep), Disk: int64(h.Cfg.Record.Disk),
		Lost: func(err error) { h.Log.Error("arrivals are not recorded", "error", err) },
		Bad: func(path string, why error) {
			h.MoveAside(h.Cfg.StateDir, path, "", why, "its arrivals are not in the record")
		},
	}, meter)
	return &Arrivals{host: h, meter: meter, record: record}, err
}

// Read takes what came since the last time.
func (a *Arrivals) Read() {
	visits, err := a.meter.Read()
	if err != nil {
		a.host.Log.Error("cannot read all that came; the rest counts for the next time", "error", err)
	}
	now := time.Now()
	for _, v := range visits {
		if st := a.host.Finder.ByID(v.Site); st != nil {
			a.record.Add(now, st.Name, v.Arrivals)
		}
	}
	a.record.Save(now)
}

// ended takes the last counters of a replica.
func (a *Arrivals) ended(id bpf.ReplicaID, of bpf.SiteID, l bpf.Load) { a.meter.Ended(id, of, l) }

// Export writes the record.
func (a *Arrivals) Export(w io.Writer, q arrivals.Query) error { return a.record.Export(w, q) }

// Close puts everything on disk.
func (a *Arrivals) Close() error { return a.record.Close() }
