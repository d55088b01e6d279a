package runner

import (
	"fmt"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
)

// classify turns libcontainer's error into one that says what is wrong with the
// site. libcontainer reports what happened in the container's init as text.
func classify(req wire.StartRequest, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "no space left on device"):
		return fail(wire.KindNoSpace, "starting container %s: %w", req.ID, err)
	case strings.Contains(text, "exec: "):
		return fail(wire.KindExec, "there is no executable file %s in the image of container %s: %w", req.Args[0], req.ID, err)
	case strings.Contains(text, "chdir to cwd"):
		return fail(wire.KindExec, "the working folder %s of container %s: %w", req.Cwd, req.ID, err)
	}
	return fmt.Errorf("starting container %s: %w", req.ID, err)
}
