package main

import (
	"slices"
	"strings"
	"testing"
)

func TestDeny(t *testing.T) {
	b := &recorded{}
	c := newCLI(t).serve(t, b)
	c.stdin = strings.NewReader("192.0.2.1\n\n 2001:db8::/64 \n")
	var told string
	for _, line := range []string{
		"deny add 192.0.2.7 192.0.2.99/24 --for 1h", "deny add ::ffff:192.0.2.8", "deny add -", "deny remove 192.0.2.7", "deny rm 192.0.2.7 192.0.2.8",
	} {
		code, _, stderr := c.run(t, strings.Fields(line)...)
		if code != exitOK {
			t.Errorf("%s: exit code %d: %s", line, code, stderr)
		}
		told += stderr
	}
	want := []string{
		"deny [192.0.2.7/32 192.0.2.0/24] for 1h0m0s", "deny [192.0.2.8/32] for 0s", "deny [192.0.2.1/32 2001:db8::/64] for 0s",
		"let in [192.0.2.7/32]", "let in [192.0.2.7/32 192.0.2.8/32]",
	}
	if !slices.Equal(b.calls, want) {
		t.Errorf("asked %q, want %q", b.calls, want)
	}
	if want := "1 of 2 were not on the list\n"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	code, list, stderr := c.run(t, "deny", "list")
	if code != exitOK {
		t.Error(stderr)
	}
	const table = "PREFIX         SINCE   FOR ANOTHER\n192.0.2.7/32   1h ago  1h\n2001:db8::/64  1m ago  always\n"
	if list != table {
		t.Errorf("list:\n%s\nwant\n%s", list, table)
	}
}

func TestDenyRefuses(t *testing.T) {
	b := &recorded{}
	c := newCLI(t).serve(t, b)
	for _, line := range []string{"deny add 0.0.0.0/0", "deny add nobody", "deny add 192.0.2.7 --for 0s", "deny add 192.0.2.7 --for -1s", "deny add 192.0.2.7 127.0.0.1"} {
		if code, _, _ := c.run(t, strings.Fields(line)...); code != exitFailure {
			t.Errorf("%s: exit code %d", line, code)
		}
	}
	if len(b.calls) > 0 {
		t.Errorf("asked %q", b.calls)
	}
}
