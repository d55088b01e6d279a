package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// tenant is a folder whose owner exchanges what he likes in it, and a secret
// outside of it that no site may ever see.
type tenant struct {
	t           testing.TB
	own, secret string
}

func newTenant(t testing.TB) *tenant {
	t.Helper()
	tn := &tenant{t: t, own: t.TempDir(), secret: t.TempDir()}
	tn.write(filepath.Join(tn.secret, "mark"), "secret")
	return tn
}

func (tn *tenant) write(path, text string) {
	tn.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text+"\n"), 0o644)); err != nil {
		tn.t.Fatal(err)
	}
}

func (tn *tenant) link(target, name string) string {
	tn.t.Helper()
	path := filepath.Join(tn.own, name)
	if err := os.Symlink(target, path); err != nil {
		tn.t.Fatal(err)
	}
	return path
}

// exchange puts a link to the secret in the place of a folder of the tenant.
func (tn *tenant) exchange(name string) {
	tn.t.Helper()
	path := filepath.Join(tn.own, name)
	if err := os.Rename(path, path+".away"); err != nil {
		tn.t.Fatal(err)
	}
	tn.link(tn.secret, name)
}

// notStarted starts a container that must not start.
func (e *env) notStarted(spec Spec, want error, says ...string) {
	e.t.Helper()
	c, _, err := e.m.Start(testutil.Context(e.t, limit), spec)
	if err == nil {
		e.ended(c)
		e.remove(c)
		e.t.Errorf("it was started, and says %q", e.output(spec))
		return
	}
	if !errors.Is(err, want) {
		e.t.Errorf("%v, want %v", err, want)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			e.t.Errorf("%v does not say %q", err, text)
		}
	}
}

// TestRootVolumeIsAMountpoint: a source at which something has to be mounted is none while nothing is.
func TestRootVolumeIsAMountpoint(t *testing.T) {
	e := newEnv(t)
	tn := newTenant(t)
	e.m.opts.VolumeRoots = []string{tn.own}
	source := filepath.Join(tn.own, "nfs")
	tn.write(filepath.Join(source, "inner/mark"), "below")
	with := func(path string) Spec {
		s := e.spec("cat", "/vol/mark")
		s.Mounts = []Mount{{Source: path, Target: "/vol", Mountpoint: true}}
		return s
	}
	e.notStarted(with(source), ErrMount, source, "no file system is mounted there")
	if err := unix.Mount("tmpfs", source, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(source, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	tn.write(filepath.Join(source, "mark"), "mounted")
	tn.write(filepath.Join(source, "inner/mark"), "inside")
	e.notStarted(with(filepath.Join(source, "inner")), ErrMount, "no file system is mounted there")
	if _, out := e.run(with(source)); out != "mounted\n" {
		t.Errorf("it reads %q", out)
	}
}

// TestRootVolumeSources: what a source leads to is decided by its name alone.
func TestRootVolumeSources(t *testing.T) {
	e := newEnv(t)
	tn := newTenant(t)
	tn.write(filepath.Join(tn.own, "site/inner/mark"), "tenant's")
	tn.write(filepath.Join(tn.own, "file"), "tenant's")
	e.m.opts.VolumeRoots = []string{tn.own}
	pipe, node := filepath.Join(tn.own, "pipe"), filepath.Join(tn.own, "node")
	if err := errors.Join(unix.Mkfifo(pipe, 0o666), unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))); err != nil {
		t.Fatal(err)
	}
	with := func(source string) Spec {
		spec := e.spec("cat", "/data/mark")
		spec.Mounts = []Mount{{Source: source, Target: "/data"}}
		return spec
	}
	if _, out := e.run(with(filepath.Join(tn.own, "site/inner"))); out != "tenant's\n" {
		t.Errorf("the volume has %q", out)
	}
	spec := e.spec("cat", "/etc/one")
	spec.Mounts = []Mount{{Source: filepath.Join(tn.own, "file"), Target: "/etc/one"}}
	if _, out := e.run(spec); out != "tenant's\n" {
		t.Errorf("the file has %q", out)
	}
	for source, says := range map[string]string{
		tn.link(tn.secret, "link"):                    "link is a symbolic link",
		filepath.Join(tn.link("/", "top"), tn.secret): "top is a symbolic link",
		filepath.Join(tn.link("..", "up"), "x"):       "up is a symbolic link",
		tn.link("/proc/self/root", "magic") + "/etc":  "magic is a symbolic link",
		tn.secret:    "volumeRoots",
		tn.own + "2": "volumeRoots",
		tn.own + "/../" + filepath.Base(tn.secret): "not an absolute clean path",
		filepath.Join(tn.own, "gone"):              "no such file",
		filepath.Join(tn.own, "file/below"):        "not a directory",
		pipe:                                       "neither a folder",
		node:                                       "is a device",
	} {
		e.notStarted(with(source), ErrMount, says)
	}
	// Nested: the source is in a folder that another volume gives to the tenant.
	tn.exchange("site/inner")
	nested := with(filepath.Join(tn.own, "site/inner"))
	nested.Mounts = append([]Mount{{Source: filepath.Join(tn.own, "site"), Target: "/site"}}, nested.Mounts...)
	e.notStarted(nested, ErrMount, "inner is a symbolic link")
	// The folder of a dir: image.
	image := with(filepath.Join(tn.own, "site"))
	image.Lower = []string{tn.link(e.lower, "image")}
	e.notStarted(image, ErrRootfs, "image is a symbolic link")
}

// TestRootVolumeRace: a tenant exchanges a folder and a link to what is not his,
// as fast as he can, while his site is started over and over.
func TestRootVolumeRace(t *testing.T) {
	e := newEnv(t)
	tn := newTenant(t)
	tn.write(filepath.Join(tn.own, "a/mark"), "tenant's")
	tn.link(tn.secret, "b")
	a, b := filepath.Join(tn.own, "a"), filepath.Join(tn.own, "b")
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	defer wg.Wait()
	defer close(over)
	started, refused := 0, 0
	for i := range 200 {
		spec := e.spec("cat", "/data/mark")
		spec.Mounts = []Mount{{Source: a, Target: "/data"}}
		c, _, err := e.m.Start(testutil.Context(t, limit), spec)
		if err != nil {
			refused++
			if !errors.Is(err, ErrMount) {
				t.Fatal(err)
			}
			continue
		}
		started++
		e.ended(c)
		if out := e.output(spec); out != "tenant's\n" {
			t.Fatalf("start %d shows the site %q", i, out)
		}
		e.remove(c)
	}
	t.Logf("started %d times, refused %d times", started, refused)
}

// TestRootVolumeAttributes: a mount has what its spec asks for, also where
// something is mounted inside of its source.
func TestRootVolumeAttributes(t *testing.T) {
	testutil.Privileged(t)
	source := t.TempDir()
	sub := filepath.Join(source, "sub")
	if err := errors.Join(os.Mkdir(sub, 0o755), unix.Mount("tmpfs", sub, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(sub, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e := newEnv(t) // its runner sees what is mounted by now
	for _, tt := range []struct {
		m    Mount
		want string
	}{
		{Mount{}, "nodev nosuid rw"},
		{Mount{ReadOnly: true}, "nodev nosuid ro"},
		{Mount{Suid: true, NoExec: true}, "nodev noexec rw"},
		{Mount{Dev: true, ReadOnly: true}, "nosuid ro"},
	} {
		spec := e.spec("mounts")
		tt.m.Source, tt.m.Target = source, "/data"
		spec.Mounts = []Mount{tt.m}
		_, out := e.run(spec)
		infos, err := mountinfo.GetMountsFromReader(strings.NewReader(out), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, i := range infos {
			options := strings.Split(i.Options, ",")
			options = slices.DeleteFunc(options, func(o string) bool { return strings.HasSuffix(o, "atime") })
			slices.Sort(options)
			seen[i.Mountpoint] = strings.Join(options, " ")
		}
		for _, at := range []string{"/data", "/data/sub"} {
			if seen[at] != tt.want {
				t.Errorf("%+v: %s is %q, want %q", tt.m, at, seen[at], tt.want)
			}
		}
		if seen["/"] != "nodev nosuid rw" {
			t.Errorf("the root is %q", seen["/"])
		}
	}
	spec := e.spec("touch", "/data/file", "/data/sub/file")
	spec.Mounts = []Mount{{Source: source, Target: "/data", ReadOnly: true}}
	if _, out := e.run(spec); strings.Count(out, "read-only file system") != 2 {
		t.Errorf("a read-only volume can be written: %q", out)
	}
}

// TestRootVolumeTargets: links in the image and in other volumes do not lead a
// mount out of the root, nor over what the kernel says in it.
func TestRootVolumeTargets(t *testing.T) {
	e := newEnv(t)
	tn := newTenant(t)
	tn.write(filepath.Join(tn.own, "vol/mark"), "tenant's")
	for name, target := range map[string]string{
		"up": "../../../../../../", "proc-link": "/proc", "sys-link": "sys/fs", "self": "/proc/self/root", "root": "/",
	} {
		if err := os.Symlink(target, filepath.Join(e.lower, name)); err != nil {
			t.Fatal(err)
		}
	}
	outer := filepath.Join(tn.own, "outer")
	if err := os.Mkdir(outer, 0o755); err != nil {
		t.Fatal(err)
	}
	tn.link(tn.secret, "outer/host")
	tn.link("/proc/sys", "outer/kernel")
	with := func(target string) Spec {
		spec := e.spec("cat", filepath.Join(target, "mark"))
		spec.Mounts = []Mount{{Source: outer, Target: "/outer"}, {Source: filepath.Join(tn.own, "vol"), Target: target}}
		return spec
	}
	for _, target := range []string{"/data", "/up/data", "/outer/made/by/us", "/dev/vol", "/dev/shm"} {
		if exit, out := e.run(with(target)); out != "tenant's\n" {
			t.Errorf("at %s: %q %+v", target, out, exit)
		}
	}
	for target, says := range map[string]string{
		"/proc-link/sys": "/proc", "/proc-link": "/proc", "/sys-link/cgroup": "/proc or /sys", "/self": "", "/root": "root itself",
		"/outer/kernel": "/proc", "/outer/kernel/fs": "/proc", "/dev/fd": "", "/dev/fd/9": "",
	} {
		e.notStarted(with(target), ErrMount, says)
	}
	// A link to the machine's folder means the container's own of that name.
	if _, out := e.run(with("/outer/host")); out != "" && out != "tenant's\n" && !strings.HasPrefix(out, "error:") {
		t.Errorf("at a link in a volume: %q", out)
	}
	if left, err := os.ReadDir(tn.secret); err != nil || len(left) != 1 {
		t.Errorf("the machine's folder has %v %v", left, err)
	}
	if got, err := os.ReadFile(filepath.Join(tn.secret, "mark")); err != nil || string(got) != "secret\n" {
		t.Errorf("the machine's file has %q %v", got, err)
	}
}

// TestRootRestoreWithSwappedSource: between a dump and its restore the tenant has
// exchanged his folder, or one that something is mounted at.
func TestRootRestoreWithSwappedSource(t *testing.T) {
	for _, swapped := range []string{"vol", "vol/sub"} {
		t.Run(swapped, func(t *testing.T) {
			testutil.Privileged(t)
			tn := newTenant(t)
			tn.write(filepath.Join(tn.own, "vol/sub/mark"), "tenant's")
			sub := filepath.Join(tn.own, "vol/sub")
			if err := unix.Mount(sub, sub, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			unmount := sync.OnceFunc(func() {
				if err := unix.Unmount(sub, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			t.Cleanup(unmount)
			e := newEnv(t) // its runner sees what is mounted by now
			needCRIU(t, e.m)
			before, after := replicaNS(t), replicaNS(t)
			spec, next := e.counterSpec(before), e.counterSpec(after)
			spec.Mounts = []Mount{{Source: filepath.Join(tn.own, "vol"), Target: "/data"}}
			next.Mounts = spec.Mounts
			c := e.start(spec)
			e.saw(spec, "listening")
			infos, err := mountsOf(c.Pid())
			if err != nil || !slices.ContainsFunc(infos, func(m mount) bool { return m.point == "/data/sub" }) {
				t.Fatalf("what is mounted in the source is not in the container: %+v %v", infos, err)
			}
			e.park(c, e.checkpointDir(), options())
			unmount()
			tn.exchange(swapped)
			r, _, err := e.m.Restore(testutil.Context(t, limit), next, e.checkpointDir())
			if err == nil {
				e.remove(r)
				t.Fatal("it was restored")
			}
			if !errors.Is(err, ErrMount) && !errors.Is(err, criu.ErrRestore) || !strings.Contains(err.Error(), "is a symbolic link") {
				t.Error(err)
			}
		})
	}
}

// TestRootHostUser: a user of the machine who has the number of a site's user
// gets into the site's root by /proc/PID/root. What lies there gives him nothing.
func TestRootHostUser(t *testing.T) {
	e := newEnv(t)
	guest, err := os.ReadFile(filepath.Join(e.lower, "bin/guest"))
	if err != nil {
		t.Fatal(err)
	}
	e.file("trap/suid", string(guest), 0o755)
	trap, node := filepath.Join(e.lower, "trap/suid"), filepath.Join(e.lower, "trap/zero")
	if err := errors.Join(os.Chmod(trap, 0o755|os.ModeSetuid), unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))), os.Chmod(node, 0o666)); err != nil {
		t.Fatal(err)
	}
	spec := e.spec("sleep")
	spec.User = "65534:65534"
	c := e.start(spec)
	e.saw(spec, "sleeping")
	root := fmt.Sprintf("/proc/%d/root/", c.Pid())
	if out, err := asNobody(t, root+"trap/suid", "id"); err == nil && !strings.HasPrefix(out, "65534 ") {
		t.Errorf("a set-user-ID program of a site makes a user of the machine %q", out)
	}
	if out, err := asNobody(t, binGuest(t), "open", root+"trap/zero"); err == nil && strings.Contains(out, " 1 <nil>") {
		t.Errorf("a device node of a site works: %q", out)
	}
}

// TestRootVolumeLeadsToOwn: a link that was led elsewhere since it was applied does not show a site the node's own folders.
func TestRootVolumeLeadsToOwn(t *testing.T) {
	e := newEnv(t)
	tn := newTenant(t)
	state := filepath.Join(tn.own, "state")
	tn.write(filepath.Join(state, "inner/mark"), "the node's")
	tn.write(filepath.Join(tn.own, "1/mark"), "tenant's")
	e.m.opts.VolumeRoots, e.m.opts.OwnFolders = []string{tn.own}, []string{state}
	with := func(source string) Spec {
		spec := e.spec("cat", "/data/mark")
		spec.Mounts = []Mount{{Source: source, Target: "/data", Follow: true}}
		return spec
	}
	if _, out := e.run(with(tn.link("1", "current"))); out != "tenant's\n" {
		t.Errorf("the volume has %q", out)
	}
	for name, to := range map[string]string{"a": "state", "b": "state/inner", "c": "."} {
		e.notStarted(with(tn.link(to, name)), ErrMount, "the node's own")
	}
}
