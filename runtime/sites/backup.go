package sites

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/archive"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

const (
	// stillFor is for how long a site's processes may stand still for a backup where
	// nobody says otherwise: less than visitors are held.
	stillFor = 20 * time.Second
	// restWithin is how long a site may take to come to rest before that, or to be parked.
	restWithin = 30 * time.Second
)

// errStill means that a copy was not made in time.
var errStill = errors.New("it takes longer than the site may stand still")

// volumeCopy is a volume's copy, to be packed.
type volumeCopy struct{ *volume.Snapshot }

// Write implements api.Archive.
func (c volumeCopy) Write(ctx context.Context, w io.Writer) (api.ArchiveResult, error) {
	r, err := archive.Pack(ctx, w, archive.In(c.Dir), "/", archive.Owners{}, ".")
	return Archived(r), err
}

// Archived is an archive's result on the wire.
func Archived(r archive.Result) api.ArchiveResult {
	return api.ArchiveResult{Files: r.Files, Bytes: r.Bytes, Skipped: r.Skipped, Left: r.Left}
}

// BackUp implements api.Backend. What is packed is a copy, so that the site stands
// still while that is made and not while somebody reads it.
func (k KeptVolumes) BackUp(ctx context.Context, site, name string, opts api.BackupOptions) (api.Archive, api.Backup, error) {
	snap, about, err := k.backUp(ctx, site, name, opts)
	if err != nil {
		return nil, about, volumeError(site, name, err)
	}
	shared := "copied"
	if snap.Copied == 0 {
		shared = "sharing its blocks"
	}
	k.table.host.Tell(event.Event{
		Site: site, Kind: event.BackedUp, Reason: fmt.Sprintf("volume %s was copied, %s; the site stood still for %s", name, shared, about.StillNs.Round(time.Millisecond)),
		Fields: map[string]any{"volume": name, "uid": api.PeerUID(ctx), "stillNs": about.StillNs, "files": about.Files},
	})
	return volumeCopy{snap}, about, nil
}

func (k KeptVolumes) backUp(ctx context.Context, site, name string, opts api.BackupOptions) (snap *volume.Snapshot, about api.Backup, err error) {
	kept := k.table.host.NamedVolumes
	if !kept.Has(site, name) {
		return nil, about, volume.ErrNone
	}
	clones, err := kept.Clones()
	if err != nil {
		return nil, about, err
	}
	if clones { // which waits for what is not on the disk yet
		err = kept.Sync()
	}
	if err != nil {
		return nil, about, err
	}
	if !clones { // it is counted while the site runs
		bytes, _, err := kept.Usage(ctx, site, name)
		if err == nil {
			err = kept.Room(bytes)
		}
		if err != nil {
			return nil, about, err
		}
	}
	resume, err := k.pause(ctx, site, name)
	if err != nil {
		return nil, about, err
	}
	defer resume()
	// Not before: a start that waits for the volume would be waited for by the pause.
	release, err := kept.Hold(site, name)
	if err != nil {
		return nil, about, err
	}
	defer release()
	most := opts.StillFor
	if most == 0 {
		most = stillFor
	}
	within, cancel := context.WithTimeoutCause(ctx, most, errStill)
	defer cancel()
	begin := time.Now()
	snap, err = kept.Snapshot(within, site, name)
	if err != nil {
		return nil, about, err
	}
	resume()
	return snap, api.Backup{StillNs: time.Since(begin), ClonedBytes: snap.Cloned, CopiedBytes: snap.Copied, Files: snap.Files, Left: snap.Left}, nil
}

// pause stops all that may write to a volume.
func (k KeptVolumes) pause(ctx context.Context, site, name string) (resume func(), err error) {
	e, err := k.table.ByName(site)
	if err != nil || k.free(site, name) == nil {
		return func() {}, nil // nobody has it
	}
	ctx, cancel := context.WithTimeout(ctx, restWithin)
	defer cancel()
	return life.Pause(ctx, e)
}

// RestoreVolume implements api.Backend. All is unpacked and on the disk before the
// site is touched.
func (k KeptVolumes) RestoreVolume(ctx context.Context, site, name string, force bool, in io.Reader) (api.ArchiveResult, error) {
	r, err := k.restore(ctx, site, name, force, in)
	if err != nil {
		return api.ArchiveResult{}, volumeError(site, name, err)
	}
	k.table.host.Tell(event.Event{
		Site: site, Kind: event.VolumeRestored, Reason: fmt.Sprintf("volume %s has %d files of an archive now", name, r.Files),
		Fields: map[string]any{"volume": name, "uid": api.PeerUID(ctx), "files": r.Files},
	})
	return Archived(r), nil
}

func (k KeptVolumes) restore(ctx context.Context, site, name string, force bool, in io.Reader) (r archive.Result, err error) {
	kept := k.table.host.NamedVolumes
	if err := k.restorable(site, force); err != nil {
		return r, err
	}
	staged, err := kept.Stage()
	if err != nil {
		return r, err
	}
	defer staged.Close()
	r, err = archive.Unpack(ctx, in, archive.In(staged.Dir), "/", archive.Unpacking{Keep: true, Fresh: true})
	if err != nil {
		return r, err
	}
	origin := volume.Origin{}
	if infos, err := kept.List(site); err == nil {
		for _, v := range infos {
			if v.Name == name {
				origin = v.Origin
			}
		}
	}
	if err := staged.Sync(origin); err != nil {
		return r, err
	}
	return r, k.replace(ctx, staged, site, name, force)
}

// restorable says why no volume of a site can be replaced now; nil: it can.
func (k KeptVolumes) restorable(site string, force bool) error {
	if why := k.table.host.Quarantine.Sites()[site]; why != nil {
		return fmt.Errorf("the site cannot be read, and may come back: %w", why)
	}
	e, _ := k.table.ByName(site) // there may be none, or none any more
	if e != nil && !force && life.AnyAwake(e) {
		return life.ErrAwake
	}
	return nil
}

// replace empties the site and gives it the volume.
func (k KeptVolumes) replace(ctx context.Context, staged *volume.Staged, site, name string, force bool) error {
	release, err := k.table.host.NamedVolumes.Hold(site, name)
	if err != nil {
		return err
	}
	defer release()
	e, err := k.table.ByName(site)
	if err != nil {
		return staged.Replace(site, name)
	}
	var grace spec.Duration
	if rec, err := k.table.host.Store.Get(site); err == nil {
		grace = rec.Spec.Stop.Grace
	}
	within, cancel := context.WithTimeout(ctx, restWithin+time.Duration(grace))
	defer cancel()
	reopen, err := life.Empty(within, e, "volume "+name+" is restored", force)
	if err != nil {
		return err
	}
	err = staged.Replace(site, name)
	reopen()
	return errors.Join(err, life.WakeAgain(e, "scale.min, after a volume was restored"))
}

// volumeError gives an error about a volume the form that the API has for it.
func volumeError(site, name string, err error) error {
	what := fmt.Sprintf("volume %q of site %q: %v", name, site, err)
	busy := func(hint string) error { return &api.Error{Code: api.CodeBusy, Message: what, Hint: hint} }
	switch {
	case errors.Is(err, volume.ErrNone):
		return NoVolume(site, name)
	case errors.Is(err, volume.ErrNoSnapshot):
		return &api.Error{Code: api.CodeNotFound, Message: what, Hint: "fcnode volume inspect " + site + "/" + name + " shows its snapshots"}
	case errors.Is(err, volume.ErrNoClones):
		return &api.Error{
			Code: api.CodeUnavailable, Message: what,
			Hint: "fcnode volume backup " + site + "/" + name + " FILE writes an archive on any file system; for snapshots put the folder of volumes on xfs or btrfs",
		}
	case errors.Is(err, volume.ErrSnapshotTaken):
		return busy("give another name, or none, or remove it: fcnode volume remove " + site + "/" + name + "@SNAPSHOT")
	case errors.Is(err, volume.ErrManySnapshots):
		return busy("--keep removes the oldest ones, and so does fcnode volume remove " + site + "/" + name + "@SNAPSHOT")
	case errors.Is(err, errStill):
		return &api.Error{
			Code: api.CodeUnavailable, Message: what,
			Hint: "park the site first (fcnode park " + site + "), allow more by --still-for, or put the volumes on xfs or btrfs, where a copy shares its blocks",
		}
	case errors.Is(err, life.ErrAwake):
		return busy("fcnode park " + site + ", or --force, which parks it and cuts its connections")
	case errors.Is(err, life.ErrNoRest), errors.Is(err, life.ErrPaused), errors.Is(err, volume.ErrHeld):
		return busy("try again in a moment; fcnode get " + site + " shows what it does")
	case errors.Is(err, volume.ErrNoRoom):
		return &api.Error{Code: api.CodeUnavailable, Message: what, Hint: "free some of the disk; on xfs or btrfs a copy shares its blocks and needs no room"}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &api.Error{Code: api.CodeUnavailable, Message: what, Hint: "nothing was changed; free some of the disk"}
	case errors.Is(err, archive.ErrHostile), errors.Is(err, archive.ErrNoArchive):
		return &api.Error{Code: api.CodeInvalid, Message: what, Hint: "nothing was changed"}
	case errors.Is(err, life.ErrStopping):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return fmt.Errorf("volume %q of site %q: %w", name, site, err)
}
