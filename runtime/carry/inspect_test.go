package carry

import (
	"errors"
	"os"
	"path/filepath"
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
