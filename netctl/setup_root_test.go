package netctl

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var testPrefixes = []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd77:fc::/64")}

func testConfig(t testing.TB) Config {
	t.Helper()
	return Config{Device: "fc0", Prefixes: testPrefixes, RunDir: filepath.Join(t.TempDir(), "run"), Pool: 2}
}

// setup runs Setup inside of a namespace and fails the test if it fails.
func setup(t testing.TB, ns *testutil.NS, cfg Config, dp Datapath) *Net {
	t.Helper()
	n, err := trySetup(t, ns, cfg, dp)
	if err != nil {
		t.Fatalf("Setup: %v", err)
	}
	if f, fake := dp.(*fakeDatapath); !fake || f.fail == "" {
		full(t, n) // so that nothing changes by itself from here on
	}
	return n
}

func trySetup(t testing.TB, ns *testutil.NS, cfg Config, dp Datapath) (n *Net, err error) {
	t.Helper()
	ns.Do(t, func() { n, err = Setup(t.Context(), cfg, dp, slog.New(slog.DiscardHandler)) })
	return n, err
}

func remove(t testing.TB, n *Net) {
	t.Helper()
	if err := n.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
}

func closeNet(t testing.TB, n *Net) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// machine describes everything that fcnode could have changed, a line each.
// Host ends of the pool are left out on wish: their numbers differ each time.
func machine(t testing.TB, ns *testutil.NS, cfg Config, withPool bool) string {
	t.Helper()
	var lines []string
	for _, args := range [][]string{
		{"-d", "-o", "link"},
		{"-o", "addr"},
		{"-4", "route", "show", "table", "all"},
		{"-6", "route", "show", "table", "all"},
		{"-4", "rule"},
		{"-6", "rule"},
	} {
		for line := range strings.Lines(ns.Run(t, "ip", args...)) {
			if withPool || !strings.Contains(line, replicaPrefix) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	ns.Do(t, func() {
		for _, pattern := range []string{
			"net/ipv4/ip_forward", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/send_redirects",
			"net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/force_forwarding", "net/ipv6/conf/*/accept_ra", "net/ipv6/conf/*/disable_ipv6",
		} {
			files, err := filepath.Glob(filepath.Join(sysctlRoot, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if !withPool && strings.Contains(f, replicaPrefix) {
					continue
				}
				v, err := readSysctl(strings.TrimPrefix(f, sysctlRoot+"/"))
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, f+" "+v)
			}
		}
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, cfg.RunDir) {
			lines = append(lines, "mount "+strings.TrimSpace(line))
		}
	}
	entries, err := os.ReadDir(cfg.RunDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		lines = append(lines, "file "+e.Name())
	}
	return strings.Join(lines, "\n")
}

func wantSame(t testing.TB, what, before, after string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

// uplinked returns a namespace with an uplink "up0" to another.
func uplinked(t testing.TB) (node, outside *testutil.NS) {
	t.Helper()
	node, outside = testutil.NetNS(t), testutil.NetNS(t)
	// No link-local address, which the kernel would add some time later.
	node.Sysctl(t, conf6("default", "addr_gen_mode"), "1")
	testutil.Cable(t, node, outside, "up0",
		prefixes("192.0.2.1/24", "2001:db8::1/64"), prefixes("192.0.2.2/24", "2001:db8::2/64"))
	return node, outside
}

func TestRootSetupAndRemove(t *testing.T) {
	testutil.Privileged(t)
	for name, uplinks := range map[string][]string{"no uplinks": nil, "an uplink": {"up0"}} {
		t.Run(name, func(t *testing.T) {
			node, _ := uplinked(t)
			cfg := testConfig(t)
			cfg.Uplinks = uplinks
			dp := &fakeDatapath{}
			before := machine(t, node, cfg, true)
			n := setup(t, node, cfg, dp)
			first := machine(t, node, cfg, false)
			for _, want := range []string{
				"02:fc:00:00:00:01",
				"10.77.0.0/16 via 169.254.0.1 dev fc0 proto 252 metric 1024 onlink",
				"unreachable 10.77.0.0/16 proto 252 metric 65000",
				"fd77:fc::/64 via fe80::1 dev fc0 proto 252 metric 1024 onlink",
				"unreachable fd77:fc::/64 dev lo proto 252 metric 65000",
				"conf/fc0/forwarding 1",
			} {
				if !strings.Contains(first, want) {
					t.Errorf("not found after Setup: %s\n%s", want, first)
				}
			}
			if got := strings.Contains(first, "conf/up0/forwarding 1"); got != (uplinks != nil) {
				t.Errorf("forwarding on up0: %v", got)
			}

			t.Run("again", func(t *testing.T) { // by a second daemon, as a dead one cannot close
				again := setup(t, node, cfg, dp)
				wantSame(t, "a second Setup", first, machine(t, node, cfg, false))
				if again.DeviceIfindex() != n.DeviceIfindex() || again.SinkIfindex() != n.SinkIfindex() {
					t.Error("device or sink were made anew instead of adopted")
				}
				closeNet(t, again)
			})
			closeNet(t, n)
			wantSame(t, "Close", first, machine(t, node, cfg, false))

			remove(t, setup(t, node, cfg, dp))
			wantSame(t, "Remove", before, machine(t, node, cfg, true))
			if dp.attached() != 0 || len(dp.uplinks) != 0 {
				t.Errorf("still attached after Remove: replicas %v, uplinks %v", dp.replicas, dp.uplinks)
			}
		})
	}
}

func TestRootSetupAfterPartialState(t *testing.T) {
	testutil.Privileged(t)
	ip := func(args string) func(testing.TB, *testutil.NS, Config) {
		return func(t testing.TB, ns *testutil.NS, _ Config) {
			t.Helper()
			ns.Run(t, "ip", strings.Fields(args)...)
		}
	}
	for name, damage := range map[string]func(testing.TB, *testutil.NS, Config){
		"the device is gone":        ip("link del fc0"),
		"the device is down":        ip("link set fc0 down"),
		"a route is gone":           ip("route del 10.77.0.0/16 metric 1024"),
		"the last resort is gone":   ip("-6 route del unreachable fd77:fc::/64 metric 65000"),
		"a route of old prefixes":   ip("route add 10.78.0.0/16 via 169.254.0.1 dev fc0 onlink proto 252"),
		"an old unreachable prefix": ip("route add unreachable 10.79.0.0/16 proto 252 metric 65000"),
		"another MTU":               ip("link set fc0 mtu 1400"),
		"the sink's device is gone": ip("link del fc0-sink"),
		"the sink's pin is gone": func(t testing.TB, _ *testutil.NS, cfg Config) {
			t.Helper()
			if err := unpinNetns(cfg.sinkPath(), nil); err != nil {
				t.Fatal(err)
			}
		},
		"the sink's mount is gone, its file is not": func(t testing.TB, _ *testutil.NS, cfg Config) {
			t.Helper()
			if err := unix.Unmount(cfg.sinkPath(), 0); err != nil {
				t.Fatal(err)
			}
		},
		"the sink has an old address": func(t testing.TB, _ *testutil.NS, cfg Config) {
			t.Helper()
			inSink(t, cfg, func(h *netlink.Handle) error {
				return h.AddrAdd(linkOf(1, "lo"), vipAddr(netip.MustParseAddr("fd78::")))
			})
		},
		"the sink has an old prefix": func(t testing.TB, _ *testutil.NS, cfg Config) {
			t.Helper()
			inSink(t, cfg, func(h *netlink.Handle) error {
				return h.RouteAdd(&netlink.Route{
					Dst: toIPNet(netip.MustParsePrefix("10.78.0.0/16")), LinkIndex: 1, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
					Protocol: routeProtocol, Priority: metricDevice, Table: unix.RT_TABLE_LOCAL,
				})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := testutil.NetNS(t)
			cfg := testConfig(t)
			before := machine(t, node, cfg, true)
			n := setup(t, node, cfg, &fakeDatapath{})
			whole, wholeSink := machineNames(machine(t, node, cfg, false)), sinkRoutes(t, cfg)
			closeNet(t, n)
			damage(t, node, cfg)
			n = setup(t, node, cfg, &fakeDatapath{})
			wantSame(t, "repaired", whole, machineNames(machine(t, node, cfg, false)))
			wantSame(t, "the sink, repaired", wholeSink, sinkRoutes(t, cfg))
			remove(t, n)
			wantSame(t, "Remove", before, machine(t, node, cfg, true))
		})
	}
}

// machineNames drops what numbers a device: a device made anew has others, and
// another place in the lists.
func machineNames(m string) string {
	var lines []string
	for line := range strings.Lines(m) {
		fields := strings.Fields(line)
		if strings.HasSuffix(fields[0], ":") {
			fields = fields[1:]
		}
		if i := slices.Index(fields, "link-netnsid"); i >= 0 {
			fields[i+1] = "N"
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func inSink(t testing.TB, cfg Config, f func(*netlink.Handle) error) {
	t.Helper()
	ns, err := openPinned(cfg.sinkPath(), cfg.MountNS)
	if err != nil || ns == nil {
		t.Fatalf("opening the sink: %v, %v", ns, err)
	}
	defer ns.Close()
	err = thread.InNetns(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
	if err != nil {
		t.Fatalf("in the sink: %v", err)
	}
}

// sinkRoutes describes the prefixes that the sink takes for its own.
func sinkRoutes(t testing.TB, cfg Config) string {
	t.Helper()
	var lines []string
	inSink(t, cfg, func(h *netlink.Handle) error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			filter := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
			routes, err := h.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				lines = append(lines, fmt.Sprintf("%s type %d", r.Dst, r.Type))
			}
			addrs, err := h.AddrList(nil, family)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				lines = append(lines, a.IPNet.String())
			}
		}
		return nil
	})
	return strings.Join(lines, "\n")
}

func TestRootSetupFailsWhole(t *testing.T) {
	testutil.Privileged(t)
	for _, call := range []string{"AttachDevice", "SetDevice", "AttachSink", "SetSink", "AttachUplink"} {
		t.Run(call, func(t *testing.T) {
			node, _ := uplinked(t)
			cfg := testConfig(t)
			cfg.Uplinks = []string{"up0"}
			dp := &fakeDatapath{fail: call}
			before := machine(t, node, cfg, true)
			if _, err := trySetup(t, node, cfg, dp); !errors.Is(err, errInjected) {
				t.Fatalf("Setup: error %v, want the injected one", err)
			}
			wantSame(t, "a failed Setup", before, machine(t, node, cfg, true))
			if len(dp.uplinks) != 0 {
				t.Error("the uplink's program is still attached")
			}

			// On top of a node that works the failure must not take it away.
			dp.fail = ""
			n := setup(t, node, cfg, dp)
			closeNet(t, n)
			whole := machine(t, node, cfg, false)
			dp.fail = call
			if _, err := trySetup(t, node, cfg, dp); !errors.Is(err, errInjected) {
				t.Fatalf("second Setup: error %v, want the injected one", err)
			}
			wantSame(t, "a failed second Setup", whole, machine(t, node, cfg, false))
			dp.fail = ""
			remove(t, setup(t, node, cfg, dp))
			wantSame(t, "Remove", before, machine(t, node, cfg, true))
		})
	}
}

// Pins that stay cost some memory, which is no reason to keep a node from starting.
func TestRootSetupGoesOnWithoutPruning(t *testing.T) {
	testutil.Privileged(t)
	node, _ := uplinked(t)
	cfg := testConfig(t)
	dp := &fakeDatapath{fail: "PruneReplicaPins"}
	n := setup(t, node, cfg, dp)
	if dp.pruned != 0 {
		t.Error("nothing failed")
	}
	full(t, n)
	remove(t, n)
}

func TestRootSetupRefuses(t *testing.T) {
	testutil.Privileged(t)
	as := func(target any) func(error) bool { return func(err error) bool { return errors.As(err, target) } }
	for name, tc := range map[string]struct {
		prepare string // commands of ip
		change  func(*Config)
		is      func(error) bool
		says    string
	}{
		"an address in the prefix": {
			prepare: "addr add 10.77.5.1/32 dev lo",
			is:      as(new(*OverlapError)), says: "10.77.5.1/32 of device lo",
		},
		"a route in the prefix": {
			prepare: "route add 10.77.8.0/24 dev up0",
			is:      as(new(*OverlapError)), says: "route 10.77.8.0/24 of device up0",
		},
		"a network around the prefix": {
			prepare: "addr add 10.0.0.1/8 dev up0",
			is:      as(new(*OverlapError)), says: "10.0.0.0/8",
		},
		"an IPv6 route": {
			prepare: "-6 route add fd77:fc::/64 dev up0",
			is:      as(new(*OverlapError)), says: "fd77:fc::/64 of device up0",
		},
		"a device of that name": {
			prepare: "link add fc0 type veth peer name other",
			is:      as(new(*ForeignDeviceError)), says: "device fc0 exists and is not fcnode's",
		},
		"a device of that kind with another address": {
			prepare: "link add fc0 type ifb",
			is:      as(new(*ForeignDeviceError)), says: "device fc0 exists",
		},
		"a device of the sink's name": {
			prepare: "link add fc0-sink type veth peer name other",
			is:      as(new(*ForeignDeviceError)), says: "device fc0-sink exists",
		},
		"no such uplink": {
			change: func(c *Config) { c.Uplinks = []string{"up7"} },
			is:     as(new(*MissingUplinkError)), says: `uplink "up7" does not exist: there are lo, up0`,
		},
		"a rule before the route": {
			prepare: "rule add to 10.77.0.0/16 lookup 77 pref 5; route add default dev up0 table 77",
			is:      as(new(*ShadowedError)), says: "10.77.0.0/16 do not reach fcnode (they meet: device up0)",
		},
		"a rule that prohibits": {
			prepare: "rule add to 10.77.0.0/16 prohibit pref 5",
			is:      as(new(*ShadowedError)), says: "ip rule",
		},
		"a bad configuration": {
			change: func(c *Config) { c.Prefixes = nil },
			is:     func(err error) bool { return true }, says: "no prefix",
		},
	} {
		t.Run(name, func(t *testing.T) {
			node, _ := uplinked(t)
			cfg := testConfig(t)
			if tc.change != nil {
				tc.change(&cfg)
			}
			for command := range strings.SplitSeq(tc.prepare, ";") {
				if command != "" {
					node.Run(t, "ip", strings.Fields(command)...)
				}
			}
			before := machine(t, node, cfg, true)
			_, err := trySetup(t, node, cfg, &fakeDatapath{})
			if err == nil || !tc.is(err) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one that says %q", err, tc.says)
			}
			wantSame(t, "a refused Setup", before, machine(t, node, cfg, true))
		})
	}
}

func TestRootSetupWithoutRights(t *testing.T) {
	testutil.Privileged(t)
	cfg := testConfig(t)
	err := thread.Throwaway(func() error {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			return err
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			return err
		}
		_, err := Setup(t.Context(), cfg, &fakeDatapath{}, slog.New(slog.DiscardHandler))
		return err
	})
	var missing *MissingCapabilityError
	if !errors.As(err, &missing) || !cmp.Equal(missing.Capabilities, []string{"CAP_NET_ADMIN"}) {
		t.Errorf("error %v, want a MissingCapabilityError that names CAP_NET_ADMIN", err)
	}
}

// The router's settings of before are kept whatever fcnode's daemons do, and
// what somebody changes meanwhile stays as they want it.
func TestRootForwardingIsPutBack(t *testing.T) {
	testutil.Privileged(t)
	node, _ := uplinked(t)
	cfg := testConfig(t)
	cfg.Uplinks = []string{"up0"}
	closeNet(t, setup(t, node, cfg, &fakeDatapath{}))
	n := setup(t, node, cfg, &fakeDatapath{})
	node.Sysctl(t, conf6("up0", "accept_ra"), "0")
	remove(t, n)
	node.Do(t, func() {
		for name, want := range map[string]string{
			conf4("up0", "forwarding"): "0",
			conf6("all", "forwarding"): "0",
			conf6("up0", "accept_ra"):  "0",
		} {
			if got, err := readSysctl(name); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", name, got, err, want)
			}
		}
	})
}

// Older kernels know one switch for IPv6; this walks that path on any kernel.
func TestRootMachineForwarding6IsPutBack(t *testing.T) {
	testutil.Privileged(t)
	node, _ := uplinked(t)
	cfg := testConfig(t)
	node.Sysctl(t, conf6("lo", "forwarding"), "1")
	node.Sysctl(t, conf6("up0", "accept_ra"), "1")
	before := machine(t, node, cfg, true)
	if err := os.MkdirAll(cfg.RunDir, 0o755); err != nil {
		t.Fatal(err)
	}
	node.Do(t, func() {
		j, err := openSysctlLog(cfg.sysctlLogPath())
		if err != nil {
			t.Fatal(err)
		}
		var undo undoList
		if err := j.apply(machineForwarding6([]string{"lo", "up0"}, readSysctl), &undo); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{conf6("all", "forwarding"): "1", conf6("up0", "forwarding"): "1", conf6("up0", "accept_ra"): "2"} {
			if got, err := readSysctl(name); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", name, got, err, want)
			}
		}
		// Another daemon puts it back.
		if j, err = openSysctlLog(cfg.sysctlLogPath()); err != nil {
			t.Fatal(err)
		}
		if err := j.putBack(func(change) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
	wantSame(t, "put back", before, machine(t, node, cfg, true))

	node.Do(t, func() { // and the same as an undone Setup
		j, err := openSysctlLog(cfg.sysctlLogPath())
		if err != nil {
			t.Fatal(err)
		}
		var undo undoList
		if err := j.apply(machineForwarding6([]string{"lo", "up0"}, readSysctl), &undo); err != nil {
			t.Fatal(err)
		}
		if err := undo.run(nil); err != nil {
			t.Fatal(err)
		}
	})
	wantSame(t, "undone", before, machine(t, node, cfg, true))
}

// A daemon whose configuration has changed takes back what the last one did.
func TestRootUplinkIsDropped(t *testing.T) {
	testutil.Privileged(t)
	node, _ := uplinked(t)
	other := testutil.NetNS(t)
	testutil.Cable(t, node, other, "up1", prefixes("198.51.100.1/24"), prefixes("198.51.100.2/24"))
	cfg := testConfig(t)
	dp := &fakeDatapath{}
	forwarding := func() (got [2]string) {
		node.Do(t, func() {
			for i, u := range []string{"up0", "up1"} {
				var err error
				if got[i], err = readSysctl(conf4(u, "forwarding")); err != nil {
					t.Fatal(err)
				}
			}
		})
		return got
	}
	for _, step := range []struct {
		uplinks []string
		want    [2]string
	}{
		{[]string{"up0"}, [2]string{"1", "0"}},
		{[]string{"up1"}, [2]string{"0", "1"}},
		{[]string{"up0", "up1"}, [2]string{"1", "1"}},
		{nil, [2]string{"0", "0"}},
	} {
		cfg.Uplinks = step.uplinks
		n := setup(t, node, cfg, dp)
		if got := forwarding(); got != step.want {
			t.Errorf("uplinks %v: forwarding on up0, up1 is %v, want %v", step.uplinks, got, step.want)
		}
		if len(dp.uplinks) != len(step.uplinks) {
			t.Errorf("uplinks %v: attached to %d", step.uplinks, len(dp.uplinks))
		}
		closeNet(t, n)
	}
	remove(t, setup(t, node, cfg, dp))
}
