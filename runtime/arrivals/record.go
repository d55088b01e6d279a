package arrivals

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/file"
)

// Options say how much is kept.
type Options struct {
	Dir  string
	Keep time.Duration // older days are removed; 0: nothing is recorded
	Disk int64         // bytes of all days; the oldest make room
	// Lost is told what could not be kept, once until it works again.
	Lost func(error)
	// Bad is told of a file that is none of the record's. It moves it away.
	Bad func(path string, why error)
}

// saveEvery is how often what the minute has so far is put on disk: kill -9 loses
// no more, and of replicas that live not even that, as the kernel goes on counting.
const saveEvery = 10 * time.Second

// now is the file of the minute that is not over.
const now = "now.json"

// saved is what it has.
type saved struct {
	Minute   minute                  `json:"minute"`
	Sites    map[string]uint64       `json:"sites"`
	Replicas map[bpf.ReplicaID]count `json:"replicas"`
}

// Record keeps the arrivals of each site by the minute. Its memory is bounded by the
// sites that had any within the minute, or since the disk cannot be written.
type Record struct {
	Options
	meter *Meter

	mu      sync.Mutex
	day     *day
	minute  minute
	sites   map[string]uint64 // of the minute
	changed bool              // since it was saved
	saved   time.Time
	failing struct{ minute, day bool } // to be saved, to be written
	full    string                     // the day that has no more room, of which was told
}

// Open goes on with what is in the folder, and tells the meter what an earlier daemon
// has counted. What is damaged is handed to Options.Bad. Where nothing can be recorded
// that is told to Options.Lost: no node stands still for it.
func Open(o Options, meter *Meter) *Record {
	r := &Record{Options: o, meter: meter, sites: map[string]uint64{}}
	if o.Keep != 0 {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			o.Lost(fmt.Errorf("make the folder of the record of arrivals: %w", err))
			r.Keep = 0
		}
	}
	path := filepath.Join(o.Dir, now)
	if r.Keep == 0 { // or what is counted from now on would be new for a later daemon
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			o.Lost(fmt.Errorf("end the record of arrivals: %w", err))
		}
		r.begin()
		return r
	}
	r.resume(path)
	return r
}

// begin has all count that comes from now on.
func (r *Record) begin() {
	if err := r.meter.Begin(); err != nil {
		r.Lost(fmt.Errorf("read what has come so far: %w", err))
	}
}

// resume goes on with the minute that an earlier daemon has left.
func (r *Record) resume(path string) {
	b, err := file.Read(path, file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		r.begin()
		return
	}
	var was saved
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		r.Bad(path, fmt.Errorf("read the record of arrivals: %w", err))
		r.begin()
		return
	}
	r.meter.Resume(was.Replicas)
	r.minute = was.Minute
	// The day has the minute already if the daemon ended between both files.
	if d, err := r.open(was.Minute); err == nil && d.last < was.Minute {
		for name, n := range was.Sites {
			r.sites[name] = n
		}
	}
}

// Add counts arrivals of a site at a time.
func (r *Record) Add(at time.Time, siteName string, n uint64) {
	if r.Keep == 0 || n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(minuteOf(at))
	r.sites[siteName] += n
	r.changed = true
}

// Save puts on disk what is due. Nothing waits for it but its caller.
func (r *Record) Save(at time.Time) {
	if r.Keep == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(minuteOf(at))
	// At once for the first time: from then on whatever the kernel has counted for a
	// replica that is not known is new.
	if r.saved.IsZero() || r.changed && at.Sub(r.saved) >= saveEvery {
		r.saveNow(at)
	}
}

// Close puts everything on disk.
func (r *Record) Close() error {
	if r.Keep == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed {
		r.saveNow(time.Now())
	}
	if r.day == nil {
		return nil
	}
	d := r.day
	r.day = nil
	return d.f.Close()
}

// turn ends the minute if another one has begun.
func (r *Record) turn(m minute) {
	if m == r.minute {
		return
	}
	if len(r.sites) > 0 {
		d, err := r.open(r.minute)
		if err == nil {
			err = d.append(r.minute, r.sites, r.Disk/2)
		}
		switch {
		case errors.Is(err, errFull):
			if r.full != d.name {
				r.full = d.name
				r.Lost(fmt.Errorf("record arrivals in %s: %w", d.path, err))
			}
		case err != nil:
			r.tell(&r.failing.day, err)
			r.minute = m // it is added to the next minute
			return
		default:
			r.failing.day = false
		}
		r.sites, r.changed = map[string]uint64{}, true
	}
	r.minute = m
	if r.changed {
		r.saveNow(time.Now())
	}
}

func (r *Record) saveNow(at time.Time) {
	b, err := json.Marshal(saved{r.minute, r.sites, r.meter.told()})
	if err == nil {
		err = file.Replace(filepath.Join(r.Dir, now), b)
	}
	r.saved, r.changed = at, err != nil
	r.tell(&r.failing.minute, err)
}

// tell reports a fault of one kind when it begins.
func (r *Record) tell(failing *bool, err error) {
	if err != nil && !*failing {
		r.Lost(fmt.Errorf("record arrivals in %s: %w", r.Dir, err))
	}
	*failing = err != nil
}

// open gives the file of a minute's day. With a new one the oldest make room.
func (r *Record) open(m minute) (*day, error) {
	if r.day != nil && r.day.name == m.time().Format(dayForm) {
		return r.day, nil
	}
	if r.day != nil {
		_ = r.day.f.Close() // what was written is written
		r.day = nil
	}
	r.prune(m)
	d, err := openDay(r.Dir, m, r.Disk)
	if errors.Is(err, file.ErrDamaged) {
		r.Bad(filepath.Join(r.Dir, m.time().Format(dayForm)), err)
		d, err = openDay(r.Dir, m, r.Disk)
	}
	r.day = d
	return d, err
}

// prune removes the oldest days: those that are too old, and as many as leave half of
// the disk's share to the day that begins.
func (r *Record) prune(m minute) {
	days, err := listDays(r.Dir)
	if err != nil {
		r.tell(&r.failing.day, err)
		return
	}
	var sum int64
	for i := len(days) - 1; i >= 0; i-- {
		path := filepath.Join(r.Dir, days[i])
		if st, err := os.Lstat(path); err == nil {
			sum += st.Size()
		}
		old := m.time().Sub(beginOf(days[i]).time()) > r.Keep+24*time.Hour
		if days[i] == m.time().Format(dayForm) || !old && sum <= r.Disk/2 {
			continue
		}
		if err := os.Remove(path); err != nil {
			r.tell(&r.failing.day, err)
		}
	}
}
