package main

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
)

func TestImage(t *testing.T) {
	a, ab := "sha256:a1"+strings.Repeat("0", 62), "sha256:a2"+strings.Repeat("0", 62)
	b := &recorded{
		images: []api.StoredImage{
			{Image: api.Image{Digest: a, Ports: []string{"80/tcp"}}, Refs: []string{"reg.example/blog:1"}, Sites: []string{"blog", "news", "shop", "wiki"}, Used: true, Layers: 2, Bytes: 30 << 20, Own: 1 << 20},
			{Image: api.Image{Digest: ab}, Layers: 1, Bytes: 29 << 20},
		},
		pulls: []api.Pull{{Image: &api.Image{Digest: a}}},
	}
	c := newCLI(t).serve(t, b)
	for i := range b.images {
		b.images[i].Unpacked = c.now().Add(-2 * time.Hour)
	}
	for _, tt := range []struct {
		args   string
		code   int
		stdout []string
		stderr []string
	}{
		{args: "image list", stdout: []string{
			"DIGEST        NAME                SIZE    OWN      SITES                  AGE\n",
			"a10000000000  reg.example/blog:1  30 MiB  1.0 MiB  blog, news and 2 more  2h\n", "a20000000000  -                   29 MiB  0 B      -  "}},
		{args: "image list -o json", stdout: []string{`"own": 1048576`, `"sites": []`}},
		{args: "image inspect reg.example/blog:1", stdout: []string{a, "30 MiB, 1.0 MiB of them in no other image", "ports       80/tcp", `command     -c "a b"`, "env         A=b", "layer       cccccccccccc  1.0 MiB  in 2 images"}},
		{args: "image inspect a", code: 1, stderr: []string{"a may be any of 2 images", "give more of the digest"}},
		{args: "image inspect nothing", code: 1, stderr: []string{"the node has no image nothing", "fcnode image list"}},
		{args: "image remove a2 " + a, stdout: []string{ab + "  removed\n", a + "  removed\n"}},
		{args: "image prune", stdout: []string{"2 images and 1 layer removed\n"}},
		{args: "image pull reg.example/blog:1", stdout: []string{"reg.example/blog:1  " + a}},
		{args: "image pull reg.example/blog:none", code: 1, stderr: []string{"image not found"}},
	} {
		code, stdout, stderr := c.run(t, strings.Fields(tt.args)...)
		if code != tt.code {
			t.Errorf("%s: exit code %d\n%s", tt.args, code, stderr)
		}
		for _, want := range tt.stdout {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s does not print %q:\n%s", tt.args, want, stdout)
			}
		}
		for _, want := range tt.stderr {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s does not say %q:\n%s", tt.args, want, stderr)
			}
		}
	}
}
