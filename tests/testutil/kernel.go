package testutil

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Version is a kernel's version without its patch level.
type Version struct{ Major, Minor int }

// V makes a Version.
func V(major, minor int) Version { return Version{major, minor} }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Less tells whether v is older than o.
func (v Version) Less(o Version) bool {
	return v.Major < o.Major || v.Major == o.Major && v.Minor < o.Minor
}

// RunningKernel is the version of the kernel this runs on.
func RunningKernel() (Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Version{}, fmt.Errorf("uname: %w", err)
	}
	return ParseVersion(unix.ByteSliceToString(u.Release[:]))
}

// ParseVersion reads the first two numbers of a kernel release such as "6.12.41+deb13-cloud-amd64".
func ParseVersion(release string) (Version, error) {
	var v Version
	if _, err := fmt.Sscanf(release, "%d.%d", &v.Major, &v.Minor); err != nil {
		return Version{}, fmt.Errorf("kernel release %q does not start with two numbers: %w", release, err)
	}
	return v, nil
}

// kernelConfig reads the configuration of the running kernel, from itself or from
// where Debian installs it; nil when neither is there.
var kernelConfig = sync.OnceValue(func() map[string]string {
	var in io.Reader
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if in, err = gzip.NewReader(f); err != nil {
			return nil
		}
	} else {
		var u unix.Utsname
		if unix.Uname(&u) != nil {
			return nil
		}
		f, err := os.Open("/boot/config-" + unix.ByteSliceToString(u.Release[:]))
		if err != nil {
			return nil
		}
		defer f.Close()
		in = f
	}
	options := map[string]string{}
	for s := bufio.NewScanner(in); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), "="); ok {
			options[name] = value
		}
	}
	return options
})

// withoutConfig is a Feature's Lacks for kernels built without an option. A kernel that does not tell its
// configuration is not excused.
func withoutConfig(names ...string) func() string {
	return func() string {
		config := kernelConfig()
		if config == nil {
			return ""
		}
		for _, name := range names {
			if config[name] == "" {
				return "the kernel option " + name
			}
		}
		return ""
	}
}
