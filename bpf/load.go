package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Load is what the kernel has counted for a replica since it was added; the
// queue is as it is now. What is counted how exactly is said in
// docs/counting.md.
type Load struct {
	ConnsNow   uint64 // TCP connections accepted and open
	ConnsTotal uint64 // accepted so far
	Attempts   uint64 // TCP handshakes that clients began, repeated SYNs not counted
	Refused    uint64 // attempts answered by a reset
	Failed     uint64 // accepted connections that a reset of either side ended, or giving up

	BytesIn, BytesOut uint64 // payload, without what was sent again

	Requests uint64    // begun turns
	NoTurns  uint64    // connections whose protocol does not take turns, or cannot be seen to
	Latency  Histogram // first payload of a request to first payload of its answer

	UDPFlows                  uint64 // client addresses and ports
	DatagramsIn, DatagramsOut uint64

	AcceptQueue uint32 // connections that wait for accept(), in all listeners
	AcceptMax   uint32 // how many may
}

// Unfinished are the attempts that became neither a connection nor a refusal.
// The ones of the last moments may still finish.
func (l Load) Unfinished() uint64 {
	return l.Attempts - min(l.Attempts, l.ConnsTotal+l.Refused)
}

// Add is l with what another replica has counted so far: all that only grows.
func (l Load) Add(o Load) Load {
	l.ConnsTotal += o.ConnsTotal
	l.Attempts += o.Attempts
	l.Refused += o.Refused
	l.Failed += o.Failed
	l.BytesIn += o.BytesIn
	l.BytesOut += o.BytesOut
	l.Requests += o.Requests
	l.NoTurns += o.NoTurns
	l.Latency = l.Latency.Add(o.Latency)
	l.UDPFlows += o.UDPFlows
	l.DatagramsIn += o.DatagramsIn
	l.DatagramsOut += o.DatagramsOut
	return l
}

// SiteLoad is what the kernel has counted for a site since it was last parked.
type SiteLoad struct {
	Held    uint64 // packets held
	Refused uint64 // SYNs and datagrams refused while the site refuses (see Site.Refuse)
}

// loadBatch is how many replicas one system call reads.
const loadBatch = 256

// Load returns the counters of replicas; ids of which nothing is known are
// missing in the result.
func (d *Datapath) Load(ids []ReplicaID) (map[ReplicaID]Load, error) {
	out := make(map[ReplicaID]Load, len(ids))
	for _, id := range ids {
		out[id] = Load{}
	}
	known := make(map[ReplicaID]bool, len(ids))
	err := eachBatch(d.objs.FcReplicas, 1, func(id uint32, v []dpFcReplica) {
		if l, asked := out[ReplicaID(id)]; asked {
			known[ReplicaID(id)] = true
			l.ConnsNow, l.ConnsTotal, l.Failed = v[0].ConnsNow, v[0].ConnsTotal, v[0].ConnsFailed
			out[ReplicaID(id)] = l
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the connections of the replicas: %w", err)
	}
	err = eachBatch(d.objs.FcLoads, ebpf.MustPossibleCPU(), func(id uint32, v []dpFcLoad) {
		if l, asked := out[ReplicaID(id)]; asked {
			l.sum(v)
			out[ReplicaID(id)] = l
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the load of the replicas: %w", err)
	}
	err = eachBatch(d.objs.FcLatencies, 1, func(id uint32, v []dpFcLatency) {
		if l, asked := out[ReplicaID(id)]; asked {
			l.Latency = trimmed(v[0].N[:])
			out[ReplicaID(id)] = l
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the latencies of the replicas: %w", err)
	}
	if err := d.queues(out); err != nil {
		return nil, fmt.Errorf("read the accept queues: %w", err)
	}
	for id := range out {
		if !known[id] {
			delete(out, id)
		}
	}
	return out, nil
}

// sum adds what each CPU has counted.
func (l *Load) sum(perCPU []dpFcLoad) {
	for i := range perCPU {
		c := &perCPU[i]
		l.Attempts += c.Attempts
		l.Refused += c.Refused
		l.BytesIn += c.BytesIn
		l.BytesOut += c.BytesOut
		l.Requests += c.Requests
		l.NoTurns += c.NoTurns
		l.UDPFlows += c.UdpFlows
		l.DatagramsIn += c.DatagramsIn
		l.DatagramsOut += c.DatagramsOut
	}
}

// eachBatch reads a whole map, many entries by one system call. An entry that
// is added or removed meanwhile may be missed or seen twice.
func eachBatch[K, V any](m *ebpf.Map, cpus int, f func(key K, v []V)) error {
	keys, vals := make([]K, loadBatch), make([]V, loadBatch*cpus)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, vals, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which is the end
			return err
		}
		for i, k := range keys[:n] {
			f(k, vals[i*cpus:(i+1)*cpus])
		}
		if err != nil {
			return nil //nolint:nilerr // the end, see above
		}
	}
}

// queues adds up the accept queues of each replica's listeners.
func (d *Datapath) queues(out map[ReplicaID]Load) error {
	frame := make([]byte, 64) // the program is run on a packet, but does not look at it
	if _, err := d.objs.FcReadQueues.Run(&ebpf.RunOptions{Data: frame}); err != nil {
		return fmt.Errorf("run the program that reads them: %w", err)
	}
	return eachBatch(d.objs.FcQueues, 1, func(at dpFcQueueKey, v []dpFcQueue) {
		if l, asked := out[ReplicaID(at.Replica)]; asked {
			l.AcceptQueue += v[0].Depth
			l.AcceptMax += v[0].Max
			out[ReplicaID(at.Replica)] = l
		}
	})
}

// removeOf removes the entries of a map, with one value each, whose keys are a replica's.
func removeOf[K, V any](m *ebpf.Map, theirs func(K) bool) error {
	var gone []K
	err := eachBatch(m, 1, func(at K, _ []V) {
		if theirs(at) {
			gone = append(gone, at)
		}
	})
	for _, at := range gone {
		err = errors.Join(err, ignoreMissing(m.Delete(at)))
	}
	return err
}

// clearPorts removes what is known of the ports that a replica listened on.
func (d *Datapath) clearPorts(id ReplicaID) error {
	return errors.Join(
		removeOf[dpFcQueueKey, dpFcQueue](d.objs.FcQueues, func(at dpFcQueueKey) bool { return at.Replica == uint32(id) }),
		removeOf[dpFcOpenKey, dpFcOpeners](d.objs.FcOpen, func(at dpFcOpenKey) bool { return at.Replica == uint32(id) }),
	)
}

// SiteLoads returns what was counted for the sites that have had something to
// count since they were last parked.
func (d *Datapath) SiteLoads() (map[SiteID]SiteLoad, error) {
	out := make(map[SiteID]SiteLoad)
	err := eachBatch(d.objs.FcSiteLoads, ebpf.MustPossibleCPU(), func(id uint32, v []dpFcSiteLoad) {
		out[SiteID(id)] = sumSite(v)
	})
	if err != nil {
		return nil, fmt.Errorf("read the load of the sites: %w", err)
	}
	return out, nil
}

// SiteLoad returns that of one.
func (d *Datapath) SiteLoad(id SiteID) (SiteLoad, error) {
	var v []dpFcSiteLoad
	if err := d.objs.FcSiteLoads.Lookup(uint32(id), &v); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return SiteLoad{}, fmt.Errorf("read the load of site %d: %w", id, err)
	}
	return sumSite(v), nil
}

func sumSite(perCPU []dpFcSiteLoad) (l SiteLoad) {
	for _, c := range perCPU {
		l.Held += c.Held
		l.Refused += c.Refused
	}
	return l
}
