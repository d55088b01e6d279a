package spec

import (
	"regexp"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Duration is a span of time. It is written with units, as in 90s or 1h30m.
type Duration time.Duration

const (
	durationAllowed = "a duration like 500ms, 30s, 5m or 1h30m"
	// durationPattern is used by the JSON Schema as well.
	durationPattern = `^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$`
)

var (
	durationForm = regexp.MustCompile(durationPattern)
	onlyDigits   = regexp.MustCompile(`^[0-9]+$`)
)

// ParseDuration reads a duration of hours, minutes, seconds and milliseconds in this order. Errors are of type
// *strictyaml.Invalid.
func ParseDuration(text string) (Duration, error) {
	d, bad := parseDuration(text)
	if bad != nil {
		return 0, bad
	}
	return d, nil
}

func parseDuration(text string) (Duration, *strictyaml.Invalid) {
	if text == "" || !durationForm.MatchString(text) {
		hint := ""
		switch {
		case onlyDigits.MatchString(text):
			hint = ": it has no unit"
		case strings.HasSuffix(text, "d"):
			hint = ": there are no days, a day is 24h"
		}
		return 0, strictyaml.Bad(durationAllowed, "%q is not a duration%s", text, hint)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, strictyaml.Bad(durationAllowed, "%q is too long", text)
	}
	return Duration(d), nil
}

// String gives the duration without the units that are zero: 5m, not 5m0s. Fractions of a millisecond are dropped.
func (d Duration) String() string {
	if time.Duration(d) < time.Millisecond {
		return "0s"
	}
	text := ""
	rest := time.Duration(d).Truncate(time.Millisecond)
	if h := rest.Truncate(time.Hour); h > 0 {
		text, rest = strings.TrimSuffix(h.String(), "0m0s"), rest-h
	}
	if m := rest.Truncate(time.Minute); m > 0 {
		text, rest = text+strings.TrimSuffix(m.String(), "0s"), rest-m
	}
	if s := rest.Truncate(time.Second); s > 0 {
		text, rest = text+s.String(), rest-s
	}
	if rest > 0 {
		text += rest.String()
	}
	return text
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}
