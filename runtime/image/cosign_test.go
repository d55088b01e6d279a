package image_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// signedBy is the registry of testdata/cosign: images that cosign itself has signed, in a registry that was called by the name in cosigned.
type signedBy struct {
	Repositories map[string]map[string]string // by tag or digest, the digest of a manifest or index
	Documents    map[string]string            // manifests, configs and what was signed, by digest
	Layers       map[string][]byte
}

// cosigned is the name of the registry in which the images were signed. Nothing listens there.
const cosigned = "127.0.0.1:9"

func cosignedImages(t *testing.T) signedBy {
	t.Helper()
	text, err := os.ReadFile("testdata/cosign/registry.json")
	if err != nil {
		t.Fatal(err)
	}
	var s signedBy
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// into puts a repository into a hub, under another name if there is one.
func (s signedBy) into(t *testing.T, h *hub, repository, as string) {
	t.Helper()
	to := "http://" + h.host + "/v2/" + as
	sent := map[string]bool{}
	var blob func(digest string)
	blob = func(digest string) {
		if sent[digest] {
			return
		}
		sent[digest] = true
		content := s.Layers[digest]
		if text, ok := s.Documents[digest]; ok {
			content = []byte(text)
			for _, d := range anyDigest.FindAllString(text, -1) {
				blob(d)
			}
		}
		if content != nil {
			send(t, http.MethodPost, to+"/blobs/uploads/?digest="+digest, "application/octet-stream", content)
		}
	}
	refs := s.Repositories[repository]
	for _, digests := range []bool{true, false} { // tags last: indexes want what they list
		for ref, digest := range refs {
			if (ref == digest) != digests {
				continue
			}
			blob(digest)
			var m struct{ MediaType string }
			if err := json.Unmarshal([]byte(s.Documents[digest]), &m); err != nil {
				t.Fatal(err)
			}
			send(t, http.MethodPut, to+"/manifests/"+ref, m.MediaType, []byte(s.Documents[digest]))
		}
	}
}

// change changes a document, and what names it by its digest.
func (s signedBy) change(t *testing.T, digest string, f func(text string) string) {
	t.Helper()
	text := f(s.Documents[digest])
	if text == s.Documents[digest] {
		t.Fatalf("%s was not changed: %s", digest, text)
	}
	sum := sha256.Sum256([]byte(text))
	now := "sha256:" + hex.EncodeToString(sum[:])
	s.Documents[now] = text
	for _, refs := range s.Repositories {
		for ref, d := range refs {
			if d != digest {
				continue
			}
			refs[ref] = now
			if ref == digest {
				delete(refs, ref)
				refs[now] = now
			}
		}
	}
	for of, outer := range s.Documents {
		if strings.Contains(outer, `"digest":"`+digest) {
			s.change(t, of, func(text string) string { return strings.ReplaceAll(text, digest, now) })
		}
	}
	delete(s.Documents, digest)
}

// find finds a document with these texts in it.
func (s signedBy) find(t *testing.T, with ...string) string {
	t.Helper()
	for digest, text := range s.Documents {
		if !slices.ContainsFunc(with, func(w string) bool { return !strings.Contains(text, w) }) {
			return digest
		}
	}
	t.Fatalf("no document has %q", with)
	return ""
}

func send(t *testing.T, method, to, kind string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if says, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s\n%s", method, to, resp.Status, says)
	}
}

func cosignKeys(t *testing.T, names ...string) (keys []crypto.PublicKey) {
	t.Helper()
	for _, name := range names {
		key, err := image.ReadKey("testdata/cosign/" + name + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// trusting opens a store that asks a hub for what is called cosigned, and trusts one key.
func trusting(t *testing.T, h *hub, key string) *image.Store {
	t.Helper()
	s, _ := openStore(t, image.FromRegistries(image.Registries{Mirrors: map[string][]string{cosigned: {h.host}, "registry.example": {h.host}}}),
		image.Trust(image.Rule{Images: []string{"*"}, Keys: cosignKeys(t, key)}))
	return s
}

// TestTrustCosign: what cosign 2 and 3 have written is accepted from whom the node trusts, in registries that list what refers to an image
// and in those that do not, and refused from anybody else.
func TestTrustCosign(t *testing.T) {
	const nobody = "a signature is by none of the keys"
	signed := cosignedImages(t)
	for _, tt := range []struct {
		ref, key string
		want     string // in the error; "" for none
	}{
		{"web:1", "cosign", ""},
		{"web:1", "other", nobody},
		{"shop:1", "cosign", ""}, // signed by its tag
		{"named:1", "cosign", "what was signed is called registry.example/shop/named; sign the copy"},
		{"theirs:1", "cosign", nobody},
		{"theirs:1", "other", ""},
		{"both:1", "cosign", ""}, // two people have signed it
		{"both:1", "other", ""},
		{"many:1", "cosign", ""}, // all of it is signed
		{"many:1", "other", nobody},
		{"deep:1", "cosign", ""}, // the index alone
		{"rsa:1", "rsa", ""},
		{"rsa:1", "cosign", nobody},
		{"p384:1", "p384", ""},
		{"ed25519:1", "ed25519", ""},
		{"ed25519:1", "rsa", nobody},
		{"bundle2:1", "cosign", ""}, // version 2, asked for the format of version 3
		{"bundle2:1", "other", nobody},
		{"web3:1", "cosign", ""},
		{"web3:1", "other", nobody},
		{"theirs3:1", "cosign", nobody},
		{"many3:1", "cosign", ""},
		{"deep3:1", "cosign", ""},
		{"rsa3:1", "rsa", ""},
		{"p3843:1", "p384", ""},
		{"ed255193:1", "ed25519", ""},
		{"ed255193:1", "p384", nobody},
		{"attested3:1", "cosign", "what was signed is a https://cosign.sigstore.dev/attestation/v1"},
	} {
		for _, lists := range []bool{true, false} {
			h := newHubOf(t, registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(lists)))
			name, _, _ := strings.Cut(tt.ref, ":")
			signed.into(t, h, name, name)
			store := trusting(t, h, tt.key)
			if tt.want == "" {
				resolve(t, store, cosigned+"/"+tt.ref)
				continue
			}
			wantError(t, store, cosigned+"/"+tt.ref, image.ErrUntrusted, tt.want)
		}
	}
}

// TestTrustCosignChanged: what cosign has signed is not taken for anything else.
func TestTrustCosignChanged(t *testing.T) {
	const nobody = "a signature is by none of the keys"
	tagOf := func(digest string) string { return strings.Replace(digest, ":", "-", 1) }
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s signedBy)
		from   string // repository
		as     string // its name in the hub, and how it is called; from: as it is
		called string
		want   string // in the error; "" for none
	}{
		{name: "nothing", from: "web"},
		{name: "the payload", from: "web", want: nobody, change: func(t *testing.T, s signedBy) {
			s.change(t, s.find(t, `"docker-reference":"127.0.0.1:9/web"`), func(text string) string { return strings.Replace(text, `"optional":null`, `"optional":{}`, 1) })
		}},
		{name: "the name in the payload", from: "web", as: "shop/web", called: "registry.example/shop/web", want: nobody, change: func(t *testing.T, s signedBy) {
			s.change(t, s.find(t, `"docker-reference":"127.0.0.1:9/web"`), func(text string) string { return strings.Replace(text, "127.0.0.1:9", "registry.example/shop", 1) })
		}},
		{name: "the image", from: "web", want: "what was signed is a", change: func(_ *testing.T, s signedBy) {
			web, other := s.Repositories["web"], s.Repositories["both"]
			web[tagOf(other["1"])+".sig"] = web[tagOf(web["1"])+".sig"]
			web["1"] = other["1"]
		}},
		{name: "the name of the image", from: "web", as: "shop", called: cosigned + "/shop", want: "what was signed is called 127.0.0.1:9/web; sign the copy"},
		{name: "the registry", from: "web", as: "web", called: "registry.example/web", want: "what was signed is called 127.0.0.1:9/web; sign the copy"},
		{name: "the name to that which it was signed for", from: "named", as: "shop/named", called: "registry.example/shop/named"},
		{name: "no more signature", from: "web", want: "it has no signature", change: func(_ *testing.T, s signedBy) {
			delete(s.Repositories["web"], tagOf(s.Repositories["web"]["1"])+".sig")
		}},
		{name: "an image of an index that is signed alone", from: "deep", want: "it has no signature", change: func(t *testing.T, s signedBy) {
			var index v1.IndexManifest
			if err := json.Unmarshal([]byte(s.Documents[s.Repositories["deep"]["1"]]), &index); err != nil {
				t.Fatal(err)
			}
			s.Repositories["deep"]["1"] = index.Manifests[0].Digest.String()
		}},
		{name: "nothing in a bundle", from: "web3"},
		{name: "the statement in a bundle", from: "web3", want: nobody, change: func(t *testing.T, s signedBy) {
			web, other := s.Repositories["web3"]["1"], s.Repositories["web"]["1"]
			s.change(t, bundleOf(t, s, "web3"), func(text string) string {
				return rewritten(t, text, func(statement string) string { return strings.Replace(statement, web[7:], other[7:], 1) })
			})
		}},
		{name: "the signature in a bundle", from: "web3", want: nobody, change: func(t *testing.T, s signedBy) {
			s.change(t, bundleOf(t, s, "web3"), func(text string) string { return strings.Replace(text, `"sig":"`, `"sig":"AAAA`, 1) })
		}},
		{name: "the kind of payload in a bundle", from: "web3", want: nobody, change: func(t *testing.T, s signedBy) {
			s.change(t, bundleOf(t, s, "web3"), func(text string) string {
				return strings.Replace(text, "application/vnd.in-toto+json", "text/plain", 1)
			})
		}},
		{name: "the image of a bundle", from: "web3", want: "what was signed is another image", change: func(_ *testing.T, s signedBy) {
			web, other := s.Repositories["web3"], s.Repositories["web"]
			web[tagOf(other["1"])] = web[tagOf(web["1"])]
			web["1"] = other["1"]
		}},
		{name: "the name of an image with a bundle", from: "web3", as: "shop/web", called: "registry.example/shop/web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := cosignedImages(t)
			if tt.change != nil {
				tt.change(t, s)
			}
			if tt.as == "" {
				tt.as, tt.called = tt.from, cosigned+"/"+tt.from
			}
			h := newHub(t)
			s.into(t, h, tt.from, tt.as)
			store := trusting(t, h, "cosign")
			if tt.want == "" {
				resolve(t, store, tt.called+":1")
			} else {
				wantError(t, store, tt.called+":1", image.ErrUntrusted, tt.want)
			}
		})
	}
}

// bundleOf is the document with the bundle that is about the image of a repository.
func bundleOf(t *testing.T, s signedBy, repository string) string {
	t.Helper()
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(s.Documents[s.Repositories[repository][strings.Replace(s.Repositories[repository]["1"], ":", "-", 1)]]), &index); err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal([]byte(s.Documents[index.Manifests[0].Digest.String()]), &m); err != nil {
		t.Fatal(err)
	}
	return m.Layers[0].Digest.String()
}

// rewritten changes what the envelope of a bundle has signed.
func rewritten(t *testing.T, bundle string, f func(statement string) string) string {
	t.Helper()
	_, rest, _ := strings.Cut(bundle, `"payload":"`)
	payload, _, ok := strings.Cut(rest, `"`)
	statement, err := base64.StdEncoding.DecodeString(payload)
	if err != nil || !ok {
		t.Fatalf("%v: %s", err, bundle)
	}
	return strings.Replace(bundle, payload, base64.StdEncoding.EncodeToString([]byte(f(string(statement)))), 1)
}
