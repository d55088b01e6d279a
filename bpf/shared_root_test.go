package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/fcnode/fcnode/tests/testutil"
)

// To most tests it is the same who has loaded the programs that they run, and
// loading takes most of their time: on an emulated machine more than a second.
// So they take turns with a few data paths (the tests of this package run one
// after another). Each is emptied before the next test has it, and looked at
// whether it is empty; what a failed test has had is thrown away. Tests of
// loading, pinning and attaching load their own.
type pool struct {
	attached bool // to ownCgroup: sockets leave something with it that no map shows, see quiet
	resting  []*Datapath
	made     int
}

var (
	byHand   = pool{}
	ofSocket = pool{attached: true}
)

// take returns a data path with nothing in it, until the test ends.
func (p *pool) take(t testing.TB) *Datapath {
	t.Helper()
	d := p.rested(t)
	if d == nil {
		p.made++
		var err error
		d, err = Open(Options{
			PinDir:   filepath.Join("/sys/fs/bpf", fmt.Sprintf("shared-%t-%d", p.attached, p.made)),
			MaxSites: testSites, MaxFlows: testFlows, HoldPerSite: testCap,
		})
		if err != nil {
			t.Fatalf("%+v", err)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() {
			p.resting = append(p.resting, d)
			return
		}
		if err := throwAway(d); err != nil {
			t.Error(err)
		}
	})
	return d
}

// rested takes the first out that nothing happens in any more, and empties it;
// nil: none.
func (p *pool) rested(t testing.TB) *Datapath {
	t.Helper()
	for i, d := range p.resting {
		if p.attached && !d.quiet(t) {
			continue
		}
		p.resting = slices.Delete(p.resting, i, i+1)
		err := d.empty()
		if links := pins(t, linksDir(d.opts.PinDir)); err == nil && !p.attached && len(links) > 0 {
			err = fmt.Errorf("a test of programs that are run by hand has attached it: %v", links)
		}
		if err != nil {
			t.Fatalf("a data path cannot be given to the next test: %v", errors.Join(err, throwAway(d)))
		}
		return d
	}
	return nil
}

func throwAway(d *Datapath) error { return errors.Join(d.Close(), Remove(d.opts.PinDir)) }

// releaseShared throws all away, after the last test.
func releaseShared() (err error) {
	for _, d := range slices.Concat(byHand.resting, ofSocket.resting) {
		err = errors.Join(err, throwAway(d))
	}
	return err
}

// quiet says that the kernel is through with all sockets of which this data
// path has kept something with the socket: it is counted in replica 5, the only
// one that these tests give sockets, for as long.
func (d *Datapath) quiet(t testing.TB) bool {
	t.Helper()
	var v dpFcReplica
	err := d.objs.FcReplicas.Lookup(uint32(5), &v)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return err == nil && v.ConnsNow == 0 && v.Listeners4 == [32]uint32{} && v.Listeners6 == [32]uint32{}
}

// TestRootSharedIsEmptied puts something into all of it.
func TestRootSharedIsEmptied(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.site(t, 1, Site{})
	r.device(t, "a packet that is held", tcpPacket(client4, web4, syn), actOK, holds)
	maps := reflect.ValueOf(r.objs.dpMaps)
	for i := range maps.NumField() {
		m := maps.Field(i).Interface().(*ebpf.Map)
		if !isHash(m) {
			continue
		}
		value := make([]byte, m.ValueSize())
		var err error
		if m.Type() == ebpf.PerCPUHash {
			err = m.Put(make([]byte, m.KeySize()), slices.Repeat([][]byte{value}, ebpf.MustPossibleCPU()))
		} else {
			err = m.Put(make([]byte, m.KeySize()), value)
		}
		if err != nil {
			t.Fatalf("%v: %v", m, err)
		}
	}
	if err := r.empty(); err != nil {
		t.Fatal(err)
	}
	for i := range maps.NumField() {
		m := maps.Field(i).Interface().(*ebpf.Map)
		if !isHash(m) {
			continue
		}
		if key, err := m.NextKeyBytes(nil); key != nil || err != nil {
			t.Errorf("%v has %x (%v)", m, key, err)
		}
	}
	var s dpFcSettings
	if err := r.objs.FcConfig.Lookup(uint32(0), &s); err != nil || s != (dpFcSettings{}) {
		t.Errorf("settings %+v (%v)", s, err)
	}
	for name, n := range r.counters(t) {
		if n != 0 {
			t.Errorf("%s is counted %d times", name, n)
		}
	}
	r.noHeld(t)
}

// empty takes everything out of all maps and looks whether it is gone.
func (d *Datapath) empty() error {
	maps := reflect.ValueOf(d.objs.dpMaps)
	for i := range maps.NumField() {
		m, ok := maps.Field(i).Interface().(*ebpf.Map)
		if !ok {
			return fmt.Errorf("%s is no map", maps.Type().Field(i).Name)
		}
		if err := emptyMap(m); err != nil {
			return fmt.Errorf("empty %v: %w", m, err)
		}
	}
	return nil
}

func isHash(m *ebpf.Map) bool {
	return slices.Contains([]ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LPMTrie}, m.Type())
}

func emptyMap(m *ebpf.Map) error {
	switch kind := m.Type(); {
	case isHash(m):
		return emptyHash(m)
	case kind == ebpf.Array:
		return m.Put(uint32(0), make([]byte, m.ValueSize())) // of one entry: the settings
	case kind == ebpf.PerCPUArray:
		for i := range m.MaxEntries() {
			if err := m.Put(i, make([]uint64, ebpf.MustPossibleCPU())); err != nil {
				return err
			}
		}
		return nil
	case kind == ebpf.RingBuf:
		return emptyRing(m)
	case kind == ebpf.SkStorage, kind == ebpf.SockMap: // ends with its sockets: see quiet
		return nil
	}
	return errors.New("a map of a type that is not known here")
}

func emptyHash(m *ebpf.Map) error {
	for {
		key, err := m.NextKeyBytes(nil)
		if err != nil || key == nil {
			return err
		}
		if err := m.Delete(key); err != nil {
			return err
		}
	}
}

func emptyRing(m *ebpf.Map) error {
	r, err := ringbuf.NewReader(m)
	if err != nil {
		return err
	}
	defer r.Close()
	r.SetDeadline(time.Now())
	for {
		if _, err := r.Read(); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return err
		}
	}
	if n := r.AvailableBytes(); n != 0 {
		return fmt.Errorf("%d bytes are left", n)
	}
	return nil
}
