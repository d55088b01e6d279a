package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// ErrNone means that there is no volume of that name.
var ErrNone = errors.New("no such volume")

// Store keeps the named volumes of sites:
//
//	<dir>/SITE/NAME/data         what the site sees
//	<dir>/SITE/NAME/volume.json  where it comes from
//	<dir>/.snapshots/            see keptDir
//	<dir>/.tmp/                  what is being filled or removed; emptied by OpenStore
//
// A volume is filled and written to disk in .tmp, and then renamed: what has its
// name is complete. Its methods may be called from any goroutine.
type Store struct {
	dir string // absolute, without symbolic links
	tmp string
	log *slog.Logger

	ctx    context.Context //nolint:containedctx // a filling outlives the wake that began it; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex // guards fills, held, and the names below dir
	fills map[string]*fill
	held  map[string]chan struct{} // by the volumes' paths; closed when they are free again
}

// recordFile is the Origin of a volume, beside its data.
const recordFile = "volume.json"

// fill is one that is under way.
type fill struct {
	done chan struct{} // closed when err is set
	err  error
}

// Origin is what is kept beside a volume.
type Origin struct {
	Target string    `json:"target"`          // that it was made for
	Image  string    `json:"image,omitempty"` // digest of the image that it was filled from
	Made   time.Time `json:"made"`
}

// Info describes a volume.
type Info struct {
	Site, Name string
	Path       string // of its folder on the node
	Origin
}

// OpenStore opens the store in dir, makes it (0700) if there is none, and begins
// to remove what was not finished.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	tmp := filepath.Join(dir, ".tmp")
	if target, err := os.Readlink(dir); err == nil {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			log.Error("the disk of named volumes is not there: sites that have some do not start before it is, and the daemon is started again", "folder", dir, "link", target)
			return newStore(dir, log), nil
		}
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of named volumes: %w", err)
	}
	// Volumes hold set-user-ID files: no user of the host may reach them.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the folder of named volumes: %w", err)
	}
	dir, err := filepath.EvalSymlinks(dir) // the operator's; below it no link is followed
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder of named volumes: %w", err)
	}
	s := newStore(dir, log)
	left, err := os.ReadDir(s.tmp)
	if err != nil {
		return nil, fmt.Errorf("open the folder of named volumes: %w", err)
	}
	for _, e := range left {
		s.discard(filepath.Join(s.tmp, e.Name()))
	}
	return s, nil
}

func newStore(dir string, log *slog.Logger) *Store {
	s := &Store{dir: dir, tmp: filepath.Join(dir, ".tmp"), log: log, fills: map[string]*fill{}, held: map[string]chan struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// closePatience is how long Close waits for what does not look whether it should end.
const closePatience = time.Second

// Close ends fillings that are under way; the next store begins them anew, and goes
// on with removals that take longer: no visitor waits for them.
func (s *Store) Close() error {
	s.mu.Lock() // whoever begins one later finds it ended
	s.cancel()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closePatience):
	}
	return nil
}

// Dir is the folder below which the sources of named volumes lie.
func (s *Store) Dir() string { return s.dir }

// Path is the folder that a site sees of a volume, whether there is one or not.
func (s *Store) Path(site, name string) string { return filepath.Join(s.dir, site, name, "data") }

// Has says whether there is the volume.
func (s *Store) Has(site, name string) bool {
	_, err := os.Lstat(s.Path(site, name))
	return err == nil
}

// Ensure gives the folder of a volume. A new one is filled with what the image
// has at the target, from its layers, the top one first. Who asks at the same
// time waits for the same filling; it goes on when they give up.
func (s *Store) Ensure(ctx context.Context, site, name string, from Origin, layers []string) (string, error) {
	path := s.Path(site, name)
	s.mu.Lock()
	if err := s.waitFree(ctx, path); err != nil {
		s.mu.Unlock()
		return "", fmt.Errorf("volume %s of site %s: %w", name, site, err)
	}
	if s.Has(site, name) {
		s.mu.Unlock()
		return path, nil
	}
	f := s.fills[path]
	if f == nil {
		f = &fill{done: make(chan struct{})}
		s.fills[path] = f
		s.work.Go(func() {
			f.err = s.make(site, name, from, layers)
			s.mu.Lock()
			delete(s.fills, path)
			s.mu.Unlock()
			close(f.done)
		})
	}
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return "", fmt.Errorf("volume %s of site %s is still being filled from the image: %w", name, site, context.Cause(ctx))
	}
	if f.err != nil {
		return "", fmt.Errorf("make volume %s of site %s for %s: %w", name, site, from.Target, f.err)
	}
	return path, nil
}

// Wait waits until none of a site's volumes is being filled.
func (s *Store) Wait(site string) {
	s.mu.Lock()
	var under []*fill
	for path, f := range s.fills {
		if Within(path, filepath.Join(s.dir, site)) {
			under = append(under, f)
		}
	}
	s.mu.Unlock()
	for _, f := range under {
		<-f.done
	}
}

func (s *Store) make(site, name string, from Origin, layers []string) error {
	made, err := os.MkdirTemp(s.tmp, "new-")
	if err != nil {
		return err
	}
	err = s.fill(made, from, layers)
	if err == nil {
		err = s.place(made, site, name)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(made))
	}
	return nil
}

// fill makes all of a volume in a folder, and writes it through to the disk.
func (s *Store) fill(dir string, from Origin, layers []string) error {
	if err := copyFromImage(s.ctx, layers, from.Target, dir, "data"); err != nil {
		return err
	}
	return finish(dir, from)
}

// finish writes the record of a volume that is made in a folder, and all of it through to the disk.
func finish(dir string, from Origin) error {
	from.Made = time.Now().UTC() // to the nanosecond: snapshots are in the order of it
	b, err := json.Marshal(from)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, recordFile), append(b, '\n'), 0o600)
	}
	if err == nil {
		err = syncDisk(dir)
	}
	return err
}

// syncDisk writes all that the disk of a folder has not got yet.
func syncDisk(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

// place gives a volume its name.
func (s *Store) place(made, site, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent, err := s.folderOf(site)
	if err != nil {
		return err
	}
	if err := os.Rename(made, filepath.Join(parent, name)); err != nil {
		return err
	}
	return errors.Join(file.SyncDir(parent), file.SyncDir(s.dir))
}

// folderOf is the folder of a site's volumes, made if there is none, unless the store is closed. The caller has s.mu.
func (s *Store) folderOf(site string) (string, error) {
	if s.ctx.Err() != nil {
		return "", errors.New("the daemon is stopping")
	}
	path := filepath.Join(s.dir, site)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return path, nil
}

// Remove removes a volume with all that is in it, and its snapshots. It is gone when this returns;
// its disk is free a little later.
func (s *Store) Remove(site, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Has(site, name) {
		return fmt.Errorf("volume %s of site %s: %w", name, site, ErrNone)
	}
	if s.held[s.Path(site, name)] != nil {
		return fmt.Errorf("volume %s of site %s: %w", name, site, ErrHeld)
	}
	err := s.bury(s.keptOf(site, name)) // first: without their volume nobody would find them
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Join(s.dir, keptDir, site)) // unless there are others
		err = s.bury(filepath.Join(s.dir, site, name))
	}
	if err != nil {
		return fmt.Errorf("remove volume %s of site %s: %w", name, site, err)
	}
	_ = os.Remove(filepath.Join(s.dir, site)) // unless there are others
	return file.SyncDir(s.dir)
}

// discard removes in the background what is nobody's any more.
func (s *Store) discard(path string) {
	s.work.Go(func() {
		if err := os.RemoveAll(path); err != nil {
			s.log.Error("what is left of a named volume stays on disk", "folder", path, "error", err)
		}
	})
}

// List gives the volumes of a site, or of all (""), ordered by their names.
func (s *Store) List(site string) ([]Info, error) {
	sites := []string{site}
	if site == "" {
		var err error
		if sites, err = namesOf(s.dir); err != nil {
			return nil, fmt.Errorf("list named volumes: %w", err)
		}
	}
	var out []Info
	for _, site := range sites {
		names, err := namesOf(filepath.Join(s.dir, site))
		if err != nil {
			return nil, fmt.Errorf("list the volumes of site %s: %w", site, err)
		}
		for _, name := range names {
			out = append(out, s.info(site, name))
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Site+"/"+a.Name, b.Site+"/"+b.Name) })
	return out, nil
}

// namesOf are those in a folder that is there, without what is hidden.
func namesOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (s *Store) info(site, name string) Info {
	v := Info{Site: site, Name: name, Path: s.Path(site, name)}
	raw, err := file.Read(filepath.Join(s.dir, site, name, recordFile), file.Small)
	if err == nil {
		err = json.Unmarshal(raw, &v.Origin)
	}
	if err != nil { // the data are what counts
		s.log.Warn("a named volume's record cannot be read", "site", site, "volume", name, "error", err)
	}
	return v
}

// Usage counts what is in a volume. Files that vanish meanwhile are passed over.
func (s *Store) Usage(ctx context.Context, site, name string) (bytes, files int64, err error) {
	root, err := os.OpenRoot(s.Path(site, name)) // its site may put links into the way
	if err != nil {
		return 0, 0, fmt.Errorf("volume %s of site %s: %w", name, site, err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || path == "." {
			return nil //nolint:nilerr // gone
		}
		files++
		if fi, err := d.Info(); err == nil {
			bytes += blocksOf(fi)
		}
		return nil
	})
	return bytes, files, err
}
