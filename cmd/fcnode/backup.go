package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/packed"
	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
)

func newVolumeBackup(e *env) *cobra.Command {
	var opts api.BackupOptions
	var compress string
	cmd := &cobra.Command{
		Use:   "backup SITE/VOLUME FILE|-",
		Short: "Write a volume as a tar archive",
		Long: `Writes a volume as a tar archive that is consistent in itself: all processes of the
site stand still while the volume is copied beside itself, and the copy is packed.
On xfs and btrfs the copy shares its blocks with the volume: its time depends on the
number of files, about a second for 5,000. On other file systems the data are copied,
which takes room on the disk and the time that the disk needs. A copy that takes longer
than --still-for is given up; a site that is parked need not stand still. Visitors wait
meanwhile and lose nothing.

The archive has owners, modes, times, extended attributes, hard links, FIFOs, and holes
of files as holes; GNU tar reads it. Sockets and devices are left out and listed.
The name of the file says how it is compressed: .tar, .tar.gz (.tgz) or .tar.zst. It is
written aside and renamed when it is complete.`,
		Example: "  fcnode volume backup blog/html /backup/blog-html.tar.zst\n  fcnode volume backup blog/html - | ssh vault 'cat > blog-html.tar'",
		Args:    cobra.ExactArgs(2),
	}
	cmd.ValidArgsFunction = completeVolumes(e, 1, cobra.ShellCompDirectiveDefault)
	flags := cmd.Flags()
	flags.DurationVar(&opts.StillFor, "still-for", 0, "give up a copy for which the site stands still longer than `TIME` (default 20s)")
	flags.StringVar(&compress, "compress", "", "compress by `none, gzip or zstd` (default by the file's name; none for -)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		site, name, err := volumeArg(args[0])
		if err != nil {
			return err
		}
		if opts.StillFor < 0 {
			return errors.New("--still-for is negative")
		}
		client := e.client()
		defer client.Close()
		var about api.Backup
		var result api.ArchiveResult
		err = toFile(e, args[1], compress, func(w io.Writer) error {
			result, err = client.BackUp(cmd.Context(), site, name, opts, w, func(b api.Backup) { about = b })
			return err
		})
		if err != nil {
			return err
		}
		tellBackup(e, args[0], about, result)
		return nil
	}
	return cmd
}

// toFile has an archive written to a file, or to standard output.
func toFile(e *env, path, compress string, write func(io.Writer) error) error {
	kind, known := packed.KindOf(path)
	switch {
	case compress != "":
		kind = compress
	case path == "-":
		kind = "none"
	case !known:
		return &hinted{err: fmt.Errorf("%s: the name does not say how it is compressed", path), hint: "call it .tar, .tar.gz or .tar.zst, or say --compress none"}
	}
	out := terminal.Raw(e.stdout)
	var file *packed.File
	if path != "-" {
		var err error
		if file, err = packed.Create(path); err != nil {
			return err
		}
		defer file.Drop()
		out = file
	} else if _, is := terminal.File(out); is {
		return &hinted{err: errors.New("an archive is nothing for a terminal"), hint: "redirect the output, or name a file"}
	}
	w, err := packed.Writer(out, kind)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		_ = w.Close() // it has failed already
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if file != nil {
		return file.Done()
	}
	return nil
}

func tellBackup(e *env, what string, b api.Backup, r api.ArchiveResult) {
	how := "copied"
	if b.CopiedBytes == 0 {
		how = "its blocks shared"
	}
	fmt.Fprintf(e.stderr, "%s  %d files, %s; the site stood still for %s (%s)\n", what, r.Files, size(r.Bytes), b.StillNs.Round(time.Millisecond), how)
	r.Left += b.Left
	if b.Left > 0 {
		r.Skipped = append(r.Skipped, fmt.Sprintf("%d devices and sockets", b.Left))
	}
	tellSkipped(e, r)
}

func tellSkipped(e *env, r api.ArchiveResult) {
	if r.Left == 0 {
		return
	}
	fmt.Fprintf(e.stderr, "left out, %d in all:\n", r.Left)
	for _, s := range r.Skipped {
		fmt.Fprintf(e.stderr, "  %s\n", s)
	}
}

func newVolumeRestore(e *env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore SITE/VOLUME FILE|- | SITE/VOLUME@SNAPSHOT",
		Short: "Put an archive, or a snapshot, in the place of a volume",
		Long: `Unpacks a tar archive, compressed by gzip, zstd or not, beside the volume and puts it in
its place in one step when all of it is on the disk: after an error, or a crash at any
moment, the volume is what it was. What was in it before is removed. With @SNAPSHOT it is a
copy of that, which the snapshot shares its blocks with.

A site of which a replica is awake is refused, unless with --force: it is parked then,
with its connections cut, when the archive is unpacked. Its visitors are held from then
until the volume is in place. A checkpoint of the site is thrown away, as it remembers
files of the old volume. A volume that is not there is made, also for a site that will
be applied later.

No entry is written outside of the volume or over a symbolic link. Owners, set-user-ID
bits and capabilities are those of the archive, as volumes are mounted nosuid and no
user of the node may enter them. Devices are left out and listed.`,
		Example: "  fcnode volume restore blog/html /backup/blog-html.tar.zst --force\n  fcnode volume restore blog/html@before-update --force",
		Args:    cobra.RangeArgs(1, 2),
	}
	cmd.ValidArgsFunction = completeVolumes(e, 1, cobra.ShellCompDirectiveDefault)
	cmd.Flags().BoolVar(&force, "force", false, "park the site if it is awake")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return restoreSnapshot(cmd, e, args[0], force)
		}
		site, name, err := volumeArg(args[0])
		if err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		var result api.ArchiveResult
		err = fromFile(e, args[1], func(r io.Reader) error {
			result, err = client.RestoreVolume(cmd.Context(), site, name, force, r)
			return err
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s  restored: %d files, %s\n", args[0], result.Files, size(result.Bytes))
		tellSkipped(e, result)
		return nil
	}
	return cmd
}

// fromFile has an archive read from a file, or from standard input.
func fromFile(e *env, path string, read func(io.Reader) error) error {
	in := e.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	} else if _, is := terminal.File(in); is {
		return &hinted{err: errors.New("an archive does not come from a terminal"), hint: "redirect the input, or name a file"}
	}
	r, err := packed.Reader(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer r.Close()
	return read(r)
}
