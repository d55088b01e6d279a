package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/firewall"
)

// firewall says whether the machine's own firewall is passed, and lets visitors
// through.
func (c *checker) firewall() {
	const name, why = "firewall", "what the machine's firewall drops is to reach no site, and visitors are to pass it"
	chains, err := c.m.Firewall(c.cfg.Device, c.cfg.Prefixes)
	if err != nil {
		c.failed(name, Warn, err, why, "look yourself: `nft list ruleset`")
		return
	}
	if len(chains) == 0 {
		c.add(name, OK, "no rules for what is forwarded", why, "")
		return
	}
	if i := slices.IndexFunc(chains, func(f netctl.FirewallChain) bool { return len(f.Refuses) > 0 }); i >= 0 {
		f := chains[i]
		c.add(name, Warn, fmt.Sprintf("%s drops by default what is forwarded, and no rule that names the sites' prefixes accepts it", f), why,
			"if none of its sets does either: "+strings.Join(openings(f, c.cfg.Prefixes), "; "))
		return
	}
	found := strings.Join(firewall.Names(chains), ", ")
	if c.cfg.Firewall == firewall.Bypass {
		c.add(name, Warn, found+"; firewall: bypass, so packets of awake sites go past them", why, "take `firewall: bypass` out of the configuration, or keep bans with `fcnode deny`")
		return
	}
	c.add(name, OK, found+"; packets of sites pass them, and take no short way", why, "")
}

// openings are the commands that let the prefixes through a chain. Docker keeps a
// chain for them, which it does not write itself.
func openings(f netctl.FirewallChain, prefixes []netip.Prefix) (out []string) {
	chain := f.Name
	if f.Name == "FORWARD" && f.Docker {
		chain = "DOCKER-USER"
	}
	for _, p := range prefixes {
		family := "ip6"
		if p.Addr().Is4() {
			family = "ip"
		}
		if !slices.Contains(f.Refuses, family) {
			continue
		}
		for _, side := range []string{"daddr", "saddr"} {
			out = append(out, fmt.Sprintf("nft insert rule %s %s %s %s %s %s accept", f.Family, f.Table, chain, family, side, p))
		}
	}
	return out
}

// Firewall implements [Machine].
func (Local) Firewall(device string, prefixes []netip.Prefix) ([]netctl.FirewallChain, error) {
	return netctl.Firewall(device, prefixes)
}
