package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Mode is how programs are attached to devices.
type Mode string

// The ways to attach to a device. ModeAuto takes tcx where the kernel has it
// (6.6 and later), else clsact with a direct-action filter.
const (
	ModeAuto   Mode = "auto"
	ModeTCX    Mode = "tcx"
	ModeClsact Mode = "clsact"
)

// Options of Open. The zero value of a field takes the default in brackets.
type Options struct {
	PinDir      string // folder on a bpf file system that is ours alone
	Mode        Mode   // [ModeAuto]
	MaxSites    uint32 // [131072] sites awake or refusing at once
	MaxListener uint32 // [4 x MaxSites] (VIP, port, protocol) of all sites
	MaxFlows    uint32 // [65536] entries of each table of flows; a lost one is found again
	SiteFlows   uint32 // [4096] entries of one site: connections in their table, and cells of each VIP in the others; well below MaxFlows
	HoldPerSite uint32 // [64] flows of one site that may be held at once, up to 4096; of UDP Flight times as many datagrams
	WakeSource  Rate   // [no limit] wakes that one source may begin
	WakeSite    Rate   // [no limit] wakes of one site that nobody uses
	Proof       Proof  // [ProofAuto] whether sources prove their address before they wake a site
	Log         *slog.Logger
}

// ListenersOfSite is for how many listeners there is room for each of MaxSites, on an
// average.
const ListenersOfSite = 4

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	if o.MaxSites == 0 {
		o.MaxSites = 131072
	}
	if o.MaxListener == 0 {
		o.MaxListener = ListenersOfSite * o.MaxSites
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 65536
	}
	if o.SiteFlows == 0 {
		o.SiteFlows = 4096
	}
	if o.HoldPerSite == 0 {
		o.HoldPerSite = 64
	}
	if o.Proof == "" {
		o.Proof = ProofAuto
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// ErrIncompatible means that the pinned maps were made by a version of fcnode,
// or with a size in its configuration, that this one cannot take over.
var ErrIncompatible = errors.New("pinned maps do not fit this version or its configuration")

// ErrNoBPFFS means that the pin folder is not on a bpf file system.
var ErrNoBPFFS = errors.New("not on a bpf file system")

// Datapath is the loaded programs and the maps they share with the daemon.
// Its methods may be called from several goroutines.
type Datapath struct {
	Denials
	Policy
	Ignoring
	Marks

	objs    dpObjects
	vips    vips
	opts    Options
	mode    Mode
	adopted bool
}

// Open loads the programs and creates the pinned maps, or adopts those that an
// earlier daemon left. Nothing is attached yet.
//
// Errors: ErrNoBPFFS, ErrIncompatible, *ebpf.VerifierError (print with %+v),
// and EPERM without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func Open(o Options) (*Datapath, error) {
	o = o.withDefaults()
	if err := preparePinDir(o.PinDir); err != nil {
		return nil, err
	}
	spec, err := loadDp()
	if err != nil {
		return nil, fmt.Errorf("read the built-in BPF object: %w", err)
	}
	spec.Maps[dpMapFcSites].MaxEntries = o.MaxSites
	spec.Maps[dpMapFcTriggers].MaxEntries = o.MaxSites
	spec.Maps[dpMapFcIgnored].MaxEntries = o.MaxSites
	spec.Maps[dpMapFcIgnoreHow].MaxEntries = o.MaxSites + 1 // and the node
	spec.Maps[dpMapFcEgress].MaxEntries = o.MaxSites + 1    // likewise
	spec.Maps[dpMapFcListeners].MaxEntries = o.MaxListener
	sizeFlows(spec, o.MaxFlows)
	if err := unpinOtherFlows(spec, mapsDir(o.PinDir)); err != nil {
		return nil, err
	}

	d := &Datapath{opts: o, mode: o.Mode}
	d.Denials.objs, d.Policy.objs, d.Ignoring.objs, d.Marks.objs, d.vips.objs = &d.objs, &d.objs, &d.objs, &d.objs, &d.objs
	if d.mode == ModeAuto {
		d.mode = ModeClsact
		if haveTCX() == nil {
			d.mode = ModeTCX
		}
	}
	_, statErr := os.Stat(filepath.Join(mapsDir(o.PinDir), dpMapFcListeners))
	d.adopted = statErr == nil
	err = spec.LoadAndAssign(&d.objs, &ebpf.CollectionOptions{
		Maps: ebpf.MapOptions{PinPath: mapsDir(o.PinDir)},
	})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, fmt.Errorf("adopt the maps pinned in %s: %w: %w: stop all sites and remove the maps by "+
			"fcnode teardown and start again, or go back to the version or sizes that made them",
			mapsDir(o.PinDir), ErrIncompatible, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load the BPF programs and maps (pins in %s): %w", mapsDir(o.PinDir), err)
	}
	err = d.updateSettings(func(s *dpFcSettings) {
		s.HoldPerSite, s.WakeSource, s.WakeSite = o.HoldPerSite, o.WakeSource.raw(), o.WakeSite.raw()
		s.setFlows(o.SiteFlows)
	})
	if err := errors.Join(err, d.setProof(o.Proof, trusted)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Adopted says whether Open found the maps of an earlier daemon.
func (d *Datapath) Adopted() bool { return d.adopted }

// Mode is how programs are attached to devices: ModeTCX or ModeClsact.
func (d *Datapath) Mode() Mode { return d.mode }

// Close closes this process's handles. What is pinned and attached lives on.
func (d *Datapath) Close() error { return d.objs.Close() }

// Remove takes all pins away: with the last handle the maps and links go.
// Programs attached by clsact stay until their device or filter goes.
func Remove(pinDir string) error {
	for _, dir := range []string{linksDir(pinDir), mapsDir(pinDir), pinDir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the pins in %s: %w", dir, err)
		}
	}
	return nil
}

// RemoveMaps unpins the maps alone. Programs that are attached keep theirs;
// Open makes new ones, with which what is attached can be detached.
func RemoveMaps(pinDir string) error {
	if err := os.RemoveAll(mapsDir(pinDir)); err != nil {
		return fmt.Errorf("unpin the maps: %w", err)
	}
	return nil
}

func mapsDir(pinDir string) string  { return filepath.Join(pinDir, "maps") }
func linksDir(pinDir string) string { return filepath.Join(pinDir, "links") }

func preparePinDir(dir string) error {
	parent := filepath.Dir(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(parent, &st); err != nil {
		return fmt.Errorf("look at %s for the pin folder: %w", parent, err)
	}
	if st.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("pin folder %s: %w: mount one there (mount -t bpf bpf %s) or set bpffs in the configuration",
			dir, ErrNoBPFFS, parent)
	}
	for _, p := range []string{mapsDir(dir), linksDir(dir)} {
		if err := os.MkdirAll(p, 0o700); err != nil {
			return fmt.Errorf("make the pin folder: %w", err)
		}
	}
	return nil
}

func (d *Datapath) updateSettings(change func(*dpFcSettings)) error {
	var s dpFcSettings
	if err := d.objs.FcConfig.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read the data path's settings: %w", err)
	}
	change(&s)
	if err := d.objs.FcConfig.Put(uint32(0), s); err != nil {
		return fmt.Errorf("write the data path's settings: %w", err)
	}
	return nil
}

// SetDevice tells the programs which device (fc0) answers go back through.
func (d *Datapath) SetDevice(ifindex int) error {
	return d.updateSettings(func(s *dpFcSettings) { s.Device = uint32(ifindex) })
}

// SetByStack says whether packets take no short way past the machine's stack and
// its firewall. It outlives the daemon.
func (d *Datapath) SetByStack(on bool) error {
	return d.updateSettings(func(s *dpFcSettings) {
		s.ByStack = 0
		if on {
			s.ByStack = 1
		}
	})
}

// SetSink tells the programs the sink's host end, where refusals are sent.
func (d *Datapath) SetSink(ifindex int) error {
	return d.updateSettings(func(s *dpFcSettings) { s.Sink = uint32(ifindex) })
}
