package node

import (
	"context"
	"fmt"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
)

// Circulate implements api.Backend. What sleeps of the site is thrown away: its
// next visitor is to find a fresh replica, too.
func (n *Node) Circulate(_ context.Context, name string) (api.Site, error) {
	e, err := n.byName(name)
	if err != nil {
		return api.Site{}, err
	}
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return api.Site{}, notFound(name)
	}
	n.dropSleep(e, "circulated")
	asleep := e.active == nil
	if !asleep {
		n.handle(e, site.CirculateAsked{Reason: "asked for by a user"})
	}
	e.mu.Unlock()
	v := n.view(e)
	if asleep {
		return v, &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q has nothing to replace: it is parked", name),
			Hint: "its next visitor gets a fresh replica; fcnode wake " + name + " starts one now",
		}
	}
	return v, nil
}
