/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A wake costs the node seconds of work and its visitor one packet, which may
 * have a forged source. Token buckets bound how many wakes one source (a /24, or a /64)
 * begins, and how often a site is woken that nobody uses then.
 *
 * What is not known has a full bucket: whoever floods the tables pushes out who has
 * spent his tokens, and has nobody refused. */
#ifndef FCNODE_BUDGET_H
#define FCNODE_BUDGET_H

#include "maps.h"
#include "parse.h"

#define FC_TELL_AGAIN_NS (600ULL * 1000 * 1000 * 1000)

static __always_inline bool in_prefixes(const struct fc_addr *a)
{
	struct fc_prefix_key k = { .prefixlen = 128, .addr = *a };

	return bpf_map_lookup_elem(&fc_prefixes, &k);
}

/* The generic cell rate algorithm: all of a bucket's state is the moment at which
 * it is full again. */
static __always_inline bool take_token(struct fc_bucket *b, __u64 now, const struct fc_rate *r)
{
	__u64 empty = r->every * r->burst;

	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)&b->full;
		__u64 full = (old > now ? old : now) + r->every;

		if (old > now + empty) /* of another rate, before */
			__sync_val_compare_and_swap(&b->full, old, now + empty);
		if (full - now > empty)
			return false;
		if (__sync_val_compare_and_swap(&b->full, old, full) == old)
			return true;
	}
	return true; /* others take at the same moment: there are tokens */
}

/* Tells that a bucket is empty: once, and again when that has lasted. */
static __always_inline void tell_empty(struct fc_bucket *b, __u64 now, const struct fc_addr *source, __u32 site, bool proof)
{
	__u64 told = *(volatile __u64 *)&b->told;
	struct fc_limited *e;

	if (told && now - told < FC_TELL_AGAIN_NS)
		return;
	if (__sync_val_compare_and_swap(&b->told, told, now) != told)
		return;
	e = bpf_ringbuf_reserve(&fc_limited_ring, sizeof(*e), 0);
	if (!e) {
		count(FC_STAT_EVENT_LOST);
		return;
	}
	e->ns = now;
	e->source = *source;
	e->site = site;
	e->proof = proof;
	bpf_ringbuf_submit(e, 0);
}

/* All whom one network can pretend to be. Sites stand beside each other in one
 * network, and are told apart. */
static __always_inline struct fc_addr source_of(const struct packet *p)
{
	struct fc_addr a = p->src;

	if (in_prefixes(&a))
		return a;
	if (addr_is_v4(&a))
		a.w[3] &= bpf_htonl(0xffffff00);
	else
		a.w[2] = a.w[3] = 0;
	return a;
}

static __always_inline bool source_may_wake(const struct packet *p, const struct fc_rate *r, __u64 now)
{
	struct fc_addr k = source_of(p);
	struct fc_bucket zero = {}, *b;

	b = bpf_map_lookup_elem(&fc_wake_source, &k);
	if (!b) {
		bpf_map_update_elem(&fc_wake_source, &k, &zero, BPF_NOEXIST);
		b = bpf_map_lookup_elem(&fc_wake_source, &k);
	}
	if (!b || take_token(b, now, r))
		return true;
	tell_empty(b, now, &k, 0, false);
	count(FC_STAT_WAKE_SOURCE);
	return false;
}

static __always_inline bool site_may_wake(const struct packet *p, __u32 site, const struct fc_rate *r, __u64 now)
{
	struct fc_bucket zero = {}, *b;

	b = bpf_map_lookup_elem(&fc_wake_site, &site);
	if (!b) {
		bpf_map_update_elem(&fc_wake_site, &site, &zero, BPF_NOEXIST);
		b = bpf_map_lookup_elem(&fc_wake_site, &site);
	}
	if (!b || take_token(b, now, r))
		return true;
	tell_empty(b, now, &p->src, site, false);
	count(FC_STAT_WAKE_SITE);
	return false;
}

/* Whether the first packet of a flow may wake its site; else it is dropped: who is
 * real sends it again. One whose site is being woken already costs nothing, nor do
 * those of this machine's own, such as a gateway's. The source comes first, so that it
 * cannot spend the tokens of a site with those that it has not. */
__noinline int fc_may_wake(struct __sk_buff *skb, struct packet *p, __u32 site, bool asleep)
{
	struct fc_settings *cfg = config();
	__u64 now;

	if (!cfg || !p || !skb->ingress_ifindex)
		return 1;
	if (bpf_map_lookup_elem(&fc_hold_counts, &site))
		return 1;
	if (!asleep && bpf_map_lookup_elem(&fc_sites, &site))
		return 1;
	now = bpf_ktime_get_ns();
	if (cfg->wake_source.burst && !source_may_wake(p, &cfg->wake_source, now))
		return 0;
	return !cfg->wake_site.burst || site_may_wake(p, site, &cfg->wake_site, now);
}

/* A wake has been of use to somebody: those were no wakes for nothing. */
static __always_inline void wake_used(__u32 site)
{
	if (bpf_map_lookup_elem(&fc_wake_site, &site))
		bpf_map_delete_elem(&fc_wake_site, &site);
}

#endif
