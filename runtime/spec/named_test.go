package spec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestAllVolumes: what an image declares gets a volume by a name of its own, always the same one, where the spec has none.
func TestAllVolumes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		site     Site
		declared string
		want     string // name:target, in order
	}{
		{"none", Site{}, "", ""},
		{"one", Site{}, "/var/www/html", "var-www-html:/var/www/html"},
		{"not clean", Site{}, "var/www//html/", "var-www-html:/var/www/html"},
		{"twice", Site{}, "/data /data/", "data:/data"},
		{"one in another", Site{}, "/a/b /a", "a:/a"},
		{"names alike", Site{}, "/a/b /a-b", "image-fb4e78a1c15f7e1d:/a-b a-b:/a/b"},
		{"ignored", Site{ImageVolumes: ImageVolumesIgnore}, "/data", ""},
		{"covered", Site{Volumes: []Volume{{Source: "/s", Target: "/data"}}}, "/data", ":/data"},
		{"covered from above", Site{Volumes: []Volume{{Source: "/s", Target: "/data"}}}, "/data/db", ":/data"},
		{"around one of the spec", Site{Volumes: []Volume{{Source: "/s", Target: "/data/db"}}}, "/data", "data:/data :/data/db"},
		{"beside one of the spec", Site{Volumes: []Volume{{Source: "/s", Target: "/data"}}}, "/data2", "data2:/data2 :/data"},
		{"name taken", Site{Volumes: []Volume{{Name: "data", Target: "/b"}}}, "/data", "image-1ec9dd8a3d6bb2a3:/data data:/b"},
		{"in memory", Site{Tmpfs: []Tmpfs{{Target: "/data"}}}, "/data /data/db /data2", "data2:/data2"},
		{"the container's own", Site{}, "/ /proc /proc/x /sys /dev/shm /..", ""},
		{"hostile", Site{}, "/../../etc /" + strings.Repeat("a", 80), "image-:/" + strings.Repeat("a", 80) + " etc:/etc"},
	} {
		all, defaults, err := tt.site.AllVolumes(strings.Fields(tt.declared))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got []string
		for _, v := range all {
			got = append(got, v.Name+":"+v.Target)
			if v.Name != "" && !labelForm.MatchString(v.Name) {
				t.Errorf("%s: the name %q is no label", tt.name, v.Name)
			}
		}
		want := strings.Fields(tt.want)
		same := slices.EqualFunc(got, want, func(g, w string) bool {
			name, target, _ := strings.Cut(w, ":")
			return g == w || strings.HasPrefix(name, "image-") && strings.HasPrefix(g, "image-") && strings.HasSuffix(g, ":"+target)
		})
		if !same || len(defaults) != len(all)-len(tt.site.Volumes) {
			t.Errorf("%s: %q, want %q; %d defaults", tt.name, got, want, len(defaults))
		}
		s := tt.site
		s.Name, s.Image, s.Ports, s.Volumes = "a", "dir:/a", []Port{{Port: 80, Proto: "tcp"}}, all
		site := defaultsOf(s)
		if err := site.Validate(); err != nil {
			t.Errorf("%s: the volumes are none that a spec can have: %v", tt.name, err)
		}
	}
	var many []string
	for i := range maxVolumes + 1 {
		many = append(many, fmt.Sprintf("/v%d", i))
	}
	for _, declared := range [][]string{many, {"/a\x00b"}} {
		if _, _, err := (&Site{}).AllVolumes(declared); err == nil || !strings.Contains(err.Error(), "imageVolumes: ignore") {
			t.Errorf("%d declared: %v", len(declared), err)
		}
	}
}

// defaultsOf fills in what every spec has.
func defaultsOf(s Site) Site {
	d := defaults()
	d.Name, d.Image, d.Ports, d.Volumes, d.ImageVolumes = s.Name, s.Image, s.Ports, s.Volumes, s.ImageVolumes
	d.complete()
	return d
}

// TestInMemory: with a read-only root programs find what they take for granted, unless the spec says otherwise.
func TestInMemory(t *testing.T) {
	vol := func(targets ...string) (list []Volume) {
		for _, target := range targets {
			list = append(list, Volume{Source: "/s", Target: target})
		}
		return list
	}
	for _, tt := range []struct {
		name    string
		site    Site
		volumes []Volume
		want    string
	}{
		{"writable", Site{}, nil, ""},
		{"read-only", Site{ReadOnlyRoot: true}, nil, "/tmp /run /var/tmp"},
		{"read-only, with volumes", Site{ReadOnlyRoot: true}, vol("/tmp", "/run/db"), "/run /var/tmp"},
		{"read-only, with a volume above", Site{ReadOnlyRoot: true}, vol("/var"), "/tmp /run"},
		{"none", Site{ReadOnlyRoot: true, Tmpfs: []Tmpfs{}}, nil, ""},
		{"its own", Site{ReadOnlyRoot: true, Tmpfs: []Tmpfs{{Target: "/cache"}}}, nil, "/cache"},
		{"its own, writable", Site{Tmpfs: []Tmpfs{{Target: "/cache"}}}, nil, "/cache"},
	} {
		var got []string
		for _, m := range tt.site.InMemory(tt.volumes) {
			got = append(got, m.Target)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, tt := range []struct{ native, list, foreign, refused string }{
		{"amd64", "", "[]", "[]"}, {"amd64", "amd64", "[]", "[]"}, {"amd64", "amd64 386", "[386]", "[]"},
		{"arm64", "arm arm64", "[arm]", "[]"}, {"arm64", "amd64 386", "[]", "[0 1]"}, {"amd64", "amd64 386 arm64 arm", "[386]", "[2 3]"},
		{"riscv64", "amd64", "[]", "[0]"},
	} {
		var s Site
		for _, a := range strings.Fields(tt.list) {
			s.Architectures = append(s.Architectures, Architecture(a))
		}
		foreign, refused := s.Foreign(tt.native)
		if fmt.Sprint(foreign) != tt.foreign || fmt.Sprint(refused) != tt.refused {
			t.Errorf("%q on %s: foreign %v, refused %v", tt.list, tt.native, foreign, refused)
		}
	}
}
