package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/check"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/node"
)

// env is everything that a command has from outside.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	// columns is the width of the terminal that stdout is, if it is one.
	columns func() (int, bool)
	// interactive says that somebody sits at stdin, who can be asked.
	interactive func() bool
	machine     check.Machine
	node        nodeFunc
	remove      teardownFunc
	take        importFunc

	socket string // from --socket
	parsed bool   // the command line was understood; errors are not about its use
}

// nodeFunc runs a node until the context ends. It calls ready once, when the
// node serves its sites and its API.
type nodeFunc func(ctx context.Context, cfg config.Config, log *slog.Logger, ready node.Ready) error

// teardownFunc takes away what a node has left running, with purge also its
// state.
type teardownFunc func(ctx context.Context, cfg config.Config, log *slog.Logger, purge bool) error

// importFunc has a node begin with a state that another one, or the same, has
// exported.
type importFunc func(ctx context.Context, cfg config.Config, name string, text []byte, replace bool) (sites int, err error)

// socketPath is the socket which the user asked for, or "" for none.
func (e *env) socketPath() string {
	if e.socket != "" {
		return e.socket
	}
	return e.getenv("FCNODE_SOCKET")
}

// client talks to the daemon.
func (e *env) client() *api.Client {
	path := e.socketPath()
	if path == "" {
		path = api.DefaultSocket
	}
	return api.NewClient(path)
}

// defaultColumns is the width of output that goes to no terminal.
const defaultColumns = 80

func (e *env) width() int {
	if n, ok := e.columns(); ok {
		return n
	}
	return defaultColumns
}
