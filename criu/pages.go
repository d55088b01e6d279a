package criu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LazyFrom is the size of a memory image from which it is quicker to restore pages
// when they are touched, and the rest in the background.
const LazyFrom = 32 << 20

// Pages is a process that gives a restored tree its memory on demand, and ends
// when all of it is there.
type Pages struct {
	cmd   *exec.Cmd
	ready *os.File
}

// imagesFD is the folder of the checkpoint in the process.
const imagesFD = rpcFD + 1

// ServePages starts it for a checkpoint that is held (Hold): the process holds it too,
// and finds it wherever it is moved to. Session.Restore with the same folders and Lazy asks it
// for pages; wait for Ready before. The caller collects its child himself.
func (t *Tool) ServePages(held *os.File, work string, attr *syscall.SysProcAttr) (*Pages, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer w.Close() // the process has its own
	images := fmt.Sprintf("/proc/self/fd/%d/%s", imagesFD, ImagesDir)
	cmd := exec.Command(t.Path, "lazy-pages", "--images-dir", images, "--work-dir", work,
		"--status-fd", fmt.Sprint(rpcFD), "-v1", "--log-file", "pages.log")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.ExtraFiles = []*os.File{w, held}
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", t.Path, err), r.Close())
	}
	return &Pages{cmd: cmd, ready: r}, nil
}

// Pid is the number of the process.
func (p *Pages) Pid() int { return p.cmd.Process.Pid }

// Ready waits until the process can be asked for pages.
func (p *Pages) Ready(ctx context.Context) error {
	defer p.ready.Close() // read once
	stop := context.AfterFunc(ctx, func() { _ = p.ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.ReadFull(p.ready, make([]byte, 1)); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for criu lazy-pages: %w", context.Cause(ctx))
		}
		return fmt.Errorf("%w: criu lazy-pages ended before it could serve memory", ErrRestore)
	}
	return nil
}

// Kill ends the process. The memory that has not come is missed from then on:
// see Hold.
func (p *Pages) Kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Read is how many bytes the process has read so far. From the end of the
// restore on it copies what nobody has asked for yet, one piece after the other,
// so that the number grows as long as the process works.
func (p *Pages) Read() (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("reading what the server of memory has read: %w", err)
	}
	var n uint64
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		return 0, fmt.Errorf("reading what the server of memory has read: %w", err)
	}
	return n, nil
}

// Hold keeps the memory that is not there yet from being taken for zeroes, should the process be
// killed: as long as the result is not closed, who touches such memory waits.
//
// It is for trees of one process (Manifest.Lazy). Of several, the process drops
// the one whose memory is complete by closing its userfaultfd, and counts on the
// end of the descriptor's registration with its epoll. A second reference keeps
// that registered: the next event would find what was freed, and the process
// spins or dies while the others wait for their memory.
func (p *Pages) Hold() ([]*os.File, error) {
	pidfd, err := unix.PidfdOpen(p.Pid(), 0)
	if err != nil {
		return nil, fmt.Errorf("holding the memory of a restored tree: %w", err)
	}
	defer unix.Close(pidfd) // used below
	dir := fmt.Sprintf("/proc/%d/fd", p.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("holding the memory of a restored tree: %w", err)
	}
	var held []*os.File
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || !strings.Contains(target, "userfaultfd") {
			continue
		}
		var n int
		if _, err := fmt.Sscan(e.Name(), &n); err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			closeAll(held)
			return nil, fmt.Errorf("holding the memory of a restored tree: %w", err)
		}
		held = append(held, os.NewFile(uintptr(fd), "userfaultfd"))
	}
	return held, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}
