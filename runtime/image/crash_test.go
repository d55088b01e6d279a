package image_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// What the helper process reads from its environment.
const (
	envUnpackAndHang = "FCNODE_IMAGE_TEST_STORE"
	envReference     = "FCNODE_IMAGE_TEST_REFERENCE"
)

// atSecondLayer is a log that calls do when the second layer of an image
// begins.
type atSecondLayer struct {
	slog.Handler
	do func()
}

func (atSecondLayer) Enabled(context.Context, slog.Level) bool { return true }

func (h atSecondLayer) Handle(_ context.Context, r slog.Record) error {
	second := false
	r.Attrs(func(a slog.Attr) bool {
		second = second || a.Key == "layer" && a.Value.Int64() == 2
		return true
	})
	if second && r.Message == "unpacking a layer" {
		h.do()
	}
	return nil
}

// unpackAndHang is the helper process: it stops in the middle of unpacking.
func unpackAndHang(store, ref string) {
	s, err := image.Open(store, slog.New(atSecondLayer{slog.DiscardHandler, func() {
		fmt.Println("HANGING")
		select {}
	}}))
	if err == nil {
		_, err = s.Resolve(context.Background(), ref)
	}
	fmt.Println("did not hang:", err)
	os.Exit(1)
}

// startHanging starts a process that has unpacked the first of two layers and
// holds the locks.
func startHanging(t *testing.T, store, ref string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envUnpackAndHang+"="+store, envReference+"="+ref)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "HANGING\n" {
		t.Fatalf("the helper said %q, %v", line, err)
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill() // SIGKILL; it may have ended
		_ = cmd.Wait()         // reports the kill
	}
}

func TestKilledWhileUnpacking(t *testing.T) {
	store := filepath.Join(t.TempDir(), "images")
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("b", "b")))
	helper := startHanging(t, store, ref)

	// Another process opens the store meanwhile: what is being unpacked is not
	// its to remove.
	openStoreIn(t, store)
	left := files(t, filepath.Join(store, "tmp"))
	if !strings.Contains(strings.Join(left, " "), "/a=a") {
		t.Fatalf("the first layer should be in tmp/; there is %v", left)
	}
	if got := files(t, filepath.Join(store, "l")); len(got) != 0 {
		t.Errorf("half an image is in the store: %v", got)
	}

	kill(helper)
	s := openStoreIn(t, store)
	wantEmpty(t, store)
	img := resolve(t, s, ref)
	if diff := cmp.Diff([]string{"b=b"}, files(t, img.Lower[0])); diff != "" {
		t.Error(diff)
	}
}

// A process that waits for another one's layer goes on when that one dies, and
// gives up with its context.
func TestWaitingForAnotherProcess(t *testing.T) {
	store := filepath.Join(t.TempDir(), "images")
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("b", "b")))
	helper := startHanging(t, store, ref)
	s := openStoreIn(t, store)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Resolve(ctx, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("resolving with a cancelled context: got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Prune(ctx, nil); err == nil {
		t.Error("pruned while another process unpacks")
	}
	got := make(chan error, 1)
	go func() {
		_, err := s.Resolve(t.Context(), ref)
		got <- err
	}()
	kill(helper)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// Many callers in two stores on one folder, as two processes have them, unpack
// an image once.
func TestUnpackedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	var log logBuffer
	var stores []*image.Store
	for range 2 {
		s, err := image.Open(dir, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
	}
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("b", "b")), build.NewLayer(text("c", "c")))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := stores[i%2].Resolve(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := log.count("unpacking a layer"); n != 3 {
		t.Errorf("3 layers were unpacked %d times", n)
	}
	if got := files(t, filepath.Join(dir, "tmp")); len(got) != 0 {
		t.Errorf("left in tmp/: %v", got)
	}
}

// Close ends what is under way and leaves nothing.
func TestCloseWhileUnpacking(t *testing.T) {
	store := filepath.Join(t.TempDir(), "images")
	begun, proceed := make(chan struct{}), make(chan struct{})
	s, err := image.Open(store, slog.New(atSecondLayer{slog.DiscardHandler, func() {
		close(begun)
		<-proceed
	}}))
	if err != nil {
		t.Fatal(err)
	}
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("b", "b")))
	got := make(chan error, 1)
	go func() {
		_, err := s.Resolve(t.Context(), ref)
		got <- err
	}()
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for i := 0; ; i++ { // until Close has begun
		_, err := s.Resolve(t.Context(), layoutOf(t, build.NewLayer(text("c", strconv.Itoa(i)))))
		if errors.Is(err, image.ErrClosed) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	close(proceed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, image.ErrClosed) {
		t.Errorf("got %v, want %v", err, image.ErrClosed)
	}
	if left := files(t, filepath.Join(store, "tmp")); len(left) != 0 {
		t.Errorf("left in tmp/: %v", left)
	}
}
