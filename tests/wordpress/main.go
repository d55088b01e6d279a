// Command wordpress is `make demo-wordpress`: a whole WordPress, its database and
// a registry around a node, in namespaces of their own. It installs the site,
// lets it sleep in each tier, wakes it, and renews its image under load. The
// privileged test of this package is the same.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// envDir marks the process in namespaces of its own and names its folder.
const envDir = "FCNODE_WORDPRESS_DIR"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "wordpress:", err)
		os.Exit(1)
	}
}

// command runs the demo: outside of its namespaces it enters them by executing itself anew.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("wordpress", flag.ContinueOnError)
	flags.StringVar(&o.fcnode, "fcnode", "bin/fcnode", "the program")
	flags.StringVar(&o.apps, "apps", "", "folder that tests/apps/build.sh has made")
	flags.Float64Var(&o.scale, "scale", 1, "how much slower than a real machine this one is")
	flags.Float64Var(&o.rate, "rate", 10, "requests a second while the site circulates")
	flags.IntVar(&o.rounds, "rounds", 0, "measure so many wakes from each tier, instead of the rest of the demo")
	flags.StringVar(&o.write, "write", "", "file to write to what was measured, as Markdown")
	result := flags.String("report", "", "file to write what was shown to, as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if dir := os.Getenv(envDir); dir != "" {
		return inside(ctx, o, dir, *result, stdout, stderr)
	}
	return outside(ctx, args, stdout, stderr)
}

func outside(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces and containers: run it as root (make demo-wordpress uses sudo)")
	}
	dir, err := os.MkdirTemp("", "fcnode-wordpress-")
	if err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	defer os.RemoveAll(dir)
	defer os.RemoveAll(diskOf(dir))
	// Not CommandContext: the child gets the terminal's Ctrl-C itself, and cleans up.
	cmd := stage.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envDir+"="+dir)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the demo in namespaces of its own: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

// diskOf is the folder beside the stage's for what is not to lie in memory.
func diskOf(dir string) string { return dir + "-disk" }

// config has the node's deadlines, the defaults, stretched to the machine.
func (o options) config() string {
	stretch := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * max(1, o.scale)).Round(time.Second)
	}
	return fmt.Sprintf("start: {timeout: %[1]s}\nhold: {deadline: %[1]s, silence: 10m}\ncheckpoints: {timeout: %[2]s}\n",
		stretch(30*time.Second), stretch(10*time.Second))
}

// inside sets the stage, plays, and takes it away.
func inside(ctx context.Context, o options, dir, result string, stdout, stderr io.Writer) (err error) {
	if o.fcnode, err = filepath.Abs(o.fcnode); err != nil {
		return err
	}
	if o.apps, err = filepath.Abs(o.apps); err != nil {
		return err
	}
	st, err := stage.Open(dir, o.fcnode, o.config())
	if err != nil {
		return err
	}
	if o.rounds > 0 { // what is uncached is read from a disk
		err := os.Mkdir(diskOf(dir), 0o755)
		if err == nil {
			err = st.StateOn(diskOf(dir))
		}
		if err != nil {
			return errors.Join(err, st.Close())
		}
	}
	s := &scenario{Teller: stage.Teller{Stage: st, Stdout: stdout, Stderr: stderr}, options: o}
	if err = s.run(ctx); err != nil {
		_ = s.Fcnode(context.WithoutCancel(ctx), "logs", "--tail", "20", s.customer.name) // better than nothing, as the next one
		log, _ := os.ReadFile(st.File("daemon.log"))
		err = fmt.Errorf("%w\nthe daemon's log ends with:\n%s", err, log[max(0, len(log)-8<<10):])
	}
	if err = errors.Join(err, st.Close()); err != nil || result == "" {
		return err
	}
	b, err := json.MarshalIndent(s.report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(result, b, 0o600)
}
