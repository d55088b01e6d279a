package spec

import (
	"errors"
	"strings"
	"testing"
)

// TestShares: what a source by NFS says, and how it is written again.
func TestShares(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		share Share
		addr  string
	}{
		"nfs://files.example/sites/blog":   {Share{"files.example", 2049, "/sites/blog"}, "files.example:2049"},
		"nfs://203.0.113.2:2050/a:b":       {Share{"203.0.113.2", 2050, "/a:b"}, "203.0.113.2:2050"},
		"nfs://[2001:db8::2]/sites":        {Share{"2001:db8::2", 2049, "/sites"}, "[2001:db8::2]:2049"},
		"nfs://[2001:db8::2]:2050/sites":   {Share{"2001:db8::2", 2050, "/sites"}, "[2001:db8::2]:2050"},
		"nfs://files.example:2050/a b, c/": {},
		"nfs://[2001:db8::2/sites":         {},
		"nfs://[203.0.113.2]/sites":        {},
		"nfs://[fe80::1%eth0]/sites":       {},
		"nfs://files/a\nb":                 {},
		"nfs://files:99999/a":              {},
		"nfs://-o/a":                       {},
		"/srv/blog":                        {},
	} {
		got, err := ParseShare(text)
		switch {
		case want.addr == "" && err == nil:
			t.Errorf("%q is taken for %+v", text, got)
		case want.addr == "":
		case err != nil || got != want.share || got.Addr() != want.addr || got.String() != text:
			t.Errorf("%q: %+v, %s, %s: %v", text, got, got.Addr(), got, err)
		}
	}
}

// TestShareBelowARoot: the longest root counts, a name that only begins like one is none, and neither is another server's or port's.
func TestShareBelowARoot(t *testing.T) {
	t.Parallel()
	roots := []string{"nfs://files/sites", "nfs://files/sites/a", "nfs://[2001:db8::2]/"}
	for text, want := range map[string][2]string{
		"nfs://files/sites":          {"nfs://files/sites", "."},
		"nfs://FILES/sites/b/c":      {"nfs://files/sites", "b/c"},
		"nfs://files/sites/a/c":      {"nfs://files/sites/a", "c"},
		"nfs://files/sites/ab":       {"nfs://files/sites", "ab"},
		"nfs://[2001:db8:0::2]/a":    {"nfs://[2001:db8::2]/", "a"},
		"nfs://files/sitesandmore":   {},
		"nfs://files/":               {},
		"nfs://files:2050/sites":     {},
		"nfs://files.example/sites/": {},
	} {
		share, err := ParseShare(text)
		if err != nil {
			if want[0] != "" {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		root, inside, err := share.In(roots)
		switch {
		case want[0] == "" && (!errors.Is(err, ErrNoShare) || !strings.Contains(err.Error(), "nfsRoots")):
			t.Errorf("%q: %s %q, %v", text, root, inside, err)
		case want[0] != "" && (err != nil || root.String() != want[0] || inside != want[1]):
			t.Errorf("%q: %s %q, %v", text, root, inside, err)
		}
	}
}

// TestVolumeOfAServerAsText: colons of an address are not those behind the path.
func TestVolumeOfAServerAsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Volume{
		"nfs://files/a:/data":                        {Source: "nfs://files/a", Target: "/data"},
		"nfs://[2001:db8::2]:2050/a/b:/data:ro,soft": {Source: "nfs://[2001:db8::2]:2050/a/b", Target: "/data", ReadOnly: true, Soft: true},
	} {
		if got, err := ParseVolume(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"nfs://files", "nfs://files/a", "nfs://files/a:/data:hard"} {
		if got, err := ParseVolume(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
