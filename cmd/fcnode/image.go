package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newImage(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Pull, show and remove the images that the node has",
		Long: `An image is unpacked once, and layers are shared by all images that have them. Images
that no site has go by themselves within a day; those that a site had before it was changed
last are kept for "fcnode rollback".

IMAGE is a digest, the beginning of one, or the name by which a site has it.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newImagePull(e), newImageList(e), newImageInspect(e), newImageRemove(e), newImagePrune(e))
	return cmd
}

func newImagePull(e *env) *cobra.Command {
	return &cobra.Command{
		Use:               "pull NAME...",
		Short:             "Unpack images before a site names them",
		Long:              "Unpacks what the names mean now, as fcnode apply does, and prints the digests. NAME is what a spec has as image.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			client := e.client()
			defer client.Close()
			for _, ref := range args {
				image, err := pull(cmd.Context(), e, client, ref)
				if err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "%s  %s\n", ref, image.Digest)
			}
			return nil
		},
	}
}

func newImageList(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List images",
		Long:              "SIZE is of all layers of an image, OWN of those that no other image has: what comes free when it is removed.",
		Aliases:           []string{"ls"},
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		images, err := client.Images(cmd.Context())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, images)
		}
		var t table
		t.row("DIGEST", "NAME", "SIZE", "OWN", "SITES", "AGE")
		for i := range images {
			m := &images[i]
			t.row(shortDigest(m.Digest), dash(strings.Join(m.Refs, " ")), size(int64(m.Bytes)), size(int64(m.Own)), users(m), age(e.now().Sub(m.Unpacked)))
		}
		return t.print(e.stdout)
	}
	return cmd
}

// users is who needs an image, in short.
func users(m *api.StoredImage) string {
	switch n := len(m.Sites); {
	case n > 3:
		return fmt.Sprintf("%s and %d more", strings.Join(m.Sites[:2], ", "), n-2)
	case n > 0:
		return strings.Join(m.Sites, ", ")
	case m.Used:
		return "(kept)"
	}
	return "-"
}

// shortDigest is enough of a digest to tell images apart.
func shortDigest(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func newImageInspect(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "inspect IMAGE",
		Short:             "Show one image, its layers, and how it is run",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImages(e, 1),
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		digest, err := imageArg(cmd, client, args[0])
		if err != nil {
			return err
		}
		m, err := client.Image(cmd.Context(), digest)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, m)
		}
		var t table
		if m.Run == nil {
			m.Run = &api.ImageRun{}
		}
		for _, row := range [][2]string{
			{"digest", m.Digest}, {"names", dash(strings.Join(m.Refs, " "))}, {"sites", users(&m)},
			{"size", fmt.Sprintf("%s, %s of them in no other image", size(int64(m.Bytes)), size(int64(m.Own)))}, {"age", age(e.now().Sub(m.Unpacked))},
			{"ports", strings.Join(m.Ports, " ")}, {"volumes", strings.Join(m.Volumes, " ")}, {"architecture", m.Architecture},
			{"entrypoint", quoted(m.Run.Entrypoint)}, {"command", quoted(m.Run.Command)}, {"user", m.Run.User}, {"workdir", m.Run.Workdir}, {"stop signal", m.Run.StopSignal},
		} {
			if row[1] != "" {
				t.row(row[0], row[1])
			}
		}
		for _, v := range m.Run.Env {
			t.row("env", v)
		}
		for _, l := range m.LayerList {
			t.row("layer", fmt.Sprintf("%s  %s  in %s", shortDigest(l.ID), size(int64(l.Bytes)), plural(l.Images, "image")))
		}
		return t.print(e.stdout)
	}
	return cmd
}

// quoted shows words so that one can tell where each ends.
func quoted(words []string) string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'") {
			w = fmt.Sprintf("%q", w)
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

func newImageRemove(e *env) *cobra.Command {
	return &cobra.Command{
		Use:               "remove IMAGE...",
		Short:             "Remove images that no site has",
		Long:              "Removes images, with the layers that no other image has. One that a site has, or had before it was changed last, is refused.",
		Aliases:           []string{"rm"},
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImages(e, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := e.client()
			defer client.Close()
			for _, arg := range args {
				digest, err := imageArg(cmd, client, arg)
				if err != nil {
					return err
				}
				if err := client.RemoveImage(cmd.Context(), digest); err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "%s  removed\n", digest)
			}
			return nil
		},
	}
}

func newImagePrune(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Remove all images that no site has",
		Long: `Removes the images that no site has, nor had before it was changed last, as the daemon
does by itself twice a day. An image that was looked up since the last time stays once more:
somebody may be about to use it.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := e.client()
			defer client.Close()
			pruned, err := client.PruneImages(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s and %s removed\n", plural(pruned.Images, "image"), plural(pruned.Layers, "layer"))
			return nil
		},
	}
}

// imageArg finds the image that somebody means.
func imageArg(cmd *cobra.Command, client *api.Client, arg string) (digest string, err error) {
	images, err := client.Images(cmd.Context())
	if err != nil {
		return "", err
	}
	var found []string
	for i := range images {
		m := &images[i]
		if m.Digest == arg {
			return arg, nil
		}
		if slices.Contains(m.Refs, arg) || strings.HasPrefix(m.Digest, arg) || strings.HasPrefix(strings.TrimPrefix(m.Digest, "sha256:"), arg) {
			found = append(found, m.Digest)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &hinted{err: errors.New("the node has no image " + arg), hint: "fcnode image list shows those that it has"}
	}
	return "", &hinted{err: fmt.Errorf("%s may be any of %d images", arg, len(found)), hint: "give more of the digest: " + strings.Join(found, " ")}
}
