package disk

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of ioctl(2), for attributes of files. In a user namespace other than the
// machine's own the kernel changes neither of them (fileattr_set_prepare()).
const (
	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT
)

// attributes is fsxattr of the kernel.
type attributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

func control(f *os.File, cmd uintptr, arg *attributes) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), cmd, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// openOwn opens a file or folder of the node's own.
func openOwn(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// ProjectOf gives the project of a folder, whose new files have it, too; 0: it
// has none, or does not exist.
func ProjectOf(dir string) (uint32, error) {
	f, err := openOwn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var a attributes
	if err := control(f, getAttributes, &a); err != nil {
		return 0, fmt.Errorf("read the project of %s: %w", dir, err)
	}
	if a.flags&inherit == 0 {
		return 0, nil
	}
	return a.project, nil
}

// SetProject gives a file or folder to a project. What is made in the folder from
// now on is the project's, too.
func SetProject(path string, project uint32) error {
	f, err := openOwn(path)
	if err != nil {
		return fmt.Errorf("give %s to project %d: %w", path, project, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil {
		var a attributes
		if err = control(f, getAttributes, &a); err == nil {
			a.project = project
			if st.IsDir() {
				a.flags |= inherit
			}
			err = control(f, setAttributes, &a)
		}
	}
	if err != nil {
		return fmt.Errorf("give %s to project %d: %w", path, project, err)
	}
	return nil
}

// SetProjectOfAll gives a folder, and the files and folders in it, to a project: the
// folder last, so that one that has the project is done. Nobody else writes
// there meanwhile but those who add files or remove them.
func SetProjectOfAll(dir string, project uint32) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("give %s to project %d: %w", dir, project, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = SetProjectOfAll(path, project)
		case e.Type().IsRegular():
			err = SetProject(path, project)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return SetProject(dir, project)
}

// Projects are numbered here from this on, out of the way of those who begin at 1.
const (
	firstProject = 1 << 30
	projects     = 1 << 30
	tries        = 1000
)

// Projects chooses numbers that nobody else on the file system uses. A number is
// kept where it is used: as the project of a folder, its home. So it lives as long
// as that, over all restarts, and a copy of the folder on another file system
// has none.
type Projects struct {
	*Quotas
	// Names is the file in which administrators give numbers to projects.
	Names string
}

// For gives the project of a home, which is made if it is not there. A new project
// is chosen by a name; whatever is in the home already is given to it.
func (p Projects) For(home, name string) (uint32, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return 0, err
	}
	project, err := ProjectOf(home)
	if err != nil || project != 0 {
		return project, err
	}
	named := p.named()
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // it does not fail
	for i := range uint32(tries) {
		project = firstProject + (h.Sum32()+i)%projects
		if free, err := p.unused(project); err != nil || named[project] || !free {
			if err != nil {
				return 0, err
			}
			continue
		}
		if err := SetProjectOfAll(home, project); err != nil {
			return 0, err
		}
		return project, nil
	}
	return 0, fmt.Errorf("choose a project for %s: %d numbers from %d on are in use", home, tries, firstProject+h.Sum32()%projects)
}

// named are the numbers that administrators have given: lines of name:number.
func (p Projects) named() map[uint32]bool {
	out := map[uint32]bool{}
	f, err := os.Open(p.Names)
	if err != nil {
		return out // few have one
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		_, number, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if n, err := strconv.ParseUint(number, 10, 32); err == nil {
			out[uint32(n)] = true
		}
	}
	return out
}
