package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/fcnode/fcnode/tests/vm/wire"
)

// modules are loaded in the guest before the tests; there a distribution's kernel has them as modules
// which the first user would load by itself, though not from a namespace in each case.
var modules = []string{
	"veth", "dummy", "ifb", "overlay", "sch_ingress", "cls_bpf", "act_gact", "af_packet", "tun", "zram",
	"inet_diag", "tcp_diag", "udp_diag", "unix_diag", "netlink_diag",
}

// systemdPackage is the folder of the tests that need systemd as process 1, and of what they install.
const (
	systemdPackage = "tests/systemd"
	packaging      = "packaging"
)

// job is what goes onto the job disk.
type job struct {
	wire.Job
	guest string // path of the guest binary on the host
	tests string // folder of the test binaries
	files string // folder of programs
}

// makeJob makes the job of tests or of the bench.
func makeJob(o options, a accel) (*job, error) {
	if o.bench != "" {
		return benchJob(o, a), nil
	}
	return testJob(o, a)
}

// benchBinary is the bench among the binaries.
const benchBinary = "bench"

// benchJob runs the bench, which finds its programs where the tests find theirs.
func benchJob(o options, a accel) *job {
	const programs = "/job/bin"
	j := &job{guest: filepath.Join(o.binaries, "guest"), tests: o.binaries, files: o.files}
	j.Modules = modules
	j.Env = []string{"PATH=" + programs + ":/usr/sbin:/usr/bin:/sbin:/bin"} // runc is one of the programs
	if o.apps != "" {
		j.Env = append(j.Env, apps.EnvDir+"="+wire.Apps)
	}
	j.Binaries = []wire.Binary{{
		Plain: true, Package: "tests/bench", Path: "tests/" + benchBinary, Dir: "src/tests/bench",
		Args: []string{"-bin", programs, "-only", o.bench, "-runs", strconv.Itoa(o.runs), "-machine", a.describe()},
	}}
	return j
}

// testJob reads the manifest that tests/binaries.sh wrote beside the test binaries: a line
// per package with its import path, the name of its binary, and its folder.
func testJob(o options, a accel) (*job, error) {
	manifest, err := os.Open(filepath.Join(o.binaries, "manifest"))
	if err != nil {
		return nil, fmt.Errorf("the test binaries are not built (run `make test-binaries`): %w", err)
	}
	defer manifest.Close()
	j := &job{guest: filepath.Join(o.binaries, "guest"), tests: o.binaries, files: o.files}
	j.Modules, j.Silence = modules, o.silence*3/4 // well before the host ends the machine
	j.Env = []string{
		"GOTRACEBACK=all",
		"FCNODE_ROOT_TESTS=1",
		"FCNODE_STRICT_FEATURES=1",
		"FCNODE_BIN_DIR=/job/bin",
		testutil.EnvScratch + "=" + wire.Scratch,
		"FCNODE_TIME_SCALE=" + strconv.FormatFloat(o.scale, 'g', -1, 64),
	}
	if o.apps != "" {
		j.Env = append(j.Env, apps.EnvDir+"="+wire.Apps)
	}
	leaves, leave := leftBy(o, a)
	for lines := bufio.NewScanner(manifest); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return nil, fmt.Errorf("manifest of the test binaries: line %q has %d fields, not 3", lines.Text(), len(f))
		}
		which := []string{"-test.run=" + o.run}
		if leave {
			which = leaves.Args(f[0])
		}
		j.Binaries = append(j.Binaries, wire.Binary{
			Systemd: f[2] == systemdPackage, Package: f[0], Path: "tests/" + f[1], Dir: "src/" + f[2],
			// What hangs is silent, and ended for that by the guest; this bounds what goes on and on.
			Args: append(which, "-test.v=test2json", "-test.timeout="+o.total.String()),
		})
	}
	if len(j.Binaries) == 0 {
		return nil, errors.New("the manifest of the test binaries is empty: there is nothing to run")
	}
	return j, nil
}

// writeDisk makes the job disk: the guest, the test binaries, the packages' testdata and the programs.
func (j *job) writeDisk(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "job.")
	if err != nil {
		return fmt.Errorf("making the job's folder: %w", err)
	}
	if err := j.fill(dir); err != nil {
		return fmt.Errorf("filling the job's folder: %w", err)
	}
	size, err := treeSize(dir)
	if err != nil {
		return fmt.Errorf("measuring the job's folder: %w", err)
	}
	// Space for the file system's own tables, and for what tests write beside their data.
	blocks := strconv.FormatInt((size*5/4>>20)+64, 10) + "M"
	if err := makeExt4(ctx, path, blocks, "^has_journal", "-d", dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func makeExt4(ctx context.Context, path, size, features string, args ...string) error {
	args = slices.Concat([]string{"-q", "-F", "-O", features}, args, []string{path, size})
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making the disk %s: mkfs.ext4: %w\n%s", filepath.Base(path), err, out)
	}
	return nil
}

// Files of disks, and the sizes of those that begin empty.
const (
	jobDisk     = "job.ext4"
	scratchDisk = "scratch.ext4"
	scratchSize = "128M"
	swapDisk    = "swap"
	swapSize    = 512 << 20
)

// writeSpareDisks makes the disk whose limits are tested, and the one that is swapped to.
func writeSpareDisks(ctx context.Context, dir string) error {
	if err := makeExt4(ctx, filepath.Join(dir, scratchDisk), scratchSize, "^has_journal,quota,project", "-E", "quotatype=prjquota"); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, swapDisk))
	if err == nil {
		err = errors.Join(f.Truncate(swapSize), f.Close())
	}
	if err != nil {
		return fmt.Errorf("making the swap disk: %w", err)
	}
	return nil
}

func (j *job) fill(dir string) error {
	if err := link(j.guest, filepath.Join(dir, "guest")); err != nil {
		return err
	}
	for _, b := range j.Binaries {
		if err := link(filepath.Join(j.tests, filepath.Base(b.Path)), filepath.Join(dir, b.Path)); err != nil {
			return err
		}
		pkg := strings.TrimPrefix(b.Dir, "src/")
		if err := os.MkdirAll(filepath.Join(dir, b.Dir), 0o755); err != nil {
			return err
		}
		data := filepath.Join(pkg, "testdata")
		if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.CopyFS(filepath.Join(dir, b.Dir, "testdata"), os.DirFS(data)); err != nil {
			return err
		}
	}
	if err := j.fillPrograms(filepath.Join(dir, "bin")); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "src", packaging), os.DirFS(packaging)); err != nil {
		return err
	}
	raw, err := json.Marshal(j.Job)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, wire.JobFile), raw, 0o600)
}

// fillPrograms takes the programs of a folder, without its sub-folders.
func (j *job) fillPrograms(dir string) error {
	entries, err := os.ReadDir(j.files)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := link(filepath.Join(j.files, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// link puts a file into the job's folder as a symbolic link's target content: a hard link where
// that works (same file system), else a copy.
func link(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755) //nolint:gosec // a program
}

func treeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
