package bpf

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/tests/testutil"
)

// alarm is a wire of which the triggers are read.
type alarm struct {
	*wire
	ring *TriggerReader
}

func newAlarm(t testing.TB, tr Trigger) *alarm {
	t.Helper()
	a := &alarm{wire: newWire(t)}
	a.readTriggers(t)
	a.trigger(t, tr)
	return a
}

func (a *alarm) readTriggers(t testing.TB) {
	t.Helper()
	var err error
	if a.ring, err = a.Triggers(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.ring.Close() })
}

func (a *alarm) trigger(t testing.TB, tr Trigger) {
	t.Helper()
	if err := a.SetTrigger(1, tr); err != nil {
		t.Fatal(err)
	}
}

func (a *alarm) next(t testing.TB) (TriggerEvent, bool) {
	t.Helper()
	a.ring.r.SetDeadline(time.Now())
	ev, err := a.ring.Read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ev, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return ev, true
}

func (a *alarm) wants(t testing.TB, what string, kind TriggerKind, value, threshold uint64) {
	t.Helper()
	ev, any := a.next(t)
	want := TriggerEvent{Time: ev.Time, Site: 1, Replica: 5, Kind: kind, Value: value, Threshold: threshold}
	if !any || ev != want || ev.Time == 0 {
		t.Errorf("%s: %+v (%v), want %+v", what, ev, any, want)
	}
}

func (a *alarm) quiet(t testing.TB, what string) {
	t.Helper()
	if ev, any := a.next(t); any {
		t.Errorf("%s: %+v", what, ev)
	}
}

// conns opens or closes connections until there are n.
func (a *alarm) conns(t testing.TB, open *[]net.Conn, n int) {
	t.Helper()
	for len(*open) < n {
		*open = append(*open, a.dial(t, web4))
	}
	for len(*open) > n {
		abort(t, (*open)[len(*open)-1])
		*open = (*open)[:len(*open)-1]
	}
	testutil.WaitFor(t, 5*time.Second, "the connections", func() error {
		if st, err := a.Stats(5); err != nil || st.ConnsNow != uint64(n) {
			return errors.Join(err, errors.New("not so many yet"))
		}
		return nil
	})
}

func readAll(c *net.TCPConn) {
	_, _ = io.Copy(io.Discard, c)
	c.Close()
}

// An edge is told once, and again only after the condition was over: below 3/4.
func TestRootTriggerOnConnections(t *testing.T) {
	a := newAlarm(t, Trigger{ConnsPerReplica: 4})
	a.serve(t, false, readAll)
	var open []net.Conn
	a.conns(t, &open, 3)
	a.quiet(t, "below")
	a.conns(t, &open, 4)
	a.wants(t, "reached", TriggerConns, 4, 4)
	a.conns(t, &open, 7)
	a.quiet(t, "above")
	a.conns(t, &open, 3)
	a.conns(t, &open, 5)
	a.quiet(t, "a little less and again")
	a.conns(t, &open, 2)
	a.conns(t, &open, 4)
	a.wants(t, "over and again", TriggerConns, 4, 4)
	a.trigger(t, Trigger{ConnsPerReplica: 10})
	a.conns(t, &open, 7)
	a.conns(t, &open, 9)
	a.quiet(t, "a higher threshold")
	a.conns(t, &open, 10)
	a.wants(t, "a higher threshold", TriggerConns, 10, 10)
	a.trigger(t, Trigger{})
	a.conns(t, &open, 9)
	a.trigger(t, Trigger{ConnsPerReplica: 10})
	a.conns(t, &open, 10)
	a.wants(t, "a threshold that was away in between", TriggerConns, 10, 10)
	a.conns(t, &open, 0)
	if err := a.RemoveTrigger(1); err != nil {
		t.Fatal(err)
	}
	a.conns(t, &open, 12)
	a.quiet(t, "no trigger any more")
	a.conns(t, &open, 0)
}

// Arrivals see what waits before them.
func TestRootTriggerOnTheAcceptQueue(t *testing.T) {
	a := newAlarm(t, Trigger{AcceptQueue: 2})
	l := socketSpec{at: addrPort("[::]:80")}.open(t, a.replica)
	var open []net.Conn
	a.conns(t, &open, 2)
	a.quiet(t, "two wait")
	a.conns(t, &open, 3)
	a.wants(t, "the third", TriggerQueue, 2, 2)
	a.conns(t, &open, 4)
	a.quiet(t, "the fourth")
	for range 4 {
		fd := acceptFD(t, l)
		defer closeFD(t, fd)
	}
	a.conns(t, &open, 6)
	a.quiet(t, "emptied in between")
	a.conns(t, &open, 7)
	a.wants(t, "and full again", TriggerQueue, 2, 2)
	a.conns(t, &open, 0)
}

func TestRootTriggerOnLatency(t *testing.T) {
	const limit = 50 * time.Millisecond
	a := newAlarm(t, Trigger{Latency: limit})
	slow := make(chan bool, 1)
	a.serve(t, false, func(c *net.TCPConn) {
		defer c.Close()
		for b := make([]byte, 4); ; {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if <-slow {
				work := time.NewTimer(2 * limit)
				<-work.C
			}
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	c := a.dial(t, web4)
	defer c.Close()
	// asks until what the kernel has smoothed is on the other side of the limit
	until := func(isSlow bool, over func(TriggerState) bool) {
		t.Helper()
		for range 1000 {
			slow <- isSlow
			b := []byte("ping")
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
			st, err := a.Trigger(1)
			if err != nil {
				t.Fatal(err)
			}
			if over(st) {
				return
			}
		}
		t.Fatal("the smoothed latency does not get there")
	}
	for range 2 {
		until(false, func(st TriggerState) bool { return !st.Slow && st.Smooth < limit/2 })
		for _, any := a.next(t); any; _, any = a.next(t) { // quick answers can be slow on a busy machine
		}
		until(true, func(st TriggerState) bool { return st.Slow })
		ev, any := a.next(t)
		if !any || ev.Kind != TriggerLatency || ev.Site != 1 || ev.Replica != 5 || ev.Threshold != uint64(limit) || ev.Value < uint64(limit) {
			t.Errorf("event %+v (%v), want a latency over %v", ev, any, limit)
		}
		until(true, func(st TriggerState) bool { return st.Smooth > limit+limit/2 })
		a.quiet(t, "slow still")
	}
}

// The kernel's change points are those of the integer reference, bit for bit, and
// of the one in floating point, on the same arrivals.
func TestRootSurgeIsTheReferences(t *testing.T) {
	base := change.Baseline{Lambda: 2, Phi: 1.5, ARL0: 1000}
	params := base.Params()
	a := newAlarm(t, Trigger{Cusum: CusumParams(params)})
	a.serve(t, false, readAll)
	var state change.CusumState
	float := change.NewCusum(base)
	alarms := 0
	for i := range 60 {
		conn := a.dial(t, web4)
		a.connections(t, 1, uint64(i)+1)
		st, err := a.Stats(5)
		if err != nil {
			t.Fatal(err)
		}
		began := state.Arrival(&params, st.Last) // the kernel's own clock, and so the test's pace does not matter
		inFloat := float.Arrival(time.Duration(st.Last))
		got, err := a.Trigger(1)
		if err != nil {
			t.Fatal(err)
		}
		if got.Due != state.Due || got.Alarmed != state.Alarmed {
			t.Fatalf("arrival %d at %d: the kernel has %v, alarms %03b, the reference %v, %03b",
				i, st.Last, got.Due, got.Alarmed, state.Due, state.Alarmed)
		}
		if began != inFloat && closeCall(float) > 1e-6 {
			t.Errorf("arrival %d: %03b begins, in floating point %03b", i, began, inFloat)
		}
		if began != 0 {
			alarms++
			a.wants(t, "surge", TriggerSurge, uint64(began), uint64(state.Alarmed))
		}
		a.quiet(t, "told")
		abort(t, conn)
		a.connections(t, 0, uint64(i)+1)
	}
	if alarms == 0 {
		t.Error("60 connections in a breath are no surge where two a second are usual")
	}
}

// closeCall is how near to its limit any statistic is.
func closeCall(c *change.Cusum) float64 {
	nearest := 1.0
	for i := range change.Ratios {
		nearest = min(nearest, max(c.Statistic(i)-1, 1-c.Statistic(i)))
	}
	return nearest
}

// New parameters keep the statistic's share of its limit, and the conditions that
// last; parking resets all.
func TestRootTriggerIsChanged(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	a := &alarm{wire: &wire{rig: r}}
	p := func(step, limit uint64) CusumParams {
		return CusumParams{Step: [3]uint64{step, step, step}, Limit: [3]uint64{limit, limit, 0}, Rearm: [3]uint64{limit / 2, limit / 2, 0}}
	}
	hour := uint64(time.Hour)
	a.trigger(t, Trigger{ConnsPerReplica: 1, Latency: time.Second, Cusum: p(1000, 100*hour)})
	var v dpFcTrigger
	if err := r.objs.FcTriggers.Lookup(uint32(1), &v); err != nil {
		t.Fatal(err)
	}
	now := Now()
	v.Due, v.Alarmed, v.Latency, v.Marks = [3]uint64{now + 40*hour, now - 1, 7}, 2, 5, 1
	if err := r.objs.FcTriggers.Put(uint32(1), v); err != nil {
		t.Fatal(err)
	}
	want := Trigger{ConnsPerReplica: 2, AcceptQueue: 3, Latency: time.Minute, Cusum: p(2000, 10*hour)}
	a.trigger(t, want)
	st, err := r.Trigger(1)
	if err != nil || st.Trigger != want || st.Alarmed != 2 || st.Smooth != 5 || !st.Slow {
		t.Errorf("%+v (%v), want %+v and the rest as it was", st, err, want)
	}
	if off := time.Duration(st.Due[0] - now - 4*hour); off.Abs() > time.Minute || st.Due[1] != now-1 || st.Due[2] != 7 {
		t.Errorf("due %v, want 4 hours from %d (it is %v off), and the others as they were", st.Due, now, off)
	}
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Trigger(1); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("the trigger of a parked site: %v", err)
	}
	if err := r.changeTrigger(1, dpFcTriggerParams{}); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("a change of what is not there: %v", err)
	}
	if err := r.RemoveTrigger(1); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// What no daemon reads waits for the next one.
func TestRootTriggersOutliveTheDaemon(t *testing.T) {
	a := newAlarm(t, Trigger{ConnsPerReplica: 1})
	socketSpec{at: addrPort("[::]:80")}.open(t, a.replica)
	if err := a.ring.Close(); err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	a.conns(t, &open, 1)
	next := &alarm{wire: &wire{rig: &rig{Datapath: openAt(t, a.opts)}}}
	next.readTriggers(t)
	next.wants(t, "the next daemon", TriggerConns, 1, 1)
	a.conns(t, &open, 0)
}
