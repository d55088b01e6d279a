/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a replica's sockets receive and send: bytes, datagrams, and for
 * protocols that take turns the time from a request's first payload to its
 * answer's. Attached once, at the cgroup above all replicas; every packet of
 * theirs comes by here, so what is not needed is not looked up.
 *
 * Counters are per CPU. Packets come in with BHs off, but go out with them on
 * too, and may be interrupted by others that go out: those add atomically. */
#ifndef FCNODE_COUNT_H
#define FCNODE_COUNT_H

#include "sockets.h"
#include "trigger.h"
#include "turns.h"
#include "use.h"

/* A TCP segment, which may be as large as the kernel's offloads make it. */
struct segment {
	__u32 at;  /* offset of the payload */
	__u32 len; /* of the payload */
	__u32 seq; /* host order */
	bool fin;
};

/* Offset of the transport header, 0 if it does not follow the IP header. The
 * socket layer gives the packet without Ethernet, and without padding. */
static __always_inline __u32 transport(struct __sk_buff *skb, __u8 proto)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *v4 = data;
	struct ipv6hdr *v6 = data;

	if ((void *)(v4 + 1) > end)
		return 0;
	if (v4->version == 4)
		return v4->protocol == proto ? v4->ihl * 4 : 0;
	if ((void *)(v6 + 1) > end || v6->nexthdr != proto)
		return 0;
	return sizeof(*v6);
}

static __always_inline bool parse_segment(struct __sk_buff *skb, struct segment *s)
{
	__u32 off = transport(skb, IPPROTO_TCP) & 0x3f;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcphdr *t = data + off;

	if (!off || (void *)(t + 1) > end)
		return false;
	s->at = off + t->doff * 4;
	s->len = skb->len > s->at ? skb->len - s->at : 0;
	s->seq = bpf_ntohl(t->seq);
	s->fin = t->fin;
	return true;
}

static __always_inline void count_datagram(struct __sk_buff *skb, struct bpf_sock *sk, bool in)
{
	struct fc_listening *l = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, 0);
	__u32 off = transport(skb, IPPROTO_UDP);
	__u32 n = skb->gso_segs ?: 1;
	struct fc_load *load;
	__u64 bytes;

	if (!l) /* not of a port that visitors can name: its own questions */
		return;
	load = load_of(l->replica);
	if (!load)
		return;
	off = (off ?: sizeof(struct ipv6hdr)) + sizeof(struct udphdr);
	bytes = skb->len > off ? skb->len - off : 0;
	if (in) {
		load->datagrams_in += n;
		load->bytes_in += bytes;
	} else {
		__sync_fetch_and_add(&load->datagrams_out, n);
		__sync_fetch_and_add(&load->bytes_out, bytes);
	}
}

/* Raises what was counted of a connection's incoming payload up to `end`, and
 * returns by how much. Two CPUs may be at it. */
static __always_inline __u32 raise_in(struct fc_conn *c, __u32 end)
{
	for (int i = 0; i < 4; i++) {
		__u32 old = *(volatile __u32 *)&c->in_end;

		if (!after(end, old))
			return 0;
		if (__sync_val_compare_and_swap(&c->in_end, old, end) == old)
			return end - old;
	}
	return 0;
}

/* What is no TCP segment by its IP header. The calls that it takes to be sure of
 * the socket are spared where they can be: each costs, on every packet. */
static __always_inline void count_other(struct __sk_buff *skb, struct bpf_sock *sk, bool in)
{
	sk = bpf_sk_fullsock(sk);
	if (sk && sk->protocol == IPPROTO_UDP)
		count_datagram(skb, sk, in);
}

SEC("cgroup_skb/ingress")
int fc_count_in(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct fc_load *load;
	struct segment s;
	struct fc_conn *c;
	__u32 from, fresh;

	if (!sk)
		return 1;
	if (!parse_segment(skb, &s)) {
		count_other(skb, sk, true);
		return 1;
	}
	if (sk->state == BPF_TCP_LISTEN) {
		sk = bpf_sk_fullsock(sk);
		if (sk)
			queue_arrival(sk);
		return 1;
	}
	if (!s.len && !s.fin)
		return 1;
	c = bpf_sk_storage_get(&fc_conns, sk, NULL, 0);
	if (!c)
		return 1;
	load = load_of(c->replica);
	if (!load)
		return 1;
	/* what came by here in order, or is known to the socket already; what lies
	 * behind a hole is counted when the hole is filled */
	from = c->in_end;
	if (s.seq != from && !c->fin) {
		struct bpf_tcp_sock *tp = bpf_tcp_sock(sk);

		if (tp && after(tp->rcv_nxt, from))
			from = tp->rcv_nxt;
	}
	if (s.fin) {
		c->fin_end = s.seq + s.len;
		c->fin = 1;
	}
	if (!after(s.seq, from) && after(s.seq + s.len, from))
		from = s.seq + s.len;
	fresh = raise_in(c, from);
	load->bytes_in += fresh;
	if (s.len)
		used(c);
	if (fresh && s.len)
		fc_turn_in(skb, c, load, s.at, s.len);
	return 1;
}

SEC("cgroup_skb/egress")
int fc_count_out(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct fc_load *load;
	struct segment s;
	struct fc_conn *c;
	bool unseen = false;
	__u64 latency;

	if (!sk)
		return 1;
	if (!parse_segment(skb, &s)) {
		count_other(skb, sk, false);
		return 1;
	}
	if (!s.len)
		return 1;
	c = bpf_sk_storage_get(&fc_conns, sk, NULL, 0);
	/* the socket is locked here: nobody else counts what it sends */
	if (!c || !after(s.seq + s.len, c->out_end))
		return 1; /* sent again */
	used(c);
	load = load_of(c->replica);
	if (!load)
		return 1;
	__sync_fetch_and_add(&load->bytes_out, s.seq + s.len - c->out_end);
	c->out_end = s.seq + s.len;
	if (c->kind == FC_KIND_NO_TURNS || c->turn == FC_TURN_ANSWERED)
		return 1;
	if (c->kind == FC_KIND_NEW) {
		struct bpf_tcp_sock *tp = bpf_tcp_sock(sk);

		unseen = tp && after(tp->rcv_nxt, c->in_end);
	}
	latency = fc_turn_out(skb, c, load, s.at, unseen);
	if (latency)
		latency_arrival(c->site, c->replica, latency);
	return 1;
}

#endif
