//go:build linux

package systemd

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

const fcnode = "/usr/local/bin/fcnode"

// run runs a program and returns its output; the test fails when the program does.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\nthe unit's log:\n%s", name, strings.Join(args, " "), err, out, unitLog())
	}
	return strings.TrimSpace(string(out))
}

func unitLog() string {
	out, _ := exec.Command("journalctl", "--no-pager", "-u", "fcnode", "-n", "60").CombinedOutput() // only for messages
	return string(out)
}

// property is one of the unit's, as systemd sees it.
func property(t *testing.T, name string) string {
	t.Helper()
	return run(t, "systemctl", "show", "--value", "--property="+name, "fcnode.service")
}

// install installs what was built, as `make install` does, and removes it after the test.
func install(t *testing.T) {
	t.Helper()
	script := filepath.Join("..", "..", "packaging", "install.sh")
	bin := filepath.Dir(testutil.Program(t, "fcnode"))
	run(t, "bash", script, "install", "", "/usr/local", bin)
	t.Cleanup(func() {
		out, err := exec.Command("bash", script, "uninstall", "", "/usr/local", bin).CombinedOutput()
		if err != nil {
			t.Errorf("uninstalling: %v\n%s", err, out)
		}
		for _, path := range []string{fcnode, "/usr/local/lib/fcnode/fcnode", "/usr/local/lib/fcnode/fcnode-shim", "/sys/fs/bpf/fcnode", "/sys/class/net/fc0"} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s is still there after the uninstallation", path)
			}
		}
	})
}

// deploy applies a site whose image is a folder with the demo site's program, and returns its address.
func deploy(t *testing.T) string {
	t.Helper()
	image := t.TempDir()
	program, err := os.ReadFile(testutil.Program(t, "fcnode-demo-site"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "site"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(t.TempDir(), "site.yaml")
	text := fmt.Sprintf("name: one\nimage: dir:%s\ncommand: [/site]\nports: [80/tcp]\nidle: never\nlimits: {memory: 64MiB, pids: 32}\n", image)
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, fcnode, "apply", "-f", spec)
	var site struct {
		Addresses []string `json:"addresses"`
	}
	got := run(t, fcnode, "get", "one", "-o", "json")
	if err := json.Unmarshal([]byte(got), &site); err != nil || len(site.Addresses) == 0 {
		t.Fatalf("fcnode get gave no address (%v):\n%s", err, got)
	}
	return site.Addresses[0]
}

// ask sends a request over a connection of its own.
func ask(t *testing.T, address string) {
	t.Helper()
	client := http.Client{Timeout: testutil.Timeout(20 * time.Second), Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + net.JoinHostPort(address, "80") + "/")
	if err != nil {
		t.Fatalf("%v\nthe unit's log:\n%s", err, unitLog())
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the site answered %s (%v): %s", response.Status, err, body)
	}
}

// TestRootUnit goes through the life of the unit: it starts and says so, a site wakes, the daemon is killed and comes
// back by itself while the site runs on, it stops without the site, and an uninstallation takes all away.
func TestRootUnit(t *testing.T) {
	testutil.OwnMachine(t)
	// Every real machine has an address, and connections to sites come from it; the rig's has no network card. One of
	// Vagrant's gets a second.
	run(t, "ip", "link", "add", "host0", "type", "dummy")
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "delete", "host0").CombinedOutput(); err != nil {
			t.Errorf("removing the second address: %v\n%s", err, out)
		}
	})
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "host0")
	run(t, "ip", "link", "set", "host0", "up")
	install(t)

	run(t, "systemctl", "start", "fcnode") // returns when the daemon has said that it is ready
	if got := property(t, "ActiveState") + "/" + property(t, "SubState"); got != "active/running" {
		t.Fatalf("the unit is %s\n%s", got, unitLog())
	}
	if owner := run(t, "stat", "-c", "%U:%G %a", "/run/fcnode/fcnode.sock"); owner != "root:fcnode 660" {
		t.Errorf("the socket belongs to %s, want root:fcnode 660", owner)
	}
	address := deploy(t)
	ask(t, address)

	daemon := property(t, "MainPID")
	run(t, "kill", "-KILL", daemon)
	ask(t, address) // nobody is there to wake it: the replica must still be running
	testutil.WaitFor(t, 30*time.Second, "the daemon to be started again", func() error {
		if pid, state := property(t, "MainPID"), property(t, "SubState"); pid == daemon || state != "running" {
			return fmt.Errorf("the unit is %s with the main process %s", state, pid)
		}
		return nil
	})
	ask(t, address)
	if starts := run(t, fcnode, "list"); !strings.Contains(starts, "running") {
		t.Errorf("the new daemon does not know that the site runs:\n%s", starts)
	}

	run(t, "systemctl", "stop", "fcnode")
	if got := property(t, "Result"); got != "success" {
		t.Errorf("stopping the unit ended with %q\n%s", got, unitLog())
	}
	ask(t, address) // the data path and the replica outlive the daemon
}
