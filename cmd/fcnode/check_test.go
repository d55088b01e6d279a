package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/check"
)

// vm is a machine of fixed facts: a good one, or one with what goes wrong most.
type vm struct {
	check.Machine
	good bool
}

func (m vm) Release() (string, error)           { return "6.12.9-amd64", nil }
func (m vm) UID() int                           { return 0 }
func (m vm) Capabilities() (uint64, error)      { return ^uint64(0), nil }
func (m vm) Group(string) error                 { return nil }
func (m vm) CRIU(string) (string, error)        { return "criu 4.2.1", nil }
func (m vm) Mapped(string) error                { return nil }
func (m vm) ProjectQuotas(string) error         { return nil }
func (m vm) Mountable(string) ([]string, error) { return []string{"cpu", "io", "memory", "pids"}, nil }
func (m vm) NFTables() error                    { return nil }
func (m vm) AppArmor() (apparmor.Profiles, bool) {
	return apparmor.Profiles{Own: "fcnode-site-1"}, true
}
func (m vm) Firewall(string, []netip.Prefix) ([]netctl.FirewallChain, error) {
	return nil, nil
}
func (m vm) BPF() []bpf.Feature {
	return []bpf.Feature{{Name: "BTF", Required: true, Purpose: "CO-RE"}}
}
func (m vm) Cgroup() (cgroup.Host, error) { return cgroup.Host{Unified: true}, nil }

func (m vm) ReadFile(path string) ([]byte, error) {
	if path == "/proc/meminfo" {
		swap := 0
		if m.good {
			swap = 1 << 20
		}
		return fmt.Appendf(nil, "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapTotal: %d kB\n", swap), nil
	}
	if path == "/etc/resolv.conf" {
		return map[bool][]byte{true: []byte("nameserver 192.0.2.53\n"), false: []byte("nameserver 127.0.0.1\n")}[m.good], nil
	}
	return []byte("1\n"), nil
}

func (m vm) Executable(path string) error {
	if m.good {
		return nil
	}
	return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
}

func (m vm) FSType(path string) (int64, error) {
	if path == "/sys/fs/bpf" && m.good {
		return unix.BPF_FS_MAGIC, nil
	}
	return unix.EXT4_SUPER_MAGIC, nil
}

func (m vm) LinkKind(kind string) error {
	if kind == "dummy" {
		return errors.New("the kernel has no links of kind dummy")
	}
	return nil
}

func TestCheck(t *testing.T) {
	config := filepath.Join(t.TempDir(), "fcnode.yaml")
	if err := os.WriteFile(config, []byte("runner: /opt/fcnode-runner\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"good": exitOK, "bad": exitFailure} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t)
			c.machine = vm{good: want == exitOK}
			code, stdout, stderr := c.run(t, "check", "-c", config)
			if code != want || stderr != "" {
				t.Errorf("exit code %d, want %d; stderr %s", code, want, stderr)
			}
			golden(t, "check-"+name+".golden", stdout)
			code, stdout, _ = c.run(t, "check", "-c", config, "-o", "json")
			var report check.Report
			if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != want || report.OK != (want == exitOK) || len(report.Findings) < 15 {
				t.Errorf("as JSON: %d, %v, %s", code, err, stdout)
			}
		})
	}
}

func TestCheckBadConfiguration(t *testing.T) {
	c := newCLI(t)
	c.machine = vm{good: true}
	code, stdout, _ := c.run(t, "check", "-c", "/nowhere/fcnode.yaml")
	if code != exitFailure || !strings.Contains(stdout, "fail    configuration") || !strings.Contains(stdout, "ok      kernel") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
}

func TestCheckSite(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	code, stdout, stderr := c.run(t, "check", "shop")
	if code != exitFailure || stderr != "" {
		t.Errorf("a site whose spec asks for what cannot be had: code %d, %s", code, stderr)
	}
	for _, want := range []string{"frozen", "yes", "no memory controller", "no, and the spec asks for it", "node (17): it uses io_uring", "remedy: UV_USE_IO_URING=0", "node (18)", "no promise"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code, stdout, _ = c.run(t, "check", "blog"); code != exitOK || !strings.Contains(stdout, "Nothing of blog runs") {
		t.Errorf("a parked site: code %d\n%s", code, stdout)
	}
	if code, stdout, _ = c.run(t, "check", "-o", "json", "shop"); code != exitFailure || !json.Valid([]byte(stdout)) {
		t.Errorf("as JSON: code %d\n%s", code, stdout)
	}
	if code, _, _ = c.run(t, "check", "nobody"); code != exitNotFound {
		t.Errorf("a site that is not there: code %d, want %d", code, exitNotFound)
	}
}
