package spec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// The tiers in which a site can sleep, in order of depth.
const (
	TierFrozen       = string(detect.TierFrozen)
	TierReclaimed    = string(detect.TierReclaimed)
	TierPrepared     = string(detect.TierPrepared)
	TierCheckpointed = string(detect.TierCheckpointed)
	TierCold         = string(detect.TierCold)
)

// tierNames holds them in order of depth.
var tierNames = []string{TierFrozen, TierReclaimed, TierPrepared, TierCheckpointed, TierCold}

// Tiers are how deep a site may sleep. In a file they are auto, or a list.
type Tiers struct {
	// Auto leaves rungs and times to the node; Rungs is empty then.
	Auto bool
	// Rungs are the tiers that are allowed, each deeper than the one before.
	Rungs []Rung
}

// Rung is one tier of a list, and when the site enters it. In a list the name alone will do.
type Rung struct {
	// Tier is frozen, reclaimed (frozen, its memory pushed out), prepared (a fresh container that waits to start), checkpointed
	// (an image on disk) or cold (nothing).
	Tier string `json:"tier" jsonschema:"required" also:"name" alone:"true"`
	// After is how long there must have been no connection. Default: the node's choice.
	After Duration `json:"after,omitzero" also:"idle,delay"`
}

const (
	tiersAuto    = "auto"
	tiersAllowed = "auto, or a list of frozen, reclaimed, prepared, checkpointed, cold in this order"
)

// Has says whether a tier is in the list.
func (t Tiers) Has(tier string) bool {
	return slices.ContainsFunc(t.Rungs, func(r Rung) bool { return r.Tier == tier })
}

// Timed says whether a tier of the list has its time.
func (t Tiers) Timed() bool {
	return slices.ContainsFunc(t.Rungs, func(r Rung) bool { return r.After != 0 })
}

// Planned says whether the node chooses when the site enters which tier, by its plans:
// neither the list of tiers nor its first one has a time.
func (s *Site) Planned() bool {
	return !s.Idle.Never && (s.Tiers.Auto || s.Idle.Auto && !s.Tiers.Timed())
}

// first gives the idle time of the first rung; 0 where the node chooses it.
func (t Tiers) first() Duration {
	if len(t.Rungs) == 0 {
		return 0
	}
	return t.Rungs[0].After
}

// IsZero says whether t is the default, which the canonical JSON leaves out.
func (t Tiers) IsZero() bool { return t.Auto && len(t.Rungs) == 0 }

// DecodeScalar implements strictyaml.ScalarDecoder.
func (t *Tiers) DecodeScalar(s strictyaml.Scalar) error {
	if s.Kind != strictyaml.KindString || s.Text != tiersAuto {
		return strictyaml.Bad(tiersAllowed, "%q is not auto; for a list of one write [%s]", s.Text, s.Text)
	}
	*t = Tiers{Auto: true}
	return nil
}

// DecodeList implements strictyaml.ListDecoder.
func (t *Tiers) DecodeList() any {
	*t = Tiers{}
	return &t.Rungs
}

// MarshalJSON implements json.Marshaler: "auto" or the list.
func (t Tiers) MarshalJSON() ([]byte, error) {
	if t.Auto {
		return json.Marshal(tiersAuto)
	}
	return json.Marshal(t.Rungs)
}

// MarshalYAML gives what is to be written in YAML.
func (t Tiers) MarshalYAML() (any, error) {
	if t.Auto {
		return tiersAuto, nil
	}
	return t.Rungs, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Tiers) UnmarshalJSON(data []byte) error {
	if string(data) == `"`+tiersAuto+`"` {
		*t = Tiers{Auto: true}
		return nil
	}
	*t = Tiers{}
	return strictJSON(data, &t.Rungs)
}

// Objective is the service level that a site is to have.
type Objective struct {
	// Late is the share of the site's own requests that may wait for its wakes for longer than over, 0.01% to 50%. Default: its class's,
	// of all sites of that together, which is much cheaper.
	Late Percent `json:"late,omitzero" also:"slow,delayed"`
	// Over is the wait from which a request is late, 10ms to 10m. Only with late. Default: 100ms.
	Over Duration `json:"over,omitzero" also:"than,threshold"`
	// Cold is late, with 10ms as over: the share of requests that may notice that the site was asleep, 0.01% to 100%.
	Cold Percent `json:"cold,omitzero" also:"asleep,share"`
	// Wake is the time that a wake may add to a request in 99 of 100 wakes, 1ms to 10m: tiers whose wakes take longer are not used.
	// Default: there is no such bound.
	Wake Duration `json:"wake,omitzero" also:"latency,delay"`
}

// The service level of those that leave it out, of sites by themselves and of classes.
const (
	DefaultLate = Percent(1)
	DefaultOver = Duration(100 * time.Millisecond)
	coldOver    = Duration(10 * time.Millisecond)
)

// Own gives the share of late requests that the objective asks for, and from which wait on a
// request is late; 0: it asks for none, and the class says.
func (o Objective) Own() (late Percent, over Duration) {
	switch {
	case o.Cold != 0:
		return o.Cold, coldOver
	case o.Late != 0:
		return o.Late, cmp.Or(o.Over, DefaultOver)
	}
	return 0, 0
}

// Lifetime is how long a replica lives until it is circulated. In a file a plain duration is After, never is no end, and auto is
// a week as Within.
type Lifetime struct {
	// After is how long a replica lives, 1s to 8784h; 0 is for ever.
	After Duration `json:"after,omitzero" also:"age"`
	// Within is how old its processes may be at most, 1h to 8784h, where the node chooses when it is circulated: while the site
	// sleeps, else in its quietest hour. Not with after.
	Within Duration `json:"within,omitzero" also:"max,auto,bound"`
	// Jitter is by how much of after, more or less, the lifetime of each replica differs by chance, and by how much of within it is
	// shorter, 0% to 50%, so that replicas started together do not end together. Default: 10%.
	Jitter Percent `json:"jitter"`
}

const (
	lifetimeNever   = "never"
	lifetimeAuto    = "auto"
	lifetimeAllowed = "a duration from 1s, like 1h, auto, or never"
	minLifetime     = Duration(time.Second)
	minWithin       = Duration(time.Hour)
	autoWithin      = Duration(7 * 24 * time.Hour)
)

var defaultLifetime = Lifetime{Jitter: 10}

// IsZero says whether l is the default, which the canonical JSON leaves out.
func (l Lifetime) IsZero() bool { return l == defaultLifetime }

// DecodeScalar implements strictyaml.ScalarDecoder.
func (l *Lifetime) DecodeScalar(s strictyaml.Scalar) error {
	switch s.Text {
	case lifetimeNever:
		l.After = 0
		return nil
	case lifetimeAuto:
		l.Within = autoWithin
		return nil
	}
	d, bad := parseDuration(s.Text)
	if bad != nil {
		return strictyaml.Bad(lifetimeAllowed, "%s", bad.Msg)
	}
	if d < minLifetime { // 0 is for ever, so it cannot wait for the checks
		return strictyaml.Bad(lifetimeAllowed, "%s is too short", s.Text)
	}
	l.After = d
	return nil
}

// Circulate is how a replica is replaced by a fresh one.
type Circulate struct {
	// Overlap starts the next replica before the old one is drained. With false the old one is stopped first, while new
	// packets are held: for sites of which only one may run. Default: true.
	Overlap bool `json:"overlap" also:"startfirst"`
	// Drain is how long open connections of the old replica may go on, 0s to 1h. Then it is stopped. Default: 30s.
	Drain Duration `json:"drain" also:"drainperiod,drainduration"`
	// Ahead starts the next replica before it is needed and keeps it frozen. Default: false.
	Ahead bool `json:"ahead,omitempty" also:"prewarm,spare"`
}

var defaultCirculate = Circulate{Overlap: true, Drain: Duration(30 * time.Second)}

// IsZero says whether c is the default, which the canonical JSON leaves out.
func (c Circulate) IsZero() bool { return c == defaultCirculate }

// Checkpoint is how images of a running site are taken.
type Checkpoint struct {
	// Clonable says that several replicas may be restored from one image: the site draws no secrets or random numbers that two
	// replicas must not share. Default: false, and an image is used up by its restore.
	Clonable bool `json:"clonable,omitempty" also:"template,reusable"`
	// Warm is how many answers a replica must have given before an image of it is taken, 0 to 1000000. Default: 3.
	Warm int `json:"warm" also:"warmup,requests,answers"`
}

var defaultCheckpoint = Checkpoint{Warm: 3}

// IsZero says whether c is the default, which the canonical JSON leaves out.
func (c Checkpoint) IsZero() bool { return c == defaultCheckpoint }

// strictJSON decodes and refuses fields that are not known, which a custom UnmarshalJSON does not inherit.
func strictJSON(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// Percent is a share in hundredths: 1 is written 1%.
type Percent float64

const (
	percentAllowed = "a share from 0% to 100% with its sign, like 1% or 0.5%"
	// percentPattern is used by the JSON Schema as well.
	percentPattern = `^(100|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
)

var percentForm = regexp.MustCompile(percentPattern)

// ParsePercent reads 0% to 100% with up to four digits after the point. Errors are of type *strictyaml.Invalid.
func ParsePercent(text string) (Percent, error) {
	if !percentForm.MatchString(text) {
		hint := ""
		if f, err := strconv.ParseFloat(text, 64); err == nil && f >= 0 && f <= 100 {
			hint = fmt.Sprintf(": it has no sign; did you mean %s%%?", text)
			if f > 0 && f < 1 {
				hint = fmt.Sprintf(": it has no sign; did you mean %s?", Percent(f*100))
			}
		}
		return 0, strictyaml.Bad(percentAllowed, "%q is not a share%s", text, hint)
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil {
		return 0, strictyaml.Bad(percentAllowed, "%q is not a share", text)
	}
	return Percent(f), nil
}

// Share gives it as a part of one.
func (p Percent) Share() float64 { return float64(p) / 100 }

// String gives 1%.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Percent) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePercent(string(text))
	return err
}
