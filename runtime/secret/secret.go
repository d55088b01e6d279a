package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// What a secret may be at most. Its copy in a replica is memory that is never
// pushed out.
const (
	MaxSize  = 512 << 10 // bytes, of a file or of all files of a folder
	MaxFiles = 64        // in a folder
)

// ErrOutside means that a path is not below any of the node's secretRoots.
var ErrOutside = errors.New("it is not below any of secretRoots of the node's configuration")

// ErrExposed means that somebody else than root may read or replace a secret.
var ErrExposed = errors.New("a secret has to be root's alone")

// Secret is the content of a file, or of the files of a folder, at one time.
type Secret struct {
	Folder bool
	Files  []File
	// Sources say what it was read from, so that a change is noticed: the folder or
	// file first, then the files of the folder.
	Sources []volume.Source
}

// File is one file.
type File struct {
	Name    string // in its folder; "" for a secret that is a file
	Content []byte
}

// Read reads the secret at a path below one of the roots. It follows no symbolic
// link, and refuses what is not root's alone.
func Read(roots []string, path string) (Secret, error) {
	f, err := open(roots, path)
	if err != nil {
		return Secret{}, fmt.Errorf("secret %s: %w", path, err)
	}
	defer f.Close() // a path descriptor
	s, err := read(f, path)
	if err != nil {
		return Secret{}, fmt.Errorf("secret %s: %w", path, err)
	}
	return s, nil
}

// open opens the file or folder as a path descriptor.
func open(roots []string, path string) (*os.File, error) {
	root := ""
	for _, r := range roots {
		if volume.Within(path, r) && path != r && len(r) > len(root) {
			root = r
		}
	}
	if root == "" {
		return nil, fmt.Errorf("%w, [%s]; move it there, or add a folder above it to secretRoots", ErrOutside, strings.Join(roots, ", "))
	}
	at, err := volume.OpenDir(root)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(path[len(root):], "/"), "/") {
		err := safeFolder(at)
		var inner *os.File
		if err == nil {
			inner, err = openIn(at, name, unix.O_PATH)
		}
		_ = at.Close() // a path descriptor
		if err != nil {
			return nil, err
		}
		at = inner
	}
	return at, nil
}

// openIn opens what lies in a folder, which is no link.
func openIn(dir *os.File, name string, flags uint64) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	// Without O_NOFOLLOW, which would open a link as a path.
	fd, err := volume.OpenIn(int(dir.Fd()), name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil && !errors.Is(err, unix.ELOOP) {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link, which is not followed; put the file itself there", path)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// safeFolder refuses a folder in which somebody else than root could replace what
// lies there. Root is whoever runs the node.
func safeFolder(dir *os.File) error {
	st, err := stat(dir)
	switch {
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return &os.PathError{Op: "open", Path: dir.Name(), Err: unix.ENOTDIR}
	case st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s is user %d's: %w; chown root %s", dir.Name(), st.Uid, ErrExposed, dir.Name())
	case st.Mode&0o022 != 0:
		return fmt.Errorf("others can write to %s (mode %#o): %w; chmod go-w %s", dir.Name(), st.Mode&0o7777, ErrExposed, dir.Name())
	}
	return nil
}

// own refuses a file or folder that others may read.
func own(f *os.File, st *unix.Stat_t) error {
	mode := "0600"
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode = "0700"
	}
	switch {
	case st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s is user %d's: %w; chown root %s", f.Name(), st.Uid, ErrExposed, f.Name())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("others can read %s (mode %#o): %w; chmod %s %s", f.Name(), st.Mode&0o7777, ErrExposed, mode, f.Name())
	}
	return nil
}

func stat(f *os.File) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return &st, nil
}

func read(f *os.File, path string) (Secret, error) {
	st, err := stat(f)
	if err != nil {
		return Secret{}, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return readFolder(f, st, path)
	}
	source := volume.Source{Path: path, Secret: true}
	content, err := readFile(f, &source, MaxSize)
	return Secret{Files: []File{{Content: content}}, Sources: []volume.Source{source}}, err
}

func readFolder(f *os.File, st *unix.Stat_t, path string) (Secret, error) {
	s := Secret{Folder: true}
	if err := own(f, st); err != nil {
		return s, err
	}
	was, err := volume.IdentifyContent(f)
	if err != nil {
		return s, err
	}
	s.Sources = []volume.Source{{Path: path, Secret: true, Was: was}}
	names, err := list(f)
	if err != nil {
		return s, err
	}
	room := MaxSize
	for _, name := range names {
		inner, err := openIn(f, name, unix.O_PATH)
		if err != nil {
			return s, err
		}
		source := volume.Source{Path: path, Inside: name, Secret: true}
		content, err := readFile(inner, &source, room)
		_ = inner.Close() // a path descriptor
		if err != nil {
			return s, err
		}
		room -= len(content)
		s.Files = append(s.Files, File{Name: name, Content: content})
		s.Sources = append(s.Sources, source)
	}
	return s, nil
}

// list gives the names in a folder that is open as a path.
func list(f *os.File) ([]string, error) {
	dir, err := openIn(f, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close() // read only
	names, err := dir.Readdirnames(MaxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > MaxFiles {
		return nil, fmt.Errorf("it has more than %d files", MaxFiles)
	}
	slices.Sort(names)
	return names, nil
}

// readFile reads a file of at most most bytes that is open as a path, and says
// in its source what it was before.
func readFile(f *os.File, source *volume.Source, most int) ([]byte, error) {
	st, err := stat(f)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%s is no regular file", f.Name())
	}
	if err == nil {
		err = own(f, st)
	}
	if err == nil {
		source.Was, err = volume.IdentifyContent(f)
	}
	if err != nil {
		return nil, err
	}
	// What was checked is what is opened, by its descriptor.
	open, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Name(), errors.Unwrap(err))
	}
	defer open.Close() // read only
	content, err := io.ReadAll(io.LimitReader(open, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if len(content) > most {
		return nil, fmt.Errorf("%s is too large: a secret has at most %d KiB, a folder all together", f.Name(), MaxSize>>10)
	}
	return content, nil
}

// Variable is the secret as the value of a variable of the environment: without a
// newline at its end, which editors add.
func (s Secret) Variable(name string) (string, error) {
	if s.Folder {
		return "", fmt.Errorf("%s is a folder, which no variable can hold; name one of its files, or give the secret a target", s.Sources[0].Path)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(s.Files[0].Content), "\n"), "\r")
	switch {
	case strings.ContainsRune(value, 0):
		return "", fmt.Errorf("%s has a NUL byte, which no variable can hold; give the secret a target instead of env", s.Sources[0].Path)
	case len(name)+1+len(value) > maxVariable:
		return "", fmt.Errorf("%s has %d bytes, more than the kernel takes as a variable (%d); give the secret a target instead of env",
			s.Sources[0].Path, len(value), maxVariable-1-len(name))
	}
	return value, nil
}

// maxVariable is MAX_ARG_STRLEN of the kernel, without the NUL.
const maxVariable = 131071
