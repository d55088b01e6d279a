package testutil

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// snapshot is what of the kernel's a test binary holds at one moment: object → how
// often. Names are stable, so that two snapshots can be compared.
type snapshot map[string]int

func takeSnapshot() (snapshot, error) {
	s := snapshot{}
	for _, take := range []func() error{s.addFDs, s.addMounts, s.addLinks, s.addPins} {
		if err := take(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// leaks tells what is there now and was not in s. What goes away within d does not count.
func (s snapshot) leaks(d time.Duration) ([]string, error) {
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(d); ; time.Sleep(pollInterval) {
		now, err := takeSnapshot()
		if err != nil {
			return nil, err
		}
		if found := s.newIn(now); len(found) == 0 || time.Now().After(deadline) {
			return found, nil
		}
	}
}

// newIn lists what now has more of than s, sorted.
func (s snapshot) newIn(now snapshot) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n := now[name] - s[name]; n > 0 {
			found = append(found, fmt.Sprintf("%s (%d more than before the tests)", name, n))
		}
	}
	return found
}

func (s snapshot) addFDs() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("listing file descriptors: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("listing file descriptors: %w", err)
	}
	for _, fd := range names {
		target, err := os.Readlink("/proc/self/fd/" + fd)
		if err != nil || runtimeFD(target) || strings.HasSuffix(target, "/fd") {
			continue // closed meanwhile, or not a test's
		}
		// Inode numbers of sockets and pipes tell nothing and differ in each run.
		kind, _, _ := strings.Cut(target, ":[")
		s["file descriptor of "+kind]++
	}
	return nil
}

// runtimeFD tells descriptors that the Go runtime and the testing package open when
// first needed and never close.
func runtimeFD(target string) bool {
	switch target {
	case "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "/dev/null", "/dev/urandom":
		return true
	}
	return strings.Contains(target, "testlog.txt") || strings.HasPrefix(target, "/sys/kernel/mm/transparent_hugepage")
}

func (s snapshot) addMounts() error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	for line := range strings.Lines(string(info)) {
		// mount id, parent id, major:minor, root, mount point …
		if fields := strings.Fields(line); len(fields) > 4 {
			s["mount on "+fields[4]]++
		}
	}
	return nil
}

func (s snapshot) addLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	for _, l := range links {
		s[fmt.Sprintf("link %s (%s)", l.Attrs().Name, l.Type())]++
	}
	return nil
}

func (s snapshot) addPins() error {
	err := filepath.WalkDir("/sys/fs/bpf", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Type().IsRegular() {
			s["pin "+path]++
		}
		return nil // a pin may go under the walk
	})
	if err != nil {
		return fmt.Errorf("listing pins: %w", err)
	}
	return nil
}
