package netctl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// limit bounds what takes milliseconds when all is well; gone what a worker of
// the kernel's does, which takes away the network namespaces of the whole
// machine one after another.
const (
	limit = 20 * time.Second
	gone  = time.Minute
)

func get(t testing.TB, n *Net) *Namespace {
	t.Helper()
	space, err := n.Pool().Get(testutil.Context(t, limit))
	if err != nil {
		t.Fatalf("taking a namespace: %v", err)
	}
	return space
}

// full waits until the pool has made all that it keeps ready.
func full(t testing.TB, n *Net) {
	t.Helper()
	testutil.WaitFor(t, limit, "the pool to be full", func() error {
		if r := n.Pool().Ready(); r != n.cfg.Pool {
			return fmt.Errorf("%d ready of %d", r, n.cfg.Pool)
		}
		return nil
	})
}

func TestRootNamespaceIsPrepared(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	dp := &fakeDatapath{}
	n := setup(t, node, testConfig(t), dp)
	defer remove(t, n)
	space := get(t, n)
	defer space.Close()
	in := inside{space.FD()}

	for name, want := range map[string]string{
		"net/ipv4/ip_unprivileged_port_start": "0",
		"net/mptcp/enabled":                   "0",
		conf4("eth0", "rp_filter"):            "0",
		conf6("eth0", "disable_ipv6"):         "0",
		conf6("eth0", "accept_ra"):            "0",
	} {
		in.Do(t, func() {
			if got, err := readSysctl(name); got != want && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is %q (%v), want %q", name, got, err, want)
			}
		})
	}
	links := in.Run(t, "ip", "-d", "-o", "link")
	for _, want := range []string{"lo: <LOOPBACK,UP,LOWER_UP>", "NOARP,UP,LOWER_UP> mtu 1500", "02:fc:00:00:00:01", "addrgenmode none"} {
		if !strings.Contains(links, want) {
			t.Errorf("not found: %s\n%s", want, links)
		}
	}
	host, err := n.node.LinkByIndex(space.HostIfindex())
	if err != nil {
		t.Fatal(err)
	}
	if a := host.Attrs(); a.Name != space.HostName() || a.OperState != netlink.OperUp || a.NetNsID != space.NSID() {
		t.Errorf("host end %d: name %s, state %v, nsid %d; want %s, up, %d", a.Index, a.Name, a.OperState, a.NetNsID, space.HostName(), space.NSID())
	}
	if !dp.onReplica(space.HostIfindex()) {
		t.Error("the program is not attached to the host end")
	}
	if out := in.Run(t, "ip", "-o", "addr", "show", "dev", "eth0"); out != "" {
		t.Errorf("eth0 has addresses before Assign: %s", out)
	}
	in.Do(t, func() {
		cookie, err := netnsCookie()
		if err != nil || cookie != space.Cookie() {
			t.Errorf("cookie %d (%v), want %d", space.Cookie(), err, cookie)
		}
	})
}

// Addresses must take packets as soon as Assign returns, also while the lock of
// the network configuration is fought for.
func TestRootAssignTakesEffectAtOnce(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	n := setup(t, node, testConfig(t), &fakeDatapath{})
	defer remove(t, n)

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			a := netlink.NewLinkAttrs()
			a.Name = "noise"
			veth := netlink.NewVeth(a)
			veth.PeerName = "noise-peer"
			if err := errors.Join(node.Netlink().LinkAdd(veth), node.Netlink().LinkDel(veth)); err != nil {
				t.Errorf("making noise: %v", err)
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	vips := []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")}
	for range 20 {
		space := get(t, n)
		if err := space.Assign(vips...); err != nil {
			t.Fatal(err)
		}
		for _, vip := range vips {
			got, err := space.pair.inside.RouteGet(vip.AsSlice())
			if err != nil || len(got) != 1 || got[0].Type != unix.RTN_LOCAL {
				t.Errorf("right after Assign packets to %s go by %v (%v), want a local route", vip, got, err)
			}
		}
		if err := space.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRootAssign(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	n := setup(t, node, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	space := get(t, n)
	in := inside{space.FD()}
	four, six := netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")
	for range 2 { // again is fine
		if err := space.Assign(four, six); err != nil {
			t.Fatalf("Assign: %v", err)
		}
	}
	out := in.Run(t, "ip", "-o", "addr", "show", "dev", "eth0")
	if !strings.Contains(out, "10.77.0.9/32") || !strings.Contains(out, "fd77:fc::9/128") || strings.Contains(out, "tentative") {
		t.Errorf("addresses: %s", out)
	}
	// The second cannot be assigned, so the first must not stay.
	look := func() string { // without the routes of the kernel's own, which it makes for its addresses some time later
		lines := strings.Split(in.Run(t, "ip", "addr")+in.Run(t, "ip", "-6", "route", "show", "table", "all"), "\n")
		return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "proto kernel") }), "\n")
	}
	before := look()
	if err := space.Assign(netip.MustParseAddr("fd77:fc::10"), netip.MustParseAddr("ff02::1")); err == nil {
		t.Error("a multicast address was assigned")
	}
	wantSame(t, "a failed Assign", before, look())

	for range 2 {
		if err := space.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if err := space.Assign(four); !errors.Is(err, ErrClosed) {
		t.Errorf("Assign after Close: %v, want ErrClosed", err)
	}
	if l, err := findLink(n.node, space.HostName()); l != nil || err != nil {
		t.Errorf("the host end is still there after Close (%v)", err)
	}
}

func TestRootPoolRefills(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	dp := &fakeDatapath{}
	n := setup(t, node, testConfig(t), dp)
	full(t, n)
	var taken []*Namespace
	names := map[string]bool{}
	for range 3 * n.cfg.Pool { // more than are ready
		space := get(t, n)
		taken = append(taken, space)
		names[space.HostName()] = true
	}
	if len(names) != len(taken) {
		t.Errorf("%d names for %d namespaces", len(names), len(taken))
	}
	full(t, n)
	if got, want := dp.attached(), len(taken)+n.cfg.Pool; got != want {
		t.Errorf("%d programs attached, want %d", got, want)
	}
	for _, space := range taken {
		if err := space.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := dp.attached(); got != n.cfg.Pool {
		t.Errorf("%d programs attached after Close, want those of the pool, %d", got, n.cfg.Pool)
	}
	remove(t, n)
	if _, err := n.Pool().Get(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Get from a closed pool: %v, want ErrClosed", err)
	}
}

func TestRootPoolReportsFailure(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	dp := &fakeDatapath{fail: "AttachReplica"}
	n := setup(t, node, testConfig(t), dp)
	defer remove(t, n)
	if _, err := n.Pool().Get(testutil.Context(t, limit)); !errors.Is(err, errInjected) {
		t.Errorf("Get: %v, want the injected error", err)
	}
	// The pool tries again from time to time; between two attempts there is
	// nothing.
	testutil.WaitFor(t, gone, "the failed attempts to leave nothing", func() error { return noReplicas(node) })
	dp.mu.Lock()
	dp.fail = ""
	dp.mu.Unlock()
	space, err := getUntil(t, n)
	if err != nil {
		t.Fatalf("Get after the failure has gone: %v", err)
	}
	if err := space.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dp.mu.Lock()
	dp.fail = "AttachReplica"
	dp.mu.Unlock()
	for range n.cfg.Pool + 1 { // take what is ready
		space, err := n.Pool().Get(ctx)
		if err == nil {
			if err := space.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, context.Canceled) && !errors.Is(err, errInjected) {
			t.Errorf("Get with an ended context: %v", err)
		}
	}
}

// noReplicas says which host end there is, if there is one.
func noReplicas(node *testutil.NS) error {
	links, err := dump(node.Netlink().LinkList)
	for _, l := range links {
		if _, ok := replicaNumber(l.Attrs().Name); ok {
			return fmt.Errorf("%s is there", l.Attrs().Name)
		}
	}
	return err
}

// getUntil takes a namespace from a pool that has just been failing.
func getUntil(t testing.TB, n *Net) (space *Namespace, err error) {
	t.Helper()
	ctx := testutil.Context(t, limit)
	for ctx.Err() == nil {
		if space, err = n.Pool().Get(ctx); !errors.Is(err, errInjected) {
			return space, err
		}
	}
	return nil, ctx.Err()
}

// A name that somebody else uses is passed over.
func TestRootPoolSkipsTakenNames(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	node.Run(t, "ip", "link", "add", "fcv3", "type", "veth", "peer", "name", "other")
	n := setup(t, node, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	node.Run(t, "ip", "link", "add", "fcv7", "type", "veth", "peer", "name", "another")
	for range 5 {
		space := get(t, n)
		if name := space.HostName(); name == "fcv3" || name == "fcv7" {
			t.Errorf("a namespace behind a foreign device, %s", name)
		}
		defer space.Close()
	}
	// Remove must not take the strangers.
	defer func() {
		for _, name := range []string{"fcv3", "fcv7"} {
			if l, err := findLink(node.Netlink(), name); l == nil {
				t.Errorf("%s is gone (%v)", name, err)
			}
		}
	}()
}

// A namespace closed too late must not touch another network namespace.
func TestRootNamespaceOutlivesItsNet(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	cfg := testConfig(t)
	n := setup(t, node, cfg, &fakeDatapath{})
	space := get(t, n)
	closeNet(t, n)
	if err := space.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("Close of a namespace after its Net: %v, want ErrClosed", err)
	}
	remove(t, setup(t, node, cfg, &fakeDatapath{}))
}

// A replica lives on in its process when its daemon ends, and the next adopts
// it.
func TestRootAdopt(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	cfg := testConfig(t)
	dp := &fakeDatapath{}
	n := setup(t, node, cfg, dp)
	space := get(t, n)
	vip := netip.MustParseAddr("10.77.0.9")
	if err := space.Assign(vip); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "1000")
	inside{space.FD()}.Do(t, func() {
		if err := process.Start(); err != nil {
			t.Error(err)
		}
	})
	stop := func() {
		_ = process.Process.Kill()
		_ = process.Wait() // killed
	}
	defer stop()
	if err := space.Leave(); err != nil {
		t.Fatal(err)
	}
	closeNet(t, n)

	n = setup(t, node, cfg, dp)
	defer remove(t, n)
	full(t, n)
	path := fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid)
	if _, err := n.Pool().Adopt(path, n.SinkIfindex()); err == nil || !strings.Contains(err.Error(), "another network namespace") {
		t.Errorf("Adopt with another's veth: %v, want an error saying so", err)
	}
	if _, err := n.Pool().Adopt(path, 9999); err == nil {
		t.Error("Adopt with a veth that is not there: no error")
	}
	if _, err := n.Pool().Adopt("/proc/self/nothing", space.HostIfindex()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Adopt of a process that has gone: %v, want not exist", err)
	}
	adopted, err := n.Pool().Adopt(path, space.HostIfindex())
	if err != nil {
		t.Fatalf("Adopt: %v", err)
	}
	if adopted.Cookie() != space.Cookie() || adopted.NSID() != space.NSID() || adopted.HostName() != space.HostName() {
		t.Errorf("adopted cookie %d, nsid %d, name %s; want %d, %d, %s", adopted.Cookie(), adopted.NSID(), adopted.HostName(), space.Cookie(), space.NSID(), space.HostName())
	}
	if err := adopted.Assign(vip, netip.MustParseAddr("fd77:fc::9")); err != nil {
		t.Errorf("Assign after Adopt: %v", err)
	}
	stop()
	if err := adopted.Close(); err != nil {
		t.Errorf("Close after Adopt: %v", err)
	}
	if l, err := findLink(n.node, space.HostName()); l != nil || err != nil {
		t.Errorf("the host end is still there (%v)", err)
	}
}

// What a daemon had prepared goes with it, and so do replicas that end while no
// daemon runs; their host ends vanish without anybody's help.
func TestRootNamespacesEndByThemselves(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	n := setup(t, node, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	space := get(t, n)
	index := space.HostIfindex()
	if err := space.Leave(); err != nil { // the last descriptor
		t.Fatal(err)
	}
	testutil.WaitFor(t, gone, "the host end to vanish", func() error {
		_, err := n.node.LinkByIndex(index)
		if err == nil {
			return errors.New("still there")
		}
		return nil
	})
}

func BenchmarkRootNamespace(b *testing.B) {
	testutil.Privileged(b)
	node := testutil.NetNS(b)
	n := setup(b, node, testConfig(b), &fakeDatapath{})
	defer remove(b, n)
	full(b, n)
	vips := []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")}
	var made, assigned, closed []time.Duration
	for b.Loop() {
		t0 := time.Now()
		space, err := n.pool.make()
		t1 := time.Now()
		if err == nil {
			err = space.Assign(vips...)
		}
		t2 := time.Now()
		if err == nil {
			err = space.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		made, assigned, closed = append(made, t1.Sub(t0)), append(assigned, t2.Sub(t1)), append(closed, time.Since(t2))
	}
	b.ReportMetric(0, "ns/op")
	report(b, "make", made)
	report(b, "assign", assigned)
	report(b, "close", closed)
}

func report(b *testing.B, what string, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), what+"-p50-µs")
	b.ReportMetric(float64(times[len(times)*95/100].Microseconds()), what+"-p95-µs")
}

// Taking replicas away must not hold up those that wake.
func BenchmarkRootAssignWhileOthersClose(b *testing.B) {
	testutil.Privileged(b)
	node := testutil.NetNS(b)
	n := setup(b, node, testConfig(b), &fakeDatapath{})
	defer remove(b, n)
	vips := []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")}
	var waited, assigned []time.Duration
	closing := make(chan *Namespace, 4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for space := range closing {
			if err := space.Close(); err != nil {
				b.Error(err)
			}
		}
	}()
	for b.Loop() {
		t0 := time.Now()
		space := get(b, n)
		t1 := time.Now()
		if err := space.Assign(vips...); err != nil {
			b.Fatal(err)
		}
		waited, assigned = append(waited, t1.Sub(t0)), append(assigned, time.Since(t1))
		closing <- space
	}
	close(closing)
	<-done
	b.ReportMetric(0, "ns/op")
	report(b, "get", waited)
	report(b, "assign", assigned)
}

// busyNode is one on which others have more use for the processors.
type busyNode struct {
	asked chan struct{} // sent to when the maker yields
	calm  chan struct{} // closed when it need not any more
}

func (b *busyNode) yield(hurry <-chan struct{}) {
	select {
	case b.asked <- struct{}{}:
	default: // nobody looks
	}
	select {
	case <-b.calm:
	case <-hurry:
	}
}

// TestRootPoolYields: namespaces are made ahead when that disturbs nobody, but
// at once for who waits for one.
func TestRootPoolYields(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	b := &busyNode{asked: make(chan struct{}, 1), calm: make(chan struct{})}
	cfg := testConfig(t)
	cfg.Yield = b.yield
	n, err := trySetup(t, node, cfg, &fakeDatapath{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, n)

	var spaces []*Namespace
	for range 3 * cfg.Pool { // far more than are ready; each Get waits and is a hurry
		spaces = append(spaces, get(t, n))
	}
	for n.Pool().Ready() < cfg.Pool/2 { // until then it makes them without being asked to
		<-b.asked
	}
	if r := n.Pool().Ready(); r == cfg.Pool {
		t.Errorf("the pool is full though others were to go first")
	}
	close(b.calm)
	full(t, n)
	for _, s := range spaces {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRootPoolClosesWhileItYields: the end of the daemon waits for nobody's
// wake.
func TestRootPoolClosesWhileItYields(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	b := &busyNode{asked: make(chan struct{}, 1), calm: make(chan struct{})} // never
	cfg := testConfig(t)
	cfg.Yield = b.yield
	n, err := trySetup(t, node, cfg, &fakeDatapath{})
	if err != nil {
		t.Fatal(err)
	}
	<-b.asked
	remove(t, n)
}

// TestRootPoolPanics: a namespace whose making panics is an error for who waits for it, and is made again.
func TestRootPoolPanics(t *testing.T) {
	testutil.Privileged(t)
	cfg := testConfig(t)
	broken := make(chan struct{})
	cfg.Guard = func(f func() error) error {
		return catching(func() error {
			select {
			case <-broken:
				return f()
			default:
				panic("a device that nobody knows")
			}
		})
	}
	n, err := trySetup(t, testutil.NetNS(t), cfg, &fakeDatapath{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, n)
	if ns, err := n.Pool().Get(t.Context()); err == nil || !strings.Contains(err.Error(), "panic: a device") {
		t.Errorf("got %v, %v", ns, err)
	}
	close(broken)
	full(t, n)
	if err := get(t, n).Close(); err != nil {
		t.Error(err)
	}
}
