package netctl

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForwardingPlan(t *testing.T) {
	both := Config{Device: "fc0", Prefixes: prefixes("10.77.0.0/16", "fd77:fc::/64")}
	only4 := Config{Device: "fc0", Prefixes: prefixes("10.77.0.0/16")}
	uplinked := both
	uplinked.Uplinks = []string{"eth0"}
	modern := map[string]string{
		conf6("all", "forwarding"):       "0",
		conf6("fc0", "force_forwarding"): "0", conf6("eth0", "force_forwarding"): "0",
	}
	old := map[string]string{
		conf6("all", "forwarding"):     "0",
		conf6("default", "forwarding"): "0",
		conf6("eth0", "forwarding"):    "0", conf6("eth1", "forwarding"): "1",
		conf6("eth0", "accept_ra"): "1", conf6("eth1", "accept_ra"): "0",
	}
	router := map[string]string{conf6("all", "forwarding"): "1"}
	four := "own net/ipv4/conf/fc0/forwarding=1"

	for name, tc := range map[string]struct {
		cfg    Config
		kernel map[string]string
		want   []string
	}{
		"IPv4 only":                        {only4, nil, []string{four}},
		"a router already":                 {uplinked, router, []string{four, "net/ipv4/conf/eth0/forwarding=1"}},
		"no uplinks, a kernel from 6.17":   {both, modern, []string{four, "own net/ipv6/conf/fc0/force_forwarding=1"}},
		"no uplinks, an older kernel":      {both, old, []string{four}},
		"uplinks, a kernel from 6.17 on":   {uplinked, modern, []string{four, "net/ipv4/conf/eth0/forwarding=1", "own net/ipv6/conf/fc0/force_forwarding=1", "net/ipv6/conf/eth0/force_forwarding=1"}},
		"uplinks, an older kernel: switch": {uplinked, old, []string{four, "net/ipv4/conf/eth0/forwarding=1", "guarded net/ipv6/conf/eth1/forwarding=1", "net/ipv6/conf/eth0/accept_ra=2", "net/ipv6/conf/all/forwarding=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(name string) (string, error) {
				if v, ok := tc.kernel[name]; ok {
					return v, nil
				}
				return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
			}
			plan, err := forwardingPlan(tc.cfg, []string{"lo", "eth0", "eth1"}, read)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range plan {
				mark := ""
				if s.own {
					mark = "own "
				}
				if s.guarded {
					mark = "guarded "
				}
				got = append(got, mark+s.name+"="+s.value)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
