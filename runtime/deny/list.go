package deny

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/store"
)

// Kernel is what drops. Until is on its clock, 0 for good. Of prefixes that cover
// each other it asks only the longest.
type Kernel interface {
	SetDenied(p netip.Prefix, until uint64) error
	DeleteDenied(p netip.Prefix) error
	Denied() (map[netip.Prefix]uint64, error)
}

// Disk keeps the list.
type Disk interface {
	Denied(bad func(prefix string, err error)) ([]store.Denial, error)
	PutDenied([]store.Denial) error
	DeleteDenied([]netip.Prefix) error
}

// Options of Open.
type Options struct {
	Kernel Kernel
	Disk   Disk
	Log    *slog.Logger
	Clock  func() time.Time // the wall's
	Now    func() uint64    // the kernel's, in nanoseconds
	// Adopt takes what the kernel has and the disk has not into the list, as is
	// right where the state file was lost. Otherwise the kernel is to drop it no
	// more.
	Adopt bool
}

// List is the list. Its methods may be called from several goroutines.
type List struct {
	o Options

	mu   sync.Mutex
	all  map[netip.Prefix]store.Denial
	bits [2]map[int]int // of IPv4 and IPv6: how many prefixes there are of each length
}

// Open reads the list and brings the kernel in line with it.
func Open(o Options) (*List, error) {
	l := &List{o: o, all: map[netip.Prefix]store.Denial{}, bits: [2]map[int]int{{}, {}}}
	kept, err := o.Disk.Denied(func(prefix string, err error) {
		o.Log.Error("a denied source cannot be read from the state file and is let in", "prefix", prefix, "error", err)
	})
	if err != nil {
		return nil, err
	}
	have, err := o.Kernel.Denied()
	if err != nil {
		return nil, err
	}
	for _, d := range kept {
		l.enter(d) // also what has ended meanwhile: Prune takes it off the disk
	}
	if o.Adopt {
		if err := l.adopt(have); err != nil {
			return nil, err
		}
	}
	var errs []error
	for p := range have {
		if _, denied := l.all[p]; !denied {
			errs = append(errs, o.Kernel.DeleteDenied(p))
		}
	}
	for p := range l.all {
		errs = append(errs, l.tell(p))
	}
	return l, errors.Join(errs...)
}

func (l *List) adopt(have map[netip.Prefix]uint64) error {
	var fresh []store.Denial
	now, clock := l.o.Now(), l.o.Clock()
	for p, until := range have {
		d := store.Denial{Prefix: p, Since: clock}
		if _, known := l.all[p]; known || (until != 0 && until <= now) {
			continue
		}
		if until != 0 {
			d.Until = clock.Add(time.Duration(until - now))
		}
		l.enter(d)
		fresh = append(fresh, d)
	}
	if len(fresh) == 0 {
		return nil
	}
	return l.o.Disk.PutDenied(fresh)
}

// Add denies prefixes, for a time or (0) for good. One that is denied already gets
// the new end. The kernel drops first and the disk follows, so that a full disk
// keeps nobody from being denied: the error says that it will not last.
func (l *List) Add(prefixes []netip.Prefix, lasting time.Duration) error {
	if err := errors.Join(each(prefixes, check)...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Clock()
	before := map[netip.Prefix]store.Denial{}
	fresh := make([]store.Denial, 0, len(prefixes))
	for _, p := range prefixes {
		d := store.Denial{Prefix: p.Masked(), Since: now}
		if lasting > 0 {
			d.Until = now.Add(lasting)
		}
		if old, known := l.all[d.Prefix]; known {
			before[d.Prefix], d.Since = old, old.Since
		}
		fresh = append(fresh, d)
	}
	for i, d := range fresh {
		l.enter(d)
		if err := l.tellBelow(d.Prefix); err != nil {
			return errors.Join(err, l.takeBack(fresh[:i+1], before))
		}
	}
	if err := l.o.Disk.PutDenied(fresh); err != nil {
		return fmt.Errorf("they are denied until the next start of the daemon only: %w", err)
	}
	return nil
}

// takeBack puts those that were added back to what they were.
func (l *List) takeBack(added []store.Denial, before map[netip.Prefix]store.Denial) error {
	var errs []error
	for _, d := range added {
		if old, known := before[d.Prefix]; known {
			l.enter(old)
		} else {
			l.drop(d.Prefix)
		}
		errs = append(errs, l.tellBelow(d.Prefix))
	}
	return errors.Join(errs...)
}

// Remove lets prefixes in again, and returns how many of them were denied.
func (l *List) Remove(prefixes []netip.Prefix) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var known []netip.Prefix
	for _, p := range prefixes {
		if _, denied := l.all[p.Masked()]; denied {
			known = append(known, p.Masked())
		}
	}
	return len(known), l.remove(known)
}

// remove takes prefixes off the disk first: a kill in between must not bring back,
// at the next start, what somebody was told to be let in.
func (l *List) remove(prefixes []netip.Prefix) error {
	if len(prefixes) == 0 {
		return nil
	}
	errs := []error{l.o.Disk.DeleteDenied(prefixes)}
	for _, p := range prefixes {
		l.drop(p)
		errs = append(errs, l.tellBelow(p))
	}
	return errors.Join(errs...)
}

// All returns what is denied now, in the order of the addresses.
func (l *List) All() []store.Denial {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Clock()
	out := slices.Collect(maps.Values(l.all))
	out = slices.DeleteFunc(out, func(d store.Denial) bool { return d.Ended(now) })
	slices.SortFunc(out, func(a, b store.Denial) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// Count is how many prefixes are denied.
func (l *List) Count() int { return len(l.All()) }

// Prune clears away what has ended. The kernel lets it in by itself.
func (l *List) Prune() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Clock()
	var ended []netip.Prefix
	for p, d := range l.all {
		if d.Ended(now) {
			ended = append(ended, p)
		}
	}
	return l.remove(ended)
}

func (l *List) enter(d store.Denial) {
	if _, known := l.all[d.Prefix]; !known {
		l.lengths(d.Prefix)[d.Prefix.Bits()]++
	}
	l.all[d.Prefix] = d
}

func (l *List) drop(p netip.Prefix) {
	if _, known := l.all[p]; !known {
		return
	}
	delete(l.all, p)
	if n := l.lengths(p); n[p.Bits()] > 1 {
		n[p.Bits()]--
	} else {
		delete(n, p.Bits())
	}
}

func (l *List) lengths(p netip.Prefix) map[int]int {
	if p.Addr().Is4() {
		return l.bits[0]
	}
	return l.bits[1]
}

// tellBelow tells the kernel of a prefix and of those that it covers.
func (l *List) tellBelow(p netip.Prefix) error {
	errs := []error{l.tell(p)}
	if !p.IsSingleIP() {
		for q := range l.all {
			if q != p && q.Bits() > p.Bits() && p.Contains(q.Addr()) {
				errs = append(errs, l.tell(q))
			}
		}
	}
	return errors.Join(errs...)
}

// tell brings one entry of the kernel in line: it ends with the last of those that
// cover it.
func (l *List) tell(p netip.Prefix) error {
	if _, denied := l.all[p]; !denied {
		return l.o.Kernel.DeleteDenied(p)
	}
	var last time.Time
	for bits := range l.lengths(p) {
		if bits > p.Bits() {
			continue
		}
		d, covers := l.all[netip.PrefixFrom(p.Addr(), bits).Masked()]
		if !covers {
			continue
		}
		if d.Until.IsZero() {
			return l.o.Kernel.SetDenied(p, 0)
		}
		if d.Until.After(last) {
			last = d.Until
		}
	}
	left := max(last.Sub(l.o.Clock()), 1) // 0 would be for good
	return l.o.Kernel.SetDenied(p, l.o.Now()+uint64(left))
}

func each[T any](list []T, f func(T) error) (errs []error) {
	for _, v := range list {
		errs = append(errs, f(v))
	}
	return errs
}
