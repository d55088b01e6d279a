package routes

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func route(site, www string, domains ...string) Route {
	return Route{Site: site, Domains: domains, WWW: www, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.2")}, Port: 80}
}

// expect checks names against "site" or "site>canonical"; "" is a name that nobody has.
func expect(t *testing.T, table *Table, want map[string]string) {
	t.Helper()
	for name, want := range want {
		got := ""
		if e, ok := table.Lookup(name); ok {
			got = e.Site.Site
			if e.Canonical != "" {
				got += ">" + e.Canonical
			}
		}
		if got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
}

func TestTableNames(t *testing.T) {
	var table Table
	table.Put(route("plain", "", "a.example", "www.a.example"))
	table.Put(route("apex", "apex", "b.example"))
	table.Put(route("www", "www", "c.example"))
	table.Put(route("both", "www", "d.example", "www.d.example"))
	table.Put(route("listed", "apex", "www.e.example"))
	expect(t, &table, map[string]string{
		"a.example": "plain", "www.a.example": "plain",
		"b.example": "apex", "www.b.example": "apex>b.example",
		"c.example": "www>www.c.example", "www.c.example": "www",
		"d.example": "both>www.d.example", "www.d.example": "both",
		"www.e.example": "listed>e.example", "e.example": "listed",
		"f.example": "", "www.www.b.example": "",
	})
	// A name that another site lists is that site's, whoever came first, and the first one's again afterwards.
	table.Put(route("other", "", "www.b.example"))
	expect(t, &table, map[string]string{"www.b.example": "other"})
	table.Remove("other")
	expect(t, &table, map[string]string{"www.b.example": "apex>b.example"})
	table.Put(route("apex", "", "b.example"))
	expect(t, &table, map[string]string{"www.b.example": "", "b.example": "apex"})
	// A domain that moves is never taken from its new site by what becomes of the old one.
	table.Put(route("new", "", "c.example"))
	table.Put(route("www", "", "z.example"))
	expect(t, &table, map[string]string{"c.example": "new", "www.c.example": "", "z.example": "www"})
	table.Replace([]Route{route("new", "", "c.example")})
	expect(t, &table, map[string]string{"c.example": "new", "a.example": "", "z.example": "", "www.d.example": ""})
	if n := len(table.Sites()); n != 1 {
		t.Errorf("%d sites are left", n)
	}
}

func TestTableKeepsState(t *testing.T) {
	made := 0
	table := Table{NewState: func() any { made++; return made }}
	table.Put(route("a", "", "a.example"))
	table.Put(route("a", "", "b.example"))
	if e, _ := table.Lookup("b.example"); e.Site.State != 1 || made != 1 {
		t.Errorf("state %v, %d made", e.Site.State, made)
	}
}

func TestNormalize(t *testing.T) {
	begin := time.Now()
	if got := Normalize(strings.Repeat("ü", 30_000)); got != "" {
		t.Errorf("a name of 60 kB has the form %.20q", got)
	}
	var distinct strings.Builder
	for r := range 20_000 {
		distinct.WriteRune(rune(0x4e00 + r))
	}
	if Normalize(distinct.String()); time.Since(begin) > patience/10 {
		t.Errorf("names of 60 kB take %s", time.Since(begin))
	}
	for host, want := range map[string]string{
		"a.example": "a.example", "A.Example:443": "a.example", "a.example.": "a.example", "a.example.:80": "a.example",
		"bücher.example": "xn--bcher-kva.example", "BÜCHER.example:80": "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "[::1]:80": "::1", "": "",
	} {
		if got := Normalize(host); got != want {
			t.Errorf("Normalize(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestIgnore(t *testing.T) {
	i := &Ignore{UserAgents: []string{"UptimeRobot"}, Paths: []string{"/up", "/status/*"}}
	for _, c := range []struct {
		path, agent string
		want        bool
	}{
		{"/up", "", true}, {"/up/", "", false}, {"/status/a/b", "", true}, {"/status", "", false},
		{"/", "Mozilla/5.0 (compatible; uptimerobot/2.0)", true}, {"/", "Mozilla/5.0", false},
	} {
		if got := i.Matches(c.path, c.agent); got != c.want {
			t.Errorf("%s by %q: %v", c.path, c.agent, got)
		}
	}
	if (*Ignore)(nil).Matches("/up", "UptimeRobot") {
		t.Error("nothing is to be ignored, but is")
	}
}
