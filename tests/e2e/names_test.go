package e2e

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// behind gives the node's daemon and commands this resolv.conf, and only them.
func (n *node) behind(resolvConf string) {
	n.t.Helper()
	file := n.write("resolv.conf", resolvConf)
	n.enter = append(n.enter, "unshare", "--mount", "sh", "-c", `mount --bind "`+file+`" /etc/resolv.conf && exec "$0" "$@"`)
}

// TestRootNames: a site finds names as the node, its configuration and its spec say; where nobody says anything that helps, who checks and who
// applies is told.
func TestRootNames(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.behind("search node.example\nnameserver 127.0.0.1\n")
	n.start()
	silent := n.write("silent.yaml", n.spec("silent"))
	says(t, "check", n.cli("check", "--config", n.path("fcnode.yaml")), "name servers", "127.0.0.1", "dns.servers of the configuration")
	says(t, "apply", n.cli("apply", "-f", silent), "warning", "silent", "dns: ", "no name server", "dns.servers of the configuration")
	file := func(s *site, path string) string { return n.outside.mustGet(s.addr4(80), "/file?path="+path).body }
	says(t, "resolv.conf of a site without", file(n.find("silent"), "/etc/resolv.conf"), "no name server", "search node.example")

	told := n.write("told.yaml", n.spec("told", "dns: {servers: [192.0.2.1], search: [], options: ['ndots:2']}", "extraHosts: {db.internal: [10.1.0.5, 'fd00::5']}"))
	if out := n.cli("apply", "-f", told); out == "" || strings.Contains(out, "warning") {
		t.Errorf("apply of a site with name servers: %s", out)
	}
	s := n.find("told")
	if got, want := file(s, "/etc/resolv.conf"), "nameserver 192.0.2.1\noptions ndots:2\n"; got != want {
		t.Errorf("resolv.conf is %q, want %q", got, want)
	}
	says(t, "hosts", file(s, "/etc/hosts"), "10.1.0.5\tdb.internal\n", "fd00::5\tdb.internal\n", s.v4.String()+"\ttold\n")

	says(t, "apply", n.cliFails("apply", "-f", n.write("bad.yaml", n.spec("bad", "dns: [127.0.0.53]"))), "bad.yaml:", "dns.servers[0]", "the site itself")
}
