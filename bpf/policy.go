package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// Target is what a rule is about.
type Target uint8

// The targets.
const (
	TargetAddress  = Target(dpFcPolicyTargetFC_TARGET_ADDRESS)
	TargetInternet = Target(dpFcPolicyTargetFC_TARGET_INTERNET) // all that is nothing else
	TargetHost     = Target(dpFcPolicyTargetFC_TARGET_HOST)     // the node's own addresses
)

// Rule is about connections that a site begins. Of rules for addresses the one
// with the longest prefix decides, among those for the port before those for all;
// a site's own go before the node's.
type Rule struct {
	Site   SiteID // 0: of all sites
	Target Target
	Prefix netip.Prefix // of TargetAddress
	Proto  Proto        // 0, with Port 0: every protocol and port
	Port   uint16
}

func (r Rule) key() dpFcPolicyKey {
	k := dpFcPolicyKey{Prefixlen: policyFixed, Owner: uint32(r.Site), Port: swap16(r.Port), Proto: uint8(r.Proto), Target: uint8(r.Target)}
	if r.Target == TargetAddress {
		k.Addr = toAddr(r.Prefix.Masked().Addr())
		k.Prefixlen += uint32(mappedBits(r.Prefix))
	}
	return k
}

// policyFixed is FC_POLICY_FIXED: what of a key is before the address.
const policyFixed = 64

// mappedBits is the length of a prefix in the form of IPv6.
func mappedBits(p netip.Prefix) int {
	if p.Addr().Is4() {
		return p.Bits() + 96
	}
	return p.Bits()
}

func fromMapped(a dpFcAddr, bits int) netip.Prefix {
	addr := fromAddr(a)
	if addr.Is4() {
		bits -= 96
	}
	return netip.PrefixFrom(addr, bits)
}

// Policy is whom sites may talk to of their own accord, and what may come in by the
// uplinks.
type Policy struct{ objs *dpObjects }

// SetRule lets what the rule is about be begun, or not.
func (d Policy) SetRule(r Rule, allow bool) error {
	verdict := dpFcVerdictFC_VERDICT_RULE
	if allow {
		verdict = dpFcVerdictFC_VERDICT_ALLOW
	}
	if err := d.objs.FcPolicy.Put(r.key(), uint32(verdict)); err != nil {
		return fmt.Errorf("set a network rule of site %d in the data path (room for %d rules of all sites): %w", r.Site, d.objs.FcPolicy.MaxEntries(), err)
	}
	return nil
}

// DeleteRule takes a rule away; one that is not there is no error.
func (d Policy) DeleteRule(r Rule) error {
	if err := ignoreMissing(d.objs.FcPolicy.Delete(r.key())); err != nil {
		return fmt.Errorf("take a network rule of site %d out of the data path: %w", r.Site, err)
	}
	return nil
}

// Allowance is what a site may begin and send in the Internet of its own accord.
type Allowance struct{ Connections, Packets Rate }

// SetAllowance gives a site its own; site 0: gives it to all that have none of their own from now on.
func (d Policy) SetAllowance(site SiteID, a Allowance) error {
	if err := d.objs.FcEgress.Put(uint32(site), dpFcAllowance{Conns: a.Connections.raw(), Packets: a.Packets.raw()}); err != nil {
		return fmt.Errorf("set what site %d may send in the data path (room for %d sites): %w", site, d.objs.FcEgress.MaxEntries(), err)
	}
	return nil
}

// DeleteAllowance takes a site's own away, or its copy of the node's, which the data path
// makes again; one that is not there is no error.
func (d Policy) DeleteAllowance(site SiteID) error {
	if err := ignoreMissing(d.objs.FcEgress.Delete(uint32(site))); err != nil {
		return fmt.Errorf("take what site %d may send out of the data path: %w", site, err)
	}
	return nil
}

// Allowances returns those of all sites, copies of the node's among them.
func (d Policy) Allowances() (map[SiteID]Allowance, error) {
	out := make(map[SiteID]Allowance)
	err := eachBatch(d.objs.FcEgress, 1, func(site uint32, a []dpFcAllowance) {
		out[SiteID(site)] = Allowance{Connections: a[0].Conns.rate(), Packets: a[0].Packets.rate()}
	})
	if err != nil {
		return nil, fmt.Errorf("list what sites may send: %w", err)
	}
	return out, nil
}

// Rules returns all rules, and whether each allows.
func (d Policy) Rules() (map[Rule]bool, error) {
	out := make(map[Rule]bool)
	var k dpFcPolicyKey
	var verdict uint32
	it := d.objs.FcPolicy.Iterate()
	for it.Next(&k, &verdict) {
		if k.Owner == uint32(dpFcPolicyOwnerFC_OWNER_LOCAL) {
			continue
		}
		r := Rule{Site: SiteID(k.Owner), Target: Target(k.Target), Port: swap16(k.Port), Proto: Proto(k.Proto)}
		if r.Target == TargetAddress {
			r.Prefix = fromMapped(k.Addr, int(k.Prefixlen)-policyFixed)
		}
		out[r] = dpFcVerdict(verdict) == dpFcVerdictFC_VERDICT_ALLOW
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the data path's network rules: %w", err)
	}
	return out, nil
}

// SetPrefixes tells the programs which prefixes the VIPs are taken from, and what
// else is not the Internet.
func (d Policy) SetPrefixes(prefixes []netip.Prefix) error {
	want, local := map[dpFcPrefixKey]uint32{}, map[dpFcPolicyKey]uint32{}
	add := func(p netip.Prefix, verdict dpFcVerdict) {
		k := Rule{Prefix: p}.key()
		k.Owner = uint32(dpFcPolicyOwnerFC_OWNER_LOCAL)
		local[k] = uint32(verdict)
	}
	for _, p := range notInternet() {
		add(p.prefix, p.verdict)
	}
	for _, p := range prefixes {
		want[dpFcPrefixKey{Prefixlen: uint32(mappedBits(p)), Addr: toAddr(p.Masked().Addr())}] = 1
		add(p, dpFcVerdictFC_VERDICT_SITE)
	}
	ours := func(k dpFcPolicyKey) bool { return k.Owner == uint32(dpFcPolicyOwnerFC_OWNER_LOCAL) }
	err := errors.Join(become(d.objs.FcPrefixes, want, func(dpFcPrefixKey) bool { return true }), become(d.objs.FcPolicy, local, ours))
	if err != nil {
		return fmt.Errorf("set the prefixes in the data path: %w", err)
	}
	return nil
}

// become adds what is missing in a map before it takes out those of ours that are
// not wanted.
func become[K comparable](m *ebpf.Map, want map[K]uint32, ours func(K) bool) error {
	var stale []K
	var k K
	var v uint32
	it := m.Iterate()
	for it.Next(&k, &v) {
		if _, wanted := want[k]; !wanted && ours(k) {
			stale = append(stale, k)
		}
	}
	errs := []error{it.Err()}
	for k, v := range want {
		errs = append(errs, m.Put(k, v))
	}
	for _, k := range stale {
		errs = append(errs, m.Delete(k))
	}
	return errors.Join(errs...)
}

// SetUplink says what the program at an uplink is to keep from being forwarded,
// beside what is for VIPs.
func (d Policy) SetUplink(ifindex int, guard4, guard6 bool) error {
	var flags dpFcUplinkFlags
	if guard4 {
		flags |= dpFcUplinkFlagsFC_UPLINK_GUARD4
	}
	if guard6 {
		flags |= dpFcUplinkFlagsFC_UPLINK_GUARD6
	}
	if err := d.objs.FcUplinks.Put(uint32(ifindex), uint32(flags)); err != nil {
		return fmt.Errorf("set uplink %d in the data path: %w", ifindex, err)
	}
	return nil
}

// ResetFlows makes the data path look anew at what the site of these addresses has
// begun, as is due when its rules have changed.
func (d Policy) ResetFlows(vips ...netip.Addr) error {
	of := map[dpFcAddr]bool{}
	for _, a := range vips {
		of[toAddr(a)] = true
	}
	var gone []dpFcCellKey
	var k dpFcCellKey
	var c dpFcCell
	it := d.objs.FcOwnFlows.Iterate()
	for it.Next(&k, &c) {
		if of[k.Vip] {
			gone = append(gone, k)
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) { // much traffic, and what is left ends by itself
		return fmt.Errorf("list the flows of %v: %w", vips, err)
	}
	for _, k := range gone {
		if err := d.objs.FcOwnFlows.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove a flow of %v: %w", vips, err)
		}
	}
	return nil
}

// ResetRefusals lets what sites are refused be told again.
func (d Policy) ResetRefusals(ids ...SiteID) error {
	of := map[uint32]bool{}
	for _, id := range ids {
		of[uint32(id)] = true
	}
	var gone []dpFcRefusedKey
	var k dpFcRefusedKey
	var since uint64
	it := d.objs.FcRefused.Iterate()
	for it.Next(&k, &since) {
		if of[k.Site] {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		_ = d.objs.FcRefused.Delete(k) // at worst it is not told again
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("list what sites %v were refused: %w", ids, err)
	}
	return nil
}

// Why says why a destination was refused.
type Why uint32

// The reasons.
const (
	ByRule    = Why(dpFcVerdictFC_VERDICT_RULE)
	ByPrivate = Why(dpFcVerdictFC_VERDICT_PRIVATE)
	BySite    = Why(dpFcVerdictFC_VERDICT_SITE)
	ByHost    = Why(dpFcVerdictFC_VERDICT_HOST)
	BySMTP    = Why(dpFcVerdictFC_VERDICT_SMTP)
	ByNever   = Why(dpFcVerdictFC_VERDICT_NEVER)
)

// Refusal is a destination that a site was refused.
type Refusal struct {
	Time    uint64 // CLOCK_MONOTONIC, ns
	Site    SiteID
	Replica ReplicaID
	To      netip.AddrPort // port 0: of a protocol without
	Proto   Proto
	Why     Why
}

// RefusalReader reads the ring of refusals. One reader at a time.
type RefusalReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

// Refusals opens the ring of refusals.
func (d Policy) Refusals() (*RefusalReader, error) {
	r, err := ringbuf.NewReader(d.objs.FcRefusalRing)
	if err != nil {
		return nil, fmt.Errorf("open the ring of refusals: %w", err)
	}
	return &RefusalReader{r: r}, nil
}

// Read waits for the next refusal. After Close it returns os.ErrClosed.
func (r *RefusalReader) Read() (Refusal, error) {
	if err := r.r.ReadInto(&r.rec); err != nil {
		return Refusal{}, err
	}
	var raw dpFcRefusal
	if b := r.rec.RawSample; len(b) < int(unsafe.Sizeof(raw)) {
		return Refusal{}, fmt.Errorf("refusal of %d bytes, want %d: the program and this daemon differ", len(b), unsafe.Sizeof(raw))
	}
	if _, err := binary.Decode(r.rec.RawSample, binary.NativeEndian, &raw); err != nil {
		return Refusal{}, fmt.Errorf("decode refusal: %w", err)
	}
	return Refusal{
		Time: raw.Ns, Site: SiteID(raw.To.Site), Replica: ReplicaID(raw.Replica), Proto: Proto(raw.To.Proto), Why: Why(raw.Verdict),
		To: netip.AddrPortFrom(fromAddr(raw.To.Addr), swap16(raw.To.Port)),
	}, nil
}

// Close ends a waiting Read.
func (r *RefusalReader) Close() error { return r.r.Close() }
