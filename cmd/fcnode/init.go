package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newInit(e *env) *cobra.Command {
	var (
		w     wishes
		path  string
		force bool
	)
	cmd := &cobra.Command{
		Use:   "init [SITE] [flags]",
		Short: "Write the spec of a new site",
		Long: `Writes a spec to a file, SITE.yaml in the current folder unless --file says otherwise.
On a terminal it asks for what the flags do not say; without one the flags have to say
it all. Nothing is applied, and no daemon is needed. fcnode deploy pulls the image, writes
the spec into the node's folder and applies it, in one step.`,
		Example: "  fcnode init\n  fcnode init blog --image docker.io/library/wordpress:6-apache --port 80 --file -",
		Args:    cobra.MaximumNArgs(1),
	}
	w.flags(cmd)
	cmd.Flags().StringVarP(&path, "file", "f", "", "write to this `FILE`; - is standard output")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := strings.Join(args, "")
		if e.interactive() {
			if err := w.askFor(cmd.Context(), newAsker(e), &name); err != nil {
				return err
			}
		}
		if name == "" || w.image == "" || len(w.ports) == 0 {
			return &hinted{err: errors.New("a spec has a name, an image and ports"), hint: "fcnode init SITE --image IMAGE --port PORT"}
		}
		s := spec.New(name)
		s.Image = w.image
		if err := w.into(&s); err != nil {
			return err
		}
		if _, err := image.ParseRef(w.image); err != nil {
			return fmt.Errorf("--image: %w", err)
		}
		text, err := s.Format()
		if err != nil {
			return err
		}
		return writeOut(e, text, cmp.Or(path, name+".yaml"), force)
	}
	return cmd
}

// writeOut writes specs to a file that is not there yet, or to standard output, and
// says which command comes next.
func writeOut(e *env, text []byte, path string, force bool) error {
	if path == "-" {
		_, err := e.stdout.Write(text)
		return err
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return &hinted{err: fmt.Errorf("%s is there already", path), hint: "--force replaces it, --file names another one"}
	}
	swap, err := file.Put(path, text, 0o600) // specs have passwords
	if err == nil {
		err = swap.Keep()
	}
	if err != nil {
		return fmt.Errorf("write the spec: %w", err)
	}
	fmt.Fprintf(e.stderr, "fcnode: %s is written; next: fcnode apply -f %s\n", path, path)
	return nil
}

// askFor asks for what no flag has said.
func (w *wishes) askFor(ctx context.Context, a *asker, name *string) error {
	for _, q := range []struct {
		question, otherwise string
		skip                bool
		take                func(answer string) error
	}{
		{"Name of the site", "", *name != "", func(s string) error {
			*name = s
			if !spec.IsLabel(s) {
				return errors.New("up to 63 of a-z, 0-9 and \"-\"")
			}
			return nil
		}},
		{"Image, like docker.io/library/wordpress:6-apache", "", w.image != "", func(s string) error {
			w.image = s
			_, err := image.ParseRef(s)
			return err
		}},
		{"Ports on which it answers", "80", len(w.ports) > 0, func(s string) error {
			w.ports = words(s)
			return (&wishes{ports: w.ports}).tried()
		}},
		{"Domains (none: by its address only)", "", len(w.domains) > 0, func(s string) error {
			w.domains = words(s)
			return (&wishes{domains: w.domains}).tried()
		}},
		{"Volumes, as NAME:TARGET or /HOST:TARGET (none: what it writes is lost when it sleeps)", "", len(w.vols) > 0, func(s string) error {
			w.vols = words(s)
			return (&wishes{vols: w.vols}).tried()
		}},
	} {
		for !q.skip {
			answer, err := a.ask(ctx, q.question, q.otherwise)
			if err != nil {
				return err
			}
			if err = q.take(answer); err == nil {
				break
			}
			fmt.Fprintf(a.e.stderr, "  %v\n", err)
		}
	}
	return nil
}

// tried says what is wrong with them in a site of which all else is right.
func (w *wishes) tried() error {
	s := spec.New("site")
	s.Image, s.Ports = "dir:/site", []spec.Port{{Port: 80, Proto: "tcp"}}
	return w.into(&s)
}

// words are those between spaces and commas.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
}
