package bpf

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

func pins(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestRootSecondOpenAdopts(t *testing.T) {
	testutil.Privileged(t)
	o := Options{PinDir: pinDir(t), MaxSites: 100, HoldPerSite: 3}
	d := openAt(t, o)
	if d.Adopted() {
		t.Error("adopted what nobody made")
	}
	if got := len(pins(t, mapsDir(o.PinDir))); got != 45 {
		t.Errorf("%d maps are pinned, want 45", got)
	}
	listeners := map[Listener]ListenerSite{
		{vip4, 80, TCP}: {Site: 1}, {vip6, 80, TCP}: {Site: 1}, {vip4, 53, UDP}: {Site: 1, PortBit: 1},
		{netip.MustParseAddr("10.77.0.3"), 8080, TCP}: {Site: 2, PortBit: 31, Range: true},
	}
	replica := Replica{Site: 1, Ifindex: 12, NSID: 3, Cookie: 1<<63 | 5, VIP4: vip4, VIP6: vip6}
	site := Site{Replicas: []SiteReplica{{ID: 5, Forced: 2}, {ID: 4, Draining: true}}}
	err := errors.Join(d.PutListeners(listeners), d.AddReplica(5, replica), d.SetSite(1, site), d.SetDevice(7), d.SetSink(8), d.Close())
	if err != nil {
		t.Fatal(err)
	}

	o.HoldPerSite = 9 // this may change
	d = openAt(t, o)
	if !d.Adopted() {
		t.Error("did not adopt")
	}
	if got, err := d.Listeners(); err != nil || !maps.Equal(got, listeners) {
		t.Errorf("listeners %v (%v), want %v", got, err, listeners)
	}
	if got, err := d.Replicas(); err != nil || len(got) != 1 || got[5] != replica {
		t.Errorf("replicas %+v (%v), want %+v", got, err, replica)
	}
	if got, err := d.Sites(); err != nil || len(got) != 1 || got[1].Refuse || !slices.Equal(got[1].Replicas, site.Replicas) {
		t.Errorf("sites %+v (%v), want %+v", got, err, site)
	}
	var s dpFcSettings
	if err := d.objs.FcConfig.Lookup(uint32(0), &s); err != nil || s.Device != 7 || s.Sink != 8 || s.HoldPerSite != 9 {
		t.Errorf("settings %+v (%v)", s, err)
	}
}

func TestRootIncompatibleSizesChangeNothing(t *testing.T) {
	testutil.Privileged(t)
	o := Options{PinDir: pinDir(t), MaxSites: 100, HoldPerSite: 3}
	first := openAt(t, o)
	if err := first.SetSite(1, Site{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	before := pins(t, mapsDir(o.PinDir))
	other := o
	other.MaxSites, other.HoldPerSite = 200, 9
	if d, err := Open(other); !errors.Is(err, ErrIncompatible) {
		if err == nil {
			d.Close()
		}
		t.Fatalf("open with other sizes: %v, want ErrIncompatible", err)
	} else if !strings.Contains(err.Error(), "fcnode teardown") {
		t.Errorf("%v does not tell what to do", err)
	}
	if got := pins(t, mapsDir(o.PinDir)); !slices.Equal(got, before) {
		t.Errorf("pins %v, want %v", got, before)
	}
	var s dpFcSettings
	if err := first.objs.FcConfig.Lookup(uint32(0), &s); err != nil || s.HoldPerSite != 3 {
		t.Errorf("settings %+v (%v): changed by a daemon that did not start", s, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := openAt(t, o).Sites(); err != nil || !got[1].Refuse {
		t.Errorf("sites %+v (%v) after the first sizes came back", got, err)
	}
}

func TestRootPinFolderMustBeOnBPFFS(t *testing.T) {
	testutil.Privileged(t)
	dir := t.TempDir()
	if d, err := Open(Options{PinDir: filepath.Join(dir, "fcnode")}); !errors.Is(err, ErrNoBPFFS) {
		if err == nil {
			d.Close()
		}
		t.Errorf("pin folder on a disk: %v, want ErrNoBPFFS", err)
	}
	if left := pins(t, dir); len(left) > 0 {
		t.Errorf("left %v behind", left)
	}
	if _, err := Open(Options{PinDir: filepath.Join(dir, "no", "such", "folder")}); err == nil || errors.Is(err, ErrNoBPFFS) {
		t.Errorf("pin folder below nothing: %v", err)
	}
}

func TestRootReplicaNumbersAreTakenOnce(t *testing.T) {
	testutil.Privileged(t)
	d := openAt(t, Options{PinDir: pinDir(t)})
	r := Replica{Site: 1, Ifindex: 12, Cookie: 5, VIP4: vip4, VIP6: vip6}
	if err := d.AddReplica(1, r); err != nil {
		t.Fatal(err)
	}
	other := Replica{Site: 2, Ifindex: 13, Cookie: 6, VIP4: netip.MustParseAddr("10.77.0.9")}
	if err := d.AddReplica(1, other); !errors.Is(err, ebpf.ErrKeyExist) {
		t.Fatalf("the same number again: %v, want ErrKeyExist", err)
	}
	if got, err := d.Replicas(); err != nil || got[1] != r {
		t.Errorf("the first is now %+v (%v), want it as it was: %+v", got[1], err, r)
	}
	for range 2 { // what is gone is no error
		if err := d.RemoveReplica(1, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Stats(1); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("counters of a replica that is gone: %v", err)
	}
}

func TestRootSiteLimits(t *testing.T) {
	testutil.Privileged(t)
	d := openAt(t, Options{PinDir: pinDir(t), MaxSites: 2, MaxListener: 3})
	var many []SiteReplica
	for id := range MaxReplicas + 1 {
		many = append(many, SiteReplica{ID: ReplicaID(id + 1), Draining: id%2 == 0})
	}
	if err := d.SetSite(1, Site{Replicas: many}); err == nil {
		t.Error("a site with one replica too many was taken")
	}
	if err := d.SetSite(1, Site{Replicas: many[:MaxReplicas]}); err != nil {
		t.Error(err)
	}
	if got, err := d.Sites(); err != nil || !slices.Equal(got[1].Replicas, many[:MaxReplicas]) {
		t.Errorf("got %+v (%v)", got, err)
	}
	ls := map[Listener]ListenerSite{}
	for port := range uint16(4) {
		ls[Listener{vip4, port + 1, TCP}] = ListenerSite{Site: 1, PortBit: uint8(port)}
	}
	if err := d.PutListeners(ls); err == nil {
		t.Error("more listeners than there is room for were taken")
	}
	if err := d.DeleteListeners(Listener{vip4, 1, TCP}, Listener{vip4, 2, TCP}, Listener{vip4, 3, TCP}, Listener{vip4, 4, TCP}, Listener{vip6, 9, UDP}); err != nil {
		t.Errorf("delete, some of them gone: %v", err)
	}
	if got, err := d.Listeners(); err != nil || len(got) != 0 {
		t.Errorf("left %v (%v)", got, err)
	}
	if err := d.PutListeners(nil); err != nil {
		t.Error(err)
	}
}

func TestRootProbe(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range Probe() {
		if f.Err != nil && f.Required {
			t.Errorf("%s (since %s): %v, but fcnode cannot work without", f.Name, f.Since, f.Err)
		}
		if f.Err != nil && !f.Missing() {
			t.Errorf("%s: the probe found nothing out: %v", f.Name, f.Err)
		}
		if f.Purpose == "" || f.Since == "" {
			t.Errorf("%s: for what, and since when?", f.Name)
		}
	}
	d := openAt(t, Options{PinDir: pinDir(t)})
	want := ModeClsact
	if testutil.Has(t, "tcx") {
		want = ModeTCX
	}
	if d.Mode() != want {
		t.Errorf("mode %s, want %s", d.Mode(), want)
	}
}
