package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Plans makes the plans for the sites of a node, one at a time: they share what all
// sites' pauses have taught.
type Plans struct {
	path  string
	write func(path string, b []byte) error

	Classes Classes
	budget  float64       // of memory for all sites, in bytes; 0: none
	unused  time.Duration // see config.Wake
	ahead   bool          // sites are woken ahead

	mu       sync.Mutex
	planner  sleep.Planner
	prices   map[string]*Steered // by class
	pressure sleep.Pressure
	cascades *sleep.Cascades
	changed  bool
}

// plansFile is what is kept of them.
type plansFile struct {
	Pool     *sleep.Pool         `json:"pool"`
	Classes  map[string]*Steered `json:"classes,omitempty"`
	Pressure *sleep.Pressure     `json:"pressure,omitempty"`
	Cascades *sleep.Cascades     `json:"cascades,omitempty"`
}

// Linger is for how long a site stays awake after its last visitor in any case, unless
// its spec says.
const Linger = 5 * time.Second

// mostLog is beyond what the price of memory may be, as a logarithm.
const mostLog = 20

// OpenPlans goes on with what an earlier daemon has learnt. What cannot be read is an
// error, beside which come plans that know nothing.
func OpenPlans(cfg config.Config) (*Plans, error) {
	p := newPlans(cfg)
	b, err := file.Read(p.path, file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	kept := plansFile{Cascades: sleep.NewCascades()}
	err = json.Unmarshal(b, &kept)
	for name, s := range kept.Classes {
		if err != nil {
			break
		}
		if s == nil {
			delete(kept.Classes, name)
		} else if bad := s.sane(); bad != nil {
			err = fmt.Errorf("class %s: %w", name, bad)
		}
	}
	if k := kept.Pressure; err == nil && k != nil && !(math.Abs(k.Log) <= mostLog) {
		err = fmt.Errorf("the price of memory is e^%v", k.Log)
	}
	if err != nil {
		return p, fmt.Errorf("decode %s: %w", p.path, err)
	}
	if kept.Pool != nil {
		p.planner.Pool = *kept.Pool
	}
	maps.Copy(p.prices, kept.Classes)
	if kept.Cascades != nil {
		p.cascades = kept.Cascades
	}
	if kept.Pressure != nil && p.budget > 0 {
		p.pressure = *kept.Pressure
	}
	return p, nil
}

func newPlans(cfg config.Config) *Plans {
	return &Plans{
		path: filepath.Join(cfg.StateDir, "plans.json"), write: file.Replace,
		Classes: NewClasses(cfg.Classes), budget: float64(cfg.Memory.Sites), unused: time.Duration(cfg.Wake.Unused),
		ahead: cfg.Wake.Ahead > 0, prices: map[string]*Steered{}, cascades: sleep.NewCascades(),
	}
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
	b, err := json.Marshal(plansFile{Pool: &p.planner.Pool, Classes: p.prices, Pressure: &p.pressure, Cascades: p.cascades})
	p.changed = err != nil
	return b, err
}

// since1970 is a moment as the states of sites have it.
func since1970(t time.Time) time.Duration { return time.Duration(t.UnixNano()) }

// Visits are what came to a site within some time.
type Visits struct {
	Begin, End time.Time // a zero Begin: it is not known when they came, so no pause ended
	Requests   uint64
	Late       uint64 // wakes that took longer than the site's level allows; their requests may be counted later
}

// Visited takes into account that a site had visitors for a time: the pause before
// them is over, and their requests move the price of its level. It reports whether that was a
// pause which counts.
func (p *Plans) Visited(in Input, v Visits) (paused bool) {
	s := in.Experience.Pauses()
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Duration(0)
	if s.Last > 0 {
		since = max(0, since1970(v.End)-s.Last)
	}
	if pause := since1970(v.Begin) - s.Last; !v.Begin.IsZero() && s.Last > 0 && sleep.Bucket(pause) >= 0 {
		var plans sleep.Plans
		p.plan(in, p.use(in), &plans)
		paused = p.planner.Ended(s, &plans, pause)
		p.changed = p.changed || paused
	}
	p.steer(in, v, since)
	s.Last = since1970(v.End)
	return paused
}

// steer moves the price of the site's level. Where the spec says when the site sleeps
// no price changes that, so its requests move none.
func (p *Plans) steer(in Input, v Visits, since time.Duration) {
	if v.Requests+v.Late == 0 || !in.Spec.Planned() {
		return
	}
	l := p.Classes.Of(in.Spec)
	price := p.priceOf(l, in.Experience)
	price.observe(v.End, v.Requests, v.Late, l.Late, p.pressure.Bound())
	if l.Name == "" {
		in.Experience.Price = price
	} else {
		p.prices[l.Name], p.changed = price, true
	}
	if l.Each > 0 {
		in.Experience.Visitors.Observe(v.Requests, v.Late, since, 0)
	}
	if l.Admit(in) != nil {
		l.Each = 0
	}
	l.Observe(in.Experience.Pauses(), v.Requests, v.Late)
}

// priceOf is the price of a level: its class's, or the site's own.
func (p *Plans) priceOf(l Level, x *Experience) *Steered {
	if l.Name == "" {
		return cmp.Or(x.Price, &Steered{})
	}
	return cmp.Or(p.prices[l.Name], &Steered{})
}

// pricesOf are what memory and waiting are worth at a site now.
func (p *Plans) pricesOf(in Input) sleep.Prices {
	out := sleep.DefaultPrices
	out.Memory = p.pressure.Memory() * max(1, in.Pressure)
	l := p.Classes.Of(in.Spec)
	out.Visit = p.priceOf(l, in.Experience).Visit()
	if l.Each > 0 {
		out.Visit = in.Experience.Pauses().Visit(out.Visit)
	}
	return out
}

// use readies the planner for a site, and gives what its plan chooses from.
func (p *Plans) use(in Input) []sleep.Option {
	options := in.options()
	p.planner.Linger = linger(in.Spec)
	p.planner.Use(options, p.pricesOf(in))
	return options
}

// linger is for how long a site stays awake in any case.
func linger(s *spec.Site) time.Duration {
	return cmp.Or(time.Duration(s.Idle.After), Linger)
}

// Pressed takes into account that all sites have held so much memory for a time, in
// bytes: under a budget its price follows from that.
func (p *Plans) Pressed(span time.Duration, used float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.pressure
	p.pressure.Observe(span, used, p.budget)
	p.changed = p.changed || p.pressure != before
}

// Memory is the price of memory that follows from the budget: 1 is as usual.
func (p *Plans) Memory() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pressure.Memory()
}

// Prices are those of all classes that have one, by their names.
func (p *Plans) Prices() map[string]Steered {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]Steered{}
	for name := range p.Classes {
		out[name] = Steered{}
		if s := p.prices[name]; s != nil {
			out[name] = *s
		}
	}
	return out
}

// LevelView is a site's service level for people and programs, and how it is kept.
type LevelView struct {
	Class       string            `json:"class,omitempty"` // empty: it is the site's own
	Missing     string            `json:"missing,omitempty"`
	Late        float64           `json:"late"`
	Over        event.Nanoseconds `json:"overNs"`
	Each        float64           `json:"each,omitempty"`
	NotEach     string            `json:"notEach,omitempty"` // why the site is not held to it
	Share       float64           `json:"share"`             // late lately, of Requests
	Requests    float64           `json:"requests"`          // within about a day
	Price       float64           `json:"price"`             // of a second of a visitor's waiting, in GiB·s of memory
	MemoryPrice float64           `json:"memoryPrice"`       // of a GiB for a second; 1: as usual
}

// LevelOf shows the level of a site; nil: no price changes when it sleeps.
func (p *Plans) LevelOf(in Input) *LevelView {
	if !in.Spec.Planned() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, prices := p.Classes.Of(in.Spec), p.pricesOf(in)
	v := &LevelView{
		Class: l.Name, Missing: l.Missing, Late: l.Late, Over: event.Nanoseconds(l.Over), Each: l.Each, Price: prices.Visit, MemoryPrice: prices.Memory,
	}
	if err := l.Admit(in); err != nil {
		v.NotEach = err.Error()
	}
	v.Share, v.Requests = p.priceOf(l, in.Experience).Share()
	return v
}

// options are the tiers that the site may be on, and what each costs it.
func (in Input) options() []sleep.Option {
	rungs, _ := in.allowed()
	allowed := func(t detect.Tier) bool {
		return slices.ContainsFunc(rungs, func(r sleep.Rung) bool { return r.Tier == t })
	}
	return sleep.Options(in.Experience.costs(), allowed, time.Duration(in.Spec.Objective.Wake))
}
