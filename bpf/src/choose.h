/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_CHOOSE_H
#define FCNODE_CHOOSE_H

#include "maps.h"
#include "parse.h"

struct choice {
	__u32 id;
	struct fc_replica *r;
};

static __always_inline bool ready(const struct fc_site *s, __u32 slot, const struct fc_replica *r,
				  const struct packet *p, __u32 port_bit)
{
	__u32 mask = s->forced[slot & (FC_MAX_REPLICAS - 1)] | (addr_is_v4(&p->dst) ? r->ready4 : r->ready6);

	return mask & (1U << (port_bit & 31));
}

/* The first replica from slot `from` on that may get new flows. */
static __always_inline struct choice next_ready(struct fc_site *s, const struct packet *p, __u32 port_bit, __u32 from)
{
	struct choice c = {};

	for (__u32 i = 0; i < FC_MAX_REPLICAS; i++) {
		__u32 slot = (from + i) & (FC_MAX_REPLICAS - 1);

		if (slot >= s->n || (s->draining & (1U << slot)))
			continue;
		c.id = s->replicas[slot];
		c.r = bpf_map_lookup_elem(&fc_replicas, &c.id);
		if (c.r && ready(s, slot, c.r, p, port_bit))
			return c;
	}
	c.id = 0;
	c.r = NULL;
	return c;
}

/* The less loaded of two at random: Mitzenmacher, "The power of two choices
 * in randomized load balancing", IEEE TPDS 12(10), 2001. Returns the replica's
 * id, 0 if none may get new flows. */
__noinline int fc_choose(struct fc_site *s, struct packet *p, __u32 port_bit)
{
	struct choice a, b;
	__u32 n, random;

	if (!s || !p)
		return 0;
	n = s->n ? s->n : 1;
	random = n > 1 ? bpf_get_prandom_u32() : 0;
	a = next_ready(s, p, port_bit, random % n);
	if (n == 1 || !a.r)
		return a.id;
	b = next_ready(s, p, port_bit, (random >> 16) % n);
	if (b.r && b.r->conns_now < a.r->conns_now)
		return b.id;
	return a.id;
}

/* Which replica owns this established connection: asked of the sockets
 * themselves, for flows that the table has lost. Returns its id, or 0. */
__noinline int fc_choose_by_socket(struct __sk_buff *skb, struct fc_site *s, struct packet *p)
{
	struct bpf_sock_tuple t = {};
	__u32 size;

	if (!s || !p)
		return 0;
	if (addr_is_v4(&p->dst)) {
		t.ipv4.saddr = p->src.w[3];
		t.ipv4.daddr = p->dst.w[3];
		t.ipv4.sport = p->sport;
		t.ipv4.dport = p->dport;
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.saddr, &p->src, 16);
		__builtin_memcpy(t.ipv6.daddr, &p->dst, 16);
		t.ipv6.sport = p->sport;
		t.ipv6.dport = p->dport;
		size = sizeof(t.ipv6);
	}
	for (__u32 i = 0; i < FC_MAX_REPLICAS; i++) {
		struct fc_replica *r;
		struct bpf_sock *sk;
		bool listener;
		__u32 id;

		if (i >= s->n)
			break;
		id = s->replicas[i];
		r = bpf_map_lookup_elem(&fc_replicas, &id);
		if (!r || r->nsid < 0)
			continue;
		sk = bpf_skc_lookup_tcp(skb, &t, size, r->nsid, 0);
		if (!sk)
			continue;
		listener = sk->state == BPF_TCP_LISTEN;
		bpf_sk_release(sk);
		if (!listener) {
			count(FC_STAT_FLOW_FOUND_BY_SOCKET);
			return id;
		}
	}
	return 0;
}

static __always_inline struct choice by_id(__u32 id)
{
	struct choice c = { .id = id };

	if (id)
		c.r = bpf_map_lookup_elem(&fc_replicas, &id);
	return c;
}

static __always_inline struct choice choose(struct fc_site *s, struct packet *p, __u32 port_bit)
{
	return by_id(fc_choose(s, p, port_bit));
}

static __always_inline struct choice choose_by_socket(struct __sk_buff *skb, struct fc_site *s, struct packet *p)
{
	return by_id(fc_choose_by_socket(skb, s, p));
}

#endif
