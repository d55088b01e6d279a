package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const composed = `services:
  db:
    image: mariadb:11
  web:
    image: example.com/web:1
    ports: ["8080:80"]
    restart: always
    privileged: true
`

func TestImportCompose(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("compose.yaml", []byte(composed), 0o644); err != nil {
		t.Fatal(err)
	}
	c := newCLI(t)
	code, stdout, stderr := c.run(t, "import", "compose", "compose.yaml", "web")
	if want := "name: web\nimage: example.com/web:1\nports: [80/tcp]\n"; code != 0 || stdout != want {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	want := `compose.yaml:6: web: ports[0]: the site answers on 80 at an address of its own, not on 8080 of the machine
compose.yaml:7: web: restart: a site is started by its visitors, and again if it ends
compose.yaml:8: web: privileged: not carried over: no site has the rights of the machine's root
`
	if diff := cmp.Diff(want, stderr); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	code, stdout, _ = c.run(t, "import", "compose", "compose.yaml", "--port", "db=3306")
	if want := "name: db\nimage: docker.io/library/mariadb:11\nports: [3306/tcp]\n---\nname: web\n"; code != 0 || !strings.HasPrefix(stdout, want) {
		t.Errorf("both: exit code %d, %q", code, stdout)
	}
	if code, _, stderr = c.run(t, "import", "compose", "compose.yaml", "db"); code != exitFailure || !strings.Contains(stderr, "--port db=PORT") {
		t.Errorf("no port: exit code %d, %s", code, stderr)
	}
	c.stdin = strings.NewReader(composed)
	if code, _, stderr = c.run(t, "import", "compose", "-", "web", "--file", "web.yaml"); code != 0 || !strings.Contains(stderr, "fcnode apply -f web.yaml") {
		t.Errorf("from standard input: exit code %d, %s", code, stderr)
	}
	endless, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	c.stdin = io.MultiReader(strings.NewReader(composed+"#"), endless)
	if code, stdout, stderr = c.run(t, "import", "compose", "-", "web"); code != exitFailure || stdout != "" || !strings.Contains(stderr, "more than 64MiB") {
		t.Errorf("more than is read: exit code %d, %q, %s", code, stdout, stderr)
	}
	for _, tt := range [][]string{{"compose.yaml", "nobody"}, {"none.yaml"}, {"compose.yaml", "--port", "web"}, {"compose.yaml", "--port", "web=x"}, {"compose.yaml", "web", "--file", "web.yaml"}} {
		if code, _, stderr := c.run(t, append([]string{"import", "compose"}, tt...)...); code != exitFailure {
			t.Errorf("%v: exit code %d, %s", tt, code, stderr)
		}
	}
}

func TestImportContainer(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	const inspected = `[{"Name": "/web", "Config": {"Image": "example.com/web:1", "ExposedPorts": {"80/tcp": {}}}, "HostConfig": {"Privileged": true}}]`
	if err := os.WriteFile("web.json", []byte(inspected), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "podman")
	script := "#!/bin/sh\n[ \"$*\" = 'inspect --type container web' ] || { echo no such container >&2; exit 125; }\ncat <<'E'\n" + inspected + "\nE\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	c := newCLI(t)
	for _, args := range [][]string{{"docker", "web.json"}, {"docker", "-"}, {"podman", "web"}} {
		c.stdin = strings.NewReader(inspected)
		code, stdout, stderr := c.run(t, append([]string{"import"}, args...)...)
		if want := "name: web\nimage: example.com/web:1\nports: [80/tcp]\n"; code != 0 || stdout != want || !strings.Contains(stderr, ":1: web: HostConfig.Privileged: not carried over") {
			t.Errorf("%v: exit code %d, %q, %s", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := c.run(t, "import", "podman", "nobody"); code != exitFailure || !strings.Contains(stderr, "no such container") {
		t.Errorf("no such container: exit code %d, %s", code, stderr)
	}
	t.Setenv("PATH", "/nowhere")
	if code, _, stderr := c.run(t, "import", "docker", "web"); code != exitFailure || !strings.Contains(stderr, "docker inspect web > web.json") {
		t.Errorf("no program: exit code %d, %s", code, stderr)
	}
}
