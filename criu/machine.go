package criu

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Machine is what an image depends on of the machine it was made on.
type Machine struct {
	Kernel string   `json:"kernel"` // its release
	Boot   string   `json:"boot"`   // which boot: clocks of processes count from there
	Arch   string   `json:"arch"`
	CPU    []string `json:"cpu"` // its features, sorted: programs have chosen their code by them
	CRIU   string   `json:"criu"`
}

// ThisMachine describes the running one.
func ThisMachine(t *Tool) (Machine, error) {
	release, err := kernelRelease()
	if err != nil {
		return Machine{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Machine{}, fmt.Errorf("asking which boot this is: %w", err)
	}
	cpu, err := cpuFeatures()
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		Kernel: release, Boot: strings.TrimSpace(string(boot)), Arch: runtime.GOARCH, CPU: cpu, CRIU: t.Version.String(),
	}, nil
}

// fits reports why an image of m cannot be restored on now.
func (m Machine) fits(now Machine) error {
	for _, c := range []struct{ what, has, wants string }{
		{"kernel", m.Kernel, now.Kernel},
		{"processor architecture", m.Arch, now.Arch},
		{"version of CRIU", m.CRIU, now.CRIU},
	} {
		if c.has != c.wants {
			return unusable("it was made with another %s: %s, and now it is %s", c.what, c.has, c.wants)
		}
	}
	if m.Boot != now.Boot {
		return unusable("the machine was started anew since it was made: the clocks of its processes would go back")
	}
	for _, f := range m.CPU {
		if _, found := slices.BinarySearch(now.CPU, f); !found {
			return unusable("it was made on a processor with %s, which this one has not", f)
		}
	}
	return nil
}

// cpuFeatures are those of the first processor, sorted.
func cpuFeatures() ([]string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("asking for the processor's features: %w", err)
	}
	defer f.Close() // read only
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		name, value, _ := strings.Cut(s.Text(), ":")
		switch strings.TrimSpace(name) {
		case "flags", "Features": // of x86, of arm64
			flags := strings.Fields(value)
			slices.Sort(flags)
			return slices.Compact(flags), nil
		}
	}
	return nil, s.Err() // none are named
}
