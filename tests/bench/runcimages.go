package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// runcImages checkpoints and restores one application by runc.
type runcImages struct {
	*runcBench
	b      *imageBench
	rootfs string
}

// newRuncImages makes a bundle whose root is an overlay over the application's,
// as fcnode's is, and already mounted.
func newRuncImages(b *imageBench, base *runcBench, a *sleepyApp) (*runcImages, error) {
	name := strings.NewReplacer(" ", "-", "(", "", ")", "").Replace(a.name)
	rc := &runcImages{runcBench: &runcBench{bundle: filepath.Join(b.disk, "runc-"+name), root: b.s.File("images-runc-state-" + name)}, b: b}
	rc.rootfs = filepath.Join(rc.bundle, "rootfs")
	upper, work := filepath.Join(rc.bundle, "upper"), filepath.Join(rc.bundle, "work")
	if err := errors.Join(os.MkdirAll(rc.rootfs, 0o755), os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return nil, err
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", a.root, upper, work)
	if err := unix.Mount("overlay", rc.rootfs, "overlay", 0, layers); err != nil {
		return nil, fmt.Errorf("mounting the root for runc: %w", err)
	}
	return rc, rc.configure(base, a)
}

func (rc *runcImages) close() error { return unix.Unmount(rc.rootfs, unix.MNT_DETACH) }

// configure takes the bundle of the wake's bench and changes what has to be.
func (rc *runcImages) configure(base *runcBench, a *sleepyApp) error {
	raw, err := os.ReadFile(filepath.Join(base.bundle, "config.json"))
	if err != nil {
		return err
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	c["process"].(map[string]any)["args"] = a.args
	c["root"].(map[string]any)["readonly"] = false // CRIU cannot restore such a root
	config := filepath.Join(rc.bundle, "criu.conf")
	c["annotations"] = map[string]string{"org.criu.config": config}
	if err := os.WriteFile(config, []byte("tcp-close\nnetwork-lock skip\nmanage-cgroups ignore\n"), 0o600); err != nil {
		return err
	}
	if raw, err = json.Marshal(c); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(rc.bundle, "config.json"), raw, 0o600)
}

// command is runc with fcnode's CRIU.
func (rc *runcImages) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "runc", append([]string{"--root", rc.root}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(rc.b.tool.Path)+":"+os.Getenv("PATH"))
	return cmd
}

// once starts the application, dumps it and restores it.
func (rc *runcImages) once(ctx context.Context, a *sleepyApp, counts bool) (err error) {
	rc.n++
	images := filepath.Join(rc.bundle, fmt.Sprintf("images-%d", rc.n))
	defer func() { err = errors.Join(err, os.RemoveAll(images)) }()
	output, err := newOutput()
	if err != nil {
		return err
	}
	defer output.close()
	defer func() {
		_ = rc.command(context.WithoutCancel(ctx), "delete", "--force", rc.id()).Run() // gone is fine
	}()
	if err := output.run(rc.command(ctx, "run", "--detach", "--bundle", rc.bundle, rc.id())); err != nil {
		return err
	}
	if err := rc.b.answers(ctx); err != nil {
		return err
	}
	time.Sleep(rest)
	begin := time.Now()
	out, err := rc.command(ctx, "checkpoint", "--image-path", images, "--work-path", images, rc.id()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc checkpoint: %w: %s", err, out)
	}
	dump := time.Since(begin)
	time.Sleep(rest)
	begin = time.Now()
	err = output.run(rc.command(ctx, "restore", "--detach", "--image-path", images, "--work-path", images,
		"--bundle", rc.bundle, rc.id()))
	if err != nil {
		return err
	}
	restore := time.Since(begin)
	if _, err := rc.b.c.visit(rc.b.addr()); err != nil {
		return fmt.Errorf("after runc restore: %w", err)
	}
	if counts {
		a.runc.add(dump, restore, time.Since(begin))
	}
	return nil
}

// output is where containers write to: a pipe, as a file of the machine's could
// not be dumped. Nobody reads it; it takes what the applications say.
type output struct{ r, w *os.File }

func newOutput() (*output, error) {
	r, w, err := os.Pipe()
	return &output{r, w}, err
}

func (o *output) close() {
	_, _ = o.r.Close(), o.w.Close() // nothing of it is wanted
}

func (o *output) run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = o.w, o.w
	if err := cmd.Run(); err != nil {
		text := make([]byte, 4096)
		_ = o.r.SetReadDeadline(time.Now())
		n, _ := o.r.Read(text)
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[3:4], " "), err, text[:n])
	}
	return nil
}
