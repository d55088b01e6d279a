/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Proof of address before a wake. Instead of holding a SYN, which may have a forged
 * source, the data path answers it itself, by a SYN-ACK with the kernel's own cookie as
 * its number, and keeps nothing. Whoever is there ends the handshake, and that segment
 * is held. All network namespaces have the secret of the cookies in common, so the
 * replica's kernel makes the connection of it, once the daemon has told its listener to
 * expect some (netctl, Namespace.ExpectCookies).
 *
 * A cookie has room for an MSS only. Window scaling, SACK and timestamps are not
 * offered: what the kernel reads of them from a timestamp depends on a secret offset,
 * and the scale of the window on a listener that does not exist yet. */
#ifndef FCNODE_PROOF_H
#define FCNODE_PROOF_H

#include "budget.h"
#include "flow.h"
#include "maps.h"
#include "parse.h"

/* For how long the kernel may take a cookie. */
#define FC_COOKIE_NS (128ULL * 1000 * 1000 * 1000)

/* How long after the last packet of a flow was held those that follow are dropped
 * instead of refused, although nothing is held for its site any more. */
#define FC_FOLLOWS_NS (30ULL * 1000 * 1000 * 1000)

#define FC_ASKED_STEP_NS (1000ULL * 1000 * 1000)

static __always_inline struct fc_proof *proof_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fc_proofs, &zero);
}

/* Whether an end of a handshake may be that of one that was begun here. */
static __always_inline bool asks_of_late(__u64 now)
{
	struct fc_proof *a = proof_state();

	return a && a->mode != FC_PROOF_OFF && a->asked && now - a->asked < FC_COOKIE_NS;
}

static __always_inline void asks(struct fc_proof *a, __u64 now)
{
	if (now - a->asked > FC_ASKED_STEP_NS)
		a->asked = now;
}

/* Takes a token like take_token; but who comes without one leaves the bucket empty, so
 * that nobody is trusted while a flood goes on. */
static __always_inline bool trust(struct fc_bucket *b, __u64 now, const struct fc_rate *r)
{
	__u64 empty = r->every * r->burst;

	if (take_token(b, now, r))
		return true;
	b->full = now + empty;
	return false;
}

static __always_inline bool has_token(const struct fc_bucket *b, __u64 now, const struct fc_rate *r)
{
	__u64 full = *(volatile __u64 *)&b->full;

	return (full > now ? full - now : 0) + r->every <= r->every * r->burst;
}

/* Gives back what was taken for what is no flood. */
static __always_inline void trust_back(void)
{
	struct fc_proof *a = proof_state();

	if (a)
		__sync_fetch_and_add(&a->bucket.full, -a->trust.every);
}

/* Whether the SYN of a flow may be held on trust: FC_PROOF_OWED, or FC_PROOF_NONE of
 * what cannot be forged or proven; FC_PROOF_GIVEN: it has to prove its address. What comes
 * for a site that `wakes` already costs no wake, and a crowd of visitors is no flood: it
 * takes no token as long as there is one. */
__noinline int fc_trusts(struct __sk_buff *skb, struct packet *p, __u64 now, bool wakes)
{
	struct fc_proof *a = proof_state();

	/* packets of this machine's own, and of its sites, say who sends them */
	if (!a || !p || !p->syn || a->mode == FC_PROOF_OFF || !skb->ingress_ifindex || in_prefixes(&p->src))
		return FC_PROOF_NONE;
	if (a->mode == FC_PROOF_AUTO) {
		if (wakes && has_token(&a->bucket, now, &a->trust))
			return FC_PROOF_NONE;
		if (!a->trust.burst || trust(&a->bucket, now, &a->trust))
			return FC_PROOF_OWED;
		tell_empty(&a->bucket, now, &p->src, 0, FC_LIMIT_TRUST);
	}
	asks(a, now);
	return FC_PROOF_GIVEN;
}

/* Whether fc_trusts would not trust this one from outside, whom it is told of then. */
static __always_inline bool trusts_nobody(struct fc_proof *a, const struct packet *p, __u64 now)
{
	__u64 empty = a->trust.every * a->trust.burst;

	if (a->mode != FC_PROOF_AUTO)
		return a->mode == FC_PROOF_ALWAYS;
	if (!empty || a->bucket.full + a->trust.every <= now + empty)
		return false;
	a->bucket.full = now + empty;
	tell_empty(&a->bucket, now, &p->src, 0, FC_LIMIT_TRUST);
	return true;
}

/* Notes that the SYN of a flow has woken a frozen replica on trust. */
__noinline int fc_owes(struct packet *p)
{
	struct fc_held_flow f = { .proof = FC_PROOF_OWED };

	if (!p)
		return 0;

	struct fc_flow_key k = flow_key(&p->src, p->sport, &p->dst, p->dport, p->proto);

	f.ns = bpf_ktime_get_ns();
	f.seq = p->seq;
	bpf_map_update_elem(&fc_held_flows, &k, &f, BPF_ANY);
	return 0;
}

/* A connection has done its handshake: if its SYN was held on trust, or was asked for
 * a proof, that was no flood. From here on its socket is known. */
static __always_inline void proof_given(struct fc_flow_key *k, __u64 now)
{
	struct fc_proof *a = proof_state();
	struct fc_held_flow *seen;
	bool owed;

	if (!a || a->mode == FC_PROOF_OFF)
		return;
	owed = a->mode == FC_PROOF_AUTO && *(volatile __u64 *)&a->bucket.full > now;
	if (!owed && !asks_of_late(now))
		return;
	seen = bpf_map_lookup_elem(&fc_held_flows, k);
	if (!seen || seen->proof == FC_PROOF_NONE || bpf_map_delete_elem(&fc_held_flows, k))
		return;
	if (owed)
		trust_back();
}

/* Whether a segment follows one of its flow that is held, or was released just now:
 * its client sends it again. */
__noinline int fc_follows(struct packet *p, __u32 site, __u64 now)
{
	struct fc_held_flow *seen;

	if (!p)
		return 0;

	struct fc_flow_key k = flow_key(&p->src, p->sport, &p->dst, p->dport, p->proto);

	seen = bpf_map_lookup_elem(&fc_held_flows, &k);
	if (!seen || seen->proof != FC_PROOF_GIVEN)
		return 0;
	return now - seen->ns < FC_FOLLOWS_NS || bpf_map_lookup_elem(&fc_hold_counts, &site);
}

#define FC_SYNACK 24 /* a TCP header with an MSS */
#define FC_TCP_MAX 64

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

union ip_header {
	struct iphdr v4;
	struct ipv6hdr v6;
};

/* The header of an answer, from the VIP to the source. Returns its length. */
static __always_inline __u32 answer_header(union ip_header *ip, const struct packet *p)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	if (addr_is_v4(&p->dst)) {
		ip->v4.version = 4;
		ip->v4.ihl = 5;
		ip->v4.tot_len = bpf_htons(sizeof(ip->v4) + FC_SYNACK);
		ip->v4.frag_off = bpf_htons(0x4000); /* don't fragment */
		ip->v4.ttl = 64;
		ip->v4.protocol = IPPROTO_TCP;
		ip->v4.saddr = p->dst.w[3];
		ip->v4.daddr = p->src.w[3];
		ip->v4.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip->v4, sizeof(ip->v4), 0));
		return sizeof(ip->v4);
	}
	ip->v6.version = 6;
	ip->v6.payload_len = bpf_htons(FC_SYNACK);
	ip->v6.nexthdr = IPPROTO_TCP;
	ip->v6.hop_limit = 64;
	__builtin_memcpy(&ip->v6.saddr, &p->dst, 16);
	__builtin_memcpy(&ip->v6.daddr, &p->src, 16);
	return sizeof(ip->v6);
}

/* The cookie for a SYN, of which `t` is the TCP header; below 0: there is none. */
static __always_inline __s64 cookie_for(const struct packet *p, struct tcphdr *t, __u32 len)
{
	union ip_header ip = {};

	if (addr_is_v4(&p->dst)) {
		ip.v4.saddr = p->src.w[3];
		ip.v4.daddr = p->dst.w[3];
		return bpf_tcp_raw_gen_syncookie_ipv4(&ip.v4, t, len);
	}
	__builtin_memcpy(&ip.v6.saddr, &p->src, 16);
	__builtin_memcpy(&ip.v6.daddr, &p->dst, 16);
	return bpf_tcp_raw_gen_syncookie_ipv6(&ip.v6, t, len);
}

/* What the path to the client takes in one segment. */
static __always_inline __u16 own_mss(struct __sk_buff *skb, const struct packet *p)
{
	struct fc_settings *cfg = config();
	__u32 mtu = 0;

	if (!cfg || bpf_check_mtu(skb, cfg->device, &mtu, 0, 0) < 0 || mtu > 1500)
		mtu = 1500;
	return mtu - (addr_is_v4(&p->dst) ? 40 : 60);
}

/* Turns a SYN into the SYN-ACK with a cookie that answers it. Returns 1 if it has. */
__noinline int fc_ask_proof(struct __sk_buff *skb, struct packet *p)
{
	struct {
		struct tcphdr t;
		__u8 options[FC_TCP_MAX - sizeof(struct tcphdr)];
	} h = {};
	union ip_header ip;
	__u32 len, at, sum;
	__s64 cookie;
	__u16 mss;

	if (!p)
		return 0;
	at = ETH_HLEN + (addr_is_v4(&p->dst) ? sizeof(ip.v4) : sizeof(ip.v6));
	/* with options of IP: nobody sends such, but to be held without a proof */
	if (p->l4 != at || bpf_skb_load_bytes(skb, at, &h.t, sizeof(h.t)) < 0)
		goto malformed;
	len = ((h.t.doff * 4 - 1) & (FC_TCP_MAX - 1)) + 1; /* 6.1's verifier wants bounds */
	if (len < sizeof(h.t) || bpf_skb_load_bytes(skb, at, &h, len) < 0)
		goto malformed;
	cookie = cookie_for(p, &h.t, len);
	if (cookie < 0 || bpf_skb_change_tail(skb, at + FC_SYNACK, 0) < 0)
		goto malformed;

	mss = own_mss(skb, p);
	__builtin_memset(&h.t, 0, sizeof(h.t));
	h.t.source = p->dport;
	h.t.dest = p->sport;
	h.t.seq = bpf_htonl((__u32)cookie);
	h.t.ack_seq = bpf_htonl(p->seq + 1);
	h.t.doff = FC_SYNACK / 4;
	h.t.syn = h.t.ack = 1;
	/* what is held of a flow: of one window Linux sends halves */
	h.t.window = bpf_htons(2 * mss);
	h.options[0] = 2; /* MSS */
	h.options[1] = 4;
	h.options[2] = mss >> 8;
	h.options[3] = (__u8)mss;
	answer_header(&ip, p);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, at - ETH_HLEN > sizeof(ip.v4) ? sizeof(ip.v6) : sizeof(ip.v4), BPF_F_INVALIDATE_HASH) < 0 ||
	    bpf_skb_store_bytes(skb, at, &h, FC_SYNACK, 0) < 0)
		goto malformed;
	/* Of a packet whose checksum is left to hardware the kernel heeds the second
	 * only, which is what it has to have then. */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&h, FC_SYNACK, 0);
	if (bpf_l4_csum_replace(skb, at + offsetof(struct tcphdr, check), 0, sum, 0) < 0)
		goto malformed;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->src, 2 * sizeof(p->src), bpf_htonl(IPPROTO_TCP + FC_SYNACK));
	if (bpf_l4_csum_replace(skb, at + offsetof(struct tcphdr, check), 0, sum, BPF_F_PSEUDO_HDR) < 0)
		goto malformed;
	count(FC_STAT_PROOF_ASKED);
	return 1;
malformed:
	count(FC_STAT_MALFORMED);
	return 0;
}

#endif
