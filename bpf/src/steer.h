/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_STEER_H
#define FCNODE_STEER_H

#include "budget.h"
#include "choose.h"
#include "datagrams.h"
#include "deny.h"
#include "events.h"
#include "hold.h"
#include "ignore.h"
#include "policy.h"
#include "proof.h"
#include "pulse.h"
#include "reply.h"
#include "turns.h"

/* fc0 is a dummy (or ifb) device: what this program lets pass, it eats. OK
 * rather than SHOT, because a drop here is seen as congestion by a local
 * sender; and rather than STOLEN, which tcx takes for NEXT. */
#define FC_EATEN TC_ACT_OK

#define FC_PACKET_HOST 0      /* PACKET_HOST and */
#define FC_PACKET_OTHERHOST 3 /* PACKET_OTHERHOST of linux/if_packet.h */

static __always_inline int to_sink(void)
{
	struct fc_settings *cfg = config();

	count(FC_STAT_SINK);
	if (!cfg || !cfg->sink)
		return FC_EATEN;
	return bpf_redirect(cfg->sink, 0);
}

static __always_inline int to_replica(struct fc_replica *r)
{
	count(FC_STAT_STEERED);
	return bpf_redirect(r->ifindex, 0);
}

static __always_inline struct choice of_flow(const struct fc_flow *f)
{
	return by_id(f ? f->replica : 0);
}

/* The replica's slot in the site's set, or -1. */
static __always_inline int slot_of(const struct fc_site *s, __u32 id)
{
	for (int i = 0; i < FC_MAX_REPLICAS; i++) {
		if (i >= (int)s->n)
			break;
		if (s->replicas[i] == id)
			return i;
	}
	return -1;
}

static __always_inline bool takes_new_flows(const struct fc_site *s, struct choice c, const struct packet *p,
					    __u32 port_bit)
{
	int slot = slot_of(s, c.id);

	return slot >= 0 && !(s->draining & (1U << slot)) && ready(s, slot, c.r, p, port_bit);
}

/* A datagram may go anywhere: not to a replica that left the site's set, nor, as the
 * first of a flow, to one that drains. */
static __always_inline bool has_left(const struct fc_site *s, const struct packet *p, __u32 id)
{
	int slot;

	if (p->proto != IPPROTO_UDP)
		return false;
	slot = s ? slot_of(s, id) : -1;
	return slot < 0 || (p->anew && s->draining & (1U << slot));
}

/* Whether a packet may go to its replica: it wakes one that sleeps, unless it is
 * an ignored source's. A SYN that has to be followed by a proof of its address says
 * nothing: the kernel of the replica's namespace answers it, and the end of the
 * handshake wakes (established). */
static __always_inline bool may_reach(struct __sk_buff *skb, struct packet *p, struct choice c)
{
	__u32 proof;

	if (!is_asleep(c.r) || p->bare || fc_ignores(c.r->site, &p->src))
		return true;
	proof = fc_trusts(skb, p, bpf_ktime_get_ns(), false);
	if (proof == FC_PROOF_GIVEN) {
		p->bare = true;
		count(FC_STAT_PROOF_ASKED);
		return true;
	}
	if (fc_may_wake(skb, p, c.r->site, true)) {
		if (proof == FC_PROOF_OWED)
			fc_owes(p);
		return true;
	}
	if (proof == FC_PROOF_OWED)
		trust_back();
	return false;
}

/* A packet of a listener's flow goes to this replica: the first one of a visitor's
 * since it was marked asleep tells the daemon. What the kernel of its namespace
 * answers alone, or not at all, needs nobody awake: keepalive probes of an idle
 * connection's either end would otherwise wake it for ever. */
static __always_inline void knock(struct choice c, struct packet *p)
{
	if (!is_asleep(c.r) || p->bare)
		return;
	if (fc_ignores(c.r->site, &p->src)) {
		count_ignored(c.r->site, true);
		return;
	}
	emit_knock(c.r, c.id);
}

/* A new flow would have to wake this replica, or wait for it to wake, and there is
 * nobody who wakes it. */
static __always_inline bool in_vain(struct choice c)
{
	return (*(volatile __u32 *)&c.r->flags & (FC_REPLICA_ASLEEP | FC_REPLICA_KNOCKED)) && fc_unattended(bpf_ktime_get_ns());
}

/* A source that is no visitor is served, and keeps nobody awake. */
static __always_inline void ignored_flow(struct fc_cell *cell, __u32 site)
{
	if (cell)
		cell->flow.syn = FC_FLOW_IGNORED;
	count_ignored(site, false);
}

/* A packet of a listener goes to a replica: is it the first of its flow? A SYN
 * that is only sent again has the number of the first. */
static __always_inline void count_flow(const struct packet *p, struct fc_flow *f, __u32 replica)
{
	bool known = f && f->replica == replica && !p->anew;
	struct fc_load *load;

	if (p->syn) {
		if (known && f->syn == p->seq)
			return;
		if (known)
			f->syn = p->seq;
	} else if (known || p->proto != IPPROTO_UDP) {
		return;
	}
	load = load_of(replica);
	if (!load)
		return;
	if (p->syn)
		load->attempts++;
	else
		load->udp_flows++;
}

/* Somebody comes. A SYN says nothing yet: what becomes of it does. */
static __always_inline void arrives(const struct packet *p, struct fc_replica *r)
{
	r->last_ns = bpf_ktime_get_ns();
	if (p->proto == IPPROTO_UDP)
		r->used_ns = r->last_ns;
}

static __always_inline void remember_fragments(const struct packet *p, __u32 replica)
{
	if (p->frag == FC_FRAG_FIRST) {
		struct fc_flow_key k = fragment_key(&p->src, &p->dst, p);

		fc_keep(&k, FC_CELLS_FRAGMENT, replica, 0, 0);
	}
}

static __always_inline int steer_fragment(const struct packet *p)
{
	struct fc_flow_key k = fragment_key(&p->src, &p->dst, p);
	struct fc_cell *cell = find_cell(&fc_frags, &k);
	struct choice c = of_flow(cell ? &cell->flow : NULL);

	return c.r ? to_replica(c.r) : FC_EATEN;
}

/* Whom an ICMP error is for: its id, or 0. If the tables have lost the flow, the
 * answer is its socket's, as for the client's next packet: that may be long in
 * coming, since what the error is about (a path's MTU) holds the answer up. A
 * visitor's datagram without an entry is anybody's, and so clear only where the site
 * has one replica. */
__noinline int fc_replica_of_error(struct __sk_buff *skb, struct packet *p)
{
	struct packet in = {};
	struct fc_listener *l;
	struct fc_site *s;
	struct fc_flow *f;

	if (!p || parse_icmp_error(skb, p, &in) < 0)
		return 0;

	struct fc_flow_key fk = flow_key(&in.src, in.sport, &in.dst, in.dport, in.proto);
	struct fc_listener_key lk = { .addr = in.dst, .port = in.dport, .proto = in.proto };

	l = bpf_map_lookup_elem(&fc_listeners, &lk);
	f = find_flow(&fk, l != NULL);
	if (f)
		return f->replica;
	if (in.proto == IPPROTO_TCP || !l)
		return fc_ask_sockets(skb, &in, FC_KEPT_NOT);
	s = bpf_map_lookup_elem(&fc_sites, &l->site);
	return s && s->n == 1 ? s->replicas[0] : 0;
}

/* Errors about a flow go where the flow goes, and answers to a replica's own
 * ping to it; all else (echo) to the sink, so that a ping neither wakes a site
 * nor goes without answer. */
static __always_inline int steer_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct fc_flow_key k;
	struct choice c;

	if (p->icmp_error) {
		c = by_id(fc_replica_of_error(skb, p));
		return c.r ? to_replica(c.r) : FC_EATEN;
	}
	if (!p->echo_reply)
		return to_sink();
	k = flow_key(&p->src, p->sport, &p->dst, p->dport, p->proto);
	c = of_flow(find_flow(&k, false));
	return c.r ? to_replica(c.r) : to_sink();
}

/* Whether a cookie may be of fc_ask_proof, and is to be held until its listener expects
 * it. What the machine itself sends was released. */
static __always_inline bool may_prove(struct __sk_buff *skb, __u64 now)
{
	return skb->ingress_ifindex && asks_of_late(now) && !fc_unattended(now);
}

/* A segment that no socket has is nobody's, unless it has a cookie: whoever may get a
 * new flow takes it then, and nobody is woken. */
static __always_inline struct choice choose_by_cookie(struct __sk_buff *skb, struct fc_site *s, struct packet *p,
						      __u32 port_bit)
{
	struct choice none = {}, c;

	if (may_prove(skb, bpf_ktime_get_ns()) || !fc_has_cookie(skb, p))
		return none;
	c = choose(s, p, port_bit);
	return c.r && !is_asleep(c.r) ? c : none;
}

/* Packets of a listener's site. `c` is the replica that the tables name, if any. */
static __always_inline struct choice pick(struct __sk_buff *skb, struct packet *p, struct fc_listener *l,
					  struct fc_site *s, struct choice c, struct fc_flow_key *k)
{
	struct choice none = {};
	bool fresh = p->syn || p->proto == IPPROTO_UDP;

	if (c.r && (c.r->site != l->site || has_left(s, p, c.id)))
		c = none; /* the VIP changed hands, or the replica is on its way out */
	if (p->syn && c.r && !takes_new_flows(s, c, p, l->port_bit))
		c = none; /* a reused client port must not revive a draining replica */
	if (c.r)
		return c;
	if (fresh)
		return choose(s, p, l->port_bit);
	c = choose_by_socket(skb, p, k, l->site);
	return c.r ? c : choose_by_cookie(skb, s, p, l->port_bit);
}

/* Answers to what a replica itself began: from whom it has spoken to, or to a socket
 * that is connected to them. Nothing is kept of those: that the replica may answer is
 * for its rules to say, when it does. */
static __always_inline int steer_own(struct __sk_buff *skb, struct packet *p, struct fc_flow_key *k)
{
	struct choice c;

	if (p->syn)
		return to_sink();
	c = of_flow(find_flow(k, false));
	if (!c.r && has_ports(p))
		c = by_id(fc_ask_sockets(skb, p, FC_KEPT_NOT));
	if (!c.r)
		return to_sink();
	remember_fragments(p, c.id);
	return to_replica(c.r);
}

/* A flow has its replica, which it keeps. */
static __always_inline void keep_first(struct packet *p, struct fc_flow_key *k, __u32 id, __u32 uplink)
{
	if (p->syn)
		fc_keep(k, FC_CELLS_HANDSHAKE, id, uplink, p->seq);
	else if (p->proto == IPPROTO_UDP)
		fc_keep(k, FC_CELLS_DATAGRAM, id, uplink, 0);
}

/* A segment of no socket and no replica: if its source was asked for a proof of its
 * address this may be that, or data that follows it. What else follows is sent again. */
static __always_inline int stray(struct __sk_buff *skb, struct packet *p, __u32 site, bool sleeps)
{
	__u64 now = bpf_ktime_get_ns();

	if (!may_prove(skb, now))
		return to_sink();
	p->proven = fc_has_cookie(skb, p);
	if (!p->proven) {
		if (!fc_follows(p, site, now))
			return to_sink();
		if (!p->payload)
			return FC_EATEN;
		p->proven = true;
	}
	p->seq += p->payload; /* the first data has the number of what comes before it */
	fc_hold(skb, p, site, sleeps);
	return FC_EATEN;
}

/* At fc0's egress: everything for the VIP prefixes comes by here, from this
 * machine and from outside, held packets on their second way too. */
SEC("tc")
int fc_device(struct __sk_buff *skb)
{
	struct packet p = {};
	struct choice c;
	int kind = fc_parse(skb, &p);

	if (kind < 0)
		count(FC_STAT_MALFORMED);
	if (kind <= 0 || fc_is_denied(&p))
		return FC_EATEN;
	if (p.frag == FC_FRAG_LATER)
		return steer_fragment(&p);
	if (p.proto == IPPROTO_ICMP || p.proto == IPPROTO_ICMPV6)
		return steer_icmp(skb, &p);

	struct fc_flow_key fk = flow_key(&p.src, p.sport, &p.dst, p.dport, p.proto);
	struct fc_listener_key lk = { .addr = p.dst, .port = p.dport, .proto = p.proto };
	struct fc_listener *l = bpf_map_lookup_elem(&fc_listeners, &lk);
	struct fc_cell *cell = NULL;
	struct fc_flow *f;

	if (!l)
		return steer_own(skb, &p, &fk);
	if (p.proto == IPPROTO_UDP) {
		cell = find_cell(&fc_datagrams, &fk);
		f = cell ? &cell->flow : NULL;
	} else {
		f = find_flow(&fk, true);
	}
	c = of_flow(f);
	if (cell)
		p.anew = datagram_comes(cell, c.r);

	struct fc_site *s = bpf_map_lookup_elem(&fc_sites, &l->site);

	/* parked, or being parked: connections stay with whom they are */
	if (!s && !p.syn && p.proto != IPPROTO_UDP) {
		if (!c.r)
			c = choose_by_socket(skb, &p, &fk, l->site);
		if (!c.r || c.r->site != l->site)
			return stray(skb, &p, l->site, false);
		if (!may_reach(skb, &p, c))
			return FC_EATEN;
		knock(c, &p);
		remember_fragments(&p, c.id);
		return to_replica(c.r);
	}
	if (p.syn || p.proto == IPPROTO_UDP)
		fc_look_at_source(&p, l->site);
	if (s && (s->flags & FC_SITE_REFUSE) && (p.syn || p.proto == IPPROTO_UDP)) {
		if (!p.ignored)
			count_site(l->site, true);
		return to_sink();
	}
	if (s) {
		c = pick(skb, &p, l, s, c, &fk);
		if (c.r && !(p.ignored && is_asleep(c.r))) {
			if ((p.syn || p.proto == IPPROTO_UDP) && in_vain(c))
				return to_sink();
			if (!may_reach(skb, &p, c))
				return FC_EATEN;
			if (p.ignored)
				ignored_flow(cell, l->site);
			else
				count_flow(&p, f, c.id);
			if (!f || f->replica != c.id)
				keep_first(&p, &fk, c.id, 0);
			if (!p.ignored && (p.syn || p.proto == IPPROTO_UDP))
				arrives(&p, c.r);
			knock(c, &p);
			remember_fragments(&p, c.id);
			return to_replica(c.r);
		}
	}
	if (!p.syn && p.proto != IPPROTO_UDP)
		return stray(skb, &p, l->site, s && (s->flags & FC_SITE_SLEEPS));
	if (p.ignored) {
		turned_away(f, l->site);
		return to_sink();
	}
	if (fc_unattended(bpf_ktime_get_ns()))
		return to_sink();
	if (fc_hold(skb, &p, l->site, s && (s->flags & FC_SITE_SLEEPS)) == FC_HOLD_ASK && fc_ask_proof(skb, &p))
		return to_stack();
	return FC_EATEN;
}

/* Past the node's stack; the answers of the flow go back by the same uplink. */
static __always_inline int straight_in(struct __sk_buff *skb, struct packet *p, struct fc_flow_key *k, struct fc_flow *f,
				       struct choice c)
{
	if (!f || f->replica != c.id)
		keep_first(p, k, c.id, skb->ifindex);
	else if (f->uplink != skb->ifindex)
		f->uplink = skb->ifindex;
	count(FC_STAT_STEERED);
	return bpf_redirect_peer(c.r->ifindex, 0);
}

/* Multicast and link-local: whatever a route says, a router keeps it. */
static __always_inline bool stays_on_link(const struct fc_addr *a)
{
	__u32 word = bpf_ntohl(addr_is_v4(a) ? a->w[3] : a->w[0]);

	if (addr_is_v4(a))
		return word >> 28 == 0xe;
	return word >> 24 == 0xff || word >> 22 == 0xfe80 >> 6;
}

enum {
	FC_FOR_A_VIP,
	FC_FOREIGN,
	FC_FOR_OTHERS,
};

/* What may not come in by an uplink is foreign: a VIP as its source, and, where it was
 * fcnode that made the machine forward what comes in here, what is neither for a VIP
 * nor for the machine itself. */
__noinline int fc_is_foreign(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	__u32 *flags;

	if (!p)
		return FC_FOR_OTHERS;
	if (in_prefixes(&p->src)) {
		count(FC_STAT_SPOOFED);
		return FC_FOREIGN;
	}
	if (in_prefixes(&p->dst))
		return FC_FOR_A_VIP;
	flags = bpf_map_lookup_elem(&fc_uplinks, &ifindex);
	if (!flags || !(*flags & (addr_is_v4(&p->dst) ? FC_UPLINK_GUARD4 : FC_UPLINK_GUARD6)))
		return FC_FOR_OTHERS;
	/* a router keeps broadcast frames, too: DHCP's answers are such */
	if (skb->pkt_type != FC_PACKET_HOST || stays_on_link(&p->dst) || fc_kept_by_host(skb, p))
		return FC_FOR_OTHERS;
	count(FC_STAT_FOREIGN);
	return FC_FOREIGN;
}

/* Whether a SYN that nobody is awake for is asked for a proof, wherever it is looked
 * at. What is held already is not: its client would have two answers. */
__noinline int fc_distrusts(struct packet *p, __u32 site)
{
	struct fc_proof *a = proof_state();
	__u64 now = bpf_ktime_get_ns();
	struct fc_held_flow *seen;
	__u32 *held;

	if (!a || !p || !p->syn || p->frag != FC_FRAG_NONE || !trusts_nobody(a, p, now))
		return 0;

	struct fc_flow_key k = flow_key(&p->src, p->sport, &p->dst, p->dport, p->proto);

	seen = bpf_map_lookup_elem(&fc_held_flows, &k);
	held = bpf_map_lookup_elem(&fc_hold_counts, &site);
	if ((seen && seen->seq == p->seq) || (held && !fc_may_hold(*held, true)) || fc_unattended(now) ||
	    fc_ignores(site, &p->src))
		return 0;
	asks(a, now);
	return 1;
}

/* Nobody is awake for a packet: fc0 has it held, or refused. A SYN that is to be
 * answered with a cookie is answered here, back to where it came from: a flood of them
 * asks for no route and no neighbour. */
static __always_inline int nobody_awake(struct __sk_buff *skb, struct packet *p, __u32 site)
{
	__u8 mac[2 * ETH_ALEN], swapped[2 * ETH_ALEN];

	if (!fc_distrusts(p, site))
		return TC_ACT_UNSPEC;
	if (!fc_ask_proof(skb, p) || bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) < 0)
		return TC_ACT_SHOT;
	__builtin_memcpy(swapped, mac + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(swapped + ETH_ALEN, mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0) < 0)
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* At an uplink's ingress: denied sources and what is foreign end here. Of the rest
 * only what has a replica ready is taken off, straight into its namespace, unless
 * the machine's firewall is to see it. All else goes the long way, by the stack's
 * route to fc0, where it is held or refused. */
SEC("tc")
int fc_uplink(struct __sk_buff *skb)
{
	struct packet p = {};
	struct fc_cell *cell = NULL;
	struct fc_flow *f = NULL;
	struct choice c;
	int kind;

	/* of a link that listens to others' frames, too: the stack drops it */
	if (skb->pkt_type == FC_PACKET_OTHERHOST)
		return TC_ACT_UNSPEC;
	kind = fc_parse(skb, &p);
	/* the addresses are there also of what cannot be read to its end */
	if (kind && fc_is_denied(&p))
		return TC_ACT_SHOT;

	struct fc_flow_key fk = flow_key(&p.src, p.sport, &p.dst, p.dport, p.proto);
	struct fc_listener_key lk = { .addr = p.dst, .port = p.dport, .proto = p.proto };
	bool ports = kind > 0 && p.frag == FC_FRAG_NONE && has_ports(&p);
	struct fc_listener *l = NULL;

	if (ports && p.proto == IPPROTO_TCP) {
		f = bpf_map_lookup_elem(&fc_flows, &fk);
	} else if (ports) {
		l = bpf_map_lookup_elem(&fc_listeners, &lk);
		if (l)
			cell = find_cell(&fc_datagrams, &fk);
		if (cell)
			f = &cell->flow;
	}
	/* what has come in here before was looked at then */
	if (kind && (!f || f->uplink != skb->ifindex)) {
		int who = fc_is_foreign(skb, &p);

		if (who != FC_FOR_A_VIP)
			return who == FC_FOREIGN ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	if (!ports || by_stack())
		return TC_ACT_UNSPEC;
	if (p.proto == IPPROTO_TCP) {
		/* before the listeners: only handshakes are behind them */
		if (!f && !p.syn)
			f = in_cell(find_cell(&fc_own_flows, &fk));
		if (!f || p.syn)
			l = bpf_map_lookup_elem(&fc_listeners, &lk);
		if (!f && l)
			f = in_cell(find_cell(&fc_handshakes, &fk));
	} else if (!l) {
		f = in_cell(find_cell(&fc_own_flows, &fk));
	}

	c = of_flow(f);
	if (cell)
		p.anew = datagram_comes(cell, c.r);
	if (p.proto == IPPROTO_TCP && !p.syn) {
		if (!c.r)
			return TC_ACT_UNSPEC;
		if (is_asleep(c.r) && (l || bpf_map_lookup_elem(&fc_listeners, &lk))) {
			if (!may_reach(skb, &p, c))
				return TC_ACT_SHOT;
			knock(c, &p);
		}
		return straight_in(skb, &p, &fk, f, c);
	}

	struct fc_site *s = l ? bpf_map_lookup_elem(&fc_sites, &l->site) : NULL;

	if (!l && c.r && !p.syn) /* an answer to a datagram of the replica's own */
		return straight_in(skb, &p, &fk, f, c);
	if (!l || (s && (s->flags & FC_SITE_REFUSE)))
		return TC_ACT_UNSPEC;
	c = s ? pick(skb, &p, l, s, c, &fk) : (struct choice){};
	if (!c.r)
		return nobody_awake(skb, &p, l->site);
	if (in_vain(c))
		return TC_ACT_UNSPEC;
	if (fc_look_at_source(&p, l->site)) {
		if (is_asleep(c.r))
			return TC_ACT_UNSPEC; /* fc0 turns it away */
		ignored_flow(cell, l->site);
		return straight_in(skb, &p, &fk, f, c);
	}
	if (!may_reach(skb, &p, c))
		return TC_ACT_SHOT;
	arrives(&p, c.r);
	knock(c, &p);
	count_flow(&p, f, c.id);
	return straight_in(skb, &p, &fk, f, c);
}

#endif
