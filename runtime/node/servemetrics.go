package node

import (
	"context"
	"fmt"
	"net"

	"github.com/fcnode/fcnode/runtime/api"
)

// serveMetrics answers on the address that the configuration has for it.
func (n *Node) serveMetrics(ctx context.Context, server *api.Server) error {
	if n.Cfg.Metrics.Listen == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", n.Cfg.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("listen for those who want the metrics (metrics.listen): %w", err)
	}
	n.Go(func() {
		if err := server.ServeMetrics(ctx, listener); err != nil {
			n.Log.Error("nobody gets the metrics any more but on the socket", "error", err)
		}
	})
	return nil
}

// serveRoutes opens the socket on which gateways follow the routes, and can do nothing else.
func (n *Node) serveRoutes(ctx context.Context, answers api.Backend) error {
	listener, grouped, err := api.Listen(n.Cfg.Routes.Socket, n.Cfg.Routes.Group)
	if err != nil {
		return err
	}
	if !grouped {
		n.Log.Info("the group that may follow the routes does not exist: only root may", "group", n.Cfg.Routes.Group)
	}
	server := api.NewRoutesServer(answers, n.Log)
	n.Go(func() {
		if err := server.Serve(ctx, listener); err != nil {
			n.Log.Error("gateways no longer learn of changes", "error", err)
		}
	})
	return nil
}
