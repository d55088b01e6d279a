package resolv

import (
	"io/fs"
	"net/netip"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
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

// files is a machine with these files.
func files(all map[string]string) Read {
	return func(path string) ([]byte, error) {
		if text, ok := all[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
}

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestConf(t *testing.T) {
	etc, run := Sources[0], Sources[1]
	for _, c := range []struct {
		name       string
		files      map[string]string
		node, site spec.DNS
		want       string
		source     string // "": no name server
	}{
		{"as the node", map[string]string{etc: "search a.example\nnameserver 192.0.2.53\n"}, spec.DNS{}, spec.DNS{}, "search a.example\nnameserver 192.0.2.53\n", etc},
		{"the list behind the stub", map[string]string{etc: "nameserver 127.0.0.53\n", run: "nameserver 192.0.2.53\n"}, spec.DNS{}, spec.DNS{}, "nameserver 192.0.2.53\n", run},
		{"only itself", map[string]string{etc: "search a.example\nnameserver 127.0.0.1\n"}, spec.DNS{}, spec.DNS{}, unreachable + "search a.example\n", ""},
		{"no file", nil, spec.DNS{}, spec.DNS{}, unreachable, ""},
		{"the configuration helps", map[string]string{etc: "search a.example\nnameserver 127.0.0.1\n"}, spec.DNS{Servers: addrs("192.0.2.1")}, spec.DNS{}, "search a.example\nnameserver 192.0.2.1\n", "dns.servers of the configuration"},
		{"the site goes first", map[string]string{etc: "nameserver 192.0.2.53\noptions ndots:2\n"}, spec.DNS{Servers: addrs("192.0.2.1"), Search: []string{"n.example"}}, spec.DNS{Servers: addrs("192.0.2.2", "2001:db8::2")}, "options ndots:2\nsearch n.example\nnameserver 192.0.2.2\nnameserver 2001:db8::2\n", "dns of the spec"},
		{"each field by itself", map[string]string{etc: "domain a.example\nnameserver 192.0.2.53\noptions ndots:2\n"}, spec.DNS{}, spec.DNS{Search: []string{"b.example", "c.example"}, Options: []string{"rotate"}}, "nameserver 192.0.2.53\nsearch b.example c.example\noptions rotate\n", etc},
		{"none is none", map[string]string{etc: "search a.example\nnameserver 192.0.2.53\noptions ndots:2\n"}, spec.DNS{Search: []string{"n.example"}}, spec.DNS{Search: []string{}, Options: []string{}}, "nameserver 192.0.2.53\n", etc},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Conf(files(c.files), c.node, c.site); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			servers, source := Servers(files(c.files), c.node, c.site)
			if source != c.source || (len(servers) == 0) != (c.source == "") {
				t.Errorf("name servers %v from %q, want them from %q", servers, source, c.source)
			}
			if missing := Missing(files(c.files), c.node, c.site); (missing == "") != (c.source != "") {
				t.Errorf("warned %q", missing)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	got := Hosts("blog", addrs("10.77.0.2", "fd77:fc::2"), map[string]spec.HostAddrs{"db.internal": addrs("10.1.0.5", "2001:db8::5"), "cache": addrs("10.1.0.6")})
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.77.0.2\tblog\nfd77:fc::2\tblog\n" +
		"10.1.0.6\tcache\n10.1.0.5\tdb.internal\n2001:db8::5\tdb.internal\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
