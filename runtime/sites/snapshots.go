package sites

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/volume"
)

// SnapshotVolume implements api.Backend. The site stands still while the volume is
// copied, as for a backup, and runs again when the copy is written to the disk.
func (k KeptVolumes) SnapshotVolume(ctx context.Context, site, name, snapshot string, opts api.SnapshotOptions) (api.TakenSnapshot, error) {
	taken, err := k.takeSnapshot(ctx, site, name, snapshot, opts)
	if err != nil {
		return api.TakenSnapshot{}, volumeError(site, name, err)
	}
	k.table.host.Tell(event.Event{
		Site: site, Kind: event.SnapshotTaken, Reason: fmt.Sprintf("snapshot %s of volume %s; the site stood still for %s", snapshot, name, taken.StillNs.Round(time.Millisecond)),
		Fields: map[string]any{"volume": name, "snapshot": snapshot, "uid": api.PeerUID(ctx), "stillNs": taken.StillNs, "files": taken.Files},
	})
	return taken, nil
}

func (k KeptVolumes) takeSnapshot(ctx context.Context, site, name, snapshot string, opts api.SnapshotOptions) (taken api.TakenSnapshot, err error) {
	kept := k.table.host.NamedVolumes
	if !kept.Has(site, name) {
		return taken, volume.ErrNone
	}
	clones, err := kept.Clones()
	if err == nil && !clones {
		err = volume.ErrNoClones
	}
	if err == nil {
		err = kept.MayKeep(site, name, snapshot)
	}
	if err != nil {
		return taken, err
	}
	copied, about, err := k.backUp(ctx, site, name, opts.BackupOptions)
	if err != nil {
		return taken, err
	}
	err = kept.Keep(copied, site, name, snapshot)
	_ = copied.Close() // a folder, or what was not kept
	if err != nil {
		return taken, err
	}
	have, err := kept.Snapshots(site, name)
	if err != nil {
		return taken, err
	}
	at := slices.IndexFunc(have, func(k volume.Kept) bool { return k.Name == snapshot })
	if at < 0 {
		return taken, volume.ErrNoSnapshot // removed meanwhile
	}
	taken.VolumeSnapshot = api.VolumeSnapshot{Name: snapshot, Made: have[at].Made}
	taken.StillNs, taken.Files, taken.Left = about.StillNs, about.Files, about.Left
	have = slices.Delete(have, at, at+1) // it stays, whatever the clock was when the others were taken
	for len(have) >= opts.Keep && opts.Keep > 0 && len(have) > 0 {
		if err := kept.RemoveSnapshot(site, name, have[0].Name); err != nil {
			return taken, err
		}
		taken.Removed = append(taken.Removed, have[0].Name)
		have = have[1:]
	}
	return taken, nil
}

// RestoreSnapshot implements api.Backend. A copy takes the volume's place, so that
// the snapshot stays what it is.
func (k KeptVolumes) RestoreSnapshot(ctx context.Context, site, name, snapshot string, force bool) error {
	if err := k.restoreSnapshot(ctx, site, name, snapshot, force); err != nil {
		return volumeError(site, name, err)
	}
	k.table.host.Tell(event.Event{
		Site: site, Kind: event.VolumeRestored, Reason: fmt.Sprintf("volume %s is as its snapshot %s now", name, snapshot),
		Fields: map[string]any{"volume": name, "snapshot": snapshot, "uid": api.PeerUID(ctx)},
	})
	return nil
}

func (k KeptVolumes) restoreSnapshot(ctx context.Context, site, name, snapshot string, force bool) error {
	if err := k.restorable(site, force); err != nil {
		return err
	}
	staged, err := k.table.host.NamedVolumes.StageSnapshot(ctx, site, name, snapshot)
	if err != nil {
		return err
	}
	defer staged.Close()
	return k.replace(ctx, staged, site, name, force)
}

// RemoveSnapshot implements api.Backend.
func (k KeptVolumes) RemoveSnapshot(_ context.Context, site, name, snapshot string) error {
	if err := k.table.host.NamedVolumes.RemoveSnapshot(site, name, snapshot); err != nil {
		return volumeError(site, name, err)
	}
	return nil
}

// snapshots are those of a volume.
func (k KeptVolumes) snapshots(site, name string) (out []api.VolumeSnapshot) {
	have, err := k.table.host.NamedVolumes.Snapshots(site, name)
	if err != nil {
		k.table.host.Log.Error("the snapshots of a volume cannot be listed", "site", site, "volume", name, "error", err)
	}
	for _, s := range have {
		out = append(out, api.VolumeSnapshot{Name: s.Name, Made: s.Made})
	}
	return out
}
