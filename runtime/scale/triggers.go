package scale

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	surge "github.com/fcnode/fcnode/detect/change"
)

// Trigger is a condition that the kernel watches. Value and Threshold are
// connections, queue entries or nanoseconds, after its kind.
type Trigger struct {
	Kind      string // one of the constants below
	Threshold float64
	Fired     uint64 // how often it was crossed since the daemon started
	Last      time.Time
}

// The kinds of triggers.
const (
	TriggerConns       = "conns"        // connections of one replica
	TriggerAcceptQueue = "accept-queue" // entries in the accept queue of one replica
	TriggerLatency     = "latency"      // nanoseconds of one request
	TriggerSurge       = "surge"        // the rate of new connections has changed; the threshold is that of the CUSUM
)

// triggerKinds are their names in the API.
var triggerKinds = map[bpf.TriggerKind]string{
	bpf.TriggerConns: TriggerConns, bpf.TriggerQueue: TriggerAcceptQueue,
	bpf.TriggerLatency: TriggerLatency, bpf.TriggerSurge: TriggerSurge,
}

// causeOf puts what the kernel has told into the words of an evaluation.
func causeOf(ev bpf.TriggerEvent) Cause {
	return Cause{
		kind: triggerKinds[ev.Kind], what: fmt.Sprintf("%s of replica %d", ev.Kind, ev.Replica), at: ev.Time,
		way: way{read: bpf.Now()}, value: float64(ev.Value), threshold: float64(ev.Threshold), replica: ev.Replica,
	}
}

// Fewer connections that wait to be accepted than this are one glance of a busy server;
// more are told from a quarter of what may wait on.
const shortQueue = 8

// setTrigger tells the kernel what to watch of a site, if that has changed.
func (g *Engine) setTrigger(l Site, sig *detect.Signals) {
	s := l.Scaling()
	normal, changed := s.normal.Changed()
	t := bpf.Trigger{
		ConnsPerReplica: uint32(min(math.Ceil(s.scaler.ConnsThreshold(sig)), math.MaxUint32)),
		AcceptQueue:     max(shortQueue, sig.AcceptMax/4),
		Latency:         s.scaler.Targets.Latency,
		Cusum:           s.trigger.Cusum,
	}
	if changed {
		t.Cusum = bpf.CusumParams(normal.Params())
	}
	if t == s.trigger {
		return
	}
	if err := g.Data.SetTrigger(l.Ref.ID(), t); err != nil {
		g.Log.Error("the kernel does not tell of a site's load; it is evaluated each second", "site", l.Ref.Name(), "error", err)
		return
	}
	s.trigger = t
	for kind, threshold := range map[string]float64{
		TriggerConns: float64(t.ConnsPerReplica), TriggerAcceptQueue: float64(t.AcceptQueue), TriggerLatency: float64(t.Latency),
	} {
		if threshold > 0 {
			s.watching(kind).Threshold = threshold
		}
	}
	if s.normal.Known() {
		s.watching(TriggerSurge).Threshold = surge.Ratios[0] * normal.Lambda
	}
}

// watching is the trigger of a kind as people see it.
func (s *State) watching(kind string) *Trigger {
	if s.Fired[kind] == nil {
		s.Fired[kind] = &Trigger{Kind: kind}
	}
	return s.Fired[kind]
}

// told notes what an evaluation is for.
func (s *State) told(g *Engine, causes []Cause) {
	for _, c := range causes {
		if c.at == 0 {
			continue
		}
		g.Metrics.triggers.WithLabelValues(c.kind).Inc()
		t := s.watching(c.kind)
		t.Fired++
		t.Last = time.Now().Add(-time.Duration(bpf.Now() - min(c.at, bpf.Now())))
	}
}

// alarms asks the kernel which alarms last.
func (g *Engine) alarms(l Site) surge.Alarm {
	s := l.Scaling()
	if !s.normal.Known() {
		return 0
	}
	state, err := g.Data.Trigger(l.Ref.ID())
	if err != nil {
		return 0
	}
	params := surge.CusumParams(state.Cusum)
	cusum := surge.CusumState{Due: state.Due, Alarmed: state.Alarmed}
	return cusum.Alarms(&params, bpf.Now())
}

// removeTrigger ends it.
func (g *Engine) removeTrigger(l Site) {
	if err := g.Data.RemoveTrigger(l.Ref.ID()); err != nil {
		g.Log.Error("the kernel goes on telling of a site that is not scaled any more", "site", l.Ref.Name(), "error", err)
	}
}

// loadFresh is for how long a reading of all replicas will do for an evaluation that nothing
// asked for. It costs the same for one site as for all.
const loadFresh = 400 * time.Millisecond

// loadCache is the last reading of all replicas.
type loadCache struct {
	reading sync.Mutex // one reads for all
	last    atomic.Pointer[loads]
}

// loads is what was counted of all replicas, and when. It does not change.
type loads struct {
	at  uint64
	all map[bpf.ReplicaID]bpf.Load
}

func (l *loads) fresh() bool { return bpf.Now()-l.at < uint64(loadFresh) }

// now is the last reading; before the first an empty one.
func (c *loadCache) now() *loads {
	if l := c.last.Load(); l != nil {
		return l
	}
	return &loads{}
}

// refresh reads all replicas unless somebody has done so a moment ago. That takes a while, so it is for those who hold
// no site's lock.
func (c *loadCache) refresh(dp Counters) error {
	if c.now().fresh() {
		return nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.now().fresh() {
		return nil
	}
	at := bpf.Now()
	known, err := dp.Replicas()
	if err != nil {
		return err
	}
	all, err := dp.Load(slices.Collect(maps.Keys(known)))
	if err != nil {
		return err
	}
	c.last.Store(&loads{at: at, all: all})
	return nil
}

// RefreshLoads reads the load of all replicas, unless somebody did a moment ago.
func (g *Engine) RefreshLoads() {
	if err := g.loads.refresh(g.Data); err != nil {
		g.Log.Error("cannot read the load of the sites", "error", err)
	}
}

// readLoads gives what was counted of replicas, and when: for an evaluation that nothing asked for in the last reading of all,
// else, and if there were not all of them then, at this moment by a few system calls. It never waits for a reading of
// all. A queue that was told is as long as was told.
func (g *Engine) readLoads(ids []bpf.ReplicaID, why Cause) (map[bpf.ReplicaID]bpf.Load, uint64, error) {
	last := g.loads.now()
	unknown := func(id bpf.ReplicaID) bool {
		_, known := last.all[id]
		return !known
	}
	if why.at == 0 && last.fresh() && !slices.ContainsFunc(ids, unknown) {
		return last.all, last.at, nil
	}
	at := bpf.Now()
	out, err := g.Data.LoadOf(ids...)
	if err != nil {
		return nil, 0, err
	}
	for id, l := range out {
		l.AcceptQueue, l.AcceptMax = last.all[id].AcceptQueue, last.all[id].AcceptMax
		if why.kind == TriggerAcceptQueue && why.replica == id {
			l.AcceptQueue = max(l.AcceptQueue, uint32(why.value))
			l.AcceptMax = max(l.AcceptMax, l.AcceptQueue)
		}
		out[id] = l
	}
	return out, at, nil
}

// idsOf are the replicas of a site that have a container.
func idsOf(l Site) []bpf.ReplicaID {
	var ids []bpf.ReplicaID
	for _, r := range l.Set().Replicas {
		if r.Group != nil {
			ids = append(ids, bpf.ReplicaID(r.ID))
		}
	}
	return ids
}
