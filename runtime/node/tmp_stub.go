package node

import (
	"context"
	"iter"

	"github.com/fcnode/fcnode/runtime/api"
)

func (n *Node) Logs(ctx context.Context, name string, opts api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {}
}
