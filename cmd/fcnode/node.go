package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/fcnode/fcnode/runtime/config"
)

// runNode is the node that `fcnode run` runs.
func runNode(context.Context, config.Config, *slog.Logger, func(status string)) error {
	return errors.New("this build of fcnode has no node in it")
}
