package image_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// TestProgress: who waits for an image is told of layers and bytes, of those that
// the store does not have.
func TestProgress(t *testing.T) {
	h := newHub(t)
	random := make([]byte, 1<<20)
	_, _ = rand.Read(random) // never fails
	first, second := build.NewLayer(text("a", "one")), build.NewLayer(build.File("b", 0o644, random))
	s, _ := openStore(t)
	h.push(t, "base:1", first)
	resolve(t, s, h.host+"/base:1")
	h.push(t, "blog:1", first, second)

	seen := make(chan struct{})
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) { // half of the layer, and the rest once that was told
		if !strings.Contains(r.URL.Path, "/blobs/") || r.Method != http.MethodGet {
			inner.ServeHTTP(w, r)
			return
		}
		all := httptest.NewRecorder()
		inner.ServeHTTP(all, r)
		body := all.Body.Bytes()
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		half := len(body) / 2
		if half < 100_000 { // the config
			half = len(body)
		}
		_, _ = w.Write(body[:half])
		_ = http.NewResponseController(w).Flush()
		if half < len(body) {
			<-seen
			_, _ = io.Copy(w, bytes.NewReader(body[half:]))
		}
	})
	told := false
	ctx := image.WithProgress(t.Context(), func(p image.Progress) {
		if p.Of != 1 || p.Size < 1<<20 || p.Bytes > p.Size || p.Layers > 1 {
			t.Errorf("told %+v", p)
		}
		if !told && p.Bytes > 100_000 {
			told = true
			close(seen)
		}
	})
	if _, err := s.Resolve(ctx, h.host+"/blog:1"); err != nil {
		t.Fatal(err)
	}
	if !told {
		t.Error("nobody was told")
	}
	told = true
	ctx = image.WithProgress(t.Context(), func(image.Progress) { t.Error("told of an image that is there") })
	if _, err := s.Resolve(ctx, h.host+"/blog:1"); err != nil {
		t.Error(err)
	}
}
