/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the replicas' own sockets tell: readiness and connections. Attached
 * once, at the cgroup above all replicas. */
#ifndef FCNODE_SOCKETS_H
#define FCNODE_SOCKETS_H

#include "maps.h"
#include "reply.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2


struct sock_common {
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

static __always_inline struct choice replica_of(void *ctx)
{
	struct choice c = {};
	__u64 cookie = bpf_get_netns_cookie(ctx);
	__u32 *id = bpf_map_lookup_elem(&fc_netns, &cookie);

	if (!id)
		return c;
	c.id = *id;
	c.r = bpf_map_lookup_elem(&fc_replicas, &c.id);
	return c;
}

/* The bit of (vip, port) if it is one of this replica's site, else 0. */
static __always_inline __u32 port_mask(const struct fc_replica *r, const struct fc_addr *vip, __be16 port, __u8 proto)
{
	struct fc_listener_key k = { .addr = *vip, .port = port, .proto = proto };
	struct fc_listener *l = bpf_map_lookup_elem(&fc_listeners, &k);

	if (!l || l->site != r->site)
		return 0;
	return 1U << (l->port_bit & 31);
}

/* Somebody listens (TCP) or is bound (UDP) on addr:port. Flips the map, so
 * that the next packet finds the replica, and only then tells user space. */
static __always_inline void listening(struct choice c, const struct fc_addr *addr, bool only6, __be16 port, __u8 proto)
{
	bool any = addr_is_any(addr);
	bool v4 = addr_equal(addr, &c.r->vip4) || (any && !only6);
	bool v6 = addr_equal(addr, &c.r->vip6) || (any && !addr_is_v4(addr));
	__u32 m4 = v4 ? port_mask(c.r, &c.r->vip4, port, proto) : 0;
	__u32 m6 = v6 ? port_mask(c.r, &c.r->vip6, port, proto) : 0;

	/* a listener on 127.0.0.1 is no use to visitors: no bit */
	if ((m4 & ~c.r->ready4) == 0 && (m6 & ~c.r->ready6) == 0)
		return;
	if (m4)
		__sync_fetch_and_or(&c.r->ready4, m4);
	if (m6)
		__sync_fetch_and_or(&c.r->ready6, m6);
	emit(FC_EVENT_READY, c.id, c.r, bpf_ktime_get_ns());
}

static __always_inline bool local_addr(struct bpf_sock_ops *ops, struct fc_addr *a)
{
	__be32 v4 = ops->local_ip4;

	/* or clang merges this load with those below into one at a computed
	 * context offset, which the verifier refuses */
	barrier_var(v4);
	if (ops->family == AF_INET) {
		*a = addr_v4(v4);
		return true;
	}
	if (ops->family != AF_INET6)
		return false;
	a->w[0] = ops->local_ip6[0];
	a->w[1] = ops->local_ip6[1];
	a->w[2] = ops->local_ip6[2];
	a->w[3] = ops->local_ip6[3];
	return true;
}

static __always_inline bool socket_only6(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct tcp6_sock *t;

	if (ops->family != AF_INET6 || !sk)
		return false;
	t = (void *)bpf_skc_to_tcp6_sock(sk);
	if (!t)
		return false;
	return BPF_CORE_READ_BITFIELD_PROBED(&((struct sock *)t)->__sk_common, skc_ipv6only);
}

static __always_inline void established(struct bpf_sock_ops *ops, struct choice c)
{
	struct fc_addr local;
	__u64 now = bpf_ktime_get_ns();

	if (!local_addr(ops, &local))
		return;
	if (!addr_equal(&local, &c.r->vip4) && !addr_equal(&local, &c.r->vip6))
		return; /* the container talks to itself */
	/* only with the callback for its end is a connection counted at all */
	if (bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG) < 0)
		return;
	__sync_fetch_and_add(&c.r->conns_now, 1);
	__sync_fetch_and_add(&c.r->conns_total, 1);
	c.r->last_ns = now;
	if (!c.r->established_ns && __sync_val_compare_and_swap(&c.r->established_ns, 0, now) == 0)
		emit(FC_EVENT_ESTABLISHED, c.id, c.r, now);
}

SEC("sockops")
int fc_sockops(struct bpf_sock_ops *ops)
{
	struct fc_addr local;
	struct choice c;
	int op = ops->op;

	if (op != BPF_SOCK_OPS_TCP_LISTEN_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB &&
	    op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	c = replica_of(ops);
	if (!c.r)
		return 1;
	if (op == BPF_SOCK_OPS_TCP_LISTEN_CB) {
		if (local_addr(ops, &local))
			listening(c, &local, socket_only6(ops), bpf_htons(ops->local_port), IPPROTO_TCP);
	} else if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		established(ops, c);
	} else if (ops->args[1] == BPF_TCP_CLOSE) {
		__sync_fetch_and_sub(&c.r->conns_now, 1);
		c.r->last_ns = bpf_ktime_get_ns();
	}
	return 1;
}

/* UDP has no listen(): ready is who is bound. */
SEC("cgroup/post_bind4")
int fc_bind4(struct bpf_sock *sk)
{
	struct choice c;
	struct fc_addr a;

	if (sk->type != SOCK_DGRAM || sk->protocol != IPPROTO_UDP)
		return 1;
	c = replica_of(sk);
	a = addr_v4(sk->src_ip4);
	if (c.r)
		listening(c, &a, false, bpf_htons(sk->src_port), IPPROTO_UDP);
	return 1;
}

SEC("cgroup/post_bind6")
int fc_bind6(struct bpf_sock *sk)
{
	struct choice c;
	struct fc_addr a;

	if (sk->type != SOCK_DGRAM || sk->protocol != IPPROTO_UDP)
		return 1;
	c = replica_of(sk);
	a.w[0] = sk->src_ip6[0];
	a.w[1] = sk->src_ip6[1];
	a.w[2] = sk->src_ip6[2];
	a.w[3] = sk->src_ip6[3];
	/* whether it is v6-only cannot be read here: a v4 packet to such a
	 * socket is answered with port unreachable by the replica's kernel */
	if (c.r)
		listening(c, &a, false, bpf_htons(sk->src_port), IPPROTO_UDP);
	return 1;
}

#endif
