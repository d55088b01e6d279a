package image_test

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// TestTooMuch: an image that takes too much to unpack is refused, with the limit and the key
// that raises it, and leaves nothing. Another one is unpacked by the same store.
func TestTooMuch(t *testing.T) {
	many := func(n, depth int) (entries []build.Entry) {
		for i := range n {
			entries = append(entries, text(strings.Repeat("d/", depth)+strconv.Itoa(i), ""))
		}
		return entries
	}
	lower := build.NewLayer(text("large", strings.Repeat("x", 60<<10)))
	for name, c := range map[string]struct {
		layers []build.Layer
		want   string
	}{
		"a bomb":            {[]build.Layer{build.NewLayer(text("a", strings.Repeat("0", 100<<20)))}, "images.bytes"},
		"over two layers":   {[]build.Layer{lower, build.NewLayer(text("b", strings.Repeat("y", 60<<10)))}, "images.bytes"},
		"copies of a layer": {[]build.Layer{lower, build.NewLayer(build.Hardlink("b", "large"))}, "images.bytes"},
		"many files":        {[]build.Layer{build.NewLayer(many(101, 0)...)}, "images.entries"},
		"deep folders":      {[]build.Layer{build.NewLayer(many(1, 101)...)}, "images.entries"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := openStore(t, image.Within(image.Limits{Bytes: 100 << 10, Entries: 100, Time: time.Hour}))
			wantError(t, s, layoutOf(t, c.layers...), image.ErrLimit, c.want, "of the configuration")
			wantEmpty(t, dir)
			resolve(t, s, layoutOf(t, build.NewLayer(text("small", "small"))))
		})
	}
}

// TestHugeFile: a tar of some bytes may say that a file has exabytes.
func TestHugeFile(t *testing.T) {
	var raw bytes.Buffer
	if err := tar.NewWriter(&raw).WriteHeader(&tar.Header{Name: "huge", Size: 1 << 60, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	from := io.NopCloser(io.MultiReader(&raw, zeros{}))
	err := image.ApplyWithin(t.Context(), t.TempDir(), from, image.Limits{Bytes: 1 << 30})
	if err == nil || !strings.Contains(err.Error(), "images.bytes") {
		t.Errorf("got %v", err)
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestStalls: a registry that goes on sending, and never comes to an end, is not waited for
// longer than the time that an image may take.
func TestStalls(t *testing.T) {
	h := newHub(t)
	h.push(t, "blog:1", build.NewLayer(text("a", strings.Repeat("x", 1<<20))))
	h.put(func(inner http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		body := rec.Body.Bytes()
		if layer := strings.Contains(r.URL.Path, "/blobs/") && bytes.HasPrefix(body, []byte{0x1f, 0x8b}); layer {
			_, _ = w.Write(body[:len(body)/2])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = w.Write(body)
	})
	s, dir := openStore(t, image.Within(image.Limits{Time: 2 * time.Second}))
	wantError(t, s, h.host+"/blog:1", image.ErrLimit, "images.time", "2s")
	wantEmpty(t, dir)
}

// TestKilledReader: the process that reads a layer is killed in the middle, which is an error
// of that image, and says what has happened.
func TestKilledReader(t *testing.T) {
	from, to := io.Pipe()
	go func() {
		w := tar.NewWriter(to)
		_ = w.WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: 1 << 30}) // the error is the reader's to tell
		if _, err := w.Write(make([]byte, 4<<20)); err != nil {
			return
		}
		for _, pid := range readers(t) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}()
	err := image.ApplyWithin(t.Context(), t.TempDir(), from, image.Limits{})
	if err == nil || !strings.Contains(err.Error(), "the process that read it has ended: signal: killed") {
		t.Errorf("got %v", err)
	}
}

// readers are the processes that read layers for this one.
func readers(t *testing.T) (pids []int) {
	all, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Error(err)
	}
	for _, file := range all {
		children, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			called, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if pid, err := strconv.Atoi(child); err == nil && string(called) == "fcnode-layer\x00" {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) == 0 {
		t.Error("there is no process that reads a layer")
	}
	return pids
}
