package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
)

// traced is an image of a program that leaves a trace in a volume as soon as any of its threads runs.
type traced struct {
	*env
	ns    *testutil.NS
	image string
	trace string
}

func newTraced(e *env, heap string) *traced {
	e.t.Helper()
	needCRIU(e.t, e.m)
	e.file("data/x", "", 0o644)
	volume := e.t.TempDir()
	tr := &traced{env: e, ns: replicaNS(e.t), image: e.checkpointDir(), trace: filepath.Join(volume, "trace")}
	spec := tr.spec(volume, heap)
	c := e.start(spec)
	e.saw(spec, "listening")
	tr.grows(0)
	opts := options()
	opts.Clonable = true
	e.park(c, tr.image, opts)
	return tr
}

// spec is that of one more replica.
func (tr *traced) spec(volume, heap string) Spec {
	s := tr.counterSpec(tr.ns, heap, "/data/kept", "/data/trace")
	s.Mounts = []Mount{{Source: volume, Target: "/data"}}
	return s
}

func (tr *traced) next() Spec { return tr.spec(filepath.Dir(tr.trace), "0") }

func (tr *traced) length() int64 {
	tr.t.Helper()
	st, err := os.Stat(tr.trace)
	if err != nil {
		tr.t.Fatal(err)
	}
	return st.Size()
}

// grows waits until the program has run.
func (tr *traced) grows(from int64) {
	tr.t.Helper()
	testutil.WaitFor(tr.t, limit, "the program to run", func() error {
		st, err := os.Stat(tr.trace)
		if err == nil && st.Size() <= from {
			err = errors.New("it has not run")
		}
		return err
	})
}

// damaged is a copy of the image with one bit of memory changed, at a share of its length.
func (tr *traced) damaged(share float64) string {
	tr.t.Helper()
	dir := filepath.Join(tr.t.TempDir(), "site")
	if err := fs.CopyDir(dir, tr.image); err != nil {
		tr.t.Fatal(err)
	}
	m, err := criu.Read(dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, f := range m.MemoryFiles() {
		if err := flipAt(filepath.Join(dir, criu.ImagesDir, f.Name), int64(share*float64(f.Size-1))); err != nil {
			tr.t.Fatal(err)
		}
	}
	return dir
}

func flipAt(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 0x10
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// TestRootNothingOfDamagedMemoryRuns: memory is verified while CRIU restores it, and no instruction
// is executed before that is over: neither where the damage would be deadly nor where nobody would notice it.
func TestRootNothingOfDamagedMemoryRuns(t *testing.T) {
	for _, heap := range []string{"0", "40"} { // read at once, and on demand
		t.Run(heap+" MiB", func(t *testing.T) {
			tr := newTraced(newEnv(t), heap)
			before := tr.length()
			for _, share := range []float64{0, 0.3, 0.5, 0.7, 1} {
				dir := tr.damaged(share)
				_ = tr.refused(tr.next(), dir, criu.ErrUnusable)
				if got := tr.length(); got != before {
					t.Errorf("damaged at %v of its length: it ran, and wrote %d bytes", share, got-before)
				}
				if _, err := os.Lstat(dir); !os.IsNotExist(err) {
					t.Errorf("damaged at %v of its length: the image is left: %v", share, err)
				}
			}
			// And what was not damaged runs.
			tr.restore(tr.next(), tr.image)
			tr.grows(before)
		})
	}
}

// TestRootDamagedWithoutItsDaemon: the monitor refuses a damaged image when nobody waits for its answer
// any more.
func TestRootDamagedWithoutItsDaemon(t *testing.T) {
	tr := newTraced(newEnv(t), "0")
	before := tr.length()
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond} {
		dir, spec := tr.damaged(0.5), tr.next()
		daemon, out := tr.daemonWith(daemonJob{Do: doRestore, Spec: spec, Dir: dir}, 0)
		testutil.WaitLine(t, limit, out, "calling")
		<-time.After(after) // the instant is what is tested
		tr.kill(daemon)
		if found := tr.adopt(); len(found) != 0 {
			t.Errorf("killed %s after the call: adopted are %d containers", after, len(found))
		}
		tr.gone(0)
		if got := tr.length(); got != before {
			t.Errorf("killed %s after the call: it ran, and wrote %d bytes", after, got-before)
		}
		if err := errors.Join(os.RemoveAll(spec.Upper), os.RemoveAll(spec.Work)); err != nil {
			t.Fatal(fmt.Errorf("tidying up: %w", err))
		}
	}
}
