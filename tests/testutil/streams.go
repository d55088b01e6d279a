package testutil

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// StartJoined starts cmd with pipes as its standard streams, and gives their other ends in
// the order of the streams; or, with rows, with a terminal, and gives its master. The
// caller closes them.
func StartJoined(cmd *exec.Cmd, rows, cols uint16) (files []*os.File, err error) {
	theirs := make([]*os.File, 3)
	if rows > 0 {
		master, slave, err := openTerminal(rows, cols)
		if err != nil {
			return nil, err
		}
		files, theirs = []*os.File{master}, []*os.File{slave, slave, slave}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	} else {
		for i := range theirs {
			r, w, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			theirs[i], files = w, append(files, r)
		}
		files[0], theirs[0] = theirs[0], files[0]
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err = cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	return files, err
}

func openTerminal(rows, cols uint16) (master, slave *os.File, err error) {
	con, path, err := console.NewPty()
	if err != nil {
		return nil, nil, err
	}
	defer con.Close()
	if err := con.Resize(console.WinSize{Height: rows, Width: cols}); err != nil {
		return nil, nil, err
	}
	fd, err := unix.FcntlInt(con.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	slave, err = os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		err = errors.Join(err, master.Close())
	}
	return master, slave, err
}
