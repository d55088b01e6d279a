package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// LoadOf is Load for a few replicas, without their accept queues: by a few
// system calls for each of them, however many others there are.
func (d *Datapath) LoadOf(ids ...ReplicaID) (map[ReplicaID]Load, error) {
	out := make(map[ReplicaID]Load, len(ids))
	var perCPU []dpFcLoad
	for _, id := range ids {
		var r dpFcReplica
		err := d.objs.FcReplicas.Lookup(uint32(id), &r)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the connections of replica %d: %w", id, err)
		}
		l := Load{ConnsNow: r.ConnsNow, ConnsTotal: r.ConnsTotal, Failed: r.ConnsFailed}
		if err := d.objs.FcLoads.Lookup(uint32(id), &perCPU); err == nil {
			l.sum(perCPU)
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("read the load of replica %d: %w", id, err)
		}
		var latency dpFcLatency
		if err := d.objs.FcLatencies.Lookup(uint32(id), &latency); err == nil {
			l.Latency = trimmed(latency.N[:])
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("read the latencies of replica %d: %w", id, err)
		}
		out[id] = l
	}
	return out, nil
}
