package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/secret"
	"github.com/fcnode/fcnode/runtime/volume"
	"github.com/fcnode/fcnode/tests/testutil"
)

// secrets makes a folder of secrets, which the manager takes them from.
func (e *env) secrets() (put func(name, content string) string) {
	e.t.Helper()
	root := filepath.Join(e.dir, "secrets")
	e.m.opts.SecretRoots = []string{root}
	return func(name, content string) string {
		e.t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			e.t.Fatal(err)
		}
		return path
	}
}

// nowhere fails if a text is in a file below the manager's folders, or on the way to one.
func (e *env) nowhere(text string) {
	e.t.Helper()
	for _, dir := range []string{e.dir, e.runDir} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(e.dir, "secrets")) {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(b), text) {
				e.t.Errorf("%s has a secret", path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.t.Error(err)
		}
	}
}

// TestRootSecretFiles: a site has its secrets as files that are its user's alone and that nobody can write to, in memory that
// is not pushed out, and in its environment; no file on disk has them.
func TestRootSecretFiles(t *testing.T) {
	t.Run("host", func(t *testing.T) { secretFiles(newEnv(t)) })
	t.Run("private", func(t *testing.T) { secretFiles(newEnv(t).private()) })
}

const hidden = "hunter2-of-the-database"

func secretSpec(e *env, args ...string) (Spec, func(name, content string) string) {
	put := e.secrets()
	put("tls/key", hidden+"-key")
	put("tls/cert", "c")
	spec := e.spec(args...)
	spec.Mounts = []Mount{
		{Source: put("db", hidden+"\n"), Target: "/run/secrets/db", Secret: &Secret{Mode: 0o400}},
		{Source: filepath.Join(e.dir, "secrets/tls"), Target: "/etc/tls", Secret: &Secret{Mode: 0o440, Owner: "web"}},
	}
	spec.SecretEnv = []SecretVariable{{Name: "DB_PASSWORD", Source: filepath.Join(e.dir, "secrets/db")}}
	// What was written a moment ago counts as changed, as the clock of files is coarse.
	testutil.WaitFor(e.t, limit, "secrets that are not new", func() error {
		for _, m := range spec.Mounts {
			s, err := secret.Read(e.m.opts.SecretRoots, m.Source)
			if err != nil {
				return err
			}
			if path := volume.NewComparer(nil, e.m.opts.SecretRoots).Changed(s.Sources); path != "" {
				return fmt.Errorf("%s is new", path)
			}
		}
		return nil
	})
	return spec, put
}

func secretFiles(e *env) {
	t := e.t
	spec, put := secretSpec(e, "sleep")
	c := e.start(spec)
	e.saw(spec, "sleeping")
	e.checkSecrets(c, hidden)
	e.nowhere(hidden)

	// What is executed in it has the variables, as they are now; the files are those of the start.
	put("db", "another")
	if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "env"}, SecretEnv: spec.SecretEnv}, ""); !strings.Contains(out, "DB_PASSWORD=another\n") {
		t.Errorf("exec has %q", out)
	}
	if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", "/run/secrets/db"}}, ""); out != hidden+"\n" {
		t.Errorf("exec reads %q", out)
	}
	for _, path := range []string{"/run/secrets/db", "/etc/tls/key", "/etc/tls/new"} {
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "touch", path}}, ""); !strings.Contains(out, "read-only") {
			t.Errorf("touch %s: %q", path, out)
		}
	}
	ahead, _ := secretSpec(e, "sleep")
	prepared := e.open(e.prepare(ahead))
	e.saw(ahead, "sleeping")
	e.checkSecrets(prepared, hidden)

	// Root's alone, or no start; and the error does not say what is in it.
	bad, _ := secretSpec(e, "sleep")
	if err := os.Chmod(filepath.Join(e.dir, "secrets/tls/key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.m.Start(testutil.Context(t, limit), bad); err == nil || !strings.Contains(err.Error(), secret.ErrExposed.Error()) || strings.Contains(err.Error(), hidden) {
		t.Errorf("an exposed one: %v", err)
	}
}

// checkSecrets looks at a container's secrets from outside.
func (e *env) checkSecrets(c *Container, want string) {
	t := e.t
	t.Helper()
	root := fmt.Sprintf("/proc/%d/root", c.Pid())
	for path, is := range map[string]struct {
		mode     uint32
		uid, gid uint32
		content  string
	}{
		"/run/secrets/db": {unix.S_IFREG | 0o400, 0, 0, want + "\n"},
		"/etc/tls":        {unix.S_IFDIR | 0o550, 1000, 1001, ""},
		"/etc/tls/key":    {unix.S_IFREG | 0o440, 1000, 1001, want + "-key"},
		"/etc/tls/cert":   {unix.S_IFREG | 0o440, 1000, 1001, "c"},
	} {
		var st unix.Stat_t
		var sfs unix.Statfs_t
		if err := errors.Join(unix.Stat(root+path, &st), unix.Statfs(root+path, &sfs)); err != nil {
			t.Error(err)
			continue
		}
		if st.Mode != is.mode || st.Uid%65536 != is.uid || st.Gid%65536 != is.gid || e.userns != (st.Uid > 65535) {
			t.Errorf("%s: mode %o, %d:%d", path, st.Mode, st.Uid, st.Gid)
		}
		if sfs.Type != unix.RAMFS_MAGIC || sfs.Flags&(unix.ST_RDONLY|unix.ST_NOEXEC|unix.ST_NOSUID|unix.ST_NODEV) != unix.ST_RDONLY|unix.ST_NOEXEC|unix.ST_NOSUID|unix.ST_NODEV {
			t.Errorf("%s: on a file system of type %x, flags %x", path, sfs.Type, sfs.Flags)
		}
		if is.content == "" {
			continue
		}
		if got, err := os.ReadFile(root + path); string(got) != is.content {
			t.Errorf("%s has %q %v", path, got, err)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.Pid()))
	if err != nil || !strings.Contains("\x00"+string(environ), "\x00DB_PASSWORD="+want+"\x00") {
		t.Errorf("the environment is %q %v", environ, err)
	}
}

// TestRootSecretsRestored: the files of a checkpoint are made anew by its restore and are not in it, but for what its processes remember; one whose secrets have
// changed is not restored.
func TestRootSecretsRestored(t *testing.T) {
	t.Run("host", func(t *testing.T) { secretsRestored(newEnv(t)) })
	t.Run("private", func(t *testing.T) { secretsRestored(newEnv(t).private()) })
}

func secretsRestored(e *env) {
	t := e.t
	needCRIU(t, e.m)
	spec, put := secretSpec(e, "counter", vip+":80")
	spec.Netns = replicaNetns(t)
	spec.SpecDigest, spec.ImageDigest = "sha256:spec", "sha256:image"
	c := e.start(spec)
	e.saw(spec, "listening")
	sources := c.Sources()
	m := e.park(c, e.checkpointDir(), options())
	if kept, err := SourcesOf(m); err != nil || len(kept) != 5 || len(sources) != 5 {
		t.Errorf("it was made of %+v, %v; the container of %+v", kept, err, sources)
	}
	e.nowhere(hidden + "-key")
	again := func() Spec {
		next := e.spec()
		next.Args, next.Mounts, next.SecretEnv, next.Netns = spec.Args, spec.Mounts, spec.SecretEnv, replicaNetns(t)
		next.SpecDigest, next.ImageDigest = spec.SpecDigest, spec.ImageDigest
		return next
	}
	r := e.restore(again(), e.checkpointDir())
	e.checkSecrets(r, hidden)
	if got := len(r.Sources()); got != 5 {
		t.Errorf("the restored one knows of %d sources", got)
	}
	e.park(r, e.checkpointDir(), options())
	put("db", "changed")
	if _, _, err := e.m.Restore(testutil.Context(t, limit), again(), e.checkpointDir()); !errors.Is(err, criu.ErrUnusable) {
		t.Errorf("with another secret: %v", err)
	}
}

func replicaNetns(t testing.TB) *os.File {
	t.Helper()
	f := replicaNS(t).File(t)
	t.Cleanup(func() { _ = f.Close() })
	return f
}
