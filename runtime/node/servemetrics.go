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
	n.Work.Go(func() {
		if err := server.ServeMetrics(ctx, listener); err != nil {
			n.Log.Error("nobody gets the metrics any more but on the socket", "error", err)
		}
	})
	return nil
}
