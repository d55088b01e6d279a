package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

func ptr[T any](v T) *T { return &v }

// exampleSites are the two of the design, and others that show what else there
// is.
func exampleSites() []api.Site {
	return []api.Site{
		{
			Name: "blog", ID: 1, Ports: []string{"80/tcp"}, Tier: api.TierCheckpointed, Phase: api.PhaseParked, ReplicasMax: 4,
			Domains:   []string{"blog.example.com", "www.blog.example.com"},
			Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.12"), netip.MustParseAddr("fd77:fc::c")},
			Idle:      api.Nanoseconds(12*time.Minute + 30*time.Second),
			Conns:     api.Conns{Total: 1203},
			Decision:  &api.Decision{Time: noon.Add(-12 * time.Minute), Action: "parked", Reason: "idle 5m"}, SpecDigest: "sha256:b10c",
		},
		{
			Name: "shop", ID: 2, Ports: []string{"80/tcp", "443/tcp"}, Tier: api.TierRunning, Phase: api.PhaseRunning, ReplicasMax: 4,
			Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.13")},
			Replicas: []api.Replica{
				{ID: "shop-17", Tier: api.TierRunning, State: "ready", PID: 4711, Started: noon.Add(-3 * time.Hour), Conns: api.Conns{Now: 100, Total: 90000}},
				{ID: "shop-18", Tier: api.TierRunning, State: "ready", PID: 4712, Started: noon.Add(-90 * time.Second), Conns: api.Conns{Now: 114, Total: 3000}},
				{ID: "shop-19", Tier: api.TierCold, State: "starting", Started: noon.Add(-50 * time.Millisecond)},
			},
			Conns: api.Conns{Now: 214, Total: 93000},
			Load: &api.Load{
				Rate: 311.6, Over: api.Nanoseconds(time.Second), Requests: 480123, BytesIn: 96 << 20, BytesOut: 7 << 30, AcceptQueue: 12, NoTurns: 2,
			},
			Ladder: []api.Rung{
				{Tier: api.TierFrozen, After: api.Nanoseconds(5 * time.Minute), Wake: api.Nanoseconds(900 * time.Microsecond), Wakes: 7}, {Tier: api.TierCheckpointed, After: api.Nanoseconds(time.Hour)},
			},
			Triggers: []api.Trigger{
				{Kind: api.TriggerConns, Threshold: 50, Fired: 3, Last: noon.Add(-4 * time.Second)},
				{Kind: api.TriggerLatency, Threshold: float64(200 * time.Millisecond)},
			},
			NotScaled:   []string{"memory: this machine has no memory controller in cgroup v2"},
			SpareUnused: "no replica is kept prepared: the configuration allows none (prepared.max)",
			Latency:     &api.Latency{P50: api.Nanoseconds(9 * time.Millisecond), P99: api.Nanoseconds(38 * time.Millisecond)},
			Limits: api.Limits{
				CPU:    &api.CPULimit{Now: 4, Min: 0.25, Max: 4},
				Memory: &api.MemoryLimit{Now: 2 << 30, Min: 128 << 20, Max: 2 << 30}, PIDs: &api.PIDsLimit{Now: 256, Min: 64, Max: 512},
				IO: []api.IOLimit{{Device: "/dev/vda", IORates: api.IORates{ReadBytes: 10 << 20, Writes: 50}, Min: api.IORates{ReadBytes: 1 << 20}, Max: api.IORates{ReadBytes: 20 << 20}}},
			},
			Usage:    &api.Usage{CPU: ptr(2.1), Memory: ptr(int64(1181116006)), PIDs: ptr(int64(31))},
			Decision: &api.Decision{Time: noon.Add(-4 * time.Second), Action: "scaled out", Reason: "61 conns/replica > 50"}, SpecDigest: "sha256:5409",
		},
		{
			Name: "broken", ID: 3, Ports: []string{"53/udp"}, Tier: api.TierCold, Phase: api.PhaseBackoff, ReplicasMax: 1,
			Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.14")},
			Idle:      api.Nanoseconds(49 * time.Hour),
			Error: &api.SiteError{
				Time: noon.Add(-20 * time.Second), Message: "exit code 1 before it listened: see `fcnode logs broken`", Retry: noon.Add(12 * time.Second),
			},
			Decision: &api.Decision{Time: noon.Add(-20 * time.Second), Action: "backing off"}, SpecDigest: "sha256:b404",
		},
		{
			Name: "fresh", ID: 4, Ports: []string{"80/tcp"}, Tier: api.TierRunning, Phase: api.PhaseWaking, ReplicasMax: 1,
			Replicas: []api.Replica{{ID: "fresh-20", Tier: api.TierRunning, State: "starting", Started: noon}},
			Limits:   api.Limits{Memory: &api.MemoryLimit{Now: 512 << 20, Max: 1 << 30}},
			Usage:    &api.Usage{Memory: ptr(int64(38 << 20)), CPU: ptr(0.04)}, SpecDigest: "sha256:f4e5",
		},
	}
}

func TestList(t *testing.T) {
	sites := exampleSites()
	for name, sites := range map[string][]api.Site{
		"list.golden":            sites,
		"list-no-latency.golden": {sites[0], sites[2]},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := newCLI(t).serve(t, &recorded{sites: sites}).run(t, "list")
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, stderr %s", code, stderr)
			}
			golden(t, name, stdout)
		})
	}
}

func TestListNothing(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{})
	code, stdout, stderr := c.run(t, "list")
	if code != 0 || stdout != "" || !strings.Contains(stderr, "fcnode apply") {
		t.Errorf("%d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if _, stdout, _ = c.run(t, "list", "-o", "json"); stdout != "[]\n" {
		t.Errorf("as JSON: %q", stdout)
	}
}

func TestListJSON(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	_, stdout, _ := c.run(t, "list", "-o", "json")
	sites := exampleSites()
	for i := range sites { // what a site always has is a list, though it be empty
		sites[i].Addresses = append([]netip.Addr{}, sites[i].Addresses...)
		sites[i].Replicas = append([]api.Replica{}, sites[i].Replicas...)
	}
	var got []api.Site
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(sites)
	again, err2 := json.Marshal(got)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if diff := cmp.Diff(string(want), string(again)); diff != "" {
		t.Error(diff)
	}
}

func TestGet(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	for _, name := range []string{"blog", "shop", "broken", "fresh"} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := c.run(t, "get", name)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, stderr %s", code, stderr)
			}
			golden(t, "get-"+name+".golden", stdout)
		})
	}
	_, stdout, _ := c.run(t, "get", "blog", "-o", "json")
	golden(t, "get-blog.json", stdout)
}

const (
	goodSpec = "name: blog\nimage: dir:/srv/blog\nports: [80/tcp]\n"
	badSpec  = "name: blog\nimage: dir:/srv/blog\nports: [80/tcp]\nidle: soon\nlimit: {}\n"
)

func TestApply(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad := write("good/blog.yaml", goodSpec), write("bad/blog.yaml", badSpec)
	taken := write("taken.yaml", strings.ReplaceAll(goodSpec, "name: blog", "name: taken"))
	write("good/shop.yaml", strings.ReplaceAll(goodSpec, "name: blog", "name: shop"))
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, stdin string
		args        []string
		code        int
		stdout      string
		stderr      []string
	}{
		{"file", "", []string{"-f", good}, 0, "blog  created  10.77.0.12\n", nil},
		{"folder", "", []string{"-f", filepath.Dir(good)}, 0, "blog  created  10.77.0.12\nshop  created  10.77.0.12\n", nil},
		{"standard input", goodSpec, []string{"-f", "-"}, 0, "blog  created  10.77.0.12\n", nil},
		{"dry run", "", []string{"-f", good, "--dry-run"}, 0, "blog  created (dry run)  10.77.0.12\n", nil},
		{"what the node does not do", goodSpec + "scale: {max: 2, spare: prepared}\n", []string{"-f", "-"}, 0, "blog  created  10.77.0.12\n",
			[]string{"fcnode: warning: site blog: scale.spare: none here\n"}},
		{"two errors", "", []string{"-f", bad}, 1, "", []string{"fcnode: there are 2 errors\n", "  " + bad + ":4:7: idle: ", "  " + bad + ":5:1: "}},
		{"one error", strings.ReplaceAll(badSpec, "limit: {}\n", ""), []string{"-f", "-"}, 1, "", []string{"fcnode: stdin:4:7: idle: "}},
		{"refused by the node", "", []string{"-f", taken}, 1, "", []string{
			"fcnode: nothing was applied\n  site taken: addresses[0]: 10.77.0.12 is blog's\n  hint: choose another address\n",
		}},
		{"no file", "", []string{"-f", filepath.Join(dir, "none")}, 1, "", []string{"fcnode: read sites: stat ", "no such file"}},
		{"empty folder", "", []string{"-f", empty}, 1, "", []string{"no sites in"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCLI(t).serve(t, &recorded{})
			c.stdin = strings.NewReader(tt.stdin)
			code, stdout, stderr := c.run(t, append([]string{"apply"}, tt.args...)...)
			if code != tt.code || stdout != tt.stdout || (len(tt.stderr) == 0) != (stderr == "") {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr %q lacks %q", stderr, want)
				}
			}
		})
	}
}

// TestDiff: specs are compared by what they mean, and nothing is changed.
func TestDiff(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	has, err := spec.Parse("has", strings.NewReader(goodSpec+"env: {B: two, A: one}\nvolumes: [{source: /srv/a, target: /a}]\nlimits: {memory: 1GiB}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := &recorded{sites: []api.Site{{Name: "blog", Spec: &has[0]}}}
	c := newCLI(t).serve(t, b)
	same := write("same.yaml", "volumes:\n  - {target: /a, source: /srv/a}\nlimits: {memory: {max: 1GiB}, pids: 2048}\nenv: {A: one, B: two}\nports: [80]\nimage: dir:/srv/blog\nname: blog\n")
	if code, stdout, stderr := c.run(t, "diff", "-f", same, "--exit-code"); code != 0 || stdout+stderr != "" {
		t.Errorf("the same: %d, %q, %q", code, stdout, stderr)
	}
	other := write("other.yaml", goodSpec+"env: {A: \"<o\\e>\"}\nvolumes: [{source: /srv/a, target: /a}, {name: b, target: /b}]\nlimits: {memory: 2GiB}\n---\nname: shop\nimage: dir:/srv/shop\nports: [80]\n")
	code, stdout, stderr := c.run(t, "diff", "-f", other)
	want := `blog  ~ env.A: "one" -> "<o\u001b>"
blog  - env.B: "two"
blog  ~ limits.memory.max: "1GiB" -> "2GiB"
blog  + volumes[1].name: "b"
blog  + volumes[1].target: "/b"
shop  is new
`
	if diff := cmp.Diff(want, stdout); diff != "" || code != 0 || stderr != "" {
		t.Errorf("%d, %q, %s", code, stderr, diff)
	}
	if code, _, _ := c.run(t, "diff", "-f", other, "--exit-code"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if changed := slices.ContainsFunc(b.calls, func(c string) bool { return !strings.HasPrefix(c, "get ") }); changed || len(b.applied) > 0 {
		t.Errorf("it has changed something: %q", b.calls)
	}
	if code, _, stderr := c.run(t, "diff", "-f", write("bad.yaml", badSpec)); code != 1 || !strings.Contains(stderr, "bad.yaml:4:7: idle") {
		t.Errorf("%d, %s", code, stderr)
	}
	if code, _, stderr := c.run(t, "diff"); code != exitUsage || !strings.Contains(stderr, "-f FILE") {
		t.Errorf("%d, %s", code, stderr)
	}
}

func TestApplySendsDefaults(t *testing.T) {
	b := &recorded{}
	c := newCLI(t).serve(t, b)
	c.stdin = strings.NewReader(goodSpec)
	if code, stdout, stderr := c.run(t, "apply", "-f", "-", "-o", "json"); code != 0 || !strings.Contains(stdout, `"action": "created"`) {
		t.Fatalf("%d, %s, %s", code, stdout, stderr)
	}
	if len(b.applied) != 1 || b.applied[0].Limits.Pids.Max == 0 || !b.applied[0].Idle.Auto {
		t.Errorf("applied %+v", b.applied)
	}
}

func TestWakeParkDelete(t *testing.T) {
	b := &recorded{sites: exampleSites()}
	c := newCLI(t).serve(t, b)
	for _, tt := range []struct{ args, want string }{
		{"wake shop", "shop  running  after 0.0 ms at 10.77.0.13\n"},
		{"park shop --force", "shop  parked  running\n"},
		{"delete blog shop", "blog  deleted\nshop  deleted\n"},
	} {
		if code, stdout, stderr := c.run(t, strings.Fields(tt.args)...); code != 0 || stdout != tt.want {
			t.Errorf("%s: %d, %q, %s", tt.args, code, stdout, stderr)
		}
	}
	want := []string{"wake shop", "park force=true shop", "delete blog", "delete shop"}
	if diff := cmp.Diff(want, b.calls); diff != "" {
		t.Error(diff)
	}
}

func TestComplete(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites(), volumes: []api.Volume{{Site: "blog", Name: "html"}, {Site: "gone", Name: "db"}}})
	for _, tt := range []struct{ args, want string }{
		{"get  ", "blog\tcheckpointed\nshop\trunning\nbroken\tcold\nfresh\trunning\n:4\n"},
		{"get blog  ", ":4\n"},
		{"park blog shop  ", "broken\tcold\nfresh\trunning\n:4\n"},
		{"events --site  ", "blog\tcheckpointed\nshop\trunning\nbroken\tcold\nfresh\trunning\n:4\n"},
		{"list -o  ", "table\njson\n:4\n"},
		{"volume inspect  ", "blog/html\ngone/db\n:4\n"},
		{"volume inspect blog/html  ", ":4\n"},
		{"volume remove blog/html  ", "gone/db\n:4\n"},
		{"volume backup blog/html  ", ":0\n"},
	} {
		args := append([]string{"__complete"}, strings.Split(strings.TrimSuffix(tt.args, " "), " ")...)
		if code, stdout, _ := c.run(t, args...); code != 0 || stdout != tt.want {
			t.Errorf("%q completes to %q, want %q", tt.args, stdout, tt.want)
		}
	}
}

func TestVolumes(t *testing.T) {
	b := &recorded{sites: exampleSites(), volumes: []api.Volume{
		{Site: "blog", Name: "html", Path: "/v/blog/html/data", Target: "/var/www/html", Image: "sha256:i", Made: noon.Add(-time.Hour), Used: true,
			Snapshots: []api.VolumeSnapshot{{Name: "daily", Made: noon.Add(-time.Minute)}}},
		{Site: "gone", Name: "db", Path: "/v/gone/db/data", Made: noon.Add(-48 * time.Hour)},
	}}
	c := newCLI(t).serve(t, b)
	for _, tt := range []struct{ args, want string }{
		{"volume list", "VOLUME     TARGET         USED  SNAPSHOTS  AGE\nblog/html  /var/www/html  yes   1          1h\ngone/db    -              no    0          2d\n"},
		{"volume list gone", "VOLUME   TARGET  USED  SNAPSHOTS  AGE\ngone/db  -       no    0          2d\n"},
		{"volume inspect blog/html", "site         blog\nname         html\npath         /v/blog/html/data\ntarget       /var/www/html\nfilled from  sha256:i\nage          1h\nused         yes\nsize         3.0 MiB\nfiles        42\nsnapshot     daily, 1m ago\n"},
		{"volume snapshot blog/html daily --keep 7 --still-for 2s", "blog/html@daily  42 files; the site stood still for 1.235s\nleft out: 1 devices and sockets\nblog/html@old  removed\n"},
		{"volume snapshot blog/html", "blog/html@" + noon.UTC().Format("20060102-150405") + "  42 files; the site stood still for 1.235s\nleft out: 1 devices and sockets\nblog/html@old  removed\n"},
		{"volume restore blog/html@daily --force", "blog/html  is as its snapshot daily\n"},
		{"volume remove blog/html@daily", "blog/html@daily  removed\n"},
		{"volume remove gone/db", "gone/db  removed\n"},
		{"delete blog", "blog  deleted\nblog  its volume html stays: fcnode volume remove blog/html\n"},
		{"reload", "reloaded\n"},
		{"reload --force", "reloaded\n"},
		{"delete --purge shop", "shop  deleted\n"},
		{"circulate --new-image shop", "shop  circulating  3 replicas\n"},
	} {
		if code, stdout, stderr := c.run(t, strings.Fields(tt.args)...); code != 0 || stdout != tt.want {
			t.Errorf("%s: %d, %q, %s; want %q", tt.args, code, stdout, stderr, tt.want)
		}
	}
	want := []string{
		"snapshot blog/html@daily within 2s, keep 7", "snapshot blog/html@" + noon.UTC().Format("20060102-150405") + " within 0s, keep 0", "restore blog/html@daily, force true", "remove blog/html@daily",
		"remove gone/db", "delete blog", "reload force=false", "reload force=true", "purge shop", "get shop", "circulate with a new image shop",
	}
	if diff := cmp.Diff(want, b.calls); diff != "" {
		t.Errorf("what the node was asked (-want +got):\n%s", diff)
	}
}
