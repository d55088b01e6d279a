package spec

import (
	"encoding/json"

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

// Scaled says whether the limit is scaled in place between min and max.
func (l PidsLimits) Scaled() bool { return l.Min > 0 && l.Min < l.Max }

// Factor of one raise.
func (l PidsLimits) Factor() float64 { return factor(l.Step) }

func factor(step float64) float64 {
	if step == 0 {
		return DefaultStep
	}
	return step
}

// DecodeScalar implements strictyaml.ScalarDecoder: a plain number is the maximum.
func (l *PidsLimits) DecodeScalar(s strictyaml.Scalar) error {
	n, err := s.Int(32)
	l.Max = int(n)
	return err
}

// Allowed implements strictyaml.Describer.
func (PidsLimits) Allowed() string { return "a whole number, or a mapping of min, max, step" }

// MarshalJSON implements json.Marshaler: a maximum alone is a plain number.
func (l PidsLimits) MarshalJSON() ([]byte, error) {
	if l.Min == 0 && l.Step == 0 {
		return json.Marshal(l.Max)
	}
	type wire PidsLimits
	return json.Marshal(wire(l))
}

// UnmarshalJSON implements json.Unmarshaler; what is left out keeps its default.
func (l *PidsLimits) UnmarshalJSON(data []byte) error {
	*l = PidsLimits{Max: DefaultPids}
	if len(data) > 0 && data[0] != '{' {
		return json.Unmarshal(data, &l.Max)
	}
	type wire PidsLimits
	return strictJSON(data, (*wire)(l))
}
