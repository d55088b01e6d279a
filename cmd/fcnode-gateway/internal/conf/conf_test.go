package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n# nothing\n"} {
		cfg, err := Parse("gateway.yaml", []byte(text))
		if err != nil || len(cfg.HTTP) != 1 || cfg.Limits != Default().Limits {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParse(t *testing.T) {
	cfg, err := Parse("gateway.yaml", []byte(`
http: ["192.0.2.1:80"]
https: ["192.0.2.1:443", "[2001:db8::1]:443"]
source: 10.255.255.1
trusted: {headers: [10.0.0.0/8], proxyProtocol: ["::1/128"]}
limits: {bodyTimeout: 1m, rate: 2.5}
acme: {email: a@b.example}
`))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Limits.BodyTimeout != time.Minute || cfg.Limits.Rate != 2.5 || cfg.Limits.Burst != Default().Limits.Burst ||
		cfg.ACME == nil || cfg.Source.String() != "10.255.255.1" || cfg.Trusted.Headers[0].String() != "10.0.0.0/8" || len(cfg.HTTPS) != 2 {
		t.Errorf("%+v", cfg)
	}
}

// What stands after a comment and a line of dashes counts.
func TestParseAfterAComment(t *testing.T) {
	for _, text := range []string{"# a comment\n---\nhttp: [':81']\n", "---\n# a comment\nhttp: [':81']\n"} {
		if cfg, err := Parse("g", []byte(text)); err != nil || cfg.HTTP[0] != ":81" {
			t.Errorf("%q: %v, %v", text, cfg.HTTP, err)
		}
	}
}

// Each error says where, what, and what is allowed.
func TestParseBad(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"wake:\n  page: 1s\nlimits:\n", "limits: has no value"},
		{"wake: {page: }\n", "wake.page: has no value"},
		{"- a\n", "gateway.yaml:1:"},
		{"htp: []\n", `gateway.yaml:1:1: unknown field "htp"`},
		{"limits:\n  conections: 5\n", `gateway.yaml:2:3: unknown field "conections"`},
		{"\nhttp: [80]\n", "gateway.yaml:2:8: http[0]: \"80\" is no such thing; allowed: an address and port"},
		{"http: []\nhttps: []\n", "listens nowhere"},
		{"http: [example.com:80]\n", `http[0]: "example.com:80" is no such thing`},
		{"routes: run/x\n", `gateway.yaml:1:9: routes: "run/x" is none; allowed: an absolute clean path`},
		{"defaultHTTPS: passthrough\n", `gateway.yaml:1:15: defaultHTTPS: "passthrough" is none of them; allowed: redirect, both, off`},
		{"certificates:\n  - {certificate: /a, key: b}\n", `gateway.yaml:2:28: certificates[0].key: "b" is none`},
		{"acme: {directory: 'http://a'}\n", `acme.directory: "http://a" is none; allowed: an https URL`},
		{"limits: {headerTimeout: 1}\n", "gateway.yaml:1:25:"},
		{"limits: {headerTimeout: 1ms}\n", "gateway.yaml:1:25: limits.headerTimeout: 1ms is out of range; allowed: 1s to 10m0s"},
		{"limits: {rate: -1}\n", "limits.rate: -1 is out of range"},
		{"limits: {perSite: many}\n", "gateway.yaml:1:19:"},
		{"trusted: {headers: [everybody]}\n", "gateway.yaml:"},
		{"wake: {page: 2h}\n", "wake.page: 2h0m0s is out of range"},
		{"source: lo\n", "gateway.yaml:"},
		{"http: [\n", "gateway.yaml:"},
		{"http: [':80']\n---\nhttps: []\n", "second document"},
	} {
		_, err := Parse("gateway.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
}

// All that is wrong is told at once.
func TestParseAll(t *testing.T) {
	_, err := Parse("g", []byte("routes: a\nstateDir: b\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
}

// The file that is installed shows the defaults, and with its comments taken off is valid and says the same.
func TestInstalledFile(t *testing.T) {
	text, err := os.ReadFile("../../../../packaging/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("gateway.yaml", text); err != nil {
		t.Error(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "  ") {
			lines = append(lines, strings.TrimPrefix(line, "#"))
		}
	}
	cfg, err := Parse("gateway.yaml", []byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	def := Default()
	if cfg.Limits != def.Limits || cfg.Wake != def.Wake || cfg.Routes != def.Routes || cfg.StateDir != def.StateDir ||
		cfg.DefaultHTTPS != def.DefaultHTTPS || cfg.HTTP3 != def.HTTP3 || len(cfg.Certificates) != 0 || cfg.ACME != nil {
		t.Errorf("it shows %+v, the defaults are %+v", cfg, def)
	}
}

func TestLoad(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is named need not exist")
	}
}
