/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Conditions that the daemon wants to be told of at once. Each has an edge: it
 * is told when it begins, and again only after it was over in between. */
#ifndef FCNODE_TRIGGER_H
#define FCNODE_TRIGGER_H

#include "maps.h"

/* A condition is over below 3/4 of its threshold, and without one. */
static __always_inline bool is_over(__u64 value, __u64 threshold)
{
	return !threshold || value < threshold - threshold / 4;
}

static __always_inline bool emit_trigger(__u32 kind, __u32 site, __u32 replica, __u64 value, __u64 threshold, __u64 now)
{
	struct fc_trigger_event *e = bpf_ringbuf_reserve(&fc_trigger_ring, sizeof(*e), 0);

	if (!e) {
		count(FC_STAT_EVENT_LOST);
		return false;
	}
	e->ns = now;
	e->site = site;
	e->replica = replica;
	e->kind = kind;
	e->pad = 0;
	e->value = value;
	e->threshold = threshold;
	bpf_ringbuf_submit(e, 0);
	return true;
}

/* One value against one threshold. `marks` has a bit for each condition that
 * lasts; one that could not be told for lack of room is tried again. */
static __always_inline void edge(__u32 *marks, __u32 mark, __u32 kind, __u32 site, __u32 replica, __u64 value,
				 __u64 threshold)
{
	if (!threshold || value < threshold) {
		if ((*(volatile __u32 *)marks & mark) && is_over(value, threshold))
			__sync_fetch_and_and(marks, ~mark);
		return;
	}
	if ((*(volatile __u32 *)marks & mark) || (__sync_fetch_and_or(marks, mark) & mark))
		return;
	if (!emit_trigger(kind, site, replica, value, threshold, bpf_ktime_get_ns()))
		__sync_fetch_and_and(marks, ~mark);
}

/* A change point in the rate of new connections: a CUSUM per ratio, kept as
 * the moment at which its statistic would be zero, so that one word is the whole
 * state and passing time needs no step. See package detect, CusumParams, whose
 * CusumState.Arrival is the same bit for bit. Returns the ratios (bits) of
 * which the alarm begins. */
__noinline int fc_surge(struct fc_trigger *t, __u64 now)
{
	__u32 began = 0;

	if (!t)
		return 0;
	for (int i = 0; i < FC_RATIOS; i++) {
		__u64 limit = t->p.limit[i], ahead = 0;
		__u32 bit = 1U << i;

		if (!limit)
			continue;
		for (int try = 0; try < 4; try++) {
			__u64 old = *(volatile __u64 *)&t->due[i];
			__u64 due = old + t->p.step[i];

			if (due < now)
				due = now;
			ahead = due - now;
			if (ahead >= limit)
				due = now + limit;
			if (__sync_val_compare_and_swap(&t->due[i], old, due) == old)
				break;
		}
		if (ahead < t->p.rearm[i])
			__sync_fetch_and_and(&t->alarmed, ~bit);
		else if (ahead >= limit && !(__sync_fetch_and_or(&t->alarmed, bit) & bit))
			began |= bit;
	}
	return began;
}

/* A connection was accepted. */
static __always_inline void conn_arrival(__u32 site, __u32 id, struct fc_replica *r, __u64 conns, __u64 now)
{
	struct fc_trigger *t = bpf_map_lookup_elem(&fc_triggers, &site);
	__u32 began;

	if (!t)
		return;
	edge(&r->flags, FC_REPLICA_BUSY, FC_TRIGGER_CONNS, site, id, conns, t->p.conns);
	began = fc_surge(t, now);
	if (began && !emit_trigger(FC_TRIGGER_SURGE, site, id, began, t->alarmed, now))
		__sync_fetch_and_and(&t->alarmed, ~began);
}

/* One has ended: only the end of the condition can be seen here. */
static __always_inline void conn_departure(__u32 site, __u32 id, struct fc_replica *r, __u64 conns)
{
	struct fc_trigger *t;

	if (!(*(volatile __u32 *)&r->flags & FC_REPLICA_BUSY))
		return;
	t = bpf_map_lookup_elem(&fc_triggers, &site);
	if (!t || is_over(conns, t->p.conns))
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_BUSY);
}

/* A SYN or the end of a handshake is about to reach a listener. */
static __always_inline void queue_arrival(struct bpf_sock *sk)
{
	struct fc_listening *l = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, 0);
	struct fc_trigger *t;
	struct fc_replica *r;
	struct sock *full;
	__u32 depth;

	if (!l)
		return;
	t = bpf_map_lookup_elem(&fc_triggers, &l->site);
	if (!t)
		return;
	r = bpf_map_lookup_elem(&fc_replicas, &l->replica);
	full = (void *)bpf_skc_to_tcp_sock(sk);
	if (!r || !full)
		return;
	depth = full->sk_ack_backlog;
	edge(&r->flags, FC_REPLICA_QUEUED, FC_TRIGGER_QUEUE, l->site, l->replica, depth, t->p.queue);
}

/* The site's latency, smoothed: each answer counts an eighth. A second CPU that
 * was quicker keeps its value. */
static __always_inline void latency_arrival(__u32 site, __u32 replica, __u64 ns)
{
	struct fc_trigger *t = bpf_map_lookup_elem(&fc_triggers, &site);
	__u64 old, smooth;

	if (!t)
		return;
	old = *(volatile __u64 *)&t->latency;
	smooth = old ? old - old / 8 + ns / 8 : ns;
	__sync_val_compare_and_swap(&t->latency, old, smooth);
	edge(&t->marks, FC_MARK_SLOW, FC_TRIGGER_LATENCY, site, replica, smooth, t->p.latency);
}

/* Run by the daemon (BPF_PROG_RUN): new parameters for a site that has a
 * trigger. A statistic that an arrival has moved meanwhile stays as it is. */
SEC("syscall")
int fc_set_trigger(struct fc_trigger_args *a)
{
	__u32 site = a->site;
	struct fc_trigger *t = bpf_map_lookup_elem(&fc_triggers, &site);

	if (!t)
		return ENOENT;
	t->p = a->p;
	for (int i = 0; i < FC_RATIOS; i++)
		__sync_val_compare_and_swap(&t->due[i], a->due_was[i], a->due[i]);
	return 0;
}

#endif
