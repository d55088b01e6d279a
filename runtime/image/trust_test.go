package image_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// signer signs as cosign does, with a key of its own.
type signer struct{ crypto.Signer }

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

// pub is the file with the public key.
func (s signer) pub(t *testing.T) crypto.PublicKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := image.ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s signer) sign(t *testing.T, message []byte) []byte {
	t.Helper()
	sum, hash := sha256.Sum256(message), crypto.SHA256
	digest := sum[:]
	if _, is := s.Signer.(ed25519.PrivateKey); is {
		digest, hash = message, crypto.Hash(0)
	}
	signature, err := s.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// payload is what cosign signs of an image.
func payload(reference, digest, kind string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, reference, digest, kind)
}

const ofImage = "cosign container image signature"

// attach puts signatures of payloads beside an image, where cosign puts them.
func (h *hub) attach(t *testing.T, repository, digest string, parts ...[2][]byte) {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, part := range parts {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:       static.NewLayer(part[0], "application/vnd.dev.cosign.simplesigning.v1+json"),
			Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(part[1])},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.write(t, repository+":"+strings.Replace(digest, ":", "-", 1)+".sig", img)
}

func (h *hub) write(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	to, err := name.ParseReference(h.host + "/" + ref)
	if err == nil {
		err = remote.Write(to, img)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sign signs an image of the hub.
func (h *hub) sign(t *testing.T, by signer, repository, digest string) {
	t.Helper()
	what := payload(h.host+"/"+repository, digest, ofImage)
	h.attach(t, repository, digest, [2][]byte{what, by.sign(t, what)})
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// bundle puts a bundle with a statement beside an image, as cosign does since its version 3.
func (h *hub) bundle(t *testing.T, by signer, repository string, of v1.Descriptor, about, predicate string) {
	t.Helper()
	const kind = "application/vnd.in-toto+json"
	_, hex, _ := strings.Cut(about, ":")
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, hex, predicate)
	signature := by.sign(t, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(statement), statement))
	text, err := json.Marshal(map[string]any{
		"mediaType": bundleType, "verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": "x"}},
		"dsseEnvelope": map[string]any{"payload": statement, "payloadType": kind, "signatures": []any{map[string]any{"sig": signature}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(text, bundleType)})
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(img, bundleType) // which is its artifactType for a registry
	img = mutate.Subject(img, of).(v1.Image)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, repository+"@"+d.String(), img)
}

// described is what the hub has for a reference.
func (h *hub) described(t *testing.T, ref string) v1.Descriptor {
	t.Helper()
	at, err := name.ParseReference(h.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(at)
	if err != nil {
		t.Fatal(err)
	}
	return *d
}

// TestTrust: images that a rule is about are used if one of its keys has signed them, under their name, and not otherwise: not those
// that somebody else has signed, nor such as were signed as something else.
func TestTrust(t *testing.T) {
	h, ours, other := newHub(t), newSigner(t), newSigner(t)
	keys := []crypto.PublicKey{other.pub(t), ours.pub(t)}[1:]
	s, _ := openStore(t, image.Roots("/"), image.Trust(
		image.Rule{Images: []string{h.host + "/ours/free/*"}},
		image.Rule{Images: []string{h.host + "/ours/*", "dir:*", "oci:*"}, Keys: keys},
	))
	n := 0
	push := func(repository string) string {
		n++
		return h.push(t, repository+":1", build.NewLayer(text("a", fmt.Sprint(n))))
	}
	try := func(repository string, want ...string) {
		t.Helper()
		if len(want) == 0 {
			resolve(t, s, h.host+"/"+repository+":1")
			return
		}
		wantError(t, s, h.host+"/"+repository+":1", image.ErrUntrusted, want...)
	}
	push("theirs/web")
	try("theirs/web")
	push("ours/free/web")
	try("ours/free/web")

	digest := push("ours/web")
	try("ours/web", "trust[1] of the configuration wants "+digest+" signed by one of 1 keys", "it has no signature")
	h.sign(t, other, "ours/web", digest)
	try("ours/web", "by none of the keys")
	h.sign(t, ours, "ours/web", digest)
	try("ours/web")
	before := digest
	digest = push("ours/web") // the tag was moved
	try("ours/web", "it has no signature")
	what := payload(h.host+"/ours/web", before, ofImage)
	h.attach(t, "ours/web", digest, [2][]byte{what, ours.sign(t, what)})
	try("ours/web", "what was signed is a", before)
	what = payload(h.host+"/ours/shop", digest, ofImage)
	h.attach(t, "ours/web", digest, [2][]byte{what, ours.sign(t, what)})
	try("ours/web", "what was signed is called "+h.host+"/ours/shop")
	what = payload(h.host+"/ours/web", digest, "atomic container signature")
	h.attach(t, "ours/web", digest, [2][]byte{what, ours.sign(t, what)})
	try("ours/web", "atomic")
	h.attach(t, "ours/web", digest, [2][]byte{[]byte("{"), ours.sign(t, []byte("{"))})
	try("ours/web", "what was signed")
	h.attach(t, "ours/web", digest, [2][]byte{[]byte("x"), []byte("x")})
	try("ours/web", "by none of the keys")
	good := payload(h.host+"/ours/web", digest, ofImage)
	h.attach(t, "ours/web", digest, [2][]byte{[]byte("x"), []byte("x")}, [2][]byte{good, other.sign(t, good)}, [2][]byte{good, ours.sign(t, good)})
	try("ours/web")

	wantError(t, s, "dir:"+t.TempDir(), image.ErrUntrusted, "only images in registries")
	if _, err := s.Get(before); err != nil {
		t.Errorf("what was trusted once: %v", err)
	}
}

// TestTrustOfAnIndex: who has signed the list of an image's platforms has signed those.
func TestTrustOfAnIndex(t *testing.T) {
	h, ours := newHub(t), newSigner(t)
	s, _ := openStore(t, image.Trust(image.Rule{Images: []string{"*"}, Keys: []crypto.PublicKey{ours.pub(t)}}))
	img, err := build.Image(build.Config{}, build.NewLayer(text("a", "one")))
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img})
	to, err := name.ParseReference(h.host + "/web:1")
	if err == nil {
		err = remote.WriteIndex(to, index)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s, h.host+"/web:1", image.ErrUntrusted, d.String(), "it has no signature")
	h.sign(t, ours, "web", d.String())
	resolve(t, s, h.host+"/web:1")
}

// TestTrustByBundle: what cosign writes since its version 3. A statement about an image that does not say that it is signed (of
// what it consists, say) is no signature.
func TestTrustByBundle(t *testing.T) {
	h, ours, other := newHub(t), newSigner(t), newSigner(t)
	s, _ := openStore(t, image.Trust(image.Rule{Images: []string{"*"}, Keys: []crypto.PublicKey{ours.pub(t)}}))
	const signs = "https://sigstore.dev/cosign/sign/v1"
	digest := h.push(t, "web:1", build.NewLayer(text("a", "one")))
	of := h.described(t, "web:1")
	try := func(want ...string) {
		t.Helper()
		wantError(t, s, h.host+"/web:1", image.ErrUntrusted, want...)
	}
	h.bundle(t, other, "web", of, digest, signs)
	try("by none of the keys")
	h.bundle(t, ours, "web", of, digest, "https://spdx.dev/Document")
	try("what was signed is a https://spdx.dev/Document")
	h.bundle(t, ours, "web", of, "sha256:"+strings.Repeat("0", 64), signs)
	try("another image")
	h.bundle(t, ours, "web", of, digest, signs)
	resolve(t, s, h.host+"/web:1")
}

// TestTrustKeys: each kind of key that cosign signs with.
func TestTrustKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, by := range map[string]signer{"ed25519": {ed}, "rsa": {rsaKey}, "p384": {p384}} {
		h := newHub(t)
		s, _ := openStore(t, image.Trust(image.Rule{Images: []string{"*"}, Keys: []crypto.PublicKey{by.pub(t)}}))
		digest := h.push(t, "web:1", build.NewLayer(text("a", what)))
		wantError(t, s, h.host+"/web:1", image.ErrUntrusted)
		h.sign(t, by, "web", digest)
		resolve(t, s, h.host+"/web:1")
	}
	bad := filepath.Join(t.TempDir(), "key")
	for _, text := range []string{"", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := image.ReadKey(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q as a key: %v", text, err)
		}
	}
}

// TestTrustFailsClosed: a registry that does not give the signatures out, or endless ones, has no image trusted.
func TestTrustFailsClosed(t *testing.T) {
	h, ours := newHub(t), newSigner(t)
	s, _ := openStore(t, image.Trust(image.Rule{Images: []string{"*"}, Keys: []crypto.PublicKey{ours.pub(t)}}))
	digest := h.push(t, "web:1", build.NewLayer(text("a", "one")))
	large := payload(h.host+"/web", digest, ofImage+strings.Repeat(" ", 2<<20))
	h.attach(t, "web", digest, [2][]byte{large, ours.sign(t, large)})
	wantError(t, s, h.host+"/web:1", image.ErrUntrusted, "too large")
	h.sign(t, ours, "web", digest)
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sig") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	})
	wantError(t, s, h.host+"/web:1", image.ErrUntrusted, "does not let this node read it")
	h.put(nil)
	resolve(t, s, h.host+"/web:1")
}
