package life

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/fcnode/fcnode/runtime/site"
)

// TestRecordIsReadWithoutTheLock: others have the site meanwhile, and what they change counts.
func TestRecordIsReadWithoutTheLock(t *testing.T) {
	wakes := func(*Live) error { return nil }
	for name, tt := range map[string]struct {
		meanwhile func(t *testing.T, n *fewSites, st *Site)
		reads     int
		live      bool
		err       error
	}{
		"nothing":          {meanwhile: func(*testing.T, *fewSites, *Site) {}, reads: 1},
		"a change on disk": {meanwhile: func(_ *testing.T, _ *fewSites, st *Site) { st.With(func(l *Live) { l.revision++ }) }, reads: 2},
		"a wake": {meanwhile: func(t *testing.T, _ *fewSites, st *Site) {
			if err := withMachine(st, wakes); err != nil {
				t.Error(err)
			}
		}, reads: 1, live: true},
		"its deletion": {meanwhile: func(_ *testing.T, _ *fewSites, st *Site) { st.With(func(l *Live) { l.gone = true }) }, reads: 1, err: ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			n := parkedNode(t, "one")
			st := n.sites["one"]
			reads, calls := 0, 0
			err := withRecord(st, func() (*record, error) {
				if reads++; reads == 1 {
					tt.meanwhile(t, n, st)
				}
				return n.host.record(st.Name)
			}, func(l *Live, rec *record) {
				calls++
				if live := rec == nil; live != tt.live || (l.Activity != nil) != tt.live {
					t.Errorf("it is given the record %+v, the site is %+v", rec, l.Activity)
				}
			})
			if !errors.Is(err, tt.err) || reads != tt.reads || (calls == 1) != (tt.err == nil) {
				t.Errorf("read %d times, called %d times: %v", reads, calls, err)
			}
			n.host.Work.Wait()
		})
	}
}

// TestWakeWithoutItsRecord: who waits for a site whose record cannot be read is refused, and the next one is waited for again.
func TestWakeWithoutItsRecord(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		if err := d.Store.Delete(s.Name); err != nil {
			t.Fatal(err)
		}
		for want := 1; want < 3; want++ {
			d.visit(s)
			synctest.Wait()
			if released, refused := w.counts(); released != 0 || refused != want {
				t.Errorf("%d were released and %d refused, want %d refused", released, refused, want)
			}
			s.With(func(l *Live) {
				if l.waking || l.Activity != nil {
					t.Errorf("it is waking: %v, with the machine %v", l.waking, l.Activity)
				}
			})
		}
		if p := d.phase(s); p != site.Parked {
			t.Errorf("it is %s", p)
		}
	})
}
