package sites

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

// TestRoomForPorts: a range for which the kernel's table has no room is refused before anything is changed.
func TestRoomForPorts(t *testing.T) {
	d := newDesk(t, nil)
	d.host.Cfg.MaxSites = 100 // 400 ports
	apply := func(ports string, dry bool) error {
		sites, err := spec.Parse("s.yaml", strings.NewReader("name: a\nimage: 'reg.example/blog:1'\nports: ["+ports+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Apply(t.Context(), sites, dry)
		return err
	}
	has := func(want int) {
		t.Helper()
		if got := len(d.data.have); got != want {
			t.Errorf("the data path has %d ports, want %d", got, want)
		}
	}
	if err := apply("1001-1300", false); err != nil {
		t.Fatal(err)
	}
	has(300)
	for _, dry := range []bool{true, false} {
		if err := apply("1001-1300, 2001-2101/udp", dry); err == nil || !strings.Contains(err.Error(), "would be 401, and the kernel's table has room for 400") ||
			!strings.Contains(err.Error(), "maxSites") {
			t.Errorf("dry %v: 401 ports: %v", dry, err)
		}
		has(300)
	}
	if kept, err := d.host.Store.Get("a"); err != nil || spec.CountPorts(kept.Spec.Ports) != 300 {
		t.Errorf("%v was kept (%v)", kept, err)
	}
	if err := apply("1001-1300, 2001-2100/udp", false); err != nil {
		t.Errorf("400 ports: %v", err)
	}
	has(400)
	if err := apply("1001-1010", false); err != nil {
		t.Errorf("10 ports: %v", err)
	}
	has(10)
}
