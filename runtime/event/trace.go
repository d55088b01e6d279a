package event

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// Names of the steps of a wake, in their usual order. A trace may lack some of them
// (nothing is held for `fcnode wake`) and may have others.
const (
	StepHeld      = "SYN held in the kernel"
	StepHeldUDP   = "datagram held in the kernel"
	StepKnocked   = "packet reached the sleeping replica"
	StepAsked     = "asked for by a user"
	StepEventRead = "event read"
	StepPrepared  = "namespace and image ready"
	StepMounted   = "root file system mounted"
	StepCreated   = "container created"
	StepStarted   = "container started"
	StepRestoring = "restore begun"
	StepThawed    = "thawed"
	StepListening = "listening (from the kernel)"
	StepReady     = "ready probe passed"
	StepReleased  = "released"
	StepConnected = "connected"
	StepFirstByte = "first byte"
	StepGivenUp   = "given up"
)

// Results of a wake.
const (
	ResultOK     = "ok"
	ResultFailed = "failed"
	// ResultPending: the wake is still going on.
	ResultPending = "pending"
)

// Trace is the story of one wake. Its steps are ordered by time.
type Trace struct {
	Site    string `json:"site"`
	Replica string `json:"replica,omitempty"`
	// Start is the wall time of the first step.
	Start time.Time `json:"start"`
	// From is the tier which the site was woken from.
	From detect.Tier `json:"from"`
	// Client is whose packet it was; invalid (empty on the wire) for `fcnode wake`.
	Client netip.AddrPort `json:"client,omitzero"`
	Result string         `json:"result"`
	// Error says why a failed wake failed.
	Error string `json:"error,omitempty"`
	Steps []Step `json:"steps"`
}

// Step is one point of a trace.
type Step struct {
	Name string `json:"name"`
	// At is the time since the first step.
	At Nanoseconds `json:"atNs"`
}

// FieldTrace is the field of Woken and NotWoken that has the trace.
const FieldTrace = "trace"

// Trace finds the trace in an event: as it was put there, or as JSON read back
// from disk.
func (e Event) Trace() (Trace, bool) {
	if e.Kind != Woken && e.Kind != NotWoken {
		return Trace{}, false
	}
	switch v := e.Fields[FieldTrace].(type) {
	case Trace:
		return v, true
	case map[string]any:
		b, err := json.Marshal(v)
		if err != nil {
			return Trace{}, false
		}
		var t Trace
		return t, json.Unmarshal(b, &t) == nil
	}
	return Trace{}, false
}
