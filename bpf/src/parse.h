/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_PARSE_H
#define FCNODE_PARSE_H

#include "addr.h"

#define FC_IPV6_EXT_MAX 6 /* extension headers walked before giving up */

enum fc_frag_kind {
	FC_FRAG_NONE,
	FC_FRAG_FIRST, /* has the ports */
	FC_FRAG_LATER, /* has not */
};

struct packet {
	struct fc_addr src, dst;
	__be16 sport, dport;
	__u8 proto;
	__u8 frag;
	/* bits, as the frames of the programs are at the end of their stack */
	bool syn : 1;     /* SYN without ACK */
	bool opens : 1;   /* SYN without ACK, whatever else is set: may begin a connection */
	bool routed : 1;  /* says itself by which ways it is to go */
	bool payload : 1; /* TCP: carries data */
	bool refusal : 1; /* TCP: what a kernel answers to a SYN that nobody listens for */
	bool icmp_error : 1;
	bool echo_request : 1, echo_reply : 1; /* their id is in sport and dport */
	bool ignored : 1; /* of a source that is no visitor */
	bool bare : 1;    /* TCP: wakes nobody: acknowledges or resets, and says nothing */
	bool proven : 1;  /* TCP: its source has proven its address */
	bool anew : 1;    /* UDP: its flow was over, and begins again */
	__u32 frag_id;
	__u32 seq; /* host order */
	__u32 l4;  /* offset of the transport header */
	__u32 end; /* offset behind the IP packet */
};

struct tcp_ports {
	__be16 source, dest;
};

static __always_inline int parse_v4(struct __sk_buff *skb, struct packet *p, __u32 off)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) < 0 || ip.ihl < 5)
		return -1;
	p->src = addr_v4(ip.saddr);
	p->dst = addr_v4(ip.daddr);
	p->proto = ip.protocol;
	p->l4 = off + ip.ihl * 4;
	p->routed = ip.ihl > 5; /* by some option, it may be */
	p->end = off + bpf_ntohs(ip.tot_len);
	if (ip.frag_off & bpf_htons(0x1fff))
		p->frag = FC_FRAG_LATER;
	else if (ip.frag_off & bpf_htons(0x2000))
		p->frag = FC_FRAG_FIRST;
	p->frag_id = ip.id;
	return 0;
}

struct ext_header {
	__u8 next;
	__u8 len; /* in 8 bytes beyond the first 8; AH: in 4 bytes minus 2 */
};

struct frag_header {
	__u8 next;
	__u8 reserved;
	__be16 off;
	__be32 id;
};

struct extension_headers {
	struct __sk_buff *skb;
	struct packet *p;
	int err;
	__u32 pad;
};

/* Steps over one extension header; 1: it was the last, or none that can be read. */
static long next_header(__u32 i, struct extension_headers *q)
{
	struct packet *p = q->p;
	struct frag_header f;
	struct ext_header h;

	switch (p->proto) {
	case IPPROTO_ROUTING:
		p->routed = true;
	case IPPROTO_HOPOPTS:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
		if (bpf_skb_load_bytes(q->skb, p->l4, &h, sizeof(h)) < 0)
			return 1;
		p->l4 += 8 + (p->proto == IPPROTO_AH ? 4 : 8) * (__u32)h.len;
		p->proto = h.next;
		return 0;
	case IPPROTO_FRAGMENT:
		if (bpf_skb_load_bytes(q->skb, p->l4, &f, sizeof(f)) < 0)
			return 1;
		p->frag_id = f.id;
		p->proto = f.next;
		p->l4 += sizeof(f);
		if (f.off & bpf_htons(0xfff8)) {
			p->frag = FC_FRAG_LATER;
			q->err = 0;
			return 1;
		}
		/* an "atomic" fragment (RFC 6946) is a whole packet */
		if (f.off & bpf_htons(1))
			p->frag = FC_FRAG_FIRST;
		return 0;
	}
	q->err = 0;
	return 1;
}

/* Called where there are some: common packets do not pay for it. */
__noinline int fc_extension_headers(struct __sk_buff *skb, struct packet *p)
{
	struct extension_headers q = { .skb = skb, .p = p, .err = -1 };

	if (!p)
		return -1;
	bpf_loop(FC_IPV6_EXT_MAX, next_header, &q, 0);
	return q.err;
}

static __always_inline int parse_v6(struct __sk_buff *skb, struct packet *p, __u32 off)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) < 0)
		return -1;
	__builtin_memcpy(&p->src, &ip.saddr, 16);
	__builtin_memcpy(&p->dst, &ip.daddr, 16);
	/* one that says it is of IPv4 would pass for an IPv4 packet of that address
	 * wherever addresses are compared */
	if (addr_is_v4(&p->src) || addr_is_v4(&p->dst))
		return -1;
	p->proto = ip.nexthdr;
	p->l4 = off + sizeof(ip);
	p->end = p->l4 + bpf_ntohs(ip.payload_len);
	switch (p->proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_FRAGMENT:
		return fc_extension_headers(skb, p);
	}
	return 0;
}

static __always_inline bool icmp_is_error(__u8 proto, __u8 type)
{
	if (proto == IPPROTO_ICMP)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

struct icmp_head {
	__u8 type, code;
	__be16 checksum;
	__be16 id; /* of echo */
};

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	bool v4 = p->proto == IPPROTO_ICMP;
	struct icmp_head h;

	if (bpf_skb_load_bytes(skb, p->l4, &h, sizeof(h)) < 0)
		return -1;
	p->icmp_error = icmp_is_error(p->proto, h.type);
	p->echo_request = h.type == (v4 ? 8 : 128);
	p->echo_reply = h.type == (v4 ? 0 : 129);
	p->sport = p->dport = h.id;
	return 0;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	if (p->proto == IPPROTO_TCP) {
		struct tcphdr t;

		if (bpf_skb_load_bytes(skb, p->l4, &t, sizeof(t)) < 0)
			return -1;
		p->sport = t.source;
		p->dport = t.dest;
		p->seq = bpf_ntohl(t.seq);
		p->syn = t.syn && !t.ack && !t.rst && !t.fin;
		p->opens = t.syn && !t.ack;
		p->refusal = t.rst && t.ack && !t.seq;
		p->payload = p->l4 + t.doff * 4 < p->end;
		p->bare = !t.syn && !t.fin && !p->payload;
	} else if (p->proto == IPPROTO_UDP) {
		struct tcp_ports u;

		if (bpf_skb_load_bytes(skb, p->l4, &u, sizeof(u)) < 0)
			return -1;
		p->sport = u.source;
		p->dport = u.dest;
	} else if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		return parse_icmp(skb, p);
	}
	return 0;
}

/* This and the other functions that are neither static nor inlined are
 * verified once, by themselves, and not again on every path that leads to
 * them: loading takes a tenth of the time. They take pointers that may be NULL
 * as far as the verifier knows, and return only numbers. Loops off the common
 * path are bpf_loop's for the same reason: the body is walked once, not in
 * each of its rounds.
 *
 * Returns 1 for an IP packet, 0 for anything else, below 0 for one that
 * cannot be read. */
__noinline int fc_parse(struct __sk_buff *skb, struct packet *p)
{
	int err;

	if (!p)
		return -1;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		err = parse_v4(skb, p, ETH_HLEN);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		err = parse_v6(skb, p, ETH_HLEN);
	else
		return 0;
	if (err)
		return err;
	if (p->frag != FC_FRAG_LATER && parse_l4(skb, p) < 0)
		return -1;
	return 1;
}

static __always_inline struct fc_flow_key flow_key(const struct fc_addr *client, __be16 client_port,
						   const struct fc_addr *vip, __be16 vip_port, __u8 proto)
{
	struct fc_flow_key k = {
		.client = *client, .vip = *vip, .client_port = client_port, .vip_port = vip_port, .proto = proto,
	};

	return k;
}

/* What an ICMP error speaks of: its payload is the head of a packet that a
 * replica sent, from the VIP to the client. `in` becomes what the client sends in
 * that flow. */
static __always_inline int parse_icmp_error(struct __sk_buff *skb, const struct packet *p, struct packet *in)
{
	struct fc_addr vip;
	struct tcp_ports ports;
	int err;

	if (p->proto == IPPROTO_ICMP)
		err = parse_v4(skb, in, p->l4 + 8);
	else
		err = parse_v6(skb, in, p->l4 + 8);
	if (err || in->frag == FC_FRAG_LATER)
		return -1;
	if (in->proto != IPPROTO_TCP && in->proto != IPPROTO_UDP)
		return -1;
	if (bpf_skb_load_bytes(skb, in->l4, &ports, sizeof(ports)) < 0)
		return -1;
	vip = in->src;
	in->src = in->dst;
	in->dst = vip;
	in->sport = ports.dest;
	in->dport = ports.source;
	return 0;
}

#endif
