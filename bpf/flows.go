package bpf

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// sizeFlows gives the tables of flows their sizes, those of fragments half of it.
func sizeFlows(spec *ebpf.CollectionSpec, entries uint32) {
	for name, size := range flowSizes(entries) {
		spec.Maps[name].MaxEntries = size
	}
}

func flowSizes(entries uint32) map[string]uint32 {
	return map[string]uint32{
		dpMapFcFlows: entries, dpMapFcHandshakes: entries, dpMapFcDatagrams: entries, dpMapFcOwnFlows: entries,
		dpMapFcFrags: entries / 2, dpMapFcFragsOut: entries / 2,
	}
}

// unpinOtherFlows unpins the tables of flows to which an earlier daemon has given
// another size: they are made anew, what they hold is found again, and sites go on.
// Where another map does not fit either nothing is changed.
func unpinOtherFlows(spec *ebpf.CollectionSpec, dir string) error {
	var others []string
	tables := flowSizes(0)
	for name, want := range spec.Maps {
		pin := filepath.Join(dir, name)
		m, err := ebpf.LoadPinnedMap(pin, nil)
		if err != nil {
			continue // not there; what is there and no map is for the loader to tell
		}
		fits := want.Compatible(m) == nil
		m.Close()
		if fits {
			continue
		}
		if _, flows := tables[name]; !flows {
			return nil
		}
		others = append(others, pin)
	}
	for _, pin := range others {
		if err := os.Remove(pin); err != nil {
			return fmt.Errorf("unpin a table of flows, to make it in another size: %w", err)
		}
	}
	return nil
}

// setFlows bounds what one site has of the tables of flows. The number of cells is a
// power of two, not above it; another number than before, as another seed, loses what
// is in them.
func (s *dpFcSettings) setFlows(perSite uint32) {
	s.FlowsPerSite = perSite
	s.CellMask = 1<<(bits.Len32(perSite)-1) - 1
	for s.Seed == 0 {
		s.Seed = rand.Uint64()
	}
}

// vips are who has which address.
type vips struct {
	objs *dpObjects
	mu   sync.Mutex // who changes an entry
}

// add says that a replica has these addresses. Its sockets are asked about
// packets for them that no table knows, also while its site does not steer to it: as
// long as it ends, or stands by. Where more replicas have one address than there is
// room for, the last ones are not asked.
func (v *vips) add(id ReplicaID, of ...netip.Addr) error {
	return v.change(of, func(ids []uint32) []uint32 { return append(ids, uint32(id)) })
}

func (v *vips) remove(id ReplicaID, of ...netip.Addr) error {
	return v.change(of, func(ids []uint32) []uint32 {
		return slices.DeleteFunc(ids, func(have uint32) bool { return have == uint32(id) })
	})
}

func (v *vips) change(of []netip.Addr, change func([]uint32) []uint32) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range of {
		if !a.IsValid() || a.IsUnspecified() {
			continue
		}
		if err := v.changeOne(toAddr(a), change); err != nil {
			return fmt.Errorf("say who has %v: %w", a, err)
		}
	}
	return nil
}

func (v *vips) changeOne(key dpFcAddr, change func([]uint32) []uint32) error {
	var have, next dpFcVip
	if err := ignoreMissing(v.objs.FcVips.Lookup(key, &have)); err != nil {
		return err
	}
	// one that a daemon was killed over is gone
	ids := change(slices.DeleteFunc(slices.Clone(have.Replicas[:have.N]), func(id uint32) bool {
		return errors.Is(v.objs.FcReplicas.Lookup(id, &dpFcReplica{}), ebpf.ErrKeyNotExist)
	}))
	if len(ids) == 0 {
		return ignoreMissing(v.objs.FcVips.Delete(key))
	}
	next.N = uint32(copy(next.Replicas[:], ids))
	return v.objs.FcVips.Put(key, next)
}
