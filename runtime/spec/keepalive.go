package spec

import (
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Keepalive is after how long a client that is silent counts as gone, of TCP when the kernel has asked it: a time, or KeepaliveOff; 0 is no wish.
type Keepalive Duration

// KeepaliveOff leaves it to the application.
const KeepaliveOff Keepalive = -1

const (
	keepaliveOff     = "off"
	keepaliveAllowed = "off, or a duration of whole seconds from 10s to 12h, like 2m"

	minKeepalive = Keepalive(10 * time.Second)
	maxKeepalive = Keepalive(12 * time.Hour) // the kernel asks after half of it, at most after 32767 s
)

// String gives the duration, or "off".
func (k Keepalive) String() string {
	if k == KeepaliveOff {
		return keepaliveOff
	}
	return Duration(k).String()
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (k Keepalive) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Keepalive) UnmarshalText(text []byte) error {
	if string(text) == keepaliveOff {
		*k = KeepaliveOff
		return nil
	}
	d, bad := parseDuration(string(text))
	if bad != nil {
		return strictyaml.Bad(keepaliveAllowed, "%s", bad.Msg)
	}
	*k = Keepalive(d)
	return k.Check() // 0 is no value of a file, so it cannot wait for the checks
}

// Check says what is wrong with it, as a *strictyaml.Invalid.
func (k Keepalive) Check() error {
	if k == KeepaliveOff || k >= minKeepalive && k <= maxKeepalive && time.Duration(k)%time.Second == 0 {
		return nil
	}
	return strictyaml.Bad(keepaliveAllowed, "%s is out of range", k)
}

// Or is what holds where the node says otherwise: 0 where it is off.
func (k Keepalive) Or(node Keepalive) time.Duration {
	if k == 0 {
		k = node
	}
	return max(0, time.Duration(k))
}
