package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/frontend"
	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
)

// routesFlags say what the configuration of a front end is, and where it goes.
type routesFlags struct {
	output string
	follow bool
	file   string
	hook   string
	frontend.Options
}

func newRoutes(e *env) *cobra.Command {
	var flags routesFlags
	formats := append([]string{string(formatTable), string(formatJSON)}, frontend.Programs...)
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Show which domain is served where, or write it for a front end",
		Long: `Shows the domains of sites and the addresses at which they are served. With -o and the
name of a program it writes a configuration for it, in which a site is an address like
any other's: it wakes by the connection, and is not probed. What a program cannot do for
a site is told, and that site left out.

With --write the configuration goes to a file, in one step, and only when it differs;
--hook is then run, to have the program read it. With --follow this goes on: whenever
sites change, the file does. See docs/gateway.md.`,
		Example: `  fcnode routes
  fcnode routes -o nginx --follow --write /etc/nginx/conf.d/fcnode.conf --hook 'nginx -t && systemctl reload nginx'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return err
			}
			return flags.check(formats)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", string(formatTable), strings.Join(formats, ", "))
	f.BoolVarP(&flags.follow, "follow", "f", false, "go on with changes, until interrupted (with --write, or -o json)")
	f.StringVar(&flags.file, "write", "", "write the configuration to this `FILE`")
	f.StringVar(&flags.hook, "hook", "", "run this shell `COMMAND` when the file has changed")
	f.StringVar(&flags.Certificate, "certificate", "", "`FILE` of the certificate for HTTPS; {domain} in it stands for the domain")
	f.StringVar(&flags.Key, "key", "", "`FILE` of its key")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.output == string(formatJSON) {
			return printRoutes(cmd.Context(), e, flags.follow)
		}
		return flags.run(cmd.Context(), e)
	}
	return cmd
}

func (f *routesFlags) check(formats []string) error {
	program := slices.Contains(frontend.Programs, f.output)
	switch {
	case !slices.Contains(formats, f.output):
		return errors.New("-o must be one of " + strings.Join(formats, ", "))
	case f.file != "" && !program:
		return errors.New("--write needs -o with the name of a program")
	case f.hook != "" && f.file == "":
		return errors.New("--hook needs --write")
	case f.follow && f.file == "" && f.output != string(formatJSON):
		return errors.New("--follow needs --write, or -o json")
	case (f.Certificate == "") != (f.Key == "") && f.output != "haproxy":
		return errors.New("--certificate and --key belong together (HAProxy has both in one file: --certificate)")
	case f.Certificate != "" && !program:
		return errors.New("--certificate needs -o with the name of a program")
	}
	return nil
}

func printRoutes(ctx context.Context, e *env, follow bool) error {
	client := e.client()
	defer client.Close()
	for u, err := range client.Routes(ctx, follow) {
		if err != nil {
			return err
		}
		if err := printJSONLine(e.stdout, u); err != nil {
			return err
		}
	}
	return nil
}

// pauseOfRoutes is how long changes are collected before a file is written.
const pauseOfRoutes = 200 * time.Millisecond

// run shows or writes the routes, again and again while it follows them. A daemon that goes away while it does is waited for.
func (f *routesFlags) run(ctx context.Context, e *env) error {
	for {
		err := f.once(ctx, e)
		if !f.follow || ctx.Err() != nil || !errors.Is(err, api.ErrUnreachable) && !errors.Is(err, api.ErrUnavailable) {
			return err
		}
		fmt.Fprintln(e.stderr, "fcnode: the file stays as it is:", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

func (f *routesFlags) once(ctx context.Context, e *env) error {
	client := e.client()
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates, end := make(chan api.RouteUpdate), make(chan error, 1)
	go func() {
		for u, err := range client.Routes(ctx, f.follow) {
			if err != nil {
				end <- err
				return
			}
			select {
			case updates <- u:
			case <-ctx.Done():
			}
		}
		end <- nil
	}()
	known, synced := map[string]api.Route{}, false
	var due <-chan time.Time
	for {
		select {
		case u := <-updates:
			switch {
			case u.Version > api.RoutesVersion:
				return fmt.Errorf("the routes are of version %d, this fcnode reads %d", u.Version, api.RoutesVersion)
			case u.Route != nil:
				known[u.Route.Site] = *u.Route
			case u.Gone != "":
				delete(known, u.Gone)
			}
			if u.Synced {
				synced = true
				if err := f.put(ctx, e, known); err != nil {
					return err
				}
			} else if synced && due == nil {
				due = time.After(pauseOfRoutes)
			}
		case <-due:
			due = nil
			if err := f.put(ctx, e, known); err != nil {
				return err
			}
		case err := <-end:
			return err
		}
	}
}

// put shows the routes, or writes them and runs the hook where that changes the file.
func (f *routesFlags) put(ctx context.Context, e *env, known map[string]api.Route) error {
	routes := make([]api.Route, 0, len(known))
	for _, r := range known {
		routes = append(routes, r)
	}
	slices.SortFunc(routes, func(a, b api.Route) int { return strings.Compare(a.Site, b.Site) })
	if f.output == string(formatTable) {
		return routesTable(e.stdout, routes)
	}
	var out bytes.Buffer
	left, err := frontend.Write(&out, f.output, routes, f.Options)
	if err != nil {
		return err
	}
	for _, l := range left {
		fmt.Fprintf(e.stderr, "fcnode: %s is left out: %s\n", l.Site, l.Reason)
	}
	if f.file == "" {
		_, err := e.stdout.Write(out.Bytes())
		return err
	}
	if before, err := os.ReadFile(f.file); err == nil && bytes.Equal(before, out.Bytes()) {
		return nil
	}
	if err := replaceFile(f.file, out.Bytes()); err != nil {
		return err
	}
	if f.hook == "" {
		return nil
	}
	hook := exec.CommandContext(ctx, "/bin/sh", "-c", f.hook)
	hook.Stdout, hook.Stderr = terminal.Raw(e.stdout), terminal.Raw(e.stderr)
	if err := hook.Run(); err != nil {
		err = fmt.Errorf("%s is written, but the hook failed: %w", f.file, err)
		if !f.follow {
			return err
		}
		fmt.Fprintln(e.stderr, "fcnode:", err)
	}
	return nil
}

// replaceFile has either the old content or the new one in a file at any time.
func replaceFile(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".fcnode-routes")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func routesTable(w io.Writer, routes []api.Route) error {
	var t table
	t.row("DOMAIN", "SITE", "UPSTREAM", "HTTPS", "WWW")
	for _, r := range routes {
		upstream := none
		if len(r.Addresses) > 0 && r.Port != 0 {
			upstream = fmt.Sprintf("%s:%d", r.Addresses[0], r.Port)
		}
		for _, d := range r.Domains {
			t.row(d, r.Site, upstream, orNone(r.HTTPS), orNone(r.WWW))
		}
	}
	return t.print(w)
}
