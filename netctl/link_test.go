package netctl

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fakeKernel has some kinds of device.
type fakeKernel struct {
	kinds []string
	made  string
	err   error
}

func (k *fakeKernel) LinkAdd(l netlink.Link) error {
	if !slices.Contains(k.kinds, l.Type()) {
		return unix.EOPNOTSUPP
	}
	k.made = l.Type()
	return k.err
}

func TestAddDeviceTakesTheFirstKindThereIs(t *testing.T) {
	for _, tc := range []struct {
		kinds []string
		want  string
	}{
		{[]string{"dummy", "ifb"}, "dummy"},
		{[]string{"ifb"}, "ifb"},
	} {
		k := &fakeKernel{kinds: tc.kinds}
		if err := addDevice(k, "fc0", 1500); err != nil || k.made != tc.want {
			t.Errorf("with %v: made %q, error %v; want %q", tc.kinds, k.made, err, tc.want)
		}
	}
	var none *LinkKindError
	if err := addDevice(&fakeKernel{}, "fc0", 1500); !errors.As(err, &none) || !slices.Equal(none.Kinds, []string{"dummy", "ifb"}) {
		t.Errorf("with no kind: error %v, want a LinkKindError naming both", err)
	}
	if err := addDevice(&fakeKernel{kinds: []string{"dummy"}, err: unix.ENOMEM}, "fc0", 1500); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("another error of the kernel's: got %v, want ENOMEM", err)
	}
}

func TestReplicaNumber(t *testing.T) {
	for name, want := range map[string]int64{"fcv0": 0, "fcv12": 12, "fcv": -1, "fcvx": -1, "fc0": -1, "eth0": -1, "fcv99999999999": -1, "fcv-1": -1} {
		n, ok := replicaNumber(name)
		if ok != (want >= 0) || ok && n != uint64(want) {
			t.Errorf("replicaNumber(%q) = %d, %v; want %d", name, n, ok, want)
		}
	}
}

func TestUndoRunsBackwards(t *testing.T) {
	var u undoList
	var order []int
	for i := range 3 {
		u.add(func() error {
			order = append(order, i)
			if i == 1 {
				return unix.EBUSY
			}
			return nil
		})
	}
	err := u.run(errInjected)
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order %v, want 2 1 0", order)
	}
	if !errors.Is(err, errInjected) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("error %v, want both the cause and what went wrong while undoing", err)
	}
}
