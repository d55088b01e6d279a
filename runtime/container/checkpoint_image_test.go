package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// template makes a clonable checkpoint of a counter that has counted to three.
func (e *env) template(args ...string) (Spec, string) {
	e.t.Helper()
	needCRIU(e.t, e.m)
	ns := replicaNS(e.t)
	spec := e.counterSpec(ns, args...)
	c := e.start(spec)
	e.saw(spec, "listening")
	for range 3 {
		get(e.t, ns, "/count")
	}
	opts := options()
	opts.Clonable = true
	e.park(c, e.checkpointDir(), opts)
	return spec, e.checkpointDir()
}

// refused expects that a checkpoint is not restored, is thrown away, and that
// nothing of the container is left.
func (e *env) refused(spec Spec, dir string, want error) error {
	e.t.Helper()
	c, _, err := e.m.Restore(testutil.Context(e.t, limit), spec, dir)
	if err == nil {
		e.remove(c)
	}
	if !errors.Is(err, want) {
		e.t.Fatalf("restoring gave %v, want %v", err, want)
	}
	for _, path := range []string{spec.Upper, spec.Work, e.m.dir(spec.ID)} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			e.t.Errorf("%s is left: %v", path, err)
		}
	}
	return err
}

// TestRootDamagedCheckpoint damages each file of an image in turn.
func TestRootDamagedCheckpoint(t *testing.T) {
	e := newEnv(t)
	_, dir := e.template("0")
	m, err := criu.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	ns := replicaNS(t)
	damages := map[string]func(copy string) error{
		"manifest cut":     func(c string) error { return os.Truncate(filepath.Join(c, criu.ManifestFile), 100) },
		"manifest missing": func(c string) error { return os.Remove(filepath.Join(c, criu.ManifestFile)) },
		"layer missing":    func(c string) error { return os.RemoveAll(filepath.Join(c, criu.UpperDir)) },
		"one more file":    func(c string) error { return os.WriteFile(filepath.Join(c, criu.ImagesDir, "x.img"), nil, 0o600) },
	}
	for _, f := range m.Files {
		damages[f.Name+" changed"] = func(c string) error { return flip(filepath.Join(c, criu.ImagesDir, f.Name)) }
		damages[f.Name+" missing"] = func(c string) error { return os.Remove(filepath.Join(c, criu.ImagesDir, f.Name)) }
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			damaged := filepath.Join(t.TempDir(), "site")
			if err := errors.Join(fs.CopyDir(damaged, dir), damage(damaged)); err != nil {
				t.Fatal(err)
			}
			_ = e.refused(e.counterSpec(ns), damaged, criu.ErrUnusable)
			if _, err := os.Lstat(damaged); !os.IsNotExist(err) {
				t.Errorf("a checkpoint that cannot be used is left: %v", err)
			}
		})
	}
	// And the copy of one that is not damaged can be restored.
	good := filepath.Join(t.TempDir(), "site")
	if err := fs.CopyDir(good, dir); err != nil {
		t.Fatal(err)
	}
	e.restore(e.counterSpec(ns), good)
	if got := get(t, ns, "/count"); got != "4" {
		t.Errorf("it counts %s instead of 4", got)
	}
}

// flip changes one byte in the middle of a file.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 0x10
	return os.WriteFile(path, b, 0o600)
}

// TestRootCheckpointOfAnother: a checkpoint fits what it was made of.
func TestRootCheckpointOfAnother(t *testing.T) {
	e := newEnv(t)
	_, dir := e.template("0")
	ns := replicaNS(t)
	for name, edit := range map[string]func(*Spec){
		"spec of the site":  func(s *Spec) { s.SpecDigest = "sha256:later" },
		"image of the site": func(s *Spec) { s.ImageDigest = "sha256:later" },
		"site":              func(s *Spec) { s.Site = "other" },
	} {
		copied := filepath.Join(t.TempDir(), "site")
		if err := fs.CopyDir(copied, dir); err != nil {
			t.Fatal(err)
		}
		spec := e.counterSpec(ns)
		edit(&spec)
		if err := e.refused(spec, copied, criu.ErrUnusable); !strings.Contains(err.Error(), "another "+name) {
			t.Errorf("%s: the error does not say so: %v", name, err)
		}
	}
}

// TestRootCheckpointIsUsedOnce: the second of two restores finds nothing.
func TestRootCheckpointIsUsedOnce(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.counterSpec(ns)
	c := e.start(spec)
	e.saw(spec, "listening")
	e.park(c, e.checkpointDir(), options())
	e.restore(e.counterSpec(replicaNS(t)), e.checkpointDir())
	_ = e.refused(e.counterSpec(replicaNS(t)), e.checkpointDir(), criu.ErrUnusable)
	e.noImages()
}

// TestRootCheckpointOfTheLiving: as long as the processes of a dump are not
// ended, there is nothing to restore.
func TestRootCheckpointOfTheLiving(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.counterSpec(ns)
	c := e.start(spec)
	e.saw(spec, "listening")
	if _, err := c.Checkpoint(testutil.Context(t, limit), e.checkpointDir(), options()); err != nil {
		t.Fatal(err)
	}
	err := e.refused(e.counterSpec(replicaNS(t)), e.checkpointDir(), criu.ErrUnusable)
	if !strings.Contains(err.Error(), "not complete") {
		t.Error(err)
	}
	if err := c.Group().Thaw(testutil.Context(t, limit)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, ns, "/count"); got != "1" {
		t.Errorf("the thawed site counts %s", got)
	}
}

// TestRootTwins shows why a checkpoint is used once: two processes restored from one
// image draw the same random numbers. docs/checkpoints.md tells of it.
func TestRootTwins(t *testing.T) {
	e := newEnv(t)
	_, dir := e.template("0")
	var drawn [2]string
	for i := range drawn {
		ns := replicaNS(t)
		e.restore(e.counterSpec(ns), dir)
		for range 4 {
			drawn[i] += get(t, ns, "/random") + " "
		}
	}
	t.Logf("each of the twins drew %s", drawn[0])
	if drawn[0] != drawn[1] {
		t.Errorf("the twins drew different numbers (%s and %s): the warning in docs/checkpoints.md is out of date", drawn[0], drawn[1])
	}
	// Started ones do not.
	ns := replicaNS(t)
	spec := e.counterSpec(ns)
	e.start(spec)
	e.saw(spec, "listening")
	if other := get(t, ns, "/random"); strings.HasPrefix(drawn[0], other) {
		t.Errorf("a started site drew %s too", other)
	}
}

// TestRootLazyMemory: a large heap comes on demand, all of it arrives, and
// until then no checkpoint is made.
func TestRootLazyMemory(t *testing.T) {
	e := newEnv(t)
	if !needCRIU(t, e.m).Lazy {
		t.Skipf("%s userfaultfd, which CRIU restores memory on demand with", testutil.SkipMarker)
	}
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "64")
	c := e.start(spec)
	e.saw(spec, "listening")
	want := get(t, ns, "/heap")
	m := e.park(c, e.checkpointDir(), options())
	if !m.Lazy() {
		t.Fatalf("an image with %d bytes of memory is not lazy", m.Memory)
	}
	ns = replicaNS(t)
	next := e.counterSpec(ns)
	begin := time.Now()
	r := e.restore(next, e.checkpointDir())
	t.Logf("restored in %s", time.Since(begin))
	if got := get(t, ns, "/heap"); got != want {
		t.Errorf("the heap's sum is %s instead of %s", got, want)
	}
	testutil.WaitFor(t, limit, "all memory to arrive", func() error { return present(r.lazyFile(), false) })
	e.noImages()
	// A second sleep.
	e.park(r, e.checkpointDir(), options())
	ns = replicaNS(t)
	e.restore(e.counterSpec(ns), e.checkpointDir())
	if got := get(t, ns, "/heap"); got != want {
		t.Errorf("after the second sleep the heap's sum is %s instead of %s", got, want)
	}
}

// noImages waits until no image is left: the monitor removes what it has used.
func (e *env) noImages() {
	e.t.Helper()
	testutil.WaitFor(e.t, limit, "the images to be removed", func() error {
		left, err := os.ReadDir(filepath.Dir(e.checkpointDir()))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err == nil && len(left) > 0:
			return fmt.Errorf("left are %v", left)
		}
		return err
	})
}

func present(path string, want bool) error {
	_, err := os.Lstat(path)
	if (err == nil) != want {
		return errors.New(path + " is not yet as expected")
	}
	return nil
}

// TestRootClonesAtOnce: a template becomes several replicas at the same time, each with a
// writable layer of its own.
func TestRootClonesAtOnce(t *testing.T) {
	e := newEnv(t)
	e.file("var/x", "", 0o644)
	_, dir := e.template("0", "/var/kept")
	const clones = 4
	var specs [clones]Spec
	var spaces [clones]*testutil.NS
	for i := range specs {
		spaces[i] = replicaNS(t)
		specs[i] = e.counterSpec(spaces[i], "0", "/var/kept")
	}
	var restored [clones]*Container
	var errs [clones]error
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range specs {
		wg.Go(func() { restored[i], _, errs[i] = e.m.Restore(testutil.Context(t, limit), specs[i], dir) })
	}
	wg.Wait()
	t.Logf("%d clones in %s", clones, time.Since(begin))
	for _, c := range restored {
		if c != nil {
			t.Cleanup(func() { e.remove(c) })
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for i, ns := range spaces {
		if got := get(t, ns, "/count"); got != "4" {
			t.Errorf("clone %d counts %s instead of 4", i, got)
		}
		if got := get(t, ns, "/file"); got != "kept" {
			t.Errorf("the file of clone %d has %q", i, got)
		}
		if _, out := e.execOut(restored[i], ExecSpec{Args: []string{"/bin/guest", "write", "/var/kept", specs[i].ID}}, ""); !strings.Contains(out, "written") {
			t.Errorf("writing in clone %d: %q", i, out)
		}
	}
	for i, spec := range specs {
		if b, err := os.ReadFile(filepath.Join(spec.Upper, "var/kept")); err != nil || !strings.Contains(string(b), spec.ID) {
			t.Errorf("the layer of clone %d has %q, %v", i, b, err)
		}
	}
}

// TestRootFilesInMemory: what an application has left in /dev/shm and /dev is there
// after a sleep, and so is a mount inside of a volume.
func TestRootFilesInMemory(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	e.file("data/x", "", 0o644)
	volume := filepath.Join(e.dir, "volume")
	inner := filepath.Join(volume, "inner")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", inner, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(inner, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ns := replicaNS(t)
	spec, next := e.counterSpec(ns), e.counterSpec(ns)
	spec.Mounts = []Mount{{Source: volume, Target: "/data"}}
	next.Mounts = spec.Mounts
	c := e.start(spec)
	e.saw(spec, "listening")
	files := []string{"/dev/shm/kept", "/dev/kept", "/data/inner/kept", "/tmp-kept"}
	for _, name := range files {
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "write", name, "in " + name}}, ""); !strings.Contains(out, "written") {
			t.Fatalf("writing %s: %q", name, out)
		}
	}
	e.park(c, e.checkpointDir(), options())
	r := e.restore(next, e.checkpointDir())
	for _, name := range files {
		if _, out := e.execOut(r, ExecSpec{Args: []string{"/bin/guest", "cat", name}}, ""); out != "in "+name {
			t.Errorf("%s has %q", name, out)
		}
	}
	if got := get(t, ns, "/count"); got != "1" {
		t.Errorf("it counts %s", got)
	}
}
