package carry

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestInspected(t *testing.T) {
	for _, engine := range []string{"docker", "podman"} {
		dir := filepath.Join("testdata", "inspect")
		text, err := os.ReadFile(filepath.Join(dir, engine+".json"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Inspected(engine+".json", text, nil)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join(dir, engine+".golden"), report(t, r, dir))
	}
	for _, text := range []string{"", "{", "[1]", `[{"Name": "x"}]`, `{"Config": {"Image": "x"}}`} {
		if _, err := Inspected("x.json", []byte(text), nil); !errors.Is(err, ErrNoContainer) || !strings.Contains(err.Error(), "x.json") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestInspectedOrder: notes of one line are always in the same order.
func TestInspectedOrder(t *testing.T) {
	const text = `[{"Name": "a", "Config": {"Image": "example.com/a", "ExposedPorts": {"80/tcp": {}}}, "HostConfig": {"Privileged": true, "PidMode": "host", "IpcMode": "host", "NetworkMode": "host", "CpusetCpus": "0", "Devices": [1]}}]`
	var want []Note
	for range 50 {
		r, err := Inspected("a.json", []byte(text), nil)
		if err != nil || len(r.Notes) != 6 {
			t.Fatal(r.Notes, err)
		}
		if want == nil {
			want = r.Notes
		}
		if !slices.Equal(r.Notes, want) {
			t.Fatalf("%v, and at another time %v", want, r.Notes)
		}
	}
}

// TestInspectedHost: the name of its host that somebody chose is the site's, too, and a user namespace is told.
func TestInspectedHost(t *testing.T) {
	for _, tt := range []struct{ config, host, hostname string }{
		{`"Hostname": "www"`, ``, "www"},
		{`"Hostname": "4c0d1f6a4f7f"`, ``, "a"},
		{`"Hostname": "machine"`, `"NetworkMode": "host"`, "a"},
		{`"Hostname": "machine"`, `"UTSMode": "host"`, "a"},
		{`"Hostname": ""`, `"UsernsMode": "host"`, "a"},
	} {
		text := `[{"Id": "4c0d1f6a4f7f0b1c", "Name": "a", "Config": {"Image": "example.com/a", "ExposedPorts": {"80/tcp": {}}, ` + tt.config + `}, "HostConfig": {` + tt.host + `}}]`
		r, err := Inspected("a.json", []byte(text), nil)
		if err != nil || len(r.Sites) != 1 || r.Sites[0].Hostname != tt.hostname {
			t.Errorf("%s, %s: %+v, %v", tt.config, tt.host, r, err)
		}
		told := slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Setting == "HostConfig.UsernsMode" && n.Lost })
		if told != strings.Contains(tt.host, "Userns") {
			t.Errorf("%s: %v", tt.host, r.Notes)
		}
	}
}
