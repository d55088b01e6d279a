package netctl

import (
	"net/netip"

	"github.com/fcnode/fcnode/bpf"
)

// shares knows who of many holds most. Every operation costs the same however
// many there are.
type shares[K comparable] struct {
	levels []map[K]struct{} // who holds so many; the last is not empty
}

// move notes that k, which held so many, holds another number now.
func (s *shares[K]) move(k K, from, to int) {
	if from > 0 {
		delete(s.levels[from], k)
	}
	for len(s.levels) <= to {
		s.levels = append(s.levels, map[K]struct{}{})
	}
	if to > 0 {
		s.levels[to][k] = struct{}{}
	}
	for len(s.levels) > 0 && len(s.levels[len(s.levels)-1]) == 0 {
		s.levels = s.levels[:len(s.levels)-1]
	}
}

// most is one of those who hold most, and how many.
func (s *shares[K]) most() (k K, n int) {
	if len(s.levels) == 0 {
		return k, 0
	}
	n = len(s.levels) - 1
	for k = range s.levels[n] {
		break
	}
	return k, n
}

// heldSource is a network that packets come from: who has one of its addresses
// can pretend to have any.
type heldSource struct {
	network netip.Prefix
	newest  *heldPacket
	packets int
}

// count enters a packet with data into what its site and its source hold.
func (q *heldQueue) count(s *heldSite, p *heldPacket) {
	network := bpf.SourceOf(p.key.client.Addr())
	from := q.sources[network]
	if from == nil {
		from = &heldSource{network: network}
		q.sources[network] = from
	}
	p.source, p.older = from, from.newest
	if from.newest != nil {
		from.newest.newer = p
	}
	from.newest = p
	q.bySource.move(from, from.packets, from.packets+1)
	q.bySite.move(s, s.packets, s.packets+1)
	from.packets++
	s.packets++
	q.total++
	s.flows[p.key]++
}

// uncount takes it out.
func (q *heldQueue) uncount(s *heldSite, p *heldPacket) {
	if p.data == nil {
		return
	}
	from := p.source
	if p.newer == nil {
		from.newest = p.older
	} else {
		p.newer.older = p.older
	}
	if p.older != nil {
		p.older.newer = p.newer
	}
	q.bySource.move(from, from.packets, from.packets-1)
	q.bySite.move(s, s.packets, s.packets-1)
	from.packets--
	s.packets--
	q.total--
	if from.packets == 0 {
		delete(q.sources, from.network)
	}
	if s.flows[p.key]--; s.flows[p.key] == 0 {
		delete(s.flows, p.key)
	}
}

// makeRoom gives one up for a packet of a source and a site, if there is somebody who
// would still hold as many as they then: first of the sites, then of the sources, which
// can be forged, and so take nothing from a site that has less than theirs. It is the newest of his, as those before it have waited
// longer; its sender repeats it.
func (q *heldQueue) makeRoom(network netip.Prefix, s *heldSite) bool {
	if of, most := q.bySite.most(); most > s.packets+1 {
		q.giveUp(of.newestHeld())
		return true
	}
	own := 0
	if from := q.sources[network]; from != nil {
		own = from.packets
	}
	if from, most := q.bySource.most(); most > own+1 && q.sites[from.newest.site].packets > s.packets {
		q.giveUp(from.newest)
		return true
	}
	return false
}

// giveUp drops a packet. The last one of a site stays as a mark, without its data:
// its site is being woken all the same.
func (q *heldQueue) giveUp(p *heldPacket) {
	s := q.sites[p.site]
	q.uncount(s, p)
	if s.first == s.last {
		p.data = nil
		return
	}
	q.unlink(p)
	s.remove(p)
}

// newestHeld is the last of a site's packets that has data.
func (s *heldSite) newestHeld() (newest *heldPacket) {
	for p := s.first; p != nil; p = p.after {
		if p.data != nil {
			newest = p
		}
	}
	return newest
}

// remove takes a packet out of a site that has others.
func (s *heldSite) remove(p *heldPacket) {
	var before *heldPacket
	for at := s.first; at != p; at = at.after {
		before = at
	}
	if before == nil {
		s.first = p.after
	} else {
		before.after = p.after
	}
	if s.last == p {
		s.last = before
	}
	p.after = nil
}
