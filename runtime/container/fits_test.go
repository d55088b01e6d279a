package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMisfits: what keeps every start from coming to anything is found in the image, all of it at once, and what a volume may bring is not.
func TestMisfits(t *testing.T) {
	image := t.TempDir()
	err := errors.Join(os.Mkdir(filepath.Join(image, "etc"), 0o755), os.WriteFile(filepath.Join(image, "etc/passwd"), []byte("web:x:33:33::/:/\n"), 0o600),
		os.WriteFile(filepath.Join(image, "app"), []byte("#!/app\n"), 0o755), os.WriteFile(filepath.Join(image, "file"), nil, 0o600), os.Symlink("/none", filepath.Join(image, "nowhere")))
	if err != nil {
		t.Fatal(err)
	}
	spec := func(change func(*Candidate)) Candidate {
		c := Candidate{Spec: Spec{Site: "blog", Args: []string{"/data/app"}, User: "web", Mounts: []Mount{{Target: "/data"}}}, Folders: []string{"/data"}}
		change(&c)
		return c
	}
	tests := []struct {
		Candidate
		want []string
	}{
		{spec(func(*Candidate) {}), nil},
		{spec(func(c *Candidate) { c.Spec.User = "nobody" }), []string{`user "nobody"`}},
		{spec(func(c *Candidate) { c.Spec.User, c.Spec.Userns = "65536:65535", true }), []string{"user or group 65536 is none of the site's user namespace"}},
		{spec(func(c *Candidate) { c.Spec.User, c.Spec.Userns = "65535:65535", true }), nil},
		{spec(func(c *Candidate) { c.Spec.User = "65536" }), nil},
		{spec(func(c *Candidate) { c.Spec.Cwd = "/file" }), []string{"the working folder /file of container blog: /file of the image"}},
		{spec(func(c *Candidate) { c.Spec.Cwd, c.Spec.StopSignal = "srv", "nonsense" }), []string{`"srv" has to be an absolute path`, `"nonsense" is no signal`}},
		{spec(func(c *Candidate) { c.Spec.Env = []string{"A"} }), []string{`"A" in its environment is no NAME=value`}},
		{spec(func(c *Candidate) { c.Spec.Args = nil }), []string{"nothing to execute"}},
		{spec(func(c *Candidate) { c.Spec.Args = []string{"/app"} }), []string{"too many levels"}},
		{spec(func(c *Candidate) { c.Spec.Args = []string{"/none"} }), nil}, // a link may lead into the volume
		{spec(func(c *Candidate) { c.Spec.Args, c.Spec.Mounts = []string{"/none"}, nil }), []string{"there is no executable file /none in the image"}},
		{spec(func(c *Candidate) { c.Folders = []string{"/file", "/file/x", "/nowhere", "/etc", "/new"} }), []string{
			"a volume cannot be mounted at /file: /file of the image cannot be used as a folder: not a directory; mount it elsewhere, or say imageVolumes: ignore", "mounted at /file/x"}},
		{spec(func(c *Candidate) { c.Folders, c.Spec.Mounts = []string{"/file"}, []Mount{{Target: "/file"}} }), []string{"mounted at /file"}},
		{spec(func(c *Candidate) {
			c.Folders, c.Spec.Mounts = []string{"/file/x"}, []Mount{{Target: "/file"}, {Target: "/file/x"}}
		}), nil},
	}
	list := make([]Candidate, 0, len(tests))
	for _, tt := range tests {
		list = append(list, tt.Candidate)
	}
	misfits, err := Misfits([]string{image}, t.TempDir(), list)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range tests {
		if len(misfits[i]) != len(tt.want) || !slices.EqualFunc(misfits[i], tt.want, func(err error, want string) bool { return strings.Contains(err.Error(), want) }) {
			t.Errorf("%+v:\n%q, want %q", tt.Candidate, misfits[i], tt.want)
		}
	}
	if _, err := Misfits([]string{filepath.Join(image, "none")}, t.TempDir(), list); err == nil {
		t.Error("an image that is not there was looked into")
	}
}
