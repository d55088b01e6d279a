package bpf

import "net/netip"

type special struct {
	prefix  netip.Prefix
	verdict dpFcVerdict
}

// Addresses of IPv4 that are no machine's on the Internet: RFC 6890 and what came
// after, and 168.63.129.16, at which Azure has what others have at 169.254.169.254.
var (
	private4 = []string{
		"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "168.63.129.16/32",
	}
	never4 = []string{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"}

	private6 = []string{"64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10"}
	never6   = []string{"::/96", "ff00::/8"}
)

// Translators and tunnels lead to the IPv4 address that stands in one of IPv6
// behind these: NAT64 (RFC 6052) and 6to4 (RFC 3056).
var embedding = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16")}

// notInternet lists what sites reach by a rule only.
func notInternet() (out []special) {
	add := func(texts []string, verdict dpFcVerdict) {
		for _, text := range texts {
			p := netip.MustParsePrefix(text)
			out = append(out, special{p, verdict})
			if !p.Addr().Is4() {
				continue
			}
			for _, e := range embedding {
				out = append(out, special{embed(e, p), verdict})
			}
		}
	}
	add(private4, dpFcVerdictFC_VERDICT_PRIVATE)
	add(private6, dpFcVerdictFC_VERDICT_PRIVATE)
	add(never4, dpFcVerdictFC_VERDICT_NEVER)
	add(never6, dpFcVerdictFC_VERDICT_NEVER)
	return out
}

// embed puts a prefix of IPv4 behind one of IPv6.
func embed(behind, p netip.Prefix) netip.Prefix {
	a, in := behind.Addr().As16(), p.Addr().As4()
	copy(a[behind.Bits()/8:], in[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), behind.Bits()+p.Bits())
}
