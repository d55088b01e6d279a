package criu

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func machine() Machine {
	return Machine{Kernel: "6.18.1", Boot: "boot", Arch: runtime.GOARCH, CPU: []string{"avx", "sse"}, CRIU: "4.2.1"}
}

func want() Want {
	return Want{Site: "blog", SpecDigest: "spec", ImageDigest: "image", Machine: machine()}
}

// made makes a checkpoint with files as CRIU would write them.
func made(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkpoints", "blog")
	d, err := NewDraft(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.Images(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := want()
	m, err := d.Finish(Manifest{Site: w.Site, SpecDigest: w.SpecDigest, ImageDigest: w.ImageDigest, Machine: w.Machine, Restore: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(t.TempDir(), "upper")
	if err := errors.Join(os.Mkdir(upper, 0o755), Complete(dir, m.ID, upper)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func images() map[string]string {
	return map[string]string{"core-1.img": "core", "pages-1.img": strings.Repeat("page", 1<<10), "empty.img": "", logFile: "not kept"}
}

func TestVerify(t *testing.T) {
	files := images()
	files["pages-1.img"] = strings.Repeat("page", 1<<20) // read piece by piece
	dir := made(t, files)
	m, err := Verify(dir, want())
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyMemory(filepath.Join(dir, ImagesDir), m.MemoryFiles(), false); err != nil {
		t.Error(err)
	}
	if len(m.MemoryFiles()) != 1 || len(m.Files) != 3 || m.Memory != 4<<20 || m.Bytes != 4<<20+4 || m.ID == "" || m.Created.IsZero() {
		t.Errorf("the manifest says %+v", m)
	}
}

func TestVerifyRefuses(t *testing.T) {
	image := func(dir, name string) string { return filepath.Join(dir, ImagesDir, name) }
	for name, tt := range map[string]struct {
		says   string
		want   func(*Want)
		damage func(dir string) error
	}{
		"site":           {says: "another site", want: func(w *Want) { w.Site = "shop" }},
		"spec":           {says: "another spec", want: func(w *Want) { w.SpecDigest = "later" }},
		"image":          {says: "another image", want: func(w *Want) { w.ImageDigest = "later" }},
		"kernel":         {says: "another kernel", want: func(w *Want) { w.Machine.Kernel = "6.18.2" }},
		"boot":           {says: "started anew", want: func(w *Want) { w.Machine.Boot = "later" }},
		"architecture":   {says: "another processor", want: func(w *Want) { w.Machine.Arch = "other" }},
		"CRIU":           {says: "another version of CRIU", want: func(w *Want) { w.Machine.CRIU = "4.3" }},
		"less processor": {says: "processor with avx", want: func(w *Want) { w.Machine.CPU = []string{"sse"} }},
		"no manifest":    {says: "no checkpoint", damage: func(d string) error { return os.Remove(filepath.Join(d, ManifestFile)) }},
		"torn manifest":  {says: "manifest", damage: func(d string) error { return os.Truncate(filepath.Join(d, ManifestFile), 40) }},
		"other format": {says: "its format is 0", damage: func(d string) error {
			return os.WriteFile(filepath.Join(d, ManifestFile), []byte(`{}`), 0o600)
		}},
		"no layer":     {says: "not complete", damage: func(d string) error { return os.RemoveAll(filepath.Join(d, UpperDir)) }},
		"missing":      {says: "has 2 files", damage: func(d string) error { return os.Remove(image(d, "core-1.img")) }},
		"one more":     {says: "has 4 files", damage: func(d string) error { return os.WriteFile(image(d, "x"), nil, 0o600) }},
		"another name": {says: "core-1.img", damage: func(d string) error { return os.Rename(image(d, "core-1.img"), image(d, "core-2.img")) }},
		"shorter":      {says: "pages-1.img is damaged", damage: func(d string) error { return os.Truncate(image(d, "pages-1.img"), 4<<10-1) }},
		"changed":      {says: "core-1.img is damaged", damage: func(d string) error { return os.WriteFile(image(d, "core-1.img"), []byte("cOre"), 0o600) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, w := made(t, images()), want()
			if tt.want != nil {
				tt.want(&w)
			}
			if tt.damage != nil {
				if err := tt.damage(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Verify(dir, w)
			if !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// TestLazy: memory comes on demand only where one process alone has it, also by
// a manifest that does not say how many there are.
func TestLazy(t *testing.T) {
	image := func(more ...string) []File {
		files := []File{{Name: "pages-1.img"}, {Name: "core-1.img"}, {Name: "core-2.img"}, {Name: "mm-1.img"}}
		for _, name := range more {
			files = append(files, File{Name: name})
		}
		return files
	}
	for name, tt := range map[string]struct {
		m    Manifest
		want bool
	}{
		"one process with threads":    {Manifest{Memory: LazyFrom, Processes: 1}, true},
		"a small one":                 {Manifest{Memory: LazyFrom - 1, Processes: 1}, false},
		"several":                     {Manifest{Memory: 64 * LazyFrom, Processes: 2}, false},
		"one, of an older fcnode":     {Manifest{Memory: LazyFrom, Files: image()}, true},
		"several, of an older fcnode": {Manifest{Memory: LazyFrom, Files: image("mm-7.img")}, false},
		"nothing is known":            {Manifest{Memory: LazyFrom}, false},
	} {
		if got := tt.m.Lazy(); got != tt.want {
			t.Errorf("%s: lazy is %v", name, got)
		}
	}
	files := images()
	files["mm-1.img"], files["mm-7.img"] = "", ""
	if m, err := Read(made(t, files)); err != nil || m.Processes != 2 {
		t.Errorf("the manifest says %d processes, %v", m.Processes, err)
	}
}

// A newer processor is fine, an escape from the folder is not.
func TestVerifyMore(t *testing.T) {
	dir, w := made(t, images()), want()
	w.Machine.CPU = []string{"avx", "avx512f", "sse"}
	if _, err := Verify(dir, w); err != nil {
		t.Error(err)
	}
	err := verifyFiles(filepath.Join(dir, ImagesDir), []File{{Name: "../manifest.json"}})
	if !errors.Is(err, ErrUnusable) {
		t.Errorf("a file outside: %v", err)
	}
}

// TestVerifyUnread: memory that is restored on demand is not read unless somebody has
// touched it, and then it is.
func TestVerifyUnread(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "pages-1.img"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("memory")
	files, memory, _, err := sumAll(dir)
	if err != nil || memory != 6 {
		t.Fatalf("%d bytes of memory, %v", memory, err)
	}
	rec := files[0]
	wrong := rec
	wrong.CRC++
	if err := verifyFile(dir, wrong, true); err != nil {
		t.Errorf("a file that nobody has changed was read: %v", err)
	}
	write("mEmory")
	if err := verifyFile(dir, rec, true); !errors.Is(err, ErrUnusable) {
		t.Errorf("a file that was changed: %v", err)
	}
	write("memory")
	if err := verifyFile(dir, rec, true); err != nil {
		t.Errorf("a file that was written anew with the same content: %v", err)
	}
}

// TestOnce walks through the life of a checkpoint: what is half-made is swept,
// what is complete is used once.
func TestOnce(t *testing.T) {
	dir := made(t, images())
	parent := filepath.Dir(dir)
	draft, err := NewDraft(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := draft.held.Close(); err != nil { // the daemon dies
		t.Fatal(err)
	}
	spent, err := Consume(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Consume(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a second use: %v", err)
	}
	if _, err := Read(spent); err != nil {
		t.Errorf("what was taken cannot be read: %v", err)
	}
	for _, folder := range []string{parent, filepath.Join(parent, "none")} {
		if held, err := Sweep(folder); held != 0 || err != nil {
			t.Fatal(held, err)
		}
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestComplete: a layer goes into the checkpoint it belongs to, and into no other.
func TestComplete(t *testing.T) {
	dir := made(t, images())
	m, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(t.TempDir(), "upper")
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, UpperDir)), os.Mkdir(upper, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Complete(dir, "another", upper), Complete(filepath.Join(dir, "none"), m.ID, upper)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(upper); err != nil {
		t.Fatalf("the layer went into another checkpoint: %v", err)
	}
	if err := Complete(dir, m.ID, upper); err != nil {
		t.Fatal(err)
	}
	if _, err := Fits(dir, want()); err != nil {
		t.Error(err)
	}
}

// TestFinishReplaces: a newer checkpoint takes the place of an older one.
func TestFinishReplaces(t *testing.T) {
	dir := made(t, images())
	d, err := NewDraft(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Finish(Manifest{Site: "blog", Restore: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir); err != nil || got.ID != m.ID {
		t.Errorf("in its place is %q, %v", got.ID, err)
	}
	if _, err := Fits(dir, Want{Site: "blog"}); !errors.Is(err, ErrUnusable) {
		t.Errorf("it has the layer of the older one: %v", err)
	}
}

func TestTooOld(t *testing.T) {
	for _, tt := range []struct {
		v      Version
		kernel string
		ok     bool
	}{
		{Version{3, 17, 1}, "6.1.0-49-amd64", false},
		{Version{4, 0, 0}, "6.1.0-49-amd64", true},
		{Version{4, 1, 1}, "6.12.90+deb13-amd64", true},
		{Version{4, 1, 1}, "6.16.0", false},
		{Version{4, 2, 0}, "6.16.0", true},
		{Version{4, 1, 1}, "7.0", false},
		{Version{5, 0, 0}, "7.2.1", true},
		{Version{5, 0, 0}, "odd", false},
	} {
		if err := tooOld(tt.v, tt.kernel); (err == nil) != tt.ok {
			t.Errorf("criu %s on Linux %s: %v", tt.v, tt.kernel, err)
		}
	}
}

func TestErrorsOfLog(t *testing.T) {
	log := "(00.000100) Warn  (criu/x.c:1): odd\n" +
		"(00.000101) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n" +
		"(00.000200) Error (criu/sk.c:2): first\n\n(00.000300) Error (criu/y.c:3): second\n(00.000400) last\n"
	want := []string{"(00.000200) Error (criu/sk.c:2): first", "(00.000300) Error (criu/y.c:3): second"}
	if diff := cmp.Diff(want, errorsOf([]byte(log))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, errorsOf([]byte("a\nb\n"))); diff != "" {
		t.Error(diff)
	}
}

func TestFailure(t *testing.T) {
	err := error(&Failure{Op: "dump", Kind: ErrDump, Log: []string{"one", "two"}})
	if !errors.Is(err, ErrDump) || err.Error() != "criu dump failed; its log: one | two" {
		t.Errorf("%v", err)
	}
	cause := errors.New("cause")
	err = &Failure{Op: "restore", Kind: ErrRestore, Err: cause}
	if !errors.Is(err, cause) || !errors.Is(err, ErrRestore) || err.Error() != "criu restore failed: cause" {
		t.Errorf("%v", err)
	}
}

// TestHeld: what somebody reads or makes is not removed under his hands, by whatever way;
// when the last of them is gone, it is.
func TestHeld(t *testing.T) {
	dir := made(t, images())
	parent := filepath.Dir(dir)
	held, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := NewDraft(filepath.Join(parent, "other"))
	if err != nil {
		t.Fatal(err)
	}
	spent, err := Consume(dir)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := List(parent); len(names) > 0 || err != nil {
		t.Errorf("taken and half-made checkpoints are listed: %v %v", names, err)
	}
	if err := Discard(spent); err != nil {
		t.Fatal(err)
	}
	if n, err := Sweep(parent); n != 2 || err != nil {
		t.Errorf("held are %d, %v", n, err)
	}
	if _, err := os.ReadFile(filepath.Join(spent, ManifestFile)); err != nil {
		t.Errorf("it was removed while it was held: %v", err)
	}
	if err := errors.Join(held.Close(), draft.Drop()); err != nil {
		t.Fatal(err)
	}
	if n, err := Sweep(parent); n != 1 || err != nil {
		t.Errorf("one reader is left, held are %d, %v", n, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := Sweep(parent); n != 0 || err != nil {
		t.Errorf("nobody is left, held are %d, %v", n, err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := Hold(spent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("holding what is gone: %v", err)
	}
}

// TestHoldWhileRemoved: who comes while it is being removed is told that it is gone.
func TestHoldWhileRemoved(t *testing.T) {
	dir := made(t, images())
	removing, err := lock(dir, unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer removing.Close()
	if _, err := Hold(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was held: %v", err)
	}
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if f, err := Hold(dir); err != nil {
		t.Errorf("another of the same name: %v", err)
	} else {
		_ = f.Close()
	}
}

// TestVerifyMemory: what Verify leaves to it, it finds; what CRIU could not even copy, Verify does.
func TestVerifyMemory(t *testing.T) {
	files := images()
	files["pages-2.img"] = strings.Repeat("page", 1<<19)
	for name, at := range map[string]int64{"pages-1.img": 0, "pages-2.img": 1 << 20} {
		dir := made(t, files)
		path := filepath.Join(dir, ImagesDir, name)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0}, at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := Verify(dir, want())
		if err != nil {
			t.Fatal(err)
		}
		err = VerifyMemory(filepath.Join(dir, ImagesDir), m.MemoryFiles(), false)
		if !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), name+" is damaged") {
			t.Errorf("%s: the error is %v", name, err)
		}
		if err := os.Truncate(path, at); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(dir, want()); !errors.Is(err, ErrUnusable) {
			t.Errorf("%s is shorter: the error is %v", name, err)
		}
	}
}
