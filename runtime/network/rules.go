package network

import (
	"errors"
	"maps"
	"net/netip"
	"sync"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Kernel is the data path's side of the rules.
type Kernel interface {
	SetRule(r bpf.Rule, allow bool) error
	DeleteRule(r bpf.Rule) error
	Rules() (map[bpf.Rule]bool, error)
	ResetFlows(vips ...netip.Addr) error
	ResetRefusals(ids ...bpf.SiteID) error
	IgnoringKernel
	MeteringKernel
}

// Site is what the rules need to know of one.
type Site struct {
	ID      bpf.SiteID
	Addrs   []netip.Addr
	Network *spec.Network // nil: its spec says nothing
	Ignore  *spec.Ignored // likewise
}

// Rules are those of the data path. Its methods may be called from several
// goroutines.
type Rules struct {
	kernel    Kernel
	node      spec.Network
	resolvers func() []netip.Addr

	mu      sync.Mutex
	ignored ignored
	metered metered
	reset   bool // connections were looked at anew since the start
	have    map[bpf.Rule]bool
	told    map[bpf.SiteID]map[bpf.Refusal]bool // refusals, without their times and replicas
}

// Open reads what the data path has. node and ignore are what the configuration
// says; resolvers gives the name servers that containers are told of.
func Open(k Kernel, node spec.Network, ignore spec.Ignored, resolvers func() []netip.Addr) (*Rules, error) {
	have, err := k.Rules()
	if err != nil {
		return nil, err
	}
	i, err := openIgnored(k, ignore)
	if err != nil {
		return nil, err
	}
	m, err := openMetered(k, node.Rate)
	if err != nil {
		return nil, err
	}
	return &Rules{kernel: k, node: node, ignored: i, metered: m, resolvers: resolvers, have: have, told: map[bpf.SiteID]map[bpf.Refusal]bool{}}, nil
}

// Become makes the data path's rules, and whom it ignores, those of these sites, by
// name, and of the node; if one cannot be set all of its kind are as before. Connections that a site has begun are
// looked at anew where its rules have changed.
func (r *Rules) Become(sites map[string]Site) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.ignored.become(sites), r.metered.become(sites)); err != nil {
		return err
	}
	want := map[bpf.Rule]bool{}
	for _, a := range r.resolvers() {
		for _, proto := range []bpf.Proto{bpf.UDP, bpf.TCP} {
			want[bpf.Rule{Prefix: netip.PrefixFrom(a, a.BitLen()), Proto: proto, Port: spec.PortDNS}] = true
		}
	}
	add(want, 0, &r.node, sites)
	for _, s := range sites {
		if s.Network != nil {
			add(want, s.ID, s.Network, sites)
		}
	}
	before := maps.Clone(r.have)
	changed, err := r.change(want)
	if err != nil {
		_, undo := r.change(before)
		return errors.Join(err, undo)
	}
	var vips []netip.Addr
	var ids []bpf.SiteID
	for _, s := range sites {
		if changed[s.ID] || changed[0] {
			delete(r.told, s.ID)
		}
		// The daemon before may have died in between, and the node's own rules may be new.
		if changed[s.ID] || !r.reset {
			vips = append(vips, s.Addrs...)
		}
		if changed[s.ID] {
			ids = append(ids, s.ID)
		}
	}
	// Each walks over a whole table: once for all sites.
	if len(ids) > 0 {
		err = r.kernel.ResetRefusals(ids...)
	}
	if len(vips) > 0 {
		err = errors.Join(err, r.kernel.ResetFlows(vips...))
	}
	r.reset = r.reset || err == nil
	return err
}

// change sets what differs: denials before permissions, and deletions last.
func (r *Rules) change(want map[bpf.Rule]bool) (changed map[bpf.SiteID]bool, err error) {
	changed = map[bpf.SiteID]bool{}
	for _, allow := range []bool{false, true} {
		for rule, allows := range want {
			if is, there := r.have[rule]; allows != allow || (there && is == allow) {
				continue
			}
			if err := r.kernel.SetRule(rule, allow); err != nil {
				return nil, err
			}
			r.have[rule], changed[rule.Site] = allow, true
		}
	}
	for rule := range r.have {
		if _, stays := want[rule]; stays {
			continue
		}
		if err := r.kernel.DeleteRule(rule); err != nil {
			return nil, err
		}
		delete(r.have, rule)
		changed[rule.Site] = true
	}
	return changed, nil
}

// add adds the rules of one owner. A site that is named and not there has none; its
// coming brings them. What is both allowed and denied, by an address that is a site's,
// is denied.
func add(to map[bpf.Rule]bool, owner bpf.SiteID, n *spec.Network, sites map[string]Site) {
	for _, list := range []struct {
		peers []spec.Peer
		allow bool
	}{{n.Allow, true}, {n.Deny, false}} {
		for _, p := range list.peers {
			rule := bpf.Rule{Site: owner, Port: p.Port.Port, Proto: protos[p.Port.Proto]}
			switch {
			case p.Word == spec.PeerInternet:
				rule.Target = bpf.TargetInternet
			case p.Word == spec.PeerHost:
				rule.Target = bpf.TargetHost
			case p.Site != "":
				for _, a := range sites[p.Site].Addrs {
					rule.Prefix = netip.PrefixFrom(a, a.BitLen())
					to[rule] = list.allow
				}
				continue
			default:
				rule.Prefix = p.Prefix
			}
			to[rule] = list.allow
		}
	}
}

var protos = map[string]bpf.Proto{"tcp": bpf.TCP, "udp": bpf.UDP}
