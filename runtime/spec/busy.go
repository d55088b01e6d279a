package spec

import (
	"encoding/json"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Busy is work that keeps a site awake though it has no visitors. In a file true is the default, and false looks for nothing.
type Busy struct {
	// CPU is how much of one core the site uses. 0%: whatever it uses. Default: 5%.
	CPU Percent `json:"cpu" also:"processor"`
	// IO is how much is read from and written to disks, together. 0B/s: whatever is. Default: 1MiB/s. It needs the io controller.
	IO PerSecond `json:"io" also:"disk"`
	// Connections that the site has opened itself, by TCP, count while bytes move on them, and for a minute after the site has sent
	// something to which nothing has come back. One that is merely held open (by a pool, say) does not. Default: true.
	Connections bool `json:"connections" also:"conns,network"`
	// File is the absolute path in the site of a file that exists while the site works, like a lock file.
	File string `json:"file,omitzero" also:"lock,lockfile"`
}

// PerSecond is a number of bytes a second, written 1MiB/s.
type PerSecond Bytes

const (
	busyAllowed  = "true, false, or a mapping of cpu, io, connections, file"
	rateAllowed  = "a rate like 1MiB/s, or 0B/s"
	noRate       = "0B/s"
	secondSuffix = "/s"
	// ratePattern is used by the JSON Schema as well.
	ratePattern = `^([0-9]{1,18}(\.[0-9]{1,9})?(B|[kMGT]B?|[KMGT]iB?))/s$`
)

var defaultBusy = Busy{CPU: 5, IO: PerSecond(MiB), Connections: true}

// Looks says whether any work keeps the site awake.
func (b Busy) Looks() bool { return b != Busy{} }

// IsZero says whether b is the default, which the canonical JSON leaves out.
func (b Busy) IsZero() bool { return b == defaultBusy }

// DecodeScalar implements strictyaml.ScalarDecoder.
func (b *Busy) DecodeScalar(s strictyaml.Scalar) error {
	if s.Kind != strictyaml.KindBool {
		return strictyaml.Bad(busyAllowed, "%q is none of these", s.Text)
	}
	if *b = (Busy{}); s.Text == "true" {
		*b = defaultBusy
	}
	return nil
}

// MarshalJSON implements json.Marshaler: false, or the mapping.
func (b Busy) MarshalJSON() ([]byte, error) {
	if !b.Looks() {
		return []byte("false"), nil
	}
	type mapping Busy
	return json.Marshal(mapping(b))
}

// MarshalYAML gives what is to be written in YAML.
func (b Busy) MarshalYAML() (any, error) {
	if !b.Looks() {
		return false, nil
	}
	type mapping Busy
	return mapping(b), nil
}

// UnmarshalJSON implements json.Unmarshaler; what is left out keeps its value.
func (b *Busy) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "false":
		*b = Busy{}
		return nil
	case "true":
		*b = defaultBusy
		return nil
	}
	type mapping Busy
	return strictJSON(data, (*mapping)(b))
}

// busy checks what work keeps a site awake.
func (c checker) busy(b Busy) {
	if !(b.CPU >= 0 && b.CPU <= 100) {
		c.bad("busy.cpu", "0% to 100% of one core", "%s is out of range", b.CPU)
	}
	if b.IO < 0 {
		c.bad("busy.io", rateAllowed, "%d is out of range", b.IO)
	}
	if b.File != "" {
		c.path("busy.file", b.File)
	}
}

// String gives 1MiB/s.
func (r PerSecond) String() string { return Bytes(r).String() + secondSuffix }

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (r PerSecond) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *PerSecond) UnmarshalText(text []byte) error {
	if string(text) == noRate {
		*r = 0
		return nil
	}
	size, ok := strings.CutSuffix(string(text), secondSuffix)
	if !ok {
		hint := ""
		if n, err := ParseBytes(size); err == nil {
			hint = "; did you mean " + PerSecond(n).String() + "?"
		}
		return strictyaml.Bad(rateAllowed, "%q is no rate%s", text, hint)
	}
	n, err := ParseBytes(size)
	*r = PerSecond(n)
	return err
}
