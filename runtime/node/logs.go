package node

import (
	"context"
	"errors"
	"iter"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/logs"
)

// errEnough ends reading when nobody wants more lines.
var errEnough = errors.New("enough lines")

// Logs implements api.Backend.
func (b backend) Logs(ctx context.Context, name string, opts api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		if _, err := b.ByName(name); err != nil {
			yield(api.LogLine{}, err)
			return
		}
		tail := opts.Tail
		if tail < 0 {
			tail = logs.All
		}
		read := logs.ReadOptions{Tail: tail, Since: opts.Since, Replica: opts.Replica, Follow: opts.Follow}
		err := logs.Read(ctx, b.host.LogDir(name), read, func(l logs.Line) error {
			line := api.LogLine{Time: l.Time, Stream: l.Stream, Replica: l.Replica, Text: l.Text, Partial: l.Partial}
			if !yield(line, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(api.LogLine{}, err)
		}
	}
}
