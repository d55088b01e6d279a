package netctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Egress is how connections that a replica begins leave the machine.
type Egress string

// The ways out. The zero value is EgressMasquerade for prefixes that nobody
// routes on the Internet, and EgressRouted for others.
const (
	EgressMasquerade Egress = "masquerade" // from the address of the device they leave by
	EgressRouted     Egress = "routed"     // from the VIP, to which routers outside know the way
	EgressNone       Egress = "none"       // refused
)

// cgnat is private too in effect: nobody answers to it on the Internet.
var cgnat = netip.MustParsePrefix("100.64.0.0/10")

// Of is what e means for a prefix.
func (e Egress) Of(p netip.Prefix) Egress {
	switch {
	case e != "":
		return e
	case p.Addr().IsPrivate() || cgnat.Contains(p.Addr()):
		return EgressMasquerade
	}
	return EgressRouted
}

// egress is the node's table in nftables. In it only what a replica begins is
// matched, by its first packet: answers to visitors keep the VIP whatever
// connection tracking knows of them, which is nothing where they came by the
// fast path. The table outlives the daemon; each Setup replaces it in one step.
type egress struct {
	name     string // of the table
	device   string
	prefixes []netip.Prefix
	way      Egress

	mu      sync.Mutex
	answers map[netip.AddrPort]bool // UDP ports of sites: what comes from there are answers
}

// tableName is that of fcnode's table of nftables.
func tableName(device string) string { return "fcnode-" + device }

func newEgress(cfg Config) *egress {
	return &egress{name: tableName(cfg.Device), device: cfg.Device, prefixes: cfg.Prefixes, way: cfg.Egress, answers: map[netip.AddrPort]bool{}}
}

// needed says whether there is anything to be done to packets.
func (e *egress) needed() bool {
	return slices.ContainsFunc(e.prefixes, func(p netip.Prefix) bool { return e.way.Of(p) != EgressRouted })
}

func (e *egress) table() *nftables.Table {
	return &nftables.Table{Name: e.name, Family: nftables.TableFamilyINet}
}

// write puts the table into the place of what is there. The thread is in the
// node's network namespace.
func (e *egress) write() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writeLocked()
}

func (e *egress) writeLocked() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.AddTable(e.table()) // so that there is one to be deleted
	c.DelTable(e.table())
	if !e.needed() {
		return e.flush(c)
	}
	t := c.AddTable(e.table())
	policy := nftables.ChainPolicyAccept
	out := c.AddChain(&nftables.Chain{
		Name: "out", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &policy,
	})
	refused := c.AddChain(&nftables.Chain{
		Name: "refused", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	sets := map[bool]*nftables.Set{}
	for _, v4 := range []bool{true, false} {
		if sets[v4], err = e.addSet(c, t, v4); err != nil {
			return err
		}
	}
	for _, p := range e.prefixes {
		chain, verdict := out, expr.Any(&expr.Masq{})
		switch e.way.Of(p) {
		case EgressRouted:
			continue
		case EgressNone:
			chain, verdict = refused, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
		case EgressMasquerade:
		}
		for _, began := range beginnings(p.Addr().Is4(), sets[p.Addr().Is4()]) {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: slices.Concat(e.leaves(p), began, []expr.Any{verdict})})
		}
	}
	return e.flush(c)
}

func (e *egress) flush(c *nftables.Conn) error {
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write table %s of nftables: %w", e.name, err)
	}
	return nil
}

// setNames are those of the sets of answers, by whether they are IPv4's.
var setNames = map[bool]string{true: "answers4", false: "answers6"}

func (e *egress) set(t *nftables.Table, v4 bool) *nftables.Set {
	addr := nftables.TypeIP6Addr
	if v4 {
		addr = nftables.TypeIPAddr
	}
	return &nftables.Set{Table: t, Name: setNames[v4], KeyType: nftables.MustConcatSetType(addr, nftables.TypeInetService), Concatenation: true}
}

// perMessage is how many elements of a set are sent at once.
const perMessage = 256

func (e *egress) addSet(c *nftables.Conn, t *nftables.Table, v4 bool) (*nftables.Set, error) {
	s := e.set(t, v4)
	if err := c.AddSet(s, nil); err != nil {
		return nil, fmt.Errorf("make a set of nftables: %w", err)
	}
	var all []netip.AddrPort
	for a := range e.answers {
		all = append(all, a)
	}
	for chunk := range slices.Chunk(elements(all, v4), perMessage) {
		if err := c.SetAddElements(s, chunk); err != nil {
			return nil, fmt.Errorf("fill a set of nftables: %w", err)
		}
	}
	return s, nil
}

func elements(addrs []netip.AddrPort, v4 bool) (out []nftables.SetElement) {
	for _, a := range addrs {
		if a.Addr().Is4() != v4 {
			continue
		}
		key := binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port())
		out = append(out, nftables.SetElement{Key: append(key, 0, 0)})
	}
	return out
}

// change adds and removes UDP ports of sites.
func (e *egress) change(add, remove []netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	add = slices.DeleteFunc(slices.Clone(add), func(a netip.AddrPort) bool { return e.answers[a] })
	remove = slices.DeleteFunc(slices.Clone(remove), func(a netip.AddrPort) bool { return !e.answers[a] })
	for _, a := range add {
		e.answers[a] = true
	}
	for _, a := range remove {
		delete(e.answers, a)
	}
	if !e.needed() || len(add)+len(remove) == 0 {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, v4 := range []bool{true, false} {
		s := e.set(e.table(), v4)
		var errs []error
		for chunk := range slices.Chunk(elements(add, v4), perMessage) {
			errs = append(errs, c.SetAddElements(s, chunk))
		}
		for chunk := range slices.Chunk(elements(remove, v4), perMessage) {
			errs = append(errs, c.SetDeleteElements(s, chunk))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("change a set of nftables: %w", err)
		}
	}
	if e.flush(c) == nil {
		return nil
	}
	return e.writeLocked() // somebody has flushed all tables: nftables.service does at each reload
}

// remove takes the table away.
func (e *egress) remove() error {
	there, err := e.exists()
	if err != nil || !there {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.DelTable(e.table())
	return e.flush(c)
}

// leaves matches what a replica sends to somewhere outside of the machine.
func (e *egress) leaves(p netip.Prefix) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV6), uint32(8) // of the source address
	if p.Addr().Is4() {
		family, offset = unix.NFPROTO_IPV4, 12
	}
	size := uint32(p.Addr().BitLen() / 8)
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, e.device)
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{family}),
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(device),
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: device},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		equal(p.Addr().AsSlice()),
	}
}

func equal(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// beginnings match the first packet of what a replica begins: a SYN, a datagram
// that comes from no port of a site, an echo request.
func beginnings(v4 bool, answers *nftables.Set) [][]expr.Any {
	proto := func(p byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{p})}
	}
	icmp, echo, addrOffset, addrSize, portRegister := byte(unix.IPPROTO_ICMPV6), byte(128), uint32(8), uint32(16), uint32(unix.NFT_REG32_04)
	if v4 {
		icmp, echo, addrOffset, addrSize, portRegister = unix.IPPROTO_ICMP, 8, 12, 4, unix.NFT_REG32_01
	}
	const syn, ofFlags = 0x02, 0x17 // of fin, syn, rst and ack
	return [][]expr.Any{
		append(proto(unix.IPPROTO_TCP),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{ofFlags}, Xor: []byte{0}}, equal([]byte{syn})),
		append(proto(unix.IPPROTO_UDP),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: addrOffset, Len: addrSize},
			&expr.Payload{DestRegister: portRegister, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
			&expr.Lookup{SourceRegister: 1, SetName: answers.Name, SetID: answers.ID, Invert: true}),
		append(proto(icmp),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, equal([]byte{echo})),
	}
}

// EgressError means that the way out that was asked for cannot be had.
type EgressError struct {
	Way Egress
	Err error
}

func (e *EgressError) Error() string {
	return fmt.Sprintf("egress: %s needs nftables of the kernel (CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ, CONFIG_NFT_REJECT_INET): %v; load the modules, or say egress: routed", e.Way, e.Err)
}

func (e *EgressError) Unwrap() error { return e.Err }

// leave makes the way out. Where nobody asked for a way and the kernel has no
// nftables, the node serves all the same, and says so.
func (n *Net) leave(undo *undoList) error {
	there, err := n.egress.exists() // an earlier daemon's sites still leave by it
	if there {
		n.egress.remember()
	}
	if err == nil {
		err = n.egress.write()
	}
	if err == nil {
		if !there {
			undo.add(n.egress.remove)
		}
		undo.add(n.unguardEgress) // which is to be over before
		return n.guardEgress()
	}
	if n.cfg.Egress == "" || n.cfg.Egress == EgressRouted {
		if n.egress.needed() {
			n.log.Error("connections that sites begin leave with addresses that nobody outside can answer to", "error", &EgressError{Way: EgressMasquerade, Err: err})
		}
		return nil
	}
	return &EgressError{Way: n.cfg.Egress, Err: err}
}

// ChangeAnswers tells which UDP ports sites answer on, and on which no more:
// what comes from them is no connection that a replica began.
func (n *Net) ChangeAnswers(add, remove []netip.AddrPort) error {
	return thread.InNetns(n.nodeNS, func() error { return n.egress.change(add, remove) })
}

// removeEgress takes the table away, where the kernel can have one.
func (n *Net) removeEgress() error {
	err := n.egress.remove()
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // no nftables: none was made
	}
	return err
}

// ProbeEgress makes such a table in the thread's network namespace, which should be
// one of its own.
func ProbeEgress() error {
	v4, v6 := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")
	for _, way := range []Egress{EgressMasquerade, EgressNone} {
		if err := newEgress(Config{Device: "probe", Prefixes: []netip.Prefix{v4, v6}, Egress: way}).write(); err != nil {
			return err
		}
	}
	return nil
}

// guardEgress puts the table back when somebody has deleted it: the usual
// nftables.conf begins with a flush of all tables, at each reload of the firewall.
func (n *Net) guardEgress() error {
	if !n.egress.needed() {
		return nil
	}
	watch, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return fmt.Errorf("watch the tables of nftables: %w", err)
	}
	deleted, done := make(chan struct{}, 1), make(chan struct{})
	n.endGuard = sync.OnceFunc(func() { watch.Close(); <-done })
	go func() {
		defer close(deleted)
		n.watching(func() { readDeleted(watch, deleted) })
	}()
	go func() {
		defer close(done)
		n.keepEgress(deleted, egressRetry)
	}()
	return nil
}

// readDeleted tells of tables that were deleted, until the watch is closed.
func readDeleted(watch *nl.NetlinkSocket, deleted chan<- struct{}) {
	for {
		msgs, _, err := watch.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // some were lost
			return // closed
		}
		const message = 0xff // of the type; the rest is the subsystem
		if err == nil && !slices.ContainsFunc(msgs, func(m syscall.NetlinkMessage) bool { return m.Header.Type&message == unix.NFT_MSG_DELTABLE }) {
			continue
		}
		select {
		case deleted <- struct{}{}:
		default: // one is on its way
		}
	}
}

// egressRetry is how long it takes until the table is tried again that could not
// be put back.
const egressRetry = 10 * time.Second

// keepEgress puts the table back each time that one was deleted, until there is
// nobody who would tell.
func (n *Net) keepEgress(deleted <-chan struct{}, retry time.Duration) {
	var again <-chan time.Time
	for {
		select {
		case _, more := <-deleted:
			if !more {
				return
			}
		case <-again:
		}
		again = nil
		err := n.cfg.guarded(func() error { return thread.InNetns(n.nodeNS, n.egress.putBack) })
		if err != nil {
			n.log.Error("connections that sites begin have no way out; trying again", "after", retry, "error", err)
			again = time.After(retry)
		}
	}
}

// watching calls what reads messages until there are no more, and calls it again
// after a panic.
func (n *Net) watching(read func()) {
	for {
		err := n.cfg.guarded(func() error { read(); return nil })
		if err == nil {
			return
		}
		n.log.Error("messages of nftables are lost; reading on", "after", retryAfter, "error", err)
		<-time.After(retryAfter)
	}
}

// remember takes over the answers that the table of an earlier daemon has, so that there is no moment without them. A table
// of another form has none; the caller tells of all sites' ports soon.
func (e *egress) remember() {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := nftables.New()
	if err != nil {
		return
	}
	for _, v4 := range []bool{true, false} {
		elements, err := c.GetSetElements(e.set(e.table(), v4))
		if err != nil {
			continue
		}
		for _, el := range elements {
			size := map[bool]int{true: 4, false: 16}[v4]
			if addr, ok := netip.AddrFromSlice(el.Key[:min(size, len(el.Key))]); ok && len(el.Key) >= size+2 {
				e.answers[netip.AddrPortFrom(addr, binary.BigEndian.Uint16(el.Key[size:]))] = true
			}
		}
	}
}

// unguardEgress ends the guard, if there is one.
func (n *Net) unguardEgress() error {
	if n.endGuard != nil {
		n.endGuard()
	}
	return nil
}

// putBack writes the table if it is gone.
func (e *egress) putBack() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	there, err := e.exists()
	if err != nil || there {
		return err
	}
	return e.writeLocked()
}

func (e *egress) exists() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list the tables of nftables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == e.name }), nil
}
