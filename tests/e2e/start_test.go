package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootRefusesToStart: a daemon that cannot do what its configuration says explains it, and leaves nothing half-made.
func TestRootRefusesToStart(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for name, c := range map[string]struct {
		o    options
		make func(n *node)
		says []string
	}{
		"overlapping prefix": {
			make: func(n *node) {
				_, dst, err := net.ParseCIDR("10.77.128.0/17")
				if err == nil {
					err = n.ns.Netlink().RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP("198.51.100.2")})
				}
				if err != nil {
					t.Fatal(err)
				}
				n.machine = n.look()
			},
			says: []string{"10.77.0.0/16", "10.77.128.0/17"},
		},
		"missing uplink": {o: options{more: "uplinks: [no0]", noUplink: true}, says: []string{"no0"}},
		"missing runner": {o: options{more: "runner: /no/such/runner"}, says: []string{"/no/such/runner"}},
		"unknown field":  {o: options{more: "prefixxes: []"}, says: []string{"fcnode.yaml:", "prefixxes"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newMachine(t, c.o)
			if c.make != nil {
				c.make(n)
			}
			var out []byte
			var err error
			n.ns.Do(t, func() { out, err = n.command("run", "--config", n.path("fcnode.yaml")).CombinedOutput() })
			if err == nil {
				t.Error("it ran")
			}
			says(t, "the daemon", string(out), c.says...)
			now := n.look()
			n.same("links", n.machine.links, now.links)
			n.same("routes and rules", n.machine.routes, now.routes)
			n.same("settings", n.machine.sysctls, now.sysctls)
			for what, path := range map[string]string{"pins": n.pins(), "cgroups": filepath.Join("/sys/fs/cgroup", n.id)} {
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s: %s is there (%v)%s", what, path, err, tree(path))
				}
			}
			n.configure(options{}) // one that can be read, for the teardown
		})
	}
}

// TestRootTeardownOfOtherSizes: a daemon whose maps have other sizes than the
// pinned ones does not start, and says that teardown helps, which does.
func TestRootTeardownOfOtherSizes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, attach := range []string{"tcx", "clsact"} {
		t.Run(attach, func(t *testing.T) {
			testutil.Privileged(t)
			testutil.RequireFeature(t, attach)
			n := newNode(t, options{attach: attach})
			s := n.deploy("left")
			n.outside.greet(s.addr4(80))
			n.stop()
			n.configure(options{attach: attach, more: "maxSites: 2048"})
			var out []byte
			var err error
			n.ns.Do(t, func() { out, err = n.command("run", "--config", n.path("fcnode.yaml")).CombinedOutput() })
			if err == nil {
				t.Error("it ran")
			}
			says(t, "the daemon", string(out), "fcnode teardown")
			n.outside.greet(s.addr4(80)) // nothing has changed; the end of the test tears down by this configuration
		})
	}
}

// TestRootTeardownOfRemains: sites whose node has lost its pins, its folder of what runs, or both, are taken away as others are:
// the end of each test looks for what is left.
func TestRootTeardownOfRemains(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, lost := range []string{"pins", "run folder", "both"} {
		t.Run(lost, func(t *testing.T) {
			n := newNode(t, options{})
			awake := n.deploy("awake")
			n.outside.greet(awake.addr4(80))
			n.deploy("frozen", "idle: 1s", "tiers: [frozen]").sleepOn("frozen")
			n.kill()
			if lost != "run folder" {
				if err := os.RemoveAll(n.pins()); err != nil {
					t.Fatal(err)
				}
			}
			if lost != "pins" { // with the record of what to put back, which docs/security.md says
				if err := os.RemoveAll(n.run("")); err != nil && !errors.Is(err, syscall.EBUSY) { // all but the namespace that is mounted there
					t.Fatal(err)
				}
				n.ns.Sysctl(t, "net/ipv4/conf/"+uplink+"/forwarding", "0")
			}
		})
	}
}

// TestRootTeardownWithoutUplink: what is to be taken away can be, also when a device of the configuration has gone.
func TestRootTeardownWithoutUplink(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, attach := range []string{"tcx", "clsact"} {
		t.Run(attach, func(t *testing.T) {
			testutil.Privileged(t)
			testutil.RequireFeature(t, attach)
			n := newMachine(t, options{attach: attach})
			unplug := func() {
				l, err := n.ns.Netlink().LinkByName(uplink)
				if err == nil {
					err = n.ns.Netlink().LinkDel(l)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			unplug()
			n.machine = n.look()
			n.cable()
			n.start()
			s := n.deploy("left")
			n.outside.greet(s.addr4(80))
			n.stop()
			unplug() // the rest is checked at the end of each test
		})
	}
}
