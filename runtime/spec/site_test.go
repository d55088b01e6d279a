package spec

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// TestOneForm holds that a site is the same through JSON, through its JSON read as a spec, and through YAML.
func TestOneForm(t *testing.T) {
	least, err := Parse("x", strings.NewReader(required))
	if err != nil {
		t.Fatal(err)
	}
	cleared := least[0]
	cleared.Command, cleared.Entrypoint = []string{}, []string{"sh"}
	awake := least[0]
	awake.Scale.Min, awake.Idle, awake.Stop.Grace = 1, Idle{Never: true}, 0
	plain := everythingSite
	plain.Limits.Pids, plain.Lifetime, plain.Circulate, plain.Checkpoint = PidsLimits{Max: 7}, Lifetime{After: Duration(time.Hour), Jitter: 10},
		Circulate{Overlap: true}, Checkpoint{Warm: 1}
	for _, site := range []Site{everythingSite, least[0], cleared, awake, plain} {
		data, err := json.Marshal(&site)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromJSON(data)
		if diff := cmp.Diff(site, back, exact); err != nil || diff != "" {
			t.Errorf("FromJSON: %v (-want +got):\n%s", err, diff)
		}
		var direct Site
		err = json.Unmarshal(data, &direct)
		if diff := cmp.Diff(site, direct, exact); err != nil || diff != "" {
			t.Errorf("json.Unmarshal: %v (-want +got):\n%s", err, diff)
		}
		if err := validate(t, string(data)); err != nil {
			t.Errorf("the schema refuses the JSON %s: %v", data, err)
		}
		asYAML, err := yaml.Marshal(&site)
		if err != nil {
			t.Fatal(err)
		}
		for _, src := range []string{string(data), string(asYAML)} {
			parsed, err := Parse("x", strings.NewReader(src))
			if err != nil {
				t.Errorf("Parse of %s: %v", src, err)
			} else if diff := cmp.Diff(site, parsed[0], exact); diff != "" {
				t.Errorf("Parse of %s (-want +got):\n%s", src, diff)
			}
		}
	}
}

func TestFromJSON(t *testing.T) {
	got, err := FromJSON([]byte(`{"name":"a","image":"dir:/a","ports":["80/tcp"]}`))
	want := defaults()
	want.Name, want.Hostname, want.Image, want.Ports, want.Idle = "a", "a", "dir:/a", []Port{{Port: 80, Proto: "tcp"}}, Idle{Auto: true}
	if diff := cmp.Diff(want, got, exact); err != nil || diff != "" {
		t.Errorf("of an older version: %v (-want +got):\n%s", err, diff)
	}
	var stored struct{ Spec Site } // as a part of something else, too
	err = json.Unmarshal([]byte(`{"Spec":{"name":"a","image":"dir:/a","ports":["80/tcp"]}}`), &stored)
	if diff := cmp.Diff(want, stored.Spec, exact); err != nil || diff != "" {
		t.Errorf("as a part: %v (-want +got):\n%s", err, diff)
	}
	for _, data := range []string{"", "{", "[]", `{"name":"a"} {}`, `{"ports":[80]}`, `{"colour":"red"}`, `{"idle":"0s"}`, `{"circulate":{"x":1}}`, `{"tiers":"frozen"}`, `{"tiers":[{"x":1}]}`, `{"limits":{"pids":{"x":1}}}`, `{"ports":["0/tcp"]}`} {
		if got, err := FromJSON([]byte(data)); err == nil {
			t.Errorf("FromJSON(%s) = %v, want an error", data, got)
		}
	}
}

// firstVersion has every field that the first version had.
const firstVersion = `name: blog
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
  cpu: {min: 0.25, max: 4}
  memory: {min: 128MiB, high: 1.5GiB, max: 2GiB}
  pids: 512
scale: {min: 0, max: 1}
idle: 1h30m
start: {timeout: 45s}
stop: {grace: 0s, signal: SIGWINCH}
readOnlyRoot: true
`

func TestDigest(t *testing.T) {
	digest := func(src string) string {
		t.Helper()
		sites, err := Parse("x", strings.NewReader(src))
		if err != nil {
			t.Fatal(err)
		}
		return sites[0].Digest()
	}
	least := digest(required)
	// A digest that changes between versions restarts every site of a node that is updated. Change this only with a reason.
	const golden = "sha256:a30775440c2d4545791860d6031aa6ff2bfa8206b408e16a200c6a27a90daf3b"
	if least != golden {
		t.Errorf("Digest() = %s, want %s", least, golden)
	}
	if got, want := digest(firstVersion), "sha256:6c489f0141dc2af90af3632e9dc0e1c5456061629de99a17f03e7fb17cdf35bb"; got != want {
		t.Errorf("Digest() of a spec of the first version = %s, want %s", got, want)
	}
	for _, same := range []string{
		"# a comment\n" + required,
		"ports: ['80/tcp']\nname: blog\nimage: 'dir:/srv/blog'\n",
		required + "hostname: blog\nidle: auto\nscale: {max: 1}\nstop: {grace: 10s}\nlimits: {pids: 2048}\n",
		required + "tiers: auto\nobjective: {}\nlifetime: never\ncirculate: {overlap: true, drain: 30s, ahead: false}\ncheckpoint: {clonable: false, warm: 3}\n",
		required + "limits: {pids: {max: 2048, step: 2}, io: []}\nscale: {target: {}}\nlifetime: {jitter: 10%}\n",
		required + "domains: []\nenv: {}\naddresses: []\nvolumes: []\nlimits: {}\nscale: {}\n",
	} {
		if got := digest(same); got != least {
			t.Errorf("%s for what means the same:\n%s", got, same)
		}
	}
	seen := map[string]string{least: required}
	for _, fragment := range []string{
		"command: []", "command: ['']", "command: [a, b]", "command: ['a b']", "entrypoint: [a]", "env: {A: b}", "env: {B: a}", "idle: 6m",
		"limits: {cpu: 1}", "limits: {cpu: {min: 1}}", "limits: {memory: 1GiB}", "stop: {grace: 0s}", "domains: [a.example]", "readOnlyRoot: true",
		"scale: {max: 2}", "scale: {max: 2, target: {conns: 5}}", "scale: {max: 2, spare: 1}", "scale: {max: 2, spare: prepared}", "tiers: [frozen]", "tiers: [cold]", "lifetime: 1h", "lifetime: {after: 1h, jitter: 0%}",
		"objective: {cold: 1%}", "circulate: {overlap: false}", "checkpoint: {warm: 0}", "limits: {pids: {min: 1}}", "limits: {cpu: {min: 1, max: 2}}",
		"limits: {cpu: {min: 1, max: 2, step: 3}}", "limits: {io: [{device: /dev/vda, rbps: 1MiB}]}",
	} {
		d := digest(required + fragment + "\n")
		if other, twice := seen[d]; twice {
			t.Errorf("%q and %q have the same digest", fragment, other)
		}
		seen[d] = fragment
	}
	sites, err := Parse("x", strings.NewReader(required+"env: {A: '1', B: '2', C: '3', D: '4', E: '5'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	first := sites[0].Digest()
	for range 20 { // maps have another order each time
		if sites[0].Digest() != first {
			t.Fatal("the digest changes by itself")
		}
	}
}

func TestValidate(t *testing.T) {
	good := everythingSite
	if err := good.Validate(); err != nil {
		t.Errorf("Validate of a good site = %v", err)
	}
	for _, test := range []struct {
		name  string
		spoil func(*Site)
		field string
	}{
		{"nothing in it", func(s *Site) { *s = Site{} }, "name"},
		{"cpu not a number", func(s *Site) { s.Limits.CPU.Max = CPU(math.NaN()) }, "limits.cpu.max"},
		{"cpu infinite", func(s *Site) { s.Limits.CPU = CPULimits{Max: CPU(math.Inf(1))} }, "limits.cpu.max"},
		{"address of nothing", func(s *Site) { s.Addresses = []netip.Addr{{}} }, "addresses[0]"},
		{"port of nothing", func(s *Site) { s.Ports = []Port{{}} }, "ports[0]"},
		{"never and after", func(s *Site) { s.Idle.Never = true }, "idle"},
		{"keepalive negative", func(s *Site) { s.Keepalive = -2 }, "keepalive"},
		{"grace negative", func(s *Site) { s.Stop.Grace = -1 }, "stop.grace"},
		{"memory negative", func(s *Site) { s.Limits.Memory = MemoryLimits{Max: -1} }, "limits.memory.max"},
		{"65 volumes", func(s *Site) { s.Volumes = make([]Volume, 65) }, "volumes"},
		{"image with NUL", func(s *Site) { s.Image = "dir:/a\x00" }, "image"},
		{"idle of nothing", func(s *Site) { s.Idle = Idle{} }, "idle"},
		{"lifetime negative", func(s *Site) { s.Lifetime.After = -1 }, "lifetime.after"},
		{"objective not a number", func(s *Site) { s.Objective.Cold = Percent(math.NaN()) }, "objective.cold"},
		{"step not a number", func(s *Site) { s.Limits.CPU.Step = math.NaN() }, "limits.cpu.step"},
		{"tiers chosen and listed", func(s *Site) { s.Tiers.Auto = true }, "tiers"},
		{"rates negative", func(s *Site) { s.Limits.IO = []IOLimit{{Device: "/a", ReadBytes: ByteRate{Max: -1}}} }, "limits.io[0].rbps"},
		{"start negative", func(s *Site) { s.Start.Timeout = Duration(-time.Second) }, "start.timeout"},
	} {
		s := everythingSite
		test.spoil(&s)
		var one *Error
		if err := s.Validate(); !errors.As(err, &one) || one.Field != test.field {
			t.Errorf("%s: Validate = %v, want an error of %s", test.name, err, test.field)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, test := range []struct {
		name                string
		entrypoint, command []string // of the spec
		want                string   // on an image with entrypoint E and command C
	}{
		{"nothing said", nil, nil, "E C"},
		{"command", nil, []string{"c"}, "E c"},
		{"entrypoint drops the image's command", []string{"e"}, nil, "e"},
		{"both", []string{"e"}, []string{"c"}, "e c"},
		{"no command", nil, []string{}, "E"},
		{"no entrypoint", []string{}, []string{"c"}, "c"},
		{"neither", []string{}, nil, ""},
	} {
		s := Site{Entrypoint: test.entrypoint, Command: test.command}
		if got := strings.Join(s.Args([]string{"E"}, []string{"C"}), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	image := make([]string, 1, 8)
	image[0] = "E"
	s := Site{Command: []string{"c"}}
	if a, b := s.Args(image, nil), s.Args(image, nil); &a[0] == &b[0] || &a[0] == &image[0] {
		t.Error("Args shares memory with the image")
	}
}
