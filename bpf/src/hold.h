/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_HOLD_H
#define FCNODE_HOLD_H

#include "budget.h"
#include "maps.h"
#include "parse.h"
#include "proof.h"

/* A retransmission within this time is known to be held already. After it,
 * or with another sequence number (a reused port), the packet is sent up
 * again: user space may have died with the first copy, and drops the rest. */
#define FC_HOLD_FRESH_NS (900ULL * 1000 * 1000)

#define FC_HOLD_FLIGHT_ENDS_NS (10ULL * 1000 * 1000 * 1000) /* after the last that was held */

/* Bytes of the ring that nobody has read yet, up to which sites may hold more than they
 * are sure of: a quarter of it. */
#define FC_HOLD_SPARE (1 << 20)

static __always_inline void fill_held(struct fc_held *h, const struct packet *p, __u32 site, __u32 len, __u64 now)
{
	h->ns = now;
	h->site = site;
	h->len = len;
	h->client = p->src;
	h->vip = p->dst;
	h->client_port = p->sport;
	h->vip_port = p->dport;
	h->proto = p->proto;
	h->pad[0] = h->pad[1] = h->pad[2] = 0;
	h->seq = p->seq;
	h->proof = p->proven ? FC_PROOF_GIVEN : FC_PROOF_NONE;
}

/* Whether a site that has held so much may hold one packet more, which begins a flow or
 * is a further datagram of one. Each site is sure of as many packets as it may have
 * flows, as far as the ring goes. What is more gets only a part of that, or a flood at
 * one site would leave the others nothing. With a frame of its own, see fc_is_open. */
__noinline int fc_may_hold(__u32 held, bool begins)
{
	struct fc_settings *cfg = config();
	__u32 flows = held % FC_HELD_FURTHER, further = held / FC_HELD_FURTHER;

	if (!cfg)
		return 0;
	if (begins)
		return flows < cfg->hold_per_site;
	if (flows + further < cfg->hold_per_site)
		return 1;
	return further < (FC_HOLD_FLIGHT - 1) * cfg->hold_per_site &&
	       bpf_ringbuf_query(&fc_held_ring, BPF_RB_AVAIL_DATA) < FC_HOLD_SPARE;
}

/* The count of what the site has held, made if need be; the daemon deletes it
 * when the site was released or refused. */
static __always_inline __u32 *hold_count(__u32 site)
{
	__u32 *n = bpf_map_lookup_elem(&fc_hold_counts, &site);

	if (!n) {
		__u32 zero = 0;

		bpf_map_update_elem(&fc_hold_counts, &site, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&fc_hold_counts, &site);
		if (!n)
			count(FC_STAT_MAP_FULL);
	}
	return n;
}

static __always_inline bool hold_copy_small(struct __sk_buff *skb, const struct packet *p, __u32 site, __u64 now)
{
	struct fc_held_small *e = bpf_ringbuf_reserve(&fc_held_ring, sizeof(*e), 0);
	/* the mask tells 6.1's verifier the bounds: 1..FC_HELD_SMALL */
	__u32 len = ((skb->len - 1) & (FC_HELD_SMALL - 1)) + 1;

	if (!e)
		return false;
	fill_held(&e->h, p, site, len, now);
	if (bpf_skb_load_bytes(skb, 0, e->data, len) < 0) {
		bpf_ringbuf_discard(e, 0);
		return false;
	}
	bpf_ringbuf_submit(e, 0);
	return true;
}

static __always_inline bool hold_copy_large(struct __sk_buff *skb, const struct packet *p, __u32 site, __u64 now)
{
	struct fc_held_large *e = bpf_ringbuf_reserve(&fc_held_ring, sizeof(*e), 0);
	__u32 len = ((skb->len - 1) & (FC_HELD_MAX - 1)) + 1;

	if (!e)
		return false;
	fill_held(&e->h, p, site, len, now);
	if (bpf_skb_load_bytes(skb, 0, e->data, len) < 0) {
		bpf_ringbuf_discard(e, 0);
		return false;
	}
	bpf_ringbuf_submit(e, 0);
	return true;
}

enum fc_hold_result {
	FC_HOLD_NOT, /* to be dropped */
	FC_HOLD_DONE,
	FC_HOLD_ASK, /* its source has to prove its address first */
};

/* How many datagrams of a flow are held. Nothing tells one that is sent again from
 * the next, so all of them are, in their order. Once the site's packets were
 * released or refused the flow begins anew. */
static __always_inline __u32 flight_of(const struct fc_held_flow *seen, const __u32 *held, __u64 now)
{
	return seen && held && now - seen->ns < FC_HOLD_FLIGHT_ENDS_NS ? seen->seq : 0;
}

/* Copies the first packet of a TCP flow, or the first datagrams of one of UDP, to
 * user space: the wake event and the held packet in one. The original is then dropped
 * by the caller. Returns what has become of it, enum fc_hold_result. Tokens are taken
 * for what can be held only, or what cannot be would keep a site from ever waking, and
 * once for a flow; and nobody is asked for a proof that there would be no room for. */
__noinline int fc_hold(struct __sk_buff *skb, struct packet *p, __u32 site, bool sleeps)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 len = skb->len;
	struct fc_held_flow *seen;
	__u32 proof = FC_PROOF_NONE;
	__u32 flight = 0;
	__u32 *held;
	bool datagram, again, ok;

	if (!p)
		return FC_HOLD_NOT;

	struct fc_flow_key k = flow_key(&p->src, p->sport, &p->dst, p->dport, p->proto);

	seen = bpf_map_lookup_elem(&fc_held_flows, &k);
	held = bpf_map_lookup_elem(&fc_hold_counts, &site);
	datagram = p->proto == IPPROTO_UDP;
	if (datagram)
		flight = flight_of(seen, held, now);
	again = datagram ? flight > 0 : seen && seen->seq == p->seq;
	if (again && seen && now - seen->ns < FC_HOLD_FRESH_NS && (!datagram || flight >= FC_HOLD_FLIGHT)) {
		count(FC_STAT_HOLD_DUPLICATE);
		return FC_HOLD_NOT;
	}
	if (len == 0 || len > FC_HELD_MAX || p->frag != FC_FRAG_NONE) {
		count(FC_STAT_HOLD_TOO_LARGE);
		return FC_HOLD_NOT;
	}
	if ((datagram || !again) && held && !fc_may_hold(*held, !again)) {
		count(FC_STAT_HOLD_CAP);
		return FC_HOLD_NOT;
	}
	if (again && seen)
		proof = seen->proof;
	if (!again) {
		if (p->proven) {
			if (!seen || seen->proof != FC_PROOF_GIVEN)
				count(FC_STAT_PROOF_GIVEN);
			proof = FC_PROOF_GIVEN;
		} else {
			proof = fc_trusts(skb, p, now, held);
			if (proof == FC_PROOF_GIVEN)
				return FC_HOLD_ASK;
		}
		if (!fc_may_wake(skb, p, site, sleeps)) {
			if (proof == FC_PROOF_OWED)
				trust_back();
			return FC_HOLD_NOT;
		}
	}
	if (datagram || !again) {
		held = hold_count(site);
		if (!held)
			return FC_HOLD_NOT;
	} else {
		held = NULL; /* it is counted already */
	}
	if (len <= FC_HELD_SMALL)
		ok = hold_copy_small(skb, p, site, now);
	else
		ok = hold_copy_large(skb, p, site, now);
	if (!ok) {
		count(FC_STAT_HOLD_RING_FULL);
		return FC_HOLD_NOT;
	}
	/* counted only now: what the ring had no room for is never cleared */
	if (held)
		__sync_fetch_and_add(held, again ? FC_HELD_FURTHER : 1);

	struct fc_held_flow f = { .ns = now, .seq = datagram ? flight + 1 : p->seq, .proof = proof };

	bpf_map_update_elem(&fc_held_flows, &k, &f, BPF_ANY);
	count(FC_STAT_HELD);
	if (!datagram || !again)
		count_site(site, false);
	return FC_HOLD_DONE;
}

#endif
