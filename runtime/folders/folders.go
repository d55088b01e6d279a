package folders

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Own makes the node's two folders, or makes them its own: root's, and
// open to nobody else. Below them are the files of tenants, set-user-ID programs
// among them, which a user of the machine could execute. It returns what it had
// to mend.
func Own(cfg config.Config) ([]string, error) {
	state, err := ownFolder("stateDir", cfg.StateDir, 0o700, 0)
	if err != nil {
		return nil, err
	}
	mode, gid := runDirMode(cfg)
	run, err := ownFolder("runDir", cfg.RunDir, mode, gid)
	if err != nil {
		return nil, err
	}
	return append(state, run...), nil
}

// runDirMode lets the group that may use the socket pass through to it.
func runDirMode(cfg config.Config) (mode uint32, gid int) {
	if volume.Within(cfg.Socket, cfg.RunDir) && cfg.SocketGroup != "" {
		if g, err := user.LookupGroup(cfg.SocketGroup); err == nil {
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				return 0o710, gid
			}
		}
	}
	return 0o700, 0
}

// ownFolder makes a folder with a mode, or gives it that mode. Where others
// could enter it before, so they could what is in it: that is closed, too, as
// they may still be there.
func ownFolder(field, path string, mode uint32, gid int) (mended []string, err error) {
	refused := func(err error) error {
		return fmt.Errorf("%s of the configuration, %s, is not safe: %w", field, path, err)
	}
	if err := trusted(filepath.Dir(path), maxLinks); err != nil {
		return nil, refused(err)
	}
	if err := os.MkdirAll(path, fs.FileMode(mode)); err != nil {
		if fi, statErr := os.Lstat(path); statErr == nil && fi.Mode()&fs.ModeSymlink == 0 {
			err = fmt.Errorf("%w; move away what is there", err)
		}
		return nil, fmt.Errorf("make the folder of %s: %w", field, err)
	}
	dir, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		target, _ := os.Readlink(path)
		return nil, refused(fmt.Errorf("it is a symbolic link, to %s; set %s to the folder itself", target, field))
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder of %s: %w", field, err)
	}
	defer dir.Close()
	return mend(dir, mode, gid)
}

func mend(dir *os.File, mode uint32, gid int) (mended []string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	uid, was := os.Geteuid(), st.Mode&0o7777
	if int(st.Uid) != uid {
		if err := stickyParent(dir.Name()); err != nil {
			return nil, err
		}
	}
	if int(st.Uid) == uid && int(st.Gid) == gid && was == mode {
		return nil, nil
	}
	// Others out first, then the owner, and the mode again, as a change of the owner may clear some of it.
	err = errors.Join(unix.Fchmod(int(dir.Fd()), mode&0o700), unix.Fchown(int(dir.Fd()), uid, gid), unix.Fchmod(int(dir.Fd()), mode))
	if err != nil {
		return nil, fmt.Errorf("make %s the node's own: %w", dir.Name(), err)
	}
	if int(st.Uid) == uid && was&^mode == 0 {
		return nil, nil // it was narrower: nobody was let in who is not now
	}
	mended = []string{fmt.Sprintf("%s had mode %04o and owner %d: it is %04o and %d's now", dir.Name(), was, st.Uid, mode, uid)}
	if was&0o077 != 0 || int(st.Uid) != uid {
		err = closeBelow(dir.Name())
	}
	return mended, err
}

// closeBelow takes from others what the node has in a folder that they could
// enter, two levels deep: deeper are the files of sites, in which modes are theirs.
func closeBelow(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("close what is in %s: %w", path, err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || name == "." || err == nil && !d.IsDir() && !d.Type().IsRegular() {
			return nil // gone, or a socket or link, of which nothing depends
		}
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		// A file may be another's by a mount, the sink's namespace say, and is behind closed folders in any case.
		if err := root.Chmod(name, mode); err != nil && d.IsDir() && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.IsDir() && strings.Contains(name, "/") {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("close what is in %s: %w", path, err)
	}
	return nil
}

// stickyParent refuses a folder that is another's where everybody may make some:
// what is in it is theirs.
func stickyParent(path string) error {
	var st unix.Stat_t
	parent := filepath.Dir(path)
	if err := unix.Stat(parent, &st); err != nil {
		return &os.PathError{Op: "stat", Path: parent, Err: err}
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("%s belongs to another user, who made it in %s, where everybody may; remove it, or choose another folder", path, parent)
	}
	return nil
}

// maxLinks is how many symbolic links there may be one behind the other, as for the kernel.
const maxLinks = 40

// trusted says whether nobody but root can put something else in the place of a
// folder, or of one above it. What is not there yet will be made by this process.
func trusted(path string, links int) error {
	for p := path; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return &os.PathError{Op: "stat", Path: p, Err: err}
		case st.Uid != 0 && int(st.Uid) != os.Geteuid():
			return fmt.Errorf("%s, above it, belongs to user %d, who could put another folder in its place; choose a place of root's", p, st.Uid)
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if err := trustedLink(p, links); err != nil {
				return err
			}
		case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
			return fmt.Errorf("%s, above it, can be written by others (mode %04o), who could put another folder in its place; chmod go-w %s, or choose another place",
				p, st.Mode&0o7777, p)
		}
		if p == "/" {
			return nil
		}
	}
}

func trustedLink(p string, links int) error {
	if links == 0 {
		return &os.PathError{Op: "stat", Path: p, Err: unix.ELOOP}
	}
	target, err := os.Readlink(p)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(p), target)
	}
	return trusted(filepath.Clean(target), links-1)
}

// Remove removes one of the node's folders with all that is in it. Where a file system is mounted, which is its
// administrator's, it is left empty.
func Remove(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if left, listErr := os.ReadDir(path); listErr != nil || len(left) > 0 {
		return err
	}
	return nil
}
