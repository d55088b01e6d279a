/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sources that are no visitors (monitors, bots): their packets neither wake a site
 * nor count. An awake site serves them; for one that sleeps the sink refuses them,
 * or a listener of the daemon in the sink's namespace answers (fc_answer). */
#ifndef FCNODE_IGNORE_H
#define FCNODE_IGNORE_H

#include "choose.h"

/* Whether a source is on the site's list, or on the node's. */
__noinline int fc_ignores(__u32 site, struct fc_addr *src)
{
	struct fc_ignore_key k = { .prefixlen = FC_IGNORE_FIXED + 128, .owner = site };

	if (!src)
		return 0;
	k.addr = *src;
	if (bpf_map_lookup_elem(&fc_ignore, &k))
		return 1;
	k.owner = FC_OWNER_NODE;
	return bpf_map_lookup_elem(&fc_ignore, &k) != NULL;
}

/* The first packet of a flow, or one that may be: notes whether it is a visit. */
__noinline int fc_look_at_source(struct packet *p, __u32 site)
{
	if (!p)
		return 0;
	p->ignored = fc_ignores(site, &p->src);
	return p->ignored;
}

static __always_inline void count_ignored(__u32 site, bool asleep)
{
	struct fc_ignored_packets *n = bpf_map_lookup_elem(&fc_ignored, &site);

	if (!n) {
		struct fc_ignored_packets zero = {};

		bpf_map_update_elem(&fc_ignored, &site, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&fc_ignored, &site);
		if (!n) {
			count(FC_STAT_MAP_FULL);
			return;
		}
	}
	__sync_fetch_and_add(asleep ? &n->asleep : &n->awake, 1);
}

static __always_inline bool is_asleep(const struct fc_replica *r)
{
	return *(volatile const __u32 *)&r->flags & FC_REPLICA_ASLEEP;
}

/* The packet goes to the sink. What follows it must go there too, and not to a
 * replica that had a connection from the same port before. */
static __always_inline void turned_away(struct fc_flow *f, __u32 site)
{
	if (f)
		f->replica = 0;
	count_ignored(site, true);
}

/* In the sink's namespace, for what no socket there is connected to. Without a
 * listener, as while no daemon runs, the kernel refuses. */
SEC("sk_lookup")
int fc_answer(struct bpf_sk_lookup *ctx)
{
	struct fc_listener_key lk = { .port = bpf_htons(ctx->local_port), .proto = IPPROTO_TCP };
	bool v4 = ctx->family == 2; /* AF_INET */
	__u32 family = v4 ? 0 : 1, node = FC_OWNER_NODE;
	struct fc_listener *l;
	struct fc_addr client;
	struct fc_site *s;
	struct bpf_sock *sk;
	__be32 local4 = ctx->local_ip4, remote4 = ctx->remote_ip4;
	__u32 *how;

	/* or clang merges these loads with those of IPv6 into one at a computed
	 * context offset, which the verifier refuses */
	barrier_var(local4);
	barrier_var(remote4);
	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (v4) {
		lk.addr = addr_v4(local4);
		client = addr_v4(remote4);
	} else {
		lk.addr.w[0] = ctx->local_ip6[0];
		lk.addr.w[1] = ctx->local_ip6[1];
		lk.addr.w[2] = ctx->local_ip6[2];
		lk.addr.w[3] = ctx->local_ip6[3];
		client.w[0] = ctx->remote_ip6[0];
		client.w[1] = ctx->remote_ip6[1];
		client.w[2] = ctx->remote_ip6[2];
		client.w[3] = ctx->remote_ip6[3];
	}
	l = bpf_map_lookup_elem(&fc_listeners, &lk);
	if (!l)
		return SK_PASS;
	s = bpf_map_lookup_elem(&fc_sites, &l->site);
	if (s && (s->flags & FC_SITE_REFUSE))
		return SK_PASS;
	how = bpf_map_lookup_elem(&fc_ignore_how, &l->site) ?: bpf_map_lookup_elem(&fc_ignore_how, &node);
	if (!how || *how != FC_IGNORED_ANSWERED || !fc_ignores(l->site, &client))
		return SK_PASS;
	sk = bpf_map_lookup_elem(&fc_answerers, &family);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return SK_PASS;
}

#endif
