package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"
)

// Store is a store of unpacked images, see the package's documentation. Its methods
// may be called concurrently. Several processes may resolve in one folder at
// once; only one of them should prune, since only its own resolves are known to it.
type Store struct {
	dir      string // absolute, without symbolic links
	layers   string // <dir>/l
	images   string
	tmp      string
	reserved []string
	roots    []string // that dir images lie below
	log      *slog.Logger
	archives *archiveCache

	registries Registries
	trust      []Rule
	grown      func()
	limits     Limits

	ctx     context.Context //nolint:containedctx // unpacking outlives the Resolve that began it; ends with Close
	cancel  context.CancelCauseFunc
	flights singleflight.Group // by digest

	mu      sync.RWMutex   // Prune excludes the readers of records and layer folders
	closed  bool           // guarded by mu
	running sync.WaitGroup // unpackings; Add under mu

	known  known
	meters meters
}

// known is what the store keeps in memory. Its mutex is taken inside of Store.mu.
type known struct {
	mu      sync.Mutex
	records map[v1.Hash]*record   // as on disk
	recent  map[v1.Hash]time.Time // resolved since the last Prune, and when
	sizes   map[v1.Hash]uint64    // of layers, by their chains; in bytes
}

// Option changes what Open makes.
type Option func(*Store)

// Reserve names folders, besides the store's own, that a dir image must neither contain
// nor lie in: the node's state and run folders.
func Reserve(paths ...string) Option {
	return func(s *Store) { s.reserved = append(s.reserved, paths...) }
}

// Roots are the folders below which dir images have to lie. Default: none.
func Roots(paths ...string) Option {
	return func(s *Store) { s.roots = append(s.roots, paths...) }
}

// Grown has f called when an image was unpacked. Whoever asked for that waits until f returns.
func Grown(f func()) Option { return func(s *Store) { s.grown = f } }

// Open opens the store in dir, makes it (0700) if there is none, and removes what an unpacking
// that was killed left in it.
func Open(dir string, log *slog.Logger, opts ...Option) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the image store: %w", classify(err))
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	if err := overlayPath(dir); err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	// Images hold set-user-ID files: no user of the host may reach them.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	s := &Store{
		dir:    dir,
		layers: filepath.Join(dir, "l"),
		images: filepath.Join(dir, "images"),
		tmp:    filepath.Join(dir, "tmp"),
		log:    log,
		grown:  func() {},
		known:  known{records: map[v1.Hash]*record{}, recent: map[v1.Hash]time.Time{}, sizes: map[v1.Hash]uint64{}},
	}
	archives := filepath.Join(dir, "archives")
	s.archives = newArchiveCache(archives)
	for _, d := range []string{s.layers, s.images, s.tmp, archives} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making the image store: %w", classify(err))
		}
	}
	for _, o := range opts {
		o(s)
	}
	if err := s.clearTmp(); err != nil { // it takes disk only; Prune tries again
		log.Error("what an unpacking has left stays on disk", "error", err)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// Close ends unpackings that are under way and waits for them. Images that were returned stay valid.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel(ErrClosed)
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// clearTmp removes what a killed process left in tmp/. If somebody unpacks right now, it
// is left for the next time.
func (s *Store) clearTmp() error {
	lock, err := openLock(filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.release()
	if ok, err := lock.tryEverything(); err != nil || !ok {
		return err
	}
	return s.removeIn(s.tmp)
}

// removeIn removes all that is in dir.
func (s *Store) removeIn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clearing %s: %w", dir, err)
		}
		s.log.Info("removed an unfinished unpacking of an image", "folder", e.Name())
	}
	return nil
}

// Resolve gives the image that ref (see ParseRef) means now, unpacking what is not
// unpacked. Concurrent calls for one image unpack it once; a call whose ctx ends
// returns, and the unpacking goes on for the next one. Errors: see the sentinels of this package.
func (s *Store) Resolve(ctx context.Context, ref string) (*Image, error) {
	img, err := s.resolve(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	return img, nil
}

func (s *Store) resolve(ctx context.Context, refString string) (*Image, error) {
	ref, err := ParseRef(refString)
	if err != nil {
		return nil, err
	}
	if ref.Kind == KindDir {
		if err := s.trusted(ctx, ref, nil, v1.Hash{}); err != nil {
			return nil, err
		}
		return s.resolveDir(ref)
	}
	var src source
	switch ref.Kind {
	case KindRegistry:
		src = &registrySource{Registries: s.registries, ref: ref}
	case KindLayout:
		src, err = openLayout(ref)
	default:
		src, err = openArchive(ref, s.archives, s.log)
	}
	if err != nil {
		return nil, err
	}
	d, err := src.digest(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.trusted(ctx, ref, src, d); err != nil {
		return nil, err
	}
	img, err := s.unpacked(d)
	switch {
	case err == nil:
		return img.named(ref), nil
	case errors.Is(err, ErrCorrupt): // its record; unpacking anew mends it
		s.log.Warn("mending the record of an image", "digest", d.String(), "error", err)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	r, err := s.unpackOnce(ctx, ref, d, src)
	if err != nil {
		return nil, err
	}
	return s.image(r).named(ref), nil
}

// Get gives an unpacked image by its digest, without asking where it came from: for
// a site whose image file is gone. ErrNotFound if it is not unpacked. Not for dir images.
func (s *Store) Get(digest string) (*Image, error) {
	d, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w: %w", digest, ErrReference, err)
	}
	img, err := s.unpacked(d)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", digest, err)
	}
	return img, nil
}

// unpacked is the fast path: the image as its record has it, if its layers are there.
func (s *Store) unpacked(d v1.Hash) (*Image, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.record(d)
	if err != nil {
		return nil, err
	}
	img := s.image(r)
	for _, dir := range img.Lower {
		if _, err := os.Lstat(dir); err != nil {
			return nil, fmt.Errorf("layer of %s: %w", d, missing(err))
		}
	}
	return img, nil
}

// image makes what callers get, who may change it.
func (s *Store) image(r *record) *Image {
	return &Image{Digest: r.Digest.String(), Lower: s.lower(r.Chain), Config: r.Config.clone(), owners: r.Owners}
}

// record gives the record of d, from memory if it can, and notes that it was used.
func (s *Store) record(d v1.Hash) (*record, error) {
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	r, ok := s.known.records[d]
	if !ok {
		var err error
		if r, err = s.loadRecord(d); err != nil {
			return nil, err
		}
		s.known.records[d] = r
	}
	s.known.recent[d] = time.Now()
	return r, nil
}

// remember notes that an image was unpacked just now.
func (s *Store) remember(r *record) {
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	s.known.records[r.Digest] = r
	s.known.recent[r.Digest] = time.Now()
}

// named sets the reference under which an image was resolved.
func (i *Image) named(ref Ref) *Image {
	i.Ref = ref.String()
	return i
}
