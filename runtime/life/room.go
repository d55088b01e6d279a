package life

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/disk"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
)

// A site that fills the disk of the state folder takes it from all others. So the
// node keeps some of it (disk.reserve) in a file. When less than that is free
// besides, or a start finds no room, the site that fills it is ended, and not
// started again until there is room; if that does not help the file is given up,
// so that others go on. State and events have room of their own (file.Reserve).

const (
	roomShare   = 20               // the reserve is at most this part of the disk
	roomInodes  = 1000             // that are to be free, and at most that part of all
	recently    = 10 * time.Minute // in which who fills the disk has written
	searchTime  = 10 * time.Second // for who that is
	oustingTime = 10 * time.Second // until its files are gone
)

// room is what is known of a disk that is full.
type room struct {
	turn chan struct{}   // of one: held by who makes room
	kept map[string]bool // sites that are not started; guarded by the mu of Disks
	told bool
	made time.Time // when there was some last; of the turn's holder

	untaken string // why there is no reserve, as logged last; of who looks
}

// refuses says why a site is not started; nil: it is.
func (d *Disks) refuses(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.room.kept[name] {
		return nil
	}
	return fmt.Errorf("the disk of %s is almost full, and this site was filling it: free some of it, and see limits.disk", d.host.Cfg.StateDir)
}

func noSpace(err error) bool {
	return errors.Is(err, container.ErrNoSpace) || errors.Is(err, unix.ENOSPC)
}

func (d *Disks) reserveFile() string { return filepath.Join(d.host.Cfg.StateDir, "reserve") }

// floor is what is to be free.
func (d *Disks) floor(s disk.Space) disk.Use {
	return disk.Use{Bytes: min(uint64(d.host.Cfg.Disk.Reserve), s.Total/roomShare), Inodes: min(roomInodes, s.Inodes/roomShare)}
}

// lacks says whether less is free than times the floor.
func (d *Disks) lacks(s disk.Space, times uint64) bool {
	floor := d.floor(s)
	return s.Free < times*floor.Bytes || s.FreeInodes < times*floor.Inodes
}

// KeepRoom makes room where there is none, and takes the reserve again where there
// is.
func (d *Disks) KeepRoom() {
	s, err := disk.SpaceOf(d.host.Cfg.StateDir)
	switch {
	case err != nil: // Watch tells
	case d.host.Cfg.Disk.Reserve == 0:
	case d.lacks(s, 1):
		d.makeRoom(d.host.Ctx)
	case !d.lacks(s, 2):
		d.mu.Lock()
		d.room.kept, d.room.told = nil, false
		d.mu.Unlock()
		why := ""
		if err := d.takeReserve(int64(d.floor(s).Bytes)); err != nil {
			if why = err.Error(); why != d.room.untaken {
				d.host.Log.Error("the disk has no reserve for now; it is tried again", "error", err)
			}
		}
		d.room.untaken = why
	}
}

// takeReserve makes the file, if it is not there and takes no more than a quarter of what
// is free.
func (d *Disks) takeReserve(size int64) error {
	f, err := os.OpenFile(d.reserveFile(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Reserve(f, size), f.Close())
}

// makeRoom ends who fills the disk, or gives the reserve up, and says whether that may
// have helped.
func (d *Disks) makeRoom(ctx context.Context) bool {
	if d.host == nil || d.host.Cfg.Disk.Reserve == 0 {
		return false
	}
	select {
	case d.room.turn <- struct{}{}:
		defer func() { <-d.room.turn }()
	case <-ctx.Done():
		return false
	}
	space, err := disk.SpaceOf(d.host.Cfg.StateDir)
	if err != nil || !d.lacks(space, 1) {
		return err == nil && time.Since(d.room.made) < recently // another one has made some
	}
	st, has := d.whoFills(ctx, space)
	if st != nil {
		d.endFiller(ctx, st, has)
	}
	d.room.made = time.Now()
	if space, err = disk.SpaceOf(d.host.Cfg.StateDir); err != nil || !d.lacks(space, 1) {
		return err == nil
	}
	err = os.Remove(d.reserveFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.host.Log.Error("the reserve on disk cannot be given up", "error", err)
	}
	d.tellLow(err == nil, st)
	return true
}

// tellLow tells once that the disk is as good as full.
func (d *Disks) tellLow(gaveUp bool, st *Site) {
	d.mu.Lock()
	told := d.room.told
	d.room.told = true
	d.mu.Unlock()
	if told {
		return
	}
	ev := event.Event{Kind: event.DiskLow, Reason: fmt.Sprintf("the disk of %s is almost full", d.host.Cfg.StateDir)}
	if st == nil {
		ev.Reason += ", and no site has filled it of late"
	}
	if gaveUp {
		ev.Text = "the node's reserve (disk.reserve) is given up until there is room again"
	}
	d.host.Tell(ev)
}

// endFiller ends a site, and waits until its writable layers are gone.
func (d *Disks) endFiller(ctx context.Context, st *Site, has disk.Use) {
	d.mu.Lock()
	if d.room.kept == nil {
		d.room.kept = map[string]bool{}
	}
	first := !d.room.kept[st.Name]
	d.room.kept[st.Name] = true
	d.mu.Unlock()
	if first {
		d.host.Tell(event.Event{
			Site: st.Name, Kind: event.DiskLow,
			Reason: fmt.Sprintf("the disk of %s is almost full, and the site has written %s of late, in %d files", d.host.Cfg.StateDir, sizeOf(has.Bytes), has.Inodes),
			Text:   "all of its replicas are ended, and none is started until there is room: find out what it writes, and give it a limit (limits.disk)",
			Fields: map[string]any{"bytes": has.Bytes, "inodes": has.Inodes},
		})
	}
	ousted := oust(st, "ended for filling the disk")
	ctx, cancel := context.WithTimeout(ctx, oustingTime)
	defer cancel()
	_ = st.Wait(ctx, func(a *Activity) bool { // if it does not come the reserve is given up
		if a == nil {
			return true
		}
		for _, r := range ousted {
			if a.Replicas[r.ID] == r {
				return false
			}
		}
		return true
	})
}

// whoFills finds the live site that has the most in files that were made of late, if
// that is as much as is to be free; else in files that were changed of late, which
// a large database always has. What a site has kept for long is not why the disk is full
// now.
func (d *Disks) whoFills(ctx context.Context, space disk.Space) (*Site, disk.Use) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	floor := d.floor(space)
	byInodes := space.Free >= floor.Bytes
	var byNew, byChanged suspect
	for _, st := range d.host.Awake.All() {
		folders := append(foldersOf(st), filepath.Join(d.host.NamedVolumes.Dir(), st.Name))
		made, changed, err := disk.MeasureSince(ctx, time.Now().Add(-recently), folders...)
		if err != nil && ctx.Err() == nil && !errors.Is(err, disk.ErrTooDeep) {
			d.host.Log.Error("cannot tell how much a site writes", "site", st.Name, "error", err)
		}
		byNew.compare(st, made, byInodes)
		byChanged.compare(st, changed, byInodes)
	}
	for _, s := range []suspect{byNew, byChanged} {
		if byInodes && s.has.Inodes >= floor.Inodes || !byInodes && s.has.Bytes >= floor.Bytes {
			return s.site, s.has
		}
	}
	return nil, disk.Use{}
}

// suspect is the site that has the most.
type suspect struct {
	site *Site
	has  disk.Use
}

func (s *suspect) compare(st *Site, has disk.Use, byInodes bool) {
	if byInodes && has.Inodes > s.has.Inodes || !byInodes && has.Bytes > s.has.Bytes {
		s.site, s.has = st, has
	}
}
