package spec

import "encoding/json"

// Range is a limit that is scaled in place between min and max, where min is
// less than max.
type Range[T int | Ops | Bytes] struct {
	// Min is the limit from which scaling starts. Default: nothing is scaled.
	Min T `json:"min,omitzero"`
	// Max is the most that is allowed.
	Max T `json:"max,omitzero" also:"limit" alone:"true"`
	// Step is the factor of one raise, 1.1 to 16. Default: 2.
	Step float64 `json:"step,omitzero" also:"factor"`
}

// Ops is a number of operations a second.
type Ops int

type (
	// PidsLimits are limits of processes and threads.
	PidsLimits = Range[int]
	// ByteRate is how many bytes may go in a second.
	ByteRate = Range[Bytes]
	// OpsRate is how many operations may be made in a second.
	OpsRate = Range[Ops]
)

// Scaled says whether the limit is scaled in place between min and max.
func (r Range[T]) Scaled() bool { return r.Min > 0 && r.Min < r.Max }

// Factor of one raise.
func (r Range[T]) Factor() float64 { return factor(r.Step) }

// MarshalJSON implements json.Marshaler: a maximum alone is a plain value.
func (r Range[T]) MarshalJSON() ([]byte, error) {
	if r.Min == 0 && r.Step == 0 {
		return json.Marshal(r.Max)
	}
	type mapping Range[T]
	return json.Marshal(mapping(r))
}

// UnmarshalJSON implements json.Unmarshaler; what is left out keeps its value.
func (r *Range[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		return json.Unmarshal(data, &r.Max)
	}
	type mapping Range[T]
	return strictJSON(data, (*mapping)(r))
}
