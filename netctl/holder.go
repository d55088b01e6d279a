package netctl

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// Clock is the time that a [Holder] lives by. Now is compared with nothing but
// itself; AfterFunc runs f once, on a goroutine of its own, not before d has
// passed, unless stop is called first.
type Clock interface {
	Now() time.Duration
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Expired says that packets have been held for the whole deadline. They were
// refused.
type Expired struct {
	Site    bpf.SiteID
	Packets int
}

// Holder keeps packets while their sites wake. Every operation costs the same
// however many are held, but for those that send a site's packets, or give one of
// them up for another's, which cost as much as it has. It is safe for concurrent use.
//
//	      Add                    Release ──> the device, in order of arrival
//	──> [ held for the site ] ── Refuse  ──> the sink, which answers RST or unreachable
//	                             expiry  ──> likewise, and the callback
//	                             Drop    ──> nowhere
type Holder struct {
	cfg     HoldConfig
	release Injector
	refuse  Injector
	clock   Clock
	expired func(Expired)

	mu   sync.Mutex // guards held; never locked while a packet is sent
	held heldQueue
}

// heldQueue is what a Holder holds.
type heldQueue struct {
	sites    map[bpf.SiteID]*heldSite
	sources  map[netip.Prefix]*heldSource
	bySite   shares[*heldSite]
	bySource shares[*heldSource]
	lines    map[time.Duration]*heldLine // by how long their packets are held; none is empty
	total    int
	stop     func() bool   // the timer's; nil if it is not set
	rings    time.Duration // when, by Clock
	timer    uint64        // which timer is the valid one
}

// heldLine has all packets that are held for the same time, by time of arrival, so
// that its oldest is due first. There are as many as sites have different times.
type heldLine struct {
	within         time.Duration
	oldest, newest *heldPacket
}

// heldSite is a site somebody waits for.
type heldSite struct {
	first, last *heldPacket       // by time of arrival
	flows       map[packetKey]int // how many packets of each are held; of TCP one
	packets     int
	within      time.Duration // of all of its packets
}

// heldPacket stands in three lists, its line and those of its site and its source. One without
// data marks a site for which a packet came but could not be kept.
type heldPacket struct {
	site       bpf.SiteID
	line       *heldLine
	data       []byte
	captured   uint64        // HeldPacket.Time
	due        time.Duration // by Clock
	key        packetKey
	prev, next *heldPacket
	after      *heldPacket // of the same site

	source       *heldSource // with data
	older, newer *heldPacket // of the same source
}

// packetKey is what a retransmission has in common with its original, and of UDP
// all of a flow.
type packetKey struct {
	client, vip netip.AddrPort
	seq         uint32
	proto       bpf.Proto
	proven      bool
}

// NewHolder returns an empty Holder. Released packets go to release, refused
// ones to refuse; expired, which may be nil, is called after a deadline, not
// before the packets were refused, and never while the Holder is locked.
func NewHolder(cfg HoldConfig, release, refuse Injector, clock Clock, expired func(Expired)) *Holder {
	return &Holder{
		cfg: cfg, release: release, refuse: refuse, clock: clock, expired: expired,
		held: heldQueue{sites: map[bpf.SiteID]*heldSite{}, sources: map[netip.Prefix]*heldSource{}, lines: map[time.Duration]*heldLine{}},
	}
}

// Add keeps a packet, whose Data is the Holder's from then on. first says that
// nothing was held for the site before: it has to be woken. That is so also if
// the packet cannot be kept, which is [ErrHoldSiteFull] or [ErrHoldTotalFull]:
// its sender will repeat it. With as many held as may be, whoever holds most gives one
// up for those who hold less (see makeRoom). The repetition of a TCP packet that is held is
// dropped without an error; of UDP nothing tells it from the next datagram, so all are kept.
//
// It is held for as long as within, or for the deadline of the configuration where
// that is longer; while packets of a site are held, those that follow have the time
// of the first.
func (h *Holder) Add(p bpf.HeldPacket, within time.Duration) (first bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.held
	s := q.sites[p.Site]
	first = s == nil
	if first {
		s = &heldSite{flows: map[packetKey]int{}, within: max(within, h.cfg.Deadline)}
		q.sites[p.Site] = s
	}
	key := packetKey{client: p.Client, vip: p.VIP, seq: p.Seq, proto: p.Proto, proven: p.Proven}
	if p.Proto == bpf.TCP && s.flows[key] > 0 {
		return first, nil
	}
	held := &heldPacket{site: p.Site, captured: p.Time, due: h.clock.Now() + s.within, key: key}
	switch {
	case !s.mayHold(key, h.cfg.PerSite):
		err = fmt.Errorf("%w (%d)", ErrHoldSiteFull, h.cfg.PerSite)
	case q.total >= h.cfg.Total && !q.makeRoom(bpf.SourceOf(p.Client.Addr()), s):
		err = fmt.Errorf("%w (%d)", ErrHoldTotalFull, h.cfg.Total)
	}
	if err != nil && !first {
		return false, err
	}
	if err == nil {
		held.data = p.Data
		q.count(s, held)
	}
	q.append(s, held)
	q.arm(h.clock, h.expire)
	return first, err
}

// mayHold says whether one packet more may be held, with so many flows at most. Of UDP
// they may have bpf.Flight datagrams each, on an average.
func (s *heldSite) mayHold(key packetKey, perSite int) bool {
	if s.flows[key] == 0 {
		return len(s.flows) < perSite
	}
	return s.packets-len(s.flows) < (bpf.Flight-1)*perSite
}

// Release puts the packets of a site back on the device. It returns how many
// there were and when the first of them was captured (CLOCK_MONOTONIC in
// nanoseconds, 0 if there was none). If some cannot be sent the others are.
func (h *Holder) Release(site bpf.SiteID) (n int, oldest uint64, err error) {
	return send(h.release, h.take(site))
}

// ReleaseIf does so with those for whose VIP, port and protocol ready says yes, also
// told whether they are of a handshake that was begun by a cookie ([bpf.HeldPacket]),
// and goes on holding the others. ready must not call the Holder.
func (h *Holder) ReleaseIf(site bpf.SiteID, ready func(vip netip.AddrPort, proto bpf.Proto, proven bool) bool) (n int, oldest uint64, err error) {
	return send(h.release, h.takeIf(site, func(k packetKey) bool { return ready(k.vip, k.proto, k.proven) }))
}

// Refuse hands the packets of a site to the sink, so that their senders learn
// at once that nobody will answer. It returns how many there were.
func (h *Holder) Refuse(site bpf.SiteID) (n int, err error) {
	n, _, err = send(h.refuse, h.take(site))
	return n, err
}

// Drop throws away the packets of a site and returns how many there were.
func (h *Holder) Drop(site bpf.SiteID) (n int) {
	for _, p := range h.take(site) {
		if p.data != nil {
			n++
		}
	}
	return n
}

// Holds says whether a packet of the site is held.
func (h *Holder) Holds(site bpf.SiteID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held.sites[site] != nil
}

// Held returns how many packets are held, in all and for how many sites.
func (h *Holder) Held() (packets, sites int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held.total, len(h.held.sites)
}

func (q *heldQueue) append(s *heldSite, p *heldPacket) {
	s.append(p)
	l := q.lines[s.within]
	if l == nil {
		l = &heldLine{within: s.within}
		q.lines[s.within] = l
	}
	p.line, p.prev = l, l.newest
	if l.newest == nil {
		l.oldest = p
	} else {
		l.newest.next = p
	}
	l.newest = p
}

// take removes a site and returns its packets.
func (h *Holder) take(site bpf.SiteID) []*heldPacket {
	return h.takeIf(site, func(packetKey) bool { return true })
}

// takeIf removes and returns the packets of a site that are wanted.
func (h *Holder) takeIf(site bpf.SiteID, wanted func(packetKey) bool) (packets []*heldPacket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.held
	s := q.sites[site]
	if s == nil {
		return nil
	}
	packets = make([]*heldPacket, 0, s.packets)
	p := s.first
	s.first, s.last = nil, nil
	for p != nil {
		next := p.after
		p.after = nil
		if wanted(p.key) {
			q.unlink(p)
			q.uncount(s, p)
			packets = append(packets, p)
		} else {
			s.append(p)
		}
		p = next
	}
	if s.first == nil {
		delete(q.sites, site)
	}
	if len(q.lines) == 0 {
		q.disarm()
	}
	return packets
}

func (s *heldSite) append(p *heldPacket) {
	if s.last == nil {
		s.first = p
	} else {
		s.last.after = p
	}
	s.last = p
}

// unlink takes a packet off its line.
func (q *heldQueue) unlink(p *heldPacket) {
	l := p.line
	if p.prev == nil {
		l.oldest = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.newest = p.prev
	} else {
		p.next.prev = p.prev
	}
	if l.oldest == nil {
		delete(q.lines, l.within)
	}
}

// arm sets the timer for the packet that is due first, unless it goes off before
// that. When that packet has gone by then, the timer goes off for nothing and is set
// anew: cheaper than setting it anew for each packet.
func (q *heldQueue) arm(clock Clock, expire func(timer uint64)) {
	if len(q.lines) == 0 {
		return
	}
	due := time.Duration(math.MaxInt64)
	for _, l := range q.lines {
		due = min(due, l.oldest.due)
	}
	if q.stop != nil && q.rings <= due {
		return
	}
	q.disarm()
	id := q.timer
	q.rings = due
	q.stop = clock.AfterFunc(max(due-clock.Now(), 0), func() { expire(id) })
}

func (q *heldQueue) disarm() {
	if q.stop != nil {
		q.stop()
		q.stop = nil
	}
	q.timer++
}

// expire refuses what is due.
func (h *Holder) expire(timer uint64) {
	bySite := map[bpf.SiteID][]*heldPacket{}
	var order []bpf.SiteID

	h.mu.Lock()
	q := &h.held
	if timer != q.timer {
		h.mu.Unlock()
		return
	}
	q.stop = nil
	now := h.clock.Now()
	for _, l := range q.lines {
		for p := l.oldest; p != nil && p.due <= now; p = l.oldest {
			if bySite[p.site] == nil {
				order = append(order, p.site)
			}
			bySite[p.site] = append(bySite[p.site], p)
			q.expireOne(p)
		}
	}
	q.arm(h.clock, h.expire)
	h.mu.Unlock()

	for _, site := range order {
		// What cannot be refused either is repeated by its sender, or not.
		n, _, _ := send(h.refuse, bySite[site])
		if h.expired != nil {
			h.expired(Expired{Site: site, Packets: n})
		}
	}
}

// expireOne removes the oldest packet of a line, which is the first of its site too, as
// both lists have the same order.
func (q *heldQueue) expireOne(p *heldPacket) {
	q.unlink(p)
	s := q.sites[p.site]
	s.first = p.after
	q.uncount(s, p)
	if s.first == nil {
		delete(q.sites, p.site)
	}
}

func send(to Injector, packets []*heldPacket) (n int, oldest uint64, err error) {
	var errs []error
	for _, p := range packets {
		if p.data == nil {
			continue
		}
		n++
		if oldest == 0 || p.captured < oldest {
			oldest = p.captured
		}
		if err := to.Inject(p.data); err != nil {
			errs = append(errs, err)
		}
	}
	return n, oldest, errors.Join(errs...)
}
