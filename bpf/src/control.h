/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the daemon changes in a replica that the programs are counting for. A
 * whole-value update from user space would write stale counters back; this
 * program is run by the daemon (BPF_PROG_RUN) and changes single fields, by
 * atomic operations, as the other programs do. */
#ifndef FCNODE_CONTROL_H
#define FCNODE_CONTROL_H

#include "datagrams.h"
#include "events.h"

SEC("syscall")
int fc_control(struct fc_control_args *ctl)
{
	__u32 id = ctl->replica;
	struct fc_replica *r = bpf_map_lookup_elem(&fc_replicas, &id);

	if (!r)
		return ENOENT;
	switch (ctl->op) {
	case FC_CONTROL_ASLEEP:
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_KNOCKED);
		__sync_fetch_and_or(&r->flags, FC_REPLICA_ASLEEP);
		return 0;
	case FC_CONTROL_AWAKE:
		__sync_fetch_and_and(&r->flags, ~(FC_REPLICA_ASLEEP | FC_REPLICA_KNOCKED));
		return 0;
	case FC_CONTROL_WATCH:
		/* the mark first: whoever takes it off tells, a connection's end or
		 * this call's result, and not both */
		__sync_fetch_and_or(&r->flags, FC_REPLICA_WATCHED);
		ctl->conns = *(volatile __u64 *)&r->conns_now;
		if (!ctl->conns && !(__sync_fetch_and_and(&r->flags, ~FC_REPLICA_WATCHED) & FC_REPLICA_WATCHED))
			ctl->conns = 1; /* it ended just now, and its end has told */
		return 0;
	case FC_CONTROL_UNWATCH:
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_WATCHED);
		return 0;
	case FC_CONTROL_BEGIN_WAKE:
		begin_wake(r);
		return 0;
	case FC_CONTROL_TAKE_PORTS:
		/* the mark first: whoever listens after this tells anew */
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_TOLD);
		ctl->ready4 = *(volatile __u32 *)&r->ready4;
		ctl->ready6 = *(volatile __u32 *)&r->ready6;
		return 0;
	case FC_CONTROL_OPEN:
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_CLOSED);
		return 0;
	case FC_CONTROL_FLOWS:
		return count_flows(ctl, r);
	}
	return EINVAL;
}

#endif
