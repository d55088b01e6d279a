package cgroupfd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kill kills every process in a cgroup and below it, at once: none escapes by
// forking meanwhile. Use it only where nothing is born into the cgroup
// afterwards: some kernels kill what CLONE_INTO_CGROUP puts there later.
func Kill(path string) error {
	err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
	if err == nil || gone(err) {
		return nil
	}
	return fmt.Errorf("kill the processes of cgroup %s: %w", path, err)
}

// End kills every process in a cgroup, waits for their end and removes the
// cgroup. One that is gone is fine, and so is another process that does the
// same.
func End(path string, within time.Duration) error {
	if err := Kill(path); err != nil {
		return err
	}
	if err := waitEmpty(path, time.Now().Add(within)); err != nil {
		return fmt.Errorf("wait for the end of the processes of cgroup %s: %w", path, err)
	}
	if err := unix.Rmdir(path); err != nil && !gone(err) {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return nil
}

// EndBelow ends all cgroups in a cgroup.
func EndBelow(path string, within time.Duration) error {
	names, err := Below(path)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, End(filepath.Join(path, name), within))
	}
	return errors.Join(errs...)
}

// Below lists the cgroups in a cgroup; none where it is gone.
func Below(path string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil && st.Nlink == 2 {
		return nil, nil // spares the listing of all files: a link for each folder, and two
	}
	entries, err := os.ReadDir(path)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("list cgroup %s: %w", path, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// waitEmpty waits until no process is left. The kernel makes cgroup.events
// readable anew with each change, without any of the scarce inotify instances.
func waitEmpty(path string, deadline time.Time) error {
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		return unlessGone(err)
	}
	defer events.Close() // read only
	buf := make([]byte, 256)
	for {
		n, err := events.ReadAt(buf, 0)
		if n == 0 {
			return unlessGone(err)
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, int(left))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

func unlessGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}
