package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/archive"
)

func newCp(e *env) *cobra.Command {
	var replica string
	var opts api.WriteOptions
	cmd := &cobra.Command{
		Use:   "cp FROM TO",
		Short: "Copy files out of and into replicas and volumes",
		Long: `Copies a file, or a folder with all that is in it. One of FROM and TO is

  SITE:/PATH                  in a running replica of a site
  volume:SITE/VOLUME:/PATH    in a volume that the node keeps; its site may sleep

and the other one a path on this machine, or - for a tar archive on standard input or
output. A path that begins like one of those is written ./like:this.

As cp -r does, it copies into TO if that is a folder, and else under this name; of a
folder that is given as FROM/. it copies the contents. A symbolic link is followed if
FROM is one itself, never out of the replica or the volume, and is copied as a link
otherwise. A file gets its name when it is complete.

Files get the owner of the file that they replace, else root; on this machine they are
yours. Set-user-ID bits are dropped. --archive keeps owners (for root), these bits and
extended attributes. Owners are the numbers that the site sees. Sockets, devices and
what is the kernel's (/proc, /sys) are left out and listed.

It needs no program in the image. A site that sleeps is not woken: fcnode wake does.`,
		Example: `  fcnode cp blog:/var/log/app.log .
  fcnode cp ./theme blog:/var/www/html/wp-content/themes/ --chown www-data
  fcnode cp volume:blog/html:/wp-content/uploads /backup/
  fcnode cp blog:/etc - | tar -t`,
		Args: cobra.ExactArgs(2),
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	flags := cmd.Flags()
	flags.StringVar(&replica, "replica", "", "use the replica with this `ID` (default the oldest)")
	flags.BoolVarP(&opts.Keep, "archive", "a", false, "keep owners, set-user-ID bits and extended attributes")
	flags.StringVar(&opts.Chown, "chown", "", "give all that is copied into the site to `USER[:GROUP]`, by name as its passwd has it or number")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, errFrom := parsePlace(args[0])
		to, errTo := parsePlace(args[1])
		if err := errors.Join(errFrom, errTo); err != nil {
			return err
		}
		switch {
		case (from == nil) == (to == nil):
			return &hinted{err: errors.New("one of FROM and TO is in a site, and the other one is not"), hint: "a path in a site is SITE:/PATH or volume:SITE/VOLUME:/PATH"}
		case from != nil && opts.Chown != "":
			return errors.New("--chown is for what is copied into a site")
		}
		client := e.client()
		defer client.Close()
		if from != nil {
			from.Replica = replica
			return copyOut(cmd.Context(), e, client, *from, args[1], opts.Keep)
		}
		to.Replica = replica
		return copyIn(cmd.Context(), e, client, args[0], *to, opts)
	}
	return cmd
}

// parsePlace reads an argument; nil: it is a path on this machine.
func parsePlace(arg string) (*api.FilePlace, error) {
	head, rest, ok := strings.Cut(arg, ":")
	if !ok || strings.Contains(head, "/") || strings.HasPrefix(arg, ".") {
		return nil, nil
	}
	p := &api.FilePlace{Site: head, Path: rest}
	if head == "volume" {
		name, inside, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, fmt.Errorf("%s: a path in a volume is volume:SITE/VOLUME:/PATH", arg)
		}
		var err error
		if p.Site, p.Volume, err = volumeArg(name); err != nil {
			return nil, err
		}
		p.Path = inside
	}
	if !strings.HasPrefix(p.Path, "/") {
		return nil, &hinted{err: fmt.Errorf("%s: the path in the site is not absolute", arg), hint: "a path on this machine with a colon is written ./" + arg}
	}
	return p, nil
}

// copyOut writes what is copied as a tar archive, or unpacks it here.
func copyOut(ctx context.Context, e *env, client *api.Client, from api.FilePlace, to string, keep bool) error {
	if to == "-" {
		out := terminal.Raw(e.stdout)
		if _, is := terminal.File(out); is {
			return &hinted{err: errors.New("an archive is nothing for a terminal"), hint: "redirect the output, or name a file"}
		}
		result, err := client.ReadFiles(ctx, from, out)
		if err == nil {
			tellSkipped(e, result)
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	type outcome struct {
		result api.ArchiveResult
		err    error
	}
	sent := make(chan outcome, 1)
	go func() {
		var o outcome
		o.result, o.err = client.ReadFiles(ctx, from, w)
		_ = w.CloseWithError(o.err) // never fails
		sent <- o
	}()
	// What comes is the site's: nothing of it is written outside of TO.
	got, err := archive.Unpack(ctx, r, archive.Local, to, archive.Unpacking{Keep: keep})
	_ = r.CloseWithError(err) // never fails
	o := <-sent
	if err != nil {
		return err
	}
	if o.err != nil {
		return o.err
	}
	o.result.Left += got.Left
	o.result.Skipped = append(o.result.Skipped, got.Skipped...)
	tellSkipped(e, o.result)
	return nil
}

// copyIn sends a tar archive of what is here, or the one that comes in.
func copyIn(ctx context.Context, e *env, client *api.Client, from string, to api.FilePlace, opts api.WriteOptions) error {
	if from == "-" {
		return fromFile(e, from, func(in io.Reader) error {
			result, err := client.WriteFiles(ctx, to, opts, in)
			if err == nil {
				tellSkipped(e, result)
			}
			return err
		})
	}
	if err := archive.Local.Check(from); err != nil {
		return err
	}
	name := "" // as the path has it
	switch clean := path.Clean(from); {
	case clean == ".":
		name = "."
	case path.Base(clean) == "..": // which is not what the folder is called
		if at, err := os.Getwd(); err == nil {
			name = path.Base(path.Join(at, clean))
		}
	}
	r, w := io.Pipe()
	packed := make(chan archive.Result, 1)
	go func() {
		result, err := archive.Pack(ctx, w, archive.Local, from, archive.Owners{}, name)
		_ = w.CloseWithError(err) // never fails
		packed <- result
	}()
	result, err := client.WriteFiles(ctx, to, opts, r)
	_ = r.CloseWithError(io.ErrClosedPipe) // never fails
	had := <-packed
	if err != nil {
		return err
	}
	result.Left += had.Left
	result.Skipped = append(result.Skipped, had.Skipped...)
	tellSkipped(e, result)
	return nil
}
