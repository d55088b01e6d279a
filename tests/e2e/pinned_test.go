package e2e

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// layout writes an image with the guest in it into the node's layout under the tag 1, and returns its reference and digest.
func (n *node) layout(cfg image.Config, more ...build.Entry) (ref, digest string) {
	n.t.Helper()
	layers := []build.Layer{{Entries: []build.Entry{build.FileFrom("site", 0o755, "/proc/self/exe")}, Compression: build.None}}
	if len(more) > 0 {
		layers = append(layers, build.NewLayer(more...))
	}
	digest, err := build.Layout(n.path("layout"), "1", build.Config{Config: cfg}, layers...)
	if err != nil {
		n.t.Fatal(err)
	}
	return "oci:" + n.path("layout") + ":1", digest
}

// TestRootImageIsPinned: a tag that was moved or a source that was removed changes nothing at a wake, at a restart and at a
// reload, until somebody applies the site or asks for its new image.
func TestRootImageIsPinned(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	ref, first := n.layout(image.Config{})
	text := strings.Replace(n.spec("pinned"), n.image(), ref, 1)
	n.write("sites/pinned.yaml", text)
	n.start()
	s := &site{n: n, name: "pinned"}
	for _, a := range s.get().Addresses {
		s.setAddr(a)
	}
	runs := func(when, want string) {
		t.Helper()
		s.park()
		n.outside.greet(s.addr4(80))
		v := s.get()
		if v.ImageDigest != want || len(v.Replicas) != 1 || v.Replicas[0].Image != want {
			t.Errorf("%s: the site has the image %s and the replicas %+v, want them of %s", when, v.ImageDigest, v.Replicas, want)
		}
	}
	runs("applied", first)
	_, second := n.layout(image.Config{}, build.File("new", 0o644, []byte("x")))
	runs("tag moved", first)
	n.kill()
	n.start()
	runs("restarted", first)
	mark := n.mark()
	n.write("sites/other.yaml", n.spec("other"))
	if err := n.daemon.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n.await(mark, "applied")
	runs("reloaded", first)

	says(t, "circulate", n.cli("circulate", "--new-image", "--wait", "pinned"), "pinned  circulated")
	runs("asked for", second)
	if err := os.RemoveAll(n.path("layout")); err != nil {
		t.Fatal(err)
	}
	runs("source removed", second)
	if _, err := n.api.RenewImage(n.ctx(), s.name); err != nil {
		t.Errorf("circulating it without a source: %v", err)
	}
	res, err := n.api.Apply(n.ctx(), n.parse(text, strings.Replace(text, "pinned", "fresh", 1)), false)
	if err == nil || !strings.Contains(err.Error(), "fresh") {
		t.Errorf("a new site without a source: %+v, %v", res, err)
	}
	res, err = n.api.Apply(n.ctx(), n.parse(text+"hostname: changed\n"), false)
	if err != nil || res[0].Action != api.ActionUpdated || len(res[0].Warnings) != 1 || !strings.Contains(res[0].Warnings[0], second) {
		t.Errorf("a change of the site without a source: %+v, %v", res, err)
	}
	runs("changed", second)

	// What the store has lost it takes from the source again.
	s.park()
	n.kill()
	n.layout(image.Config{}, build.File("new", 0o644, []byte("x")))
	if err := errors.Join(os.RemoveAll(n.path("state/images/l")), os.RemoveAll(n.path("state/images/images"))); err != nil {
		t.Fatal(err)
	}
	n.start()
	runs("unpacked anew", second)
}
