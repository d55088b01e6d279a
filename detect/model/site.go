package model

import (
	"container/heap"
	"iter"
	"math/rand/v2"
	"time"
)

// Config is a site and what it is given.
type Config struct {
	// Work is the CPU time of a request on average (exponentially distributed), of
	// which one request uses at most one core at a time.
	Work time.Duration
	// Stay is for how long a connection stays besides, without using the CPU.
	Stay time.Duration
	// CPU are the cores of a replica at first.
	CPU float64
	// Start is how long a new replica takes until it serves, Replicas how many there are
	// at first.
	Start    time.Duration
	Replicas int
	// Write is how long a changed limit takes.
	Write time.Duration
	// Objective is the latency that Outcome.Over counts against.
	Objective time.Duration
	// Change is when the load changes: Outcome tells delays from there.
	Change time.Duration
	Seed   uint64
}

// Tick is how often rules are asked besides arrivals.
const Tick = 100 * time.Millisecond

// Rule decides for the site.
type Rule interface {
	// Arrival is called at each new connection, Tick every 100 ms.
	Arrival(at time.Duration, v *View) Wish
	Tick(at time.Duration, v *View) Wish
}

// Wish is what a rule wants there to be. Zero fields want nothing changed.
type Wish struct {
	Replicas int
	CPU      float64
}

// View is what there is to see.
type View struct {
	Conns    []int // of each replica that serves
	Starting int
	CPU      float64 // limit of each replica
	// Since the last tick: connections in flight on average, cores used of the busiest
	// replica on average, and whether its limit was used up (1) or not (0): a tick is
	// as long as a period of cpu.max.
	Mean, Used, Throttled float64
	Arrived               uint64 // since the start
	// Answers are the latencies since the last tick.
	Answers []time.Duration
}

// Total connections in flight.
func (v *View) Total() (n int) {
	for _, c := range v.Conns {
		n += c
	}
	return n
}

// job is a connection. It leaves its replica's CPU when that has done so much work.
type job struct {
	came   time.Duration
	doneAt float64 // in the replica's virtual time
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].doneAt < j[b].doneAt }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	old := *j
	x := old[len(old)-1]
	*j = old[:len(old)-1]
	return x
}

// leaving are connections that only stay, by when they go.
type leaving []time.Duration

func (l leaving) Len() int           { return len(l) }
func (l leaving) Less(a, b int) bool { return l[a] < l[b] }
func (l leaving) Swap(a, b int)      { l[a], l[b] = l[b], l[a] }
func (l *leaving) Push(x any)        { *l = append(*l, x.(time.Duration)) }
func (l *leaving) Pop() any {
	old := *l
	x := old[len(old)-1]
	*l = old[:len(old)-1]
	return x
}

// replica shares its CPU equally among its jobs; done is the work that each job that
// was always there has got.
type replica struct {
	ready    time.Duration
	draining bool
	jobs     jobs
	stays    leaving
	done     float64
	at       time.Duration

	used float64 // core seconds since the last tick
}

func (r *replica) conns() int { return len(r.jobs) + len(r.stays) }

// speed is what each job gets.
func (r *replica) speed(cpu float64) float64 {
	if len(r.jobs) == 0 {
		return 0
	}
	return min(1, cpu/float64(len(r.jobs)))
}

// Outcome is what a rule made of the load, since the change.
type Outcome struct {
	Requests int
	Over     float64 // share that took longer than the objective
	P50, P99 time.Duration
	// Decided is the first time that more was asked for, Served the first that more served
	// than at the change; or -1.
	Decided, Served time.Duration
	Actions         int
	Replicas        float64 // on average
	Cores           float64 // limits of all replicas, on average
	Most, Last      int     // replicas
	LastCPU         float64
}

// site is the model under way.
type site struct {
	Config
	rule      Rule
	rnd       *rand.Rand
	replicas  []*replica
	cpu       float64
	cpuNext   float64
	cpuAt     time.Duration
	view      View
	mean      float64
	latencies []time.Duration
	out       Outcome
	now       time.Duration
	wanted    int
	before    float64 // cores that served at the change
}

// Run plays a schedule to its end.
func Run(c Config, rule Rule, schedule iter.Seq[time.Duration]) Outcome {
	s := &site{Config: c, rule: rule, rnd: rand.New(rand.NewPCG(c.Seed, 7)), cpu: c.CPU, cpuNext: c.CPU, wanted: max(1, c.Replicas)}
	s.out.Decided, s.out.Served = -1, -1
	for range s.wanted {
		s.replicas = append(s.replicas, &replica{})
	}
	next := Tick
	for at := range schedule {
		for next <= at {
			s.advance(next)
			s.tick(next)
			next += Tick
		}
		s.advance(at)
		s.arrive(at)
	}
	for n := 0; s.busy() && n < 100_000; n++ {
		s.advance(next)
		s.tick(next)
		next += Tick
	}
	return s.outcome()
}

func (s *site) busy() bool {
	for _, r := range s.replicas {
		if len(r.jobs) > 0 {
			return true
		}
	}
	return false
}

// advance plays until a moment: answers leave, replicas become ready, limits change.
func (s *site) advance(until time.Duration) {
	if s.cpuNext != s.cpu && s.cpuAt <= until {
		at := max(s.now, s.cpuAt)
		s.run(at)
		s.cpu = s.cpuNext
	}
	s.run(until)
}

func (s *site) run(until time.Duration) {
	dt := max(0, until-max(s.now, s.Change)).Seconds()
	for _, r := range s.replicas {
		s.serve(r, until)
		if r.ready <= until {
			s.out.Replicas += dt
			s.out.Cores += dt * s.cpu
		}
	}
	s.now = max(s.now, until)
	kept := s.replicas[:0]
	for _, r := range s.replicas {
		if !r.draining || r.conns() > 0 {
			kept = append(kept, r)
		}
	}
	s.replicas = kept
	switch capacity := s.cpu * float64(s.serving()); {
	case s.now <= s.Change:
		s.before = capacity
	case s.out.Served < 0 && s.out.Decided >= 0 && capacity > s.before:
		s.out.Served = s.now - s.Change
	}
}

func (s *site) serving() (n int) {
	for _, r := range s.replicas {
		if r.ready <= s.now && !r.draining {
			n++
		}
	}
	return n
}

// serve lets one replica work until a moment.
func (s *site) serve(r *replica, until time.Duration) {
	for r.at < until {
		step := until - r.at
		speed := r.speed(s.cpu)
		finish := false
		if speed > 0 {
			if need := time.Duration((r.jobs[0].doneAt-r.done)/speed*1e9) + 1; need <= step {
				step, finish = need, true
			}
		}
		sec := step.Seconds()
		s.mean += float64(r.conns()) * sec
		r.used += speed * float64(len(r.jobs)) * sec
		r.done += speed * sec
		r.at += step
		for len(r.stays) > 0 && r.stays[0] <= r.at {
			heap.Pop(&r.stays)
		}
		if finish {
			s.answer(r)
		}
	}
}

func (s *site) answer(r *replica) {
	j := heap.Pop(&r.jobs).(job)
	r.done = max(r.done, j.doneAt)
	took := r.at - j.came
	if j.came >= s.Change {
		s.latencies = append(s.latencies, took)
	}
	s.view.Answers = append(s.view.Answers, took)
	if s.Stay > 0 {
		heap.Push(&r.stays, r.at+time.Duration(s.rnd.ExpFloat64()*float64(s.Stay)))
	}
}

// arrive steers a new connection to the less loaded of two replicas drawn at random.
func (s *site) arrive(at time.Duration) {
	var ready []*replica
	for _, r := range s.replicas {
		if r.ready <= at && !r.draining {
			ready = append(ready, r)
		}
	}
	a, b := ready[s.rnd.IntN(len(ready))], ready[s.rnd.IntN(len(ready))]
	if b.conns() < a.conns() {
		a = b
	}
	heap.Push(&a.jobs, job{came: at, doneAt: a.done + s.rnd.ExpFloat64()*s.Work.Seconds()})
	s.view.Arrived++
	s.look()
	s.apply(at, s.rule.Arrival(at, &s.view))
}

// look brings the view up to date.
func (s *site) look() {
	v := &s.view
	v.Conns, v.Starting, v.CPU = v.Conns[:0], 0, s.cpu
	for _, r := range s.replicas {
		switch {
		case r.draining:
		case r.ready > s.now:
			v.Starting++
		default:
			v.Conns = append(v.Conns, r.conns())
		}
	}
}

func (s *site) tick(at time.Duration) {
	s.look()
	v := &s.view
	v.Mean, v.Used, v.Throttled = s.mean/Tick.Seconds(), 0, 0
	for _, r := range s.replicas {
		v.Used = max(v.Used, r.used/Tick.Seconds())
		if r.used >= 0.999*s.cpu*Tick.Seconds() {
			v.Throttled = 1
		}
		r.used = 0
	}
	s.mean = 0
	wish := s.rule.Tick(at, v)
	v.Answers = v.Answers[:0]
	s.apply(at, wish)
}

// apply starts what is wanted.
func (s *site) apply(at time.Duration, w Wish) {
	if w.CPU > 0 && w.CPU != s.cpuNext {
		s.decided(at, w.CPU > s.cpuNext)
		s.cpuNext, s.cpuAt = w.CPU, at+s.Write
	}
	if w.Replicas <= 0 || w.Replicas == s.wanted {
		return
	}
	s.decided(at, w.Replicas > s.wanted)
	for ; s.wanted < w.Replicas; s.wanted++ {
		s.replicas = append(s.replicas, &replica{ready: at + s.Start, at: at})
	}
	for i := len(s.replicas) - 1; i > 0 && s.wanted > w.Replicas; i-- {
		if r := s.replicas[i]; !r.draining {
			r.draining = true
			s.wanted--
		}
	}
	s.out.Most = max(s.out.Most, s.wanted)
}

func (s *site) decided(at time.Duration, more bool) {
	if at >= s.Change {
		s.out.Actions++
	}
	if more && s.out.Decided < 0 && at >= s.Change {
		s.out.Decided = at - s.Change
	}
}
