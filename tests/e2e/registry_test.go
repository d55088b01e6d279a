package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registry starts one on the node's loopback, and gives its host, what pushes the image of a layout into it, and what ends it.
func (n *node) registry() (host string, push func(ref string), end func()) {
	n.t.Helper()
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	outside := httptest.NewServer(content) // the same one, where the test reaches it
	n.t.Cleanup(outside.Close)
	var l net.Listener
	n.ns.Do(n.t, func() {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			n.t.Fatal(err)
		}
	})
	inside := &http.Server{Handler: content}
	go func() { _ = inside.Serve(l) }() // until it is closed
	end = func() { _ = inside.Close() }
	n.t.Cleanup(end)
	push = func(ref string) {
		n.t.Helper()
		to, err := name.ParseReference(strings.TrimPrefix(outside.URL, "http://") + "/" + ref)
		if err != nil {
			n.t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(n.path("layout"))
		if err != nil {
			n.t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			n.t.Fatal(err)
		}
		img, err := index.Image(m.Manifests[0].Digest)
		if err != nil {
			n.t.Fatal(err)
		}
		if err := remote.Write(to, img); err != nil {
			n.t.Fatal(err)
		}
	}
	return l.Addr().String(), push, end
}

// TestRootImageOfARegistry: it is pulled when the site is applied; wakes, restarts and another apply need no registry after that.
func TestRootImageOfARegistry(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	host, push, end := n.registry()
	ref := host + "/shop/site:1"
	text := strings.Replace(n.spec("pulled"), n.image(), ref, 1)
	says(t, "apply without an image", n.cliFails("apply", "-f", n.write("pulled.yaml", text)), "no such image or tag")
	_, digest := n.layout(image.Config{})
	push("shop/site:1")
	s := n.apply(text)
	n.outside.greet(s.addr4(80))
	end()
	s.park()
	n.kill()
	n.start()
	n.outside.greet(s.addr4(80))
	says(t, "apply without the registry", n.cli("apply", "-f", n.path("pulled.yaml")), "it stays with "+digest)
	if v := s.get(); v.ImageDigest != digest {
		t.Errorf("the site has %s, want %s", v.ImageDigest, digest)
	}
}

// TestRootUntrustedImage: what nobody has signed whom the node trusts is refused, by apply, deploy and pull; a site that was applied
// before serves on, and wakes.
func TestRootUntrustedImage(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	host, push, _ := n.registry()
	n.layout(image.Config{})
	push("shop/site:1")
	text := strings.Replace(n.spec("before"), n.image(), host+"/shop/site:1", 1)
	s := n.apply(text)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(n.path("fcnode.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pub := n.write("cosign.pub", "no key")
	n.write("fcnode.yaml", string(config)+"trust: [{images: ['"+host+"/*'], keys: ["+pub+"]}]\n")
	n.kill()
	var out []byte
	n.ns.Do(t, func() { out, err = n.command("run", "--config", n.path("fcnode.yaml")).CombinedOutput() })
	if err == nil {
		t.Error("it runs with a bad key")
	}
	says(t, "run with a bad key", string(out), "trust[0] of the configuration", pub+" is not PEM")
	n.write("cosign.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	n.start()
	n.outside.greet(s.addr4(80))
	for _, command := range [][]string{{"apply", "-f", n.write("before.yaml", text)}, {"apply", "-f", n.write("other.yaml", strings.Replace(text, "before", "other", 1))}, {"deploy", "third", "--image", host + "/shop/site:1"}, {"image", "pull", host + "/shop/site:1"}} {
		says(t, command[0], n.cliFails(command...), "the image is not trusted: trust[0] of the configuration wants", "it has no signature")
	}
	s.park()
	n.outside.greet(s.addr4(80))
}

// TestRootImagesOfTheNode: what there is, and whose; what a site has, or had before, is not removed, and what nobody has is.
func TestRootImagesOfTheNode(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	host, push, _ := n.registry()
	first, second := host+"/shop/site:1", host+"/shop/site:2"
	_, one := n.layout(image.Config{})
	push("shop/site:1")
	_, two := n.layout(image.Config{Env: []string{"A=b"}})
	push("shop/site:2")
	says(t, "pull", n.cli("image", "pull", second), second+"  "+two)
	text := strings.Replace(n.spec("shop"), n.image(), first, 1)
	s := n.apply(text)
	n.outside.greet(s.addr4(80))
	says(t, "list", n.cli("image", "list"), first, second, "shop")
	says(t, "inspect", n.cli("image", "inspect", second), two, "A=b")
	says(t, "remove", n.cliFails("image", "remove", first), "is that of shop", "delete these sites")
	n.cli("image", "remove", second)
	says(t, "inspect", n.cliFails("image", "inspect", second), "the node has no image")
	n.apply(strings.Replace(text, first, second, 1))
	testutil.WaitFor(t, patience, "the new image to run", func() error {
		if v := s.get(); v.ImageDigest != two || len(v.Replicas) != 1 {
			return fmt.Errorf("it has %s, and %+v", v.ImageDigest, v.Replicas)
		}
		return nil
	})
	says(t, "remove", n.cliFails("image", "remove", one), "rollback")
	n.outside.greet(s.addr4(80))
	n.cli("delete", "shop")
	n.cli("image", "prune") // spares what was looked up since the last time
	n.cli("image", "prune")
	if out := n.cli("image", "list"); strings.Contains(out, "site") {
		t.Errorf("nobody has an image, and there are\n%s", out)
	}
}
