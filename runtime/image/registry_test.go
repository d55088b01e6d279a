package image_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// hub is a registry on loopback, and what is between it and the node.
type hub struct {
	host  string
	asked atomic.Int64

	mu      sync.Mutex
	between relay // nil: nothing
}

// relay answers in the place of a registry, as it likes by asking that.
type relay func(inner http.Handler, w http.ResponseWriter, r *http.Request)

// put has what comes from now on go by a relay; what is under way goes by that of before.
func (h *hub) put(between relay) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.between = between
}

func newHub(t *testing.T) *hub {
	t.Helper()
	return newHubOf(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
}

func newHubOf(t *testing.T, inner http.Handler) *hub {
	t.Helper()
	h := &hub{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		h.mu.Lock()
		between := h.between
		h.mu.Unlock()
		if between != nil {
			between(inner, w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

// push makes an image of the layers and gives its digest.
func (h *hub) push(t *testing.T, ref string, layers ...build.Layer) string {
	t.Helper()
	img, err := build.Image(build.Config{}, layers...)
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(h.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// content reads the one file "a" of an image.
func content(t *testing.T, img *image.Image) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(img.Lower[0], "a"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPull: by tag and by digest; a digest and what was unpacked need no registry.
func TestPull(t *testing.T) {
	h := newHub(t)
	first := h.push(t, "blog:1", build.NewLayer(text("a", "one")))
	s, _ := openStore(t)
	ref := h.host + "/blog:1"
	img := resolve(t, s, ref)
	if img.Digest != first || content(t, img) != "one" || img.Ref != ref {
		t.Fatalf("got %+v, want %s", img, first)
	}
	second := h.push(t, "blog:1", build.NewLayer(text("a", "two")))
	if img := resolve(t, s, ref); img.Digest != second || content(t, img) != "two" {
		t.Errorf("the tag was moved: %+v", img)
	}
	if img := resolve(t, s, h.host+"/blog@"+first); img.Digest != first {
		t.Errorf("by its digest: %+v", img)
	}
	before := h.asked.Load()
	if _, err := s.Get(first); err != nil || h.asked.Load() != before {
		t.Errorf("the store needs the registry for what it has: %v", err)
	}
	wantError(t, s, h.host+"/blog:none", image.ErrNotFound, "no such image or tag")
	wantError(t, s, h.host+"/none:1", image.ErrNotFound)
}

// TestPullPlatform: of an index the image for this machine is taken.
func TestPullPlatform(t *testing.T) {
	h := newHub(t)
	add := func(arch, content string) mutate.IndexAddendum {
		img, err := build.Image(build.Config{Architecture: arch}, build.NewLayer(text("a", content)))
		if err != nil {
			t.Fatal(err)
		}
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	index := mutate.AppendManifests(empty.Index, add("s390x", "other"), add(runtime.GOARCH, "ours"))
	to, err := name.ParseReference(h.host + "/many:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(to, index); err != nil {
		t.Fatal(err)
	}
	s, _ := openStore(t)
	if img := resolve(t, s, h.host+"/many:1"); content(t, img) != "ours" {
		t.Errorf("taken was %q", content(t, img))
	}
}

// TestPullGoesOn: a download that is cut is taken up where it was, by a server that knows ranges and by one that does not.
func TestPullGoesOn(t *testing.T) {
	random := make([]byte, 100_000)
	_, _ = rand.Read(random) // never fails
	big := hex.EncodeToString(random)
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprintf("ranges=%v", ranges), func(t *testing.T) {
			h := newHub(t)
			h.push(t, "blog:1", build.Layer{Entries: []build.Entry{text("a", big)}})
			var cut atomic.Int64
			h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				whole := r.Clone(r.Context())
				whole.Header.Del("Range")
				inner.ServeHTTP(rec, whole)
				body, from := rec.Body.Bytes(), 0
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				status := rec.Code
				if want := r.Header.Get("Range"); ranges && want != "" {
					from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(want, "bytes="), "-"))
					status = http.StatusPartialContent
				}
				body = body[from:]
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				w.WriteHeader(status)
				if strings.Contains(r.URL.Path, "/blobs/") && len(body) > 1000 && cut.Add(1) <= 3 {
					_, _ = w.Write(body[:len(body)/2])
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				_, _ = w.Write(body)
			})
			s, _ := openStore(t)
			if img := resolve(t, s, h.host+"/blog:1"); content(t, img) != big {
				t.Error("the content is not what was pushed")
			}
			if cut.Load() < 3 {
				t.Errorf("only %d downloads were cut", cut.Load())
			}
		})
	}
}

// TestPullCut: a download that never comes to its end leaves nothing behind, and neither does a registry that lies.
func TestPullCut(t *testing.T) {
	h := newHub(t)
	h.push(t, "blog:1", build.NewLayer(text("a", strings.Repeat("x", 5000))))
	for what, spoil := range map[string]func(body []byte) ([]byte, int){
		"cut":     func(body []byte) ([]byte, int) { return nil, len(body) },
		"changed": func(body []byte) ([]byte, int) { b := append([]byte{}, body...); b[len(b)/2] ^= 1; return b, len(b) },
	} {
		t.Run(what, func(t *testing.T) {
			h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				inner.ServeHTTP(rec, r)
				body, size := rec.Body.Bytes(), rec.Body.Len()
				if strings.Contains(r.URL.Path, "/blobs/") {
					body, size = spoil(body)
				}
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.Header().Set("Content-Length", strconv.Itoa(size))
				w.WriteHeader(rec.Code)
				_, _ = w.Write(body)
				if len(body) < size {
					panic(http.ErrAbortHandler)
				}
			})
			s, dir := openStore(t)
			if _, err := s.Resolve(t.Context(), h.host+"/blog:1"); err == nil {
				t.Fatal("no error")
			}
			wantEmpty(t, dir)
		})
	}
}

// TestPullCredentials come from a file as docker and podman write it.
func TestPullCredentials(t *testing.T) {
	h := newHub(t)
	h.push(t, "blog:1", build.NewLayer(text("a", "one")))
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
	auth := filepath.Join(t.TempDir(), "auth.json")
	s, _ := openStore(t, image.FromRegistries(image.Registries{Auth: auth}))
	write := func(password string) {
		t.Helper()
		text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, h.host, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
		if err := os.WriteFile(auth, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, s, h.host+"/blog:1", image.ErrDenied, "registries.auth")
	write("wrong")
	wantError(t, s, h.host+"/blog:1", image.ErrDenied, "registries.auth")
	write("secret") // read anew
	resolve(t, s, h.host+"/blog:1")
	if err := os.WriteFile(auth, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(t.Context(), h.host+"/blog:1"); err == nil || !strings.Contains(err.Error(), auth) {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestPullMirror: mirrors come first, and the registry itself when they do not have it or are away.
func TestPullMirror(t *testing.T) {
	origin, mirror, away := newHub(t), newHub(t), httptest.NewServer(http.NotFoundHandler())
	away.Close()
	want := mirror.push(t, "blog:1", build.NewLayer(text("a", "mirror")))
	only := origin.push(t, "blog:2", build.NewLayer(text("a", "origin")))
	s, _ := openStore(t, image.FromRegistries(image.Registries{
		Mirrors: map[string][]string{origin.host: {strings.TrimPrefix(away.URL, "http://"), mirror.host}},
	}))
	before := origin.asked.Load()
	if img := resolve(t, s, origin.host+"/blog:1"); img.Digest != want || origin.asked.Load() != before {
		t.Errorf("got %+v of %d requests to the registry", img, origin.asked.Load()-before)
	}
	if img := resolve(t, s, origin.host+"/blog:2"); img.Digest != only {
		t.Errorf("got %+v", img)
	}
}

// TestPullForged: a registry whose word for a digest is all that there is has no say.
func TestPullForged(t *testing.T) {
	h := newHub(t)
	digest := h.push(t, "blog:1", build.NewLayer(text("a", "one")))
	h.push(t, "other:1", build.NewLayer(text("a", "forged")))
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/sha256:") {
			inner.ServeHTTP(w, r)
			return
		}
		other := r.Clone(r.Context())
		other.URL.Path = "/v2/other/manifests/1"
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, other)
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		w.Header().Set("Docker-Content-Digest", digest)
		_, _ = w.Write(rec.Body.Bytes())
	})
	s, dir := openStore(t)
	wantError(t, s, h.host+"/blog:1", image.ErrCorrupt, digest)
	wantError(t, s, h.host+"/blog@"+digest, image.ErrUnsupported)
	wantEmpty(t, dir)
}

// TestPullPlain: nothing is asked by HTTP that is neither on loopback nor listed.
func TestPullPlain(t *testing.T) {
	h := newHub(t)
	h.push(t, "blog:1", build.NewLayer(text("a", "one")))
	h.put(func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://registry.invalid"+r.URL.Path, http.StatusTemporaryRedirect)
	})
	s, dir := openStore(t)
	_, err := s.Resolve(t.Context(), h.host+"/blog:1")
	if err == nil || !strings.Contains(err.Error(), "registries.insecure") {
		t.Errorf("got %v", err)
	}
	wantEmpty(t, dir)
}

// TestPullInCircles: a registry that leads from one address to the next without end is left.
func TestPullInCircles(t *testing.T) {
	h := newHub(t)
	h.push(t, "blog:1", build.NewLayer(text("a", "one")))
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			inner.ServeHTTP(w, r)
			return
		}
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	})
	s, dir := openStore(t)
	before := h.asked.Load()
	_, err := s.Resolve(t.Context(), h.host+"/blog:1")
	if err == nil || !strings.Contains(err.Error(), "from one address to the next") {
		t.Errorf("got %v", err)
	}
	if asked := h.asked.Load() - before; asked > 100 {
		t.Errorf("it was asked %d times", asked)
	}
	wantEmpty(t, dir)
}

// TestPullAsksOnce: what was asked for by its tag is not asked for by its digest again.
func TestPullAsksOnce(t *testing.T) {
	h := newHub(t)
	img, err := build.Image(build.Config{}, build.NewLayer(text("a", "one")))
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(h.host + "/many:1")
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	if err := remote.WriteIndex(to, index); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	manifests := map[string]int{}
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		if _, what, ok := strings.Cut(r.URL.Path, "/manifests/"); ok {
			mu.Lock()
			manifests[what]++
			mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	})
	s, _ := openStore(t)
	resolved := resolve(t, s, h.host+"/many:1")
	mu.Lock()
	defer mu.Unlock()
	if want := map[string]int{"1": 1, resolved.Digest: 1}; !maps.Equal(manifests, want) {
		t.Errorf("asked for %v, want %v", manifests, want)
	}
}
