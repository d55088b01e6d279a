package sleep

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// State is all that is remembered of a site to decide when it sleeps, and what
// is kept over the daemon's end. The zero value is a site that nobody has visited.
type State struct {
	Pauses Pauses
	// Last is when the last activity ended, since any instant that stays the
	// same over restarts (the node uses 1970). 0: never.
	Last time.Duration
	// Ahead is the test of what waking ahead would have saved.
	Ahead Paired
	// Debt is what the plans that were followed have cost beyond three times
	// what hindsight would have, in the unit of prices; negative while it is less.
	Debt float32
	// Own is how much dearer the site's waiting is than its class's (the
	// logarithm), where the class bounds the share of each site.
	Own float32
}

// stateVersion is the first byte of the encoding.
const stateVersion = 1

// StateSize is the length of the encoding.
const StateSize = 1 + Buckets + 8 + 4*4

// AppendBinary implements encoding.BinaryAppender. The encoding has a version and
// a fixed length.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, stateVersion)
	b = append(b, s.Pauses[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Last))
	for _, f := range [...]float32{s.Ahead.Sum, s.Ahead.Squares, s.Debt, s.Own} {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b, nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s *State) MarshalBinary() ([]byte, error) {
	return s.AppendBinary(make([]byte, 0, StateSize))
}

// ErrState says that bytes are no state.
var ErrState = errors.New("not the state of a site's pauses")

// UnmarshalBinary implements encoding.BinaryUnmarshaler. What a damaged file says
// does not become a decision: it leaves s as it is, and tells so.
func (s *State) UnmarshalBinary(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: it is empty", ErrState)
	case b[0] != stateVersion:
		return fmt.Errorf("%w: version %d, this fcnode reads %d", ErrState, b[0], stateVersion)
	case len(b) != StateSize:
		return fmt.Errorf("%w: %d bytes, not %d", ErrState, len(b), StateSize)
	}
	var out State
	b = b[1:]
	copy(out.Pauses[:], b)
	b = b[Buckets:]
	out.Last = time.Duration(binary.LittleEndian.Uint64(b))
	b = b[8:]
	for _, f := range [...]*float32{&out.Ahead.Sum, &out.Ahead.Squares, &out.Debt, &out.Own} {
		*f = math.Float32frombits(binary.LittleEndian.Uint32(b))
		if v := float64(*f); math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: a sum is no number", ErrState)
		}
		b = b[4:]
	}
	if out.Last < 0 || out.Ahead.Squares < 0 || out.Own < 0 || out.Own > mostOwn {
		return fmt.Errorf("%w: a figure out of its bounds", ErrState)
	}
	*s = out
	return nil
}

// MarshalText implements encoding.TextMarshaler, for records that are text.
func (s *State) MarshalText() ([]byte, error) {
	b, err := s.MarshalBinary()
	return base64.RawStdEncoding.AppendEncode(nil, b), err
}

// UnmarshalText implements encoding.TextUnmarshaler; see UnmarshalBinary.
func (s *State) UnmarshalText(text []byte) error {
	b, err := base64.RawStdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return s.UnmarshalBinary(b)
}

// Paired tests which of two rules is cheaper, on the same pauses: the sum of the
// differences and of their squares. The zero value has seen nothing.
type Paired struct{ Sum, Squares float32 }

const (
	// pairedKeep lets old pauses fade: about a hundred count.
	pairedKeep = 0.99
	// pairedSure is how many standard errors a gain must be beyond zero. With two
	// a site that is visited by the clock waits too long for what it has earned: on
	// eight hours of Azure a tenth more memory.
	pairedSure = 1.5
)

// Add takes what the first rule cost more than the second.
func (p *Paired) Add(difference float64) {
	d := clampFloat(difference)
	p.Sum = p.Sum*pairedKeep + d
	p.Squares = p.Squares*(pairedKeep*pairedKeep) + d*d
}

// clampFloat keeps sums and their squares finite.
func clampFloat(v float64) float32 {
	const most = 1e12
	if math.IsNaN(v) {
		return 0
	}
	return float32(min(max(v, -most), most))
}

// Surely says that the second rule is cheaper, and not by chance.
func (p Paired) Surely() bool {
	return p.Sum > 0 && float64(p.Sum) > pairedSure*math.Sqrt(float64(p.Squares))
}
