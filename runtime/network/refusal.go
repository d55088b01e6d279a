package network

import (
	"fmt"
	"net/netip"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

// mostTold is how many destinations of a site are told until its rules change: a
// tenant who tries every address fills no log.
const mostTold = 64

// Telling is what is told of a refusal.
type Telling struct {
	Reason string
	Allow  string // the entry of network.allow that would allow it; "": none
	Last   bool   // further ones are not told
}

// Tell puts a refusal into words, once for each destination of a site. owner names
// the site that has an address, "" for none.
func (r *Rules) Tell(f bpf.Refusal, owner func(netip.Addr) string) (t Telling, first bool) {
	key := f
	key.Time, key.Replica = 0, 0
	r.mu.Lock()
	told := r.told[f.Site]
	if told == nil {
		told = map[bpf.Refusal]bool{}
		r.told[f.Site] = told
	}
	if told[key] || len(told) >= mostTold {
		r.mu.Unlock()
		return Telling{}, false
	}
	told[key] = true
	t.Last = len(told) == mostTold
	r.mu.Unlock()

	to := peer(f)
	why := "it is neither the Internet nor allowed"
	switch f.Why {
	case bpf.ByPrivate:
		why = "it is in another network of the node's"
	case bpf.BySite:
		if name := owner(f.To.Addr()); name != "" {
			to.Prefix, to.Site = netip.Prefix{}, name
			why = "it is another site"
		} else {
			why = "it is an address of sites that no site has"
		}
	case bpf.ByHost:
		to.Prefix, to.Word = netip.Prefix{}, spec.PeerHost
		why = "it is the node itself, or the node has no route to it"
	case bpf.BySMTP:
		why = "port 25 is closed, against spam"
	case bpf.ByRule:
		t.Reason = fmt.Sprintf("%s: network.deny of its spec or of the node's configuration has it", destination(f))
		return t, true
	case bpf.ByNever:
		t.Reason = fmt.Sprintf("%s: no site reaches such an address", destination(f))
		return t, true
	}
	t.Reason = fmt.Sprintf("%s: %s", destination(f), why)
	t.Allow = to.String()
	return t, true
}

func peer(f bpf.Refusal) spec.Peer {
	p := spec.Peer{Prefix: netip.PrefixFrom(f.To.Addr(), f.To.Addr().BitLen())}
	if f.To.Port() != 0 {
		p.Port = spec.Port{Port: f.To.Port(), Proto: f.Proto.String()}
	}
	return p
}

// destination is 10.1.0.5:3306/tcp, or 10.1.0.5 (proto-1).
func destination(f bpf.Refusal) string {
	if f.To.Port() == 0 {
		return fmt.Sprintf("%s (%s)", f.To.Addr(), f.Proto)
	}
	return fmt.Sprintf("%s/%s", f.To, f.Proto)
}
