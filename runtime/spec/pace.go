package spec

import (
	"strconv"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Pace is how much of something a site may do a second: a number, or Unlimited; 0 is no wish.
type Pace int

// Unlimited is a rate without a limit.
const Unlimited Pace = -1

const (
	unlimited   = "unlimited"
	paceAllowed = "unlimited, or a number from 1 to 10000000"
	maxPace     = 10_000_000
)

// String gives the number, or "unlimited".
func (n Pace) String() string {
	if n == Unlimited {
		return unlimited
	}
	return strconv.Itoa(int(n))
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (n Pace) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Pace) UnmarshalText(text []byte) error {
	if string(text) == unlimited {
		*n = Unlimited
		return nil
	}
	i, err := strconv.Atoi(string(text))
	if err != nil {
		return strictyaml.Bad(paceAllowed, "%q is not a number", text)
	}
	*n = Pace(i)
	return n.check() // 0 is no value of a file, so it cannot wait for the checks
}

func (n Pace) check() error {
	if n == Unlimited || n >= 1 && n <= maxPace {
		return nil
	}
	return strictyaml.Bad(paceAllowed, "%d is out of range", int(n))
}
