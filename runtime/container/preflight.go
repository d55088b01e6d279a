package container

import (
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/criu"
)

// Preflight says what of a running container cannot be checkpointed. That it finds nothing is
// no promise.
func (c *Container) Preflight() ([]criu.Finding, error) {
	pids, err := c.group.Procs()
	if err != nil {
		return nil, err
	}
	makers := c.makers(pids) // a checkpoint waits for their end
	pids = slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(makers, pid) })
	findings, err := criu.Preflight(pids)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name(), err)
	}
	if err := c.refuse(pids); err != nil {
		findings = append(findings, criu.Finding{Process: c.Name(), What: err.Error(), Remedy: "see docs/checkpoints.md"})
	}
	return findings, nil
}
