package main

import (
	"log/slog"

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

// stopping says that the end is on purpose.
func (n notifier) stopping() { n.send(daemon.SdNotifyStopping) }

func (n notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("could not tell the supervisor about the daemon's state", "error", err)
	}
}
