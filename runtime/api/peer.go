package api

import (
	"context"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// withPeer keeps a connection's peer credentials, for its role and for the log of its calls.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var p *peer
	ctlErr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		p = &peer{Ucred: *cred}
		p.groups, _ = peerGroups(int(fd)) // without them he has the roles of his own group
	})
	if ctlErr != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// PeerUID is the user at the other end of a call's connection; -1: not known.
func PeerUID(ctx context.Context) int {
	cred := peerOf(ctx)
	if cred == nil {
		return -1
	}
	return int(cred.Uid)
}

// peerAttr is the group "peer" of a log record.
func peerAttr(ctx context.Context) slog.Attr {
	cred := peerOf(ctx)
	if cred == nil {
		return slog.String("peer", "unknown")
	}
	return slog.Group("peer", "uid", cred.Uid, "gid", cred.Gid, "pid", cred.Pid)
}
