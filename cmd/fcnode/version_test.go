package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
)

func TestVersion(t *testing.T) {
	alone := newCLI(t)
	if code, stdout, _ := alone.run(t, "version"); code != 0 || !strings.HasPrefix(stdout, "fcnode dev") || strings.Contains(stdout, "daemon") {
		t.Errorf("without a daemon: %d, %q", code, stdout)
	}
	c := newCLI(t).serve(t, &recorded{info: api.NodeInfo{Version: "0.9"}})
	if code, stdout, _ := c.run(t, "version"); code != 0 || !strings.HasSuffix(stdout, "\ndaemon 0.9\n") {
		t.Errorf("with a daemon: %d, %q", code, stdout)
	}
	_, stdout, _ := c.run(t, "version", "-o", "json")
	var b buildInfo
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || b.Version != "dev" || b.Daemon != "0.9" || b.Go == "" {
		t.Errorf("as JSON: %v, %s", err, stdout)
	}
}

func TestInfo(t *testing.T) {
	info := api.NodeInfo{
		Version: "0.9", PID: 77, Started: noon.Add(-26 * time.Hour), Kernel: "6.1.0-31-amd64", Attach: "clsact", Device: "fc0", DeviceKind: "dummy",
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd77:fc::/64")}, Uplinks: []string{"eth0"},
		Sites: 2, Replicas: 1,
		Cgroup: api.CgroupInfo{
			Path: "/fcnode", Hybrid: true, Controllers: []string{"pids"},
			Unlimited: []api.Unlimited{{Controller: "memory", Limits: "memory (limits.memory)", Why: "the memory controller is in use by cgroup v1", Remedy: "boot unified"}},
		},
		Features: []api.Feature{{Name: "BTF", Available: true}, {Name: "tcx", Since: "6.6", Reason: "Linux 6.6 has it; clsact is used instead"}},
	}
	_, stdout, _ := newCLI(t).serve(t, &recorded{info: info}).run(t, "info")
	golden(t, "info.golden", stdout)
}
