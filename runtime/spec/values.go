package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// CPU is an amount of CPU time in cores; 0.25 is a quarter of one core.
type CPU float64

// The range of CPU. Under a hundredth the kernel's quota (1 ms in 100 ms) ends.
const (
	MinCPU CPU = 0.01
	MaxCPU CPU = 1024
)

const cpuAllowed = "cores from 0.01 to 1024, like 0.25 or 2"

// DecodeScalar implements strictyaml.ScalarDecoder.
func (c *CPU) DecodeScalar(s strictyaml.Scalar) error {
	f, err := s.Float()
	if err != nil {
		hint := ""
		if milli, ok := strings.CutSuffix(s.Text, "m"); ok {
			if n, err := strconv.ParseUint(milli, 10, 31); err == nil {
				hint = fmt.Sprintf("; for %s thousandths write %v", milli, float64(n)/1000)
			}
		}
		return strictyaml.Bad(cpuAllowed, "%q is not a number of cores%s", s.Text, hint)
	}
	if f == 0 { // which is how a limit that is left out is kept, so it cannot wait for the checks
		return strictyaml.Bad(cpuAllowed, "0 is no CPU time")
	}
	*c = CPU(f)
	return nil
}

// Count is a number of things. It may be written with k, M or G, for thousands, millions and more.
type Count int64

const (
	countAllowed = "a whole number above 0, like 20000, 500k or 1M"
	countPattern = `^[1-9][0-9]{0,14}[kMG]?$`
)

var countForm = regexp.MustCompile(countPattern)

// DecodeScalar implements strictyaml.ScalarDecoder.
func (c *Count) DecodeScalar(s strictyaml.Scalar) error {
	if !countForm.MatchString(s.Text) {
		return strictyaml.Bad(countAllowed, "%q is no such number", s.Text)
	}
	digits := strings.TrimRight(s.Text, "kMG")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := map[string]int64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[s.Text[len(digits):]]
	if err != nil || n > math.MaxInt64/unit {
		return strictyaml.Bad(countAllowed, "%q is too large", s.Text)
	}
	*c = Count(n * unit)
	return nil
}

// String gives the number, as short as it can be written.
func (c Count) String() string {
	for _, unit := range []struct {
		of   Count
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if c != 0 && c%unit.of == 0 {
			return strconv.FormatInt(int64(c/unit.of), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(c), 10)
}

// Weight gives cpu.weight, 1 to 10000: 100, the kernel's default, for one core, and in proportion. 0 is no wish.
func (l CPULimits) Weight() uint64 {
	if l.Min == 0 {
		return 0
	}
	return uint64(min(max(math.Round(float64(l.Min)*100), 1), 10000))
}

// User is a user and perhaps a group, each by name or number: www-data, 33, 33:33, www-data:www-data.
type User string

const (
	userAllowed = "a user, or user:group, each a name or a number"
	userPattern = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$`
)

// DecodeScalar implements strictyaml.ScalarDecoder: a number is the number of a user.
func (u *User) DecodeScalar(s strictyaml.Scalar) error {
	if s.Kind == strictyaml.KindInt {
		*u = User(s.Text)
		return nil
	}
	text, err := s.String()
	if text == "" && err == nil { // which is how a user that is left out is kept
		return strictyaml.Bad(userAllowed, "is empty")
	}
	*u = User(text)
	return err
}

// Idle is when a site without connections is parked.
type Idle struct {
	// Never parks the site by idleness; After is 0 then.
	Never bool
	// Auto leaves the time to the node; After is 0 then.
	Auto bool
	// After is how long there must have been no connection.
	After Duration
}

const (
	idleAllowed = "a duration from 1s, like 5m, auto or never"
	idleNever   = "never"
	idleAuto    = "auto"
)

// ParseIdle reads a duration, "auto" or "never". Errors are of type *strictyaml.Invalid.
func ParseIdle(text string) (Idle, error) {
	switch text {
	case idleNever:
		return Idle{Never: true}, nil
	case idleAuto:
		return Idle{Auto: true}, nil
	}
	d, bad := parseDuration(text)
	if bad != nil {
		return Idle{}, strictyaml.Bad(idleAllowed, "%s", bad.Msg)
	}
	if d < Duration(time.Second) { // 0 is no value of Idle, so it cannot wait for the checks
		return Idle{}, strictyaml.Bad(idleAllowed, "%s is too short", text)
	}
	return Idle{After: d}, nil
}

// String gives the duration, "auto" or "never".
func (i Idle) String() string {
	switch {
	case i.Never:
		return idleNever
	case i.Auto:
		return idleAuto
	}
	return i.After.String()
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (i Idle) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Idle) UnmarshalText(text []byte) (err error) {
	*i, err = ParseIdle(string(text))
	return err
}
