package bpf

import (
	"math"
	"testing"
	"unsafe"

	"github.com/fcnode/fcnode/detect/change"
)

func TestRescale(t *testing.T) {
	for _, c := range []struct{ ahead, from, to, want uint64 }{
		{0, 5, 7, 0}, {5, 5, 7, 7}, {9, 5, 7, 7}, {1 << 59, 1 << 60, 1 << 60, 1 << 59}, {1, 1 << 60, 1 << 60, 1},
		{50, 100, 1 << 60, 1 << 59}, {1 << 59, 1 << 60, 10, 5}, {3, 4, 0, 0}, {math.MaxUint64, 1, 3, 3},
	} {
		if got := rescale(c.ahead, c.from, c.to); got != c.want {
			t.Errorf("%d of %d in %d is %d, want %d", c.ahead, c.from, c.to, got, c.want)
		}
	}
}

// The detector's parameters are handed over by conversion, and its ratios are the
// kernel's.
func TestCusumParamsAreTheDetectors(t *testing.T) {
	p := change.Baseline{Lambda: 1}.Params()
	if CusumParams(p).Limit != p.Limit || len(change.Ratios) != len(dpFcTrigger{}.Due) {
		t.Errorf("%+v is not %+v", CusumParams(p), p)
	}
}

func TestTriggerNames(t *testing.T) {
	for k, want := range map[TriggerKind]string{
		TriggerConns: "connections", TriggerQueue: "accept queue", TriggerLatency: "latency", TriggerSurge: "surge", 99: "trigger-99",
	} {
		if k.String() != want {
			t.Errorf("%d is called %q, want %q", uint32(k), k, want)
		}
	}
}

func TestShortTrigger(t *testing.T) {
	if _, err := parseTrigger(make([]byte, unsafe.Sizeof(dpFcTriggerEvent{})-1)); err == nil {
		t.Error("a trigger that is too short was read")
	}
}
