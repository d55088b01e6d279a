package model

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// spanMark begins a comment that says how many minutes a record has.
const spanMark = "# minutes "

// ReadFleet reads recorded requests: lines of `minute:count …` are a site each, lines of
// one number are one site's requests by the second. The span ends with the last request,
// or as a comment "# minutes N" says.
func ReadFleet(name string, in io.Reader, seed uint64) (*Fleet, error) {
	r := bufio.NewReader(in)
	head, _ := r.Peek(4096)
	minutes := 0
	for line := range bytes.Lines(head) {
		text := strings.TrimSpace(string(line))
		if n, says := strings.CutPrefix(text, spanMark); says {
			minutes, _ = strconv.Atoi(n) // or it ends with the last request
		}
		if text == "" || text[0] == '#' {
			continue
		}
		if _, err := strconv.Atoi(text); err == nil {
			seconds, err := ReadNumbers(r)
			if err != nil {
				return nil, err
			}
			return secondsFleet(name, seconds, seed), nil
		}
		break
	}
	patterns, err := ReadMinutes(r)
	if err != nil {
		return nil, err
	}
	for _, p := range patterns {
		if n := len(p.Minutes); n > 0 {
			minutes = max(minutes, p.Minutes[n-1].Minute+1)
		}
	}
	if minutes == 0 {
		return nil, errors.New("no requests: lines of minute:count, or of one count a second, were expected")
	}
	return PatternFleet(name, patterns, minutes, seed), nil
}

// secondsFleet is one site's requests by the second.
func secondsFleet(name string, seconds []int, seed uint64) *Fleet {
	rnd := rand.New(rand.NewPCG(seed, 34))
	m := fleetMaker{f: Fleet{Name: name, Span: float64(len(seconds))}}
	m.site(0)
	for s, n := range seconds {
		m.spread(rnd, float64(s), 1, n)
	}
	return m.done()
}

// Assumed are the options of a site of which its memory and its start are known.
func Assumed(memory float64, start time.Duration) []sleep.Option {
	return sleep.Options(assumedCosts(memory, start), func(detect.Tier) bool { return true }, 0)
}

func assumedCosts(memory float64, start time.Duration) []sleep.TierCost {
	return []sleep.TierCost{
		{Tier: detect.TierRunning, Memory: memory, HeldKnown: true},
		{Tier: detect.TierCold, Median: start, P99: start, Samples: 1000, HeldKnown: true},
	}
}

// Policies are the names that NewPolicy knows.
const Policies = "plans, auto, ski-rental, timeout=DURATION, oracle"

// NewPolicy makes a rule by its name.
func NewPolicy(name string, options []sleep.Option, class sleep.Class, sites int) (Sleeper, error) {
	kind, value, has := strings.Cut(name, "=")
	if has != (kind == "timeout") {
		return nil, fmt.Errorf("policy %q is none of: %s", name, Policies)
	}
	switch kind {
	case "plans":
		return NewPlanned(options, sleep.DefaultPrices, class.Late, sites), nil
	case "auto":
		var costs []sleep.TierCost
		for _, o := range options {
			costs = append(costs, sleep.TierCost{Tier: o.Tier, Median: o.Wake, P99: o.Wake, Samples: 1000, Memory: o.Memory, Disk: o.Disk, HeldKnown: true})
		}
		return &Auto{Costs: costs, Share: class.Late, Options: options}, nil
	case "ski-rental":
		return NewSkiRental(options, sleep.DefaultPrices), nil
	case "oracle":
		return &ParkingOracle{Options: options, Prices: sleep.DefaultPrices}, nil
	case "timeout":
		after, err := time.ParseDuration(value)
		if err != nil || after <= 0 {
			return nil, fmt.Errorf("policy %q: %q is no duration like 5m", name, value)
		}
		return FixedTimeout{After: after.Seconds(), Option: len(options) - 1}, nil
	}
	return nil, fmt.Errorf("policy %q is none of: %s", name, Policies)
}
