package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var exact = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// required is a site of which everything that can be left out is left out, in three lines.
const required = "name: blog\nimage: dir:/srv/blog\nports: [80]\n"

const everything = `# every field that there is
name: blog
domains: [blog.example.com, www.blog.example.com]
image: oci:/srv/images/wordpress:6-apache
entrypoint: [docker-entrypoint.sh]
command:
  - apache2-foreground
  - "-X"
env:
  WORDPRESS_DB_HOST: db.internal
  PORT: "8080"
  MOTD: |
    two
    lines
workdir: /var/www/html
user: www-data:www-data
hostname: wp
addresses: [10.77.0.12, "fd77:fc::12"]
ports: [80, 443/tcp, "53/udp"]
volumes:
  - {source: /srv/blog, target: /var/www/html}
  - source: /etc/ssl/certs
    target: /etc/ssl/certs
    readOnly: true
limits:
  cpu: {min: 0.25, max: 4, step: 1.5}
  memory: {min: 128MiB, high: 1.5GiB, max: 2GiB}
  pids: {min: 64, max: 512, step: 4}
  io:
    - {device: /dev/vda, rbps: 100MiB, wbps: 50MB}
    - {device: /srv/blog, riops: 1000, wiops: 500}
  disk: {bytes: 10GiB, inodes: 1M}
scale: {min: 0, max: 4, target: {conns: 50, latency: 200ms}}
idle: 10s
tiers:
  - frozen
  - {tier: reclaimed, after: 1m}
  - {tier: checkpointed, after: 5m}
  - cold
keepConnections: 10m
busy: {cpu: 20%, io: 4MiB/s, connections: false, file: /run/busy}
schedule:
  - {at: "0 3 * * mon-fri", exec: [/bin/backup, "--all"], timeout: 2h}
  - {at: "@daily", exec: [/bin/sh, -c, "exec /bin/clean  now"]}
objective: {cold: 0.5%, wake: 500ms}
lifetime: {after: 1h, jitter: 0%}
circulate: {overlap: false, drain: 1m, ahead: true}
checkpoint: {clonable: true, warm: 0}
keepalive: 90s
udpIdle: 5m
start: {timeout: 45s}
ready: {http: "/health?all=1", status: 204, port: 8080, timeout: 500ms}
health: {exec: [/bin/check, "-q"], timeout: 2s, every: 1m, failures: 5, answer: 20s}
stop: {grace: 0s, signal: SIGWINCH}
readOnlyRoot: true
tmpfs: [/tmp, {target: /var/cache, size: 64MiB, noExec: true}]
secrets:
  - {name: db, env: DB_PASSWORD}
  - {name: tls, source: /etc/fcnode/secrets/blog/tls, target: /etc/nginx/tls, owner: "nginx:33", mode: 0440}
  - api.key
shmSize: 128MiB
architectures: [amd64, 386]
capabilities: {add: [CAP_SETFCAP, IPC_LOCK], drop: [ALL]}
noNewPrivileges: false
userns: private
apparmor: usr.bin.site
`

var everythingSite = Site{
	Name:       "blog",
	Domains:    []string{"blog.example.com", "www.blog.example.com"},
	Image:      "oci:/srv/images/wordpress:6-apache",
	Entrypoint: []string{"docker-entrypoint.sh"},
	Command:    []string{"apache2-foreground", "-X"},
	Env:        map[string]string{"WORDPRESS_DB_HOST": "db.internal", "PORT": "8080", "MOTD": "two\nlines\n"},
	Workdir:    "/var/www/html",
	User:       "www-data:www-data",
	Hostname:   "wp",
	Addresses:  []netip.Addr{netip.MustParseAddr("10.77.0.12"), netip.MustParseAddr("fd77:fc::12")},
	Ports:      []Port{{Port: 80, Proto: "tcp"}, {Port: 443, Proto: "tcp"}, {Port: 53, Proto: "udp"}},
	Volumes: []Volume{
		{Source: "/srv/blog", Target: "/var/www/html"},
		{Source: "/etc/ssl/certs", Target: "/etc/ssl/certs", ReadOnly: true},
	},
	Limits: Limits{
		CPU:    CPULimits{Min: 0.25, Max: 4, Step: 1.5},
		Memory: MemoryLimits{Min: 128 * MiB, High: 1536 * MiB, Max: 2 * GiB},
		Pids:   PidsLimits{Min: 64, Max: 512, Step: 4},
		IO: []IOLimit{
			{Device: "/dev/vda", ReadBytes: ByteRate{Max: 100 * MiB}, WriteBytes: ByteRate{Max: 50e6}},
			{Device: "/srv/blog", Reads: OpsRate{Max: 1000}, Writes: OpsRate{Max: 500}},
		},
		Disk: DiskLimits{Bytes: 10 * GiB, Inodes: 1e6},
	},
	Scale: Scale{Min: 0, Max: 4, Target: Target{Conns: 50, Latency: Duration(200 * time.Millisecond)}},
	Idle:  Idle{After: Duration(10 * time.Second)},
	Tiers: Tiers{Rungs: []Rung{
		{Tier: TierFrozen}, {Tier: TierReclaimed, After: Duration(time.Minute)},
		{Tier: TierCheckpointed, After: Duration(5 * time.Minute)}, {Tier: TierCold},
	}},
	KeepConnections: Duration(10 * time.Minute),
	Busy:            Busy{CPU: 20, IO: PerSecond(4 * MiB), File: "/run/busy"},
	Schedule: []Task{
		{At: "0 3 * * mon-fri", Exec: []string{"/bin/backup", "--all"}, Timeout: Duration(2 * time.Hour)},
		{At: "@daily", Exec: []string{"/bin/sh", "-c", "exec /bin/clean  now"}},
	},
	Objective:    Objective{Cold: 0.5, Wake: Duration(500 * time.Millisecond)},
	Lifetime:     Lifetime{After: Duration(time.Hour)},
	Circulate:    Circulate{Drain: Duration(time.Minute), Ahead: true},
	Checkpoint:   Checkpoint{Clonable: true},
	Keepalive:    Keepalive(90 * time.Second),
	UDPIdle:      Keepalive(5 * time.Minute),
	Start:        Start{Timeout: Duration(45 * time.Second)},
	Stop:         Stop{Grace: 0, Signal: "SIGWINCH"},
	ReadOnlyRoot: true,
	Tmpfs:        []Tmpfs{{Target: "/tmp"}, {Target: "/var/cache", Size: 64 * MiB, NoExec: true}},
	Secrets: []Secret{
		{Name: "db", Env: "DB_PASSWORD"},
		{Name: "tls", Source: "/etc/fcnode/secrets/blog/tls", Target: "/etc/nginx/tls", Owner: "nginx:33", Mode: 0o440},
		{Name: "api.key"},
	},
	ShmSize:         128 * MiB,
	Architectures:   []Architecture{"amd64", "386"},
	Capabilities:    Capabilities{Add: []Capability{"SETFCAP", "IPC_LOCK"}, Drop: []Capability{AllCapabilities}},
	NoNewPrivileges: new(false),
	Userns:          "private",
	AppArmor:        "usr.bin.site",
	Ready:           Probe{HTTP: "/health?all=1", Status: 204, Port: 8080, Timeout: Duration(500 * time.Millisecond)},
	Health:          Health{Probe: Probe{Exec: []string{"/bin/check", "-q"}, Timeout: Duration(2 * time.Second)}, Every: Duration(time.Minute), Failures: 5, Answer: Duration(20 * time.Second)},
}

func TestParseEverything(t *testing.T) {
	got, err := Parse("blog.yaml", strings.NewReader(everything))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Site{everythingSite}, got, exact); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if err := validate(t, everything); err != nil {
		t.Errorf("the schema refuses it: %v", err)
	}
}

func TestParseDefaults(t *testing.T) {
	want := Site{
		Name: "blog", Image: "dir:/srv/blog", Ports: []Port{{Port: 80, Proto: "tcp"}}, Hostname: "blog",
		Limits: Limits{Pids: PidsLimits{Max: 2048}}, Scale: Scale{Max: 1},
		Idle: Idle{Auto: true}, Stop: Stop{Grace: Duration(10 * time.Second)},
		Tiers: Tiers{Auto: true}, Busy: Busy{CPU: 5, IO: PerSecond(MiB), Connections: true}, Lifetime: Lifetime{Jitter: 10},
		Circulate: Circulate{Overlap: true, Drain: Duration(30 * time.Second)}, Checkpoint: Checkpoint{Warm: 3},
	}
	awake := want
	awake.Scale.Min, awake.Idle = 1, Idle{Never: true}
	for _, test := range []struct {
		name, src string
		want      Site
	}{
		{"least", required, want},
		{"always awake", required + "scale: {min: 1}\n", awake},
		{"as JSON", `{"name": "blog", "image": "dir:\/srv\/blog", "ports": [80]}`, want},
		{"with a byte order mark and DOS lines", "\ufeff" + strings.ReplaceAll(required, "\n", "\r\n"), want},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse("x", strings.NewReader(test.src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Site{test.want}, got, exact); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseGood(t *testing.T) {
	for _, test := range []struct {
		fragment string
		look     func(*Site) any
		want     any
	}{
		{"user: 33", func(s *Site) any { return s.User }, User("33")},
		{"user: 33:33", func(s *Site) any { return s.User }, User("33:33")},
		{"limits: {cpu: 2}", func(s *Site) any { return s.Limits.CPU }, CPULimits{Max: 2}},
		{"limits: {memory: 512MiB}", func(s *Site) any { return s.Limits.Memory }, MemoryLimits{Max: 512 * MiB}},
		{"limits: {cpu: {min: 1}}", func(s *Site) any { return s.Limits.Pids }, PidsLimits{Max: 2048}},
		{"volumes: [{source: /a/current, target: /b, follow: true}]", func(s *Site) any { return s.Volumes[0].Follow }, true},
		{"secrets: [db]", func(s *Site) any { return s.Secrets }, []Secret{{Name: "db"}}},
		{"secrets: []", func(s *Site) any { return s.Secrets == nil }, true},
		{"secrets: [{name: db, mode: '0444', owner: 33}]", func(s *Site) any { return s.Secrets }, []Secret{{Name: "db", Mode: 0o444, Owner: "33"}}},
		{"secrets: [db, {name: db, env: DB}, {name: db, target: /db}]", func(s *Site) any { return len(s.Secrets) }, 3},
		{"tmpfs: []", func(s *Site) any { return s.Tmpfs != nil && len(s.Tmpfs) == 0 }, true},
		{"tmpfs: [/a, {target: /a/b}]", func(s *Site) any { return s.Tmpfs[1].Target }, "/a/b"},
		{"architectures: [\"386\", amd64]", func(s *Site) any { return s.Architectures[0] }, Architecture("386")},
		{"architectures: []", func(s *Site) any { return s.Architectures == nil }, true},
		{"shmSize: 64KiB\nlimits: {memory: 1MiB}", func(s *Site) any { return s.ShmSize }, 64 * KiB},
		{"capabilities: {drop: [CAP_CHOWN]}", func(s *Site) any { return s.Capabilities.Drop }, []Capability{"CHOWN"}},
		{"capabilities: {add: [], drop: []}\nnoNewPrivileges: true", func(s *Site) any { return s.Capabilities.Add == nil && s.NoNewPrivileges == nil }, true},
		{"userns: host", func(s *Site) any { return s.OwnUserns(true) }, false},
		{"userns: private", func(s *Site) any { return s.OwnUserns(false) }, true},
		{"noNewPrivileges: false", func(s *Site) any { return s.NewPrivileges() }, true},
		{"idle: never", func(s *Site) any { return s.Idle }, Idle{Never: true}},
		{"command: []", func(s *Site) any { return s.Command }, []string{}},
		{"entrypoint: ['']\ncommand: ['']", func(s *Site) any { return s.Command }, []string{""}},
		{"env: {A: ''}", func(s *Site) any { return s.Env }, map[string]string{"A": ""}},
		{"env: {A: yes, B: 1h}", func(s *Site) any { return s.Env }, map[string]string{"A": "yes", "B": "1h"}},
		{"workdir: /", func(s *Site) any { return s.Workdir }, "/"},
		{"domains: [localhost, xn--bcher-kva.example]", func(s *Site) any { return len(s.Domains) }, 2},
		{"volumes: [{source: /a, target: /..data}, {source: /b, target: /.well-known/x}]", func(s *Site) any { return s.Volumes[0].Target }, "/..data"},
		{"volumes: [{source: /a, target: /data}, {source: /b, target: /data/inner}]", func(s *Site) any { return len(s.Volumes) }, 2},
		{"volumes: [{name: html, target: /var/www/html, readOnly: true}]", func(s *Site) any { return s.Volumes[0].Name }, "html"},
		{"volumes: [{source: /a, target: /b, mountpoint: true}]", func(s *Site) any { return s.Volumes[0].Mountpoint }, true},
		{"imageVolumes: keep", func(s *Site) any { return s.ImageVolumes }, ""},
		{"imageVolumes: ignore", func(s *Site) any { return s.ImageVolumes }, "ignore"},
		{"volumes: [{source: /a, target: /dev/shm}]", func(s *Site) any { return len(s.Volumes) }, 1},
		{"limits: {pids: 64}", func(s *Site) any { return s.Limits.Pids }, PidsLimits{Max: 64}},
		{"limits: {pids: {min: 64}}", func(s *Site) any { return s.Limits.Pids }, PidsLimits{Min: 64, Max: 2048}},
		{"limits: {cpu: {min: 1, max: 2, step: 2}}", func(s *Site) any { return s.Limits.CPU }, CPULimits{Min: 1, Max: 2}},
		{"limits: {memory: {min: 64MiB, max: 1GiB, step: 1.25}}", func(s *Site) any { return s.Limits.Memory.Factor() }, 1.25},
		{"limits: {io: [{device: /dev/vda, wiops: 7}]}", func(s *Site) any { return s.Limits.IO }, []IOLimit{{Device: "/dev/vda", Writes: OpsRate{Max: 7}}}},
		{
			"limits: {io: [{device: /dev/vda, rbps: {min: 1MiB, max: 8MiB, step: 2}, riops: {min: 50, max: 500, step: 4}, wbps: {max: 2MiB}}]}",
			func(s *Site) any { return s.Limits.IO }, []IOLimit{{
				Device: "/dev/vda", ReadBytes: ByteRate{Min: MiB, Max: 8 * MiB}, WriteBytes: ByteRate{Max: 2 * MiB}, Reads: OpsRate{Min: 50, Max: 500, Step: 4},
			}},
		},
		{"limits: {memory: {max: 64MiB, swap: none}}", func(s *Site) any { return s.Limits.Memory }, MemoryLimits{Max: 64 * MiB, Swap: NoSwap}},
		{"limits: {memory: {max: 64MiB, swap: unlimited}}", func(s *Site) any { return s.Limits.Memory.Swap }, AllSwap},
		{"limits: {disk: 10GiB}", func(s *Site) any { return s.Limits.Disk }, DiskLimits{Bytes: 10 * GiB}},
		{"limits: {disk: {inodes: 20000}}", func(s *Site) any { return s.Limits.Disk }, DiskLimits{Inodes: 20000}},
		{"limits: {disk: {bytes: 1MiB, inodes: 1500k}}", func(s *Site) any { return s.Limits.Disk.Inodes.String() }, "1500k"},
		{"keepalive: off", func(s *Site) any { return s.Keepalive }, KeepaliveOff},
		{"keepalive: 10s", func(s *Site) any { return s.Keepalive.Or(KeepaliveOff) }, 10 * time.Second},
		{"udpIdle: off", func(s *Site) any { return s.UDPIdle.Or(Keepalive(2 * time.Minute)) }, time.Duration(0)},
		{"udpIdle: 12h", func(s *Site) any { return s.UDPIdle.Or(KeepaliveOff) }, 12 * time.Hour},
		{"idle: 5m", func(s *Site) any { return s.Keepalive.Or(Keepalive(2 * time.Minute)) }, 2 * time.Minute},
		{"keepalive: off", func(s *Site) any { return s.Keepalive.Or(Keepalive(2 * time.Minute)) }, time.Duration(0)},
		{"limits: {memory: {swap: 16MiB}}", func(s *Site) any { return s.Limits.Memory.Swap }, Swap(16 * MiB)},
		{"limits: {memory: {min: 32MiB, max: 64MiB, follow: true}}", func(s *Site) any { return s.Limits.Memory.Follow }, true},
		{"scale: {min: 3, max: 3}", func(s *Site) any { return s.Idle }, Idle{Never: true}},
		{"scale: {max: 15, target: {conns: 1}}", func(s *Site) any { return s.Scale.Target.Conns }, 1},
		{"scale: {max: 2}", func(s *Site) any { return s.Scale.Spare }, Spare{}},
		{"scale: {max: 4, spare: 0}", func(s *Site) any { return s.Scale.Spare }, Spare{}},
		{"scale: {max: 4, spare: 2}", func(s *Site) any { return s.Scale.Spare }, Spare{Count: 2, Tier: TierFrozen}},
		{"scale: {max: 4, spare: prepared}", func(s *Site) any { return s.Scale.Spare }, Spare{Count: 1, Tier: TierPrepared}},
		{"scale: {max: 4, spare: {count: 3, tier: prepared}}", func(s *Site) any { return s.Scale.Spare }, Spare{Count: 3, Tier: TierPrepared}},
		{"ready: {http: /up}", func(s *Site) any { return s.ProbePort(s.Ready) }, 80},
		{"ready: {http: /up, port: 9}", func(s *Site) any { return s.ProbePort(s.Ready) }, 9},
		{"ready: {tcp: 9000}", func(s *Site) any { return s.Ready.Within() }, 5 * time.Second},
		{"health: {unix: /run/php.sock, every: 1s}", func(s *Site) any { return s.Health }, Health{Probe: Probe{Unix: "/run/php.sock"}, Every: Duration(time.Second)}},
		{"health: {answer: 1m}", func(s *Site) any { return s.Health.Patience() }, time.Minute},
		{"busy: true", func(s *Site) any { return s.Busy }, Busy{CPU: 5, IO: PerSecond(MiB), Connections: true}},
		{"busy: false", func(s *Site) any { return s.Busy }, Busy{}},
		{"busy: {cpu: 0%, io: 0B/s, connections: false}", func(s *Site) any { return s.Busy }, Busy{}},
		{"busy: {io: 512kB/s}", func(s *Site) any { return s.Busy }, Busy{CPU: 5, IO: 512e3, Connections: true}},
		{"busy: {file: /run/busy}", func(s *Site) any { return s.Busy.File }, "/run/busy"},
		{"schedule: ['*/15 * * * * curl  http://127.0.0.1/']", func(s *Site) any { return s.Schedule }, []Task{{At: "*/15 * * * *", Exec: []string{"/bin/sh", "-c", "curl  http://127.0.0.1/"}}}},
		{"schedule: [' 1,31  0-6/2 1 JAN  sun\ta b ', '@weekly date']", func(s *Site) any { return []string{s.Schedule[0].String(), s.Schedule[1].At} }, []string{"1,31 0-6/2 1 JAN sun /bin/sh -c a b", "@weekly"}},
		{"schedule: []", func(s *Site) any { return s.Schedule }, []Task(nil)},
		{"schedule: [{at: '0 0 29 2 *', exec: [a]}]", func(s *Site) any { return s.Schedule[0].Within() }, time.Hour},
		{"tiers: auto", func(s *Site) any { return s.Tiers }, Tiers{Auto: true}},
		{"tiers: [frozen, checkpointed]", func(s *Site) any { return s.Tiers }, Tiers{Rungs: []Rung{{Tier: "frozen"}, {Tier: "checkpointed"}}}},
		{"tiers: [frozen]", func(s *Site) any { return s.Idle }, Idle{Auto: true}},
		{"tiers: [frozen, {tier: cold, after: 24h}]", func(s *Site) any { return s.Idle }, Idle{After: ListIdle}},
		{"class: gold", func(s *Site) any { return s.Class }, "gold"},
		{"objective: {late: 0.5%}", func(s *Site) any { return own(s) }, "0.5% 100ms"},
		{"objective: {late: 0.5%, over: 50ms}", func(s *Site) any { return own(s) }, "0.5% 50ms"},
		{"objective: {cold: 2%}", func(s *Site) any { return own(s) }, "2% 10ms"},
		{"objective: {wake: 1s}", func(s *Site) any { return own(s) }, "0% 0s"},
		{"", func(s *Site) any { return s.Planned() }, true},
		{"idle: 5m", func(s *Site) any { return s.Planned() }, true},
		{"idle: never", func(s *Site) any { return s.Planned() }, false},
		{"tiers: [frozen, cold]", func(s *Site) any { return s.Planned() }, true},
		{"idle: 5m\ntiers: [frozen, cold]", func(s *Site) any { return s.Planned() }, false},
		{"tiers: [{tier: frozen, after: 1m}, cold]", func(s *Site) any { return s.Planned() }, false},
		{"tiers: [{tier: frozen, after: 10s}]", func(s *Site) any { return s.Idle }, Idle{After: Duration(10 * time.Second)}},
		{"tiers: [{tier: frozen, after: 10s}]\nidle: 10s", func(s *Site) any { return s.Tiers.Rungs[0].After }, Duration(10 * time.Second)},
		{"lifetime: 90m", func(s *Site) any { return s.Lifetime }, Lifetime{After: Duration(90 * time.Minute), Jitter: 10}},
		{"lifetime: auto", func(s *Site) any { return s.Lifetime }, Lifetime{Within: Duration(168 * time.Hour), Jitter: 10}},
		{"lifetime: {within: 3h, jitter: 0%}", func(s *Site) any { return s.Lifetime }, Lifetime{Within: Duration(3 * time.Hour)}},
		{"lifetime: never", func(s *Site) any { return s.Lifetime }, Lifetime{Jitter: 10}},
		{"lifetime: {after: 1h}", func(s *Site) any { return s.Lifetime }, Lifetime{After: Duration(time.Hour), Jitter: 10}},
		{"circulate: {drain: 0s}", func(s *Site) any { return s.Circulate }, Circulate{Overlap: true}},
		{"circulate: {ahead: true}", func(s *Site) any { return s.Circulate.Drain }, Duration(30 * time.Second)},
		{"checkpoint: {clonable: true}", func(s *Site) any { return s.Checkpoint }, Checkpoint{Clonable: true, Warm: 3}},
		{"objective: {cold: 1%}", func(s *Site) any { return s.Objective }, Objective{Cold: 1}},
		{"addresses: ['fd77:fc::1']", func(s *Site) any { return s.Addresses[0].String() }, "fd77:fc::1"},
	} {
		t.Run(test.fragment, func(t *testing.T) {
			src := required + test.fragment + "\n"
			if strings.Contains(test.fragment, "entrypoint: ['']") {
				src = required + "entrypoint: [sh]\ncommand: ['']\n"
			}
			got, err := Parse("x", strings.NewReader(src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, test.look(&got[0]), exact); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := validate(t, src); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
		})
	}
}

// badSpecs are refused by Parse, and by the schema unless it cannot say so.
var badSpecs = []struct {
	name     string
	fragment string // after the three lines of required, so from line 4 on; or a whole spec
	want     string // line:column: field: start of the message
	noSchema bool   // the schema cannot express it
}{
	{"unknown field", "colour: red", "4:1: colour: unknown field", false},
	{"misspelt field", "domians: [a]", "4:1: domians: unknown field; did you mean domains?", false},
	{"case of a field", "ReadonlyRoot: true", "4:1: ReadonlyRoot: unknown field; did you mean readOnlyRoot?", false},
	{"dash in a field", "read-only-root: true", "4:1: read-only-root: unknown field; did you mean readOnlyRoot?", false},
	{"word of others", "environment: {A: b}", "4:1: environment: unknown field; did you mean env?", false},
	{"field of another level", "memory: 1GiB", "4:1: memory: unknown field; did you mean limits.memory?", false},
	{"capability of nobody", "capabilities: {add: [NET_RAWW]}", `4:22: capabilities.add[0]: "NET_RAWW" is not a capability that a site can have; did you mean NET_RAW?`, false},
	{"capability of the machine", "capabilities: {add: [SYS_ADMIN]}", `4:22: capabilities.add[0]: "SYS_ADMIN" is not a capability that a site can have`, false},
	{"all capabilities", "capabilities: {add: [ALL]}", `4:22: capabilities.add[0]: "ALL" is not a capability that a site can have`, true},
	{"capability in small letters", "capabilities: {drop: [cap_chown]}", `4:23: capabilities.drop[0]: "cap_chown" is not a capability that a site can have; did you mean CHOWN?`, false},
	{"capability twice", "capabilities: {drop: [KILL, CAP_KILL]}", "4:29: capabilities.drop[1]: KILL stands in the list twice", true},
	{"capability added and dropped", "capabilities: {add: [NET_RAW], drop: [NET_RAW]}", "4:39: capabilities.drop[0]: NET_RAW is added, too", true},
	{"user namespace of nobody", "userns: own", `4:9: userns: "own" is not such a namespace`, false},
	{"profile of no name", "apparmor: 'a b'", `4:11: apparmor: "a b" is not the name of an AppArmor profile`, true},
	{"version of fcnode's profile", "apparmor: fcnode-site-0123", "4:11: apparmor: fcnode-site-0123 is a version of fcnode's own profile: write default", true},
	{"raw sockets in a user namespace", "userns: private\ncapabilities: {add: [NET_RAW]}", "5:22: capabilities.add[0]: NET_RAW has no effect", true},
	{"devices in a user namespace", "userns: private\nvolumes: [{source: /a, target: /b, dev: true}]", "5:41: volumes[0].dev: has no effect", true},
	{"no new privileges in words", "noNewPrivileges: never", `4:18: noNewPrivileges: "never" is a string`, false},
	{"unknown inner field", "limits: {cpu: {maximum: 1}}", "4:16: limits.cpu.maximum: unknown field in limits.cpu", false},
	{"misspelt inner field", "volumes: [{source: /a, target: /b, readonly: true}]", "4:36: volumes[0].readonly: unknown field in volumes[0]; did you mean volumes[0].readOnly?", false},
	{"field twice", "idle: 5m\nidle: 6m", "5:1: idle: is set twice, first in line 4", true},
	{"field without value", "domains:", "4:1: domains: has no value", false},
	{"null", "command: ~", "4:1: command: has no value", false},
	{"null in a list", "command: [a, null]", "4:10: command[1]: has no value", false},
	{"number as key", "env: {1: a}", "4:7: env: the key 1 is no string", false},
	{"a list, not a site", "-- whole\n- name: a\n", "2:1: : is a list", false},
	{"a word, not a site", "-- whole\nblog\n", `2:1: : "blog" is a single value`, false},

	{"no name", "-- whole\nimage: dir:/a\nports: [80]\n", "2:1: name: is missing", false},
	{"no image", "-- whole\nname: a\nports: [80]\n", "2:1: image: is missing", false},
	{"no ports", "-- whole\nname: a\nimage: dir:/a\n", "2:1: ports: is missing", false},
	{"name in upper case", "-- whole\nname: Blog\nimage: dir:/a\nports: [80]\n", `2:7: name: "Blog" is not a DNS label`, false},
	{"name too long", "-- whole\nname: " + strings.Repeat("a", 64) + "\nimage: dir:/a\nports: [80]\n", `2:7: name: "aaa`, false},
	{"name a number", "-- whole\nname: 7\nimage: dir:/a\nports: [80]\n", `2:7: name: 7 is a number; for the string write "7"`, false},
	{"name empty", "-- whole\nname: ''\nimage: dir:/a\nports: [80]\n", "2:7: name: is missing", false},
	{"image of a registry", "-- whole\nname: a\nimage: docker://docker.io/library/nginx:1\nports: [80]\n", `3:8: image: "docker://docker.io/library/nginx:1" is not an image; did you mean docker.io/library/nginx:1?`, false},
	{"image of a registry with a bad digest", "-- whole\nname: a\nimage: docker.io/library/nginx@sha256:abc\nports: [80]\n", `3:8: image: "docker.io/library/nginx@sha256:abc" is not an image; allowed`, false},
	{"image with a path but no registry", "-- whole\nname: a\nimage: bitnami/nginx:1\nports: [80]\n", `3:8: image: "bitnami/nginx:1" is not an image without its registry; did you mean docker.io/bitnami/nginx:1?`, false},
	{"image without a registry", "-- whole\nname: a\nimage: nginx\nports: [80]\n", `3:8: image: "nginx" is not an image without its registry; did you mean docker.io/library/nginx?`, false},
	{"image relative", "-- whole\nname: a\nimage: oci:images/a\nports: [80]\n", `3:8: image: "oci:images/a" is not an image: its path is not absolute; allowed`, false},
	{"image a path", "-- whole\nname: a\nimage: /srv/root\nports: [80]\n", `3:8: image: "/srv/root" is not an image; did you mean dir:/srv/root?`, false},
	{"image not clean", "-- whole\nname: a\nimage: dir:/srv/../etc\nports: [80]\n", `3:8: image: "/srv/../etc" is not a clean path; did you mean /etc?`, true},

	{"domain in upper case", "domains: [Blog.Example.COM]", `4:11: domains[0]: "Blog.Example.COM" is not a domain; did you mean blog.example.com?`, false},
	{"domain with a dot at the end", "domains: [example.com.]", "4:11: domains[0]: \"example.com.\" is not a domain; did you mean example.com?", false},
	{"domain an address", "domains: [10.0.0.1]", `4:11: domains[0]: "10.0.0.1" is not a domain`, false},
	{"domain not ASCII", "domains: [bücher.example]", `4:11: domains[0]: "bücher.example" is not a domain: write it in its ASCII form`, false},
	{"domain twice", "domains: [a.example, a.example]", `4:22: domains[1]: "a.example" stands in the list twice`, false},
	{"domain with a wildcard", "domains: ['*.example.com']", `4:11: domains[0]: "*.example.com" is not a domain`, false},
	{"domain not ASCII, with its ASCII form", "domains: [bücher.example]", `4:11: domains[0]: "bücher.example" is not a domain: write it in its ASCII form, xn--bcher-kva.example`, false},
	{"needs itself", "needs: [db, blog]", "4:13: needs[1]: blog is this site itself", true},
	{"needs the same twice", "needs: [db, db]", "4:13: needs[1]: db stands in the list twice", false},
	{"needs an address", "needs: [10.1.0.5]", `4:9: needs[0]: "10.1.0.5" is not the name of a site`, false},
	{"needs in compose's word", "depends_on: [db]", "4:1: depends_on: unknown field; did you mean needs?", false},
	{"network: no rate", "network: {rate: {packets: 0}}", "4:27: network.rate.packets: 0 is out of range", false},
	{"network: rate in words", "network: {rate: {connections: many}}", `4:31: network.rate.connections: "many" is not a number`, false},
	{"gateway without domains", "gateway: {https: both}", "4:10: gateway: has no effect: the site has no domains", true},
	{"gateway: no such word", "domains: [a.example]\ngateway: {https: pasthrough}", `5:18: gateway.https: "pasthrough" is none of them; did you mean passthrough?`, false},
	{"gateway: no such www", "domains: [a.example]\ngateway: {www: both}", `5:16: gateway.www: "both" is none of them`, false},
	{"gateway: no such protocol", "domains: [a.example]\ngateway: {protocol: h2}", `5:21: gateway.protocol: "h2" is none of them; did you mean h2c?`, false},
	{"gateway: no such version", "domains: [a.example]\ngateway: {proxyProtocol: v3}", `5:26: gateway.proxyProtocol: "v3" is none of them`, false},
	{"gateway: another port", "domains: [a.example]\ngateway: {port: 8080}", "5:17: gateway.port: 8080/tcp is not among the ports of the site", true},
	{"gateway: passthrough without 443", "domains: [a.example]\ngateway: {https: passthrough}", "5:10: gateway: has no port to forward to", true},
	{"gateway: hsts too short", "domains: [a.example]\ngateway: {hsts: 1ms}", "5:17: gateway.hsts: 1ms is out of range", true},
	{"gateway: hsts without https", "domains: [a.example]\ngateway: {hsts: 1h, https: off}", "5:17: gateway.hsts: has no effect with https: off", true},
	{"gateway: waiting page in a stream", "domains: [a.example]\ngateway: {port: 80, https: passthrough, waitingPage: true}", "5:54: gateway.waitingPage: has no effect with https: passthrough", true},
	{"gateway: certificates without a file", "domains: [a.example]\ngateway: {clientCertificates: {optional: true}}", "5:31: gateway.clientCertificates.ca: is missing", false},
	{"gateway: certificates without TLS", "domains: [a.example]\ngateway: {https: both, clientCertificates: {ca: /a}}", "5:44: gateway.clientCertificates: would not be asked for without TLS", true},
	{"gateway: nothing ignored", "domains: [a.example]\ngateway: {ignore: {status: 200}}", "5:19: gateway.ignore: lists nothing to ignore", true},
	{"gateway: ignored path", "domains: [a.example]\ngateway: {ignore: {paths: [up]}}", `5:28: gateway.ignore.paths[0]: "up" does not begin with /`, false},
	{"gateway: star in a path", "domains: [a.example]\ngateway: {ignore: {paths: [/a*b]}}", `5:28: gateway.ignore.paths[0]: "/a*b" has a * elsewhere`, false},
	{"gateway: ignored status", "domains: [a.example]\ngateway: {ignore: {paths: [/up], status: 99}}", "5:42: gateway.ignore.status: 99 is out of range", false},
	{"gateway: unknown field", "domains: [a.example]\ngateway: {tls: both}", "5:11: gateway.tls: unknown field in gateway; did you mean gateway.https?", false},
	{"dns: itself", "dns: [127.0.0.1]", "4:7: dns.servers[0]: 127.0.0.1 would be the site itself", true},
	{"dns: no address", "dns: {servers: [dns.example.com]}", `4:17: dns.servers[0]: "dns.example.com" is not valid`, false},
	{"dns: a link's address", "dns: ['fe80::1']", "4:7: dns.servers[0]: fe80::1 cannot be a name server", true},
	{"dns: too many", "dns: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]", "4:6: dns.servers: has 4", false},
	{"dns: twice", "dns: {servers: [192.0.2.1, 192.0.2.1]}", "4:28: dns.servers[1]: 192.0.2.1 stands in the list twice", true},
	{"dns: search", "dns: {search: [example.com.]}", `4:16: dns.search[0]: "example.com." is not a domain`, false},
	{"dns: a line in a domain", `dns: {search: ["a\nnameserver 192.0.2.66"]}`, `4:16: dns.search[0]: "a\nnameserver 192.0.2.66" is not a domain`, false},
	{"dns: option", "dns: {options: ['ndots 2']}", `4:17: dns.options[0]: "ndots 2" is not an option`, false},
	{"dns: unknown field", "dns: {nameserver: [192.0.2.1]}", "4:7: dns.nameserver: unknown field in dns; did you mean dns.servers?", false},
	{"dns: a word", "dns: 192.0.2.1", `4:6: dns: "192.0.2.1" is a single value`, false},
	{"extraHosts: no address", "extraHosts: {db: db.example}", `4:18: extraHosts.db: "db.example" is not an address`, false},
	{"extraHosts: none", "extraHosts: {db: []}", "4:18: extraHosts.db: has no address", false},
	{"extraHosts: bad name", "extraHosts: {'db 1': 10.1.0.5}", `4:22: extraHosts.db 1: "db 1" is not a host name`, false},
	{"extraHosts: localhost", "extraHosts: {localhost: 10.1.0.5}", "4:25: extraHosts.localhost: localhost is the site itself", true},
	{"extraHosts: a list", "extraHosts: ['db:10.1.0.5']", "4:13: extraHosts: is a list", false},
	{"extraHosts: any address", "extraHosts: {db: [10.1.0.5, 0.0.0.0]}", "4:29: extraHosts.db[1]: 0.0.0.0 cannot be the address of a host", true},
	{"domains no list", "domains: a.example", "4:10: domains: is a single value; for a list of one write [a.example]", false},

	{"entrypoint a string", "entrypoint: nginx -g", "4:13: entrypoint: is a single value; for a list of one write [nginx -g]", false},
	{"entrypoint empty string", "entrypoint: ['']", "4:14: entrypoint[0]: is empty", true},
	{"argument a number", "command: [sleep, 5]", `4:18: command[1]: 5 is a number; for the string write "5"`, false},
	{"argument with NUL", `command: ["a\0b"]`, "4:11: command[0]: has a NUL character", true},
	{"env a list", "env: [A=b]", "4:6: env: is a list", false},
	{"env a number", "env: {PORT: 8080}", `4:13: env.PORT: 8080 is a number; for the string write "8080"`, false},
	{"env a boolean", "env: {DEBUG: true}", `4:14: env.DEBUG: true is a boolean; for the string write "true"`, false},
	{"env without a value", "env:\n  A:", "5:3: env.A: has no value", false},
	{"env with a bad name", "env: {'A=B': c}", `4:14: env.A=B: "A=B" is not the name of a variable`, false},
	{"env too long", "env: {A: " + strings.Repeat("x", maxText+1) + "}", "4:10: env.A: has 131072 bytes", true},
	{"workdir relative", "workdir: www", `4:10: workdir: "www" is not an absolute clean path`, false},
	{"user with three parts", "user: a:b:c", `4:7: user: "a:b:c" is not a user`, false},
	{"user negative", "user: -1", `4:7: user: "-1" is not a user`, false},
	{"hostname", "hostname: a_b", `4:11: hostname: "a_b" is not a DNS label`, false},

	{"address a prefix", "addresses: [10.77.0.0/16]", `4:13: addresses[0]: "10.77.0.0/16" is not valid`, false},
	{"address empty", "addresses: ['']", `4:13: addresses[0]: "" is not valid`, false},
	{"address with a zone", "addresses: ['fd77::1%eth0']", "4:13: addresses[0]: fd77::1%eth0 cannot be", false},
	{"address loopback", "addresses: [127.0.0.1]", "4:13: addresses[0]: 127.0.0.1 cannot be", true},
	{"address link-local", "addresses: ['fe80::1']", "4:13: addresses[0]: fe80::1 cannot be", true},
	{"address v4 in v6", "addresses: ['::ffff:10.0.0.1']", "4:13: addresses[0]: ::ffff:10.0.0.1 cannot be", true},
	{"two addresses of a family", "addresses: [10.77.0.1, 10.77.0.2]", "4:24: addresses[1]: 10.77.0.2 is a second", true},

	{"port 0", "-- ports [0]", `3:9: ports[0]: "0" is not a port`, false},
	{"port too large", "-- ports [65536]", `3:9: ports[0]: "65536" is not a port`, false},
	{"port mapped", "-- ports ['8080:80']", `3:9: ports[0]: "8080:80" is not a port: ports are not mapped, a site has an address of its own; write 80`, false},
	{"port of SCTP", "-- ports [80/sctp]", `3:9: ports[0]: "80/sctp" is not a port`, false},
	{"port in upper case", "-- ports [80/TCP]", `3:9: ports[0]: "80/TCP" is not a port`, false},
	{"port with a zero", "-- ports ['080']", `3:9: ports[0]: "080" is not a port`, false},
	{"range backwards", "-- ports [90-80]", `3:9: ports[0]: "90-80" is no range`, true},
	{"range of one", "-- ports [80-80/udp]", `3:9: ports[0]: "80-80/udp" is no range`, true},
	{"range to nowhere", "-- ports [80-]", `3:9: ports[0]: "80-" is not a port`, false},
	{"range too high", "-- ports [80-65536]", `3:9: ports[0]: "80-65536" is not a port`, false},
	{"range mapped", "-- ports ['8080-8090:80-90']", `3:9: ports[0]: "8080-8090:80-90" is not a port: ports are not mapped, a site has an address of its own; write 80-90`, false},
	{"port in a range", "-- ports [5000-5100, 5050]", "3:20: ports[1]: 5050/tcp overlaps with 5000-5100/tcp", true},
	{"ranges overlap", "-- ports [53, 5000-5100/udp, 5100-5200/udp]", "3:28: ports[2]: 5100-5200/udp overlaps with 5000-5100/udp", true},
	{"range twice", "-- ports [80-90, 80-90/tcp]", "3:16: ports[1]: 80-90/tcp stands in the list twice", true},
	{"ranges too large", "-- ports [1-16000, 20000-20384]", "3:8: ports: has 16385", true},
	{"range in a rule", "network: {allow: ['10.1.0.5:80-90/tcp']}", `4:19: network.allow[0]: "10.1.0.5:80-90/tcp" has a range of ports, and rules are for one port each`, false},
	{"gateway at a port beside a range", "-- ports [8000-8010]\ndomains: [a.example]\ngateway: {port: 8011}", "5:17: gateway.port: 8011/tcp is not among the ports", true},
	{"gateway without a port but ranges", "-- ports [8000-8010]\ndomains: [a.example]\ngateway: {https: both}", "5:10: gateway: has no port to forward to", true},
	{"port twice", "-- ports [80, 80]", "3:13: ports[1]: 80/tcp stands in the list twice", false},
	{"port twice in other words", "-- ports [80, 80/tcp]", "3:13: ports[1]: 80/tcp stands in the list twice", true},
	{"ports empty", "-- ports []", "3:8: ports: is missing", false},
	{"ports no list", "-- ports 80", "3:8: ports: is a single value; for a list of one write [80]", false},
	{"33 ports", "-- ports " + portList(33), "3:8: ports: has 33 of them", false},

	{"volume source relative", "volumes: [{source: srv, target: /a}]", `4:20: volumes[0].source: "srv" is not an absolute clean path`, false},
	{"volume source is the root", "volumes: [{source: /, target: /a}]", "4:20: volumes[0].source: may not be the root", false},
	{"volume without a source", "volumes: [{target: /a}]", "4:11: volumes[0].source: is missing", false},
	{"NFS without a path", "volumes: [{source: \"nfs://files\", target: /a}]", `4:20: volumes[0].source: "nfs://files" is not of the form nfs://SERVER`, false},
	{"NFS of no server", "volumes: [{source: \"nfs:///a\", target: /a}]", `4:20: volumes[0].source: "nfs:///a" is not of the form`, false},
	{"NFS of a strange server", "volumes: [{source: \"nfs://a,b/a\", target: /a}]", `4:20: volumes[0].source: "a,b" is neither a name nor an address`, false},
	{"NFS at a strange port", "volumes: [{source: \"nfs://files:0/a\", target: /a}]", `4:20: volumes[0].source: "0" is not a port`, true},
	{"NFS of a bare IPv6 address", "volumes: [{source: \"nfs://fd00::1/a\", target: /a}]", `4:20: volumes[0].source: "fd00:" is neither`, false},
	{"NFS that climbs", "volumes: [{source: \"nfs://files/a/../b\", target: /a}]", `4:20: volumes[0].source: "/a/../b" is not a clean path`, false},
	{"NFS of all", "volumes: [{source: \"nfs://files/\", target: /a}]", "4:20: volumes[0].source: may not be the root of all", false},
	{"NFS with devices", "volumes: [{source: \"nfs://files/a\", target: /a, dev: true}]", "4:20: volumes[0].source: what a server exports is mounted nosuid and nodev", true},
	{"NFS by a link", "volumes: [{source: \"nfs://files/a\", target: /a, follow: true}]", "4:57: volumes[0].follow: no link on a server is followed", true},
	{"NFS as a mount point", "volumes: [{source: \"nfs://files/a\", target: /a, mountpoint: true}]", "4:61: volumes[0].mountpoint: the node mounts nfs://files/a itself", true},
	{"soft on a disk", "volumes: [{source: /a, target: /b, soft: true}]", "4:42: volumes[0].soft: nothing else waits for a server", true},
	{"volume with a source and a name", "volumes: [{name: html, source: /a, target: /b}]", "4:18: volumes[0].name: the volume has a source already, /a", false},
	{"volume name with a slash", "volumes: [{name: a/b, target: /b}]", `4:18: volumes[0].name: "a/b" is not the name of a volume`, false},
	{"volume name with dots", "volumes: [{name: .., target: /b}]", `4:18: volumes[0].name: ".." is not the name of a volume`, false},
	{"named volume that is a link", "volumes: [{name: a, target: /b, follow: true}]", "4:41: volumes[0].follow: a volume that the node keeps is no link", true},
	{"link in words", "volumes: [{source: /a, target: /b, follow: yes}]", `4:44: volumes[0].follow: "yes" is a string; write true`, false},
	{"secret without a name", "secrets: [{env: DB}]", "4:11: secrets[0].name: is missing", false},
	{"secret with a path for a name", "secrets: [/db]", `4:11: secrets[0].name: "/db" is not the name of a secret`, false},
	{"secret with a relative source", "secrets: [{name: db, source: db}]", `4:30: secrets[0].source: "db" is not an absolute clean path`, false},
	{"secret in /proc", "secrets: [{name: db, target: /proc/db}]", "4:30: secrets[0].target: /proc/db belongs to the container", true},
	{"secret of a bad user", "secrets: [{name: db, owner: 'a b'}]", `4:29: secrets[0].owner: "a b" is not a user`, false},
	{"secret with a decimal mode", "secrets: [{name: db, mode: 440}]", `4:28: secrets[0].mode: "440" is not a mode; allowed`, true},
	{"secret that nobody can read", "secrets: [{name: db, mode: '0000'}]", "4:28: secrets[0].mode: with 0000 nobody could read it", true},
	{"secret in a bad variable", "secrets: [{name: db, env: 1DB}]", `4:27: secrets[0].env: "1DB" is not the name of a variable`, false},
	{"secret in a variable and a file", "secrets: [{name: db, env: DB, mode: 0440}]", "4:27: secrets[0].env: a variable has none of them", true},
	{"secret in a variable of env", "env: {DB: x}\nsecrets: [{name: db, env: DB}]", "5:27: secrets[0].env: DB is in env already", true},
	{"secrets in one variable", "secrets: [{name: a, env: DB}, {name: b, env: DB}]", "4:46: secrets[1].env: DB is the variable of secrets[0] already", true},
	{"secrets at one target", "secrets: [db, {name: a, target: /run/secrets/db}]", "4:33: secrets[1].target: /run/secrets/db and /run/secrets/db of secrets[0]", true},
	{"secret in another", "secrets: [{name: a, target: /a}, {name: b, target: /a/b}]", "4:52: secrets[1].target: /a/b and /a of secrets[0]", true},
	{"secret over a volume", "volumes: [{name: a, target: /a/b}]\nsecrets: [{name: a, target: /a}]", "5:29: secrets[0].target: /a would hide /a/b of volumes[0]", true},
	{"secret over memory", "tmpfs: [/a]\nsecrets: [{name: a, target: /a}]", "5:29: secrets[0].target: /a would hide /a of tmpfs[0]", true},
	{"secret of a misspelt field", "secrets: [{name: a, file: /a}]", "4:21: secrets[0].file: unknown field in secrets[0]; did you mean secrets[0].source?", false},
	{"tmpfs at /dev/shm", "tmpfs: [/dev/shm]", "4:9: tmpfs[0].target: /dev/shm is in memory in any case", true},
	{"tmpfs in /proc", "tmpfs: [{target: /proc/x}]", "4:18: tmpfs[0].target: /proc/x belongs to the container", true},
	{"tmpfs relative", "tmpfs: [tmp]", `4:9: tmpfs[0].target: "tmp" is not an absolute clean path`, false},
	{"tmpfs over the root", "tmpfs: [/]", "4:9: tmpfs[0].target: may not be the root", false},
	{"tmpfs without a target", "tmpfs: [{size: 1MiB}]", "4:9: tmpfs[0].target: is missing", false},
	{"tmpfs twice", "tmpfs: [/tmp, /tmp]", "4:15: tmpfs[1].target: /tmp stands in the list twice", true},
	{"tmpfs over another", "tmpfs: [/a/b, /a]", "4:15: tmpfs[1].target: /a would hide /a/b of tmpfs[0]", true},
	{"tmpfs over a volume", "volumes: [{source: /s, target: /a}]\ntmpfs: [/a]", "5:9: tmpfs[0].target: /a is the target of volumes[0] already", true},
	{"tmpfs too small", "tmpfs: [{target: /a, size: 1KiB}]", "4:28: tmpfs[0].size: 1KiB is too small", true},
	{"tmpfs larger than all memory", "tmpfs: [{target: /a, size: 1GiB}]\nlimits: {memory: 512MiB}", "4:28: tmpfs[0].size: 1GiB can never be used: all memory of the site is at most 512MiB", true},
	{"shm without a unit", "shmSize: 64", `4:10: shmSize: "64" is not a size: it has no unit`, false},
	{"shm larger than all memory", "shmSize: 1GiB\nlimits: {memory: {max: 512MiB}}", "4:10: shmSize: 1GiB can never be used", true},
	{"architecture by another name", "architectures: [amd64, i386]", `4:24: architectures[1]: "i386" is not an architecture of programs; did you mean 386?`, false},
	{"architecture misspelt", "architectures: [amd46]", `4:17: architectures[0]: "amd46" is not an architecture of programs; did you mean amd64?`, false},
	{"architecture that there is none of", "architectures: [vax]", `4:17: architectures[0]: "vax" is not an architecture of programs`, false},
	{"architecture alone", "architectures: [386]", "4:17: architectures[0]: 386 needs amd64 in the list, too", true},
	{"architecture twice", "architectures: [arm64, arm64]", "4:24: architectures[1]: arm64 stands in the list twice", true},
	{"architecture as a word", "architectures: amd64", "4:16: architectures: ", false},
	{"volume name twice", "volumes: [{name: a, target: /b}, {name: a, target: /c}]", "4:41: volumes[1].name: a is in the list already", true},
	{"named volume as a mount point", "volumes: [{name: a, target: /b, mountpoint: true}]", "4:18: volumes[0].name: at a volume that the node keeps nothing is mounted", true},
	{"mount point in words", "volumes: [{source: /a, target: /b, mountpoint: yes}]", `4:48: volumes[0].mountpoint: "yes" is a string; write true`, false},
	{"named volume with devices", "volumes: [{name: a, target: /b, dev: true}]", "4:18: volumes[0].name: a volume that the node keeps", true},
	{"imageVolumes in other words", "imageVolumes: none", `4:15: imageVolumes: "none" is neither`, false},
	{"volume without a target", "volumes:\n  - source: /a", "5:5: volumes[0].target: is missing", false},
	{"volume target is the root", "volumes: [{source: /a, target: /}]", "4:32: volumes[0].target: may not be the root", false},
	{"volume target not clean", "volumes: [{source: /a, target: /a/../b}]", `4:32: volumes[0].target: "/a/../b" is not an absolute clean path; did you mean /b?`, false},
	{"volume target with a dot", "volumes: [{source: /a, target: /./b}]", `4:32: volumes[0].target: "/./b" is not`, false},
	{"volume target with a slash at the end", "volumes: [{source: /a, target: /b/}]", `4:32: volumes[0].target: "/b/" is not`, false},
	{"volume target twice", "volumes: [{source: /a, target: /b}, {source: /c, target: /b}]", "4:58: volumes[1].target: /b is the target of volumes[0] already", true},
	{"volume hides another", "volumes: [{source: /a, target: /b/c}, {source: /c, target: /b}]", "4:60: volumes[1].target: /b would hide /b/c of volumes[0]", true},
	{"volume over proc", "volumes: [{source: /a, target: /proc/sys}]", "4:32: volumes[0].target: /proc/sys belongs to the container", true},
	{"volume read-only in words", "volumes: [{source: /a, target: /b, readOnly: yes}]", `4:46: volumes[0].readOnly: "yes" is a string; write true`, false},
	{"volume as a string", "volumes: [/a:/b]", `4:11: volumes[0]: "/a:/b" is a single value`, false},

	{"cpu in thousandths", "limits: {cpu: 500m}", `4:15: limits.cpu: "500m" is not a number of cores; for 500 thousandths write 0.5`, false},
	{"cpu too small", "limits: {cpu: 0.001}", "4:15: limits.cpu.max: 0.001 is out of range", false},
	{"cpu zero", "limits: {cpu: 0}", "4:15: limits.cpu: 0 is no CPU time", false},
	{"cpu min zero", "limits: {cpu: {min: 0}}", "4:21: limits.cpu.min: 0 is no CPU time", false},
	{"cpu too much", "limits: {cpu: {max: 2000}}", "4:21: limits.cpu.max: 2000 is out of range", false},
	{"cpu infinite", "limits: {cpu: .inf}", `4:15: limits.cpu: ".inf" is not a number of cores`, true},
	{"cpu not a number", "limits: {cpu: .nan}", `4:15: limits.cpu: ".nan" is not a number of cores`, true},
	{"cpu min above max", "limits: {cpu: {min: 2, max: 1}}", "4:21: limits.cpu.min: 2 is more than limits.cpu.max, 1", true},
	{"memory without a unit", "limits: {memory: 512}", `4:18: limits.memory: "512" is not a size: it has no unit`, false},
	{"memory in small letters", "limits: {memory: 512mb}", `4:18: limits.memory: "512mb" is not a size; did you mean 512MiB?`, false},
	{"memory with a space", "limits: {memory: 512 MiB}", `4:18: limits.memory: "512 MiB" is not a size; did you mean 512MiB?`, false},
	{"memory negative", "limits: {memory: -1MiB}", `4:18: limits.memory: "-1MiB" is not a size`, false},
	{"memory of parts of a byte", "limits: {memory: {max: 1.5B}}", `4:24: limits.memory.max: "1.5B" is not a whole number of bytes`, true},
	{"memory too large", "limits: {memory: 99999999TiB}", `4:18: limits.memory: "99999999TiB" is too large`, true},
	{"memory too small", "limits: {memory: 512B}", "4:18: limits.memory.max: 512B is too small", true},
	{"memory zero", "limits: {memory: {max: 0B}}", `4:24: limits.memory.max: "0B" is not a size`, true},
	{"memory min above max", "limits: {memory: {min: 2GiB, max: 1GiB}}", "4:24: limits.memory.min: 2GiB is more than limits.memory.max, 1GiB", true},
	{"memory high above max", "limits: {memory: {high: 2GiB, max: 1GiB}}", "4:25: limits.memory.high: 2GiB is more than limits.memory.max, 1GiB", true},
	{"disk too small", "limits: {disk: 512KiB}", "4:16: limits.disk.bytes: 512KiB is too small", true},
	{"disk without a unit", "limits: {disk: 10}", `4:16: limits.disk: "10" is not a size: it has no unit`, false},
	{"few inodes", "limits: {disk: {inodes: 999}}", "4:25: limits.disk.inodes: 999 is too small", true},
	{"no inodes", "limits: {disk: {inodes: 0}}", `4:25: limits.disk.inodes: "0" is no such number`, false},
	{"inodes with a unit of bytes", "limits: {disk: {inodes: 1MiB}}", `4:25: limits.disk.inodes: "1MiB" is no such number`, false},
	{"too many inodes", "limits: {disk: {inodes: 999999999999999G}}", `4:25: limits.disk.inodes: "999999999999999G" is too large`, true},
	{"pids zero", "limits: {pids: 0}", "4:16: limits.pids.max: 0 is out of range", false},
	{"pids negative", "limits: {pids: -1}", "4:16: limits.pids.max: -1 is out of range", false},
	{"pids octal", "limits: {pids: 0512}", "4:16: limits.pids: 0512 is a number of a form not read here", true},
	{"pids a fraction", "limits: {pids: 1.5}", "4:16: limits.pids: 1.5 is a number with a fraction", false},
	{"pids a string", "limits: {pids: '512'}", `4:16: limits.pids: "512" is a string`, false},
	{"limits a string", "limits: none", `4:9: limits: "none" is a single value`, false},

	{"pids min above max", "limits: {pids: {min: 9, max: 8}}", "4:22: limits.pids.min: 9 is more than limits.pids.max, 8", true},
	{"pids min zero", "limits: {pids: {min: 0}}", "4:22: limits.pids.min: is empty", false},
	{"step too small", "limits: {cpu: {min: 1, max: 2, step: 1}}", "4:38: limits.cpu.step: 1 is out of range", false},
	{"step zero", "limits: {pids: {min: 1, step: 0}}", "4:31: limits.pids.step: is empty", false},
	{"step of nothing", "limits: {memory: {max: 1GiB, step: 4}}", "4:36: limits.memory.step: 4 has no effect", true},
	{"io without a device", "limits: {io: [{rbps: 1MiB}]}", "4:15: limits.io[0].device: is missing", false},
	{"io of a name", "limits: {io: [{device: vda, rbps: 1MiB}]}", `4:24: limits.io[0].device: "vda" is not an absolute clean path`, false},
	{"io of nothing", "limits: {io: [{device: /dev/vda}]}", "4:15: limits.io[0]: limits nothing", true},
	{"io device twice", "limits: {io: [{device: /dev/vda, rbps: 1MiB}, {device: /dev/vda, wbps: 1MiB}]}", "4:56: limits.io[1].device: /dev/vda stands in the list twice", true},
	{"io min above max", "limits: {io: [{device: /dev/vda, wbps: {min: 2MiB, max: 1MiB}}]}", "4:46: limits.io[0].wbps.min: 2MiB is more than limits.io[0].wbps.max, 1MiB", true},
	{"io operations, min above max", "limits: {io: [{device: /dev/vda, riops: {min: 9, max: 8}}]}", "4:47: limits.io[0].riops.min: 9 is more than limits.io[0].riops.max, 8", true},
	{"io without max", "limits: {io: [{device: /dev/vda, rbps: {min: 1MiB}}]}", "4:40: limits.io[0].rbps: has no max", true},
	{"io step without a range", "limits: {io: [{device: /dev/vda, rbps: {max: 1MiB, step: 3}}]}", "4:58: limits.io[0].rbps.step: 3 has no effect", true},
	{"follow without a range", "limits: {memory: {max: 64MiB, follow: true}}", "4:39: limits.memory.follow: has no effect", true},
	{"swap in words", "limits: {memory: {swap: much}}", `4:25: limits.memory.swap: "much" is no amount of swap`, false},
	{"keepalive of nothing", "keepalive: 0s", "4:12: keepalive: 0s is out of range", true},
	{"udpIdle too short", "udpIdle: 9s", "4:10: udpIdle: 9s is out of range", true},
	{"udpIdle in words", "udpIdle: never", `4:10: udpIdle: "never" is not a duration`, false},
	{"keepalive too long", "keepalive: 13h", "4:12: keepalive: 13h is out of range", true},
	{"keepalive of fractions", "keepalive: 10s500ms", "4:12: keepalive: 10s500ms is out of range", true},
	{"keepalive in words", "keepalive: never", `4:12: keepalive: "never" is not a duration`, false},
	{"swap of nothing", "limits: {memory: {swap: 0MiB}}", `4:25: limits.memory.swap: "0MiB" is no amount of swap`, true},
	{"io no operations", "limits: {io: [{device: /dev/vda, riops: 0}]}", "4:41: limits.io[0].riops: lets nothing through", false},
	{"io no list", "limits: {io: {device: /dev/vda, riops: 1}}", "4:14: limits.io: is a mapping", false},

	{"sixteen replicas", "scale: {max: 16}", "4:14: scale.max: 16 replicas", false},
	{"fewer at most than at least", "scale: {min: 3, max: 2}", "4:14: scale.min: 3 is more than scale.max, 2", true},
	{"target of no connections", "scale: {target: {conns: 0}}", "4:25: scale.target.conns: is empty", false},
	{"target of negative connections", "scale: {target: {conns: -1}}", "4:25: scale.target.conns: -1 is out of range", false},
	{"target latency too long", "scale: {target: {latency: 1h}}", "4:27: scale.target.latency: 1h is out of range", true},
	{"keepConnections too short", "keepConnections: 500ms", "4:18: keepConnections: 500ms is out of range", true},
	{"keepConnections nothing", "keepConnections: 0s", "4:18: keepConnections: is empty", true},
	{"keepConnections a number", "keepConnections: 10", `4:18: keepConnections: "10" is not a duration`, false},
	{"busy a word", "busy: sometimes", `4:7: busy: "sometimes" is none of these`, false},
	{"busy a number", "busy: 5%", `4:7: busy: "5%" is none of these`, false},
	{"busy another field", "busy: {cpus: 5%}", `4:8: busy.cpus: unknown field`, false},
	{"busy cpu too much", "busy: {cpu: 400%}", `4:13: busy.cpu: "400%" is not a share`, false},
	{"busy cpu without its sign", "busy: {cpu: 5}", "4:13: busy.cpu: ", false},
	{"busy io without a second", "busy: {io: 1MiB}", `4:12: busy.io: "1MiB" is no rate; did you mean 1MiB/s?`, false},
	{"busy io a size of nothing", "busy: {io: 0/s}", `4:12: busy.io: "0" is not a size`, false},
	{"busy file not absolute", "busy: {file: run/busy}", `4:14: busy.file: `, false},
	{"busy file up", "busy: {file: /run/../busy}", `4:14: busy.file: `, false},
	{"busy file empty", "busy: {file: ''}", `4:14: busy.file: is empty`, false},
	{"busy connections a word", "busy: {connections: all}", `4:21: busy.connections: `, false},
	{"schedule not a list", "schedule: '* * * * * a'", "4:11: schedule: ", false},
	{"schedule without a command", "schedule: ['* * * * *']", `4:12: schedule[0]: "* * * * *" has no command behind its times`, false},
	{"schedule a number", "schedule: [5]", `4:12: schedule[0]: "5" is no such line`, false},
	{"schedule minute", "schedule: [{at: '60 * * * *', exec: [a]}]", `4:17: schedule[0].at: "60 * * * *" is no time: `, true},
	{"schedule hour", "schedule: [{at: '0 24 * * *', exec: [a]}]", `4:17: schedule[0].at: "0 24 * * *" is no time: `, true},
	{"schedule backwards", "schedule: [{at: '5-1 * * * *', exec: [a]}]", `4:17: schedule[0].at: "5-1 * * * *" is no time: `, true},
	{"schedule never", "schedule: [{at: '0 0 31 2 *', exec: [a]}]", `4:17: schedule[0].at: "0 0 31 2 *" never comes`, true},
	{"schedule step of nothing", "schedule: [{at: '*/0 * * * *', exec: [a]}]", `4:17: schedule[0].at: "*/0": a step is 1 to 59 here`, true},
	{"schedule step too far", "schedule: [{at: '0 */24 * * *', exec: [a]}]", `4:17: schedule[0].at: "*/24": a step is 1 to 23 here`, true},
	{"schedule seconds", "schedule: [{at: '0 * * * * *', exec: [a]}]", `4:17: schedule[0].at: "0 * * * * *" has 6 fields instead of 5`, false},
	{"schedule of another cron", "schedule: [{at: '0 0 L * *', exec: [a]}]", `4:17: schedule[0].at: "L" is no such field`, true},
	{"schedule with a sign", "schedule: [{at: '+5 * * * *', exec: [a]}]", `4:17: schedule[0].at: "+5" is no such field`, true},
	{"schedule no month", "schedule: [{at: '0 0 1 foo *', exec: [a]}]", `4:17: schedule[0].at: "0 0 1 foo *" is no time: `, true},
	{"schedule a word", "schedule: [{at: '@hourl', exec: [a]}]", `4:17: schedule[0].at: "@hourl" is none of the words; did you mean @hourly?`, true},
	{"schedule at a boot", "schedule: ['@reboot a']", `4:12: schedule[0].at: "@reboot" is none of the words`, true},
	{"schedule in a line", "schedule: ['* 24 * * * a']", `4:12: schedule[0].at: "* 24 * * *" is no time: `, true},
	{"schedule without exec", "schedule: [{at: '@daily'}]", "4:12: schedule[0].exec: is empty", false},
	{"schedule exec empty", "schedule: [{at: '@daily', exec: ['']}]", "4:33: schedule[0].exec", true},
	{"schedule too long", "schedule: [{at: '@daily', exec: [a], timeout: 25h}]", "4:47: schedule[0].timeout: 25h is out of range", true},
	{"schedule no time at all", "schedule: [{at: '@daily', exec: [a], timeout: 0s}]", "4:47: schedule[0].timeout: is empty", true},
	{"schedule twice", "schedule: ['@daily a', '@daily a']", "4:24: schedule[1]: stands in the list twice", true},
	{"tiers unknown", "tiers: [frosen]", `4:9: tiers[0].tier: "frosen" is not a tier to sleep in; did you mean frozen?`, false},
	{"tiers a word", "tiers: frozen", `4:8: tiers: "frozen" is not auto; for a list of one write [frozen]`, false},
	{"tiers none", "tiers: []", "4:8: tiers: are none; for a site that never sleeps write idle: never", false},
	{"tiers a mapping", "tiers: {tier: frozen}", "4:8: tiers: is a mapping", false},
	{"tier awake", "tiers: [running]", `4:9: tiers[0].tier: "running" is not a tier to sleep in`, false},
	{"tiers twice", "tiers: [frozen, frozen]", "4:17: tiers[1].tier: frozen stands in the list twice", true},
	{"tiers out of order", "tiers: [cold, frozen]", "4:15: tiers[1].tier: frozen is less deep than cold", true},
	{"tiers earlier", "tiers: [{tier: frozen, after: 1m}, {tier: cold, after: 1m}]", "4:56: tiers[1].after: 1m is not more than 1m", true},
	{"tier after zero", "tiers: [{tier: frozen, after: 0s}]", "4:31: tiers[0].after: is empty", true},
	{"tier without a name", "tiers: [{after: 5s}]", `4:9: tiers[0].tier: "" is not a tier`, false},
	{"tiers against idle", "tiers: [{tier: frozen, after: 10s}]\nidle: 20s", "5:7: idle: 20s is not 10s", true},
	{"tiers though always awake", "scale: {min: 1}\ntiers: [frozen]", "5:8: tiers: have no effect", true},
	{"objective without a sign", "objective: {cold: 0.01}", `4:19: objective.cold: "0.01" is not a share: it has no sign; did you mean 1%?`, false},
	{"objective of nothing", "objective: {cold: 0%}", "4:19: objective.cold: is empty", true},
	{"objective too small", "objective: {cold: 0.0001%}", "4:19: objective.cold: 0.0001% is out of range", true},
	{"late too often", "objective: {late: 51%}", "4:19: objective.late: 51% is out of range", true},
	{"late too soon", "objective: {late: 1%, over: 9ms}", "4:29: objective.over: 9ms is out of range", true},
	{"over without late", "objective: {over: 1s}", "4:19: objective.over: 1s has no effect without late", true},
	{"late and cold", "objective: {late: 1%, cold: 1%}", "4:29: objective.cold: is late by another name", true},
	{"class and objective", "class: gold\nobjective: {late: 1%}", "4:8: class: gold says what objective says, too", true},
	{"class of no name", "class: Gold Plan", "4:8: class: \"Gold Plan\" is not the name of a class", false},
	{"objective wake", "objective: {wake: 1h}", "4:19: objective.wake: 1h is out of range", true},
	{"lifetime zero", "lifetime: 0s", "4:11: lifetime: 0s is too short", true},
	{"lifetime without a unit", "lifetime: 60", `4:11: lifetime: "60" is not a duration: it has no unit`, false},
	{"lifetime jitter", "lifetime: {after: 1h, jitter: 60%}", "4:31: lifetime.jitter: 60% is out of range", true},
	{"lifetime chosen and given", "lifetime: {after: 1h, within: 3h}", "4:31: lifetime.within: the node cannot choose when with lifetime.after", true},
	{"lifetime chosen within minutes", "lifetime: {within: 30m}", "4:20: lifetime.within: 30m", true},
	{"jitter of nothing", "lifetime: {jitter: 5%}", "4:20: lifetime.jitter: 5% has no effect", true},
	{"drain", "circulate: {drain: 2h}", "4:20: circulate.drain: 2h is out of range", true},
	{"warm", "checkpoint: {warm: -1}", "4:20: checkpoint.warm: -1 is out of range", false},
	{"clonable in words", "checkpoint: {clonable: yes}", `4:24: checkpoint.clonable: "yes" is a string; write true`, false},
	{"no replica", "scale: {max: 0}", "4:14: scale.max: 0 replicas", false},
	{"spare ones beyond the most", "scale: {max: 3, spare: 3}", "4:24: scale.spare.count: 3 more than those that always serve are more than scale.max, 3", true},
	{"spare ones that are never needed", "scale: {min: 2, max: 2, spare: 1}", "4:32: scale.spare: has no effect", true},
	{"spare ones on no such tier", "scale: {max: 3, spare: cold}", "4:24: scale.spare.tier: \"cold\" is no tier to wait on", false},
	{"spare ones on a tier misspelt", "scale: {max: 3, spare: {tier: prepare}}", "4:31: scale.spare.tier: \"prepare\" is no tier to wait on; did you mean prepared?", false},
	{"negative spare ones", "scale: {max: 3, spare: -1}", "4:24: scale.spare.count: -1 replicas", false},
	{"two replicas at least", "scale: {min: 2}", "4:14: scale.min: 2 is more than scale.max, 1", true},
	{"replicas negative", "scale: {min: -1}", "4:14: scale.min: -1 replicas", false},
	{"idle without a unit", "idle: 300", `4:7: idle: "300" is not a duration: it has no unit`, false},
	{"idle in days", "idle: 1d", `4:7: idle: "1d" is not a duration: there are no days, a day is 24h`, false},
	{"idle by chance", "idle: sometimes", `4:7: idle: "sometimes" is not a duration`, false},
	{"idle auto beside the time of the first tier", "idle: auto\ntiers: [{tier: frozen, after: 10s}]", `4:7: idle: auto is not 10s`, true},
	{"idle too short", "idle: 0s", "4:7: idle: 0s is too short", true},
	{"idle too long", "idle: 9000h", "4:7: idle: 9000h is out of range", true},
	{"idle beyond any number", "idle: 999999999h", `4:7: idle: "999999999h" is too long`, true},
	{"idle negative", "idle: -5m", `4:7: idle: "-5m" is not a duration`, false},
	{"idle in the wrong order", "idle: 5s5m", `4:7: idle: "5s5m" is not a duration`, false},
	{"idle though always awake", "scale: {min: 1}\nidle: 5m", "5:7: idle: 5m has no effect", true},
	{"start timeout", "start: {timeout: 2h}", "4:18: start.timeout: 2h is out of range", true},
	{"stop grace", "stop: {grace: 2h}", "4:15: stop.grace: 2h is out of range", true},
	{"stop signal", "stop: {signal: term}", `4:16: stop.signal: "term" is not such a signal; did you mean SIGTERM?`, false},
	{"stop signal that stops nothing", "stop: {signal: SIGCONT}", `4:16: stop.signal: "SIGCONT" is not such a signal`, false},
	{"start timeout zero", "start: {timeout: 0s}", "4:18: start.timeout: is empty or 0 (leave the field out for its default)", true},
	{"workdir empty", "workdir: ''", "4:10: workdir: is empty", false},
	{"user empty", "user: ''", "4:7: user: is empty", false},
	{"hostname empty", "hostname: ''", "4:11: hostname: is empty", false},
	{"stop signal empty", "stop: {signal: ''}", "4:16: stop.signal: is empty", false},
	{"probe of nothing", "ready: {}", "4:8: ready: is empty", true},
	{"probe with a timeout alone", "ready: {timeout: 1s}", "4:8: ready: does not say what to ask", true},
	{"probe in two ways", "ready: {tcp: 80, file: /run/up}", "4:8: ready: has tcp and file", true},
	{"probe by no path", "health: {http: health}", `4:16: health.http: "health" is not a path`, false},
	{"probe by a line more", `health: {http: "/\r\nX: y"}`, `4:16: health.http: "/\r\nX: y" is not a path`, false},
	{"probe empty", "ready: {unix: ''}", "4:15: ready.unix: is empty", false},
	{"probe by no command", "ready: {exec: []}", "4:15: ready.exec: is empty", false},
	{"probe by a name", "ready: {exec: ['']}", "4:16: ready.exec[0]: is empty", true},
	{"probe of no port", "ready: {tcp: 65536}", "4:14: ready.tcp: 65536 is not a port", false},
	{"probe of port 0", "ready: {tcp: 0}", "4:14: ready.tcp: is empty", false},
	{"probe below nothing", "ready: {unix: run/x.sock}", `4:15: ready.unix: "run/x.sock" is not an absolute clean path`, false},
	{"probe of a folder's end", "ready: {file: /run/../up}", `4:15: ready.file: "/run/../up" is not an absolute clean path; did you mean /up?`, false},
	{"probe for no status", "ready: {http: /, status: 1000}", "4:26: ready.status: 1000 is no HTTP status", false},
	{"status without a page", "ready: {tcp: 80, status: 200}", "4:26: ready.status: has no effect", true},
	{"port without a page", "ready: {file: /up, port: 80}", "4:26: ready.port: has no effect", true},
	{"probe too patient", "ready: {tcp: 80, timeout: 2m}", "4:27: ready.timeout: 2m is out of range", true},
	{"probe of seconds", "ready: {tcp: 80, timeout: 2}", `4:27: ready.timeout: "2" is not a duration: it has no unit`, false},
	{"health too often", "health: {tcp: 80, every: 10ms}", "4:26: health.every: 10ms is out of range", true},
	{"health without a probe", "health: {every: 10s}", "4:9: health: does not say what to ask", true},
	{"answer at once", "health: {answer: 1s}", "4:18: health.answer: 1s is out of range", true},
	{"health never fails", "health: {tcp: 80, failures: 101}", "4:29: health.failures: 101 is out of range", false},
	{"probe by another's words", "readinessProbe: {httpGet: {path: /}}", "4:1: readinessProbe: unknown field; did you mean ready?", false},
	{"health by another's words", "health: {tcp: 80, periodSeconds: 5}", "4:19: health.periodSeconds: unknown field in health; did you mean health.every?", false},
	{"ready asked often", "ready: {tcp: 80, every: 5s}", "4:18: ready.every: unknown field in ready", false},
	{"boolean in words", "readOnlyRoot: off", `4:15: readOnlyRoot: "off" is a string; write false`, false},
	{"boolean a number", "readOnlyRoot: 1", "4:15: readOnlyRoot: 1 is a number", false},

	{"anchor", "domains: &d [a.example]", "4:10: : anchors (&name) are not read here", true},
	{"alias", "domains: *d", "4:10: : aliases (*name) are not read here", true},
	{"merge key", "<<: {idle: 5m}", "4:1: : merge keys (<<) are not read here", true},
	{"tag", "workdir: !!str /a", "4:10: : tags (!tag) are not read here", true},
	{"question mark", "? idle\n: 5m", "4:1: : keys marked with ? are not read here", true},
	{"bracket not closed", "domains: [a.example", "4:10: : is not readable as YAML", true},
	{"tab", "env:\n\tA: b", "5:1: : is not readable as YAML", true},
	{"control character", "domains: [\x07]", "4:11: : has a control character", false},
	{"not UTF-8", "domains: [\xff]", "4:11: : is not UTF-8 text", false},
	{"text after the mark", "--- {name: a}", "4:1: : something follows the document mark", true},
}

func portList(n int) string {
	ports := make([]string, n)
	for i := range ports {
		ports[i] = fmt.Sprint(i + 1)
	}
	return "[" + strings.Join(ports, ", ") + "]"
}

// source gives the whole spec of a fragment. Its first line is line 1 in every form.
func source(fragment string) string {
	if whole, ok := strings.CutPrefix(fragment, "-- whole\n"); ok {
		return "# whole\n" + whole
	}
	if ports, ok := strings.CutPrefix(fragment, "-- ports "); ok {
		return "name: a\nimage: dir:/a\nports: " + ports + "\n"
	}
	return required + fragment + "\n"
}

func TestParseBad(t *testing.T) {
	for _, test := range badSpecs {
		t.Run(test.name, func(t *testing.T) {
			src := source(test.fragment)
			sites, err := Parse("bad.yaml", strings.NewReader(src))
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("Parse = %v, %v, want Errors", sites, err)
			}
			if sites != nil {
				t.Errorf("Parse returned sites with the errors")
			}
			var one *Error
			if !errors.As(err, &one) || one != all[0] {
				t.Errorf("errors.As does not find the single error")
			}
			got := strings.TrimPrefix(one.Where(), "bad.yaml:") + ": " + one.Field + ": " + one.Msg + "; allowed"
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if len(all) > 1 && !strings.HasPrefix(test.fragment, "-- whole") {
				t.Errorf("more than the one error:\n%v", err)
			}
			var refused *validator.ValidationError
			if got := errors.As(validate(t, src), &refused); got == test.noSchema {
				t.Errorf("refused by the schema: %v, want %v", got, !test.noSchema)
			}
		})
	}
}

func TestParseTellsAllAtOnce(t *testing.T) {
	const src = `name: Blog
domans: [a]
image: nginx
ports: [80, 99999]
---
name: shop
image: [
---
name: news
image: dir:/srv/news
ports: [80]
idle: 5
`
	_, err := Parse("many.yaml", strings.NewReader(src))
	want := []string{
		"many.yaml:1:7: name: ",
		"many.yaml:2:1: domans: ",
		"many.yaml:3:8: image: ",
		"many.yaml:4:13: ports[1]: ",
		"many.yaml:7:8: is not readable as YAML",
		"many.yaml:12:7: idle: ",
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d errors, want %d:\n%v", len(lines), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("got  %s\nwant %s...", lines[i], want[i])
		}
	}
}

// TestParseDocuments holds that no document is lost; the YAML library loses the one after a comment.
func TestParseDocuments(t *testing.T) {
	site := func(name string) string { return "name: " + name + "\nimage: dir:/a\nports: [80]\n" }
	for _, test := range []struct {
		name, src string
		want      []string
	}{
		{"none", "", nil},
		{"comments", "# a\n---\n# b\n", nil},
		{"marks", "---\n---\n...\n", nil},
		{"one", "---\n" + site("a"), []string{"a"}},
		{"two", site("a") + "---\n" + site("b"), []string{"a", "b"}},
		{"with comments between", site("a") + "--- # next\n# nothing\n---\n" + site("b"), []string{"a", "b"}},
		{"ended by dots", site("a") + "...\n" + site("b") + "...\n", []string{"a", "b"}},
		{"marks in text", site("a") + "command: ['--- x', '---']\nenv:\n  A: |\n    ---\n    x\n---\n" + site("b"), []string{"a", "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse("x", strings.NewReader(test.src))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range got {
				names = append(names, s.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConflictsInAFile(t *testing.T) {
	const src = `name: a
image: dir:/a
ports: [80]
domains: [x.example]
addresses: [10.77.0.1]
---
name: b
image: dir:/b
ports: [80]
domains: [y.example, x.example]
addresses: [10.77.0.1]
---
name: a
image: dir:/c
ports: [80]
`
	_, err := Parse("f.yaml", strings.NewReader(src))
	const want = `f.yaml:10:22: domains[1]: "x.example" is taken by f.yaml:4:11; allowed: each name, domain and address once on a node
f.yaml:11:13: addresses[0]: "10.77.0.1" is taken by f.yaml:5:13; allowed: each name, domain and address once on a node
f.yaml:13:7: name: "a" is taken by f.yaml:1:7; allowed: each name, domain and address once on a node`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseDir(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":       "name: a\nimage: dir:/a\nports: [80]\ndomains: [x.example]\n",
		"b.yml":        "name: b\nimage: dir:/b\nports: [80]\ndomains: [x.example]\n",
		"c.yaml":       "name: c\nimage: dir:/c\nports: [80]\n---\nname: d\nimage: dir:/d\nports: []\n",
		"e.yaml":       "# nothing\n",
		".hidden.yaml": "broken: [",
		"README.md":    "broken: [",
		"z.yaml~":      "broken: [",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "f.yaml")); err != nil {
		t.Fatal(err)
	}
	got, err := ParseDir(dir)
	var names []string
	for _, s := range got {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"a", "c"}, names); diff != "" {
		t.Errorf("good sites (-want +got):\n%s", diff)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file that cannot be read is not reported: %v", err)
	}
	var all Errors
	if !errors.As(err, &all) {
		t.Fatalf("ParseDir = %v", err)
	}
	want := filepath.Join(dir, "b.yml") + `:4:11: domains[0]: "x.example" is taken by ` + filepath.Join(dir, "a.yaml") +
		":4:11; allowed: each name, domain and address once on a node\n" +
		filepath.Join(dir, "c.yaml") + ":7:8: ports: is missing: a site is woken by packets to its ports; allowed: 1 to 32 ports like 80/tcp"
	if diff := cmp.Diff(want, all.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := ParseDir(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ParseDir of nothing = %v", err)
	}
}

func TestParseFile(t *testing.T) {
	if _, err := ParseFile(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ParseFile of nothing = %v", err)
	}
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ParseFile(path)
	if diff := cmp.Diff([]Site{everythingSite}, got, exact, cmpopts.EquateErrors()); err != nil || diff != "" {
		t.Errorf("ParseFile = %v (-want +got):\n%s", err, diff)
	}
}

func TestErrorAsJSON(t *testing.T) {
	_, err := Parse("a.yaml", strings.NewReader(required+"idle: 5\n"))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var back Errors
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Error() != all.Error() {
		t.Errorf("through JSON: %v\nwant %v", back, all)
	}
}

// own is the service level that a spec asks for by itself.
func own(s *Site) string {
	late, over := s.Objective.Own()
	return late.String() + " " + over.String()
}
