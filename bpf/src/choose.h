/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_CHOOSE_H
#define FCNODE_CHOOSE_H

#include "flow.h"
#include "maps.h"
#include "parse.h"

struct choice {
	__u32 id;
	struct fc_replica *r;
};

static __always_inline struct fc_open_key open_key(__u32 id, __be16 port, __u8 proto)
{
	struct fc_open_key k = { .replica = id, .ports = bpf_ntohs(port) / FC_OPEN_PORTS, .proto = proto };

	return k;
}

static __always_inline __u32 *openers_of(struct fc_openers *o, __be16 port)
{
	return &o->n[bpf_ntohs(port) % FC_OPEN_PORTS];
}

/* Whether somebody listens on just this port of a range. With a frame of its own: all
 * of a program's may have 512 bytes together. */
__noinline int fc_is_open(__u32 id, __u32 port, __u32 proto, bool v4)
{
	struct fc_open_key k = open_key(id, port, proto);
	struct fc_openers *o = bpf_map_lookup_elem(&fc_open, &k);
	__u32 n = o ? *(volatile __u32 *)openers_of(o, port) : 0;

	return (v4 ? n % FC_OPENER6 : n / FC_OPENER6) != 0;
}

/* Of a range: on any of its ports. */
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
	if ((port_bit & FC_PORT_OF_RANGE) && !(s->forced[slot] & (1U << (port_bit & 31))) &&
	    !fc_is_open(id, p->dport, p->proto, addr_is_v4(&p->dst)))
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
 * in randomized load balancing", IEEE TPDS 12(10), 2001. Of datagrams nobody counts
 * who has how many, and a flow that its table has lost is to stay where it was: its
 * addresses and ports decide. So they do of segments after a SYN that nobody has kept,
 * see fc_has_cookie. Returns the replica's id, 0 if none may get new flows. */
__noinline int fc_choose(struct fc_site *s, struct packet *p, __u32 port_bit)
{
	__u32 n, random;
	__u64 a, b;

	if (!s || !p)
		return 0;
	n = s->n;
	if (n <= 1)
		return n ? candidate(s, p, port_bit, 0) : 0;
	if (!p->syn) {
		struct fc_settings *cfg = config();

		random = flow_hash(&p->src, p->sport, p->dport, p->proto, cfg ? cfg->seed : 0);
		return next_ready(s, p, port_bit, random % n);
	}
	random = bpf_get_prandom_u32();
	a = next_ready(s, p, port_bit, random % n);
	if (!a)
		return 0;
	b = next_ready(s, p, port_bit, (random >> 16) % n);
	return b && b >> 32 < a >> 32 ? b : a;
}

struct by_socket {
	struct __sk_buff *skb;
	struct fc_vip *v;
	struct bpf_sock_tuple t;
	__u32 size;
	__u32 found;
	__u32 keep; /* enum fc_kept: what becomes of a connection that is in no table */
	bool udp;
	bool counted;
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
 * that listens. It is counted if a visitor has begun it, after the handshake's end and
 * before its own. */
static __always_inline bool has_connection(struct by_socket *q, __s32 nsid)
{
	struct fc_conn *conn;
	struct bpf_sock *sk;
	__u32 state;

	if (nsid < 0)
		return false;
	if (q->size == sizeof(q->t.ipv4))
		sk = bpf_skc_lookup_tcp(q->skb, &q->t, sizeof(q->t.ipv4), nsid, 0);
	else
		sk = bpf_skc_lookup_tcp(q->skb, &q->t, sizeof(q->t.ipv6), nsid, 0);
	if (!sk)
		return false;
	state = sk->state;
	conn = bpf_sk_storage_get(&fc_conns, sk, NULL, 0);
	q->counted = conn && __sync_val_compare_and_swap(&conn->kept, FC_KEPT_NOT, q->keep) != FC_KEPT_ENDED;
	bpf_sk_release(sk);
	return state != BPF_TCP_LISTEN;
}

/* Whether a UDP socket there is connected to just this client: to others, which
 * anybody may send to, not even a port is open. */
static __always_inline bool has_peer(struct by_socket *q, __s32 nsid)
{
	struct bpf_sock *sk;
	__u32 state;

	if (nsid < 0)
		return false;
	if (q->size == sizeof(q->t.ipv4))
		sk = bpf_sk_lookup_udp(q->skb, &q->t, sizeof(q->t.ipv4), nsid, 0);
	else
		sk = bpf_sk_lookup_udp(q->skb, &q->t, sizeof(q->t.ipv6), nsid, 0);
	if (!sk)
		return false;
	state = sk->state;
	bpf_sk_release(sk);
	return state == BPF_TCP_ESTABLISHED; /* a connected one's, of UDP too */
}

static long ask_replica(__u32 i, struct by_socket *q)
{
	__u32 id = q->v->replicas[i & (FC_VIP_REPLICAS - 1)];
	struct fc_replica *r = bpf_map_lookup_elem(&fc_replicas, &id);

	if (r && (q->udp ? has_peer(q, r->nsid) : has_connection(q, r->nsid)))
		q->found = id;
	return q->found ? 1 : 0;
}

#define FC_FOUND_COUNTED (1ULL << 32)

/* Which of the VIP's replicas has this connection, whoever began it: asked of the
 * sockets themselves, for flows that the tables have lost. Returns its id, or 0, with
 * FC_FOUND_COUNTED if it may be in fc_flows; `keep` is noted with the socket then. */
__noinline __u64 fc_ask_sockets(struct __sk_buff *skb, struct packet *p, __u32 keep)
{
	struct by_socket q = { .skb = skb, .keep = keep };
	struct fc_addr vip; /* on the stack: 6.1 takes no other memory for a key */

	if (!p || !has_ports(p))
		return 0;
	vip = p->dst;
	q.v = bpf_map_lookup_elem(&fc_vips, &vip);
	if (!q.v)
		return 0;
	q.udp = p->proto == IPPROTO_UDP;
	tuple_of(&q, &p->src, p->sport, &p->dst, p->dport);
	bpf_loop(q.v->n, ask_replica, &q, 0);
	if (!q.found)
		return 0;
	if (!keep)
		count(FC_STAT_FLOW_FOUND_BY_SOCKET);
	return q.found | (q.counted ? FC_FOUND_COUNTED : 0);
}

/* Whether a segment ends a handshake of which a kernel, flooded with others, or
 * fc_ask_proof has kept nothing but the cookie that it sent. All network namespaces have
 * the same secret. */
__noinline int fc_has_cookie(struct __sk_buff *skb, struct packet *p)
{
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} ip = {};
	struct tcphdr t;

	if (!p || bpf_skb_load_bytes(skb, p->l4, &t, sizeof(t)) < 0 || !t.ack || t.syn || t.rst)
		return 0;
	if (addr_is_v4(&p->dst)) {
		ip.v4.saddr = p->src.w[3];
		ip.v4.daddr = p->dst.w[3];
		return bpf_tcp_raw_check_syncookie_ipv4(&ip.v4, &t) == 0;
	}
	__builtin_memcpy(&ip.v6.saddr, &p->src, 16);
	__builtin_memcpy(&ip.v6.daddr, &p->dst, 16);
	return bpf_tcp_raw_check_syncookie_ipv6(&ip.v6, &t) == 0;
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

/* A visitor's connection that fc_flows has lost, which has it again then. It may end
 * meanwhile, and its end must be the last that the table hears of it: see flow_ends. */
static __always_inline struct choice choose_by_socket(struct __sk_buff *skb, struct packet *p, struct fc_flow_key *k,
						      __u32 site)
{
	__u64 found = fc_ask_sockets(skb, p, FC_KEPT_NOT);
	struct choice none = {}, c = by_id(found);

	if (!c.r || c.r->site != site)
		return none;
	if ((found & FC_FOUND_COUNTED) && fc_keep_conn(k, c.id, *(volatile __u64 *)&c.r->conns_now)) {
		count(FC_STAT_FLOW_EVICTED);
		if (!(fc_ask_sockets(skb, p, FC_KEPT_IN) & FC_FOUND_COUNTED))
			bpf_map_delete_elem(&fc_flows, k);
	}
	return c;
}

#endif
