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

	if (*(volatile const __u32 *)&r->flags & FC_REPLICA_CLOSED)
		return false;
	return mask & (1U << (port_bit & 31));
}

/* What a slot's replica is, if it may get new flows: its id, and above that its
 * connections now. 0 if it may not. */
static __always_inline __u64 candidate(struct fc_site *s, const struct packet *p, __u32 port_bit, __u32 slot)
{
	struct fc_replica *r;
	__u32 id;

	slot &= FC_MAX_REPLICAS - 1;
	if (s->draining & (1U << slot))
		return 0;
	id = s->replicas[slot];
	r = bpf_map_lookup_elem(&fc_replicas, &id);
	if (!r || !ready(s, slot, r, p, port_bit))
		return 0;
	return *(volatile __u64 *)&r->conns_now << 32 | id;
}

struct next_ready {
	struct fc_site *s;
	struct packet *p;
	__u32 port_bit;
	__u32 from;
	__u64 found;
};

static long try_slot(__u32 i, struct next_ready *q)
{
	__u32 slot = q->from + 1 + i;

	if (slot >= q->s->n)
		slot -= q->s->n;
	q->found = candidate(q->s, q->p, q->port_bit, slot);
	return q->found ? 1 : 0;
}

/* The first candidate from slot `from` on, which mostly is that one. The loop is the
 * kernel's: its body is verified once, where each round of one of our own is by
 * itself. */
static __always_inline __u64 next_ready(struct fc_site *s, struct packet *p, __u32 port_bit, __u32 from)
{
	struct next_ready q = { .s = s, .p = p, .port_bit = port_bit, .from = from };
	__u64 found = candidate(s, p, port_bit, from);

	if (found)
		return found;
	bpf_loop(s->n - 1, try_slot, &q, 0);
	return q.found;
}

/* The less loaded of two at random: Mitzenmacher, "The power of two choices
 * in randomized load balancing", IEEE TPDS 12(10), 2001. Returns the replica's
 * id, 0 if none may get new flows. */
__noinline int fc_choose(struct fc_site *s, struct packet *p, __u32 port_bit)
{
	__u32 n, random;
	__u64 a, b;

	if (!s || !p)
		return 0;
	n = s->n;
	if (n <= 1)
		return n ? candidate(s, p, port_bit, 0) : 0;
	random = bpf_get_prandom_u32();
	a = next_ready(s, p, port_bit, random % n);
	if (!a)
		return 0;
	b = next_ready(s, p, port_bit, (random >> 16) % n);
	return b && b >> 32 < a >> 32 ? b : a;
}

struct by_socket {
	struct __sk_buff *skb;
	struct fc_site *s;
	struct bpf_sock_tuple t;
	__u32 size;
	__u32 found;
};

static __always_inline void tuple_of(struct by_socket *q, const struct fc_addr *client, __be16 client_port,
				     const struct fc_addr *vip, __be16 vip_port)
{
	if (addr_is_v4(vip)) {
		q->t.ipv4.saddr = client->w[3];
		q->t.ipv4.daddr = vip->w[3];
		q->t.ipv4.sport = client_port;
		q->t.ipv4.dport = vip_port;
		q->size = sizeof(q->t.ipv4);
	} else {
		__builtin_memcpy(q->t.ipv6.saddr, client, 16);
		__builtin_memcpy(q->t.ipv6.daddr, vip, 16);
		q->t.ipv6.sport = client_port;
		q->t.ipv6.dport = vip_port;
		q->size = sizeof(q->t.ipv6);
	}
}

/* Whether a network namespace has a socket of this connection, and not only one
 * that listens. */
static __always_inline bool has_connection(struct by_socket *q, __s32 nsid)
{
	struct bpf_sock *sk;
	bool found;

	if (nsid < 0)
		return false;
	if (q->size == sizeof(q->t.ipv4))
		sk = bpf_skc_lookup_tcp(q->skb, &q->t, sizeof(q->t.ipv4), nsid, 0);
	else
		sk = bpf_skc_lookup_tcp(q->skb, &q->t, sizeof(q->t.ipv6), nsid, 0);
	if (!sk)
		return false;
	found = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return found;
}

static long ask_slot(__u32 i, struct by_socket *q)
{
	__u32 id = q->s->replicas[i & (FC_MAX_REPLICAS - 1)];
	struct fc_replica *r = bpf_map_lookup_elem(&fc_replicas, &id);

	if (r && has_connection(q, r->nsid))
		q->found = id;
	return q->found ? 1 : 0;
}

/* Which replica owns this established connection: asked of the sockets
 * themselves, for flows that the table has lost. Returns its id, or 0. */
__noinline int fc_choose_by_socket(struct __sk_buff *skb, struct fc_site *s, struct packet *p)
{
	struct by_socket q = { .skb = skb, .s = s };

	if (!s || !p)
		return 0;
	tuple_of(&q, &p->src, p->sport, &p->dst, p->dport);
	bpf_loop(s->n, ask_slot, &q, 0);
	if (q.found)
		count(FC_STAT_FLOW_FOUND_BY_SOCKET);
	return q.found;
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
