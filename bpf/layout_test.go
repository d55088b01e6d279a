package bpf

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func object(t testing.TB) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := loadDp()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// What the daemon reads and writes is laid out as the object's C types are:
// each field at its offset, of its size.
func TestLayouts(t *testing.T) {
	types := object(t).Types
	for name, twin := range map[string]any{
		"fc_addr": dpFcAddr{}, "fc_listener_key": dpFcListenerKey{}, "fc_listener": dpFcListener{},
		"fc_site": dpFcSite{}, "fc_replica": dpFcReplica{}, "fc_flow_key": dpFcFlowKey{}, "fc_flow": dpFcFlow{},
		"fc_cell_key": dpFcCellKey{}, "fc_cell": dpFcCell{}, "fc_vip": dpFcVip{}, "fc_held_flow": dpFcHeldFlow{}, "fc_settings": dpFcSettings{}, "fc_pulse": dpFcPulse{},
		"fc_held": dpFcHeld{}, "fc_held_small": dpFcHeldSmall{}, "fc_held_large": dpFcHeldLarge{}, "fc_event": dpFcEvent{},
		"fc_listening": dpFcListening{}, "fc_conn": dpFcConn{}, "fc_control_args": dpFcControlArgs{},
		"fc_load": dpFcLoad{}, "fc_latency": dpFcLatency{}, "fc_site_load": dpFcSiteLoad{}, "fc_queue": dpFcQueue{}, "fc_queue_key": dpFcQueueKey{}, "fc_open_key": dpFcOpenKey{}, "fc_openers": dpFcOpeners{}, "fc_trigger_params": dpFcTriggerParams{},
		"fc_deny_key4": dpFcDenyKey4{}, "fc_deny_key6": dpFcDenyKey6{}, "fc_denied": dpFcDenied{}, "fc_policy_key": dpFcPolicyKey{}, "fc_refused_key": dpFcRefusedKey{}, "fc_refused_rate": dpFcRefusedRate{},
		"fc_rate": dpFcRate{}, "fc_bucket": dpFcBucket{}, "fc_limited": dpFcLimited{}, "fc_allowance": dpFcAllowance{}, "fc_proof": dpFcProof{}, "fc_refusal": dpFcRefusal{}, "fc_prefix_key": dpFcPrefixKey{}, "fc_ignore_key": dpFcIgnoreKey{}, "fc_ignored_packets": dpFcIgnoredPackets{}, "fc_trigger": dpFcTrigger{}, "fc_trigger_args": dpFcTriggerArgs{}, "fc_trigger_event": dpFcTriggerEvent{},
	} {
		var c *btf.Struct
		if err := types.TypeByName(name, &c); err != nil {
			t.Errorf("struct %s: %v", name, err)
			continue
		}
		compareLayout(t, c, reflect.TypeOf(twin))
	}
}

func compareLayout(t *testing.T, c *btf.Struct, g reflect.Type) {
	t.Helper()
	if uintptr(c.Size) != g.Size() {
		t.Errorf("struct %s: %d bytes in C, %d in Go", c.Name, c.Size, g.Size())
	}
	var fields []reflect.StructField
	for f := range g.Fields() {
		if f.Name != "_" {
			fields = append(fields, f)
		}
	}
	if len(fields) != len(c.Members) {
		t.Errorf("struct %s: %d members in C, %d in Go", c.Name, len(c.Members), len(fields))
		return
	}
	for i, m := range c.Members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Errorf("%s.%s: %v", c.Name, m.Name, err)
			continue
		}
		f := fields[i]
		if uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
			t.Errorf("%s.%s: at %d of %d bytes in C, at %d of %d in Go", c.Name, m.Name, m.Offset.Bytes(), size, f.Offset, f.Type.Size())
		}
	}
}

// The keys and values of the maps are of the types that the daemon passes.
func TestMapSizes(t *testing.T) {
	size := func(v any) uint32 { return uint32(reflect.TypeOf(v).Size()) }
	u32, u64 := size(uint32(0)), size(uint64(0))
	maps := object(t).Maps
	for name, want := range map[string][2]uint32{
		dpMapFcListeners: {size(dpFcListenerKey{}), size(dpFcListener{})}, dpMapFcSites: {u32, size(dpFcSite{})},
		dpMapFcReplicas: {u32, size(dpFcReplica{})}, dpMapFcNetns: {u64, u32}, dpMapFcVeths: {u32, u32},
		dpMapFcFlows: {size(dpFcFlowKey{}), size(dpFcFlow{})}, dpMapFcFrags: {size(dpFcCellKey{}), size(dpFcCell{})},
		dpMapFcHandshakes: {size(dpFcCellKey{}), size(dpFcCell{})}, dpMapFcDatagrams: {size(dpFcCellKey{}), size(dpFcCell{})},
		dpMapFcOwnFlows: {size(dpFcCellKey{}), size(dpFcCell{})}, dpMapFcVips: {size(dpFcAddr{}), size(dpFcVip{})},
		dpMapFcHeldFlows: {size(dpFcFlowKey{}), size(dpFcHeldFlow{})}, dpMapFcHoldCounts: {u32, u32},
		dpMapFcConfig: {u32, size(dpFcSettings{})}, dpMapFcLastPulse: {u32, size(dpFcPulse{})}, dpMapFcStats: {u32, u64}, dpMapFcHeldRing: {0, 0}, dpMapFcEventRing: {0, 0},
		dpMapFcListenSocks: {u32, size(dpFcListening{})}, dpMapFcQueues: {size(dpFcQueueKey{}), size(dpFcQueue{})}, dpMapFcOpen: {size(dpFcOpenKey{}), size(dpFcOpeners{})}, dpMapFcConns: {u32, size(dpFcConn{})},
		dpMapFcLoads: {u32, size(dpFcLoad{})}, dpMapFcLatencies: {u32, size(dpFcLatency{})}, dpMapFcSiteLoads: {u32, size(dpFcSiteLoad{})},
		dpMapFcTriggers: {u32, size(dpFcTrigger{})}, dpMapFcTriggerRing: {0, 0},
		dpMapFcFragsOut: {size(dpFcCellKey{}), size(dpFcCell{})}, dpMapFcDeny4: {size(dpFcDenyKey4{}), size(dpFcDenied{})},
		dpMapFcDeny6: {size(dpFcDenyKey6{}), size(dpFcDenied{})}, dpMapFcPrefixes: {size(dpFcPrefixKey{}), u32},
		dpMapFcIgnore: {size(dpFcIgnoreKey{}), u32}, dpMapFcIgnoreHow: {u32, u32}, dpMapFcIgnored: {u32, size(dpFcIgnoredPackets{})},
		dpMapFcAnswerers: {u32, u64},
		dpMapFcUplinks:   {u32, u32}, dpMapFcPolicy: {size(dpFcPolicyKey{}), u32},
		dpMapFcRefused: {size(dpFcRefusedKey{}), u64}, dpMapFcRefusalRate: {u32, size(dpFcRefusedRate{})}, dpMapFcRefusalRing: {0, 0},
		dpMapFcWakeSource: {size(dpFcAddr{}), size(dpFcBucket{})}, dpMapFcWakeSite: {u32, size(dpFcBucket{})}, dpMapFcLimitedRing: {0, 0}, dpMapFcEgress: {u32, size(dpFcAllowance{})}, dpMapFcProofs: {u32, size(dpFcProof{})},
	} {
		m := maps[name]
		if m == nil {
			t.Errorf("no map %s", name)
			continue
		}
		if m.KeySize != want[0] || m.ValueSize != want[1] {
			t.Errorf("map %s: key of %d, value of %d bytes, want %d and %d", name, m.KeySize, m.ValueSize, want[0], want[1])
		}
		if m.Pinning != ebpf.PinByName {
			t.Errorf("map %s is not pinned: it would go with the daemon", name)
		}
		if len(name) > 15 {
			t.Errorf("map %s: the kernel cuts names at 15 characters", name)
		}
	}
	var names []string
	for name := range maps {
		if strings.HasPrefix(name, "fc_") {
			names = append(names, name)
		}
	}
	if len(names) != 45 {
		t.Errorf("maps %v: one is not compared here", names)
	}
}

// Each counter has the name of its constant in C.
func TestStatNames(t *testing.T) {
	var e *btf.Enum
	if err := object(t).Types.TypeByName("fc_stat", &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Values) != len(statNames)+1 { // FC_STAT_MAX
		t.Errorf("%d counters in C, %d have a name", len(e.Values)-1, len(statNames))
	}
	for _, v := range e.Values {
		if v.Name == "FC_STAT_MAX" {
			continue
		}
		want := strings.ToLower(strings.TrimPrefix(v.Name, "FC_STAT_"))
		if int(v.Value) >= len(statNames) || statNames[v.Value] != want {
			t.Errorf("counter %d (%s) is not called %q", v.Value, v.Name, want)
		}
	}
}

// The masks of ports and replicas have a bit for each.
func TestMasksHaveRoom(t *testing.T) {
	if MaxPorts > 32 || MaxReplicas > 32 || MaxReplicas&(MaxReplicas-1) != 0 {
		t.Errorf("%d ports, %d replicas: masks have 32 bits, and slots are counted modulo a power of two", MaxPorts, MaxReplicas)
	}
	for n, want := range map[int]uint32{0: 0, 1: 1, 2: 3, 31: 1<<31 - 1, 32: ^uint32(0), 99: ^uint32(0)} {
		if got := AllPorts(n); got != want {
			t.Errorf("AllPorts(%d) = %#x, want %#x", n, got, want)
		}
	}
}

func TestProtoNames(t *testing.T) {
	if got := fmt.Sprint(TCP, UDP, Proto(132)); got != "tcp udp proto-132" {
		t.Errorf("got %q", got)
	}
}
