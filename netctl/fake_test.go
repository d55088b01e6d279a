package netctl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// fakeDatapath remembers what is attached where. With fail set, the call of
// that name fails.
type fakeDatapath struct {
	mu           sync.Mutex
	devices      []int
	uplinks      []int
	replicas     []int
	sinks        []int
	device, sink int
	pruned       int
	prefixes     []netip.Prefix
	guards       map[int][2]bool // of uplinks, by family
	fail         string
}

var errInjected = errors.New("injected failure")

func (d *fakeDatapath) do(name string, f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == name {
		return fmt.Errorf("%s: %w", name, errInjected)
	}
	f()
	return nil
}

func with(list []int, i int) []int {
	if slices.Contains(list, i) {
		return list
	}
	return append(list, i)
}

func without(list []int, i int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(j int) bool { return i == j })
}

func (d *fakeDatapath) AttachDevice(i int) error {
	return d.do("AttachDevice", func() { d.devices = with(d.devices, i) })
}

func (d *fakeDatapath) AttachUplink(i int) error {
	return d.do("AttachUplink", func() { d.uplinks = with(d.uplinks, i) })
}

func (d *fakeDatapath) SetPrefixes(p []netip.Prefix) error {
	return d.do("SetPrefixes", func() { d.prefixes = p })
}

func (d *fakeDatapath) SetUplink(i int, guard4, guard6 bool) error {
	return d.do("SetUplink", func() {
		if d.guards == nil {
			d.guards = map[int][2]bool{}
		}
		d.guards[i] = [2]bool{guard4, guard6}
	})
}

func (d *fakeDatapath) DetachUplink(i int) error {
	return d.do("DetachUplink", func() { d.uplinks = without(d.uplinks, i) })
}

func (d *fakeDatapath) AttachReplica(i int) error {
	return d.do("AttachReplica", func() { d.replicas = with(d.replicas, i) })
}

func (d *fakeDatapath) DetachReplica(i int) error {
	return d.do("DetachReplica", func() { d.replicas = without(d.replicas, i) })
}

func (d *fakeDatapath) AttachSink(i int) error {
	return d.do("AttachSink", func() { d.sinks = with(d.sinks, i) })
}

func (d *fakeDatapath) PruneReplicaPins() error {
	return d.do("PruneReplicaPins", func() { d.pruned++ })
}

func (d *fakeDatapath) SetDevice(i int) error { return d.do("SetDevice", func() { d.device = i }) }
func (d *fakeDatapath) SetSink(i int) error   { return d.do("SetSink", func() { d.sink = i }) }

// onReplica tells whether the program sits on a host end.
func (d *fakeDatapath) onReplica(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.replicas, i)
}

// attached returns how many programs sit on replicas' host ends.
func (d *fakeDatapath) attached() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.replicas)
}
