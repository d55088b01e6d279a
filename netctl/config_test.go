package netctl

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestConfigValidate(t *testing.T) {
	good := Config{Device: "fc0", Prefixes: prefixes("10.77.0.0/16", "fd77:fc::/64"), RunDir: "/run/fcnode"}
	if err := good.Validate(); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no device":         {func(c *Config) { c.Device = "" }, "1 to 10 characters"},
		"long device":       {func(c *Config) { c.Device = "fc012345678" }, "1 to 10 characters"},
		"slash in device":   {func(c *Config) { c.Device = "fc/0" }, "none of them"},
		"relative run dir":  {func(c *Config) { c.RunDir = "run" }, "absolute"},
		"negative pool":     {func(c *Config) { c.Pool = -1 }, "pool size -1"},
		"MTU too small":     {func(c *Config) { c.MTU = 576 }, "MTU 576"},
		"uplink is device":  {func(c *Config) { c.Uplinks = []string{"fc0"} }, "a device of fcnode itself"},
		"uplink twice":      {func(c *Config) { c.Uplinks = []string{"eth0", "eth0"} }, "named twice"},
		"no prefixes":       {func(c *Config) { c.Prefixes = nil }, "no prefix"},
		"prefix with bits":  {func(c *Config) { c.Prefixes = prefixes("10.77.1.0/16") }, "10.77.0.0/16 is meant"},
		"whole internet":    {func(c *Config) { c.Prefixes = prefixes("0.0.0.0/0") }, "whole internet"},
		"loopback":          {func(c *Config) { c.Prefixes = prefixes("127.0.0.0/8") }, "loopback"},
		"multicast":         {func(c *Config) { c.Prefixes = prefixes("ff05::/64") }, "multicast"},
		"IPv4 in IPv6":      {func(c *Config) { c.Prefixes = prefixes("::ffff:10.77.0.0/112") }, "write it as IPv4"},
		"prefix in another": {func(c *Config) { c.Prefixes = prefixes("10.77.0.0/16", "10.77.3.0/24") }, "overlap"},
		"zero prefix":       {func(c *Config) { c.Prefixes = []netip.Prefix{{}} }, "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one that says %q", err, tc.want)
			}
		})
	}
}
