package spec

import (
	"errors"
	"strings"
	"testing"
)

func TestPeers(t *testing.T) {
	for _, text := range []string{
		"internet", "internet:25/tcp", "host", "host:443/tcp", "site:db", "site:db:5432/tcp", "10.1.0.5", "10.1.0.0/16", "10.1.0.5:3306/tcp",
		"10.1.0.0/16:53/udp", "fd00::5", "fd00::/64", "[fd00::5]:3306/tcp", "[fd00::/64]:53/udp",
	} {
		p, err := ParsePeer(text)
		if err != nil || p.String() != text {
			t.Errorf("%s: read as %s (%v)", text, p, err)
		}
	}
	if p, err := ParsePeer("10.1.0.5:3306"); err != nil || p.String() != "10.1.0.5:3306/tcp" {
		t.Errorf("a port without a protocol: %s (%v)", p, err)
	}
	for text, want := range map[string]string{
		"": "is nobody", "all": "is nobody", "db.example.com": "names are not looked up", "site:": "name of a site", "site:Db": "name of a site", "10.1.0.5:": "no port",
		"10.1.0.5:0": "no port", "10.1.0.5:80-90/tcp": "range of ports", "host:80-90": "range of ports", "10.1.0.5:99999": "no port", "10.1.0.5:53/icmp": "no port", "10.1.0.5/33": "is nobody", "fd00::5:3306/tcp": "", "[fd00::5]3306": "no port",
		"::ffff:10.1.0.5": "", "fe80::1%eth0": "", "internet:": "no port", "host:x": "no port", "site:db:x": "no port",
	} {
		if p, err := ParsePeer(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s (%v), want an error with %q", text, p, err, want)
		}
	}
}

func TestNetworkOverlaps(t *testing.T) {
	for lists, want := range map[string]string{
		"allow: [10.1.0.0/16], deny: [10.1.0.5]":                  "s.yaml:4:40: network.deny[0]: 10.1.0.5 overlaps with 10.1.0.0/16 of network.allow[0]",
		"allow: [10.1.0.5:3306/tcp], deny: [10.1.0.0/16]":         "10.1.0.0/16 overlaps with 10.1.0.5:3306/tcp",
		"allow: [10.1.0.0/16], deny: [10.1.0.0/16:22/tcp]":        "overlaps",
		"allow: [fd00::/8], deny: [fd00::5]":                      "overlaps",
		"allow: [site:db], deny: [site:db]":                       "overlaps",
		"allow: [site:db], deny: [site:db:22/tcp]":                "overlaps",
		"allow: [internet], deny: [internet]":                     "overlaps",
		"allow: [host:22/tcp], deny: [host:22/tcp]":               "overlaps",
		"allow: [10.1.0.5, 10.1.0.5]":                             "twice",
		"allow: [10.1.0.5/16]":                                    "did you mean 10.1.0.0/16?",
		"deny: [db.example.com]":                                  "names are not looked up",
		"allow: [10.1.0.5:3306/tcp], deny: [10.1.0.5:22/tcp]":     "",
		"allow: [10.1.0.0/16], deny: [10.2.0.0/16, fd00::/8]":     "",
		"allow: [internet], deny: [203.0.113.0/24]":               "",
		"allow: [10.1.0.5:3306/tcp, site:db], deny: [internet]":   "",
		"allow: [internet:443/tcp], deny: [internet, site:other]": "",
		"allow: [host], deny: [host:22/tcp]":                      "",
		"allow: [10.1.0.5:53/udp], deny: [10.1.0.5:53/tcp]":       "",
	} {
		sites, err := Parse("s.yaml", strings.NewReader("name: a\nimage: oci:/a\nports: [80]\nnetwork: {"+lists+"}\n"))
		if want == "" {
			if err != nil || len(sites) != 1 {
				t.Errorf("%s: %v", lists, err)
			}
			continue
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) != 1 || !strings.Contains(err.Error(), want) || errs[0].Line != 4 {
			t.Errorf("%s: %v, want %q at line 4", lists, err, want)
		}
	}
}

// Specs that say nothing of the network have the digest that they had.
func TestNetworkLeavesDigestsAlone(t *testing.T) {
	digest := func(text string) string {
		sites, err := Parse("s.yaml", strings.NewReader("name: a\nimage: oci:/a\nports: [80]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return sites[0].Digest()
	}
	if digest("") != digest("network: {allow: [], deny: []}\n") {
		t.Error("an empty network changes the digest")
	}
	if digest("") == digest("network: {deny: [internet]}\n") {
		t.Error("a network does not change the digest")
	}
}
