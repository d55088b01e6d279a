package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newEdit(e *env) *cobra.Command {
	var d deployment
	cmd := &cobra.Command{
		Use:   "edit SITE",
		Short: "Edit a site's spec, and apply it",
		Long: `Opens the file of a site's spec in $VISUAL, $EDITOR or vi, shows in which fields the
specs differ afterwards, and writes and applies them, both or neither. On a terminal it
asks before that. A site that is in no file is edited as the daemon keeps it.

A mistake is told with its line, and on a terminal the editor opens again with the text
as it was left. If you give up, the text stays in a file that is named. If the site's
file has changed meanwhile, the edit is not written.`,
		Example: "  fcnode edit blog\n  EDITOR='sed -i s/4GiB/8GiB/' fcnode edit blog",
	}
	return d.command(cmd, e, func(ctx context.Context, name string) error {
		file, err := d.client.SpecFile(ctx, name)
		if err != nil {
			return err
		}
		if !file.Saved && file.Text == "" {
			return &hinted{
				err:  fmt.Errorf("site %q: %w", name, api.ErrNotFound),
				hint: "fcnode list shows the sites of this node; fcnode deploy and fcnode init make new ones",
			}
		}
		return (&editing{deployment: &d, asker: newAsker(e), name: name, file: file}).run(ctx)
	})
}

// editing is one fcnode edit.
type editing struct {
	*deployment
	asker *asker
	name  string
	file  api.SpecFile // as it was
	path  string       // of the text that is edited
}

func (d *editing) run(ctx context.Context) error {
	f, err := os.CreateTemp("", "fcnode-"+d.name+"-*.yaml") // 0600: specs have passwords
	if err == nil {
		d.path = f.Name()
		_, err = f.WriteString(d.file.Text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write the text to be edited: %w", err)
	}
	for again := true; again; {
		if err := runEditor(ctx, d.e, d.path); err != nil {
			return d.left(err)
		}
		// Signals until now were the editor's.
		ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
		again, err = d.edited(ctx)
		stop()
		switch {
		case d.applied:
			return errors.Join(err, os.Remove(d.path))
		case err != nil:
			return d.left(err)
		}
	}
	return os.Remove(d.path)
}

// edited takes what was edited, and says whether it is to be edited again.
func (d *editing) edited(ctx context.Context) (again bool, err error) {
	err = d.once(ctx)
	if err == nil || d.applied || !d.e.interactive() || errors.Is(err, context.Canceled) {
		return false, err
	}
	report(d.e.stderr, err)
	again, err = d.asker.yes(ctx, "Edit it again?")
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil || !again:
		return false, errors.New("the spec is not changed")
	}
	return true, nil
}

// left names the file with the text, also to who has interrupted and is told
// nothing else.
func (d *editing) left(err error) error {
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(d.e.stderr, "fcnode: the text is in %s\n", d.path)
		return err
	}
	return &hinted{err: err, hint: "the text is in " + d.path}
}

func (d *editing) once(ctx context.Context) error {
	text, err := os.ReadFile(d.path)
	if err != nil {
		return fmt.Errorf("read what was edited: %w", err)
	}
	if string(text) == d.file.Text {
		fmt.Fprintln(d.e.stderr, "fcnode: the text is as it was")
		return nil
	}
	file := d.file
	file.Text = string(text)
	label := cmp.Or(file.Path, d.path)
	now, err := spec.Parse(label, strings.NewReader(file.Text))
	if err != nil {
		return err
	}
	before, _ := spec.Parse(label, strings.NewReader(d.file.Text)) // none where something was wrong
	for i := range now {
		if err := d.compare(ctx, before, &now[i]); err != nil {
			return err
		}
	}
	if d.e.interactive() {
		meant, err := d.asker.yes(ctx, "Apply this?")
		if err != nil {
			return err
		}
		if !meant {
			return errors.New("it was not applied")
		}
	}
	return d.write(ctx, d.name, file, nil)
}

// compare shows what is new of a site, and pulls its image if that is.
func (d *editing) compare(ctx context.Context, before []spec.Site, now *spec.Site) error {
	was := siteOf(before, now.Name)
	if !d.json {
		if err := printDifferences(d.e, now.Name, was, now); err != nil {
			return err
		}
	}
	if was != nil && was.Image == now.Image {
		return nil
	}
	_, err := pull(ctx, d.e, d.client, now.Image)
	return err
}

// runEditor has a file edited, by what a shell makes of the variable: it may have
// arguments. Interrupts are the editor's.
func runEditor(ctx context.Context, e *env, path string) error {
	editor := cmp.Or(e.getenv("VISUAL"), e.getenv("EDITOR"), "vi")
	ours := make(chan os.Signal, 1)
	signal.Notify(ours, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(ours)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", editor+` "$1"`, "fcnode", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, terminal.Raw(e.stdout), terminal.Raw(e.stderr)
	if err := cmd.Run(); err != nil {
		return &hinted{err: fmt.Errorf("edit %s with %s: %w", path, editor, err), hint: "$VISUAL or $EDITOR names the editor"}
	}
	return nil
}
