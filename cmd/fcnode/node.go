package main

import (
	"context"
	"log/slog"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/node"
)

// runNode is the node that `fcnode run` runs. On a machine whose cgroup
// controllers belong to version 1 the program executes itself anew in a mount
// namespace of its own on the way.
func runNode(ctx context.Context, cfg config.Config, log *slog.Logger, ready node.Ready) error {
	if err := node.PrepareHost(cfg); err != nil {
		return err
	}
	if err := cgroup.EnterPrivate(); err != nil {
		return err
	}
	return node.Run(ctx, cfg, log, version, ready)
}

// teardownNode takes away what a daemon has left running.
func teardownNode(ctx context.Context, cfg config.Config, log *slog.Logger, purge bool) error {
	if err := node.PrepareHost(cfg); err != nil {
		return err
	}
	if err := cgroup.EnterPrivate(); err != nil {
		return err
	}
	return node.Teardown(ctx, cfg, log, purge)
}
