package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// TriggerKind says which condition of a Trigger has begun.
type TriggerKind uint32

// The conditions.
const (
	TriggerConns   = TriggerKind(dpFcTriggerKindFC_TRIGGER_CONNS)   // connections of a replica
	TriggerQueue   = TriggerKind(dpFcTriggerKindFC_TRIGGER_QUEUE)   // connections that wait for a replica's accept()
	TriggerLatency = TriggerKind(dpFcTriggerKindFC_TRIGGER_LATENCY) // the site's smoothed latency in ns
	TriggerSurge   = TriggerKind(dpFcTriggerKindFC_TRIGGER_SURGE)   // the rate of new connections
)

func (k TriggerKind) String() string {
	switch k {
	case TriggerConns:
		return "connections"
	case TriggerQueue:
		return "accept queue"
	case TriggerLatency:
		return "latency"
	case TriggerSurge:
		return "surge"
	}
	return fmt.Sprintf("trigger-%d", uint32(k))
}

// CusumParams are the parameters of the change-point test on new connections:
// the fields of detect.CusumParams, which is made from a baseline and can be
// converted to this type. The statistic of each ratio is kept as the time it
// would take a silent site to bring it to zero, in ns: an arrival adds Step,
// the alarm is at Limit, and an alarm is over below Rearm. A Limit of 0 turns a
// ratio off.
type CusumParams struct {
	Step, Limit, Rearm [3]uint64
}

// Trigger is what the daemon wants to be told of a site that is awake. A
// threshold of 0 is none. Each condition is told when it begins, and again only
// after it was over in between: below 3/4 of its threshold (Rearm for the
// surge).
type Trigger struct {
	ConnsPerReplica uint32        // connections of one replica
	AcceptQueue     uint32        // connections that wait in one listener
	Latency         time.Duration // mean of the site's answers, each of which counts 1/8
	Cusum           CusumParams
}

// TriggerEvent tells that a condition has begun. Of TriggerSurge the Value is
// the set of ratios (bits, as in detect.Alarm) of which the alarm begins, and
// the Threshold the set of which it lasts.
type TriggerEvent struct {
	Time      uint64 // CLOCK_MONOTONIC, ns
	Site      SiteID
	Replica   ReplicaID // of the connection or answer that made it begin
	Kind      TriggerKind
	Value     uint64
	Threshold uint64
}

// SetTrigger sets what is to be told of a site. Of a trigger that it has
// already the conditions that last do so on, and the statistics of the surge
// stay the same share of their limits.
func (d *Datapath) SetTrigger(site SiteID, t Trigger) error {
	params := dpFcTriggerParams{
		Conns: t.ConnsPerReplica, Queue: t.AcceptQueue, Latency: uint64(max(t.Latency, 0)),
		Step: t.Cusum.Step, Limit: t.Cusum.Limit, Rearm: t.Cusum.Rearm,
	}
	err := d.objs.FcTriggers.Update(uint32(site), dpFcTrigger{P: params}, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		err = d.changeTrigger(site, params)
	}
	if err != nil {
		return fmt.Errorf("set the trigger of site %d: %w", site, err)
	}
	return nil
}

// changeTrigger goes by a program, as the rest of the entry is the kernel's.
func (d *Datapath) changeTrigger(site SiteID, params dpFcTriggerParams) error {
	var old dpFcTrigger
	if err := d.objs.FcTriggers.Lookup(uint32(site), &old); err != nil {
		return err
	}
	args := dpFcTriggerArgs{Site: uint32(site), P: params, DueWas: old.Due, Due: old.Due}
	now := Now()
	for i, due := range old.Due {
		if due > now && old.P.Limit[i] > 0 {
			args.Due[i] = now + rescale(due-now, old.P.Limit[i], params.Limit[i])
		}
	}
	ret, err := d.objs.FcSetTrigger.Run(&ebpf.RunOptions{Context: args})
	if err == nil && ret != 0 {
		err = ebpf.ErrKeyNotExist
	}
	return err
}

// rescale is ahead × to ÷ from; ahead is at most from.
func rescale(ahead, from, to uint64) uint64 {
	if ahead >= from {
		return to
	}
	hi, lo := bits.Mul64(ahead, to)
	q, _ := bits.Div64(hi, lo, from)
	return q
}

// RemoveTrigger makes a site one that nothing is told of.
func (d *Datapath) RemoveTrigger(site SiteID) error {
	if err := ignoreMissing(d.objs.FcTriggers.Delete(uint32(site))); err != nil {
		return fmt.Errorf("remove the trigger of site %d: %w", site, err)
	}
	return nil
}

// TriggerState is what the kernel keeps for a site's trigger.
type TriggerState struct {
	Trigger
	Due     [3]uint64     // see detect.CusumState
	Alarmed uint32        // ratios (bits) whose alarm began and had not ended at the last arrival
	Smooth  time.Duration // the smoothed latency
	Slow    bool          // over its threshold
}

// Trigger returns the trigger of a site and its state.
func (d *Datapath) Trigger(site SiteID) (TriggerState, error) {
	var v dpFcTrigger
	if err := d.objs.FcTriggers.Lookup(uint32(site), &v); err != nil {
		return TriggerState{}, fmt.Errorf("read the trigger of site %d: %w", site, err)
	}
	return TriggerState{
		Trigger: Trigger{
			ConnsPerReplica: v.P.Conns, AcceptQueue: v.P.Queue, Latency: time.Duration(v.P.Latency),
			Cusum: CusumParams{Step: v.P.Step, Limit: v.P.Limit, Rearm: v.P.Rearm},
		},
		Due: v.Due, Alarmed: v.Alarmed, Smooth: time.Duration(v.Latency), Slow: v.Marks != 0,
	}, nil
}

// TriggerReader reads the ring of triggers. One reader at a time.
type TriggerReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

// Triggers opens the ring of triggers; what was not read by an earlier daemon
// is still there.
func (d *Datapath) Triggers() (*TriggerReader, error) {
	r, err := ringbuf.NewReader(d.objs.FcTriggerRing)
	if err != nil {
		return nil, fmt.Errorf("open the ring of triggers: %w", err)
	}
	return &TriggerReader{r: r}, nil
}

// Read waits for the next one. After Close it returns os.ErrClosed.
func (t *TriggerReader) Read() (TriggerEvent, error) {
	if err := t.r.ReadInto(&t.rec); err != nil {
		return TriggerEvent{}, err
	}
	return parseTrigger(t.rec.RawSample)
}

// Close ends a waiting Read.
func (t *TriggerReader) Close() error { return t.r.Close() }

func parseTrigger(b []byte) (TriggerEvent, error) {
	var raw dpFcTriggerEvent
	if len(b) < int(unsafe.Sizeof(raw)) {
		return TriggerEvent{}, fmt.Errorf("trigger of %d bytes, want %d: the program and this daemon differ", len(b), unsafe.Sizeof(raw))
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return TriggerEvent{}, fmt.Errorf("decode trigger: %w", err)
	}
	return TriggerEvent{
		Time: raw.Ns, Site: SiteID(raw.Site), Replica: ReplicaID(raw.Replica), Kind: TriggerKind(raw.Kind),
		Value: raw.Value, Threshold: raw.Threshold,
	}, nil
}
