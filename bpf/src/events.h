/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_EVENTS_H
#define FCNODE_EVENTS_H

#include "maps.h"

static __always_inline void fill_event(struct fc_event *e, __u32 kind, __u32 id, const struct fc_replica *r, __u64 now)
{
	e->ns = now;
	e->kind = kind;
	e->site = r->site;
	e->replica = id;
	e->ready4 = r->ready4;
	e->ready6 = r->ready6;
	e->pad = 0;
}

static __always_inline void emit(__u32 kind, __u32 id, const struct fc_replica *r, __u64 now)
{
	struct fc_event *e = bpf_ringbuf_reserve(&fc_event_ring, sizeof(*e), 0);

	if (!e) {
		count(FC_STAT_EVENT_LOST);
		return;
	}
	fill_event(e, kind, id, r, now);
	bpf_ringbuf_submit(e, 0);
}

/* Who listens has changed. One event a replica is on its way at a time, whatever it
 * does with its sockets: the daemon takes the mark off, and then looks who listens. */
static __always_inline void tell_ports(__u32 id, struct fc_replica *r)
{
	__u64 now = bpf_ktime_get_ns();
	struct fc_event *e;

	if (__sync_fetch_and_or(&r->flags, FC_REPLICA_TOLD) & FC_REPLICA_TOLD)
		return;
	e = bpf_ringbuf_reserve(&fc_event_ring, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_TOLD);
		count(FC_STAT_EVENT_LOST);
		return;
	}
	fill_event(e, FC_EVENT_READY, id, r, now);
	bpf_ringbuf_submit(e, 0);
}

/* Takes a mark off a replica and tells user space, whoever is first, once.
 * The room is taken before the mark: with the ring full the mark stays, and the
 * next occasion tells. Returns 1 if this was the first. */
__noinline int fc_emit_marked(struct fc_replica *r, __u32 id, __u32 kind, __u32 mark)
{
	struct fc_event *e;

	if (!r)
		return 0;
	e = bpf_ringbuf_reserve(&fc_event_ring, sizeof(*e), 0);
	if (!e) {
		count(FC_STAT_EVENT_LOST);
		return 0;
	}
	if (!(__sync_fetch_and_and(&r->flags, ~mark) & mark)) {
		bpf_ringbuf_discard(e, 0);
		return 0;
	}
	fill_event(e, kind, id, r, bpf_ktime_get_ns());
	bpf_ringbuf_submit(e, 0);
	return 1;
}

/* The first connection and answer after this are told again. */
static __always_inline void begin_wake(struct fc_replica *r)
{
	__sync_lock_test_and_set(&r->established_ns, 0);
	__sync_lock_test_and_set(&r->first_byte_ns, 0);
}

/* Somebody is at a replica that is marked asleep. */
static __always_inline void emit_knock(struct fc_replica *r, __u32 id)
{
	if (fc_emit_marked(r, id, FC_EVENT_KNOCK, FC_REPLICA_ASLEEP)) {
		__sync_fetch_and_or(&r->flags, FC_REPLICA_KNOCKED);
		begin_wake(r);
	}
}

#endif
