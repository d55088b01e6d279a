package container

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/runtime/container/wire"
)

// initLayers is where the layers with the first process of Spec.Init are. Each is a
// folder with that one file, a copy of the runner; its name says which copy: a checkpoint names
// the file, and finds none where it was made with another.
type initLayers struct {
	dir string
	mu  *sync.Mutex // one looks for a layer, makes it, and sweeps at a time
}

// keptInits is how many are kept: of this runner, and of those before an upgrade, with which
// containers may still run and checkpoints wait.
const keptInits = 3

// layer gives the layer, and the name of the file in it as the container sees it. It
// makes them if need be.
func (l initLayers) layer(p *programs) (dir, name string, err error) {
	if l.dir == "" {
		return "", "", errors.New("no folder for the first process of containers is configured")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.mu.RLock()
	defer p.mu.RUnlock()
	sum, err := p.now.sum()
	if err != nil {
		return "", "", err
	}
	name = wire.InitName + sum
	dir = filepath.Join(l.dir, sum)
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return dir, name, nil
	}
	if err := l.write(dir, name, p.now.runner); err != nil {
		return "", "", fmt.Errorf("make the first process of containers (init: true): %w", err)
	}
	return dir, name, l.sweep(dir)
}

// write makes the folder aside and puts it into its place as a whole.
func (l initLayers) write(dir, name string, runner *os.File) (err error) {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	aside, err := os.MkdirTemp(l.dir, "new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	f, err := os.OpenFile(filepath.Join(aside, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	st, err := runner.Stat()
	if err == nil {
		_, err = io.Copy(f, io.NewSectionReader(runner, 0, st.Size()))
	}
	// On disk before its name is: half a program would be found after a power cut.
	if err := errors.Join(err, f.Sync(), f.Close(), os.Chmod(aside, 0o755)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // without the file
		return err
	}
	return os.Rename(aside, dir)
}

// sweep removes all but the newest.
func (l initLayers) sweep(newest string) error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	type layer struct {
		path string
		made int64
	}
	var others []layer
	for _, e := range entries {
		path := filepath.Join(l.dir, e.Name())
		if st, err := e.Info(); err == nil && path != newest {
			others = append(others, layer{path, st.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(others, func(a, b layer) int { return cmp.Compare(b.made, a.made) })
	for i := keptInits - 1; i < len(others); i++ {
		err = errors.Join(err, os.RemoveAll(others[i].path))
	}
	return err
}

// sumOf identifies a program.
func sumOf(program *os.File) (string, error) {
	st, err := program.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(program, 0, st.Size())); err != nil {
		return "", fmt.Errorf("read the runner: %w", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// withInit puts the first process in front of what the container executes.
func (m *Manager) withInit(spec Spec) (Spec, error) {
	if !spec.Init {
		return spec, nil
	}
	dir, name, err := m.inits.layer(m.programs)
	if err != nil {
		return spec, err
	}
	spec.Lower = append([]string{dir}, spec.Lower...)
	spec.initPath = name
	return spec, nil
}
