package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

// oneDisk has two names.
func oneDisk(a, b string) bool { return a == "/dev/a" && b == "/srv" || a == "/srv" && b == "/dev/a" }

func nodeLimits(t *testing.T, src string) config.Config {
	t.Helper()
	c, err := config.Parse("fcnode.yaml", strings.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func siteLimits(t *testing.T, limits string) spec.Limits {
	t.Helper()
	s, err := spec.Parse("a.yaml", strings.NewReader("name: a\nimage: dir:/a\nports: [80]\nlimits: "+limits+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s[0].Limits
}

func TestEffective(t *testing.T) {
	const defaults = "defaults: {cpu: {min: 0.5, max: 2, step: 4}, memory: {max: 512MiB, swap: unlimited}, pids: 256, io: [{device: /dev/a, rbps: 1MiB}], disk: {bytes: 1GiB, inodes: 10k}}\n"
	const most = "max: {cpu: 4, memory: 1GiB, pids: 1024, io: [{device: /srv, rbps: 2MiB, wiops: 100}], disk: {bytes: 2GiB, inodes: 20k}}\n"
	const all = "{cpu: {min: 1, max: 8, step: 4}, memory: {min: 512MiB, high: 2GiB, max: 4GiB}, pids: {min: 64, max: 4096}, io: [{device: /dev/a, rbps: {min: 1MiB, max: 8MiB}, wiops: 50}], disk: {bytes: 4GiB, inodes: 1M}}"
	for _, tt := range []struct{ name, node, spec, want string }{
		{"nothing anywhere", "", "{}", "{}"},
		{"a spec on a node that says nothing", "", all, all},
		{"defaults", defaults, "{}", strings.TrimPrefix(strings.TrimSpace(defaults), "defaults: ")},
		{"defaults do not touch what the spec says", defaults, all, all},
		{"what a spec leaves out of a limit", defaults, "{cpu: {min: 1}, memory: {min: 64MiB}, pids: 64, io: [{device: /srv, wbps: 1MiB}], disk: 5GiB}",
			"{cpu: {min: 1, max: 2}, memory: {min: 64MiB, max: 512MiB}, pids: 64, io: [{device: /srv, wbps: 1MiB}], disk: {bytes: 5GiB, inodes: 10k}}"},
		{"a default that the spec is above", defaults, "{cpu: {min: 3}, memory: {high: 1GiB}}",
			"{cpu: {min: 3}, memory: {high: 1GiB}, pids: 256, io: [{device: /dev/a, rbps: 1MiB}], disk: {bytes: 1GiB, inodes: 10k}}"},
		{"the most alone", most, "{}", "{cpu: 4, memory: 1GiB, pids: 1024, io: [{device: /srv, rbps: 2MiB, wiops: 100}], disk: {bytes: 2GiB, inodes: 20k}}"},
		{"defaults within the most", defaults + most, "{}",
			"{cpu: {min: 0.5, max: 2, step: 4}, memory: {max: 512MiB, swap: unlimited}, pids: 256, io: [{device: /dev/a, rbps: 1MiB, wiops: 100}], disk: {bytes: 1GiB, inodes: 10k}}"},
		{"above the most", most, all,
			"{cpu: {min: 1, max: 4, step: 4}, memory: {min: 512MiB, high: 1GiB, max: 1GiB}, pids: {min: 64, max: 1024}, io: [{device: /dev/a, rbps: {min: 1MiB, max: 2MiB}, wiops: 50}], disk: {bytes: 2GiB, inodes: 20k}}"},
		{"scaled within what is left of nothing", most, "{cpu: {min: 4, max: 8, step: 4}, memory: {min: 1GiB, max: 2GiB, step: 4, follow: true}}",
			"{cpu: {min: 4, max: 4}, memory: {min: 1GiB, max: 1GiB}, pids: 1024, io: [{device: /srv, rbps: 2MiB, wiops: 100}], disk: {bytes: 2GiB, inodes: 20k}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := nodeLimits(t, tt.node)
			given := siteLimits(t, tt.spec)
			before := siteLimits(t, tt.spec)
			got := c.Effective(given, oneDisk)
			if diff := cmp.Diff(siteLimits(t, tt.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, given); diff != "" {
				t.Errorf("it has changed the spec (-before +after):\n%s", diff)
			}
			if c.Bounds() != (tt.node != "") {
				t.Errorf("Bounds = %v", c.Bounds())
			}
			if more := c.Exceeding(got, oneDisk); len(more) > 0 {
				t.Errorf("what holds is above the most: %v", more)
			}
		})
	}
}

func TestExceeding(t *testing.T) {
	c := nodeLimits(t, "# most\nmax:\n  cpu: 4\n  memory: 1GiB\n  pids: 1024\n  io: [{device: /srv, rbps: 2MiB}]\n  disk: {bytes: 2GiB, inodes: 20k}\n")
	for _, tt := range []struct {
		spec string
		want []string
	}{
		{"{}", nil},
		{"{cpu: 4, memory: 1GiB, pids: 1024, io: [{device: /dev/a, rbps: 2MiB, wbps: 9GiB}, {device: /b, rbps: 9GiB}], disk: {bytes: 2GiB, inodes: 20k}}", nil},
		{"{cpu: 5}", []string{"limits.cpu.max: 5 is more than this node allows, 4 (max.cpu, fcnode.yaml:3)"}},
		{"{cpu: {min: 5}}", []string{"limits.cpu.min: 5 is more than this node allows, 4 (max.cpu, fcnode.yaml:3)"}},
		{"{memory: {high: 2GiB}}", []string{"limits.memory.high: 2GiB is more than this node allows, 1GiB (max.memory, fcnode.yaml:4)"}},
		{"{memory: {min: 2GiB}}", []string{"limits.memory.min: 2GiB is more than this node allows, 1GiB (max.memory, fcnode.yaml:4)"}},
		{"{memory: 2GiB, pids: 1025}", []string{
			"limits.memory.max: 2GiB is more than this node allows, 1GiB (max.memory, fcnode.yaml:4)",
			"limits.pids.max: 1025 is more than this node allows, 1024 (max.pids, fcnode.yaml:5)",
		}},
		{"{io: [{device: /b, rbps: 1GiB}, {device: /dev/a, rbps: 3MiB}]}", []string{"limits.io[1].rbps.max: 3145728 is more than this node allows, 2097152 (max.io, fcnode.yaml:6)"}},
		{"{disk: {bytes: 3GiB, inodes: 21k}}", []string{
			"limits.disk.bytes: 3GiB is more than this node allows, 2GiB (max.disk.bytes, fcnode.yaml:7)",
			"limits.disk.inodes: 21k is more than this node allows, 20k (max.disk.inodes, fcnode.yaml:7)",
		}},
	} {
		var got []string
		for _, e := range c.Exceeding(siteLimits(t, tt.spec), oneDisk) {
			got = append(got, e.Field+": "+e.Message)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.spec, diff)
		}
	}
}
