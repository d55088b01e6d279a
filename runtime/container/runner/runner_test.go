package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// TestOpenInStays: no link and no ".." leads out of the root.
func TestOpenInStays(t *testing.T) {
	root := testutil.RootWith(t, map[string]string{"etc/real": "inside"})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"etc/passwd": secret, "etc/up": "../../../../../../.." + secret} {
		if err := os.Symlink(target, filepath.Join(root.Name(), name)); err != nil {
			t.Fatal(err)
		}
		if f, err := mounts.OpenIn(root, "/"+name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v %v", name, f, err)
		}
	}
	if f, err := mounts.OpenIn(root, "/../../etc/real"); err != nil {
		t.Errorf("within the root: %v", err)
	} else {
		_ = f.Close()
	}
}

func TestLookUser(t *testing.T) {
	root := testutil.RootWith(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\n",
		"etc/group":  "root:x:0:\nweb:x:34:\nssl:x:50:web\n",
	})
	for spec, want := range map[string]string{
		"": "0:0", "root": "0:0", "web": "33:34", "33": "33:34", "7": "7:0", "7:8": "7:8", "web:ssl": "33:50",
	} {
		u, err := mounts.LookUser(root, spec)
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		} else if got := fmt.Sprintf("%d:%d", u.UID, u.GID); got != want {
			t.Errorf("%q is %s, want %s", spec, got, want)
		}
	}
	for _, spec := range []string{"nobody", "web:nogroup", "-1", "99999999999"} {
		if u, err := mounts.LookUser(root, spec); err == nil || asError(err).Kind != wire.KindUser {
			t.Errorf("%q: %+v %v", spec, u, err)
		}
	}
	if u, err := mounts.LookUser(testutil.RootWith(t, nil), "12:13"); err != nil || u.UID != 12 || u.GID != 13 {
		t.Errorf("an image without passwd: %+v %v", u, err)
	}
}

// TestMakeEtc: the upper folder looks like the image's own, whichever layer has it.
func TestMakeEtc(t *testing.T) {
	top, bottom := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(bottom, "etc"), 0o750), os.Chmod(filepath.Join(bottom, "etc"), 0o751)); err != nil {
		t.Fatal(err)
	}
	layers, err := mounts.OpenLayers("a-1", []string{top, bottom})
	if err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	upper := t.TempDir()
	etc, err := makeEtc(wire.StartRequest{Upper: upper}, layers)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(etc); err != nil || st.Mode().Perm() != 0o751 {
		t.Errorf("%v %v, want the image's mode", st.Mode(), err)
	}
	if err := os.Symlink("/elsewhere", filepath.Join(top, "etc")); err != nil {
		t.Fatal(err)
	}
	if etc, err := makeEtc(wire.StartRequest{Upper: t.TempDir()}, layers); etc != "" || err != nil {
		t.Errorf("an image whose /etc is a link: %q %v, want none", etc, err)
	}
}

func TestAsError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want wire.Kind
	}{
		{errors.New("x"), wire.KindInternal},
		{fail(wire.KindRootfs, "mounting: %w", unix.EINVAL), wire.KindRootfs},
		{fail(wire.KindRootfs, "mounting: %w", unix.ENOSPC), wire.KindNoSpace},
		{fmt.Errorf("writing: %w", unix.ENOSPC), wire.KindNoSpace},
		{&wire.Error{Kind: wire.KindUser, Message: "x"}, wire.KindUser},
		{errors.Join(errors.New("a"), fail(wire.KindMount, "b")), wire.KindMount},
	} {
		if got := asError(tt.err); got.Kind != tt.want || got.Message != tt.err.Error() {
			t.Errorf("%v became %+v, want %q", tt.err, got, tt.want)
		}
	}
}

func TestClassify(t *testing.T) {
	req := wire.StartRequest{ID: "a-1", Args: []string{"/bin/app"}}
	for text, want := range map[string]wire.Kind{
		`exec: "/bin/app": stat /bin/app: no such file`:    wire.KindExec,
		`chdir to cwd ("/x") set in config.json failed: y`: wire.KindExec,
		`make mountpoint "/dst": no space left on device`:  wire.KindNoSpace,
		`something else`: wire.KindInternal,
	} {
		if got := asError(classify(req, errors.New(text))); got.Kind != want || !strings.Contains(got.Message, text) {
			t.Errorf("%q became %+v, want %q", text, got, want)
		}
	}
}

// TestSeccompProfile: there is one, native, and it allows what a program needs
// and not what it must not.
func TestSeccompProfile(t *testing.T) {
	p, err := seccompProfile("")
	if err != nil {
		t.Skip("built without the seccomp tag: ", err)
	}
	names := map[string]bool{}
	for _, c := range p.Syscalls {
		names[c.Name] = true
	}
	if len(p.Architectures) != 0 || !names["execve"] || names["kexec_load"] || names["swapon"] || len(names) < 300 {
		t.Errorf("%d system calls, architectures %v", len(names), p.Architectures)
	}
}

// TestSeccompProfileOfForeign: beside the native architecture those that are named, and no others.
func TestSeccompProfileOfForeign(t *testing.T) {
	foreign := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	if foreign == "" {
		t.Skip("this machine runs no programs but its own")
	}
	p, err := seccompProfile(foreign)
	if err != nil {
		t.Skip("built without the seccomp tag: ", err)
	}
	if len(p.Architectures) != 2 {
		t.Errorf("the architectures are %v", p.Architectures)
	}
	if _, err := seccompProfile("vax"); err == nil {
		t.Error("there is a filter for vax")
	}
}

// TestParseLimit: /proc/PID/limits says what prlimit(2) does.
func TestParseLimit(t *testing.T) {
	b, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for kind := unix.RLIMIT_CPU; kind <= unix.RLIMIT_RTTIME; kind++ {
		var want unix.Rlimit
		if err := unix.Prlimit(0, kind, nil, &want); err != nil {
			t.Fatal(err)
		}
		if got, err := parseLimit(lines, kind); err != nil || got != want {
			t.Errorf("limit %d: %+v, %v, want %+v", kind, got, err, want)
		}
	}
	for _, text := range []string{"", "Limit\n", "Limit\nMax cpu time\n", "Limit\nMax cpu time              many few seconds\n", "Limit\nMax cpu time              1\n"} {
		if got, err := parseLimit(strings.Split(text, "\n"), 0); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
