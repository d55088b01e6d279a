/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who really uses a replica: connections that have carried data, and clients
 * that are still there. A handshake costs a stranger nothing, and one that never
 * says a word must not keep a site awake. */
#ifndef FCNODE_USE_H
#define FCNODE_USE_H

#include "budget.h"
#include "maps.h"

#define SOL_SOCKET 1
#define SO_KEEPALIVE 9
#define SOL_TCP 6
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6

#define FC_KEEPALIVE_PROBES 5

/* fc_conn.use */
#define FC_USE_NONE 0
#define FC_USE_DATA 1
#define FC_USE_ENDED 2

/* A connection has carried data, in either direction: from the first time on it
 * counts as use. Its end may be at the same moment, on another CPU, and whoever
 * is second sees it. */
static __always_inline void used(struct fc_conn *c)
{
	__u32 id = c->replica;
	struct fc_replica *r;

	if (*(volatile __u32 *)&c->use != FC_USE_NONE)
		return;
	r = bpf_map_lookup_elem(&fc_replicas, &id);
	if (!r || __sync_val_compare_and_swap(&c->use, FC_USE_NONE, FC_USE_DATA) != FC_USE_NONE)
		return;
	__sync_fetch_and_add(&r->conns_used, 1);
	wake_used(c->site);
	r->used_ns = bpf_ktime_get_ns();
}

static __always_inline void used_no_more(struct fc_conn *c, struct fc_replica *r, __u64 now)
{
	if (__sync_lock_test_and_set(&c->use, FC_USE_ENDED) != FC_USE_DATA)
		return;
	r->used_ns = now;
	__sync_fetch_and_add(&r->conns_used, -1);
}

/* Payload that comes with the end of the handshake passes no other program. */
static __always_inline bool has_payload(struct bpf_sock_ops *ops)
{
	struct tcphdr *t = ops->skb_data;
	void *end = ops->skb_data_end;

	return t && (void *)(t + 1) <= end && ops->skb_len > t->doff * 4U;
}

/* A client that has gone without a word is found out within the replica's time.
 * What the application itself has asked for stays, if that is no later. */
static __always_inline void keep_alive(struct bpf_sock_ops *ops, const struct fc_replica *r)
{
	int on = 0, idle = 0, probes = FC_KEEPALIVE_PROBES, pause;

	if (!r->keepalive)
		return;
	bpf_getsockopt(ops, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	bpf_getsockopt(ops, SOL_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	if (on && idle && (__u32)idle <= r->keepalive / 2)
		return;
	on = 1;
	idle = r->keepalive / 2 ?: 1;
	pause = r->keepalive / (2 * FC_KEEPALIVE_PROBES) ?: 1;
	if (bpf_setsockopt(ops, SOL_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) ||
	    bpf_setsockopt(ops, SOL_TCP, TCP_KEEPINTVL, &pause, sizeof(pause)) ||
	    bpf_setsockopt(ops, SOL_TCP, TCP_KEEPCNT, &probes, sizeof(probes)) ||
	    bpf_setsockopt(ops, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)))
		count(FC_STAT_KEEPALIVE);
}

#endif
