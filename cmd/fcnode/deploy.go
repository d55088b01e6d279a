package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

// deployTimeout is for how long deploy waits for fresh replicas.
const deployTimeout = 5 * time.Minute

func newDeploy(e *env) *cobra.Command {
	var (
		w wishes
		d deployment
	)
	cmd := &cobra.Command{
		Use:   "deploy SITE [--image IMAGE] [flags]",
		Short: "Run an image as a site, or give a site a new one",
		Long: `Pulls the image, writes the site's spec into the node's folder of specs (sitesDir of
the configuration), and applies it. Without such a folder the spec goes to the daemon
alone, as by apply. Of a site that exists only the named fields change: comments and all
else in its file stay.

--domain and --port replace what the spec says; --volume, --secret and --env change the volume of
that target, the variable of that name, and leave the others. A new site without --port
has the ports that its image exposes.

Nothing is done by half: with an image that cannot be had or cannot run here, or on a
full disk, the file, the node's spec and the running site stay as they were. A site that
is awake circulates, and deploy waits until fresh replicas have taken over. Where they
do not start the old ones go on serving.`,
		Example: `  fcnode deploy blog --image docker.io/library/wordpress:6-apache --domain blog.example.com --volume html:/var/www/html
  fcnode deploy blog --image docker.io/library/wordpress:6.8-apache
  fcnode deploy shop --env DB_HOST=10.1.0.5 --volume /srv/shop:/data:ro --dry-run`,
	}
	w.flags(cmd)
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "check everything, print what would change in the spec, and change nothing")
	return d.command(cmd, e, func(ctx context.Context, name string) error {
		file, err := d.client.SpecFile(ctx, name)
		if err != nil {
			return err
		}
		was, err := specIn(file, name)
		if err != nil {
			return err
		}
		if file.Text, err = w.text(ctx, e, d.client, name, file); err != nil {
			return err
		}
		return d.write(ctx, name, file, was)
	})
}

// wishes are what the flags say about a spec.
type wishes struct {
	image                       string
	domains, ports, vols, envar []string
	secrets                     []string
}

func (w *wishes) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.image, "image", "", "the `IMAGE`: registry.example/path:tag, oci:/path[:tag], docker-archive:/path.tar or dir:/path")
	f.StringSliceVar(&w.domains, "domain", nil, "a `NAME` by which visitors find the site (repeatable)")
	f.StringSliceVar(&w.ports, "port", nil, "a `PORT` on which it answers, like 80 or 53/udp (repeatable)")
	f.StringArrayVarP(&w.vols, "volume", "v", nil, "a `VOLUME`, as NAME:TARGET (kept by the node) or /HOST:TARGET, with :ro behind it read-only (repeatable)")
	f.StringArrayVar(&w.secrets, "secret", nil, "a `SECRET` of the node's, as NAME (in /run/secrets), NAME:TARGET or, in the environment, VARIABLE=NAME (repeatable)")
	f.StringArrayVarP(&w.envar, "env", "e", nil, "a variable of the site's environment, as `NAME=VALUE` (repeatable)")
}

// text is what the file is to say: of a site that is in it, with what the flags
// change; else with a new site.
func (w *wishes) text(ctx context.Context, e *env, client *api.Client, name string, file api.SpecFile) (string, error) {
	site, err := specIn(file, name)
	if err != nil {
		return "", err
	}
	isNew := site == nil
	if isNew {
		if w.image == "" {
			return "", &hinted{err: fmt.Errorf("there is no site %s, and a new one needs an image", name), hint: "--image names it"}
		}
		fresh := spec.New(name)
		site = &fresh
	}
	if w.image != "" {
		img, err := pull(ctx, e, client, w.image)
		if err != nil {
			return "", err
		}
		site.Image = w.image
		if isNew && len(w.ports) == 0 {
			if err := exposed(site, img); err != nil {
				return "", err
			}
		}
	}
	if err := w.into(site); err != nil {
		return "", err
	}
	if !isNew {
		out, err := spec.Rewrite(shown(file, name), []byte(file.Text), site)
		return string(out), err
	}
	out, err := site.Format()
	if err != nil {
		return "", err
	}
	return file.Text + string(out), nil
}

// shown is how the text of a file is called in errors.
func shown(file api.SpecFile, name string) string {
	if file.Path == "" || !file.Saved {
		return "the spec of site " + name
	}
	return file.Path
}

// specIn finds a site in a text; nil: it is not in it.
func specIn(file api.SpecFile, name string) (*spec.Site, error) {
	all, err := spec.Parse(shown(file, name), strings.NewReader(file.Text))
	if err != nil {
		return nil, err
	}
	return siteOf(all, name), nil
}

// siteOf finds a site by its name; nil: it is not there.
func siteOf(all []spec.Site, name string) *spec.Site {
	i := slices.IndexFunc(all, func(s spec.Site) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// exposed gives a site the ports of its image.
func exposed(s *spec.Site, img api.Image) error {
	for _, text := range img.Ports {
		if p, err := spec.ParsePort(text); err == nil { // there are others than tcp and udp
			s.Ports = append(s.Ports, p)
		}
	}
	if len(s.Ports) == 0 {
		return &hinted{err: fmt.Errorf("image %s exposes no port", s.Image), hint: "--port says on which the site answers"}
	}
	return nil
}

// into writes them into a spec.
func (w *wishes) into(s *spec.Site) error {
	if len(w.domains) > 0 {
		s.Domains = w.domains
	}
	if len(w.ports) > 0 {
		s.Ports = nil
	}
	for _, text := range w.ports {
		p, err := spec.ParsePort(text)
		if err != nil {
			return fmt.Errorf("--port: %w", err)
		}
		s.Ports = append(s.Ports, p)
	}
	for _, text := range w.vols {
		v, err := spec.ParseVolume(text)
		if err != nil {
			return fmt.Errorf("--volume: %w", err)
		}
		i := slices.IndexFunc(s.Volumes, func(have spec.Volume) bool { return have.Target == v.Target })
		if i < 0 {
			s.Volumes = append(s.Volumes, v)
		} else {
			s.Volumes[i] = v
		}
	}
	for _, text := range w.secrets {
		v, err := spec.ParseSecret(text)
		if err != nil {
			return fmt.Errorf("--secret: %w", err)
		}
		i := slices.IndexFunc(s.Secrets, func(have spec.Secret) bool { return have.Place() == v.Place() })
		if i < 0 {
			s.Secrets = append(s.Secrets, v)
		} else {
			s.Secrets[i] = v
		}
	}
	for _, text := range w.envar {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return fmt.Errorf("--env: %q is not NAME=VALUE", text)
		}
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		s.Env[name] = value
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("the spec would be wrong: %w", err)
	}
	return nil
}

// deployment changes a site, and waits for what comes of it.
type deployment struct {
	e            *env
	client       *api.Client
	json, dryRun bool
	wait         time.Duration // for fresh replicas; 0: not at all
	applied      bool          // the node has taken the change over
}

// command makes one that changes a site of the cobra one, with the flags that all
// of them have.
func (d *deployment) command(cmd *cobra.Command, e *env, run func(ctx context.Context, name string) error) *cobra.Command {
	d.e = e
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), completeSites(e, 1)
	output := addOutput(cmd)
	noWait := cmd.Flags().Bool("no-wait", false, "do not wait for fresh replicas of a site that is awake")
	timeout := cmd.Flags().Duration("timeout", deployTimeout, "wait for fresh replicas for this `TIME` at most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d.json, d.client = *output == formatJSON, e.client()
		defer d.client.Close()
		if !*noWait {
			d.wait = *timeout
		}
		return run(cmd.Context(), args[0])
	}
	return cmd
}

// write applies a text. was is the site that it had before; nil: none.
func (d *deployment) write(ctx context.Context, name string, file api.SpecFile, was *spec.Site) error {
	return d.change(ctx, name, func() ([]api.ApplyResult, error) {
		return d.client.WriteSpec(ctx, name, file, d.dryRun)
	}, func(_ *api.Site, results []api.ApplyResult) error {
		return d.print(name, file, was, results)
	})
}

// change has the node change a site, and shows what comes of it beside what the site
// was before.
func (d *deployment) change(ctx context.Context, name string, apply func() ([]api.ApplyResult, error), show func(before *api.Site, results []api.ApplyResult) error) error {
	before, err := d.client.Get(ctx, name)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	since, err := newestEvent(ctx, d.client)
	if err != nil {
		return err
	}
	results, err := apply()
	if err != nil {
		return err
	}
	d.applied = !d.dryRun
	warn(d.e, results)
	if d.json {
		show = func(_ *api.Site, results []api.ApplyResult) error { return printJSON(d.e.stdout, results) }
	}
	if err := show(&before, results); err != nil {
		return err
	}
	return d.await(ctx, &before, since, results)
}

func (d *deployment) print(name string, file api.SpecFile, was *spec.Site, results []api.ApplyResult) error {
	if d.dryRun && was == nil {
		fmt.Fprint(d.e.stdout, file.Text)
	} else if d.dryRun {
		now, err := specIn(file, name)
		if err == nil {
			err = printDifferences(d.e, name, was, now)
		}
		if err != nil {
			return err
		}
	}
	if err := printApplied(d.e, results, d.dryRun); err != nil {
		return err
	}
	if file.Path != "" {
		verb := "is in"
		if d.dryRun {
			verb = "would be in"
		}
		fmt.Fprintf(d.e.stderr, "fcnode: its spec %s %s\n", verb, file.Path)
	}
	return nil
}

// await waits until a site that was awake has fresh replicas.
func (d *deployment) await(ctx context.Context, before *api.Site, since uint64, results []api.ApplyResult) error {
	i := slices.IndexFunc(results, func(r api.ApplyResult) bool { return r.Name == before.Name })
	if d.dryRun || d.wait == 0 || len(before.Replicas) == 0 || i < 0 || results[i].Action == api.ActionUnchanged {
		return nil
	}
	begin := d.e.now()
	ctx, cancel := context.WithTimeoutCause(ctx, d.wait, &hinted{
		err:  fmt.Errorf("site %q was not circulated within %s; its spec is applied, and the old replicas go on serving until fresh ones do", before.Name, d.wait),
		hint: "fcnode events --site " + before.Name + " shows what is tried",
	})
	defer cancel()
	site, err := d.client.Get(ctx, before.Name)
	if err == nil && !replaced(before, &site) {
		site, err = awaitFresh(ctx, d.client, before, since)
	}
	if err != nil {
		return err
	}
	if !d.json {
		fmt.Fprintf(d.e.stdout, "%s  circulated  %s after %s\n", before.Name, tier(&site), millis(d.e.now().Sub(begin)))
	}
	return nil
}
