package container

import (
	"context"
	"net"
	"time"
)

// boundRead makes reads of conn fail when ctx ends. Call stop after reading.
func boundRead(ctx context.Context, conn *net.UnixConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
}

// orCause gives the reason why ctx ended, if it has, instead of err.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
