/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A daemon that is silent wakes nobody: who asks for a site that sleeps is
 * refused at once, by the sink, and not left to send again for minutes. */
#ifndef FCNODE_PULSE_H
#define FCNODE_PULSE_H

#include "maps.h"

/* Returns 1 if nobody would see this packet, which would have a site woken. */
__noinline int fc_unattended(__u64 now)
{
	__u32 zero = 0;
	struct fc_pulse *p = bpf_map_lookup_elem(&fc_last_pulse, &zero);
	__u64 last, limit;

	if (!p)
		return 0;
	limit = *(volatile __u64 *)&p->limit;
	last = *(volatile __u64 *)&p->ns;
	/* signed: it may have been well since `now` was read */
	if (!limit || (__s64)(now - last) <= (__s64)limit)
		return 0;
	count(FC_STAT_UNATTENDED);
	return 1;
}

#endif
