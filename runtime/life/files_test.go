package life

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestWithoutLocal(t *testing.T) {
	for _, c := range []struct {
		name, conf, want string
		reachable        bool
	}{
		{"plain", "search example.com\nnameserver 192.0.2.53\noptions ndots:2\n", "search example.com\nnameserver 192.0.2.53\noptions ndots:2\n", true},
		{"systemd-resolved's stub", "nameserver 127.0.0.53\noptions edns0\n", "options edns0\n", false},
		{"one of each", "nameserver 127.0.0.1\nnameserver ::1\nnameserver 2001:db8::53\n", "nameserver 2001:db8::53\n", true},
		{"mapped loopback", "nameserver ::ffff:127.0.0.1\n", "", false},
		{"this host by another name", "nameserver 0.0.0.0\nnameserver ::\n", "", false},
		{"a link of the node's", "nameserver fe80::1%eth0\n", "", false},
		{"a cloud's", "nameserver 169.254.169.253\n", "nameserver 169.254.169.253\n", true},
		{"not an address", "nameserver dns.example.com\n", "", false},
		{"no newline at the end", "nameserver\t192.0.2.53", "nameserver\t192.0.2.53", true},
		{"comment", "# nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "# nameserver 127.0.0.1\nnameserver 192.0.2.1\n", true},
		{"empty", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, reachable := withoutLocal(c.conf)
			if got != c.want || reachable != c.reachable {
				t.Errorf("got %q, %v, want %q, %v", got, reachable, c.want, c.reachable)
			}
		})
	}
}

func TestResolvConfTakesTheFirstThatHelps(t *testing.T) {
	dir := t.TempDir()
	stub, real := filepath.Join(dir, "stub"), filepath.Join(dir, "real")
	old := resolvers
	t.Cleanup(func() { resolvers = old })
	resolvers = []string{filepath.Join(dir, "missing"), stub, real}
	for path, text := range map[string]string{stub: "nameserver 127.0.0.53\n", real: "nameserver 192.0.2.53\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := resolvConf(); got != "nameserver 192.0.2.53\n" {
		t.Errorf("got %q, want the list behind the stub", got)
	}
	resolvers = []string{stub}
	if got := resolvConf(); got == "" || got[0] != '#' {
		t.Errorf("got %q, want a comment that says that there is none", got)
	}
}

func TestHostsFile(t *testing.T) {
	got := hostsFile("blog", []netip.Addr{netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("fd77:fc::2")})
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.77.0.2\tblog\nfd77:fc::2\tblog\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
