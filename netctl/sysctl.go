package netctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A sysctl is a setting of the calling thread's network namespace; its name is
// the path below /proc/sys.
type sysctl struct{ name, value string }

const sysctlRoot = "/proc/sys"

func (s sysctl) write() error {
	// No O_TRUNC, no O_CREAT: the kernel ignores the one and the other could
	// only hide a wrong name.
	fd, err := unix.Open(filepath.Join(sysctlRoot, s.name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", s.name, s.value, err)
	}
	defer unix.Close(fd) // a sysctl takes effect with the write
	if _, err := unix.Write(fd, []byte(s.value)); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", s.name, s.value, err)
	}
	return nil
}

// writeIfThere leaves out what this kernel does not have.
func (s sysctl) writeIfThere() error {
	if err := s.write(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func haveSysctl(name string) bool {
	_, err := os.Stat(filepath.Join(sysctlRoot, name))
	return err == nil
}

func conf4(device, key string) string { return "net/ipv4/conf/" + device + "/" + key }
func conf6(device, key string) string { return "net/ipv6/conf/" + device + "/" + key }

// haveIPv6 tells of the calling thread's namespace.
func haveIPv6() bool { return haveSysctl("net/ipv6/conf/all") }
