package systemd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
		for _, path := range []string{fcnode, "/usr/local/lib/fcnode/fcnode", "/usr/local/lib/fcnode/fcnode-shim", "/sys/fs/bpf/fcnode", "/sys/class/net/fc0", "/sys/fs/cgroup/fcnode.slice/fcnode-sites.service", "/sys/fs/cgroup/fcnode"} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s is still there after the uninstallation", path)
			}
		}
	})
}

// deploy applies a site whose image is a folder with the demo site's program, and returns its address.
func deploy(t *testing.T) string {
	t.Helper()
	image, err := os.MkdirTemp("/srv", "image") // below one of the default volumeRoots
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(image); err != nil {
			t.Error(err)
		}
	})
	program, err := os.ReadFile(testutil.Program(t, "fcnode-demo-site"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "site"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(t.TempDir(), "site.yaml")
	text := fmt.Sprintf("name: one\ndomains: [one.example]\nimage: dir:%s\ncommand: [/site]\nports: [80/tcp]\nidle: never\nlimits: {memory: 64MiB, pids: 32}\n", image)
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

// address gives the machine one, as every real machine has.
func address(t *testing.T) {
	t.Helper()
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
}

// process is the site's, as the daemon knows it, with its cgroup.
func process(t *testing.T) (pid int, cgroup string) {
	t.Helper()
	var site struct {
		Replicas []struct {
			PID int `json:"pid"`
		} `json:"replicas"`
	}
	// It listens, and answers, a little before the daemon is told which it is.
	testutil.WaitFor(t, 30*time.Second, "the site's process", func() error {
		got := run(t, fcnode, "get", "one", "-o", "json")
		if err := json.Unmarshal([]byte(got), &site); err != nil || len(site.Replicas) != 1 || site.Replicas[0].PID == 0 {
			return fmt.Errorf("fcnode get gave no process (%w):\n%s", err, got)
		}
		return nil
	})
	return site.Replicas[0].PID, cgroupOf(t, site.Replicas[0].PID)
}

func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, path, ok := strings.Cut("\n"+string(b), "\n0::") // of cgroup v2; before it are those of v1, if there are any
	if !ok {
		t.Fatalf("process %d is in no cgroup v2: %s", pid, b)
	}
	path, _, _ = strings.Cut(path, "\n")
	return path
}

// alone checks that the daemon's unit has no process but the daemon: what outlives it is elsewhere.
func alone(t *testing.T) {
	t.Helper()
	testutil.WaitFor(t, 30*time.Second, "the daemon to be alone in its unit", func() error { // it may be trying CRIU
		b, err := os.ReadFile("/sys/fs/cgroup/system.slice/fcnode.service/cgroup.procs")
		if daemon := property(t, "MainPID"); err != nil || strings.TrimSpace(string(b)) != daemon {
			return fmt.Errorf("with process %s there are %q (%w)", daemon, strings.Fields(string(b)), err)
		}
		return nil
	})
	if log := unitLog(); strings.Contains(log, "left-over") {
		t.Errorf("systemd found processes left over:\n%s", log)
	}
}

// visits keeps asking until stop is called, which gives how many were answered and the first failure.
func visits(to string) (stop func() (int, error)) {
	client := http.Client{Timeout: testutil.Timeout(20 * time.Second), Transport: &http.Transport{DisableKeepAlives: true}}
	end, done := make(chan struct{}), make(chan error, 1)
	count := 0
	go func() {
		for {
			select {
			case <-end:
				done <- nil
				return
			case <-time.After(20 * time.Millisecond): // what is upgraded shall have the processor, too
			}
			response, err := client.Get("http://" + net.JoinHostPort(to, "80") + "/")
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close() // read
			}
			if err != nil {
				done <- err
				return
			}
			count++
		}
	}()
	return func() (int, error) {
		close(end)
		err := <-done
		return count, err
	}
}

// upgrade installs once more, as a newer package does, and restarts the daemon.
func upgrade(t *testing.T) {
	t.Helper()
	run(t, "bash", filepath.Join("..", "..", "packaging", "install.sh"), "install", "", "/usr/local", filepath.Dir(testutil.Program(t, "fcnode")))
	run(t, "systemctl", "restart", "fcnode")
}

// TestRootUpgrade: programs and units are installed anew and the daemon is restarted, under visitors: none of them
// notices, and the site's process stays, in the unit of the sites. Stopping that unit ends the sites and the daemon.
func TestRootUpgrade(t *testing.T) {
	testutil.OwnMachine(t)
	address(t)
	install(t)
	run(t, "systemctl", "start", "fcnode")
	to := deploy(t)
	ask(t, to)
	pid, cgroup := process(t)
	if !strings.HasPrefix(cgroup, "/fcnode.slice/fcnode-sites.service/r-") {
		t.Errorf("the site is in cgroup %s", cgroup)
	}
	alone(t)
	has := strings.Fields(run(t, "cat", "/sys/fs/cgroup/cgroup.controllers"))
	passed := strings.Fields(run(t, "cat", "/sys/fs/cgroup/fcnode.slice/fcnode-sites.service/cgroup.subtree_control"))
	for _, controller := range []string{"cpu", "memory", "pids", "io", "cpuset"} {
		if slices.Contains(has, controller) && !slices.Contains(passed, controller) {
			t.Errorf("sites cannot be limited by %s: the machine has %q, they have %q", controller, has, passed)
		}
	}
	stop := visits(to)
	upgrade(t)
	run(t, "systemctl", "daemon-reload")
	if now, _ := process(t); now != pid {
		t.Errorf("the site's process was %d and is %d", pid, now)
	}
	if count, err := stop(); err != nil || count == 0 {
		t.Errorf("%d visitors were answered, then: %v", count, err)
	}
	alone(t)

	run(t, "systemctl", "stop", "fcnode-sites")
	testutil.WaitFor(t, 30*time.Second, "the daemon to end with the unit of the sites", func() error {
		if state := property(t, "ActiveState"); state != "inactive" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	testutil.WaitExit(t, 30*time.Second, pid)
	run(t, "systemctl", "start", "fcnode") // both
	ask(t, to)
}

// TestRootUpgradeFromOwnCgroup: sites that an older fcnode has started below /fcnode stay there, and are adopted.
func TestRootUpgradeFromOwnCgroup(t *testing.T) {
	testutil.OwnMachine(t)
	address(t)
	install(t)
	const config = "/etc/fcnode/fcnode.yaml"
	installed, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, []byte("cgroupRoot: /fcnode\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(config, installed, 0o644); err != nil {
			t.Error(err)
		}
	})
	run(t, "systemctl", "start", "fcnode")
	to := deploy(t)
	ask(t, to)
	pid, cgroup := process(t)
	if !strings.HasPrefix(cgroup, "/fcnode/r-") {
		t.Fatalf("the site is in cgroup %s", cgroup)
	}
	if err := os.WriteFile(config, installed, 0o644); err != nil {
		t.Fatal(err)
	}
	stop := visits(to)
	upgrade(t)
	if now, _ := process(t); now != pid {
		t.Errorf("the site's process was %d and is %d", pid, now)
	}
	if count, err := stop(); err != nil || count == 0 {
		t.Errorf("%d visitors were answered, then: %v", count, err)
	}
	run(t, fcnode, "delete", "one")
	run(t, "systemctl", "stop", "fcnode")
	run(t, fcnode, "teardown")
	run(t, "systemctl", "start", "fcnode")
	to = deploy(t)
	ask(t, to)
	if _, cgroup := process(t); !strings.HasPrefix(cgroup, "/fcnode.slice/fcnode-sites.service/r-") {
		t.Errorf("after a teardown the site is in cgroup %s", cgroup)
	}
}

// TestRootUnit goes through the life of the unit: it starts and says so, a site wakes, the daemon is killed and comes
// back by itself while the site runs on, it stops without the site, and an uninstallation takes all away.
func TestRootUnit(t *testing.T) {
	testutil.OwnMachine(t)
	address(t)
	install(t)

	run(t, "systemctl", "start", "fcnode") // returns when the daemon has said that it is ready
	if limit, watchdog := property(t, "StartLimitIntervalUSec"), property(t, "WatchdogUSec"); limit != "0" || watchdog != "1min" {
		t.Errorf("restarts are limited within %s, and the watchdog's time is %s", limit, watchdog)
	}
	if got := property(t, "ActiveState") + "/" + property(t, "SubState"); got != "active/running" {
		t.Fatalf("the unit is %s\n%s", got, unitLog())
	}
	if owner := run(t, "stat", "-c", "%U:%G %a", "/run/fcnode/fcnode.sock"); owner != "root:fcnode 660" {
		t.Errorf("the socket belongs to %s, want root:fcnode 660", owner)
	}
	to := deploy(t)
	ask(t, to)

	daemon := property(t, "MainPID")
	run(t, "kill", "-KILL", daemon)
	ask(t, to) // nobody is there to wake it: the replica must still be running
	testutil.WaitFor(t, 30*time.Second, "the daemon to be started again", func() error {
		if pid, state := property(t, "MainPID"), property(t, "SubState"); pid == daemon || state != "running" {
			return fmt.Errorf("the unit is %s with the main process %s", state, pid)
		}
		return nil
	})
	ask(t, to)
	if starts := run(t, fcnode, "list"); !strings.Contains(starts, "running") {
		t.Errorf("the new daemon does not know that the site runs:\n%s", starts)
	}

	gateway(t)

	run(t, "systemctl", "stop", "fcnode")
	if got := property(t, "Result"); got != "success" {
		t.Errorf("stopping the unit ended with %q\n%s", got, unitLog())
	}
	ask(t, to) // the data path and the replica outlive the daemon
	run(t, "systemctl", "restart", "fcnode-gateway")
	askGateway(t)
}

// askGateway visits the site by its name, on the machine's own address, until it is served.
func askGateway(t *testing.T) {
	t.Helper()
	testutil.WaitFor(t, 30*time.Second, "the gateway to serve the site", func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.0.2.1/", nil)
		if err != nil {
			return err
		}
		request.Host = "one.example"
		client := http.Client{Timeout: testutil.Timeout(20 * time.Second), Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close() // of no interest
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
		if err != nil {
			log, _ := exec.Command("journalctl", "--no-pager", "-u", "fcnode-gateway", "-n", "20").CombinedOutput() // only for the message
			return fmt.Errorf("%w\n%s", err, log)
		}
		return nil
	})
}

// gateway goes through the life of the gateway's unit: it says that it is ready, serves as a user of its own with one privilege and
// without sight of fcnode's state, is reloaded, and comes back when it is killed.
func gateway(t *testing.T) {
	t.Helper()
	mainPID := func() string {
		return run(t, "systemctl", "show", "--value", "--property=MainPID", "fcnode-gateway.service")
	}
	run(t, "systemctl", "start", "fcnode-gateway") // returns when it has said that it is ready
	askGateway(t)
	pid := mainPID()
	if owner := run(t, "stat", "-c", "%U:%G", "/proc/"+pid); owner != "fcnode-gateway:fcnode-gateway" {
		t.Errorf("the gateway runs as %s", owner)
	}
	status := run(t, "cat", "/proc/"+pid+"/status")
	for _, line := range []string{"CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, line+"\n") {
			t.Errorf("of the gateway's process %q is not true:\n%s", line, status)
		}
	}
	for _, folder := range []string{"/var/lib/fcnode", "/etc/fcnode/sites", "/run/fcnode"} {
		if left, err := os.ReadDir("/proc/" + pid + "/root" + folder); err != nil || len(left) > 0 {
			t.Errorf("the gateway sees %s: %v, %v", folder, left, err)
		}
	}
	run(t, "systemctl", "reload", "fcnode-gateway")
	run(t, "kill", "-KILL", pid)
	testutil.WaitFor(t, 30*time.Second, "the gateway to be started again", func() error {
		if now := mainPID(); now == pid || now == "0" {
			return fmt.Errorf("its process is %s", now)
		}
		return nil
	})
	askGateway(t)
}
