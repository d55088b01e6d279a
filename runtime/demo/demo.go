package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// Options of Run.
type Options struct {
	Stdout, Stderr io.Writer
	Stay           bool // until the context ends, with hints how to go on
}

// envInside marks the process inside of the demo's own namespaces.
const envInside = "FCNODE_DEMO_DIR"

const siteName = "hello"

// Run runs the demo. The first call moves to namespaces of its own by executing
// the program anew; what is mounted and made there goes when the last process
// of the demo ends, however it ends.
func Run(ctx context.Context, o Options) error {
	dir := os.Getenv(envInside)
	if dir == "" {
		return outside(ctx, o)
	}
	return inside(ctx, o, dir)
}

func outside(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces and containers: run it as root (sudo fcnode demo)")
	}
	dir, err := os.MkdirTemp("", "fcnode-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the fcnode program: %w", err)
	}
	// Not CommandContext: the child gets the terminal's Ctrl-C itself, and
	// cleans up.
	cmd := stage.Command(self, "demo")
	cmd.Env = append(os.Environ(), envInside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, o.Stdout, o.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the demo in namespaces of its own: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

// demo is one that is set up.
type demo struct {
	stage.Teller
	stay bool
	seen uint64 // number of the last event that was looked at
}

func inside(ctx context.Context, o Options, dir string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the fcnode program: %w", err)
	}
	st, err := stage.Open(dir, self, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	d := &demo{Teller: stage.Teller{Stage: st, Stdout: o.Stdout, Stderr: o.Stderr}, stay: o.Stay}
	if err := d.writeSite(); err != nil {
		return err
	}
	if err := st.Start(ctx); err != nil {
		return err
	}
	err = d.play(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // Ctrl-C is a fine end
	}
	return err
}

func (d *demo) spec() string { return d.File("hello.yaml") }

// play is the scenario.
func (d *demo) play(ctx context.Context) error {
	d.Say("A node runs in a network namespace of its own; its visitors come from another one.")
	d.Say("This is the whole description of a site:")
	if err := d.ShowFile(d.spec()); err != nil {
		return err
	}
	steps := []func(context.Context) error{
		d.show("apply", "-f", d.spec()),
		d.show("list"),
		d.visit("Nothing of it runs. A visitor comes, and his first packet (SYN) wakes it:"),
		d.show("trace", siteName),
		d.visit("Awake, there is nothing between the visitor and the application:"),
		d.sleeps("A second without a connection, and it sleeps lightly: frozen, with its memory.", "frozen"),
		d.visit("The next visitor's packet goes to it as always, and has it thawed:"),
		d.show("trace", siteName),
		d.sleeps("Left alone for longer it goes to disk by CRIU, or, on a machine that cannot do that, ends. Nothing of it runs:",
			"checkpointed", "parked"),
		d.visit("The next visitor wakes it again:"),
		d.show("trace", siteName),
		d.circulates,
		d.show("get", siteName),
		d.show("events", "--site", siteName),
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.goOn(ctx)
}

// visit makes a step that asks the site for its page, from outside.
func (d *demo) visit(why string) func(context.Context) error {
	return func(ctx context.Context) error {
		addr, err := d.address(ctx)
		if err != nil {
			return err
		}
		d.Say("%s", why)
		fmt.Fprintf(d.Stdout, "client$ curl http://%s/\n", addr)
		body, took, err := d.Client.Get(ctx, "http://"+addr+"/")
		if err != nil {
			return fmt.Errorf("visit the site: %w", err)
		}
		fmt.Fprintf(d.Stdout, "%s        (answered after %s)\n\n", body, took.Round(10*time.Microsecond))
		return nil
	}
}

func (d *demo) address(ctx context.Context) (string, error) {
	site, err := d.API.Get(ctx, siteName)
	if err != nil {
		return "", err
	}
	return site.Addresses[0].String(), nil
}

// show makes a step that shows a command and runs it.
func (d *demo) show(args ...string) func(context.Context) error {
	return func(ctx context.Context) error { return d.Fcnode(ctx, args...) }
}

// sleeps makes a step that waits until the site has gone to sleep, by the event
// log.
func (d *demo) sleeps(why string, kinds ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		d.Say("%s", why)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for ev, err := range d.API.Events(ctx, api.EventOptions{Site: siteName, Since: d.seen, Follow: true}) {
			if err != nil {
				return err
			}
			if d.seen = ev.Seq; slices.Contains(kinds, ev.Kind) {
				return d.Fcnode(ctx, "list")
			}
		}
		return fmt.Errorf("the site did not go to sleep: %w", ctx.Err())
	}
}

// circulates replaces the replica while somebody visits all the time.
func (d *demo) circulates(ctx context.Context) error {
	addr, err := d.address(ctx)
	if err != nil {
		return err
	}
	d.Say("Its replica is replaced by a fresh one, while a visitor asks for page after page:")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	visits, failed := 0, error(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, _, err := d.Client.Get(ctx, "http://"+addr+"/"); err != nil && ctx.Err() == nil {
				failed = errors.Join(failed, err)
			}
			visits++
		}
	}()
	err = d.Fcnode(ctx, "circulate", "--wait", siteName)
	stop()
	<-done
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("circulate under visits: %w", err)
	}
	fmt.Fprintf(d.Stdout, "        (%d pages meanwhile, none failed)\n\n", visits)
	return nil
}

// goOn says how to go on by hand, and on a terminal waits for Ctrl-C.
func (d *demo) goOn(ctx context.Context) error {
	if !d.stay {
		d.Say("Done; everything of the demo is taken away again. On a terminal it stays, for you to go on by hand.")
		return nil
	}
	addr, err := d.address(ctx)
	if err != nil {
		return err
	}
	d.Say("The node runs until Ctrl-C. In another terminal, as root:")
	pid := os.Getpid()
	fmt.Fprintf(d.Stdout, "    export FCNODE_SOCKET=/proc/%d/root%s\n", pid, d.Socket())
	fmt.Fprintf(d.Stdout, "    %s list\n    %s events -f\n    %s logs -f %s\n", d.Program, d.Program, d.Program, siteName)
	fmt.Fprintf(d.Stdout, "    nsenter --net=/proc/%d/fd/%d curl http://%s/        # as the visitor\n", pid, d.Client.FD(), addr)
	fmt.Fprintf(d.Stdout, "    nsenter -t %d --net tcpdump -ni %s              # what passes the uplink\n", pid, stage.Uplink)
	<-ctx.Done()
	return nil
}
