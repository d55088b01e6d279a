package site

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

var modelRuns = flag.Int("model.runs", 1000, "how many random lives of a site TestRandomLives goes through")

// The model is a node that does what a machine asks of it: containers that take
// their time and may fail, timers, a data path, and visitors who are held. What
// happens next is drawn; after each event the invariants are checked.

type modelPort int

const ports modelPort = 2

// container is one that the machine asked for.
type container struct {
	making     bool // no answer to Start yet
	stopped    bool // Stop was asked
	listens    [ports]bool
	conns      uint64
	last       time.Time   // end of its last connection
	suspending detect.Tier // asked to be put there, not answered
	resuming   bool        // asked to run again, not answered
	marked     bool        // a packet is to be told of
	knocked    bool        // it was, and nobody has read it
	frozen     bool
	watched    bool // the end of its last connection is to be told
}

func (c *container) listensOnAll() bool { return !slices.Contains(c.listens[:], false) }

type modelTimer struct {
	kind string
	id   ReplicaID
}

type model struct {
	rng    *rand.Rand
	policy Policy
	m      *Machine
	newID  func() ReplicaID
	now    time.Time

	containers map[ReplicaID]*container
	timers     map[modelTimer]time.Time
	view       View               // as last published
	held       [ports]int         // packets in the node's hands
	unread     [ports]int         // packets in the kernel's ring
	used       map[ReplicaID]bool // ids, for ever
	deleted    bool
	parked     bool // by hand, and nobody came since
	surplus    bool // those that an earlier daemon was ending are found among those that serve
	gones      int
	gates      map[ReplicaID]bool // prepared containers; true: it stands at its gate
	log        []string
}

func newModel(seed uint64) *model {
	md := &model{
		rng: rand.New(rand.NewPCG(seed, 42)), now: now, view: View{Parked: true},
		containers: map[ReplicaID]*container{}, timers: map[modelTimer]time.Time{}, used: map[ReplicaID]bool{},
		gates: map[ReplicaID]bool{},
	}
	md.policy = policy
	if seed%2 == 1 { // the other half lives as simply as can be
		md.drawPolicy()
	}
	if md.rng.IntN(3) == 0 {
		md.policy.Min = 1
	}
	if md.rng.IntN(5) == 0 {
		md.policy.Ladder = nil
	}
	var last ReplicaID
	md.newID = func() ReplicaID { last++; return last }
	md.m = New(md.policy, md.newID)
	return md
}

func (md *model) drawPolicy() {
	p := &md.policy
	p.Max = 1 + md.rng.IntN(3)
	p.Overlap = md.rng.IntN(4) > 0
	p.Surplus = []time.Duration{0, time.Minute}[md.rng.IntN(2)]
	p.Ahead = md.rng.IntN(3) == 0
	if md.rng.IntN(2) == 0 {
		p.Spares, p.SpareTier = 1+md.rng.IntN(2), []detect.Tier{detect.TierFrozen, detect.TierPrepared}[md.rng.IntN(2)]
	}
	if md.rng.IntN(2) == 0 {
		p.Lifetime = time.Hour
	}
	if md.rng.IntN(2) == 0 {
		p.BusyMost, p.KeepConns = time.Minute, time.Minute
	}
	p.Ladder = nil
	after := 10 * time.Second
	for _, tier := range detect.Tiers {
		if md.rng.IntN(2) == 0 {
			p.Ladder = append(p.Ladder, Rung{tier, after})
			after *= 5
		}
	}
}

// handle does what node.handle does.
func (md *model) handle(ev Event) error {
	queue := []Event{ev}
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		acts := md.m.Handle(md.now, ev)
		md.log = append(md.log, fmt.Sprintf("%s %T%+v: %s => %s", md.now.Sub(now), ev, ev, words(acts), state(md.m)))
		for _, a := range acts {
			next, err := md.perform(a)
			if err != nil {
				return err
			}
			if next != nil {
				queue = append(queue, next)
			}
		}
	}
	return md.check()
}

func (md *model) perform(a Action) (Event, error) {
	switch a := a.(type) {
	case Start:
		if md.deleted {
			return nil, fmt.Errorf("started %d of a deleted site", a.ID)
		}
		if _, waits := md.gates[a.ID]; waits != (a.From == detect.TierPrepared) || md.containers[a.ID] != nil || md.used[a.ID] && !waits {
			return nil, fmt.Errorf("started %d from %q twice, or from a gate where it does not stand", a.ID, a.From)
		}
		delete(md.gates, a.ID)
		md.used[a.ID], md.parked = true, false
		md.containers[a.ID] = &container{making: true}
	case Descend:
		c := md.containers[a.ID]
		if c == nil || c.stopped || c.suspending != "" || c.resuming {
			return nil, fmt.Errorf("put to sleep: %d, which is %+v", a.ID, c)
		}
		c.suspending = a.Tier
	case Ascend:
		c := md.containers[a.ID]
		if c == nil || c.stopped || c.resuming {
			return nil, fmt.Errorf("called back: %d, which is %+v", a.ID, c)
		}
		c.resuming, c.suspending = true, ""
	case Prepare:
		if md.deleted || md.used[a.ID] {
			return nil, fmt.Errorf("prepared %d, deleted %v", a.ID, md.deleted)
		}
		md.used[a.ID], md.gates[a.ID] = true, false
	case Unprepare:
		if _, waits := md.gates[a.ID]; !waits {
			return nil, fmt.Errorf("threw away %d, which is not there", a.ID)
		}
		delete(md.gates, a.ID)
	case Watch:
		c := md.containers[a.ID]
		if c.conns == 0 {
			return Emptied(a), nil
		}
		c.watched = true
	case Stop:
		c := md.containers[a.ID]
		if c == nil || c.stopped {
			return nil, fmt.Errorf("stopped %d, which is %+v", a.ID, c)
		}
		c.stopped = true
	case Publish:
		md.view = md.m.View()
		for _, in := range md.view.Replicas {
			if c := md.containers[in.ID]; c != nil {
				c.marked = in.Asleep && !c.knocked
			}
		}
	case Release:
		for p := range ports {
			if md.listened(p) {
				md.held[p] = 0
			}
		}
	case Refuse:
		md.held = [ports]int{}
	case Recheck:
		c := md.containers[a.ID]
		return Rechecked{ID: a.ID, Conns: c.conns, IdleFor: md.now.Sub(c.last)}, nil
	case ArmStart:
		md.timers[modelTimer{"start", a.ID}] = md.now.Add(a.After)
	case ArmPortGrace:
		md.timers[modelTimer{"port-grace", a.ID}] = md.now.Add(a.After)
	case ArmConns:
		md.timers[modelTimer{"conns", a.ID}] = md.now.Add(a.After)
	case ArmIdle:
		md.timers[modelTimer{"idle", a.ID}] = md.now.Add(a.After)
	case ArmLife:
		md.timers[modelTimer{"life", a.ID}] = md.now.Add(a.After)
	case ArmDrain:
		md.timers[modelTimer{"drain", a.ID}] = md.now.Add(a.After)
	case ArmSpare:
		md.timers[modelTimer{kind: "spare"}] = md.now.Add(a.After)
	case ArmBackoff:
		md.timers[modelTimer{kind: "backoff"}] = md.now.Add(a.After)
	case Gone:
		md.gones++
	}
	return nil, nil
}

// listened says whether the data path would send a packet for that port on.
func (md *model) listened(p modelPort) bool {
	for _, in := range md.m.View().Replicas {
		if c := md.containers[in.ID]; c != nil && !in.Draining && (in.Forced || c.listens[p]) {
			return true
		}
	}
	return false
}

func (md *model) states(s State) (out []ReplicaID) {
	for _, r := range md.m.Replicas() {
		if r.State == s {
			out = append(out, r.ID)
		}
	}
	return out
}

func (md *model) armed(kind string, id ReplicaID) bool {
	_, ok := md.timers[modelTimer{kind, id}]
	return ok
}

// check holds the invariants against the state after an event.
func (md *model) check() error {
	starting, ready, closing := md.states(Starting), md.states(Ready), md.states(Closing)
	v := md.m.View()
	alive := len(starting) + len(ready) + len(closing) + len(md.states(Resuming)) + len(md.states(Asleep)) + len(md.states(Suspending))
	tooMany := md.m.Serving() > max(1, md.policy.Max, md.policy.Min)
	md.surplus = md.surplus && tooMany
	switch {
	case tooMany && !md.surplus:
		return fmt.Errorf("%d serve, %d may", md.m.Serving(), md.policy.Max)
	case len(starting) > max(1, md.policy.Max)+3: // a next one and spare ones beside those that serve
		return fmt.Errorf("so many are starting: %v", starting)
	case len(closing) > 0:
		return fmt.Errorf("%v is still closing after its counters were read", closing)
	case v.Parked != (len(v.Replicas) == 0 && !v.Refuse):
		return fmt.Errorf("the view says parked %v, refuse %v, with %v", v.Parked, v.Refuse, v.Replicas)
	case v.Refuse && alive-md.spares() > 0:
		return fmt.Errorf("refusing with %d alive", alive)
	case !sameView(v, md.view):
		return fmt.Errorf("published %+v, the machine means %+v", md.view, v)
	case v.Refuse && !md.armed("backoff", 0):
		return fmt.Errorf("refusing for ever: no backoff timer")
	case md.gones > 1:
		return fmt.Errorf("told gone %d times", md.gones)
	case md.deleted && (md.gones == 1) != (len(md.m.Replicas()) == 0):
		return fmt.Errorf("deleted, %d replicas left, told gone %d times", len(md.m.Replicas()), md.gones)
	case !md.deleted && md.gones > 0:
		return fmt.Errorf("gone, but not deleted")
	case md.m.Idle() && (len(md.containers) > 0 || len(md.gates) > 0 || v.Refuse):
		return fmt.Errorf("idle, with %d containers and %v at the gate", len(md.containers), md.gates)
	case len(md.gates) > max(1, md.policy.Spares) || md.deleted && len(md.gates) > 0:
		return fmt.Errorf("at the gate: %v, deleted: %v", md.gates, md.deleted)
	}
	if err := md.checkSpares(); err != nil {
		return err
	}
	if want := md.phase(); md.m.Phase() != want {
		return fmt.Errorf("phase %s, want %s", md.m.Phase(), want)
	}
	for _, r := range md.m.Replicas() {
		if err := md.checkReplica(r); err != nil {
			return err
		}
	}
	if len(md.m.Replicas()) != len(md.containers) {
		return fmt.Errorf("%d containers, the machine knows %d", len(md.containers), len(md.m.Replicas()))
	}
	return md.checkHopes(ready)
}

func (md *model) spares() (n int) {
	for _, r := range md.m.Replicas() {
		if r.Spare() && r.alive() {
			n++
		}
	}
	return n
}

// checkSpares: what serves and what is ready to are no more than may serve, and what
// is missing will be made.
func (md *model) checkSpares() error {
	frozen, gates, ahead := md.spares(), len(md.gates), 0
	if md.policy.Ahead {
		ahead = 1
	}
	room := max(0, max(1, md.policy.Max, md.policy.Min)-md.m.Serving())
	switch running := len(md.states(Ready)) > 0 && md.m.Phase() == Running; {
	case frozen > max(room, ahead):
		return fmt.Errorf("%d spares, there is room for %d", frozen, room)
	case md.m.Phase() == Running && gates > room:
		return fmt.Errorf("%d at their gates, there is room for %d", gates, room)
	case md.m.Phase() == Parked && frozen > 0:
		return fmt.Errorf("the site sleeps, and has %d spares", frozen)
	case running && md.m.replicas.find(Ready) != nil && md.m.spareMissing() && !md.armed("spare", 0):
		return fmt.Errorf("a spare is missing, and will never be made: %d frozen, %d at their gates", frozen, gates)
	}
	return nil
}

// checkReplica: whatever a replica is doing, somebody will end it.
func (md *model) checkReplica(r Replica) error {
	c := md.containers[r.ID]
	in := slices.ContainsFunc(md.m.View().Replicas, func(v ViewReplica) bool { return v.ID == r.ID })
	switch {
	case c == nil:
		return fmt.Errorf("%d is gone and the machine keeps it as %s", r.ID, r.State)
	case c.stopped != (r.State == Stopping):
		return fmt.Errorf("%d is %s, told to stop: %v", r.ID, r.State, c.stopped)
	case (r.State == Starting || r.State == Resuming) && !md.armed("start", r.ID):
		return fmt.Errorf("%d may be %s for ever: no timer", r.ID, r.State)
	case r.State == Draining && !md.armed("drain", r.ID):
		return fmt.Errorf("%d may drain for ever: no timer", r.ID)
	case (r.State == Suspending) != (c.suspending != "") && !c.stopped:
		return fmt.Errorf("%d is %s, asked to sleep on %q", r.ID, r.State, c.suspending)
	case (r.State == Resuming) != c.resuming && !c.stopped && r.State != Draining:
		return fmt.Errorf("%d is %s, asked to rise: %v", r.ID, r.State, c.resuming)
	case r.State == Asleep && !r.Spare() && !c.marked && !c.knocked:
		return fmt.Errorf("%d sleeps, and a packet would not be told of", r.ID)
	case r.State == Asleep && !c.frozen:
		return fmt.Errorf("%d sleeps, and runs", r.ID)
	case r.Spare() && in:
		return fmt.Errorf("%d is a spare one, and gets packets", r.ID)
	case !r.Spare() && !in && (r.State == Ready || r.State == Resuming || r.State == Asleep):
		return fmt.Errorf("%d is %s, and gets no packets", r.ID, r.State)
	}
	return nil
}

// checkHopes: nothing stays as it is for ever that is not meant to.
func (md *model) checkHopes(ready []ReplicaID) error {
	for _, id := range ready {
		c := md.containers[id]
		r := md.m.replicas.byID(id)
		if _, more := r.nextRung(md.m.policy); more && md.policy.Min == 0 && !md.armed("idle", id) && r.role != roleSpare {
			return fmt.Errorf("%d is never parked: no idle timer", id)
		}
		if r.old && md.policy.Overlap && !md.armed("life", id) && !slices.ContainsFunc(md.m.Replicas(), func(o Replica) bool { return o.role == roleNext || o.old && o.ID != id }) {
			return fmt.Errorf("%d is to be replaced, and nothing is done about it", id)
		}
		if !c.listensOnAll() && !forced(md.m.View(), id) && r.ports != portsGivenUp && !md.armed("port-grace", id) {
			return fmt.Errorf("ports of %d are waited for for ever: no timer of their grace", id)
		}
	}
	all := md.held[0] + md.held[1]
	if all > 0 && md.m.View().Parked && md.m.Phase() != Parking {
		return fmt.Errorf("%d visitors are held by a site that is %s", all, md.m.Phase())
	}
	for p, n := range md.held {
		if n > 0 && md.listened(modelPort(p)) && md.m.replicas.find(Ready) != nil {
			return fmt.Errorf("%d visitors of port %d are held, though it is listened on", n, p)
		}
	}
	if md.policy.Min > 0 && !md.deleted && !md.parked && len(md.used) > 0 && md.m.Phase() == Parked {
		return fmt.Errorf("scale.min is 1, and the site sleeps")
	}
	return nil
}

func sameView(a, b View) bool {
	return a.Parked == b.Parked && a.Refuse == b.Refuse && slices.Equal(a.Replicas, b.Replicas)
}

func forced(v View, id ReplicaID) bool {
	return slices.ContainsFunc(v.Replicas, func(r ViewReplica) bool { return r.ID == id && r.Forced })
}

func (md *model) phase() Phase {
	for _, p := range []struct {
		state State
		phase Phase
	}{
		{Ready, Running}, {Starting, Waking}, {Resuming, Waking}, {Draining, Running}, {Suspending, Parking}, {Asleep, Parked}, {Stopping, Parking},
	} {
		for _, r := range md.m.Replicas() {
			if r.State == p.state && !r.Spare() {
				return p.phase
			}
		}
	}
	if md.m.View().Refuse {
		return Backoff
	}
	return Parked
}

// visit is a visitor's first packet as the data path takes it.
func (md *model) visit(p modelPort) {
	if md.view.Refuse || md.deleted {
		return
	}
	for _, in := range md.view.Replicas {
		c := md.containers[in.ID]
		if c != nil && !c.stopped && !in.Draining && (in.Forced || c.listens[p]) {
			c.last = md.now
			if c.marked {
				c.marked, c.knocked = false, true
			}
			if md.rng.IntN(2) == 0 {
				c.conns++
			}
			return
		}
	}
	md.unread[p]++
}

// read takes a packet out of the kernel's ring, perhaps long after.
func (md *model) read() error {
	p := modelPort(md.rng.IntN(int(ports)))
	if md.unread[p] == 0 {
		return nil
	}
	md.unread[p]--
	md.held[p]++
	if !md.deleted {
		md.parked = md.parked && md.m.View().Refuse
	}
	return md.handle(PacketHeld{})
}

// listen lets a container listen on one more port.
func (md *model) listen(id ReplicaID) error {
	c := md.containers[id]
	c.listens[md.rng.IntN(int(ports))] = true
	return md.handle(ReplicaReady{ID: id, All: c.listensOnAll()})
}

func (md *model) fail(id ReplicaID) error {
	delete(md.containers, id)
	return md.handle(StartFailed{ID: id, Reason: "disk full"})
}

func (md *model) exit(id ReplicaID) error {
	delete(md.containers, id)
	return md.handle(ReplicaExited{ID: id, Reason: "exit code 1"})
}

// fire lets the timer that is due first go off.
func (md *model) fire() error {
	var first modelTimer
	var due time.Time
	for t, at := range md.timers {
		if due.IsZero() || at.Before(due) || (at.Equal(due) && fmt.Sprint(t) < fmt.Sprint(first)) {
			first, due = t, at
		}
	}
	if due.IsZero() {
		return nil
	}
	delete(md.timers, first)
	if due.After(md.now) {
		md.now = due
	}
	switch first.kind {
	case "start":
		return md.handle(StartTimedOut{ID: first.id})
	case "port-grace":
		return md.handle(PortGraceOver{ID: first.id})
	case "life":
		return md.handle(LifeOver{ID: first.id})
	case "drain":
		return md.handle(DrainOver{ID: first.id})
	case "spare":
		return md.handle(SpareDue{})
	case "conns":
		return md.handle(ConnsHeld{ID: first.id, Own: md.rng.IntN(3)})
	case "idle":
		ev := IdleOver{ID: first.id, IdleFor: 1 << 62}
		if c := md.containers[first.id]; c != nil {
			ev.Conns, ev.IdleFor = c.conns, md.now.Sub(c.last)
		}
		if md.rng.IntN(2) == 0 {
			ev.Busy = "it works"
		}
		if err := md.handle(ev); err != nil || md.rng.IntN(4) > 0 {
			return err
		}
		return md.handle(Evicted{ID: first.id, Tier: detect.Tiers[md.rng.IntN(len(detect.Tiers))], Reason: "memory is short"})
	}
	return md.handle(BackoffOver{})
}

// stale is something that is said too late, or twice.
func (md *model) stale() error {
	id := ReplicaID(md.rng.IntN(len(md.used) + 2))
	if md.containers[id] != nil {
		return nil
	}
	return md.handle([]Event{
		ReplicaReady{ID: id, All: true}, ReplicaReady{ID: id}, PortGraceOver{ID: id}, StartFailed{ID: id}, StartTimedOut{ID: id},
		ReplicaExited{ID: id}, IdleOver{ID: id, IdleFor: time.Hour}, Rechecked{ID: id, Conns: 1}, Rechecked{ID: id},
		Knocked{ID: id}, Descended{ID: id, Tier: detect.TierFrozen}, DescendFailed{ID: id, Tier: detect.TierCheckpointed}, Ascended{ID: id},
		LifeOver{ID: id}, DrainOver{ID: id}, Emptied{ID: id}, Evicted{ID: id, Tier: detect.TierCold},
		Restored{ID: id}, Answered{ID: id}, Unresponsive{ID: id, Reason: "late"}, Unhealthy{ID: id, Reason: "ill"},
		Outdated{ID: id, Reason: "a volume"}, Knocked{ID: id, Outdated: "a volume"},
	}[md.rng.IntN(21)])
}

// container draws one.
func (md *model) container() (ReplicaID, *container) {
	ids := make([]ReplicaID, 0, len(md.containers))
	for id := range md.containers {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	slices.Sort(ids)
	id := ids[md.rng.IntN(len(ids))]
	return id, md.containers[id]
}

// step lets something happen.
func (md *model) step() error {
	md.now = md.now.Add(time.Duration(md.rng.IntN(3000)) * time.Millisecond)
	switch n := md.rng.IntN(100); {
	case n < 20:
		md.visit(modelPort(md.rng.IntN(int(ports))))
	case n < 40:
		return md.read()
	case n < 65:
		return md.containerStep()
	case n < 80:
		return md.fire()
	case n < 85:
		return md.stale()
	case n < 88:
		md.parked = false
		return md.handle(WakeAsked{Reason: "asked"})
	case n < 92:
		md.parked = true
		err := md.handle(ParkAsked{Reason: "asked", Force: md.rng.IntN(2) == 0, Tier: md.drawTier()})
		md.parked = md.m.byHand // else a visitor came in between
		return err
	case n < 95:
		return md.handle([]Event{
			SpecChanged{}, SpecChanged{Apart: true}, CirculateAsked{Reason: "asked"},
			ScaleAsked{Want: md.rng.IntN(5), Reason: "load"}, ScaleAsked{Want: 2, Reason: "load"},
		}[md.rng.IntN(5)])
	case n < 96 && md.rng.IntN(3) == 0:
		md.deleted = true
		return md.handle(Deleted{})
	case n < 97 && !md.deleted:
		return md.kill()
	case n < 98:
		return md.deploy()
	}
	return nil
}

// deploy puts something else at a source: what sleeps is outdated when next anything happens.
func (md *model) deploy() error {
	for _, r := range md.m.Replicas() {
		if r.State == Asleep {
			if err := md.handle(Outdated{ID: r.ID, Reason: "a volume"}); err != nil {
				return err
			}
		}
	}
	for _, id := range md.m.Prepared() {
		if err := md.handle(Outdated{ID: id, Reason: "a volume"}); err != nil {
			return err
		}
	}
	return nil
}

// kill ends the daemon with no warning, and has the next one find what is left: what
// stands at a gate and what is only being made ends with it, packets in its hands are sent
// again by their clients, and a sleeping replica whose mark is gone is thawed.
func (md *model) kill() error {
	before := md.view
	md.timers, md.gates = map[modelTimer]time.Time{}, map[ReplicaID]bool{}
	md.held, md.unread, md.parked = [ports]int{}, [ports]int{}, false
	md.m = New(md.policy, md.newID)
	var ids []ReplicaID
	others := slices.ContainsFunc(before.Replicas, func(v ViewReplica) bool { return !v.Draining })
	for id, c := range md.containers {
		if c.making {
			delete(md.containers, id)
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		c := md.containers[id]
		at := slices.IndexFunc(before.Replicas, func(v ViewReplica) bool { return v.ID == id })
		was := Found{Ready: slices.Contains(c.listens[:], true), Spare: at < 0 && others}
		if at >= 0 {
			was.Draining = before.Replicas[at].Draining
		}
		if c.frozen && (c.marked || was.Spare) {
			was.Asleep = detect.TierFrozen
		}
		*c = container{listens: c.listens, conns: c.conns, last: c.last, marked: c.marked, frozen: was.Asleep != ""}
		for _, a := range md.m.Adopt(md.now, id, was) {
			if _, err := md.perform(a); err != nil {
				return err
			}
		}
	}
	md.log = append(md.log, fmt.Sprintf("%s killed: => %s", md.now.Sub(now), state(md.m)))
	md.parked, md.surplus = true, true // until somebody asks for it
	err := md.handle(AllAdopted{})
	md.parked = false
	if err != nil || md.policy.Min == 0 {
		return err
	}
	return md.handle(WakeAsked{Reason: "scale.min"})
}

// drawTier for somebody who parks the site; mostly that is left to the machine.
func (md *model) drawTier() detect.Tier {
	return []detect.Tier{"", "", "", detect.TierFrozen, detect.TierCheckpointed, detect.TierCold}[md.rng.IntN(6)]
}

// gateStep lets something happen to what is prepared.
func (md *model) gateStep() error {
	if len(md.gates) == 0 && md.rng.IntN(4) == 0 {
		return md.handle(PrepareAsked{}) // as at a daemon's start
	}
	for id, standing := range md.gates {
		switch n := md.rng.IntN(4); {
		case n == 0:
			delete(md.gates, id)
			return md.handle(PrepareFailed{ID: id, Reason: "no memory", NoRoom: md.rng.IntN(2) == 0})
		case !standing:
			md.gates[id] = true
			return md.handle(Prepared{ID: id})
		}
	}
	return nil
}

// tierStep answers what was asked about a replica's sleep.
func (md *model) tierStep(id ReplicaID, c *container, works bool) (bool, error) {
	switch tier := c.suspending; {
	case c.knocked:
		c.knocked = false
		return true, md.handle(Knocked{ID: id, Outdated: []string{"", "a volume"}[md.rng.IntN(2)]})
	case c.stopped:
		return false, nil
	case tier != "" && !works:
		c.suspending = ""
		return true, md.handle(DescendFailed{ID: id, Tier: tier, Reason: "EBUSY"})
	case tier != "":
		c.suspending, c.frozen = "", true
		return true, md.handle(Descended{ID: id, Tier: tier})
	case c.resuming:
		c.resuming, c.frozen = false, false
		return true, md.handle(Ascended{ID: id})
	case c.watched && c.conns == 0:
		c.watched = false
		return true, md.handle(Emptied{ID: id})
	}
	return false, nil
}

func (md *model) containerStep() error {
	if md.rng.IntN(8) == 0 {
		return md.gateStep()
	}
	id, c := md.container()
	if c == nil {
		return nil
	}
	n := md.rng.IntN(12)
	if n > 1 {
		if done, err := md.tierStep(id, c, n > 3); done {
			return err
		}
	}
	switch {
	case c.making && n < 3:
		return md.fail(id)
	case c.making:
		c.making = false // Start was done; nothing is said unless it was a restore
		if md.rng.IntN(3) == 0 {
			return md.handle(Restored{ID: id})
		}
	case c.stopped || n == 0:
		return md.exit(id)
	case n < 6:
		return md.listen(id)
	case n == 6 && !c.making:
		c.listens[md.rng.IntN(int(ports))] = false
		return md.handle(PortClosed{ID: id})
	case n == 7 && md.m.replicas.byID(id).unproven:
		return md.prove(id)
	case c.conns > 0:
		c.conns, c.last = c.conns-1, md.now
	}
	return nil
}

// prove shows whether what was restored serves. If it does not, somebody else does or will.
func (md *model) prove(id ReplicaID) error {
	if md.rng.IntN(2) == 0 {
		return md.handle(Answered{ID: id})
	}
	before := md.m.Phase()
	r, _ := md.m.Replica(id)
	if err := md.handle(Unresponsive{ID: id, Reason: "it gives no answer"}); err != nil {
		return err
	}
	if md.m.needed(&r) && (r.State == Starting || r.State == Ready) && !md.m.coming() {
		return fmt.Errorf("the site was %s, and nobody serves in the place of %d", before, id)
	}
	if md.m.backoff {
		return fmt.Errorf("visitors are refused because of an image")
	}
	return nil
}

// rest lets everything that is under way come to its end, with no visitor
// coming, starts that work if `work`, and nobody wanting anything. After it
// nobody may be held.
func (md *model) rest(work bool) error {
	for range 2000 {
		for md.unread[0]+md.unread[1] > 0 {
			if err := md.read(); err != nil {
				return err
			}
		}
		id, c := md.container()
		var err error
		if c != nil {
			var done bool
			if done, err = md.tierStep(id, c, work); err != nil {
				return err
			}
			if done {
				continue
			}
		}
		switch {
		case c != nil && c.stopped:
			err = md.exit(id)
		case c != nil && c.making && !work:
			err = md.fail(id)
		case c != nil && c.making:
			c.making = false
			err = md.listen(id) // on one port of the two
		default:
			if c != nil {
				c.conns = 0
			}
			if md.pending() {
				continue // of another container
			}
			if len(md.timers) == 0 {
				return md.atRest(work)
			}
			err = md.fire()
		}
		if err != nil {
			return err
		}
	}
	return md.atRest(work) // scale.min that fails never comes to rest, but holds nobody
}

// pending says whether a container owes the machine an answer.
func (md *model) pending() bool {
	for _, c := range md.containers {
		if c.making || c.stopped || c.suspending != "" || c.resuming || c.knocked {
			return true
		}
	}
	return false
}

// mayFailForEver: a ladder that ends on a tier which cannot be reached is tried
// again and again.
func (md *model) mayFailForEver() bool {
	return !md.policy.allows(detect.TierCold) && !md.policy.allows(detect.TierPrepared)
}

func (md *model) atRest(work bool) error {
	if md.held[0]+md.held[1] > 0 {
		return fmt.Errorf("%v visitors are held for ever", md.held)
	}
	if !md.deleted && md.policy.Min == 0 && len(md.policy.Ladder) > 0 && md.m.Phase() != Parked && md.policy.Lifetime == 0 && (work || !md.mayFailForEver()) {
		return fmt.Errorf("nobody comes any more, and the site is %s", md.m.Phase())
	}
	return nil
}

// live goes through one life and returns what was broken.
func live(seed uint64) (*model, error) {
	md := newModel(seed)
	if md.policy.Min > 0 {
		if err := md.handle(WakeAsked{Reason: "scale.min"}); err != nil {
			return md, err
		}
	}
	for range 1 + md.rng.IntN(120) {
		if err := md.step(); err != nil {
			return md, err
		}
	}
	return md, md.rest(md.rng.IntN(2) == 0)
}

func TestRandomLives(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(*modelRuns) {
		md, err := live(seed)
		if err != nil {
			t.Fatalf("life %d: %v\n%s", seed, err, strings.Join(md.log[max(0, len(md.log)-25):], "\n"))
		}
		for _, line := range md.log {
			_, st, _ := strings.Cut(line, "=> ")
			phase, _, _ := strings.Cut(st, " ")
			seen[phase] = true
		}
	}
	for _, p := range []Phase{Parked, Waking, Running, Parking, Backoff} {
		if !seen[string(p)] {
			t.Errorf("no life came by phase %s: the model tests too little", p)
		}
	}
}
