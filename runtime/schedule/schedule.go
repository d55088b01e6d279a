package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Site is one with a schedule.
type Site struct {
	Name  string
	Tasks []spec.Task
	// Run wakes the site, runs the command and gives its exit code and its replica.
	Run func(context.Context, spec.Task) (Outcome, error)
}

// Outcome of a command that has run to its end.
type Outcome struct {
	Replica string
	Code    int
}

// Options of a Clock.
type Options struct {
	Dir   string // where it keeps until when each site's tasks were begun
	Sites func() []Site
	Go    func(func()) // runs something that the daemon's end waits for
	Guard func(func()) // keeps a panic from what comes after, and tells it
	Tell  func(event.Event)
	Log   *slog.Logger
}

// late is how long after its time a task has been missed: no daemon ran then, or
// the machine stood still.
const late = 2 * time.Minute

// Clock begins what is due.
type Clock struct {
	opts Options
	last time.Time // tick; zero: none yet

	mu      sync.Mutex
	sites   map[string]mark
	running map[string]bool // by site and task
}

// mark says until when tasks were begun. A task that is not among them is new.
type mark struct {
	Until time.Time `json:"until"`
	Tasks []string  `json:"tasks"`
}

// New makes a clock that stands still; see Tick.
func New(o Options) *Clock {
	return &Clock{opts: o, sites: map[string]mark{}, running: map[string]bool{}}
}

// Run ticks at the beginning of each minute of the wall clock, until the context
// ends: it may be set, and stand still with the machine.
func (c *Clock) Run(ctx context.Context) {
	for {
		c.opts.Guard(func() { c.Tick(ctx, time.Now()) })
		now := time.Now()
		select {
		case <-time.After(now.Truncate(time.Minute).Add(time.Minute).Sub(now)):
		case <-ctx.Done():
			return
		}
	}
}

// Tick begins all that has become due since the last tick, each task once however
// often it was missed.
func (c *Clock) Tick(ctx context.Context, now time.Time) {
	all := c.opts.Sites()
	for _, s := range all {
		c.opts.Guard(func() {
			for _, due := range c.due(s, now) {
				c.begin(ctx, s, due)
			}
		})
	}
	c.last = now
	c.clean(all)
}

// task is one that is due.
type task struct {
	spec.Task

	at time.Time
}

// due finds what is to be begun, and notes that it was before it is: a daemon that
// dies in between has rather missed it than run it twice.
func (c *Clock) due(s Site, now time.Time) (out []task) {
	c.mu.Lock()
	last, known := c.sites[s.Name]
	c.mu.Unlock()
	if !known {
		last = c.load(s.Name)
	}
	next := mark{Until: now}
	since := last.Until
	if since.After(now.Add(late)) { // the clock was set back
		since = now
	}
	for _, t := range s.Tasks {
		next.Tasks = append(next.Tasks, t.String())
		since := since
		if !slices.Contains(last.Tasks, t.String()) { // it is new since the last tick, and has missed nothing
			if since = c.last; since.IsZero() || since.After(now) {
				continue
			}
		}
		if at := t.Next(since); !at.IsZero() && !at.After(now) {
			out = append(out, task{t, at})
		}
	}
	c.mu.Lock()
	c.sites[s.Name] = next
	c.mu.Unlock()
	if len(out) > 0 || !slices.Equal(last.Tasks, next.Tasks) {
		if err := c.keep(s.Name, next); err != nil {
			c.opts.Log.Error("that a site's tasks were begun is not kept; the next daemon may begin them again", "site", s.Name, "error", err)
		}
	}
	return out
}

func (c *Clock) ended(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, key)
}

// begin runs a task in the background, unless its last run is still under way.
func (c *Clock) begin(ctx context.Context, s Site, t task) {
	key := s.Name + " " + t.String()
	c.mu.Lock()
	busy := c.running[key]
	c.running[key] = true
	c.mu.Unlock()
	ev := event.Event{Site: s.Name, Kind: event.NotRan, Fields: map[string]any{"at": t.At, "command": t.Exec, "due": t.at}}
	if busy {
		ev.Reason = t.At + ": the run before is still under way"
		c.opts.Tell(ev)
		return
	}
	missed := time.Since(t.at) > late
	c.opts.Go(func() {
		begun := time.Now()
		out, err := func() (Outcome, error) {
			defer c.ended(key) // whatever becomes of it
			return run(ctx, s, t.Task)
		}()
		ev.Replica = out.Replica
		ev.Fields["tookNs"] = int64(time.Since(begun))
		switch {
		case err != nil && ctx.Err() != nil:
			ev.Reason = t.At + ": the daemon is stopping"
		case err != nil:
			ev.Reason = fmt.Sprintf("%s: %v", t.At, err)
		default:
			ev.Kind, ev.Reason, ev.Fields["code"] = event.Ran, fmt.Sprintf("%s: exit code %d", t.At, out.Code), out.Code
		}
		if missed {
			ev.Text = "it was due at " + t.at.Format(time.RFC3339) + ", when no daemon could run it"
		}
		c.opts.Tell(ev)
	})
}

func run(ctx context.Context, s Site, t spec.Task) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Within(), fmt.Errorf("it took longer than %s", spec.Duration(t.Within())))
	defer cancel()
	out, err := s.Run(ctx, t)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return out, err
}

func (c *Clock) path(site string) string { return filepath.Join(c.opts.Dir, site+".json") }

// load reads a mark. One that is missing or damaged is that of a new site: nothing
// was missed.
func (c *Clock) load(site string) (m mark) {
	b, err := file.Read(c.path(site), file.Small)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.opts.Log.Error("what a site missed while no daemon ran is not known; it is not run", "site", site, "error", err)
		return mark{}
	}
	return m
}

func (c *Clock) keep(site string, m mark) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return file.Replace(c.path(site), b)
}

// clean lets go of sites that have no schedule any more.
func (c *Clock) clean(all []Site) {
	have := make(map[string]bool, len(all))
	for _, s := range all {
		have[s.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.sites {
		if have[name] {
			continue
		}
		delete(c.sites, name)
		if err := file.RemoveAll(c.path(name)); err != nil {
			c.opts.Log.Error("a site's schedule is gone and its file is not", "site", name, "error", err)
		}
	}
}

// Sweep removes the files of sites that have gone while no daemon ran.
func (c *Clock) Sweep() {
	found, err := os.ReadDir(c.opts.Dir)
	if err != nil {
		return // there are none
	}
	have := map[string]bool{}
	for _, s := range c.opts.Sites() {
		have[filepath.Base(c.path(s.Name))] = true
	}
	for _, f := range found {
		if !have[f.Name()] {
			if err := file.RemoveAll(filepath.Join(c.opts.Dir, f.Name())); err != nil {
				c.opts.Log.Error("the file of a schedule that is gone is not", "file", f.Name(), "error", err)
			}
		}
	}
}
