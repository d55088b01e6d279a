/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How long a visitor's flow of UDP lives. It has no end of its own, so silence in both
 * directions ends it: FC_FLOW_BRIEF after a question or two, the replica's udp_idle
 * once it lasts, which is when datagrams still pass some time after its first answer.
 * Linux' connection tracking draws the same line: a lookup of A and AAAA is two
 * questions with two answers, and nobody waits for a third.
 *
 * All of it is in the flow's cell, so that nothing has to be counted down: who wants to
 * know looks at the cells of the replica's addresses. */
#ifndef FCNODE_DATAGRAMS_H
#define FCNODE_DATAGRAMS_H

#include "flow.h"

/* In cell time, about seconds. */
#define FC_FLOW_BRIEF 30
#define FC_FLOW_LASTS_AFTER 2
#define FC_FLOW_ASKED 10 /* a draining replica is kept so long for a flow that does not last */

/* fc_flow.syn: the cell time of the first answer, and one of these. */
#define FC_FLOW_LASTS (1U << 31)
#define FC_FLOW_IGNORED (1U << 30) /* its client is no visitor */

/* Rounded up: a cell may have been of use at the end of its time. */
static __always_inline __u32 cell_times(__u32 seconds)
{
	return seconds ? (__u32)(seconds * 1000000000ULL >> 30) + 2 : 0;
}

/* For how much longer a flow lives if nothing comes, in cell time; 0: it is over. */
static __always_inline __u32 flow_left(const struct fc_cell *c, const struct fc_replica *r, __u32 brief, __u32 now)
{
	__u32 age = cell_age(c, now), most = cell_times(r->udp_idle);

	if (!(c->flow.syn & FC_FLOW_LASTS) && most > brief)
		most = brief;
	return age < most ? most - age : 0;
}

static __always_inline void flow_goes_on(struct fc_cell *c, __u32 now)
{
	__u32 answered = c->flow.syn;

	if (answered && !(answered & (FC_FLOW_LASTS | FC_FLOW_IGNORED)) && (__s32)(now - answered) >= FC_FLOW_LASTS_AFTER)
		c->flow.syn = answered | FC_FLOW_LASTS;
}

/* A datagram passes in a flow. Returns 1 if that was over, and begins again by it. */
static __always_inline bool datagram_passes(struct fc_cell *c, const struct fc_replica *r, __u32 now)
{
	bool over = !r || (r->udp_idle && !flow_left(c, r, FC_FLOW_BRIEF, now));

	if (over)
		c->flow.syn = 0;
	else
		flow_goes_on(c, now);
	if (c->seen != now)
		c->seen = now;
	return over;
}

/* By its client. */
static __always_inline bool datagram_comes(struct fc_cell *c, const struct fc_replica *r)
{
	return datagram_passes(c, r, cell_time());
}

/* By its replica. */
static __always_inline void datagram_goes(struct fc_cell *c, const struct fc_replica *r)
{
	__u32 now = cell_time();

	datagram_passes(c, r, now);
	if (!c->flow.syn)
		c->flow.syn = now & (FC_FLOW_IGNORED - 1) ?: 1;
}

struct flows_of {
	struct fc_addr vip;
	struct fc_replica *r;
	__u32 id;
	__u32 now;
	__u32 flows, lasting, left;
};

static long count_cell(__u32 i, struct flows_of *q)
{
	struct fc_cell_key at = { .vip = q->vip, .n = i };
	struct fc_cell *c = bpf_map_lookup_elem(&fc_datagrams, &at);
	__u32 left;

	if (!c || c->flow.replica != q->id || c->proto != IPPROTO_UDP || (c->flow.syn & FC_FLOW_IGNORED))
		return 0;
	left = flow_left(c, q->r, FC_FLOW_ASKED, q->now);
	if (!left)
		return 0;
	q->flows++;
	if (c->flow.syn & FC_FLOW_LASTS)
		q->lasting++;
	if (left > q->left)
		q->left = left;
	return 0;
}

/* Which of a replica's flows of UDP live now. */
static __always_inline int count_flows(struct fc_control_args *ctl, struct fc_replica *r)
{
	struct fc_settings *cfg = config();
	/* cell_time, of a clock that programs of this type may read */
	struct flows_of q = { .r = r, .id = ctl->replica, .now = (__u32)(bpf_ktime_get_ns() >> 30) };

	if (!cfg)
		return EINVAL;
	if (r->udp_idle) {
		q.vip = r->vip4;
		if (!addr_is_any(&q.vip))
			bpf_loop(cfg->cell_mask + 1, count_cell, &q, 0);
		q.vip = r->vip6;
		if (!addr_is_any(&q.vip))
			bpf_loop(cfg->cell_mask + 1, count_cell, &q, 0);
	}
	ctl->flows = q.flows;
	ctl->lasting = q.lasting;
	ctl->left = q.left;
	return 0;
}

#endif
