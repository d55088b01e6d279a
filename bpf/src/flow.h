/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which replica a flow belongs to, and by which uplink its client comes.
 *
 * Connections of visitors are in fc_flows from when their handshake is done, which
 * a forged source cannot do, up to a quota for each site. All else costs its sender
 * one packet: first packets of handshakes, datagrams, fragments, and what a replica
 * sends of its own. It is kept in cells. A VIP has so many in each table, and a flow
 * may be in one of two of them, which a secret chooses; of both the older one is
 * given up. So a flood pushes out what is of its own VIP.
 *
 * Nothing here is more than a cache. Of TCP the sockets of the VIP's replicas are
 * asked (choose.h), and a datagram without an entry goes to the same replica as
 * before as long as the set stays the same. */
#ifndef FCNODE_FLOW_H
#define FCNODE_FLOW_H

#include "maps.h"
#include "parse.h"

#define FC_CELL_YOUNG 30 /* about seconds: to take a cell that was of use since is counted */

static __always_inline bool has_ports(const struct packet *p)
{
	return p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP;
}

static __always_inline __u64 mix(__u64 h, __u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* Depends on all of a flow but its VIP, and on the seed. */
static __always_inline __u64 flow_hash(const struct fc_addr *client, __be16 client_port, __be16 vip_port, __u8 proto,
				       __u64 seed)
{
	__u64 h = mix(seed, (__u64)client->w[0] << 32 | client->w[1]);

	h = mix(h, (__u64)client->w[2] << 32 | client->w[3]);
	h = mix(h, (__u64)client_port << 32 | (__u64)vip_port << 16 | proto);
	return mix(h, seed);
}

static __always_inline __u64 hash_of_key(const struct fc_flow_key *k, const struct fc_settings *cfg)
{
	return flow_hash(&k->client, k->client_port, k->vip_port, k->proto, cfg->seed);
}

static __always_inline bool cell_is(const struct fc_cell *c, const struct fc_flow_key *k)
{
	return c && c->client_port == k->client_port && c->vip_port == k->vip_port && c->proto == k->proto &&
	       addr_equal(&c->client, &k->client);
}

/* In seconds, nearly. */
static __always_inline __u32 cell_time(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() >> 30) ?: 1;
}

/* The cell of a flow, or NULL. */
static __always_inline struct fc_cell *find_cell(void *cells, const struct fc_flow_key *k)
{
	struct fc_settings *cfg = config();
	struct fc_cell_key at = { .vip = k->vip };
	struct fc_cell *c;
	__u64 h;

	if (!cfg)
		return NULL;
	h = hash_of_key(k, cfg);
	at.n = (__u32)h & cfg->cell_mask;
	c = bpf_map_lookup_elem(cells, &at);
	if (cell_is(c, k))
		return c;
	at.n = (__u32)(h >> 32) & cfg->cell_mask;
	c = bpf_map_lookup_elem(cells, &at);
	return cell_is(c, k) ? c : NULL;
}

/* What an idle flow has seen last decides who makes room. */
static __always_inline struct fc_flow *in_cell(struct fc_cell *c)
{
	__u32 now;

	if (!c)
		return NULL;
	now = cell_time();
	if (c->seen != now)
		c->seen = now;
	return &c->flow;
}

/* Of a flow that its client has begun at a port that somebody may listen on
 * (visitor), or that the replica has begun. */
static __always_inline struct fc_flow *find_in_cells(const struct fc_flow_key *k, bool visitor)
{
	struct fc_cell *c;

	if (!visitor)
		return in_cell(find_cell(&fc_own_flows, k));
	if (k->proto == IPPROTO_TCP)
		return in_cell(find_cell(&fc_handshakes, k));
	c = find_cell(&fc_datagrams, k);
	return c ? &c->flow : NULL; /* what uses it is for datagrams.h to say */
}

static __always_inline struct fc_flow *find_flow(const struct fc_flow_key *k, bool visitor)
{
	struct fc_flow *f = NULL;

	if (visitor && k->proto == IPPROTO_TCP)
		f = bpf_map_lookup_elem(&fc_flows, k);
	return f ?: find_in_cells(k, visitor);
}

static __always_inline void *cells_of(__u32 table)
{
	switch (table) {
	case FC_CELLS_HANDSHAKE:
		return &fc_handshakes;
	case FC_CELLS_DATAGRAM:
		return &fc_datagrams;
	case FC_CELLS_FRAGMENT:
		return &fc_frags;
	case FC_CELLS_FRAGMENT_OUT:
		return &fc_frags_out;
	}
	return &fc_own_flows;
}

/* For how long a cell was of no use. Another processor may have used it since now was
 * read. */
static __always_inline __u32 cell_age(const struct fc_cell *c, __u32 now)
{
	__u32 age = now - c->seen;

	return age >> 31 ? 0 : age;
}

/* Takes a cell for a flow: its own, or a free one, or the one that was of no use for
 * longer. */
__noinline int fc_keep(struct fc_flow_key *k, __u32 table, __u32 replica, __u32 uplink, __u32 syn)
{
	struct fc_settings *cfg = config();
	struct fc_cell_key at = {};
	struct fc_cell fresh = {}, *c;
	void *cells = cells_of(table);
	__u32 first, second, age, now = cell_time();
	__u64 h;

	if (!cfg || !k)
		return 0;
	h = hash_of_key(k, cfg);
	first = (__u32)h & cfg->cell_mask;
	second = (__u32)(h >> 32) & cfg->cell_mask;
	at.vip = k->vip;
	at.n = first;
	c = bpf_map_lookup_elem(cells, &at);
	if (c && c->seen && !cell_is(c, k)) {
		age = cell_age(c, now);
		at.n = second;
		c = bpf_map_lookup_elem(cells, &at);
		if (c && c->seen && !cell_is(c, k)) {
			if (cell_age(c, now) < age)
				at.n = first;
			else
				age = cell_age(c, now);
			if (age < FC_CELL_YOUNG)
				count(FC_STAT_CELL_TAKEN);
		}
	}
	fresh.client = k->client;
	fresh.client_port = k->client_port;
	fresh.vip_port = k->vip_port;
	fresh.proto = k->proto;
	fresh.seen = now;
	fresh.flow.replica = replica;
	fresh.flow.uplink = uplink;
	fresh.flow.syn = syn;
	fresh.flow.metered = table == FC_CELLS_METERED;
	if (bpf_map_update_elem(cells, &at, &fresh, BPF_ANY) < 0)
		count(FC_STAT_MAP_FULL);
	return 0;
}

/* Whether one more connection of this replica may be in fc_flows. */
static __always_inline bool within_quota(const struct fc_replica *r, __u64 conns)
{
	__u32 site = r->site;
	struct fc_site *s = bpf_map_lookup_elem(&fc_sites, &site);
	struct fc_settings *cfg = config();
	__u32 n = s ? s->n : 0;

	return cfg && conns * (n ?: 1) <= cfg->flows_per_site;
}

/* A connection has done its handshake. What its first packet has left in a cell goes
 * with it; the cell may be taken, and serves until then for what comes late. Returns
 * 1 if it is kept. */
__noinline int fc_keep_conn(struct fc_flow_key *conn, __u32 id, __u64 conns)
{
	struct fc_replica *r = bpf_map_lookup_elem(&fc_replicas, &id);
	struct fc_flow f = { .replica = id };
	struct fc_flow_key k; /* on the stack: 6.1 takes no other memory for a key */
	struct fc_cell *c;

	if (!conn || !r)
		return 0;
	k = *conn;
	if (!within_quota(r, conns)) {
		count(FC_STAT_FLOW_QUOTA);
		return 0;
	}
	c = find_cell(&fc_handshakes, &k);
	if (c && c->flow.replica == id) {
		f.uplink = c->flow.uplink;
		f.syn = c->flow.syn;
		c->seen = 0;
	}
	if (bpf_map_update_elem(&fc_flows, &k, &f, BPF_ANY) == 0)
		return 1;
	count(FC_STAT_MAP_FULL);
	return 0;
}

/* Fragments have a number in the place of ports. */
static __always_inline struct fc_flow_key fragment_key(const struct fc_addr *client, const struct fc_addr *vip,
						       const struct packet *p)
{
	struct fc_flow_key k = {
		.client = *client, .vip = *vip, .client_port = p->frag_id >> 16, .vip_port = (__u16)p->frag_id,
		.proto = p->proto,
	};

	return k;
}

#endif
