package inside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
)

// Connect implements api.Backend. A site that sleeps is woken as by a visitor.
func (b Replicas) Connect(ctx context.Context, name string, req api.ForwardRequest) (api.Connection, error) {
	e, err := b.byName(name)
	if err != nil {
		return api.Connection{}, err
	}
	r, err := e.Running(ctx, req.Replica)
	sleeps := errors.Is(err, life.ErrNoReplica) || err == nil && !life.Runs(e, r)
	switch {
	case sleeps && req.Asleep:
		return api.Connection{}, &api.Error{Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q sleeps", name), Hint: "without --no-wake a connection wakes it"}
	case errors.Is(err, life.ErrNoReplica) && req.Replica == "":
		if _, err := b.wake(ctx, name); err != nil {
			return api.Connection{}, err
		}
	}
	r, done, err := b.session(ctx, e, req.Replica)
	if err != nil {
		return api.Connection{}, err
	}
	c, err := connect(ctx, e, r, req)
	if err != nil {
		done()
		return c, err
	}
	c.Done = done
	to := strconv.Itoa(int(req.Port))
	if req.Address.IsValid() {
		to = netip.AddrPortFrom(req.Address, req.Port).String()
	}
	b.host.Tell(event.Event{
		Site: name, Replica: r.Name, Kind: event.Forwarded, Reason: "to port " + to,
		Fields: map[string]any{"to": to, "uid": api.PeerUID(ctx)},
	})
	return c, nil
}

func connect(ctx context.Context, e *life.Site, r *life.Replica, req api.ForwardRequest) (out api.Connection, err error) {
	conn, err := life.Connect(ctx, e, r, req.Address, req.Port)
	if err != nil {
		return out, &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("replica %s of site %q: %v", r.Name, e.Name, err),
			Hint: "fcnode exec " + e.Name + " -- ss -ltn shows who listens there, if the image has it",
		}
	}
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return out, fmt.Errorf("a connection of type %T", conn)
	}
	file, err := tcp.File()
	if err != nil {
		return out, fmt.Errorf("pass the connection on: %w", err)
	}
	return api.Connection{Socket: file, Replica: r.Name, Ended: r.Ctr.Exited()}, nil
}
