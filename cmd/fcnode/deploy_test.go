package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
)

const deployed = `# the blog
name: blog
image: reg.example/blog:1   # moved by the pipeline
ports: [80]
env:
  A: "1"   # one
`

func pulled() []api.Pull {
	return []api.Pull{
		{Layers: 1, Of: 3, Bytes: 12 << 20, Size: 40 << 20},
		{Image: &api.Image{Digest: "sha256:1", Ports: []string{"80/tcp", "443/tcp", "9/sctp"}}},
	}
}

func TestDeployNew(t *testing.T) {
	b := &recorded{pulls: pulled(), file: api.SpecFile{Path: "/etc/fcnode/sites/wp.yaml"}}
	c := newCLI(t).serve(t, b)
	code, stdout, stderr := c.run(t, "deploy", "wp", "--image", "reg.example/wp:1", "--domain", "wp.example.com,www.wp.example.com",
		"--volume", "html:/var/www/html", "--volume", "/srv/up:/up:ro", "--env", "DB=a=b c",
		"--secret", "key", "--secret", "key:/etc/key", "--secret", "DB_PASSWORD=db")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	want := `name: wp
domains: [wp.example.com, www.wp.example.com]
image: reg.example/wp:1
env:
  DB: "a=b c"
ports: [80/tcp, 443/tcp]
volumes:
  - {name: html, target: /var/www/html}
  - {source: /srv/up, target: /up, readOnly: true}
secrets:
  - {name: key}
  - {name: key, target: /etc/key}
  - {name: db, env: DB_PASSWORD}
`
	if diff := cmp.Diff(want, b.wrote.Text); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	if stdout != "wp  created  10.77.0.12\n" || stderr != "fcnode: pulling reg.example/wp:1\nfcnode: its spec is in /etc/fcnode/sites/wp.yaml\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

func TestDeployAgain(t *testing.T) {
	b := &recorded{pulls: pulled(), file: api.SpecFile{Path: "/etc/fcnode/sites/blog.yaml", Text: deployed, Digest: "sha256:d", Saved: true}}
	c := newCLI(t).serve(t, b)
	code, stdout, stderr := c.run(t, "deploy", "blog", "--image", "reg.example/blog:2", "--dry-run")
	if want := "blog  ~ image: \"reg.example/blog:1\" -> \"reg.example/blog:2\"\nblog  updated (dry run)  10.77.0.12\n"; code != 0 || stdout != want {
		t.Errorf("a dry run: exit code %d, %q, %s", code, stdout, stderr)
	}
	if !slices.Contains(b.calls, "dry run") {
		t.Errorf("no dry run: %v", b.calls)
	}
	b.calls = nil
	code, _, stderr = c.run(t, "deploy", "blog", "--image", "reg.example/blog:2", "--env", "B=x")
	want := strings.Replace(strings.Replace(deployed, "blog:1", "blog:2", 1), "# one\n", "# one\n  B: x\n", 1)
	if diff := cmp.Diff(api.SpecFile{Path: b.file.Path, Text: want, Digest: "sha256:d", Saved: true}, b.wrote); code != 0 || diff != "" {
		t.Errorf("exit code %d, %s (-want +got):\n%s", code, stderr, diff)
	}
	if slices.Contains(b.calls, "dry run") {
		t.Error("it was a dry run")
	}
}

func TestDeployCirculates(t *testing.T) {
	old, fresh := exampleSites(), exampleSites()
	old[0].Replicas = []api.Replica{{ID: "blog-1", State: "ready"}}
	fresh[0].Replicas = []api.Replica{{ID: "blog-1", State: "draining"}, {ID: "blog-2", State: "ready"}}
	b := &recorded{sites: old, fresh: fresh, later: []api.Event{{Seq: 9, Site: "blog", Kind: "draining"}}, pulls: pulled(), file: api.SpecFile{Text: deployed, Saved: true}}
	c := newCLI(t).serve(t, b)
	code, stdout, stderr := c.run(t, "deploy", "blog", "--image", "reg.example/blog:2")
	if code != 0 || !strings.Contains(stdout, "blog  circulated  ") {
		t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
	}
	b.sites, b.fresh, b.later = old, nil, []api.Event{{Seq: 9, Site: "blog", Kind: "not-circulated", Reason: "it exited"}}
	if code, _, stderr = c.run(t, "deploy", "blog", "--image", "reg.example/blog:3"); code != exitFailure || !strings.Contains(stderr, "it exited") {
		t.Errorf("fresh replicas that do not start: exit code %d, %s", code, stderr)
	}
	b.later = []api.Event{{Seq: 9, Site: "blog", Kind: "applied"}}
	if code, _, stderr = c.run(t, "deploy", "blog", "--image", "reg.example/blog:3", "--timeout", "1ms"); code != exitFailure || !strings.Contains(stderr, "within 1ms") {
		t.Errorf("no end: exit code %d, %s", code, stderr)
	}
	if code, _, stderr = c.run(t, "deploy", "blog", "--image", "reg.example/blog:3", "--no-wait"); code != 0 {
		t.Errorf("not waiting: exit code %d, %s", code, stderr)
	}
}

// TestDeployRefuses holds that what is wrong is found before anything is written.
func TestDeployRefuses(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		file   string
		stderr string
	}{
		{[]string{"blog"}, "", "a new one needs an image\n  hint: --image names it"},
		{[]string{"blog", "--image", "reg.example/blog:none"}, deployed, "image not found"},
		{[]string{"blog", "--port", "http"}, deployed, `--port: "http" is not a port`},
		{[]string{"blog", "--volume", "html"}, deployed, `--volume: "html" is no volume`},
		{[]string{"blog", "--volume", "a:/b:rx"}, deployed, `"rx" is no option`},
		{[]string{"blog", "--secret", "A="}, deployed, `--secret: "A=" is no secret`},
		{[]string{"blog", "--volume", "a:b"}, deployed, "volumes[0].target"},
		{[]string{"blog", "--env", "A"}, deployed, `"A" is not NAME=VALUE`},
		{[]string{"blog", "--domain", "a b"}, deployed, "domains[0]"},
		{[]string{"blog", "--env", "B=1"}, deployed + "colour: red\n", "/etc/fcnode/sites/blog.yaml:7:1: colour: unknown field"},
		{[]string{"blog", "--env", "B=1"}, `{"name": "blog", "image": "dir:/a", "ports": [80]}`, "by hand"},
	} {
		b := &recorded{pulls: pulled(), file: api.SpecFile{Path: "/etc/fcnode/sites/blog.yaml", Text: tt.file, Saved: tt.file != ""}}
		c := newCLI(t).serve(t, b)
		code, _, stderr := c.run(t, append([]string{"deploy"}, tt.args...)...)
		if code != exitFailure || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%v: exit code %d, %q, want %q", tt.args, code, stderr, tt.stderr)
		}
		if slices.ContainsFunc(b.calls, func(call string) bool { return strings.HasPrefix(call, "write") }) {
			t.Errorf("%v: it was written", tt.args)
		}
	}
	b := &recorded{pulls: []api.Pull{{Image: &api.Image{}}}}
	if code, _, stderr := newCLI(t).serve(t, b).run(t, "deploy", "a", "--image", "reg.example/a:1"); code != exitFailure || !strings.Contains(stderr, "exposes no port") {
		t.Errorf("an image without ports: %d, %s", code, stderr)
	}
}
