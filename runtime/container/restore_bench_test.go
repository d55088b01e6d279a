package container

import (
	"fmt"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// BenchmarkRootRestore measures the time from the call of Restore to its return, by its steps, and to
// the end of the first answer, of real applications of one user:
//
//	FCNODE_ROOT_TESTS=1 go test -run '^$' -bench RootRestore -benchtime 20x ./runtime/container
func BenchmarkRootRestore(b *testing.B) {
	for _, app := range apps.All(b) {
		if !app.Users {
			b.Run(app.Name, func(b *testing.B) { benchRestore(b, app) })
		}
	}
}

// atRest says that both pools are full: a refill would share the processors with what is measured.
func (m *Manager) atRest() error {
	for _, p := range []*pool{m.pool, m.restores} {
		p.mu.Lock()
		missing, busy := p.ahead-len(p.slots), p.busy
		p.mu.Unlock()
		if missing > 0 || busy {
			return fmt.Errorf("%d runners are missing", missing)
		}
	}
	return nil
}

func benchRestore(b *testing.B, app apps.App) {
	b.Helper()
	e := newEnv(b)
	needCRIU(b, e.m)
	ns := replicaNS(b)
	c := e.start(e.appSpec(app, ns))
	testutil.WaitFor(b, limit, app.Name+" to answer", func() (err error) {
		ns.Do(b, func() { _, err = getHere(app.Path) })
		return err
	})
	var answers []time.Duration
	times := map[string][]time.Duration{}
	var order []string
	note := func(step string, took time.Duration) {
		if times[step] == nil {
			order = append(order, step)
		}
		times[step] = append(times[step], took)
	}
	for b.Loop() {
		b.StopTimer()
		e.park(c, e.checkpointDir(), options())
		spec := e.appSpec(app, ns)
		testutil.WaitFor(b, limit, "what is kept ahead to be made", func() error { return e.m.atRest() })
		begin := time.Now()
		b.StartTimer()
		restored, timing, err := e.m.Restore(testutil.Context(b, limit), spec, e.checkpointDir())
		if err != nil {
			b.Fatal(err)
		}
		took := time.Since(begin)
		e.count(app, ns)
		b.StopTimer()
		answers = append(answers, time.Since(begin))
		for _, s := range timing.Steps {
			note(s.Name, s.After)
		}
		note("returned", took)
		note("answered", answers[len(answers)-1])
		begin = time.Now()
		e.count(app, ns)
		note("(asked again)", time.Since(begin))
		testutil.WaitFor(b, limit, "all memory to arrive", func() error { return present(restored.lazyFile(), false) })
		c = restored
		b.StartTimer()
	}
	b.StopTimer()
	for _, step := range order {
		b.Logf("%-14s %7.2f ms", step, ms(median(times[step])))
	}
	reportTimes(b, answers)
	e.remove(c)
}
