package sites

import (
	"runtime"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// TestAllows: an image of 32-bit programs needs the spec's word.
func TestAllows(t *testing.T) {
	narrow := &image.Image{Config: image.Config{Architecture: "386"}}
	for _, tt := range []struct {
		name string
		list []spec.Architecture
		img  *image.Image
		want string
	}{
		{"not known yet", nil, nil, ""},
		{"the machine's own", nil, &image.Image{}, ""},
		{"not allowed", nil, narrow, "add architectures: [" + runtime.GOARCH},
		{"allowed", []spec.Architecture{"amd64", "386"}, narrow, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := allows(&spec.Site{Architectures: tt.list}, tt.img)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
