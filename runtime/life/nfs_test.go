package life

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// TestServersAreReached: the kernel is given addresses that answer, and a server that refuses, or that says nothing until a start has no more
// time, is named with its volume.
func TestServersAreReached(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	roots := []string{"nfs://" + at + "/sites"}
	n, err := shareMount(roots, spec.Volume{Source: "nfs://" + at + "/sites/a", Target: "/data", Soft: true})
	if err != nil {
		t.Fatal(err)
	}
	mounts := []container.Mount{{Source: "/srv", Target: "/srv"}, {Source: "nfs://" + at + "/sites/a", Target: "/data", NFS: n}}
	if err := reachServers(t.Context(), mounts, time.Minute); err != nil {
		t.Fatal(err)
	}
	if n.Addr != "127.0.0.1" || n.Client != "127.0.0.1" || n.Root != "/sites" || n.Path != "a" || !n.Soft || n.Within != time.Minute {
		t.Errorf("%+v", n)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reachServers(gone, mounts, time.Minute); err == nil || !strings.Contains(err.Error(), "can start when") {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := reachServers(t.Context(), mounts, time.Minute); !errors.Is(err, unix.ECONNREFUSED) || !strings.Contains(err.Error(), mounts[1].Source) {
		t.Error(err)
	}
	if _, err := shareMount(roots, spec.Volume{Source: "nfs://" + at + "/private"}); !errors.Is(err, spec.ErrNoShare) {
		t.Error(err)
	}
}

// TestServersAreAskedBeforeATurn: who waits for a server that is away takes no other site's turn to start, as he has none yet.
func TestServersAreAskedBeforeATurn(t *testing.T) {
	inWorld(t, "userns: host, volumes: [{source: 'nfs://127.0.0.1:1/a/b', target: /d}]", func(t *testing.T, _ *world, d *daemon, s *Site) {
		d.Cfg.NFSRoots = []string{"nfs://127.0.0.1:1/a"}
		for range 4 { // all that there are
			leave, err := d.Starts.Enter(t.Context(), netip.Prefix{})
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
		}
		d.visit(s)
		pass(time.Second)
		if ev := d.last(t, event.Failed); !strings.Contains(ev.Reason, "can start when") {
			t.Errorf("%+v; %q", ev, d.kinds())
		}
	})
}
