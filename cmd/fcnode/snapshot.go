package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newVolumeSnapshot(e *env) *cobra.Command {
	var opts api.SnapshotOptions
	cmd := &cobra.Command{
		Use:   "snapshot SITE/VOLUME [SNAPSHOT]",
		Short: "Keep a copy of a volume that shares its blocks with it",
		Long: `Copies a volume beside itself, on xfs with reflinks and on btrfs: files of the copy share
their blocks with the volume's, so that it takes room only as far as they differ later. All
processes of the site stand still for as long as it takes to make so many files, about a
second for 5,000; visitors wait meanwhile and lose nothing. On other file systems it is
refused: volume backup works on any.

Without SNAPSHOT it is named after the time, as 20261201-221500 (UTC). volume inspect lists
snapshots; volume restore SITE/VOLUME@SNAPSHOT puts a copy of one in the volume's place,
and volume remove SITE/VOLUME@SNAPSHOT removes it. They are removed with their volume, and
are no backup: they are on the same disk. A volume has up to 100.`,
		Example:           "  fcnode volume snapshot blog/html before-update\n  fcnode volume snapshot blog/html --keep 7",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeVolumes(e, 1, cobra.ShellCompDirectiveNoFileComp),
	}
	cmd.Flags().DurationVar(&opts.StillFor, "still-for", 0, "give up a copy for which the site stands still longer than `TIME` (default 20s)")
	cmd.Flags().IntVar(&opts.Keep, "keep", 0, "then remove all but the newest `N` snapshots of the volume (default: none)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		site, name, err := volumeArg(args[0])
		if err != nil {
			return err
		}
		if opts.StillFor < 0 || opts.Keep < 0 {
			return errors.New("--still-for or --keep is negative")
		}
		snapshot := e.now().UTC().Format("20060102-150405")
		if len(args) > 1 {
			snapshot = args[1]
		}
		client := e.client()
		defer client.Close()
		taken, err := client.SnapshotVolume(cmd.Context(), site, name, snapshot, opts)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s@%s  %d files; the site stood still for %s\n", args[0], taken.Name, taken.Files, taken.StillNs.Round(time.Millisecond))
		if taken.Left > 0 {
			fmt.Fprintf(e.stdout, "left out: %d devices and sockets\n", taken.Left)
		}
		for _, old := range taken.Removed {
			fmt.Fprintf(e.stdout, "%s@%s  removed\n", args[0], old)
		}
		return nil
	}
	return cmd
}

// snapshotArg reads SITE/VOLUME@SNAPSHOT; snapshot is "" without the last part.
func snapshotArg(arg string) (site, name, snapshot string, err error) {
	volume, snapshot, is := strings.Cut(arg, "@")
	if is && snapshot == "" {
		return "", "", "", &hinted{err: errors.New(arg + " is not the name of a snapshot: it is SITE/VOLUME@SNAPSHOT"), hint: "fcnode volume inspect " + volume + " shows them"}
	}
	site, name, err = volumeArg(volume)
	return site, name, snapshot, err
}

// restoreSnapshot puts a snapshot in its volume's place.
func restoreSnapshot(cmd *cobra.Command, e *env, arg string, force bool) error {
	site, name, snapshot, err := snapshotArg(arg)
	if err != nil {
		return err
	}
	if snapshot == "" {
		return &hinted{err: errors.New("neither an archive nor a snapshot is named"), hint: "SITE/VOLUME FILE, SITE/VOLUME - or SITE/VOLUME@SNAPSHOT"}
	}
	client := e.client()
	defer client.Close()
	if err := client.RestoreSnapshot(cmd.Context(), site, name, snapshot, force); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s/%s  is as its snapshot %s\n", site, name, snapshot)
	return nil
}
