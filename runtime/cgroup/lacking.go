package cgroup

import (
	"errors"
	"fmt"
)

// ErrNoController means that this machine's cgroup v2 lacks the controller
// that would be needed. The error's text says why, and what can be done.
var ErrNoController = errors.New("cgroup v2 lacks the controller here")

// ControllerError is an ErrNoController with the reason.
type ControllerError struct{ Lack Lack }

func (e *ControllerError) Error() string { return e.Lack.String() }

func (e *ControllerError) Unwrap() error { return ErrNoController }

// need is nil when replicas have the controller, else a *ControllerError.
func (p *Parent) need(controller string) error {
	if p.Has(controller) {
		return nil
	}
	h, err := detect(p.mount, "/proc/cgroups")
	if err != nil {
		return fmt.Errorf("look for the %s controller: %w", controller, err)
	}
	for _, l := range h.Lacks {
		if l.Controller == controller {
			return &ControllerError{Lack: l}
		}
	}
	// The hierarchy has it, but not the replicas' parent.
	l := Lack{Controller: controller, Limits: controller, Why: fmt.Sprintf("cgroup v2 does not hand the %s controller down to %s", controller, p.group)}
	for _, w := range wanted {
		if w.name == controller {
			l.Limits = w.limits
		}
	}
	l.Remedy = "see cgroup.subtree_control there; a real-time process in the cgroup or a cgroup v1 mount may hold it"
	return &ControllerError{Lack: l}
}
