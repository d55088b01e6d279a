package arrivals

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// Kernel is what the meter asks the data path.
type Kernel interface {
	EachReplica(func(bpf.ReplicaID, bpf.SiteID, bpf.ReplicaStats)) error
	Traffic(bpf.ReplicaID) (bpf.Load, error)
}

// Visits is what came to a site between two readings.
type Visits struct {
	Site bpf.SiteID
	// Arrivals are the requests, and the connections beyond these: whoever connects
	// and asks for nothing has come, too. 0: only bytes were seen.
	Arrivals uint64
	// Begin and End are the first and the last moment at which something was seen,
	// to the second.
	Begin, End time.Time
	// Resumed says that they came while nobody read: when is not known.
	Resumed bool
}

// count is how much of a replica's arrivals was told.
type count struct {
	Turns uint64 // requests, connections that take no turns, flows of datagrams
	Conns uint64
}

func countOf(l bpf.Load, conns uint64) count {
	return count{Turns: l.Requests + l.NoTurns + l.UDPFlows, Conns: conns}
}

// since is how many arrivals there are beyond those of an earlier count.
func (c count) since(o count) uint64 {
	return max(c.Turns-min(o.Turns, c.Turns), c.Conns-min(o.Conns, c.Conns))
}

// reading is what was last read of a replica.
type reading struct {
	told  count
	stats bpf.ReplicaStats
	moved uint64 // bytes and datagrams
	at    uint64 // number of the reading
}

// missed is how many readings may pass a replica over that is there all the same,
// before its counts are let go. They would all be new if it was found again.
const missed = 60

// Meter finds out what came since it last read. It keeps some hundred bytes a
// replica, and nothing of sites that have none.
type Meter struct {
	kernel Kernel
	now    func() uint64 // CLOCK_MONOTONIC

	mu       sync.Mutex
	replicas map[bpf.ReplicaID]reading
	ended    map[bpf.SiteID]Visits // of replicas that are gone
	reads    uint64
	fresh    bool // what was counted before the first reading is not known to be new
	resumed  bool // this is the first reading after Resume
}

// NewMeter makes a meter of a kernel's counters.
func NewMeter(kernel Kernel, now func() uint64) *Meter {
	return &Meter{kernel: kernel, now: now, replicas: map[bpf.ReplicaID]reading{}, ended: map[bpf.SiteID]Visits{}, fresh: true}
}

// Begin takes what the kernel has counted so far for known: from here on all is new,
// also of who comes before the first reading.
func (m *Meter) Begin() error {
	_, err := m.Read()
	return err
}

// Resume goes on from what an earlier meter has told: the kernel counted meanwhile.
func (m *Meter) Resume(told map[bpf.ReplicaID]count) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fresh, m.resumed = false, true
	for id, c := range told {
		m.replicas[id] = reading{told: c, stats: bpf.ReplicaStats{ConnsTotal: c.Conns}}
	}
}

// told is what Resume takes.
func (m *Meter) told() map[bpf.ReplicaID]count {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[bpf.ReplicaID]count, len(m.replicas))
	for id, r := range m.replicas {
		out[id] = r.told
	}
	return out
}

// Ended takes the last counters of a replica that is about to be removed from the
// data path. Calling it again is fine.
func (m *Meter) Ended(id bpf.ReplicaID, of bpf.SiteID, l bpf.Load) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, known := m.replicas[id]
	now := countOf(l, l.ConnsTotal)
	if !known && m.fresh {
		r.told = now
	}
	if n := now.since(r.told); n > 0 {
		v := m.ended[of]
		at := time.Now()
		if v.Arrivals == 0 {
			v.Begin = at
		}
		m.ended[of] = Visits{Site: of, Arrivals: v.Arrivals + n, Begin: v.Begin, End: at}
	}
	r.told, r.at = now, m.reads // readings may still find it
	m.replicas[id] = r
}

// Read gives what came to which site since the last reading.
func (m *Meter) Read() ([]Visits, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	mono, wall := m.now(), time.Now()
	came := m.ended
	m.ended = map[bpf.SiteID]Visits{}
	type found struct {
		id   bpf.ReplicaID
		site bpf.SiteID
		now  bpf.ReplicaStats
	}
	var changed []found
	err := m.kernel.EachReplica(func(id bpf.ReplicaID, of bpf.SiteID, now bpf.ReplicaStats) {
		r, known := m.replicas[id]
		r.at = m.reads
		m.replicas[id] = r
		quiet := known && now.ConnsTotal == r.stats.ConnsTotal && now.Last == r.stats.Last && now.Used == r.stats.Used
		if quiet && (now.Asleep || now.ConnsNow == 0 && r.stats.ConnsNow == 0) {
			return
		}
		changed = append(changed, found{id, of, now})
	})
	if err != nil {
		m.ended = came
		return nil, err
	}
	var errs []error
	for _, f := range changed {
		l, err := m.kernel.Traffic(f.id)
		if err != nil { // it is told at the next reading
			errs = append(errs, err)
			continue
		}
		v, ok := m.changed(f.id, f.now, l, mono, wall)
		if !ok {
			continue
		}
		v.Site = f.site
		came[f.site] = came[f.site].add(v)
	}
	m.fresh, m.resumed = false, false
	maps.DeleteFunc(m.replicas, func(_ bpf.ReplicaID, r reading) bool { return r.at+missed < m.reads })
	return slices.Collect(maps.Values(came)), errors.Join(errs...)
}

// changed takes what is read of a replica; ok: something came.
func (m *Meter) changed(id bpf.ReplicaID, now bpf.ReplicaStats, l bpf.Load, mono uint64, wall time.Time) (v Visits, ok bool) {
	r := m.replicas[id]
	count, moved := countOf(l, now.ConnsTotal), l.BytesIn+l.BytesOut+l.DatagramsIn+l.DatagramsOut
	before := r.stats
	v.Arrivals = count.since(r.told)
	active := v.Arrivals > 0 || moved > r.moved
	resumed := r.moved == 0 && before.Last == 0 // by a daemon that knows only the counts
	r.told, r.stats, r.moved = count, now, moved
	m.replicas[id] = r
	if m.fresh || !active || resumed && v.Arrivals == 0 {
		return v, false
	}
	v.Begin, v.End, v.Resumed = wall, wall, resumed && m.resumed
	stamp := func(ns, old uint64) {
		if ns <= old || ns > mono {
			return
		}
		if at := wall.Add(-time.Duration(mono - ns)); at.Before(v.Begin) {
			v.Begin = at
		}
	}
	stamp(now.Last, before.Last)
	stamp(now.Used, before.Used)
	if newest := max(now.Last, now.Used); now.ConnsNow == 0 && newest > max(before.Last, before.Used) && newest <= mono {
		v.End = wall.Add(-time.Duration(mono - newest))
	}
	return v, true
}

func (v Visits) add(o Visits) Visits {
	if v.End.IsZero() {
		return o
	}
	v.Arrivals += o.Arrivals
	v.Resumed = v.Resumed || o.Resumed
	if o.Begin.Before(v.Begin) {
		v.Begin = o.Begin
	}
	if o.End.After(v.End) {
		v.End = o.End
	}
	return v
}
