package disk

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

const nobody = 65534 // root of the machine is held to no quota of ext4

func TestMain(m *testing.M) { testutil.Main(m) }

// TestRootQuota: a project has the number that nobody else has, keeps it, is held to its limit, and has
// none any more when that is taken away.
func TestRootQuota(t *testing.T) {
	testutil.Privileged(t)
	dir := testutil.Scratch(t)
	q, err := OpenQuotas(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	in := func(name string) string { return filepath.Join(dir, name) }
	h := fnv.New32a()
	h.Write([]byte("a"))
	first := firstProject + h.Sum32()%projects
	names := in("projid")
	if err := os.WriteFile(names, []byte(fmt.Sprintf("# of the administrator\nbackup:%d\n", first)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := q.Limit(first+1, Use{Inodes: 7}); err != nil { // another daemon's
		t.Fatal(err)
	}
	defer func() {
		if err := q.Limit(first+1, Use{}); err != nil {
			t.Error(err)
		}
	}()
	p := Projects{Quotas: q, Names: names}
	if err := errors.Join(os.MkdirAll(in("home/old"), 0o700), os.WriteFile(in("home/old/file"), make([]byte, 8<<10), 0o600)); err != nil {
		t.Fatal(err)
	}
	project, err := p.For(in("home"), "a")
	if err != nil || project != first+2 {
		t.Fatalf("project %d %v, want %d, past one that has a name and one that has a limit", project, err, first+2)
	}
	if again, err := p.For(in("home"), "a"); err != nil || again != project {
		t.Errorf("asked again: %d %v", again, err)
	}
	if use, _, err := q.Get(project); err != nil || use.Inodes != 3 || use.Bytes < 8<<10 {
		t.Errorf("what was there before: %+v %v", use, err)
	}
	if err := q.Limit(project, Use{Bytes: 1 << 20, Inodes: 10}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("layer"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := SetProject(in("layer"), project); err != nil {
		t.Fatal(err)
	}
	if got, err := ProjectOf(in("layer")); err != nil || got != project {
		t.Errorf("the layer's project is %d %v", got, err)
	}
	if got, err := ProjectOf(in("gone")); err != nil || got != 0 {
		t.Errorf("nothing has project %d %v", got, err)
	}
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chown(in("layer"), nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"head -c 2M /dev/zero >big", "for i in 0 1 2 3 4 5 6 7 8 9; do : >$i || exit; done"} {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir, cmd.SysProcAttr = in("layer"), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "quota exceeded") && !strings.Contains(string(out), "No space") { // of xfs
			t.Errorf("%s: %v %s", script, err, out)
		}
	}
	if use, most, err := q.Get(project); err != nil || use.Share(most) < 0.99 || most != (Use{Bytes: 1 << 20, Inodes: 10}) {
		t.Errorf("%+v of %+v %v in use", use, most, err)
	}
	if err := errors.Join(os.RemoveAll(in("layer")), os.RemoveAll(in("home")), q.Limit(project, Use{})); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, time.Minute, "the project to be free, which on xfs takes a moment", func() error {
		free, err := q.unused(project)
		if err == nil && !free {
			err = errors.New("it is in use")
		}
		return err
	})
}

// TestRootNoQuotas: where there are none that is said.
func TestRootNoQuotas(t *testing.T) {
	testutil.Privileged(t)
	if _, err := OpenQuotas("/run"); !errors.Is(err, ErrNoQuotas) {
		t.Errorf("of a tmpfs: %v", err)
	}
}
