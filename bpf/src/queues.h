/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The accept queues, read when the daemon asks: an iterator over the sockets
 * that have an entry in fc_listen_socks, which are the listeners of replicas. */
#ifndef FCNODE_QUEUES_H
#define FCNODE_QUEUES_H

#include "maps.h"

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct sock *sk;
	void *value;
} __attribute__((preserve_access_index));

SEC("iter/bpf_sk_storage_map")
int fc_queues(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct fc_listening *l = ctx->value;
	struct sock *sk = ctx->sk;
	struct fc_queue q = {};

	if (!sk || !l || sk->__sk_common.skc_state != BPF_TCP_LISTEN)
		return 0;
	q.replica = l->replica;
	q.depth = sk->sk_ack_backlog;
	q.max = sk->sk_max_ack_backlog;
	bpf_seq_write(ctx->meta->seq, &q, sizeof(q));
	return 0;
}

#endif
