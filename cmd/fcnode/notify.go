package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the supervisor (systemd, or whoever set NOTIFY_SOCKET) how the
// daemon is doing. Without one it does nothing.
type notifier struct {
	log *slog.Logger
}

// ready says that the node serves; status is shown by `systemctl status`.
func (n notifier) ready(status string) {
	n.send(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// watch feeds the supervisor's watchdog until ctx ends, if it has one, as long as nothing is stalled. Once something is, the
// watchdog ends the daemon, and the next one adopts its sites.
func (n notifier) watch(ctx context.Context, stalled func(limit time.Duration) string) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 4)
	defer tick.Stop()
	for {
		if what := stalled(interval / 2); what == "" {
			n.send(daemon.SdNotifyWatchdog)
		} else {
			n.log.Error("the supervisor's watchdog is not fed: something hangs", "what", what)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stopping says that the end is on purpose.
func (n notifier) stopping() { n.send(daemon.SdNotifyStopping) }

func (n notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("could not tell the supervisor about the daemon's state", "error", err)
	}
}
