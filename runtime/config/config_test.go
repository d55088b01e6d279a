package config_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

var asPrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestDefaultIsValid(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Fatalf("Default().Validate() = %v", err)
	}
	if c.PinDir != "/sys/fs/bpf/fcnode" || c.Socket != "/run/fcnode/fcnode.sock" {
		t.Errorf("derived paths: pinDir %q, socket %q", c.PinDir, c.Socket)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	bad := filepath.Join(dir, "bad.yaml")
	write(t, good, "device: fc7\nprefixes: [10.1.0.0/16, 10.2.0.0/16]\nrunDir: /run/seven\nbpffs: /sys/fs/bpf7\nhold: {perSite: 8}\n")
	write(t, bad, "# a comment\ndevise: fc7\n")

	t.Run("named and there", func(t *testing.T) {
		got, err := config.Load(good)
		if err != nil {
			t.Fatal(err)
		}
		want := config.Default()
		want.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}
		want.Device, want.RunDir, want.BPFFS, want.Hold.PerSite = "fc7", "/run/seven", "/sys/fs/bpf7", 8
		want.Socket, want.Routes.Socket, want.PinDir = "/run/seven/fcnode.sock", "/run/seven-routes.sock", "/sys/fs/bpf7/fcnode" // follow from the above
		if diff := cmp.Diff(want, got, asPrefix); diff != "" {
			t.Errorf("Load (-want +got):\n%s", diff)
		}
	})
	t.Run("named and missing", func(t *testing.T) {
		_, err := config.Load(filepath.Join(dir, "none.yaml"))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load = %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("with an error", func(t *testing.T) {
		_, err := config.Load(bad)
		var one *config.Error
		if !errors.As(err, &one) {
			t.Fatalf("Load = %v, want a *config.Error", err)
		}
		if one.File != bad || one.Line != 2 || one.Column != 1 || !strings.Contains(one.Msg, "did you mean device?") {
			t.Errorf("Load = %v", err)
		}
	})
	t.Run("a folder", func(t *testing.T) {
		if _, err := config.Load(dir); err == nil {
			t.Error("Load of a folder worked")
		}
	})
}

func TestParseNothing(t *testing.T) {
	for _, src := range []string{"", "# nothing\n", "---\n# nothing\n---\n"} {
		got, err := config.Parse("x", strings.NewReader(src))
		if err != nil {
			t.Fatalf("Parse(%q) = %v", src, err)
		}
		if diff := cmp.Diff(config.Default(), got, asPrefix); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", src, diff)
		}
	}
}

func TestParseBad(t *testing.T) {
	long := "/" + strings.Repeat("x", 107)
	for _, test := range []struct {
		name, src string
		want      string // "line:column: field: start of the message"
	}{
		{"unknown field", "fcnode: 1\n", "1:1: fcnode: unknown field"},
		{"field of another level", "total: 1\n", "1:1: total: unknown field; did you mean hold.total?"},
		{"word of others", "interfaces: [eth0]\n", "1:1: interfaces: unknown field; did you mean uplinks?"},
		{"second document", "pool: 1\n---\npool: 2\n", "3:1: : is a second document"},
		{"device too long", "device: sixteen-letters-\n", `1:9: device: "sixteen-letters-" has 16`},
		{"device empty", "device: ''\n", "1:9: device: is empty"},
		{"device lo", "device: lo\n", "1:9: device: lo cannot"},
		{"device with slash", "device: a/b\n", `1:9: device: "a/b" is not`},
		{"device of the pool", "device: fcv3\n", "1:9: device: fcv3 is a name for"},
		{"uplink is the device", "uplinks: [eth0, fc0]\n", "1:17: uplinks[1]: fc0 is a link of fcnode itself"},
		{"uplink is the sink's", "uplinks: [fc0-sink]\n", "1:11: uplinks[0]: fc0-sink is a link of fcnode itself"},
		{"device too long for the sink", "device: eleven-char\n", `1:9: device: "eleven-char" has 11 characters`},
		{"attach", "attach: xdp\n", `1:9: attach: "xdp" is not a way to attach`},
		{"uplink twice", "uplinks: [eth0, eth0]\n", "1:17: uplinks[1]: eth0 stands"},
		{"uplinks no list", "uplinks: eth0\n", "1:10: uplinks: is a single value"},
		{"no prefix", "prefixes: []\n", "1:11: prefixes: is empty"},
		{"prefix an address", "prefixes: [10.0.0.1]\n", `1:12: prefixes[0]: "10.0.0.1" is not valid`},
		{"prefix not masked", "prefixes: [10.77.1.0/16]\n", "1:12: prefixes[0]: 10.77.1.0/16 has bits set outside of its mask; did you mean 10.77.0.0/16?"},
		{"prefixes overlap", "prefixes: [10.0.0.0/8, 10.77.0.0/16]\n", "1:24: prefixes[1]: 10.77.0.0/16 overlaps 10.0.0.0/8"},
		{"too many prefixes", "prefixes: [" + strings.Repeat("10.0.0.0/16, ", 17) + "]\n", "1:11: prefixes: has 17 prefixes"},
		{"prefix too small", "prefixes: [10.77.0.0/29]\n", "1:12: prefixes[0]: 10.77.0.0/29 is too small"},
		{"v6 prefix too small", "prefixes: ['fd77::/121']\n", "1:12: prefixes[0]: fd77::/121 is too small"},
		{"prefix too large", "prefixes: [0.0.0.0/0]\n", "1:12: prefixes[0]: 0.0.0.0/0 is too large"},
		{"prefix is loopback", "prefixes: [127.1.0.0/16]\n", "1:12: prefixes[0]: 127.1.0.0/16 overlaps 127.0.0.0/8 (loopback)"},
		{"prefix is link-local", "prefixes: ['fe80:1::/64']\n", "1:12: prefixes[0]: fe80:1::/64 overlaps fe80::/10 (link-local)"},
		{"prefix is v4-mapped", "prefixes: ['::ffff:10.0.0.0/112']\n", "1:12: prefixes[0]: is not a prefix"},
		{"ignored twice", "pool: 1\nignore: [192.0.2.0/24, 192.0.2.7]\n", "2:24: ignore.sources[1]: 192.0.2.7 overlaps with 192.0.2.0/24 of ignore.sources[0]"},
		{"ignored by no answer", "ignore: {sources: [192.0.2.7], answer: reset}\n", `1:40: ignore.answer: "reset" is none of them`},
		{"ignored is v4-mapped", "ignore: ['::ffff:192.0.2.7']\n", `1:10: ignore.sources[0]: "::ffff:192.0.2.7" is an IPv4 address in the form of IPv6`},
		{"relative path", "stateDir: var/lib\n", `1:11: stateDir: "var/lib" is not`},
		{"unclean path", "sitesDir: /etc//fcnode\n", `1:11: sitesDir: "/etc//fcnode" is not`},
		{"path with dots", "sitesDir: /etc/../x\n", `1:11: sitesDir: "/etc/../x" is not`},
		{"root", "cgroupRoot: /\n", "1:13: cgroupRoot: may not be the root"},
		{"empty path", "runDir: ''\n", "1:9: runDir: is empty"},
		{"pins elsewhere", "pinDir: /run/pins\n", "1:9: pinDir: /run/pins is not below"},
		{"volumes from nowhere", "volumeRoots: [srv]\n", `1:15: volumeRoots[0]: "srv" is not an absolute`},
		{"volumes from one folder twice", "volumeRoots: [/srv, /home, /srv]\n", "1:28: volumeRoots[2]: /srv stands in the list twice"},
		{"volumes of no server", "nfsRoots: [files:/sites]\n", `1:12: nfsRoots[0]: "files:/sites" is not of the form nfs://SERVER`},
		{"volumes out of the state", "stateDir: /x\nvolumeRoots: [/, /xy, /x/y]\n", "2:23: volumeRoots[2]: /x/y is in stateDir"},
		{"state is run", "stateDir: /x\nrunDir: /x\n", "2:9: runDir: /x is stateDir too"},
		{"socket too long", "socket: " + long + "\n", "1:9: socket: has 108 bytes"},
		{"a firewall that is off", "firewall: off\n", `1:11: firewall: "off" is no answer`},
		{"a mirror with a scheme", "registries:\n  mirrors:\n    docker.io: [\"http://a\"]\n", `3:17: registries.mirrors.docker.io[0]: "http://a" is not the name`},
		{"a mirror of docker's by another name", "registries:\n  mirrors:\n    index.docker.io: [a.example]\n", `3:5: registries.mirrors: index.docker.io is called docker.io here`},
		{"docker's by HTTP", "registries: {insecure: [docker.io]}\n", `1:25: registries.insecure[0]: docker.io is asked by HTTPS`},
		{"an insecure path", "registries: {insecure: [a/b]}\n", `1:25: registries.insecure[0]: "a/b" is not the name`},
		{"credentials nowhere", "registries: {auth: a.json}\n", `1:20: registries.auth: "a.json" is not an absolute`},
		{"trust without images", "trust:\n- keys: [/etc/fcnode/cosign.pub]\n", "2:3: trust[0].images: is empty"},
		{"trust in a tag", "trust: [{images: [reg.example/web:1], unsigned: true}]\n", `1:19: trust[0].images[0]: "reg.example/web:1" is none`},
		{"trust in the middle", "trust: [{images: ['reg.example/*/web'], unsigned: true}]\n", `1:19: trust[0].images[0]: "reg.example/*/web" is none`},
		{"trust in nobody", "trust: [{images: ['*']}]\n", "1:9: trust[0].keys: there are none"},
		{"trust in two ways", "trust: [{images: ['*'], unsigned: true, keys: [/k]}]\n", "1:35: trust[0].unsigned: there are keys, too"},
		{"a key nowhere", "trust: [{images: ['*'], keys: [cosign.pub]}]\n", `1:32: trust[0].keys[0]: "cosign.pub" is not an absolute`},
		{"group of the routes", "routes: {group: a b}\n", `1:17: routes.group: "a b" is not`},
		{"one socket for two", "socket: /run/a\nroutes: {socket: /run/a}\n", "2:18: routes.socket: /run/a is socket too"},
		{"group", "socketGroup: a b\n", `1:14: socketGroup: "a b" is not`},
		{"pool negative", "pool: -1\n", "1:7: pool: -1 is out of range"},
		{"pool too large", "pool: 2000\n", "1:7: pool: 2000 is out of range"},
		{"pool no number", "pool: many\n", `1:7: pool: "many" is a string`},
		{"pool a fraction", "pool: 1.5\n", "1:7: pool: 1.5 is a number with a fraction"},
		{"sites beyond any number", "maxSites: 99999999999999999999\n", "1:11: maxSites: 99999999999999999999 is out of range"},
		{"hold unbalanced", "hold:\n  perSite: 100\n  total: 10\n", "2:12: hold.perSite: 100 is more than hold.total, 10"},
		{"flows too few", "flows: {max: 512, perSite: 64}\n", "1:14: flows.max: 512 is out of range"},
		{"flows of one site", "flows: {max: 8192, perSite: 2048}\n", "1:29: flows.perSite: 2048 is more than an eighth of flows.max, 8192"},
		{"deadline without unit", "hold: {deadline: 30}\n", `1:18: hold.deadline: "30" is not a duration: it has no unit`},
		{"a group that is none", "access:\n  operate: [ok, \"no group\"]\n", "2:17: access.operate[1]: \"no group\" is not the name of a group"},
		{"silence too short", "hold: {silence: 2s}\n", "1:17: hold.silence: 2s is out of range"},
		{"deadline too long", "hold: {deadline: 11m}\n", "1:18: hold.deadline: 11m is out of range"},
		{"nobody uses it for ever", "wake: {unused: 0s}\n", "1:16: wake.unused: 0s is out of range"},
		{"no wakes", "wake: {source: {burst: -1}}\n", "1:24: wake.source.burst: -1 is out of range"},
		{"wakes without a pause", "wake: {site: {every: 0s}}\n", "1:22: wake.site.every: 0s is out of range"},
		{"proofs that are misspelt", "wake: {proof: allways}\n", `1:15: wake.proof: "allways" is no time to ask for a proof; did you mean always?`},
		{"proofs by truth", "wake: {proof: true}\n", "1:15: wake.proof: true is a boolean"},
		{"wakes a second", "wake: {rate: 5}\n", "1:8: wake.rate: unknown field"},
		{"keepalive too short", "keepalive: 9s\n", "1:12: keepalive: 9s is out of range"},
		{"udpIdle of no time", "udpIdle: 0s\n", "1:10: udpIdle: 0s is out of range"},
		{"udpIdle of a number", "udpIdle: 120\n", "1:10: udpIdle: "},
		{"keepalive in words", "keepalive: none\n", `1:12: keepalive: "none" is not a duration`},
		{"start timeout", "start: {timeout: 0s}\n", "1:18: start.timeout: 0s is out of range"},
		{"log size without unit", "log: {maxSize: 1000000}\n", `1:16: log.maxSize: "1000000" is not a size: it has no unit`},
		{"log size too small", "log: {maxSize: 1KiB}\n", "1:16: log.maxSize: 1KiB is out of range"},
		{"too many starts", "start: {parallel: 2000}\n", "1:19: start.parallel: 2000 is out of range"},
		{"prepared negative", "prepared: {max: -1}\n", "1:17: prepared.max: -1 is out of range"},
		{"prepared with next to no memory", "prepared: {memory: 1KiB}\n", "1:20: prepared.memory: 1KiB is out of range"},
		{"reclaimed to nothing", "reclaim: {keep: 1B}\n", "1:17: reclaim.keep: 1B is out of range"},
		{"reclaim below no share", "reclaim: {below: 50}\n", `1:18: reclaim.below: "50" is not a share`},
		{"no disk for checkpoints", "checkpoints: {disk: 1B}\n", "1:21: checkpoints.disk: 1B is out of range"},
		{"CRIU by no path", "checkpoints: {criu: criu}\n", `1:21: checkpoints.criu: "criu" is not an absolute`},
		{"budget of nothing", "budget: {cpu: 0}\n", "1:15: budget.cpu: 0 is no CPU time"},
		{"budget of a disk without a path", "budget: {io: [{device: sda, wbps: 1MiB}]}\n", "1:24: budget.io[0].device: "},
		{"budget of nothing of a disk", "budget: {io: [{device: /srv}]}\n", "1:15: budget.io[0]: bounds nothing"},
		{"budget in words", "budget: {cpu: much}\n", `1:15: budget.cpu: "much" is not a number of cores`},
		{"budget of memory too small", "budget: {memory: 1KiB}\n", "1:18: budget.memory: 1KiB is out of range"},
		{"budget of memory in words", "budget: {memory: some}\n", `1:18: budget.memory: "some" is not a size`},
		{"next to no memory for the kernel to give", "memory: {max: 1KiB}\n", "1:15: memory.max: 1KiB is out of range"},
		{"less for the kernel than for the node", "memory: {sites: 2GiB, max: 1GiB}\n", "1:28: memory.max: 1GiB is less than memory.sites, 2GiB"},
		{"an image of nothing", "images: {entries: 0}\n", "1:19: images.entries: 0 is out of range"},
		{"an image that is small", "images: {bytes: 1KiB}\n", "1:17: images.bytes: 1KiB is out of range"},
		{"an image in no time", "images: {time: 1ms}\n", "1:16: images.time: 1ms is out of range"},
		{"next to no memory for all sites", "memory: {sites: 1KiB}\n", "1:17: memory.sites: 1KiB is out of range"},
		{"a class that is never late", "classes: {gold: {late: 0.001%}}\n", "1:24: classes.gold.late: 0.001% is out of range"},
		{"a class that is always late", "classes:\n  gold: {late: 60%}\n", "2:16: classes.gold.late: 60% is out of range"},
		{"late before anybody notices", "classes: {gold: {over: 1ms}}\n", "1:24: classes.gold.over: 1ms is out of range"},
		{"each less than all", "classes: {gold: {late: 2%, each: 1%}}\n", "1:34: classes.gold.each: 1% of each site's requests is less than late of all, 2%"},
		{"no name of a class", "classes: {Gold Plan: {late: 2%}}\n", `1:22: classes.Gold Plan: "Gold Plan" is not the name of a class`},
		{"no such field of a class", "classes: {gold: {slow: 2%}}\n", "1:18: classes.gold.slow: unknown field"},
		{"metrics on a name", "metrics: {listen: 'localhost:9400'}\n", `1:19: metrics.listen: "localhost:9400" is no such thing`},
		{"capability of the machine", "privileges: {capabilities: [NET_RAW, SYS_ADMIN]}\n", `1:38: privileges.capabilities[1]: "SYS_ADMIN" is not a capability that a site can have`},
		{"capability that sites have anyway", "privileges: {capabilities: [CHOWN]}\n", `1:29: privileges.capabilities[0]: "CHOWN" is not`},
		{"capability twice", "privileges: {capabilities: [CAP_MKNOD, MKNOD]}\n", "1:40: privileges.capabilities[1]: MKNOD stands in the list twice"},
		{"profile of whom", "privileges: {apparmor: mine}\n", `1:24: privileges.apparmor: "mine" is not such a profile`},
		{"user namespace of whom", "privileges: {userns: own}\n", `1:22: privileges.userns: "own" is not such a namespace`},
		{"no files", "log: {files: 0}\n", "1:14: log.files: 0 is out of range"},
		{"next to no log", "log: {rate: {bytes: 1B}}\n", "1:21: log.rate.bytes: 1B is out of range"},
		{"a negative rate", "log: {rate: {lines: -1}}\n", "1:21: log.rate.lines: -1 is out of range"},
		{"default out of range", "defaults: {cpu: 2000}\n", "1:17: defaults.cpu.max: 2000 is out of range"},
		{"default min above max", "defaults: {memory: {min: 2GiB, max: 1GiB}}\n", "1:26: defaults.memory.min: 2GiB is more than"},
		{"default above max", "defaults: {memory: 2GiB}\nmax: {cpu: 1, memory: 1GiB}\n", "1:20: defaults.memory.max: 2GiB is more than this node allows, 1GiB (max.memory, fcnode.yaml:2)"},
		{"small max", "max: {memory: 1kB}\n", "1:15: max.memory: 1000B is too small"},
		{"no pids at all", "max: {pids: -1}\n", "1:13: max.pids: -1 is out of range"},
		{"max of no disk", "max: {io: [{device: vda, rbps: 1MiB}]}\n", "1:21: max.io[0].device:"},
		{"max beside the log", "max: {disk: 20MiB}\n", "1:13: max.disk.bytes: 20MiB is too small beside the log"},
		{"default beside the log", "defaults: {disk: 20MiB}\n", "1:18: defaults.disk.bytes: 20MiB is too small beside the log"},
		{"max with min", "max: {cpu: {min: 1}}\n", "1:12: max.cpu: is a mapping"},
		{"no value", "log:\n", "1:1: log: has no value"},
		{"syntax", "log: [\n", "1:6: : is not readable as YAML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Parse("fcnode.yaml", strings.NewReader(test.src))
			var all config.Errors
			if !errors.As(err, &all) {
				t.Fatalf("Parse = %v, want config.Errors", err)
			}
			if len(all) != 1 {
				t.Errorf("%d errors, want 1", len(all))
			}
			e := all[0]
			got := strings.TrimPrefix(e.Where(), "fcnode.yaml:") + ": " + e.Field + ": " + e.Msg
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestClasses: what a class leaves out has its default, and there always is a standard one.
func TestClasses(t *testing.T) {
	for src, want := range map[string]map[string]config.Class{
		"": {"standard": {Late: 1, Over: spec.Duration(100 * time.Millisecond)}},
		"classes: {gold: {late: 0.1%, over: 50ms, each: 1%}, economy: {late: 5%}}\n": {
			"standard": {Late: 1, Over: spec.Duration(100 * time.Millisecond)},
			"gold":     {Late: 0.1, Over: spec.Duration(50 * time.Millisecond), Each: 1},
			"economy":  {Late: 5, Over: spec.Duration(100 * time.Millisecond)},
		},
		"classes: {standard: {over: 300ms}}\n": {"standard": {Late: 1, Over: spec.Duration(300 * time.Millisecond)}},
	} {
		c, err := config.Parse("c", strings.NewReader(src))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Classes); diff != "" {
			t.Errorf("of %q (-want +got):\n%s", src, diff)
		}
	}
	if n := len(config.Default().Classes); n != 1 {
		t.Errorf("%d classes by default", n)
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, err := config.Parse("c", strings.NewReader("pool: -1\nprefixes: [10.0.0.1/8]\nlogs: {}\nstart: {timeout: 3d}\n"))
	var all config.Errors
	if !errors.As(err, &all) || len(all) != 4 {
		t.Fatalf("Parse = %v, want 4 errors", err)
	}
	if !slices.IsSortedFunc(all, func(a, b *config.Error) int { return a.Line - b.Line }) {
		t.Errorf("errors are out of order:\n%v", err)
	}
}

func TestValidateAfterFlags(t *testing.T) {
	c := config.Default()
	c.Hold.Deadline = spec.Duration(time.Hour)
	var one *config.Error
	if err := c.Validate(); !errors.As(err, &one) || one.Field != "hold.deadline" || one.Allowed != "1s to 10m" {
		t.Errorf("Validate = %v", err)
	}
}

// TestExample holds the example that is installed to the defaults: as it is, and with every setting in force.
func TestExample(t *testing.T) {
	const path = "../../packaging/fcnode.yaml"
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), c, asPrefix); diff != "" {
		t.Errorf("the example changes the defaults (-want +got):\n%s", diff)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	live := regexp.MustCompile(`(?m)^#(\S| {2,}\S)`).ReplaceAllString(string(src), "$1")
	c, err = config.Parse("example", strings.NewReader(live))
	if err != nil {
		t.Fatalf("with the settings in force: %v", err)
	}
	if diff := cmp.Diff(config.Default(), c, asPrefix); diff != "" {
		t.Errorf("the example shows other values than the defaults (-want +got):\n%s", diff)
	}
	for _, field := range fieldsOf(t) {
		name := field[strings.LastIndex(field, ".")+1:]
		if !regexp.MustCompile(`(?m)^\s*` + name + `:`).MatchString(live) {
			t.Errorf("the example does not show %s", field)
		}
	}
}

// TestDocumented holds the documentation to the fields.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fieldsOf(t) {
		if !strings.Contains(string(doc), "`"+field+"`") {
			t.Errorf("docs/configuration.md does not explain %s", field)
		}
	}
}

// fieldsOf gives the paths of all fields of the configuration.
func fieldsOf(t *testing.T) []string {
	t.Helper()
	data, err := json.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	var fields []string
	for name, value := range tree {
		if inner, ok := value.(map[string]any); ok {
			for deep := range inner {
				fields = append(fields, name+"."+deep)
			}
			continue
		}
		fields = append(fields, name)
	}
	slices.Sort(fields)
	return fields
}

func FuzzParse(f *testing.F) {
	f.Add("device: fc0\nprefixes: [10.0.0.0/8]\nhold: {perSite: 1}\n")
	f.Fuzz(func(t *testing.T, src string) {
		c, err := config.Parse("f", strings.NewReader(src))
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("Parse let through what Validate refuses: %v", err)
			}
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
