package image_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

func prune(t *testing.T, s *image.Store, keep ...string) {
	t.Helper()
	if _, err := s.Prune(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
}

func wantThere(t *testing.T, there bool, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); (err == nil) != there {
			t.Errorf("%s: there is %v, want %v", p, err == nil, there)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s := openStoreIn(t, dir)
	base := build.NewLayer(text("base", ""))
	one := resolve(t, s, layoutOf(t, base, build.NewLayer(text("one", ""))))
	twoRef := layoutOf(t, base, build.NewLayer(text("two", "")))
	two := resolve(t, s, twoRef)

	// What was resolved since the last time is spared once.
	prune(t, s)
	wantThere(t, true, append(one.Lower, two.Lower...)...)

	prune(t, s, one.Digest, "sha256:unknown")
	wantThere(t, true, one.Lower...)
	wantThere(t, false, two.Lower[0])
	if _, err := s.Get(two.Digest); err == nil {
		t.Error("the pruned image is still known")
	}
	if _, err := openStoreIn(t, dir).Get(one.Digest); err != nil {
		t.Errorf("the kept image: %v", err)
	}

	wantThere(t, true, resolve(t, s, twoRef).Lower...)

	prune(t, s)
	prune(t, s)
	wantEmpty(t, dir)
	wantThere(t, true, resolve(t, s, twoRef).Lower...)
}

// TestKept: the store says what it has, and what comes free with each image; one that is removed takes its own layers along, and
// spares nobody's.
func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s := openStoreIn(t, dir)
	base := build.NewLayer(text("base", strings.Repeat("x", 20000)))
	oneRef, twoRef := layoutOf(t, base, build.NewLayer(text("one", strings.Repeat("y", 5000)))), layoutOf(t, base)
	one, two := resolve(t, s, oneRef), resolve(t, s, twoRef)
	if err := os.WriteFile(filepath.Join(dir, "images", "nothing"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() []image.Kept {
		t.Helper()
		all, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := look()
	if len(all) != 2 || all[0].Digest != one.Digest || all[1].Digest != two.Digest || all[0].Ref != oneRef || all[0].Unpacked.IsZero() {
		t.Fatalf("there are %+v", all)
	}
	if bytes, own := all[0].Bytes(); bytes < 25000 || own < 5000 || own > bytes-20000 {
		t.Errorf("one has %d bytes, %d of its own", bytes, own)
	}
	if bytes, own := all[1].Bytes(); bytes < 20000 || own != 0 || all[1].Layers[0].Images != 2 {
		t.Errorf("two has %d bytes, %d of its own: %+v", bytes, own, all[1].Layers)
	}
	if err := s.Remove(t.Context(), one.Digest); err != nil {
		t.Fatal(err)
	}
	wantThere(t, false, one.Lower[0])
	wantThere(t, true, two.Lower...)
	if err := s.Remove(t.Context(), one.Digest); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
	if err := s.Remove(t.Context(), "nothing"); !errors.Is(err, image.ErrReference) {
		t.Errorf("removing nothing: %v", err)
	}
	if all = look(); len(all) != 1 || all[0].Digest != two.Digest || all[0].Layers[0].Images != 1 {
		t.Errorf("there are %+v", all)
	}
	prune(t, s) // two was looked up since the last time, whatever was removed meanwhile
	wantThere(t, true, two.Lower...)
}

// What a killed process left is also removed by pruning.
func TestPruneClearsTmp(t *testing.T) {
	s, dir := openStore(t)
	left := mkdir(t, dir, "tmp/left/behind")
	prune(t, s)
	wantThere(t, false, left)
}

// However resolving and pruning interleave, an image that was just resolved is
// complete.
func TestPruneWhileResolving(t *testing.T) {
	s, _ := openStore(t)
	refs := []string{
		layoutOf(t, build.NewLayer(text("base", "")), build.NewLayer(text("one", ""))),
		layoutOf(t, build.NewLayer(text("base", "")), build.NewLayer(text("two", ""))),
		archiveOf(t, build.NewLayer(text("base", "")), build.NewLayer(text("three", ""))),
	}
	stop := make(chan struct{})
	var pruner, resolvers sync.WaitGroup
	// Each image must survive the first Prune after it was resolved. A resolver
	// therefore looks while at most one Prune can happen: it takes turns with
	// the pruner.
	var turn sync.RWMutex
	pruner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Prune(t.Context(), nil); err != nil {
				t.Error(err)
				return
			}
			turn.Lock()   // a resolver that got its image before this Prune has looked at it
			turn.Unlock() //nolint:staticcheck // only the order matters
		}
	})
	for _, ref := range refs {
		resolvers.Go(func() {
			for range 50 {
				turn.RLock()
				img, err := s.Resolve(t.Context(), ref)
				if err != nil {
					t.Error(err)
				} else {
					wantThere(t, true, img.Lower...)
				}
				turn.RUnlock()
			}
		})
	}
	resolvers.Wait()
	close(stop)
	pruner.Wait()
}
