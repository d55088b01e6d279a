/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the replicas' own sockets tell: readiness and connections. Attached
 * once, at the cgroup above all replicas. */
#ifndef FCNODE_SOCKETS_H
#define FCNODE_SOCKETS_H

#include "budget.h"
#include "choose.h"
#include "events.h"
#include "flow.h"
#include "ignore.h"
#include "maps.h"
#include "proof.h"
#include "trigger.h"
#include "turns.h"
#include "use.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2

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

/* Which port (bit, and FC_PORT_OF_RANGE) of a site (vip, port) is, or FC_NO_PORT. */
__noinline int fc_port_of(__u32 site, struct fc_addr *vip, __be16 port, __u8 proto)
{
	struct fc_listener_key k = { .port = port, .proto = proto };
	struct fc_listener *l;

	if (!vip)
		return FC_NO_PORT;
	k.addr = *vip;
	l = bpf_map_lookup_elem(&fc_listeners, &k);
	if (!l || l->site != site)
		return FC_NO_PORT;
	return l->port_bit & (FC_PORT_OF_RANGE | (FC_MAX_PORTS - 1));
}

static __always_inline __u32 bit_of(__u8 port)
{
	return port == FC_NO_PORT ? 0 : 1U << (port & (FC_MAX_PORTS - 1));
}

/* The ports that somebody opens who listens (TCP) or is bound (UDP) on
 * addr:port. A listener on 127.0.0.1 is no use to visitors: none. */
static __always_inline struct fc_listening ports_of(struct choice c, const struct fc_addr *addr, bool only6,
						    __be16 port, __u8 proto)
{
	struct fc_listening l = {
		.replica = c.id, .site = c.r->site, .port4 = FC_NO_PORT, .port6 = FC_NO_PORT, .port = port,
	};
	bool any = addr_is_any(addr);

	if (addr_equal(addr, &c.r->vip4) || (any && !only6))
		l.port4 = fc_port_of(l.site, &c.r->vip4, port, proto);
	if (addr_equal(addr, &c.r->vip6) || (any && !addr_is_v4(addr)))
		l.port6 = fc_port_of(l.site, &c.r->vip6, port, proto);
	return l;
}

static __always_inline bool of_range(__u8 port)
{
	return port != FC_NO_PORT && (port & FC_PORT_OF_RANGE);
}

/* One listener more (1), or less (-1), on a port of a range. */
__noinline int fc_count_open(struct fc_listening *l, __u32 proto, __u32 by)
{
	struct fc_openers zero = {}, *o;
	struct fc_open_key k;

	if (!l || (!of_range(l->port4) && !of_range(l->port6)))
		return 0;
	k = open_key(l->replica, l->port, proto);
	o = bpf_map_lookup_elem(&fc_open, &k);
	if (!o && by == 1) {
		bpf_map_update_elem(&fc_open, &k, &zero, BPF_NOEXIST);
		o = bpf_map_lookup_elem(&fc_open, &k);
	}
	if (!o) {
		count(FC_STAT_MAP_FULL);
		return 0;
	}
	by *= (of_range(l->port4) ? FC_OPENER4 : 0) + (of_range(l->port6) ? FC_OPENER6 : 0);
	__sync_fetch_and_add(openers_of(o, l->port), by);
	return 0;
}

/* Flips the map, so that the next packet finds the replica, and only then
 * tells user space. */
static __always_inline void ports_open(struct choice c, const struct fc_listening *l)
{
	__u32 m4 = bit_of(l->port4), m6 = bit_of(l->port6);

	/* of a range each port is told: visitors may be held for just that */
	if ((m4 & ~c.r->ready4) == 0 && (m6 & ~c.r->ready6) == 0 && !of_range(l->port4) && !of_range(l->port6))
		return;
	if (m4)
		__sync_fetch_and_or(&c.r->ready4, m4);
	if (m6)
		__sync_fetch_and_or(&c.r->ready6, m6);
	tell_ports(c.id, c.r);
}

/* One listener less on a port: its bit falls with the last one. Somebody who
 * begins to listen meanwhile counts first and sets the bit then, so whoever
 * clears it looks at the count again. Returns 1 if the bit fell. */
static __always_inline bool port_close(__u32 *listeners, __u32 *ready, __u8 port)
{
	__u32 *n = &listeners[port & (FC_MAX_PORTS - 1)];
	__u32 bit = bit_of(port);

	if (port == FC_NO_PORT || __sync_fetch_and_add(n, -1) != 1)
		return false;
	__sync_fetch_and_and(ready, ~bit);
	if (!*(volatile __u32 *)n)
		return true;
	__sync_fetch_and_or(ready, bit);
	return false;
}

static __always_inline void port_open(__u32 *listeners, __u8 port)
{
	if (port != FC_NO_PORT)
		__sync_fetch_and_add(&listeners[port & (FC_MAX_PORTS - 1)], 1);
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

/* A TCP socket begins to listen. What it opens is kept with the socket, as
 * its end must take away the same. Without room for that, or without the
 * callback for its end, the port counts as listened on for good. */
static __always_inline void listens(struct bpf_sock_ops *ops, struct choice c)
{
	struct fc_queue_key at = { .replica = c.id, .port = bpf_htons(ops->local_port) };
	struct fc_listening l, *kept = NULL;
	struct bpf_sock *sk = ops->sk;
	struct fc_queue queue = {};
	struct fc_addr local;

	if (!sk || !local_addr(ops, &local))
		return;
	l = ports_of(c, &local, socket_only6(ops), at.port, IPPROTO_TCP);
	if (l.port4 == FC_NO_PORT && l.port6 == FC_NO_PORT)
		return;
	/* a range would have thousands of queues, with a visitor each */
	if (!of_range(l.port4) && !of_range(l.port6) && bpf_map_update_elem(&fc_queues, &at, &queue, BPF_ANY))
		count(FC_STAT_MAP_FULL);
	fc_count_open(&l, IPPROTO_TCP, 1);
	port_open(c.r->listeners4, l.port4);
	port_open(c.r->listeners6, l.port6);
	if (bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG) == 0)
		kept = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = l;
	ports_open(c, &l);
}

static __always_inline void ports_close(struct fc_listening *l, __u8 proto)
{
	struct choice c = by_id(l->replica);
	bool fell;

	if (!c.r)
		return;
	fc_count_open(l, proto, -1);
	fell = port_close(c.r->listeners4, &c.r->ready4, l->port4);
	fell |= port_close(c.r->listeners6, &c.r->ready6, l->port6);
	if (fell)
		tell_ports(c.id, c.r);
}

static __always_inline void listens_no_more(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct fc_listening *l;

	if (!sk)
		return;
	l = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, 0);
	if (!l)
		return;
	ports_close(l, IPPROTO_TCP);
	bpf_sk_storage_delete(&fc_listen_socks, sk);
}

static __always_inline struct fc_addr remote_addr(struct bpf_sock_ops *ops)
{
	__be32 v4 = ops->remote_ip4;
	struct fc_addr a;

	barrier_var(v4); /* see local_addr */
	if (ops->family == AF_INET)
		return addr_v4(v4);
	a.w[0] = ops->remote_ip6[0];
	a.w[1] = ops->remote_ip6[1];
	a.w[2] = ops->remote_ip6[2];
	a.w[3] = ops->remote_ip6[3];
	return a;
}

/* The flow of an accepted connection. */
static __always_inline bool flow_of(struct bpf_sock_ops *ops, struct fc_flow_key *k)
{
	if (!local_addr(ops, &k->vip))
		return false;
	k->client = remote_addr(ops);
	k->client_port = ops->remote_port >> 16; /* the context has it above, as it is on the wire */
	k->vip_port = bpf_htons(ops->local_port);
	k->proto = IPPROTO_TCP;
	return true;
}

/* Whether the other end is 127.0.0.1 or the like: somebody inside, by the VIP. */
static __always_inline bool from_loopback(struct bpf_sock_ops *ops)
{
	__be32 v4 = ops->remote_ip4;

	barrier_var(v4); /* see local_addr */
	if (ops->family == AF_INET)
		return (v4 & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	if (ops->remote_ip6[0] || ops->remote_ip6[1])
		return false;
	if (ops->remote_ip6[2])
		return ops->remote_ip6[2] == bpf_htonl(0xffff) &&
		       (ops->remote_ip6[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return ops->remote_ip6[3] == bpf_htonl(1);
}

/* A visitor whose SYN was no knock, as he had to prove his address first. */
static __always_inline void handshake_knocks(struct choice c, const struct fc_addr *client, __u64 now)
{
	struct fc_settings *cfg = config();
	struct packet p = { .src = *client };
	__u32 site = c.r->site;

	if (!is_asleep(c.r) || !cfg)
		return;
	if ((cfg->wake_source.burst && !source_may_wake(&p, &cfg->wake_source, now)) ||
	    (cfg->wake_site.burst && !site_may_wake(&p, site, &cfg->wake_site, now)))
		return; /* what he says is dropped then, until he may */
	emit_knock(c.r, c.id);
}

static __always_inline void established(struct bpf_sock_ops *ops, struct choice c)
{
	struct bpf_sock *sk = ops->sk;
	struct fc_flow_key k = {};
	struct fc_conn *conn;
	__u64 now = bpf_ktime_get_ns(), conns;

	if (!sk || !flow_of(ops, &k))
		return;
	if ((!addr_equal(&k.vip, &c.r->vip4) && !addr_equal(&k.vip, &c.r->vip6)) || from_loopback(ops) ||
	    fc_ignores(c.r->site, &k.client)) {
		/* the container talks to itself, the daemon asks it from inside, or no
		 * visitor does; the listener's flag is inherited */
		bpf_sock_ops_cb_flags_set(ops, 0);
		return;
	}
	/* only with the callback for its end is a connection counted at all */
	if (bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG) < 0)
		return;
	conn = bpf_sk_storage_get(&fc_conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		count(FC_STAT_MAP_FULL);
		return;
	}
	conn->replica = c.id;
	conn->site = c.r->site;
	conn->in_end = ops->rcv_nxt;
	conn->out_end = ops->snd_nxt;
	conns = __sync_fetch_and_add(&c.r->conns_now, 1) + 1;
	__sync_fetch_and_add(&c.r->conns_total, 1);
	if (fc_keep_conn(&k, c.id, conns))
		conn->kept = FC_KEPT_IN;
	proof_given(&k, now);
	handshake_knocks(c, &k.client, now);
	c.r->last_ns = now;
	if (!c.r->established_ns && __sync_val_compare_and_swap(&c.r->established_ns, 0, now) == 0)
		emit(FC_EVENT_ESTABLISHED, c.id, c.r, now);
	conn_arrival(c.r->site, c.id, c.r, conns, now);
	if (has_payload(ops))
		used(conn);
	keep_alive(ops, c.r);
}

/* Payload that the socket has taken and fc_count_in has not seen, or not in
 * order: it came with the end of the handshake, or behind a hole that was
 * filled since. */
static __always_inline void last_bytes(struct bpf_sock_ops *ops, struct fc_conn *c)
{
	struct fc_load *load = load_of(c->replica);
	__u32 end = ops->rcv_nxt;

	if (c->fin && end == c->fin_end + 1)
		end = c->fin_end; /* the FIN has a number too */
	if (load && after(end, c->in_end))
		__sync_fetch_and_add(&load->bytes_in, end - c->in_end);
}

/* An orderly end passes the states in which both sides have said so. Whatever
 * closes from others was reset by either side, or given up. */
static __always_inline bool failed(struct bpf_sock_ops *ops, struct bpf_sock *sk)
{
	struct sock *full;

	switch (ops->args[0]) {
	case BPF_TCP_ESTABLISHED:
	case BPF_TCP_SYN_RECV:
	case BPF_TCP_CLOSE_WAIT:
	case BPF_TCP_FIN_WAIT1:
		return true;
	}
	full = (void *)bpf_skc_to_tcp_sock(sk);
	return full && full->sk_err;
}

/* The mark first: whoever puts the flow back after it takes it out again. */
static __always_inline void flow_ends(struct bpf_sock_ops *ops, struct fc_conn *conn)
{
	__u32 kept = __sync_lock_test_and_set(&conn->kept, FC_KEPT_ENDED);
	struct fc_flow_key k = {};

	if (flow_of(ops, &k) && bpf_map_delete_elem(&fc_flows, &k) && kept == FC_KEPT_IN)
		count(FC_STAT_FLOW_EVICTED);
}

static __always_inline void closed(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct fc_conn *conn;
	struct choice c;
	__u64 conns;

	if (!sk)
		return;
	conn = bpf_sk_storage_get(&fc_conns, sk, NULL, 0);
	if (!conn)
		return;
	c = by_id(conn->replica);
	last_bytes(ops, conn);
	flow_ends(ops, conn);
	if (c.r)
		used_no_more(conn, c.r, bpf_ktime_get_ns());
	bpf_sk_storage_delete(&fc_conns, sk);
	if (!c.r)
		return;
	if (failed(ops, sk))
		__sync_fetch_and_add(&c.r->conns_failed, 1);
	conns = __sync_fetch_and_add(&c.r->conns_now, -1) - 1;
	conn_departure(c.r->site, c.id, c.r, conns);
	if (!conns && (*(volatile __u32 *)&c.r->flags & FC_REPLICA_WATCHED))
		fc_emit_marked(c.r, c.id, FC_EVENT_EMPTY, FC_REPLICA_WATCHED);
}

SEC("sockops")
int fc_sockops(struct bpf_sock_ops *ops)
{
	int op = ops->op;
	struct choice c;

	if (op == BPF_SOCK_OPS_STATE_CB) {
		if (ops->args[1] != BPF_TCP_CLOSE)
			return 1;
		if (ops->args[0] == BPF_TCP_LISTEN)
			listens_no_more(ops);
		else
			closed(ops);
		return 1;
	}
	if (op != BPF_SOCK_OPS_TCP_LISTEN_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	c = replica_of(ops);
	if (!c.r)
		return 1;
	if (op == BPF_SOCK_OPS_TCP_LISTEN_CB)
		listens(ops, c);
	else
		established(ops, c);
	return 1;
}

/* UDP has no listen(): ready is who is bound. */
static __always_inline void bound(struct bpf_sock *sk, const struct fc_addr *a, __be16 port)
{
	struct choice c = replica_of(sk);
	struct fc_listening l, *kept;

	if (!c.r)
		return;
	/* whether it is v6-only cannot be read here: a v4 packet to such a
	 * socket is answered with port unreachable by the replica's kernel */
	l = ports_of(c, a, false, port, IPPROTO_UDP);
	if (l.port4 == FC_NO_PORT && l.port6 == FC_NO_PORT)
		return;
	kept = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	fc_count_open(&l, IPPROTO_UDP, 1);
	port_open(c.r->listeners4, l.port4);
	port_open(c.r->listeners6, l.port6);
	if (kept)
		*kept = l; /* for its end, and its datagrams are counted; see listens() */
	ports_open(c, &l);
}

/* A socket is closed for good. TCP's ends are seen by its states. */
SEC("cgroup/sock_release")
int fc_release(struct bpf_sock *sk)
{
	struct fc_listening *l;

	if (sk->type != SOCK_DGRAM || sk->protocol != IPPROTO_UDP)
		return 1;
	l = bpf_sk_storage_get(&fc_listen_socks, sk, NULL, 0);
	if (l)
		ports_close(l, IPPROTO_UDP);
	return 1;
}

SEC("cgroup/post_bind4")
int fc_bind4(struct bpf_sock *sk)
{
	struct fc_addr a;

	if (sk->type != SOCK_DGRAM || sk->protocol != IPPROTO_UDP)
		return 1;
	a = addr_v4(sk->src_ip4);
	bound(sk, &a, bpf_htons(sk->src_port));
	return 1;
}

SEC("cgroup/post_bind6")
int fc_bind6(struct bpf_sock *sk)
{
	struct fc_addr a;

	if (sk->type != SOCK_DGRAM || sk->protocol != IPPROTO_UDP)
		return 1;
	a.w[0] = sk->src_ip6[0];
	a.w[1] = sk->src_ip6[1];
	a.w[2] = sk->src_ip6[2];
	a.w[3] = sk->src_ip6[3];
	bound(sk, &a, bpf_htons(sk->src_port));
	return 1;
}

#endif
