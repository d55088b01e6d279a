package netctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// What the daemon that is to be killed is told by.
const (
	envDaemonRunDir = "FCNODE_NETCTL_TEST_RUNDIR"
	envDaemonPins   = "FCNODE_NETCTL_TEST_PINS"
	envDaemonMount  = "FCNODE_NETCTL_TEST_MOUNTNS" // 1: descriptor 3 is the outer mount namespace
	daemonReady     = "network is ready"
)

func isDaemon() bool { return os.Getenv(envDaemonRunDir) != "" }

// runDaemon sets the network up, says so and waits to be killed.
func runDaemon() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dp, err := bpf.Open(bpf.Options{PinDir: os.Getenv(envDaemonPins)})
	if err != nil {
		fail(err)
	}
	cfg := Config{Device: "fc0", Prefixes: testPrefixes, Uplinks: []string{"up0"}, RunDir: os.Getenv(envDaemonRunDir), Pool: 2}
	if os.Getenv(envDaemonMount) == "1" {
		cfg.MountNS = os.NewFile(3, "outer mount namespace")
	}
	n, err := Setup(context.Background(), cfg, dp, slog.New(slog.DiscardHandler))
	if err != nil {
		fail(err)
	}
	if _, err := n.Pool().Get(context.Background()); err != nil { // one is taken, others are ready
		fail(err)
	}
	fmt.Println(daemonReady)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestRootDaemonIsKilled(t *testing.T) {
	testutil.Privileged(t)
	for name, tc := range map[string]struct {
		private, outer bool
		survives       bool
	}{
		"in the machine's mount namespace":                   {survives: true},
		"in a private one, with the outer one to pin in":     {private: true, outer: true, survives: true},
		"in a private one, and knows no other: sink is gone": {private: true},
	} {
		t.Run(name, func(t *testing.T) {
			node, client := uplinked(t)
			client.Run(t, "ip", "route", "add", "10.77.0.0/16", "via", "192.0.2.1")
			cfg := testConfig(t)
			cfg.Uplinks = []string{"up0"}
			before := machine(t, node, cfg, true)
			pins := filepath.Join("/sys/fs/bpf", testutil.Unique(t))
			dp := openDatapathAt(t, pins)

			kill := startDaemon(t, node, cfg, pins, tc.private, tc.outer)
			sink, err := findLink(node.Netlink(), cfg.sinkName())
			if err != nil || sink == nil {
				t.Fatalf("the daemon's sink: %v, %v", sink, err)
			}
			wantRefused(t, client)
			kill()

			testutil.WaitFor(t, gone, "what was prepared to vanish", func() error { return noReplicas(node) })
			if tc.survives {
				wantRefused(t, client)
			} else {
				testutil.WaitFor(t, gone, "the end of the sink", func() error {
					if l, err := findLink(node.Netlink(), cfg.sinkName()); l != nil || err != nil {
						return fmt.Errorf("still there (%w)", err)
					}
					return nil
				})
				if _, err := dial(t, client, "tcp", netip.AddrPortFrom(strangers[0], 80), 500*time.Millisecond); !isTimeout(err) {
					t.Errorf("without a sink: %v, want silence", err)
				}
			}

			n := setup(t, node, cfg, dp)
			if adopted := n.SinkIfindex() == sink.Attrs().Index; adopted != tc.survives {
				t.Errorf("the sink was adopted: %v, want %v", adopted, tc.survives)
			}
			wantRefused(t, client)
			remove(t, n)
			wantSame(t, "Remove", before, machine(t, node, cfg, true))
		})
	}
}

func wantRefused(t testing.TB, from place) {
	t.Helper()
	if _, err := dial(t, from, "tcp", netip.AddrPortFrom(strangers[0], 80), limit); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dialing a VIP that nobody has: %v, want a refusal", err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// startDaemon returns when the daemon is ready, with how to kill it.
func startDaemon(t testing.TB, node *testutil.NS, cfg Config, pins string, private, outer bool) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envDaemonRunDir+"="+cfg.RunDir, envDaemonPins+"="+pins)
	cmd.Stderr = os.Stderr
	if private {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // makes all mounts private, too
	}
	if outer {
		mnt, err := os.Open("/proc/self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		defer mnt.Close()
		cmd.ExtraFiles = []*os.File{mnt}
		cmd.Env = append(cmd.Env, envDaemonMount+"=1")
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	node.Start(t, cmd)
	kill = func() {
		if cmd.ProcessState != nil {
			return
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		stdin.Close()
	}
	t.Cleanup(kill)
	testutil.WaitLine(t, limit, bufio.NewReader(stdout), daemonReady)
	return kill
}
