/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whom a replica may talk to of its own accord. Answers to visitors always
 * pass. Asked for what begins something: once a flow is in the table, its packets
 * are not looked at again. */
#ifndef FCNODE_POLICY_H
#define FCNODE_POLICY_H

#include "budget.h"
#include "choose.h"
#include "maps.h"
#include "parse.h"

#define FC_PORT_SMTP 25
#define FC_REFUSALS_TOLD 16 /* of one site */
#define FC_REFUSALS_NS (1000ULL * 1000 * 1000) /* in this time */

/* What an owner's rules say of the packet's destination, or of a target that has
 * no address: a rule for its port goes before one for all. */
__noinline int fc_rule(struct packet *p, __u32 owner, __u32 target, int exact)
{
	struct fc_policy_key k = { .prefixlen = FC_POLICY_FIXED + 128, .owner = owner, .target = target };
	__u32 *verdict = NULL;

	if (!p)
		return FC_VERDICT_NONE;
	k.addr = p->dst;
	if (has_ports(p)) {
		k.proto = p->proto;
		k.port = p->dport;
		verdict = bpf_map_lookup_elem(&fc_policy, &k);
		k.proto = 0;
		k.port = 0;
	}
	if (!verdict && !exact)
		verdict = bpf_map_lookup_elem(&fc_policy, &k);
	return verdict ? *verdict : FC_VERDICT_NONE;
}

/* Whether the stack would keep a packet instead of forwarding it: it is for the
 * node itself, for a link as a whole, or for nowhere. It is asked as if the packet
 * came in by fc0, which is known to forward: of other devices the kernel may say only
 * that they do not. */
__noinline int fc_kept_by_host(struct __sk_buff *skb, struct packet *p)
{
	struct fc_settings *cfg = config();
	struct bpf_fib_lookup fib = {};
	long ret;

	if (!p || !cfg)
		return 0;
	fib.ifindex = cfg->device;
	if (addr_is_v4(&p->dst)) {
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = p->src.w[3];
		fib.ipv4_dst = p->dst.w[3];
	} else {
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, &p->src, 16);
		__builtin_memcpy(fib.ipv6_dst, &p->dst, 16);
	}
	ret = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return ret == BPF_FIB_LKUP_RET_NOT_FWDED || ret == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline __u32 first_of(struct packet *p, __u32 site, __u32 target, bool exact)
{
	return fc_rule(p, site, target, exact) ?: fc_rule(p, FC_OWNER_NODE, target, exact);
}

/* May a site begin to talk to the packet's destination? */
__noinline int fc_verdict_of(struct __sk_buff *skb, struct packet *p, __u32 site)
{
	__u32 verdict, local;
	bool smtp;

	if (!p)
		return FC_VERDICT_NEVER;
	verdict = first_of(p, site, FC_TARGET_ADDRESS, false);
	if (verdict)
		return verdict;
	local = fc_rule(p, FC_OWNER_LOCAL, FC_TARGET_ADDRESS, false);
	if (local == FC_VERDICT_NEVER)
		return local;
	if (local != FC_VERDICT_SITE && fc_kept_by_host(skb, p))
		return first_of(p, site, FC_TARGET_HOST, false) ?: FC_VERDICT_HOST;
	if (local)
		return local;
	smtp = p->proto == IPPROTO_TCP && p->dport == bpf_htons(FC_PORT_SMTP);
	verdict = first_of(p, site, FC_TARGET_INTERNET, smtp);
	if (verdict)
		return verdict == FC_VERDICT_ALLOW ? FC_VERDICT_INTERNET : verdict;
	return smtp ? FC_VERDICT_SMTP : FC_VERDICT_INTERNET;
}

static __always_inline bool allows(__u32 verdict)
{
	return verdict == FC_VERDICT_ALLOW || verdict == FC_VERDICT_INTERNET;
}

/* One site's tries must not drown those of others. */
static __always_inline bool may_tell(__u32 site, __u64 now)
{
	struct fc_refused_rate *r = bpf_map_lookup_elem(&fc_refusal_rate, &site);
	struct fc_refused_rate first = { .since = now, .told = 1 };

	if (!r)
		return bpf_map_update_elem(&fc_refusal_rate, &site, &first, BPF_ANY) == 0;
	if (now - r->since > FC_REFUSALS_NS) {
		r->since = now;
		r->told = 0;
	}
	return __sync_fetch_and_add(&r->told, 1) < FC_REFUSALS_TOLD;
}

/* Tells the daemon of a destination that was refused, once. */
__noinline int fc_tell_refusal(struct packet *p, __u32 site, __u32 replica, __u32 verdict)
{
	struct fc_refused_key k = { .site = site };
	__u64 now = bpf_ktime_get_ns();
	struct fc_refusal *e;

	count(FC_STAT_POLICY);
	if (!p)
		return 0;
	k.proto = p->proto;
	k.port = has_ports(p) ? p->dport : 0;
	k.addr = p->dst;
	if (bpf_map_lookup_elem(&fc_refused, &k) || !may_tell(site, now))
		return 0;
	e = bpf_ringbuf_reserve(&fc_refusal_ring, sizeof(*e), 0);
	if (!e)
		return 0; /* the next packet tells */
	e->ns = now;
	e->to = k;
	e->replica = replica;
	e->verdict = verdict;
	bpf_ringbuf_submit(e, 0);
	bpf_map_update_elem(&fc_refused, &k, &now, BPF_ANY);
	return 0;
}

/* Whether a packet that no flow is known of belongs to a visitor's connection:
 * the replica's own sockets know. */
__noinline int fc_answers_visitor(struct __sk_buff *skb, struct packet *p, __u32 site, __s32 nsid)
{
	struct fc_listener_key lk = {};
	struct by_socket q = { .skb = skb };
	struct fc_listener *l;

	if (!p || p->proto != IPPROTO_TCP || p->opens || p->frag != FC_FRAG_NONE)
		return 0;
	lk.addr = p->src;
	lk.port = p->sport;
	lk.proto = p->proto;
	l = bpf_map_lookup_elem(&fc_listeners, &lk);
	if (!l || l->site != site)
		return 0;
	tuple_of(&q, &p->dst, p->dport, &p->src, p->sport);
	return has_connection(&q, nsid);
}

/* Whether somebody may listen for visitors at a replica's end of a flow. */
static __always_inline bool is_visitors(const struct fc_addr *vip, __be16 port, __u8 proto)
{
	struct fc_listener_key lk = { .addr = *vip, .port = port, .proto = proto };

	return bpf_map_lookup_elem(&fc_listeners, &lk) != NULL;
}

/* Whether an ICMP error is about what a visitor sent in a flow of this replica. */
__noinline int fc_error_for_visitor(struct __sk_buff *skb, struct packet *p, __u32 replica)
{
	struct packet in = {};
	struct fc_flow *f;

	if (!p || parse_icmp_error(skb, p, &in) < 0 || !addr_equal(&in.dst, &p->dst))
		return 0;

	struct fc_flow_key k = flow_key(&in.dst, in.dport, &in.src, in.sport, in.proto);

	f = find_flow(&k, is_visitors(&in.src, in.sport, in.proto));
	return f && f->replica == replica;
}

static __always_inline bool fragment_known(const struct packet *p, __u32 replica)
{
	struct fc_flow_key k = fragment_key(&p->dst, &p->src, p);
	struct fc_cell *c = find_cell(&fc_frags_out, &k);

	return c && c->flow.replica == replica;
}

/* Lets the rest of a datagram follow its first fragment, which alone has the ports.
 * Where the rest may go there anyway nothing is kept. */
__noinline int fc_remember_fragment(struct __sk_buff *skb, struct packet *p, __u32 site, __u32 replica)
{
	__be16 port;

	if (!p)
		return 0;
	port = p->dport;
	p->dport = 0;
	if (!allows(fc_verdict_of(skb, p, site))) {
		struct fc_flow_key k = fragment_key(&p->dst, &p->src, p);

		fc_keep(&k, FC_CELLS_FRAGMENT_OUT, replica, 0, 0);
	}
	p->dport = port;
	return 0;
}

/* What a site has left to send, made of the node's if need be. */
static __always_inline struct fc_allowance *egress_of(__u32 site)
{
	struct fc_allowance *e = bpf_map_lookup_elem(&fc_egress, &site);
	struct fc_allowance first = {}, *node;
	__u32 all = FC_OWNER_NODE;

	if (e)
		return e;
	node = bpf_map_lookup_elem(&fc_egress, &all);
	if (!node)
		return NULL;
	first.conns = node->conns;
	first.packets = node->packets;
	bpf_map_update_elem(&fc_egress, &site, &first, BPF_NOEXIST);
	e = bpf_map_lookup_elem(&fc_egress, &site);
	if (!e)
		count(FC_STAT_MAP_FULL);
	return e;
}

/* Whether a site may send this packet into the Internet now, and begin something there
 * with it. What it has no tokens for is dropped: TCP sends it again, and slower. */
__noinline int fc_meter(struct packet *p, __u32 site, bool begins)
{
	struct fc_allowance *e = egress_of(site);
	__u64 now;

	if (!p || !e)
		return 1;
	now = bpf_ktime_get_ns();
	if (begins && e->conns.burst && !take_token(&e->conns_left, now, &e->conns)) {
		tell_empty(&e->conns_left, now, &p->dst, site, FC_LIMIT_CONNS);
		count(FC_STAT_EGRESS_CONNECTIONS);
		return 0;
	}
	if (e->packets.burst && !take_token(&e->packets_left, now, &e->packets)) {
		tell_empty(&e->packets_left, now, &p->dst, site, FC_LIMIT_PACKETS);
		count(FC_STAT_EGRESS_PACKETS);
		return 0;
	}
	return 1;
}

/* What a replica's packet is, for its way out. */
struct leaving {
	__u32 id, site;
	__s32 nsid;
	bool known;    /* its flow is in a table */
	bool visitors; /* from a port that visitors may talk to */
	bool metered;  /* goes into the Internet, of the site's own accord; `known`: so did its flow */
};

static __always_inline bool visitors_segment(const struct packet *p, const struct leaving *l)
{
	return l->visitors && p->proto == IPPROTO_TCP;
}

/* May this packet leave its replica? */
static __always_inline bool may_leave(struct __sk_buff *skb, struct packet *p, struct leaving *l)
{
	__u32 verdict;

	if (p->frag == FC_FRAG_LATER && fragment_known(p, l->id))
		return true;
	if (l->known && !p->opens && p->frag == FC_FRAG_NONE)
		return true;
	verdict = fc_verdict_of(skb, p, l->site);
	if (allows(verdict) || (l->known && !p->opens)) {
		if (p->frag == FC_FRAG_FIRST)
			fc_remember_fragment(skb, p, l->site, l->id);
		/* but for segments of a visitor's connection that the table has lost */
		if (verdict == FC_VERDICT_INTERNET && (p->opens || (!l->known && !visitors_segment(p, l))))
			l->metered = true;
		return true;
	}
	if (p->icmp_error && fc_error_for_visitor(skb, p, l->id))
		return true;
	if (fc_answers_visitor(skb, p, l->site, l->nsid))
		return true;
	fc_tell_refusal(p, l->site, l->id, verdict);
	return false;
}

/* Whether it begins something: a connection, or a flow of datagrams or pings that no
 * visitor has begun. */
static __always_inline bool begins(const struct packet *p, const struct leaving *l)
{
	if (p->proto == IPPROTO_TCP)
		return p->opens;
	return !l->known && !l->visitors && p->frag != FC_FRAG_LATER;
}

#endif
