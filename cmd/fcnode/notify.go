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

// watchdog is within which time the supervisor wants to hear that the daemon lives; 0: it does not.
func (n notifier) watchdog() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("could not find out what the supervisor's watchdog wants", "error", err)
	}
	return interval
}

// feed feeds the watchdog until ctx ends, as long as nothing is stalled. Once something is, the watchdog ends the
// daemon, and the next one adopts its sites.
func (n notifier) feed(ctx context.Context, interval time.Duration, stalled func(limit time.Duration) string) {
	tick := time.NewTicker(interval / 4)
	defer tick.Stop()
	for ctx.Err() == nil {
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
