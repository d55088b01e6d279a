package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newVolume(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Show, back up, snapshot, restore and remove the volumes that the node keeps",
		Long: `Named volumes (volumes[].name of a spec, and what images declare as VOLUME) belong to
the node. They stay when their site is deleted, unless by delete --purge, and a site of
the same name finds them again.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newVolumeList(e), newVolumeInspect(e), newVolumeBackup(e), newVolumeSnapshot(e), newVolumeRestore(e), newVolumeRemove(e))
	return cmd
}

func newVolumeList(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list [SITE]",
		Short:             "List named volumes",
		Aliases:           []string{"ls"},
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		volumes, err := client.Volumes(cmd.Context(), strings.Join(args, ""))
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, volumes)
		}
		var t table
		t.row("VOLUME", "TARGET", "USED", "SNAPSHOTS", "AGE")
		for _, v := range volumes {
			t.row(v.Site+"/"+v.Name, dash(v.Target), used(&v), fmt.Sprint(len(v.Snapshots)), age(e.now().Sub(v.Made)))
		}
		return t.print(e.stdout)
	}
	return cmd
}

func used(v *api.Volume) string {
	if v.Used {
		return "yes"
	}
	return "no"
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func newVolumeInspect(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "inspect SITE/VOLUME",
		Short:             "Show one named volume, and count what is in it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeVolumes(e, 1, cobra.ShellCompDirectiveNoFileComp),
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		site, name, err := volumeArg(args[0])
		if err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		v, err := client.Volume(cmd.Context(), site, name)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, v)
		}
		var t table
		for _, row := range [][2]string{
			{"site", v.Site}, {"name", v.Name}, {"path", v.Path}, {"target", dash(v.Target)}, {"filled from", dash(v.Image)},
			{"age", age(e.now().Sub(v.Made))}, {"used", used(&v)}, {"size", size(v.Bytes)}, {"files", fmt.Sprint(v.Files)},
		} {
			t.row(row[0], row[1])
		}
		for _, s := range v.Snapshots {
			t.row("snapshot", s.Name+", "+age(e.now().Sub(s.Made))+" ago")
		}
		return t.print(e.stdout)
	}
	return cmd
}

func newVolumeRemove(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove SITE/VOLUME[@SNAPSHOT]...",
		Short: "Remove named volumes that no site has, or snapshots",
		Long: `Removes the volumes with all that is in them, and their snapshots. One that a site has is
refused. With @SNAPSHOT that alone is removed, whoever has the volume.`,
		Aliases:           []string{"rm"},
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeVolumes(e, 0, cobra.ShellCompDirectiveNoFileComp),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		for _, arg := range args {
			site, name, snapshot, err := snapshotArg(arg)
			switch {
			case err != nil:
			case snapshot != "":
				err = client.RemoveSnapshot(cmd.Context(), site, name, snapshot)
			default:
				err = client.RemoveVolume(cmd.Context(), site, name)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s  removed\n", arg)
		}
		return nil
	}
	return cmd
}

func volumeArg(arg string) (site, name string, err error) {
	site, name, ok := strings.Cut(arg, "/")
	if !ok || site == "" || name == "" {
		return "", "", &hinted{err: errors.New(arg + " is not the name of a volume: it is SITE/VOLUME"), hint: "fcnode volume list shows them"}
	}
	return site, name, nil
}
