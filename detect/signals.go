package detect

import (
	"time"

	"github.com/fcnode/fcnode/detect/change"
)

// Signals are what is known of a site at one moment. What is not known stays zero, and
// decides nothing.
type Signals struct {
	// Conns are the connections now of each replica that serves.
	Conns []uint64
	// Arrivals are the new connections a second, over a short time (a look).
	Arrivals float64
	// Alarm are the kernel's CUSUM alarms that last; 0: the load is as usual.
	Alarm change.Alarm
	// AcceptQueue is the deepest accept queue of a replica, AcceptMax its backlog.
	AcceptQueue, AcceptMax uint32
	Latency                Latency

	// Of the replica that is worst off. Limits hold for each replica.
	CPU    Resource // cores
	Memory Resource // bytes, without file pages not used lately: they can go at any time
	Pids   Resource // tasks
	// IO are the rates of disks that are limited, in the order that Decision.Part tells.
	IO []Resource

	Replicas Replicas
}

// Latency is the time to the first byte of answers since the last look.
type Latency struct {
	P50, P99 time.Duration
	Samples  uint64 // 0: not known
}

// Resource is what a replica uses of one resource, and what it may use.
type Resource struct {
	Limit Limit
	Used  float64
	// Stall is the share of the last seconds in which some task waited for it (PSI), 0 to 1.
	Stall float64
	// Hits say since the last look that the limit was met: for CPU the share of the time's periods
	// that were throttled (0 to 1), for memory the new events "high", "max" and "oom", for
	// pids the refused forks.
	Hits float64
	// Name is what a rate of a disk is called in reasons.
	Name string
}

// Limit is one limit of a replica, now and where it may go. Max 0: it is not known
// (no controller), or does not exist.
type Limit struct {
	Now, Min, Max float64
	Step          float64 // factor of one raise; 0: 2
	// Budget, if not 0, is what the node can give at the moment, see FairShare.
	Budget float64
}

// Replicas of a site.
type Replicas struct {
	Now      int // those that serve, and those on their way
	Starting int // of these: those on their way
	Min, Max int // Max 0: 1
	// Spare are those that sleep, or stand prepared: they are sooner there than a new one.
	Spare int
}

// Kind is what to do.
type Kind string

// The kinds of a decision.
const (
	None Kind = "none"
	Up   Kind = "up"   // raise a limit of the running replicas
	Down Kind = "down" // lower it
	Out  Kind = "out"  // more replicas
	In   Kind = "in"   // fewer
)

// ResourceName is what Up and Down change.
type ResourceName string

// The resources of limits.
const (
	CPU    ResourceName = "cpu"
	Memory ResourceName = "memory"
	Pids   ResourceName = "pids"
	IO     ResourceName = "io"
)

// Decision is what to do about a site and why.
type Decision struct {
	Kind     Kind
	Resource ResourceName // Up, Down
	Part     int          // Up, Down of IO: which of Signals.IO
	From, To float64      // Up, Down: the limit of each replica
	Replicas int          // Out, In: how many there shall be
	Reason   string       // for people: "61 connections a replica > 50"
	Evidence []Evidence
	// Again is after what time to decide again though no trigger comes; 0: at the next look.
	Again time.Duration
}

// Evidence is a figure that a decision rests on, and what it was held against.
type Evidence struct {
	Name         string
	Value, Limit float64
}
