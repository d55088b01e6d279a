/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whom a replica may talk to of its own accord. Answers to visitors always
 * pass. Asked for what begins something: once a flow is in the table, its packets
 * are not looked at again. */
#ifndef FCNODE_POLICY_H
#define FCNODE_POLICY_H

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
	return first_of(p, site, FC_TARGET_INTERNET, smtp) ?: smtp ? FC_VERDICT_SMTP : FC_VERDICT_ALLOW;
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
	if (fc_verdict_of(skb, p, site) != FC_VERDICT_ALLOW) {
		struct fc_flow_key k = fragment_key(&p->dst, &p->src, p);

		fc_keep(&k, FC_CELLS_FRAGMENT_OUT, replica, 0, 0);
	}
	p->dport = port;
	return 0;
}

/* May this packet leave its replica? `known`: its flow is in the table. */
static __always_inline bool may_leave(struct __sk_buff *skb, struct packet *p, __u32 id, __u32 site, __s32 nsid,
				      bool known)
{
	__u32 verdict;

	if (p->frag == FC_FRAG_LATER && fragment_known(p, id))
		return true;
	if (known && !p->opens && p->frag == FC_FRAG_NONE)
		return true;
	verdict = fc_verdict_of(skb, p, site);
	if (verdict == FC_VERDICT_ALLOW || (known && !p->opens)) {
		if (p->frag == FC_FRAG_FIRST)
			fc_remember_fragment(skb, p, site, id);
		return true;
	}
	if (p->icmp_error && fc_error_for_visitor(skb, p, id))
		return true;
	if (fc_answers_visitor(skb, p, site, nsid))
		return true;
	fc_tell_refusal(p, site, id, verdict);
	return false;
}

#endif
