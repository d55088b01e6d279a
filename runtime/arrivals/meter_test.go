package arrivals

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// fakeKernel is what a data path has counted.
type fakeKernel struct {
	replicas map[bpf.ReplicaID]*fakeReplica
	now      uint64
	asked    int
	hidden   bpf.ReplicaID // which a reading misses
	err      error
}

type fakeReplica struct {
	site  bpf.SiteID
	stats bpf.ReplicaStats
	load  bpf.Load
}

func newKernel() *fakeKernel {
	return &fakeKernel{replicas: map[bpf.ReplicaID]*fakeReplica{}, now: uint64(time.Hour)}
}

func (k *fakeKernel) EachReplica(f func(bpf.ReplicaID, bpf.SiteID, bpf.ReplicaStats)) error {
	for id, r := range k.replicas {
		if id != k.hidden {
			f(id, r.site, r.stats)
		}
	}
	return k.err
}

func (k *fakeKernel) Traffic(id bpf.ReplicaID) (bpf.Load, error) {
	k.asked++
	return k.replicas[id].load, nil
}

// visit is a connection with so many requests, that ends.
func (k *fakeKernel) visit(id bpf.ReplicaID, requests uint64) {
	r := k.replicas[id]
	r.stats.ConnsTotal++
	r.load.Requests += requests
	r.load.BytesIn += 100 * requests
	r.stats.Last, r.stats.Used = k.now, k.now
}

func (k *fakeKernel) meter() *Meter { return NewMeter(k, func() uint64 { return k.now }) }

func mustRead(t *testing.T, m *Meter) map[bpf.SiteID]Visits {
	t.Helper()
	all, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	out := map[bpf.SiteID]Visits{}
	for _, v := range all {
		out[v.Site] = v
	}
	return out
}

// TestMeterCounts: each request once, and a connection that asks for nothing, too; of all
// replicas of a site together, and those that are gone among them.
func TestMeterCounts(t *testing.T) {
	k := newKernel()
	m := k.meter()
	mustRead(t, m)
	k.replicas[1], k.replicas[2], k.replicas[3] = &fakeReplica{site: 7}, &fakeReplica{site: 7}, &fakeReplica{site: 8}
	k.visit(1, 3)
	k.visit(2, 1)
	k.visit(3, 0)
	got := mustRead(t, m)
	if got[7].Arrivals != 4 || got[8].Arrivals != 1 || len(got) != 2 {
		t.Fatalf("it tells %+v", got)
	}
	if got := mustRead(t, m); len(got) != 0 {
		t.Errorf("nobody came, and it tells %+v", got)
	}
	k.visit(2, 2)
	l := k.replicas[2].load
	l.ConnsTotal = k.replicas[2].stats.ConnsTotal
	m.Ended(2, 7, l)
	m.Ended(2, 7, l) // a daemon may do so again
	if got := mustRead(t, m); got[7].Arrivals != 2 || len(got) != 1 {
		t.Errorf("of a replica that ended it tells %+v", got)
	}
	delete(k.replicas, 2)
	if got := mustRead(t, m); len(got) != 0 {
		t.Errorf("of one that is gone it tells %+v", got)
	}
}

// TestMeterAsksOnlyWhereSomethingMayHaveCome: of thousands that sleep none is asked for its load.
func TestMeterAsksOnlyWhereSomethingMayHaveCome(t *testing.T) {
	k := newKernel()
	m := k.meter()
	for id := range bpf.ReplicaID(1000) {
		k.replicas[id] = &fakeReplica{site: bpf.SiteID(id), stats: bpf.ReplicaStats{Asleep: true, ConnsNow: 1}}
	}
	mustRead(t, m)
	k.asked = 0
	k.replicas[5].stats.Asleep = false
	k.visit(5, 1)
	mustRead(t, m)
	if k.asked != 1 {
		t.Errorf("%d replicas were asked, one had a visitor", k.asked)
	}
	k.replicas[5].load.Requests++ // on the connection that is open
	if got := mustRead(t, m); got[5].Arrivals != 1 {
		t.Errorf("it tells %+v", got)
	}
}

// TestMeterKeepsBasesOfAReplicaThatIsMissed: a batch may pass over one that is there; its life
// is not counted again.
func TestMeterKeepsBasesOfAReplicaThatIsMissed(t *testing.T) {
	k := newKernel()
	m := k.meter()
	k.replicas[1] = &fakeReplica{site: 7}
	mustRead(t, m)
	k.visit(1, 9)
	mustRead(t, m)
	k.hidden = 1
	mustRead(t, m)
	k.hidden = 0
	k.visit(1, 1)
	if got := mustRead(t, m); got[7].Arrivals != 1 {
		t.Errorf("it tells %+v", got)
	}
	delete(k.replicas, 1)
	for range missed + 1 {
		mustRead(t, m)
	}
	if len(m.replicas) != 0 {
		t.Errorf("%d are kept that are gone", len(m.replicas))
	}
}

// TestMeterBegins: what was counted before anybody recorded is nobody's arrival now.
func TestMeterBegins(t *testing.T) {
	k := newKernel()
	m := k.meter()
	k.replicas[1], k.replicas[2] = &fakeReplica{site: 7}, &fakeReplica{site: 7}
	k.visit(1, 1000)
	m.Ended(2, 7, bpf.Load{Requests: 500})
	if got := mustRead(t, m); len(got) != 0 {
		t.Errorf("it tells %+v", got)
	}
}

// TestMeterHasBegun: who comes before the first reading counts.
func TestMeterHasBegun(t *testing.T) {
	k := newKernel()
	m := k.meter()
	k.replicas[1] = &fakeReplica{site: 7}
	k.visit(1, 1000)
	if err := m.Begin(); err != nil {
		t.Fatal(err)
	}
	k.visit(1, 3)
	k.replicas[2] = &fakeReplica{site: 8}
	k.visit(2, 2)
	if got := mustRead(t, m); got[7].Arrivals != 3 || got[8].Arrivals != 2 {
		t.Errorf("it tells %+v", got)
	}
}

// TestMeterResumes: what came while no daemon ran counts, once.
func TestMeterResumes(t *testing.T) {
	k := newKernel()
	m := k.meter()
	k.replicas[1] = &fakeReplica{site: 7}
	mustRead(t, m)
	k.visit(1, 5)
	mustRead(t, m)
	next := k.meter()
	next.Resume(m.told())
	k.visit(1, 2)
	k.replicas[2] = &fakeReplica{site: 8} // started since
	k.visit(2, 3)
	if got := mustRead(t, next); got[7].Arrivals != 2 || got[8].Arrivals != 3 {
		t.Errorf("it tells %+v", got)
	}
}

// TestMeterTimes: a visit lasts from its first packet to the end of its last connection, to
// the second.
func TestMeterTimes(t *testing.T) {
	k := newKernel()
	m := k.meter()
	k.replicas[1] = &fakeReplica{site: 7}
	mustRead(t, m)
	k.visit(1, 1)
	k.replicas[1].stats.Last -= uint64(300 * time.Millisecond)
	k.now += uint64(400 * time.Millisecond)
	v := mustRead(t, m)[7]
	since := func(at time.Time) time.Duration { return time.Since(at).Round(10 * time.Millisecond) }
	if since(v.Begin) < 700*time.Millisecond || since(v.End) < 400*time.Millisecond || since(v.End) > 690*time.Millisecond {
		t.Errorf("from %v to %v ago", since(v.Begin), since(v.End))
	}
}

// TestMeterTellsNothingTwiceAfterAnError: what could not be read comes next.
func TestMeterTellsNothingTwiceAfterAnError(t *testing.T) {
	k := newKernel()
	m := k.meter()
	mustRead(t, m)
	k.replicas[1] = &fakeReplica{site: 7}
	m.Ended(9, 7, bpf.Load{Requests: 4})
	k.visit(1, 1)
	k.err = errors.New("the map is gone")
	if _, err := m.Read(); !errors.Is(err, k.err) {
		t.Fatal(err)
	}
	k.err = nil
	all, err := m.Read()
	if err != nil || len(all) != 1 || all[0].Arrivals != 5 {
		t.Errorf("it tells %+v (%v)", all, err)
	}
	if all, _ := m.Read(); slices.ContainsFunc(all, func(v Visits) bool { return v.Arrivals > 0 }) {
		t.Errorf("it tells again: %+v", all)
	}
}
