package spec

import (
	"math"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Scaled says whether the limit is scaled in place between min and max.
func (l CPULimits) Scaled() bool { return l.Min > 0 && l.Min < l.Max }

// Factor of one raise.
func (l CPULimits) Factor() float64 { return factor(l.Step) }

// Scaled says whether memory.high is scaled in place, from Min to Ceiling.
func (l MemoryLimits) Scaled() bool { return l.Min > 0 && l.Min < l.Ceiling() && l.Max > 0 }

// Ceiling is the highest that memory.high may be.
func (l MemoryLimits) Ceiling() Bytes {
	if l.High > 0 {
		return l.High
	}
	return l.Max
}

// Factor of one raise.
func (l MemoryLimits) Factor() float64 { return factor(l.Step) }

// Keep is memory.swap.max of a replica that is awake, in bytes; limited is false where there is none.
func (l MemoryLimits) Keep() (bytes uint64, limited bool) {
	switch {
	case l.Swap == NoSwap || l.Swap == 0 && l.Max > 0:
		return 0, true
	case l.Swap > 0 && l.Swap != AllSwap:
		return uint64(l.Swap), true
	}
	return 0, false
}

// Least distance of a memory.max that follows memory.high.
const followDistance = 16 * MiB

// Hard is memory.max while memory.high is at a mark: Max, but where it follows so far above the mark as a site cannot get
// beyond it before it is raised. At the highest mark it is Max in any case.
func (l MemoryLimits) Hard(high Bytes) Bytes {
	if !l.Follow || !l.Scaled() || high >= l.Ceiling() {
		return l.Max
	}
	return min(l.Max, high+max(high/4, followDistance))
}

func factor(step float64) float64 {
	if step == 0 {
		return DefaultStep
	}
	return step
}

// Rate is one of the rates of a disk, in bytes or operations a second.
type Rate struct {
	Name     string // as in the spec, and in io.max
	Min, Max uint64 // Max 0: not limited
	Step     float64
}

// Scaled says whether the rate is scaled in place between min and max.
func (r Rate) Scaled() bool { return r.Min > 0 && r.Min < r.Max }

// Factor of one raise.
func (r Rate) Factor() float64 { return factor(r.Step) }

// RateNames are in the order of [IOLimit.Rates].
var RateNames = [4]string{"rbps", "wbps", "riops", "wiops"}

// Rates are the four rates of a disk, those that are not limited among them.
func (l IOLimit) Rates() [4]Rate {
	return [4]Rate{
		{RateNames[0], uint64(l.ReadBytes.Min), uint64(l.ReadBytes.Max), l.ReadBytes.Step},
		{RateNames[1], uint64(l.WriteBytes.Min), uint64(l.WriteBytes.Max), l.WriteBytes.Step},
		{RateNames[2], uint64(l.Reads.Min), uint64(l.Reads.Max), l.Reads.Step},
		{RateNames[3], uint64(l.Writes.Min), uint64(l.Writes.Max), l.Writes.Step},
	}
}

// Scaled says whether a rate of the disk is scaled in place.
func (l IOLimit) Scaled() bool {
	for _, r := range l.Rates() {
		if r.Scaled() {
			return true
		}
	}
	return false
}

// IOScaled says whether a rate of any disk is scaled in place.
func (l Limits) IOScaled() bool {
	for _, d := range l.IO {
		if d.Scaled() {
			return true
		}
	}
	return false
}

// Scaled says whether any limit is scaled in place.
func (l Limits) Scaled() bool {
	return l.CPU.Scaled() || l.Memory.Scaled() || l.Pids.Scaled() || l.IOScaled()
}

const opsAllowed = "1 to 2147483647"

// Swap is how much of a site may lie in swap: a size, NoSwap or AllSwap; 0 is no wish.
type Swap Bytes

// The sizes of Swap that are written as words.
const (
	NoSwap  Swap = -1
	AllSwap Swap = math.MaxInt64

	swapNone    = "none"
	swapAll     = "unlimited"
	swapAllowed = "none, unlimited, or a size like 128MiB"
)

// String gives the size, "none" or "unlimited".
func (s Swap) String() string {
	switch s {
	case NoSwap:
		return swapNone
	case AllSwap:
		return swapAll
	}
	return Bytes(s).String()
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (s Swap) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Swap) UnmarshalText(text []byte) error {
	switch string(text) {
	case swapNone:
		*s = NoSwap
	case swapAll:
		*s = AllSwap
	default:
		size, err := ParseBytes(string(text))
		if err != nil {
			return strictyaml.Bad(swapAllowed, "%q is no amount of swap", text)
		}
		*s = Swap(size)
	}
	return nil
}
