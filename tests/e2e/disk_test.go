package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/disk"
	"github.com/fcnode/fcnode/tests/testutil"
)

// diskGuest attacks the disk: it fills it for as long as it lives, and tries to leave its project by FS_IOC_FSSETXATTR, as disk.SetProject
// does.
func diskGuest(mux *http.ServeMux) {
	mux.HandleFunc("POST /fill", func(_ http.ResponseWriter, r *http.Request) {
		path := r.URL.Query().Get("path")
		go func() {
			f, err := os.Create(path)
			for block := make([]byte, 64<<10); err == nil; runtime.Gosched() {
				_, _ = f.Write(block) // in vain once it is full
			}
		}()
	})
	mux.HandleFunc("POST /files", func(w http.ResponseWriter, r *http.Request) {
		count, err := strconv.Atoi(r.URL.Query().Get("count"))
		for i := range count {
			err = errors.Join(err, os.WriteFile(fmt.Sprintf("/f%d", i), nil, 0o600))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /project", func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Query().Get("path")
		f, err := os.Open(path)
		if err == nil {
			defer f.Close()
			var a struct {
				flags, extentSize, extents, project, cowExtentSize uint32
				_                                                  [8]byte
			}
			for _, project := range []uint32{0, 7} {
				a.project = project
				_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x401c5820, uintptr(unsafe.Pointer(&a)))
				if errno == 0 {
					return
				}
				err = errors.Join(err, errno)
			}
		}
		http.Error(w, err.Error(), http.StatusForbidden)
	})
}

const diskConfig = "log: {maxSize: 64KiB, files: 2}"

// fill has a site write so much into a file of its root file system.
func (s *site) fill(path string, bytes int) error {
	s.n.t.Helper()
	_, err := s.n.outside.ask(http.MethodPost, s.addr4(80), "/file?path="+path, strings.NewReader(strings.Repeat("x", bytes)))
	return err
}

// TestRootDiskLimitByQuota: the kernel holds a site to limits.disk, whatever root in it tries, also after the daemon was killed; its
// neighbour is not affected, and a site that is deleted leaves no limit behind.
func TestRootDiskLimitByQuota(t *testing.T) {
	testutil.Privileged(t)
	scratch := testutil.Scratch(t)
	quotas, err := disk.OpenQuotas(scratch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { quotas.Close() })
	n := newNode(t, options{stateDir: filepath.Join(scratch, "state"), more: diskConfig})
	const most = 4 << 20
	limit := "limits: {disk: {bytes: 4MiB, inodes: 1000}}"
	s, other := n.deploy("full", limit), n.deploy("other", limit)
	n.outside.greet(s.addr4(80))
	project, err := disk.ProjectOf(filepath.Join(scratch, "state", "logs", "full"))
	if err != nil || project == 0 {
		t.Fatalf("project of the site: %d %v", project, err)
	}
	mark := n.mark()
	if _, err := n.outside.ask(http.MethodPost, s.addr4(80), "/fill?path=/big", nil); err != nil {
		t.Fatal(err)
	}
	if ev := s.await(mark, "disk-full"); !strings.Contains(ev.Reason, "limits.disk.bytes, 4MiB") {
		t.Errorf("told as %q", ev.Reason)
	}
	for _, path := range []string{"/big", "/"} {
		if _, err := n.outside.ask(http.MethodPost, s.addr4(80), "/project?path="+path, nil); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s was given to another project: %v", path, err)
		}
	}
	if err := s.fill("/more", 1<<20); err == nil {
		t.Error("the site writes beyond its limit")
	}
	if err := other.fill("/big", most/2); err != nil {
		t.Errorf("the neighbour cannot write: %v", err)
	}
	n.kill()
	n.start()
	if again, err := disk.ProjectOf(filepath.Join(scratch, "state", "logs", "full")); again != project || err != nil {
		t.Errorf("the project was %d, and is %d after a restart: %v", project, again, err)
	}
	if err := s.fill("/more", 1<<20); err == nil {
		t.Error("the site writes beyond its limit after a restart of the daemon")
	}
	testutil.WaitFor(t, patience, "the use to be shown", func() error {
		v := s.get()
		if v.Usage == nil || v.Usage.Disk == nil || *v.Usage.Disk < most/2 || v.Limits.Disk == nil || v.Limits.Disk.By != api.DiskByQuota {
			return errors.New("not yet")
		}
		return nil
	})
	for _, s := range []*site{s, other} {
		if err := n.api.Delete(n.ctx(), s.name); err != nil {
			t.Fatal(err)
		}
	}
	testutil.WaitFor(t, patience, "the project to be nobody's", func() error {
		use, limit, err := quotas.Get(project)
		if err == nil && (use != disk.Use{} || limit != disk.Use{}) {
			err = errors.New("it is in use, or has a limit")
		}
		return err
	})
}

// TestRootCheckpointUnderDiskLimit: a site whose checkpoint would take more than limits.disk is not checkpointed, which is told with the limit,
// and nothing of the image stays; with room for it the image counts as the site's. With a quota and without.
func TestRootCheckpointUnderDiskLimit(t *testing.T) {
	needCRIU(t)
	for _, by := range []string{api.DiskByWatch, api.DiskByQuota} {
		t.Run("by "+by, func(t *testing.T) {
			var dir string
			var quotas *disk.Quotas
			if by == api.DiskByWatch {
				dir = mountTmpfs(t, "size=512m")
			} else {
				dir = testutil.Scratch(t)
				var err error
				if quotas, err = disk.OpenQuotas(dir); err != nil {
					t.Fatal(err)
				}
				defer quotas.Close()
			}
			n := newNode(t, options{stateDir: filepath.Join(dir, "state"), more: diskConfig})
			checkpoints := filepath.Join(dir, "state", "checkpoints")
			for name, c := range map[string]struct {
				limit, want string
				files       int // that it makes; the image has some 40, and there are a few others
			}{
				"bytes":  {"{bytes: 1MiB}", "limits.disk.bytes, 1MiB", 0},
				"inodes": {"{bytes: 200MiB, inodes: 1000}", "limits.disk.inodes, 1k", 970},
			} {
				s := n.checkpointed("over-"+name, "limits: {disk: "+c.limit+"}")
				mark := n.mark()
				n.outside.greet(s.addr4(80))
				if _, err := n.outside.ask(http.MethodPost, s.addr4(80), fmt.Sprintf("/files?count=%d", c.files), nil); err != nil {
					t.Fatal(err)
				}
				if ev := s.await(mark, "not-checkpointed"); !strings.Contains(ev.Reason, c.want) {
					t.Errorf("%s: told as %q", name, ev.Reason)
				}
				if left, err := os.ReadDir(checkpoints); len(left) > 0 || err != nil {
					t.Errorf("%s: left of the image: %v, %v", name, left, err)
				}
				n.outside.greet(s.addr4(80)) // it is as it was
				if err := n.api.Delete(n.ctx(), s.name); err != nil {
					t.Fatal(err)
				}
			}
			s := n.checkpointed("within", "limits: {disk: {bytes: 200MiB, inodes: 1000}}")
			s.awaitCheckpoint()
			image, err := disk.Measure(n.ctx(), disk.Use{}, filepath.Join(checkpoints, s.name))
			if err != nil || image.Bytes < 1<<20 {
				t.Fatalf("its image takes %+v, %v", image, err)
			}
			if by == api.DiskByQuota {
				project, err := disk.ProjectOf(filepath.Join(dir, "state", "logs", s.name))
				if err != nil {
					t.Fatal(err)
				}
				if use, _, err := quotas.Get(project); use.Bytes < image.Bytes || use.Inodes < image.Inodes || err != nil {
					t.Errorf("counted are %+v, %v; the image alone takes %+v", use, err, image)
				}
			}
			mark := n.mark()
			n.outside.greet(s.addr4(80))
			checkRestore(t, s, mark)
		})
	}
}

// TestRootDiskLimitWatched: where the kernel does not hold a site to limits.disk it is ended when it has more, its files with it, and
// its next visitor gets a fresh replica.
func TestRootDiskLimitWatched(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{stateDir: filepath.Join(mountTmpfs(t, "size=256m"), "state"), more: diskConfig})
	s, other := n.deploy("full", "limits: {disk: 16MiB}"), n.deploy("other", "limits: {disk: 64MiB}")
	n.outside.greet(other.addr4(80))
	n.outside.greet(s.addr4(80))
	mark := n.mark()
	_ = s.fill("/big", 32<<20) // it may be ended in the middle of that
	if ev := s.await(mark, "disk-full"); !strings.Contains(ev.Reason, "limits.disk.bytes, 16MiB") {
		t.Errorf("told as %q", ev.Reason)
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, "limits.disk") {
		t.Errorf("it failed as %q", ev.Reason)
	}
	testutil.WaitFor(t, patience, "a fresh replica", func() error {
		_, err := n.outside.get(s.addr4(80), "/")
		return err
	})
	if _, err := n.outside.get(s.addr4(80), "/file?path=/big"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what it has written is still there: %v", err)
	}
	if v := s.get(); v.Limits.Disk == nil || v.Limits.Disk.By != api.DiskByWatch {
		t.Errorf("shown as %+v", v.Limits.Disk)
	}
	for _, ev := range other.events(mark) {
		t.Errorf("the neighbour: %s %s", ev.Kind, ev.Reason)
	}
}

// TestRootLimitsOfTheNode: a spec without a limit has the node's default, one above the node's maximum is refused and says where both
// stand, and a site that was applied before the maximum was lowered is held to it.
func TestRootLimitsOfTheNode(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{more: diskConfig + "\ndefaults: {disk: 32MiB}\nmax: {disk: 64MiB}"})
	for _, tt := range []struct {
		name, limits string
		want         int64
	}{{"without", "", 32 << 20}, {"within", "limits: {disk: 48MiB}", 48 << 20}} {
		s := n.deploy(tt.name, tt.limits)
		if l := s.get().Limits.Disk; l == nil || l.Bytes != tt.want {
			t.Errorf("%s: %+v, want %d", tt.name, l, tt.want)
		}
	}
	file := n.write("above.yaml", n.spec("above", "limits: {disk: 65MiB}"))
	out := n.cliFails("apply", "-f", file)
	for _, want := range []string{"above.yaml:", "limits.disk.bytes: 65MiB is more than this node allows, 64MiB (max.disk.bytes, " + n.path("fcnode.yaml") + ":"} {
		if !strings.Contains(out, want) {
			t.Errorf("refused with %q, want %q in it", out, want)
		}
	}
	s := n.find("within")
	n.outside.greet(s.addr4(80))
	n.stop()
	n.configure(options{more: diskConfig + "\nmax: {disk: 16MiB}"})
	n.start()
	s.await(0, "circulating")
	if l := s.get().Limits.Disk; l == nil || l.Bytes != 16<<20 {
		t.Errorf("under a lower maximum: %+v", l)
	}
	n.outside.greet(s.addr4(80))
}

// TestRootOneSiteFillsTheDisk: while a site fills the disk of the state folder, and goes on trying, what is applied is kept, over a
// kill of the daemon, too, and other sites wake. The site is ended and not started again as long as there is no room.
func TestRootOneSiteFillsTheDisk(t *testing.T) {
	testutil.Privileged(t)
	state := mountTmpfs(t, "size=96m")
	n := newNode(t, options{stateDir: filepath.Join(state, "state"), more: diskConfig})
	for _, tt := range []struct {
		name, more, path string
		stays            bool // what was written, when the site is ended
	}{
		{"layer", "", "/fill", false},
		{"volume", "volumes: [{name: data, target: /data}]", "/data/fill", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filler, other := n.deploy(tt.name, tt.more), n.deploy("beside-"+tt.name)
			n.outside.greet(filler.addr4(80))
			testutil.WaitFor(t, patience, "the reserve", func() error {
				var st syscall.Stat_t
				err := syscall.Stat(filepath.Join(state, "state", "reserve"), &st)
				if err == nil && st.Blocks == 0 {
					err = errors.New("it is empty")
				}
				return err
			})
			mark := n.mark()
			if _, err := n.outside.ask(http.MethodPost, filler.addr4(80), "/fill?path="+tt.path, nil); err != nil {
				t.Fatal(err)
			}
			testutil.WaitFor(t, patience, "the disk to be full", func() error {
				s, err := disk.SpaceOf(state)
				if len(kinds(filler.events(mark), "disk-low")) == 0 && s.Free > 0 {
					err = errors.New("it is not")
				}
				return err
			})
			late := n.deploy("late-" + tt.name)
			n.outside.greet(other.addr4(80))
			if ev := filler.await(mark, "disk-low"); !strings.Contains(ev.Reason, "almost full") {
				t.Errorf("told as %q", ev.Reason)
			}
			if tt.stays {
				says(t, "wake", n.cliFails("wake", filler.name), "was filling it")
			}
			n.kill()
			n.start()
			n.outside.greet(late.addr4(80))
			n.outside.greet(other.addr4(80))
			if got := n.find(late.name); got.v4 != late.v4 {
				t.Errorf("what was applied on a full disk has address %s after a restart, and had %s", got.v4, late.v4)
			}
		})
	}
	s := n.find("volume")
	files, err := filepath.Glob(filepath.Join(state, "state", "volumes", "volume", "data", "data", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in the volume: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	testutil.WaitFor(t, patience, "the site, with room on the disk again", func() error {
		_, err := n.outside.get(s.addr4(80), "/")
		return err
	})
}
