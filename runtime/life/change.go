package life

import (
	"slices"

	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ChangeSpec acts on a spec that was applied.
func (l *Live) ChangeSpec(s *spec.Site) {
	l.DropSleep("spec changed")
	if l.Activity == nil {
		return
	}
	apart := !slices.Equal(l.Spec.Ports, s.Ports) // a port's bit is its place in the list
	l.Spec = Bounded(&l.Host.Cfg, s)
	l.newLadder()
	l.handle(site.SpecChanged{Apart: apart})
}

// RenewImage circulates a site that runs from another image than the one it has now.
func (l *Live) RenewImage(digest string) {
	if l.Activity == nil || l.gone {
		return // a checkpoint says itself which image it is of
	}
	for _, r := range l.Replicas {
		if r.Image != "" && r.Image != digest && !r.stopping {
			l.DropSleep("new image")
			l.handle(site.CirculateAsked{Reason: "new image"})
			return
		}
	}
}

// Circulate replaces what runs. What sleeps of the site is thrown away: its next
// visitor is to find a fresh replica, too.
func (l *Live) Circulate(reason string) error {
	if l.gone {
		return ErrGone
	}
	if l.fault != nil {
		return ErrQuarantined
	}
	l.DropSleep("circulated")
	if l.Activity == nil {
		return ErrParked
	}
	l.handle(site.CirculateAsked{Reason: reason})
	return nil
}

// Delete ends all that runs; done says that nothing does.
func (l *Live) Delete() (done bool) {
	if l.Activity == nil {
		l.gone = true
		return true
	}
	l.handle(site.Deleted{})
	return false
}

// Deleted is the end of it.
func (l *Live) Deleted() {
	l.gone = true
	if l.Activity != nil {
		l.end()
	}
}
