package node

import (
	"context"
	"errors"

	"github.com/fcnode/fcnode/runtime/spec"
)

// errNotWarm means that the replica has not answered often enough to be worth an
// image: what the application loads with its first answers would be missing.
var errNotWarm = errors.New("not warm yet")

func (n *Node) canCheckpoint() error { return errors.New("this version makes no checkpoints") }

func (n *Node) checkpoint(context.Context, *entry, *replica, *spec.Site) error {
	return n.canCheckpoint()
}

func (n *Node) dropSleep(*entry, string) {}
