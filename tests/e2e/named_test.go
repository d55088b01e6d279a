package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// wrote has the site write a file, and reads says what it finds in one.
func (s *site) wrote(path, text string) {
	s.n.t.Helper()
	if _, err := s.n.outside.ask(http.MethodPost, s.addr4(80), "/file?path="+path, strings.NewReader(text)); err != nil {
		s.n.t.Error(err)
	}
}

func (s *site) reads(when, path, want string) {
	s.n.t.Helper()
	if got, err := s.n.outside.get(s.addr4(80), "/file?path="+path); err != nil || got.body != want {
		s.n.t.Errorf("%s: %s holds %q (%v), want %q", when, path, got.body, err, want)
	}
}

// TestRootNamedVolumes: what an image declares as VOLUME is kept over sleep, circulation and a change of the image though the
// spec does not say so, and apply says it; a volume with a name is filled from the image; both stay when the site is
// deleted, for a site of the same name, until somebody removes them or purges the site.
func TestRootNamedVolumes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	content := []build.Entry{build.Dir("data", 0o755), build.File("data/file", 0o644, []byte("image")), build.Dir("html", 0o750), build.File("html/file", 0o640, []byte("image"))}
	ref, _ := n.layout(image.Config{Volumes: []string{"/data"}}, content...)
	text := strings.Replace(n.spec("kept", "circulate: {drain: 1s}", "scale: {max: 2}", "volumes: [{name: www, target: /html}]"), n.image(), ref, 1)
	file := n.write("kept.yaml", text)
	says(t, "apply", n.cli("apply", "-f", file), "/data is a VOLUME of the image", "volume data")
	s := n.apply(text)
	s.reads("new", "/data/file", "image")
	s.reads("new", "/html/file", "image")
	s.wrote("/data/file", "mine")
	s.wrote("/html/file", "mine")
	s.park()
	s.reads("after a cold sleep", "/data/file", "mine")
	n.layout(image.Config{Volumes: []string{"/data"}}, append(content, build.File("new", 0o644, []byte("x")))...)
	mark := n.mark()
	n.apply(text)
	s.await(mark, "drained")
	s.reads("circulated to a new image", "/data/file", "mine")
	s.reads("circulated to a new image", "/html/file", "mine")
	says(t, "remove", n.cliFails("volume", "remove", "kept/data"), "in use", "kept")
	says(t, "inspect", n.cli("volume", "inspect", "kept/www"), "target       /html", "files        1")

	says(t, "delete", n.cli("delete", "kept"), "its volume data stays", "fcnode volume remove kept/data", "its volume www stays")
	says(t, "list", n.cli("volume", "list"), "kept/data  /data   no", "kept/www   /html   no")
	says(t, "remove", n.cli("volume", "remove", "kept/www"), "kept/www  removed")
	n.kill()
	n.start()
	says(t, "apply", n.cli("apply", "-f", file), "its volume data is that of an earlier site")
	s = n.apply(text)
	s.reads("back again", "/data/file", "mine")
	s.reads("back again", "/html/file", "image")
	says(t, "delete", n.cli("delete", "--purge", "kept"), "kept  deleted\n")
	if out := n.cli("volume", "list"); strings.Contains(out, "kept") {
		t.Errorf("after a purge there are\n%s", out)
	}
	if left, err := os.ReadDir(n.path("state/volumes/kept")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("on disk: %v, %v", left, err)
	}
	s = n.apply(text + "imageVolumes: ignore\n")
	s.wrote("/data/file", "lost")
	s.park()
	s.reads("ignored", "/data/file", "image")
	if _, err := os.Stat(n.path("state/volumes/kept/data")); !errors.Is(err, os.ErrNotExist) {
		t.Error(fmt.Errorf("imageVolumes: ignore has a volume: %w", err))
	}
}
