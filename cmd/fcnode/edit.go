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

What is wrong is said with its line, and the editor opened again with the text as it was
left. Who gives up finds the text in the file that is named. An edit that somebody else
was faster than is not written.`,
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
	*asker
	name string
	file api.SpecFile
	path string // of the text that is edited
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
	was := d.file.Text
	for {
		if err := runEditor(ctx, d.deployment.e, d.path); err != nil {
			return d.left(err)
		}
		// Signals until now were the editor's.
		ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
		err := d.once(ctx, was)
		stop()
		switch {
		case err == nil, d.applied:
			return errors.Join(err, os.Remove(d.path))
		case !d.deployment.e.interactive(), errors.Is(err, context.Canceled):
			return d.left(err)
		}
		report(d.deployment.e.stderr, err)
		answer, askErr := d.ask("Edit it again? (y/n)", "y")
		if askErr != nil || !strings.HasPrefix(strings.ToLower(answer), "y") {
			return d.left(errors.New("the spec is not changed"))
		}
	}
}

// left names the file with the text.
func (d *editing) left(err error) error {
	return &hinted{err: err, hint: "the text is in " + d.path}
}

// errNotMeant ends what somebody does not want any more.
var errNotMeant = errors.New("it was not applied")

func (d *editing) once(ctx context.Context, was string) error {
	e := d.deployment.e
	text, err := os.ReadFile(d.path)
	if err != nil {
		return fmt.Errorf("read what was edited: %w", err)
	}
	if string(text) == was {
		fmt.Fprintln(e.stderr, "fcnode: the text is as it was")
		return nil
	}
	file := d.file
	file.Text = string(text)
	label := cmp.Or(d.file.Path, d.path)
	now, err := spec.Parse(label, strings.NewReader(file.Text))
	if err != nil {
		return err
	}
	before, _ := spec.Parse(label, strings.NewReader(was)) // none where something was wrong
	for i := range now {
		if err := d.compare(ctx, before, &now[i]); err != nil {
			return err
		}
	}
	if e.interactive() {
		answer, err := d.ask("Apply this? (y/n)", "y")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(strings.ToLower(answer), "y") {
			return errNotMeant
		}
	}
	return d.write(ctx, d.name, file, nil)
}

// compare shows what is new of a site, and pulls its image if that is.
func (d *editing) compare(ctx context.Context, before []spec.Site, now *spec.Site) error {
	was := siteOf(before, now.Name)
	if !d.json {
		if err := printDifferences(d.deployment.e, now.Name, was, now); err != nil {
			return err
		}
	}
	if was != nil && was.Image == now.Image {
		return nil
	}
	_, err := pull(ctx, d.deployment.e, d.client, now.Image)
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
