package folders

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/file"
)

// ErrSecondDaemon means that another daemon has the run directory, the device
// or the pins of the configuration.
var ErrSecondDaemon = errors.New("another fcnode is running here")

// Locks make sure that nobody else works on what a daemon has: two daemons on
// one data path would each take the other's sites out of it. They go with the
// process.
type Locks []io.Closer

// Release lets go of all of them.
func (l Locks) Release() {
	for _, c := range l {
		_ = c.Close() // closing is what lets go
	}
}

// A child that a killed daemon was just starting has the daemon's descriptors
// until its exec is through, and then closes them one by one, of which packet
// sockets take their time. Nothing announces the end of that.
const (
	lockPatience = 2 * time.Second
	lockInterval = 20 * time.Millisecond
)

// Lock takes all of them, or none. The folder of the pins is made if it
// is to be, else it is only locked if it is there.
func Lock(ctx context.Context, cfg config.Config, makePins bool) (Locks, error) {
	retry := time.NewTicker(lockInterval)
	defer retry.Stop()
	for end := time.Now().Add(lockPatience); ; {
		l, err := tryLocks(cfg, makePins)
		if !errors.Is(err, ErrSecondDaemon) || time.Now().After(end) {
			return l, err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func tryLocks(cfg config.Config, makePins bool) (Locks, error) {
	var l Locks
	for _, take := range []func() (io.Closer, error){
		func() (io.Closer, error) { return lockRunDir(cfg.RunDir) },
		func() (io.Closer, error) { return lockDevice(cfg.Device) },
		func() (io.Closer, error) { return lockPins(cfg.PinDir, makePins) },
	} {
		c, err := take()
		if err != nil {
			l.Release()
			return nil, err
		}
		if c != nil {
			l = append(l, c)
		}
	}
	return l, nil
}

func lockRunDir(runDir string) (io.Closer, error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	path := filepath.Join(runDir, "fcnode.lock")
	if errors.Is(file.Check(path, unbounded), file.ErrDamaged) { // no daemon can have locked it
		if _, err := file.Quarantine(path, filepath.Join(runDir, "quarantine")); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's lock: %w", err)
	}
	return lockFile(f)
}

// lockDevice takes a name that only one process of the network namespace can
// have.
func lockDevice(device string) (io.Closer, error) {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@fcnode device " + device, Net: "unixgram"})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("device %s is in use: %w (a second node needs a network namespace, or a device, prefixes, pinDir, cgroupRoot and directories of its own)",
			device, ErrSecondDaemon)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the device %s: %w", device, err)
	}
	return c, nil
}

func lockPins(pinDir string, create bool) (io.Closer, error) {
	if create {
		if err := os.MkdirAll(pinDir, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of the pins: %w", err)
		}
	}
	f, err := os.Open(pinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing to lock
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder of the pins: %w", err)
	}
	return lockFile(f)
}

func lockFile(f *os.File) (io.Closer, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w", ErrSecondDaemon)
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
}
