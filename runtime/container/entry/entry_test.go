package entry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
)

// check compares an error, which is of a kind that callers are told, with a text in it; "" for none.
func check(t *testing.T, what any, err error, kind wire.Kind, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%q: error %v, want %q", what, err, want)
	}
	if err != nil && wire.AsError(err).Kind != kind {
		t.Errorf("%q: kind %q, want %q", what, wire.AsError(err).Kind, kind)
	}
}

// native is this test, which is a program of the machine without an interpreter, or with one that the kernel would look for.
func native(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProgram(t *testing.T) {
	root := testutil.RootWith(t, map[string]string{
		"bin/sh": "#!/vol/sh-itself\n", "bin/text": "text", "bin/bad": "#! \n", "srv/app": "#!/opt/interp -x\n",
		"bin/dos": "#!/bin/sh\r\nexit\r\n", "bin/dosarg": "#!/bin/sh -e\r\n", "bin/tab": "#!\t/bin/sh\t-e\n", "bin/self": "#!/bin/self\n",
		"bin/one": "#!/bin/two\n", "bin/two": "#!/bin/text\n", "bin/ofdir": "#!/bin\n", "bin/ofdata": "#!/srv/data\n", "srv/data": "#!/bin/sh\n",
		"loop": "->loop", "up": "->../../../../bin/text", "dev/null": "text",
	})
	if err := os.Chmod(filepath.Join(root.Name(), "srv/data"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		found bool
		want  string // in the error; "" for none
	}{
		{nil, false, "nothing to execute"},
		{[]string{"/bin/sh"}, true, ""},
		{[]string{"sh", "-c", "x"}, true, ""},
		{[]string{"/nowhere"}, false, ""}, // libcontainer's to say
		{[]string{"nowhere"}, false, ""},
		{[]string{"/srv"}, false, ""},
		{[]string{"/srv/data"}, false, ""},
		{[]string{"/loop"}, false, ""},
		{[]string{"/bin/text"}, true, "neither an ELF program nor a script"},
		{[]string{"/up"}, true, "neither an ELF program nor a script"},
		{[]string{"text"}, true, "/bin/text"},
		{[]string{"/bin/bad"}, true, "names no interpreter"},
		{[]string{"/bin/dos"}, true, "ends in a carriage return"},
		{[]string{"/bin/dosarg"}, true, ""}, // an argument of the interpreter, which may well complain
		{[]string{"/bin/tab"}, true, ""},
		{[]string{"/bin/one"}, true, "/bin/text in the image of container a-1 cannot be executed"},
		{[]string{"/bin/self"}, true, "too many levels"},
		{[]string{"/bin/ofdir"}, true, "no executable file"},
		{[]string{"/bin/ofdata"}, true, "no executable file"},
		{[]string{"./app"}, true, "/opt/interp"},
		{[]string{"../bin/text"}, true, "neither"},
		{[]string{"/vol/anything"}, true, ""}, // on a volume: cannot be seen
		{[]string{"/dev/null"}, true, ""},     // neither is the container's own /dev
	} {
		req := wire.StartRequest{ID: "a-1", Args: tt.args, Cwd: "/srv", Mounts: []wire.Mount{{Target: "/vol/"}}}
		found, err := Program(root, req)
		check(t, tt.args, err, wire.KindExec, tt.want)
		if found != tt.found {
			t.Errorf("%q: found %t, want %t", tt.args, found, tt.found)
		}
	}
	if found, err := Program(testutil.RootWith(t, map[string]string{"test": native(t)}), wire.StartRequest{Args: []string{"/test"}, Mounts: []wire.Mount{{Target: "/lib"}, {Target: "/lib64"}}}); !found || err != nil {
		t.Errorf("this test as a program: %t %v", found, err)
	}
}

func TestCwd(t *testing.T) {
	root := testutil.RootWith(t, map[string]string{"srv/file": "x", "srv/link": "->/srv", "srv/up": "->../../../../srv", "srv/nowhere": "->/none", "srv/loop": "->loop"})
	for _, tt := range []struct{ cwd, want string }{
		{"/", ""}, {"/srv", ""}, {"/srv/", ""}, {"/none/such", ""}, // is made
		{"/srv/link", ""}, {"/srv/up", ""}, {"/srv/link/new", ""}, {"/proc/self", ""}, {"/dev/shm", ""},
		{"/srv/file", "/srv/file of the image cannot be used as a folder: not a directory; set workdir"},
		{"/srv/file/x", "/srv/file of the image"},
		{"/srv/nowhere", "is a link to what is not there"},
		{"/srv/nowhere/x", "is a link to what is not there"},
		{"/srv/loop", "too many levels"},
	} {
		check(t, tt.cwd, Cwd(root, wire.StartRequest{ID: "a-1", Cwd: tt.cwd}), wire.KindExec, tt.want)
		check(t, tt.cwd+" in a volume", Cwd(root, wire.StartRequest{ID: "a-1", Cwd: tt.cwd, Mounts: []wire.Mount{{Target: "/srv"}}}), wire.KindExec, "")
	}
	check(t, "a link into a volume", Cwd(root, wire.StartRequest{Cwd: "/srv/nowhere", Mounts: []wire.Mount{{Target: "/none"}}}), wire.KindExec, "")
	if err := Folder(root, wire.StartRequest{}, "/srv/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder to mount at, at the end of a link: %v", err)
	}
}

func TestSystem(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"etc/x", "x", ""}, {"dev", "->/tmp", ""}, {"proc/x", "x", ""}, {"sys/x", "x", ""},
		{"proc", "x", "/proc of the image has to be a folder"}, {"proc", "->/etc", "/proc of the image"}, {"sys", "->/etc", "/sys of the image"}, {"dev", "x", "/dev of the image has to be a folder"},
	} {
		check(t, tt.name+" "+tt.content, System(testutil.RootWith(t, map[string]string{tt.name: tt.content})), wire.KindRootfs, tt.want)
	}
}

// FuzzInterpreter: no file makes the check panic.
func FuzzInterpreter(f *testing.F) {
	exe, err := os.ReadFile("/bin/true")
	if err == nil {
		f.Add(exe)
	}
	f.Add([]byte("#!/bin/sh -x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if interp, _, err := interpreter(file, nil); err == nil && strings.Contains(interp, "\x00") && len(interp) > 4096 {
			t.Errorf("interpreter %q", interp)
		}
	})
}
