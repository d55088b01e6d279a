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
