package life

import (
	"time"

	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
)

// record is what the disk has of a parked site.
type record struct {
	kept   *store.Site // nil where nobody asked for it
	learnt *policy.Experience
}

// withRecord calls f as With does. A parked site's record is read before that, and again if it has changed meanwhile: nobody
// waits for the disk who waits for the site's lock. Of a site that has its machine, f is given none.
func withRecord(st *Site, read func() (*record, error), f func(l *Live, rec *record)) (err error) {
	var rec *record
	var of uint32
	for {
		done := false
		st.With(func(l *Live) {
			switch {
			case l.gone:
				done, err = true, ErrGone
			case l.Activity != nil:
				done = true
				f(l, nil)
			case rec != nil && of == l.revision:
				done = true
				f(l, rec)
			default:
				of = l.revision
			}
		})
		if done {
			return err
		}
		if rec, err = read(); err != nil {
			return err
		}
	}
}

// record reads what there is of a site.
func (h *Host) record(siteName string) (*record, error) {
	kept, err := h.Store.Get(siteName)
	if err != nil {
		return nil, err
	}
	return &record{kept, h.loadExperience(siteName)}, nil
}

// withMachine calls f as With does, and makes the machine of a parked site first.
func withMachine(st *Site, f func(l *Live) error) (err error) {
	unread := withRecord(st, func() (*record, error) { return st.Host.record(st.Name) }, func(l *Live, rec *record) {
		if l.fault != nil {
			err = ErrQuarantined
			return
		}
		if rec != nil {
			l.activate(rec)
		}
		err = f(l)
	})
	if unread != nil {
		return unread
	}
	return err
}

// activate gives a parked site its machine.
func (l *Live) activate(rec *record) {
	bounded := Bounded(&l.Host.Cfg, &rec.kept.Spec)
	l.become(&Activity{
		Spec:       bounded,
		Machine:    site.New(l.Host.policy(bounded, nil), func() site.ReplicaID { return site.ReplicaID(l.Host.Numbers.Next()) }),
		Replicas:   map[site.ReplicaID]*Replica{},
		timers:     map[timerKey]*time.Timer{},
		changed:    make(chan struct{}),
		experience: rec.learnt,
	})
	st := l.Site
	st.goDo(func() { // its visitor does not wait for a plan
		st.With(func(l *Live) {
			if l.Activity != nil {
				l.newLadder()
			}
		})
	})
}

// WithLearnt calls f as With does, with what is known of the site.
func WithLearnt(st *Site, f func(l *Live, x *policy.Experience)) {
	read := func() (*record, error) { return &record{learnt: st.Host.loadExperience(st.Name)}, nil }
	_ = withRecord(st, read, func(l *Live, rec *record) { // the site is gone, and nobody asks any more
		if rec == nil {
			f(l, l.experience)
		} else {
			f(l, rec.learnt)
		}
	})
}

// keep has what was learnt of the site written, and read again by who has read it without the lock.
func keep(l *Live, x *policy.Experience) {
	l.revision++
	if err := l.Host.Experiences.Put(l.Name, x); err != nil {
		l.Host.NotKept(l.Name, err)
	}
}
