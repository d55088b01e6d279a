package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/file"
)

// Plans makes the plans for the sites of a node, one at a time: they share what all
// sites' pauses have taught.
type Plans struct {
	path  string
	write func(path string, b []byte) error

	mu      sync.Mutex
	planner sleep.Planner
	changed bool
}

// plansFile is what is kept of them.
type plansFile struct {
	Pool *sleep.Pool `json:"pool"`
}

// OpenPlans goes on with what an earlier daemon has learnt. What cannot be read is an
// error, beside which come plans that know nothing.
func OpenPlans(stateDir string) (*Plans, error) {
	p := &Plans{path: filepath.Join(stateDir, "plans.json"), write: file.Replace}
	b, err := file.Read(p.path, file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	kept := plansFile{Pool: &p.planner.Pool}
	if err := json.Unmarshal(b, &kept); err != nil {
		return p, fmt.Errorf("decode %s: %w", p.path, err)
	}
	return p, nil
}

// File is where they are kept.
func (p *Plans) File() string { return p.path }

// Save puts on disk what has changed. No visit waits for the disk meanwhile. It is called
// by one goroutine at a time.
func (p *Plans) Save() error {
	b, err := p.unsaved()
	if err != nil || b == nil {
		return err
	}
	if err := p.write(p.path, b); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed = true
		return err
	}
	return nil
}

// unsaved takes what has changed, encoded; nil: nothing has.
func (p *Plans) unsaved() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.changed {
		return nil, nil
	}
	b, err := json.Marshal(plansFile{Pool: &p.planner.Pool})
	p.changed = err != nil
	return b, err
}

// since1970 is a moment as the states of sites have it.
func since1970(t time.Time) time.Duration { return time.Duration(t.UnixNano()) }

// Visited takes into account that a site had visitors for a time: the pause before
// them is over, unless it is not known when they came (begin is zero). It reports whether that
// was one which counts.
func (p *Plans) Visited(in Input, begin, end time.Time) (paused bool) {
	s := in.Experience.Pauses()
	if pause := since1970(begin) - s.Last; !begin.IsZero() && s.Last > 0 && sleep.Bucket(pause) >= 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		var plans sleep.Plans
		p.planner.Use(in.options(), sleep.DefaultPrices)
		p.planner.Plan(s, &plans)
		paused = p.planner.Ended(s, &plans, pause)
		p.changed = p.changed || paused
	}
	s.Last = since1970(end)
	return paused
}

// options are the tiers that the site may be on, and what each costs it.
func (in Input) options() []sleep.Option {
	allowed := func(t detect.Tier) bool {
		if !in.Spec.Tiers.Auto && !in.Spec.Tiers.Has(string(t)) {
			return false
		}
		return in.usable(t, true) == nil
	}
	return sleep.Options(in.Experience.costs(), allowed, time.Duration(in.Spec.Objective.Wake))
}
