package netctl

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// FirewallChain is a place where the machine's firewall may drop packets of
// visitors and sites: a base chain of nftables, also one that iptables keeps
// there, or a table of the older iptables.
type FirewallChain struct {
	Family string // "ip", "ip6", "inet", "netdev"; of the older iptables: "ip-legacy", "ip6-legacy"
	Table  string
	Name   string // empty: of the older iptables, whose chains are not looked into
	Hook   string
	// Refuses lists the families, "ip" and "ip6", in which the chain drops what
	// none of its rules accepts and no rule accepts one of the node's prefixes.
	Refuses []string
	Docker  bool // it sends packets by Docker's chain for others' rules first
}

func (c FirewallChain) String() string {
	if c.Name == "" {
		return c.Family + " " + c.Table
	}
	return c.Family + " " + c.Table + " " + c.Name
}

// hooks are those that forwarded packets pass, by family. What is at input they
// never see: a site's address is none of the machine's.
var hooks = map[nftables.TableFamily]map[nftables.ChainHook]string{
	nftables.TableFamilyINet:   forwarded,
	nftables.TableFamilyIPv4:   forwarded,
	nftables.TableFamilyIPv6:   forwarded,
	nftables.TableFamilyNetdev: {unix.NF_NETDEV_INGRESS: "ingress", unix.NF_NETDEV_EGRESS: "egress"},
}

// The last is NF_INET_INGRESS, which the family inet has from Linux 5.10 on.
var forwarded = map[nftables.ChainHook]string{
	unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward", unix.NF_INET_POST_ROUTING: "postrouting", 5: "ingress",
}

var families = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyNetdev: "netdev",
}

// Firewall lists where the firewall of the calling thread's network namespace may
// drop what is forwarded. fcnode's own table, which is named by device, does not
// count, nor do chains of type nat, which rewrite addresses.
func Firewall(device string, prefixes []netip.Prefix) ([]FirewallChain, error) {
	found, err := legacyTables()
	if err != nil {
		return nil, err
	}
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChains()
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return found, nil // a kernel without nftables has no rules in it
	}
	if err != nil {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || chain.Type == nftables.ChainTypeNAT || chain.Table.Name == tableName(device) {
			continue
		}
		hook, ok := hooks[chain.Table.Family][*chain.Hooknum]
		if !ok {
			continue
		}
		drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		rules, err := c.GetRules(chain.Table, chain)
		if errors.Is(err, unix.ENOENT) {
			continue // deleted meanwhile, which is told
		}
		if err == nil && len(rules) == 0 && !drops {
			continue
		}
		f := FirewallChain{Family: families[chain.Table.Family], Table: chain.Table.Name, Name: chain.Name, Hook: hook}
		if drops && err == nil {
			f.Refuses = refused(c, chain, chains, prefixes)
			f.Docker = slices.ContainsFunc(rules, func(r *nftables.Rule) bool {
				verdict, _ := lookInto(r, netip.Prefix{})
				return verdict != nil && verdict.Chain == "DOCKER-USER"
			})
		}
		found = append(found, f) // also if its rules cannot be read
	}
	return found, nil
}

// legacyTables are those of the older iptables that have been used since the boot.
func legacyTables() (found []FirewallChain, err error) {
	for _, family := range []string{"ip", "ip6"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the tables of iptables: %w", err)
		}
		for table := range strings.FieldsSeq(string(b)) {
			if table != "nat" {
				found = append(found, FirewallChain{Family: family + "-legacy", Table: table, Hook: "forward"})
			}
		}
	}
	slices.SortFunc(found, func(a, b FirewallChain) int { return strings.Compare(a.String(), b.String()) })
	return found, nil
}

// refused are the families of the prefixes that a chain which drops by default
// does not name in a rule that accepts. Chains that its rules jump to count.
func refused(c *nftables.Conn, base *nftables.Chain, chains []*nftables.Chain, prefixes []netip.Prefix) (out []string) {
	for _, p := range prefixes {
		family := "ip6"
		if p.Addr().Is4() {
			family = "ip"
		}
		if of := families[base.Table.Family]; of != family && of != "inet" && of != "netdev" {
			continue
		}
		if !accepts(c, base, chains, p) && !slices.Contains(out, family) {
			out = append(out, family)
		}
	}
	return out
}

func accepts(c *nftables.Conn, base *nftables.Chain, chains []*nftables.Chain, p netip.Prefix) bool {
	seen, next := map[string]bool{}, []string{base.Name}
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		at := slices.IndexFunc(chains, func(o *nftables.Chain) bool {
			return o.Name == name && o.Table.Name == base.Table.Name && o.Table.Family == base.Table.Family
		})
		if at < 0 || seen[name] {
			continue
		}
		seen[name] = true
		rules, err := c.GetRules(base.Table, chains[at])
		if err != nil {
			continue // counts as one that does not accept
		}
		for _, r := range rules {
			verdict, named := lookInto(r, p)
			switch {
			case verdict == nil:
			case verdict.Kind == expr.VerdictAccept && named:
				return true
			case verdict.Kind == expr.VerdictJump || verdict.Kind == expr.VerdictGoto:
				next = append(next, verdict.Chain)
			}
		}
	}
	return false
}

// lookInto finds what a rule does, and whether it compares something to the
// prefix. nft compares as many bytes of an address as the prefix has.
func lookInto(r *nftables.Rule, p netip.Prefix) (verdict *expr.Verdict, named bool) {
	addr := p.Masked().Addr().AsSlice()
	least := (p.Bits() + 7) / 8
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Verdict:
			verdict = e
		case *expr.Cmp:
			if e.Op == expr.CmpOpEq && len(e.Data) >= least && len(e.Data) > 1 && bytes.HasPrefix(addr, e.Data) {
				named = true
			}
		}
	}
	return verdict, named
}

// Firewall lists where the firewall of the node's network namespace may drop what
// is forwarded.
func (n *Net) Firewall() (found []FirewallChain, err error) {
	err = thread.InNetns(n.nodeNS, func() error {
		found, err = Firewall(n.cfg.Device, n.cfg.Prefixes)
		return err
	})
	return found, err
}

// WatchFirewall calls changed after each change of the rules of nftables in the
// node's network namespace, until close is called. Of the older iptables nobody
// is told.
func (n *Net) WatchFirewall(changed func()) (closing func() error, err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(n.nodeNS.Fd())})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return nil, errors.Join(fmt.Errorf("follow the changes of nftables: %w", err), conn.Close())
	}
	go n.watching(func() {
		for {
			messages, err := conn.Receive()
			switch {
			case errors.Is(err, unix.ENOBUFS): // some were lost
				changed()
			case err != nil:
				return
			case slices.ContainsFunc(messages, endsTransaction):
				changed()
			}
		}
	})
	return conn.Close, nil
}

// endsTransaction tells the message that comes once for each transaction, after
// those about what it has changed.
func endsTransaction(m netlink.Message) bool {
	return m.Header.Type == netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
}
