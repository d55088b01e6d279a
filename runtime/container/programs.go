package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/fcnode/fcnode/runtime/container/monitor"
	"github.com/fcnode/fcnode/runtime/container/wire"
)

// programs are the runner, the shim and the monitor, as they were when this daemon began to
// use them. A package that is upgraded replaces the files under a daemon that runs:
// until that is restarted it goes on with those that speak its version (wire.Version).
type programs struct {
	runnerPath, shimPath, monitorPath string

	mu         sync.RWMutex // held for reading while one of them is started
	generation int
	now        openedPrograms
}

// openedPrograms are they, and what was found in their places when they were opened.
type openedPrograms struct {
	runner  *os.File // a sealed copy
	shim    *os.File
	monitor *os.File
	found   [3]os.FileInfo
	sum     func() (string, error) // of the runner
	fits    func() error           // whether the monitor is of this version; asked by running it, once
}

func openPrograms(runnerPath, shimPath, monitorPath string) (*programs, error) {
	p := &programs{runnerPath: runnerPath, shimPath: shimPath, monitorPath: monitorPath, generation: 1}
	var err error
	p.now, err = p.open()
	return p, err
}

// open opens what is there now.
func (p *programs) open() (o openedPrograms, err error) {
	if o.found, err = p.look(); err != nil {
		return o, err
	}
	o.shim, err = os.Open(p.shimPath)
	if err != nil {
		return o, fmt.Errorf("opening what starts monitors: %w; is fcnode installed completely?", err)
	}
	o.monitor, err = os.Open(p.monitorPath)
	if err != nil {
		return o, errors.Join(fmt.Errorf("opening the monitor: %w; is fcnode installed completely?", err), o.shim.Close())
	}
	o.runner, err = sealed(p.runnerPath)
	if err != nil {
		return o, errors.Join(err, o.shim.Close(), o.monitor.Close())
	}
	opened := o.monitor
	o.fits = sync.OnceValue(func() error { return monitor.Fits(opened) })
	o.sum = sync.OnceValues(func() (string, error) { return sumOf(o.runner) })
	return o, nil
}

func (o openedPrograms) close() error {
	return errors.Join(o.runner.Close(), o.shim.Close(), o.monitor.Close())
}

func (p *programs) look() (found [3]os.FileInfo, err error) {
	for i, path := range []string{p.runnerPath, p.shimPath, p.monitorPath} {
		if found[i], err = os.Stat(path); err != nil {
			return found, fmt.Errorf("looking at a program: %w; is fcnode installed completely?", err)
		}
	}
	return found, nil
}

// renew is called when those of a generation turned out to be of another version:
// whoever installs may have been half way when this daemon started. It says whether there
// are others now.
func (p *programs) renew(generation int) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generation != generation {
		return true, nil // somebody else has been here
	}
	found, err := p.look()
	if err != nil {
		return false, err
	}
	same := true
	for i := range found {
		same = same && os.SameFile(found[i], p.now.found[i]) && found[i].ModTime().Equal(p.now.found[i].ModTime())
	}
	if same {
		return false, nil
	}
	others, err := p.open()
	if err != nil {
		return false, err
	}
	old := p.now
	p.now = others
	p.generation++
	return true, old.close()
}

// start starts the command that make makes, while no other programs take their place.
func (p *programs) start(make func(now openedPrograms) *exec.Cmd) (cmd *exec.Cmd, generation int, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	cmd = make(p.now)
	return cmd, p.generation, cmd.Start()
}

// fit is a wire.VersionError where the monitor is of another version. What starts monitors
// says so itself, as the runner does.
func (p *programs) fit() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.now.fits()
}

// current is the generation of the programs that are started now.
func (p *programs) current() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.generation
}

func (p *programs) close() error { return p.now.close() }

// opened is the path by which a child can execute an open file: by this process'
// number, as the descriptors of the child are others.
func opened(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// versionEnv tells a shim which version it is to speak.
func versionEnv() []string { return []string{wire.VersionEnv + "=" + strconv.Itoa(wire.Version)} }

// otherPrograms says whether what failed is to be tried again: the programs were of another
// version, and there are others now. What waits of the old ones is thrown away.
func (m *Manager) otherPrograms(generation int, err error) bool {
	var version *wire.VersionError
	if !errors.As(err, &version) {
		return false
	}
	others, renewErr := m.programs.renew(generation)
	if renewErr != nil {
		m.log.Error("the programs are of another version, and none can be had in their place", "error", errors.Join(err, renewErr))
	}
	if others {
		m.log.Warn("the programs that start containers were of another version; using those that are installed now", "error", err)
		m.pool.flush()
		m.flushRestores()
		m.places.flush()
	}
	return others
}
