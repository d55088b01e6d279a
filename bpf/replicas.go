package bpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// AddReplica makes a replica known before its container starts, so that its
// first listen() is seen. It gets packets once a site names it.
func (d *Datapath) AddReplica(id ReplicaID, r Replica) error {
	v := dpFcReplica{
		Site: uint32(r.Site), Ifindex: uint32(r.Ifindex), Nsid: int32(r.NSID),
		Vip4: toAddr(r.VIP4), Vip6: toAddr(r.VIP6), Keepalive: uint32(r.Keepalive / time.Second),
		UdpIdle: uint32(r.UDPIdle / time.Second),
	}
	if r.Closed {
		v.Flags = uint32(dpFcReplicaFlagsFC_REPLICA_CLOSED)
	}
	err := d.objs.FcReplicas.Update(uint32(id), v, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) { // another's: nothing of it is to be taken back
		return fmt.Errorf("add replica %d to the data path: %w", id, err)
	}
	if err == nil { // before the first socket
		err = d.addCounters(id)
	}
	if err == nil {
		err = d.vips.add(id, r.VIP4, r.VIP6)
	}
	if err == nil {
		err = d.objs.FcNetns.Put(r.Cookie, uint32(id))
	}
	if err == nil {
		err = d.objs.FcVeths.Put(uint32(r.Ifindex), uint32(id))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("add replica %d to the data path: %w", id, err), d.RemoveReplica(id, r))
	}
	return nil
}

// The kernel hands out per-CPU memory from a small stock, which a worker of its
// own fills up again: in a burst of wakes it may be empty for a moment.
const (
	memoryTries = 200
	memoryPause = time.Millisecond
)

func (d *Datapath) addCounters(id ReplicaID) (err error) {
	zero := make([]dpFcLoad, ebpf.MustPossibleCPU())
	for range memoryTries {
		if err = d.objs.FcLoads.Put(uint32(id), zero); !errors.Is(err, unix.ENOMEM) {
			break
		}
		time.Sleep(memoryPause)
	}
	if err != nil {
		return err
	}
	return d.objs.FcLatencies.Put(uint32(id), dpFcLatency{})
}

// RemoveReplica makes it unknown; what is already gone is no error.
func (d *Datapath) RemoveReplica(id ReplicaID, r Replica) error {
	var v dpFcReplica
	err := ignoreMissing(d.objs.FcReplicas.Lookup(uint32(id), &v))
	err = errors.Join(err,
		d.vips.remove(id, fromAddr(v.Vip4), fromAddr(v.Vip6)),
		ignoreMissing(d.objs.FcReplicas.Delete(uint32(id))),
		ignoreMissing(d.objs.FcNetns.Delete(r.Cookie)),
		ignoreMissing(d.objs.FcVeths.Delete(uint32(r.Ifindex))),
		ignoreMissing(d.objs.FcLoads.Delete(uint32(id))),
		ignoreMissing(d.objs.FcLatencies.Delete(uint32(id))),
		d.clearPorts(id),
	)
	if err != nil {
		return fmt.Errorf("take replica %d out of the data path: %w", id, err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// Stats returns what was counted for a replica so far.
func (d *Datapath) Stats(id ReplicaID) (ReplicaStats, error) {
	var v dpFcReplica
	if err := d.objs.FcReplicas.Lookup(uint32(id), &v); err != nil {
		return ReplicaStats{}, fmt.Errorf("read the counters of replica %d: %w", id, err)
	}
	return v.stats(), nil
}

// Listens says whether a replica listens on a port of a range (see ListenerSite). It says
// no of a port that was opened while the table of those ports was full.
func (d *Datapath) Listens(id ReplicaID, on Listener) (bool, error) {
	var open dpFcOpeners
	const neighbours = uint16(len(open.N))
	at := dpFcOpenKey{Replica: uint32(id), Ports: on.Port / neighbours, Proto: uint8(on.Proto)}
	if err := ignoreMissing(d.objs.FcOpen.Lookup(at, &open)); err != nil {
		return false, fmt.Errorf("look whether replica %d listens on %s: %w", id, on, err)
	}
	n := open.N[on.Port%neighbours]
	if on.Addr.Is4() {
		return n&0xffff > 0, nil
	}
	return n>>16 > 0, nil
}

func (v *dpFcReplica) stats() ReplicaStats {
	return ReplicaStats{
		Asleep: v.Flags&uint32(dpFcReplicaFlagsFC_REPLICA_ASLEEP) != 0,
		Closed: v.Flags&uint32(dpFcReplicaFlagsFC_REPLICA_CLOSED) != 0,
		Ready4: v.Ready4, Ready6: v.Ready6,
		ConnsTotal: v.ConnsTotal, ConnsNow: v.ConnsNow, ConnsUsed: v.ConnsUsed,
		Last: v.LastNs, Used: v.UsedNs, Established: v.EstablishedNs, FirstByte: v.FirstByteNs,
	}
}

// Replicas returns every replica that the data path knows. The cookie is the
// key of another map and filled in from there.
func (d *Datapath) Replicas() (map[ReplicaID]Replica, error) {
	out := make(map[ReplicaID]Replica)
	var id uint32
	var v dpFcReplica
	it := d.objs.FcReplicas.Iterate()
	for it.Next(&id, &v) {
		out[ReplicaID(id)] = Replica{
			Site: SiteID(v.Site), Ifindex: int(v.Ifindex), NSID: int(v.Nsid),
			VIP4: fromAddr(v.Vip4), VIP6: fromAddr(v.Vip6), Closed: v.Flags&uint32(dpFcReplicaFlagsFC_REPLICA_CLOSED) != 0,
			Keepalive: time.Duration(v.Keepalive) * time.Second, UDPIdle: time.Duration(v.UdpIdle) * time.Second,
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the data path's replicas: %w", err)
	}
	var cookie uint64
	it = d.objs.FcNetns.Iterate()
	for it.Next(&cookie, &id) {
		if r, ok := out[ReplicaID(id)]; ok {
			r.Cookie = cookie
			out[ReplicaID(id)] = r
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the data path's network namespaces: %w", err)
	}
	return out, nil
}
