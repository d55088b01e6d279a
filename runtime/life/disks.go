package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/disk"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Looks at what sites have on disk. Where the kernel enforces their limits a look
// costs a system call; elsewhere it reads the site's folders.
const (
	DiskLook = time.Second // at how much is free

	diskEvery = 30 * time.Second // at what each site has
	diskSoon  = 2 * time.Second  // the same, while the disk fills
	diskFill  = 16 << 20         // bytes that were free at the last look and are not any more

	diskFull   = 0.95 // of a limit: it is as good as reached
	diskCalmed = 0.90 // below this the next time is told again
)

// Disks bounds what sites keep in the state folder.
type Disks struct {
	projects *disk.Projects // nil: its file system has no quotas that hold
	host     *Host
	choosing sync.Mutex // one project is chosen at a time

	mu    sync.Mutex
	sites map[string]*diskState // by name, those that are live and have a limit
	last  time.Time             // look at each site
	free  uint64                // then
	room  room
}

type diskState struct {
	use  disk.Use
	told bool // that it is full
}

// Open finds out by what means sites can be bounded, and says why not by the
// kernel.
func (d *Disks) Open(h *Host) error {
	d.host, d.room.turn = h, make(chan struct{}, 1)
	q, err := disk.OpenQuotas(h.Cfg.StateDir)
	if err == nil {
		d.projects = &disk.Projects{Quotas: q, Names: "/etc/projid"}
	}
	return err
}

// Close lets go of the file system.
func (d *Disks) Close() error {
	if d.projects == nil {
		return nil
	}
	return d.projects.Close()
}

func diskLimit(s *spec.Site) disk.Use {
	return disk.Use{Bytes: uint64(s.Limits.Disk.Bytes), Inodes: uint64(s.Limits.Disk.Inodes)}
}

// ByQuota says whether the kernel holds a site to limits.disk. Root of the
// machine's own user namespace may give its files to another project, and so go round
// a quota: such a site is watched.
func (d *Disks) ByQuota(s *spec.Site) bool {
	return d.projects != nil && d.host.Cfg.Privileges.OwnUserns(s)
}

// layerDir has the writable layer of a replica.
func layerDir(r *Replica, stateDir string) string {
	return filepath.Join(stateDir, "replicas", r.containerID())
}

// bound gives a new replica's folder to the project of its site, and sets the
// limit that the spec has now. The project's home is the folder of the site's log,
// which lives as long as the site.
func (d *Disks) bound(s *spec.Site, dir string) error {
	p := d.projects
	if p == nil {
		return nil
	}
	d.choosing.Lock()
	defer d.choosing.Unlock()
	home := d.host.LogDir(s.Name)
	project, err := disk.ProjectOf(home)
	if err != nil {
		return err
	}
	most := diskLimit(s)
	bound := most != disk.Use{} && d.ByQuota(s)
	if !bound && project == 0 {
		return nil
	}
	if !bound { // it was before
		return p.Limit(project, disk.Use{})
	}
	if project == 0 {
		if project, err = p.For(home, s.Name); err != nil {
			return err
		}
	}
	if err := p.Limit(project, most); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return disk.SetProject(dir, project)
}

// Free takes the limit of a site that is being deleted from its project, so that the
// number is nobody's when its files are gone.
func (d *Disks) Free(name string) error {
	if d.projects == nil {
		return nil
	}
	project, err := disk.ProjectOf(d.host.LogDir(name))
	if err != nil || project == 0 {
		return err
	}
	return d.projects.Limit(project, disk.Use{})
}

// boundImage counts a new checkpoint to its site, or says that it is too much.
func (d *Disks) boundImage(ctx context.Context, st *Site, s *spec.Site, bytes uint64) error {
	most := diskLimit(s)
	if most == (disk.Use{}) {
		return nil
	}
	dir := d.host.checkpointDir(st.Name)
	use, err := d.use(ctx, s, foldersOf(st), disk.Use{})
	if err != nil {
		return err
	}
	if d.ByQuota(s) { // it is nobody's yet
		image, err := disk.Measure(ctx, disk.Use{}, dir)
		if err != nil {
			return err
		}
		use = use.Add(image)
	}
	if use.Over(most) {
		return fmt.Errorf("with the image, of %s, the site would keep %s in %d files, which is more than %s", sizeOf(bytes), sizeOf(use.Bytes), use.Inodes, diskLimitOf(use, s))
	}
	if !d.ByQuota(s) {
		return nil
	}
	project, err := disk.ProjectOf(d.host.LogDir(st.Name))
	if err != nil || project == 0 {
		return err
	}
	return disk.SetProjectOfAll(dir, project)
}

// foldersOf are where a site keeps what limits.disk counts.
func foldersOf(st *Site) []string {
	dirs := []string{st.Host.LogDir(st.Name), st.Host.checkpointDir(st.Name)}
	st.With(func(l *Live) {
		if l.Activity == nil {
			return
		}
		for _, r := range l.Replicas {
			dirs = append(dirs, layerDir(r, st.Host.Cfg.StateDir))
		}
	})
	return dirs
}

// use is what a site keeps. Where it has to be measured that ends at a limit.
func (d *Disks) use(ctx context.Context, s *spec.Site, folders []string, most disk.Use) (disk.Use, error) {
	if !d.ByQuota(s) {
		return disk.Measure(ctx, most, folders...)
	}
	project, err := disk.ProjectOf(d.host.LogDir(s.Name))
	if err != nil || project == 0 {
		return disk.Use{}, err
	}
	use, _, err := d.projects.Get(project)
	return use, err
}

// Use is what a live site with a limit kept at the last look.
func (d *Disks) Use(name string) (use disk.Use, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state := d.sites[name]; state != nil {
		return state.use, true
	}
	return use, false
}

// Watch looks at what live sites keep, when it is time for that.
func (d *Disks) Watch() {
	h := d.host
	space, err := disk.SpaceOf(h.Cfg.StateDir)
	if err != nil {
		h.Log.Error("cannot tell how much of the disk is free", "error", err)
		return
	}
	if !d.due(time.Now(), space.Free) {
		return
	}
	seen := map[string]bool{}
	for _, st := range h.Awake.All() {
		var s *spec.Site
		h.each(st, func(l *Live) {
			if l.Activity != nil && diskLimit(l.Spec) != (disk.Use{}) {
				s = l.Spec
			}
		})
		if s == nil {
			continue
		}
		seen[st.Name] = true
		if h.Stopped() {
			return
		}
		h.Guard(st, func() { d.lookAt(st, s) })
	}
	d.looked(time.Now(), space.Free, seen)
}

// due says whether it is time for a look at all sites.
func (d *Disks) due(now time.Time, free uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := now.Sub(d.last)
	return since >= diskEvery || since >= diskSoon && free+diskFill <= d.free
}

// looked notes that there was one, and drops what is known of other sites.
func (d *Disks) looked(now time.Time, free uint64, at map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.free = now, free
	for name := range d.sites {
		if !at[name] {
			delete(d.sites, name)
		}
	}
}

// note keeps what was found of a site, and says whether that is news.
func (d *Disks) note(name string, use disk.Use, share float64) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sites == nil {
		d.sites = map[string]*diskState{}
	}
	state := d.sites[name]
	if state == nil {
		state = &diskState{}
		d.sites[name] = state
	}
	news = share >= diskFull && !state.told
	state.use, state.told = use, share >= diskFull || state.told && share >= diskCalmed
	return news
}

// lookAt tells of a site that has reached its limit; where the kernel does not hold
// it to that, it is stopped.
func (d *Disks) lookAt(st *Site, s *spec.Site) {
	h, most := d.host, diskLimit(s)
	use, err := d.use(h.Ctx, s, foldersOf(st), most)
	deep := errors.Is(err, disk.ErrTooDeep)
	if err != nil && !deep {
		if !h.Stopped() {
			h.Log.Error("cannot tell how much disk a site uses", "site", st.Name, "error", err)
		}
		return
	}
	news := d.note(st.Name, use, use.Share(most))
	if d.ByQuota(s) {
		if news {
			h.Tell(diskFullEvent(st.Name, use, s, "it is at its limit: what it writes to its root file system fails"))
		}
		return
	}
	if !use.Over(most) && !deep {
		return
	}
	what := "it is over its limit, which this node cannot enforce as it is reached: all of its replicas are ended, and what they have written with them"
	if deep {
		what = "its folders are nested deeper than anybody measures: all of its replicas are ended, and what they have written with them"
	}
	h.Tell(diskFullEvent(st.Name, use, s, what))
	oust(st, "ended for what the site keeps on disk (limits.disk)")
}

// oust ends the replicas of a site, whatever they are at. Its next visitor gets a
// fresh one.
func oust(st *Site, why string) (ousted []*Replica) {
	st.With(func(l *Live) {
		l.DropSleep(why)
		if l.Activity == nil {
			return
		}
		for _, r := range l.Replicas {
			if r.gate != nil {
				r.gate.drop() // it would be opened for the next visitor
			}
			if r.Ctr != nil && !r.stopping {
				r.ousted = why
				ousted = append(ousted, r)
			}
		}
	})
	for _, r := range ousted {
		st.Host.Go(func() {
			if err := r.Ctr.Kill(st.Host.Ctx); err != nil {
				st.Host.Log.Error("cannot end a replica of a site that fills the disk", "replica", r.Name, "error", err)
			}
		})
	}
	return ousted
}

// diskLimitOf is the one that a site has reached.
func diskLimitOf(use disk.Use, s *spec.Site) string {
	most := s.Limits.Disk
	if most.Bytes == 0 || most.Inodes > 0 && use.Inodes >= uint64(float64(most.Inodes)*diskFull) {
		return fmt.Sprintf("limits.disk.inodes, %s", most.Inodes)
	}
	return fmt.Sprintf("limits.disk.bytes, %s", most.Bytes)
}

func diskFullEvent(name string, use disk.Use, s *spec.Site, what string) event.Event {
	most := s.Limits.Disk
	return event.Event{
		Site: name, Kind: event.DiskFull,
		Reason: fmt.Sprintf("the site keeps %s in %d files: %s", sizeOf(use.Bytes), use.Inodes, diskLimitOf(use, s)),
		Text:   what,
		Fields: map[string]any{"bytes": use.Bytes, "inodes": use.Inodes, "maxBytes": uint64(most.Bytes), "maxInodes": uint64(most.Inodes)},
	}
}

// sizeOf is for people.
func sizeOf(bytes uint64) string { return spec.Bytes(bytes &^ (1<<10 - 1)).String() }
