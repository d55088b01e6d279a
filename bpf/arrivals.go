package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// EachReplica calls f for every replica that the data path knows, with its site
// and its connections: many of them by one system call, so that it can be done each
// second on a node with thousands. One that is added or removed meanwhile may be
// missed or seen twice.
func (d *Datapath) EachReplica(f func(ReplicaID, SiteID, ReplicaStats)) error {
	err := eachBatch(d.objs.FcReplicas, 1, func(id uint32, v []dpFcReplica) {
		f(ReplicaID(id), SiteID(v[0].Site), v[0].stats())
	})
	if err != nil {
		return fmt.Errorf("read the connections of the replicas: %w", err)
	}
	return nil
}

// Traffic returns the bytes, requests and flows that were counted for a replica, and
// no more of its Load; of an unknown one nothing.
func (d *Datapath) Traffic(id ReplicaID) (Load, error) {
	var perCPU []dpFcLoad
	var l Load
	if err := d.objs.FcLoads.Lookup(uint32(id), &perCPU); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return l, fmt.Errorf("read the load of replica %d: %w", id, err)
	}
	l.sum(perCPU)
	return l, nil
}
