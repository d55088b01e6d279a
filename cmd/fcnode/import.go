package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/carry"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newImport(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make specs of compose files and containers",
		Long: `Prints specs of what other tools run. Nothing is applied, and no daemon is needed. What a
spec cannot say, or says otherwise, is listed on standard error, each with its line and
the reason.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newImportCompose(e), newImportContainer(e, "podman"), newImportContainer(e, "docker"))
	return cmd
}

// imported is what all kinds of import share.
type imported struct {
	ports []string
	path  string
	force bool
}

func (i *imported) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&i.ports, "port", nil, "a port of a service that says none, as `SERVICE=PORT` (repeatable)")
	cmd.Flags().StringVarP(&i.path, "file", "f", "-", "write to this `FILE`; - is standard output")
	cmd.Flags().BoolVar(&i.force, "force", false, "replace a file that is there")
}

func (i *imported) byService() (map[string][]spec.Port, error) {
	out := map[string][]spec.Port{}
	for _, text := range i.ports {
		service, port, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--port: %q is not SERVICE=PORT", text)
		}
		p, err := spec.ParsePort(port)
		if err != nil {
			return nil, fmt.Errorf("--port: %w", err)
		}
		out[service] = append(out[service], p)
	}
	return out, nil
}

// print writes the specs, and lists what they lack.
func (i *imported) print(e *env, r carry.Result) error {
	for _, n := range r.Notes {
		fmt.Fprintln(e.stderr, n)
	}
	if len(r.Sites) == 0 {
		return errors.New("nothing of this can be a site; the lines above say why")
	}
	var text bytes.Buffer
	for j := range r.Sites {
		one, err := r.Sites[j].Format()
		if err != nil {
			return err
		}
		if j > 0 {
			text.WriteString("---\n")
		}
		text.Write(one)
	}
	return writeOut(e, text.Bytes(), cmp.Or(i.path, "-"), i.force)
}

func newImportCompose(e *env) *cobra.Command {
	var i imported
	cmd := &cobra.Command{
		Use:   "compose FILE [SERVICE]",
		Short: "Make specs of the services of a compose file",
		Long: `Prints a spec for each service of a compose file, or for one of them. The file is read as
docker compose reads it: with variables of the environment and of .env beside it,
env_file, extends, include, anchors and short forms. - is standard input, read as if it
were in the current folder.

What is not carried over, or means something else here, is listed on standard error:
FILE:LINE: SERVICE: SETTING: reason.`,
		Example: "  fcnode import compose compose.yaml\n  fcnode import compose compose.yaml web --port web=3000 | fcnode apply -f -",
		Args:    cobra.RangeArgs(1, 2),
	}
	i.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ports, err := i.byService()
		if err != nil {
			return err
		}
		file := carry.ComposeFile{Path: args[0], Getenv: e.getenv, Ports: ports}
		if file.Text, err = readArg(e, args[0]); err != nil {
			return err
		}
		if file.Path == "-" {
			file.Path = "compose.yaml"
		}
		r, err := carry.Compose(cmd.Context(), file, strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		return i.print(e, r)
	}
	return cmd
}

// readArg reads a file, or standard input.
func readArg(e *env, path string) ([]byte, error) {
	in := e.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read what is to be imported: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, spec.MaxFile+1))
	if err == nil && len(text) > spec.MaxFile {
		err = fmt.Errorf("%s has more than %s", path, spec.Bytes(spec.MaxFile))
	}
	if err != nil {
		return nil, fmt.Errorf("read what is to be imported: %w", err)
	}
	return text, nil
}

func newImportContainer(e *env, engine string) *cobra.Command {
	var i imported
	cmd := &cobra.Command{
		Use:   engine + " FILE|CONTAINER|-",
		Short: "Make a spec of a container of " + engine,
		Long: fmt.Sprintf(`Prints the spec of a container, made of what "%[1]s inspect" prints: from a file that has
it, from standard input (-), or by running that program with the name of a container.

What is not carried over, or means something else here, is listed on standard error. The
environment and the command of a container are its image's, too, which the spec then
repeats.`, engine),
		Example: fmt.Sprintf("  fcnode import %[1]s web\n  ssh old.example %[1]s inspect web | fcnode import %[1]s -", engine),
		Args:    cobra.ExactArgs(1),
	}
	i.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ports, err := i.byService()
		if err != nil {
			return err
		}
		text, err := inspect(cmd.Context(), e, engine, args[0])
		if err != nil {
			return err
		}
		name := args[0]
		if name == "-" {
			name = "stdin"
		}
		r, err := carry.Inspected(name, text, ports)
		if err != nil {
			return err
		}
		return i.print(e, r)
	}
	return cmd
}

// inspect reads a file, or asks the engine about a container.
func inspect(ctx context.Context, e *env, engine, arg string) ([]byte, error) {
	if _, err := os.Stat(arg); arg == "-" || err == nil {
		return readArg(e, arg)
	}
	if strings.HasPrefix(arg, "-") {
		return nil, fmt.Errorf("%q is no name of a container", arg)
	}
	program, err := exec.LookPath(engine)
	if err != nil {
		return nil, &hinted{
			err:  fmt.Errorf("there is no file %s, and no program %s to ask for a container of that name", arg, engine),
			hint: fmt.Sprintf("where the container is: %s inspect %s > %s.json", engine, arg, arg),
		}
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "inspect", "--type", "container", arg)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s inspect %s: %w: %s", engine, arg, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
