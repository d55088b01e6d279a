package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootDeployAndBack: an image becomes a site by one line, a new tag circulates it under load, what is wrong changes neither
// file nor site, and a rollback runs the image of before, though its tag means another one by then.
func TestRootDeployAndBack(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	if err := os.MkdirAll(n.path("sites"), 0o755); err != nil {
		t.Fatal(err)
	}
	host, push, _ := n.registry()
	ref := host + "/shop/site:"
	cfg := image.Config{Entrypoint: []string{"/site"}, Env: []string{"GUEST=serve"}, ExposedPorts: []string{"80/tcp"}}
	_, first := n.layout(cfg)
	push("shop/site:1")

	out := n.cli("deploy", "shop", "--image", ref+"1", "--domain", "shop.example", "--volume", "data:/data")
	says(t, "deploy", out, "shop  created  10.77.0.", n.path("sites/shop.yaml"))
	file, err := os.OpenFile(n.path("sites/shop.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString("circulate: {drain: 1s}   # ours\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	text := func() string {
		t.Helper()
		b, err := os.ReadFile(n.path("sites/shop.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s := n.find("shop")
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80))
	pid, before := s.pid(), text()
	says(t, "deploy of no image", n.cliFails("deploy", "shop", "--image", ref+"none"), "no such image or tag")
	if now := s.pid(); now != pid || text() != before {
		t.Errorf("what was refused made process %d of %d, and of its file\n%s", now, pid, text())
	}

	cfg.Env = append(cfg.Env, "VERSION=2")
	if err := os.RemoveAll(n.path("layout")); err != nil {
		t.Fatal(err)
	}
	_, second := n.layout(cfg, build.Dir("second", 0o755))
	push("shop/site:2")
	says(t, "deploy", n.cli("deploy", "shop", "--image", ref+"2"), "shop  updated", "shop  circulated")
	if want := strings.Replace(before, ref+"1", ref+"2", 1); text() != want {
		t.Errorf("the file is\n%s, want\n%s", text(), want)
	}
	l.more(t, 20)
	if v := s.get(); v.ImageDigest != second || s.pid() == pid {
		t.Errorf("it runs from %s, want %s", v.ImageDigest, second)
	}

	push("shop/site:1") // which is another image now
	says(t, "rollback", n.cli("rollback", "shop"), "shop  circulated")
	l.more(t, 20)
	l.end(t)
	if v := s.get(); v.ImageDigest != first || !strings.Contains(text(), ref+"1") {
		t.Errorf("it runs from %s, want %s; the file is\n%s", v.ImageDigest, first, text())
	}
	n.kill()
	n.start()
	if v := s.get(); v.ImageDigest != first {
		t.Errorf("after a restart it runs from %s, want %s", v.ImageDigest, first)
	}
}
