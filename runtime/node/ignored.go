package node

import (
	"context"
	"errors"
	"net"

	"github.com/fcnode/fcnode/runtime/answer"
	"github.com/fcnode/fcnode/runtime/sites"
)

// answerIgnored answers ignored sources for sites that sleep, until the context ends.
// Without it they are refused, which is no reason not to serve.
func (n *Node) answerIgnored(ctx context.Context) {
	if self := sites.IgnoredSelf(n.Cfg.Ignore, net.InterfaceAddrs); self != "" {
		n.Log.Warn(self)
	}
	ns, listeners, err := n.net.SinkListeners(ctx)
	if err != nil {
		n.Log.Error("ignored sources are refused, whatever specs say", "error", err)
		return
	}
	link, err := n.dp.AttachAnswer(ns, listeners...)
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		n.Log.Error("ignored sources are refused, whatever specs say", "error", err)
		return
	}
	n.closers = append(n.closers, link.Close)
	a := answer.Answerer{Find: n.status.AnswerIgnored, Log: n.Log, Guard: func(f func()) { n.Guard(nil, f) }}
	n.Work.Go(func() { a.Serve(ctx, listeners...) })
}
