/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The accept queues, read when the daemon asks (BPF_PROG_RUN): fc_sockops notes
 * the ports that a replica listens on, and this program asks each one's
 * listeners. An iterator over the listeners' storage would be shorter, but
 * hardened kernels refuse iterators that may write to maps. */
#ifndef FCNODE_QUEUES_H
#define FCNODE_QUEUES_H

#include "choose.h"
#include "maps.h"

#define FC_MAX_REUSEPORT 256 /* listeners on one port that are added up */

/* Those that share a port by SO_REUSEPORT. */
struct sock_reuseport {
	__u16 num_socks;
	struct sock *socks[0];
} __attribute__((preserve_access_index));

struct bpf_map;

struct queue_reader {
	struct __sk_buff *skb;
	struct fc_queue sum;
	__u64 seen;   /* what the IPv4 address has led to: one socket or group, which may be IPv6's too */
	__u64 socks;  /* address of a group's array */
};

static long read_member(__u32 i, struct queue_reader *q)
{
	struct sock *sk = NULL;

	bpf_probe_read_kernel(&sk, sizeof(sk), (void *)(q->socks + i * sizeof(sk)));
	if (!sk)
		return 1;
	q->sum.depth += BPF_CORE_READ(sk, sk_ack_backlog);
	q->sum.max += BPF_CORE_READ(sk, sk_max_ack_backlog);
	return 0;
}

static __always_inline void read_listener(struct queue_reader *q, struct bpf_sock *sk)
{
	struct sock *full = (void *)bpf_skc_to_tcp_sock(sk);
	struct sock_reuseport *group;
	__u64 who;

	if (!full || full->__sk_common.skc_state != BPF_TCP_LISTEN)
		return;
	group = BPF_CORE_READ(full, sk_reuseport_cb);
	who = group ? (__u64)group : (__u64)full;
	if (who == q->seen)
		return;
	q->seen = who;
	if (!group) {
		q->sum.depth += full->sk_ack_backlog;
		q->sum.max += full->sk_max_ack_backlog;
		return;
	}
	q->socks = (__u64)group + bpf_core_field_offset(struct sock_reuseport, socks);
	who = BPF_CORE_READ(group, num_socks);
	bpf_loop(who > FC_MAX_REUSEPORT ? FC_MAX_REUSEPORT : who, read_member, q, 0);
}

static long read_queue(struct bpf_map *map, struct fc_queue_key *key, struct fc_queue *queue, struct queue_reader *q)
{
	struct fc_replica *r = by_id(key->replica).r;
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;

	q->sum.depth = q->sum.max = 0;
	q->seen = 0;
	if (r && r->nsid >= 0) {
		t.ipv4.daddr = r->vip4.w[3];
		t.ipv4.dport = key->port;
		sk = bpf_skc_lookup_tcp(q->skb, &t, sizeof(t.ipv4), r->nsid, 0);
		if (sk) {
			read_listener(q, sk);
			bpf_sk_release(sk);
		}
		__builtin_memset(&t, 0, sizeof(t));
		__builtin_memcpy(t.ipv6.daddr, &r->vip6, sizeof(r->vip6));
		t.ipv6.dport = key->port;
		sk = bpf_skc_lookup_tcp(q->skb, &t, sizeof(t.ipv6), r->nsid, 0);
		if (sk) {
			read_listener(q, sk);
			bpf_sk_release(sk);
		}
	}
	*queue = q->sum;
	return 0;
}

SEC("tc")
int fc_read_queues(struct __sk_buff *skb)
{
	struct queue_reader q = { .skb = skb };

	bpf_for_each_map_elem(&fc_queues, read_queue, &q, 0);
	return 0;
}

#endif
