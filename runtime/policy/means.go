package policy

import (
	"context"
	"errors"
	"sync"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Means is what the node can do of tiers.
type Means struct {
	Prepared  int // replicas that may wait at their gates
	Reclaim   config.Reclaim
	HasMemory bool // the memory controller of cgroup v2
	Memory    Memory
	CRIU      *CRIU
}

// Can says why this node cannot do a tier.
func (m *Means) Can(t detect.Tier) error {
	switch {
	case t == detect.TierReclaimed:
		return m.canReclaim()
	case t == detect.TierCheckpointed:
		return m.CRIU.Err()
	case t == detect.TierPrepared && m.Prepared == 0:
		return errors.New("the configuration allows none (prepared.max)")
	}
	return nil
}

func (m *Means) canReclaim() error {
	if !m.HasMemory {
		return errors.New("this machine has no memory controller of cgroup v2")
	}
	now, err := m.Memory.Read()
	if err != nil {
		return err
	}
	if now.swap.Size == 0 && !m.Reclaim.WithoutSwap {
		return errors.New(now.swap.String())
	}
	return nil
}

// Pressure on the node's memory: 1 is none.
func (m *Means) Pressure() float64 {
	now, err := m.Memory.Read()
	if err != nil {
		return 1
	}
	return now.pressure(m.Reclaim.Below.Share())
}

// Spares is how many replicas are to be kept ready for scaling out.
func (m *Means) Spares(s *spec.Site) int {
	if NoSpare(s, m.Can) != "" {
		return 0
	}
	return s.Scale.Spare.Count
}

// CRIU is whether this machine can make checkpoints. Until that is known, it is
// taken for granted: a site that would go cold for want of it would be lost to its tier until
// its next visitor, and who makes a checkpoint can wait.
type CRIU struct {
	known chan struct{} // closed when err is valid

	mu  sync.Mutex
	err error
}

// NewCRIU is one of which nothing is known yet.
func NewCRIU() *CRIU { return &CRIU{known: make(chan struct{})} }

// Err says why the machine cannot make checkpoints, as far as known.
func (c *CRIU) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Found ends the waiting; it is called once.
func (c *CRIU) Found(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.known)
}

// Wait waits until it is known.
func (c *CRIU) Wait(ctx context.Context) error {
	select {
	case <-c.known:
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
