/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_ADDR_H
#define FCNODE_ADDR_H

#include "types.h"

static __always_inline struct fc_addr addr_v4(__be32 a)
{
	struct fc_addr r = { .w = { 0, 0, bpf_htonl(0xffff), a } };

	return r;
}

static __always_inline bool addr_equal(const struct fc_addr *a, const struct fc_addr *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

static __always_inline bool addr_is_v4(const struct fc_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == bpf_htonl(0xffff);
}

static __always_inline bool addr_is_any(const struct fc_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[3] == 0 &&
	       (a->w[2] == 0 || a->w[2] == bpf_htonl(0xffff));
}

#endif
