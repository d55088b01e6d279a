/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sources that the operator (or fail2ban, or CrowdSec) has denied: dropped in
 * front of everything else, at the uplinks whatever they ask for, and at fc0
 * for those who come by another way. */
#ifndef FCNODE_DENY_H
#define FCNODE_DENY_H

#include "maps.h"
#include "parse.h"

/* Returns 1 for a packet of a denied source. An entry ends by itself, also
 * while no daemon runs: the daemon only clears it away. It gives each entry the
 * latest end of the prefixes that cover it, as the longest match is all that a
 * trie tells. */
__noinline int fc_is_denied(struct packet *p)
{
	struct fc_denied *d;

	if (!p)
		return 0;
	if (addr_is_v4(&p->src)) {
		struct fc_deny_key4 k = { .prefixlen = 32, .addr = p->src.w[3] };

		d = bpf_map_lookup_elem(&fc_deny4, &k);
	} else {
		struct fc_deny_key6 k = { .prefixlen = 128, .addr = p->src };

		d = bpf_map_lookup_elem(&fc_deny6, &k);
	}
	if (!d || (d->until && d->until <= bpf_ktime_get_ns()))
		return 0;
	count(FC_STAT_DENIED);
	return 1;
}

#endif
