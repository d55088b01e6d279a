package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// Why is why a site is on its tier, and what others would cost.
type Why struct {
	Site  string `json:"site"`
	Tier  Tier   `json:"tier"`
	Phase Phase  `json:"phase"`
	// Since it is on that tier, as far as events are kept.
	Since time.Time `json:"since,omitzero"`
	// Idle is how long it has been without a connection; 0 while it has one.
	Idle event.Nanoseconds `json:"idleNs"`
	// Pauses are how many were counted; Median and Long, what half and nine in ten of them do not exceed.
	Pauses int               `json:"pauses"`
	Median event.Nanoseconds `json:"medianNs"`
	Long   event.Nanoseconds `json:"longNs"`
	// Comes is after how long, from the last visitor on, the next one is as likely to have come as not.
	Comes event.Nanoseconds `json:"comesNs"`
	// Usual is what most pauses are like, if most are like something.
	Usual *WhyUsual `json:"usual,omitempty"`
	// Alternatives are all tiers, running first.
	Alternatives []WhyTier `json:"alternatives"`
	// Level is the service level by which the costs are reckoned.
	Level *Level `json:"level,omitempty"`
	// Circulation is when it is circulated, where the node chooses that.
	Circulation *Circulation `json:"circulation,omitempty"`
	// Ahead is when it is woken ahead of the next visit; absent: it is not.
	Ahead *WhyAhead `json:"ahead,omitempty"`
	// Follows are the sites whose wakes its visits follow, the most frequent first.
	Follows []WhyFollows `json:"follows,omitempty"`
	// Callers wake the site by the clock.
	Callers []WhyCaller `json:"callers,omitempty"`
	// Decisions are the last ones, the newest first.
	Decisions []event.Event `json:"decisions"`
}

// WhyUsual is between which lengths a share of the pauses lies.
type WhyUsual struct {
	From  event.Nanoseconds `json:"fromNs"`
	To    event.Nanoseconds `json:"toNs"`
	Share float64           `json:"share"`
}

// WhyAhead is that a site waits for its next visitor on a tier, from and until so long after the last one.
type WhyAhead struct {
	Tier  Tier              `json:"tier"`
	After event.Nanoseconds `json:"afterNs"`
	Until event.Nanoseconds `json:"untilNs,omitempty"` // 0: until he comes
}

// WhyFollows is that visits to the site follow the wakes of another, and not by chance.
type WhyFollows struct {
	Site string `json:"site"`
	// Came is how many of the other's last Wakes were followed within Within, mostly Lag later.
	Came   float64           `json:"came"`
	Wakes  float64           `json:"wakes"`
	Lag    event.Nanoseconds `json:"lagNs"`
	Within event.Nanoseconds `json:"withinNs"`
	// Woken says that the site is woken beside it: that has paid.
	Woken bool `json:"woken"`
}

// WhyTier is what one tier would cost for the pause that is expected, in the unit of
// prices: a GiB of memory held for a second.
type WhyTier struct {
	Tier   Tier              `json:"tier"`
	Memory int64             `json:"memoryBytes"`
	Disk   int64             `json:"diskBytes"`
	Wake   event.Nanoseconds `json:"wakeNs"`
	// Wakes is of how many the median is; 0: it is assumed.
	Wakes int               `json:"wakes"`
	Hold  float64           `json:"hold"`
	Wait  event.Nanoseconds `json:"waitNs"`
	// Cost is that of holding, of going there and of the visitor's waiting; -1: the site cannot be there.
	Cost float64 `json:"cost"`
	// Rung says that the site sleeps there, from the idle time After on.
	Rung  bool              `json:"rung"`
	After event.Nanoseconds `json:"afterNs,omitempty"`
	// Unused is why it does not.
	Unused string `json:"unused,omitempty"`
}

// WhyCaller is a source that wakes the site by the clock.
type WhyCaller struct {
	Client netip.Addr        `json:"client"`
	Every  event.Nanoseconds `json:"everyNs"`
	Jitter event.Nanoseconds `json:"jitterNs"`
	// Wakes is how many of the Of last wakes were its.
	Wakes int `json:"wakes"`
	Of    int `json:"of"`
	// Text says so in words.
	Text string `json:"text"`
}

// defaultDecisions is how many decisions a client gets that did not say.
const defaultDecisions = 8

func (s *Server) why(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	n := q.int("n", defaultDecisions)
	if err := q.done(); err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("n=%d: want 0 or more decisions: %w", n, ErrInvalid)
	}
	why, err := s.backend.Why(r.Context(), r.PathValue("site"), n)
	why.Alternatives, why.Decisions = noNil(why.Alternatives), noNil(why.Decisions)
	return why, err
}

// Why says why a site is on its tier, with its n last decisions.
func (c *Client) Why(ctx context.Context, name string, n int) (Why, error) {
	var why Why
	err := c.call(ctx, http.MethodGet, sitePath(name, "/why"), url.Values{"n": {strconv.Itoa(n)}}, nil, &why)
	return why, err
}
