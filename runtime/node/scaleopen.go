package node

import (
	"runtime"

	"github.com/fcnode/fcnode/runtime/cgroup"
)

// openScaling makes what the scaling of sites stands on.
func (n *Node) openScaling() (err error) {
	cpu, memory := float64(n.cfg.Budget.CPU), float64(n.cfg.Budget.Memory)
	if cpu == 0 {
		cpu = float64(runtime.NumCPU())
	}
	if state, err := n.memory.read(); memory == 0 && err == nil {
		memory = float64(state.total)
	}
	n.budget = newBudget(cpu, memory)
	if n.watcher, err = cgroup.NewWatcher(); err != nil {
		return err
	}
	n.closers = append(n.closers, n.watcher.Close)
	return nil
}
