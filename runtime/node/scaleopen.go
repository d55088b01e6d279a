package node

import (
	"runtime"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/priority"
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
	for _, d := range n.cfg.Budget.IO {
		if err := n.budget.addDisk(d); err != nil { // it may be mounted later; sites are not to wait for it
			n.log.Error("a disk has no budget: sites may have of it what their specs allow", "error", err)
		}
	}
	if n.watcher, err = cgroup.NewWatcher(n.threads.Promote); err != nil {
		return err
	}
	n.closers = append(n.closers, n.watcher.Close)
	n.looks = newLooks()
	if n.looks.told, err = priority.NewSem(0); err != nil {
		return err
	}
	n.closers = append(n.closers, n.looks.told.Close) // after those who may tell
	return nil
}
