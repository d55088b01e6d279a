package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

func validSpec() Spec {
	return Spec{
		ID: "blog-1", Site: "blog", Lower: []string{"/image"}, Upper: "/r/upper", Work: "/r/work",
		Args: []string{"/bin/server"}, Netns: os.Stdin, LogDir: "/log",
	}
}

func TestSpecValidate(t *testing.T) {
	valid := validSpec()
	if err := valid.validate(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		edit func(*Spec)
		text string
	}{
		"no id":          {func(s *Spec) { s.ID = "" }, `id ""`},
		"dots":           {func(s *Spec) { s.ID = ".." }, `id ".."`},
		"slash":          {func(s *Spec) { s.ID = "a/b" }, `id "a/b"`},
		"long id":        {func(s *Spec) { s.ID = strings.Repeat("a", 201) }, "up to 200"},
		"no netns":       {func(s *Spec) { s.Netns = nil }, "no network namespace"},
		"no args":        {func(s *Spec) { s.Args = nil }, "nothing to execute"},
		"empty program":  {func(s *Spec) { s.Args = []string{""} }, "nothing to execute"},
		"no layers":      {func(s *Spec) { s.Lower = nil }, "no layers"},
		"relative layer": {func(s *Spec) { s.Lower = []string{"image"} }, `layer "image"`},
		"relative cwd":   {func(s *Spec) { s.Cwd = "srv" }, `working folder "srv"`},
		"relative upper": {func(s *Spec) { s.Upper = "" }, "upper folder"},
		"volume source":  {func(s *Spec) { s.Mounts = []Mount{{Source: "x", Target: "/x"}} }, `volume source "x"`},
		"volume on root": {func(s *Spec) { s.Mounts = []Mount{{Source: "/x", Target: "/a/.."}} }, "over the whole root"},
		"signal":         {func(s *Spec) { s.StopSignal = "SIGSOON" }, "SIGSOON"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := validSpec()
			tt.edit(&spec)
			if err := spec.validate(); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want ErrSpec with %q", err, tt.text)
			}
		})
	}
}

func TestSpecValidateNamesAll(t *testing.T) {
	spec := validSpec()
	spec.Cwd, spec.LogDir, spec.StopSignal, spec.Args, spec.Env = "a", "b", "c", []string{"/x", "d\x00"}, []string{"A=b", "e", "=f", "G=\x00"}
	err := spec.validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{`"a"`, `"b"`, `"c"`, `"d\x00"`, `"e"`, `"=f"`, `"G=\x00"`} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s is not named in %q", text, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{
		"": unix.SIGTERM, "SIGQUIT": unix.SIGQUIT, "quit": unix.SIGQUIT, "3": unix.SIGQUIT, "WINCH": unix.SIGWINCH, "SIGRTMIN+3": 37, "SIGRTMAX-2": 62, "rtmax-30": 34, "64": 64,
	} {
		if got, err := parseSignal(name); got != want || err != nil {
			t.Errorf("%q is %d %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"0", "65", "-1", "SIG", "SIGRTMIN+99", "SIGRTMIN+x", "SIGRTMAX-31", "SIGRTMAX+1", "TERMINATE"} {
		if got, err := parseSignal(name); err == nil {
			t.Errorf("%q is %d, want an error", name, got)
		}
	}
}

func TestFromWire(t *testing.T) {
	if err := fromWire("a", nil); err != nil {
		t.Errorf("no error became %v", err)
	}
	err := fromWire("a", &wire.Error{Kind: wire.KindExec, Message: "no /bin/x"})
	var start *StartError
	if !errors.Is(err, ErrExec) || !errors.As(err, &start) || start.ID != "a" || err.Error() != "no /bin/x" {
		t.Errorf("%#v", err)
	}
	if err := fromWire("a", &wire.Error{Kind: wire.KindInternal, Message: "x"}); err == nil || errors.Is(err, ErrExec) {
		t.Errorf("%#v", err)
	}
}

func TestWithPath(t *testing.T) {
	if env := withPath([]string{"A=1"}); len(env) != 2 || !strings.HasPrefix(env[0], "PATH=/usr/local/sbin:") {
		t.Errorf("%q", env)
	}
	if env := withPath([]string{"A=1", "PATH=/x"}); len(env) != 2 {
		t.Errorf("%q", env)
	}
}

// TestRemoveAll: the folder that was made for one replica goes with it, one
// that holds other things stays.
func TestRemoveAll(t *testing.T) {
	top := t.TempDir()
	run, own := filepath.Join(top, "run"), filepath.Join(top, "own")
	upper, work := filepath.Join(own, "upper"), filepath.Join(own, "work")
	for _, dir := range []string{run, upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(top, "other")
	if err := removeAll(run, upper, work); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{run, own} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(own, "else"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeAll(other, upper, work); err != nil {
		t.Errorf("what is gone already: %v", err)
	}
	if _, err := os.Stat(filepath.Join(own, "else")); err != nil {
		t.Error(err)
	}
}

func TestSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := sealed(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to the copy: %v, want EPERM", err)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("shrinking the copy: %v, want EPERM", err)
	}
	if _, err := sealed(path + "-gone"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}
