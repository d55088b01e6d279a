package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/runtime/api"
)

// errAsleep means that the site went to sleep instead of becoming what was
// waited for.
var errAsleep = errors.New("the site is parked")

// wait returns when the site is as asked for, or sleeps.
func (n *Node) wait(ctx context.Context, e *entry, is func(*active) bool) error {
	for {
		e.mu.Lock()
		a := e.active
		if is(a) {
			e.mu.Unlock()
			return nil
		}
		if a == nil {
			e.mu.Unlock()
			return errAsleep
		}
		changed := a.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return fmt.Errorf("%w: %w", api.ErrUnavailable, errStopping)
		}
	}
}
