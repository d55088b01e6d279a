package life

import (
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// wakeNeeded wakes the sites that this one is about to connect to, so that they start
// beside it and not after it. Neither waits for the other here: packets to one that is
// not ready are held like anybody's.
func wakeNeeded(l *Live) {
	needs, by, host := l.Spec.Needs, l.Name, l.Host
	if len(needs) == 0 {
		return
	}
	host.Go(func() { // they have locks of their own, and may need each other
		for _, name := range needs {
			needed, err := host.Finder.ByName(name)
			if err != nil {
				continue // there is none of that name, as apply has said
			}
			if err := wakeFor(needed, by); err != nil {
				host.Log.Warn("a site that another needs was not woken beside it", "site", name, "needed by", by, "error", err)
			}
		}
	})
}

// wakeFor is Wake for another site. One whose start fails has its time until the next
// try, which those who connect to it do not cut short either.
func wakeFor(st *Site, by string) (err error) {
	st.Host.Guard(st, func() { // its panic does not keep the others from being woken
		err = withMachine(st, func(l *Live) error {
			if l.Machine.Phase() != site.Backoff {
				l.wakeUp(site.WakeAsked{Reason: "needed by " + by}, l.newTrace(l.Host.Now(), event.StepAsked))
			}
			return nil
		})
	})
	return err
}
