package node

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
	"github.com/fcnode/fcnode/runtime/api"
)

// triggerKinds are their names in the API.
var triggerKinds = map[bpf.TriggerKind]string{
	bpf.TriggerConns: api.TriggerConns, bpf.TriggerQueue: api.TriggerAcceptQueue,
	bpf.TriggerLatency: api.TriggerLatency, bpf.TriggerSurge: api.TriggerSurge,
}

// causeOf puts what the kernel has told into the words of a look.
func causeOf(ev bpf.TriggerEvent) cause {
	return cause{
		kind: triggerKinds[ev.Kind], what: fmt.Sprintf("%s of replica %d", ev.Kind, ev.Replica), at: ev.Time,
		way: way{read: bpf.Now()}, value: float64(ev.Value), threshold: float64(ev.Threshold), replica: ev.Replica,
	}
}

// Fewer connections that wait to be accepted than this are one glance of a busy server;
// more are told from a quarter of what may wait on.
const shortQueue = 8

// setTrigger tells the kernel what to watch of a site, if that has changed. The caller
// holds e.mu.
func (n *Node) setTrigger(e *entry, sig *detect.Signals) {
	s := e.active.scaling
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
	if err := n.dp.SetTrigger(e.id, t); err != nil {
		n.log.Error("the kernel does not tell of a site's load; it is looked at each second", "site", e.name, "error", err)
		return
	}
	s.trigger = t
	for kind, threshold := range map[string]float64{
		api.TriggerConns: float64(t.ConnsPerReplica), api.TriggerAcceptQueue: float64(t.AcceptQueue), api.TriggerLatency: float64(t.Latency),
	} {
		if threshold > 0 {
			s.watching(kind).Threshold = threshold
		}
	}
	if s.normal.Known() {
		s.watching(api.TriggerSurge).Threshold = surge.Ratios[0] * normal.Lambda
	}
}

// watching is the trigger of a kind as people see it.
func (s *scaling) watching(kind string) *api.Trigger {
	if s.fired[kind] == nil {
		s.fired[kind] = &api.Trigger{Kind: kind}
	}
	return s.fired[kind]
}

// told notes what a look is for.
func (s *scaling) told(n *Node, causes []cause) {
	for _, c := range causes {
		if c.at == 0 {
			continue
		}
		n.scaleMetrics.triggers.WithLabelValues(c.kind).Inc()
		t := s.watching(c.kind)
		t.Fired++
		t.Last = time.Now().Add(-time.Duration(bpf.Now() - min(c.at, bpf.Now())))
	}
}

// alarms asks the kernel which alarms last. The caller holds e.mu.
func (n *Node) alarms(e *entry) surge.Alarm {
	s := e.active.scaling
	if !s.normal.Known() {
		return 0
	}
	state, err := n.dp.Trigger(e.id)
	if err != nil {
		return 0
	}
	params := surge.CusumParams(state.Cusum)
	cusum := surge.CusumState{Due: state.Due, Alarmed: state.Alarmed}
	return cusum.Alarms(&params, bpf.Now())
}

// removeTrigger ends it. The caller holds e.mu.
func (n *Node) removeTrigger(e *entry) {
	if err := n.dp.RemoveTrigger(e.id); err != nil {
		n.log.Error("the kernel goes on telling of a site that is not scaled any more", "site", e.name, "error", err)
	}
}

// loadFresh is for how long a reading of all replicas will do for a look that nothing
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
func (c *loadCache) refresh(dp *bpf.Datapath) error {
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

func (n *Node) refreshLoads() {
	if err := n.loads.refresh(n.dp); err != nil {
		n.log.Error("cannot read the load of the sites", "error", err)
	}
}

// readLoads gives what was counted of replicas, and when: for a look that nothing asked for in the last reading of all,
// else, and if there were not all of them then, at this moment by a few system calls. It never waits for a reading of
// all. A queue that was told is as long as was told.
func (n *Node) readLoads(ids []bpf.ReplicaID, why cause) (map[bpf.ReplicaID]bpf.Load, uint64, error) {
	last := n.loads.now()
	unknown := func(id bpf.ReplicaID) bool {
		_, known := last.all[id]
		return !known
	}
	if why.at == 0 && last.fresh() && !slices.ContainsFunc(ids, unknown) {
		return last.all, last.at, nil
	}
	at := bpf.Now()
	out, err := n.dp.LoadOf(ids...)
	if err != nil {
		return nil, 0, err
	}
	for id, l := range out {
		l.AcceptQueue, l.AcceptMax = last.all[id].AcceptQueue, last.all[id].AcceptMax
		if why.kind == api.TriggerAcceptQueue && why.replica == id {
			l.AcceptQueue = max(l.AcceptQueue, uint32(why.value))
			l.AcceptMax = max(l.AcceptMax, l.AcceptQueue)
		}
		out[id] = l
	}
	return out, at, nil
}

// idsOf are the replicas of a site that have a container. The caller holds e.mu.
func idsOf(e *entry) []bpf.ReplicaID {
	var ids []bpf.ReplicaID
	for id, r := range e.active.replicas {
		if r.ctr != nil {
			ids = append(ids, bpf.ReplicaID(id))
		}
	}
	return ids
}
