/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef FCNODE_REPLY_H
#define FCNODE_REPLY_H

#include "datagrams.h"
#include "events.h"
#include "parse.h"
#include "policy.h"
#include "turns.h"

/* As if it had come in by fc0: the stack routes it on (or to a local socket),
 * and strict reverse-path filters agree, as the VIP's route is fc0. */
static __always_inline int to_stack(void)
{
	struct fc_settings *cfg = config();

	count(FC_STAT_REPLIED_STACK);
	if (!cfg)
		return TC_ACT_SHOT;
	return bpf_redirect(cfg->device, BPF_F_INGRESS);
}

static __always_inline void first_answer(const struct packet *p, __u32 id, struct fc_replica *r)
{
	struct fc_listener_key lk = { .addr = p->src, .port = p->sport, .proto = p->proto };
	__u64 now;

	if (!bpf_map_lookup_elem(&fc_listeners, &lk))
		return; /* a connection that the replica itself began */
	now = bpf_ktime_get_ns();
	if (*(volatile __u32 *)&r->flags & FC_REPLICA_KNOCKED)
		__sync_fetch_and_and(&r->flags, ~FC_REPLICA_KNOCKED);
	if (__sync_val_compare_and_swap(&r->first_byte_ns, 0, now) == 0)
		emit(FC_EVENT_FIRST_BYTE, id, r, now);
}

/* At a replica's host end: whatever leaves its namespace. */
SEC("tc")
int fc_replica_out(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	__u32 *id = bpf_map_lookup_elem(&fc_veths, &ifindex);
	struct packet p = {};
	struct fc_replica *r;

	/* not IP (there is no ARP here), unreadable, or nobody's: dropped */
	if (!id || fc_parse(skb, &p) <= 0)
		return TC_ACT_SHOT;
	r = bpf_map_lookup_elem(&fc_replicas, id);
	if (!r)
		return TC_ACT_SHOT;
	/* without an address of a family vip4 or vip6 is ::, which is no source either */
	if ((!addr_equal(&p.src, &r->vip4) && !addr_equal(&p.src, &r->vip6)) || addr_is_any(&p.src)) {
		count(FC_STAT_SPOOFED);
		return TC_ACT_SHOT;
	}

	struct fc_flow_key k = flow_key(&p.dst, p.dport, &p.src, p.sport, p.proto);
	struct leaving l = { .id = *id, .site = r->site, .nsid = r->nsid };
	struct fc_cell *cell = NULL;
	struct fc_flow *f = NULL;

	if (p.frag != FC_FRAG_LATER && p.proto == IPPROTO_TCP)
		f = bpf_map_lookup_elem(&fc_flows, &k) ?: in_cell(find_cell(&fc_own_flows, &k));
	if (!f && p.frag != FC_FRAG_LATER) {
		l.visitors = is_visitors(&p.src, p.sport, p.proto);
		if (l.visitors && p.proto == IPPROTO_UDP) {
			cell = find_cell(&fc_datagrams, &k);
			f = cell ? &cell->flow : NULL;
		} else if (l.visitors || p.proto != IPPROTO_TCP) {
			f = find_in_cells(&k, l.visitors);
		}
	}
	if (f && f->replica == l.id) {
		if (cell)
			datagram_goes(cell, r);
		l.known = true;
		l.metered = f->metered;
	}
	/* a source route leads past every look at the destination */
	if (p.routed || !may_leave(skb, &p, &l))
		return TC_ACT_SHOT;
	if (l.metered && !fc_meter(&p, l.site, begins(&p, &l)))
		return TC_ACT_SHOT;
	if (p.frag != FC_FRAG_NONE || (p.proto != IPPROTO_TCP && p.proto != IPPROTO_UDP && !p.echo_request))
		return to_stack();
	if (p.refusal) {
		struct fc_load *load = load_of(*id);

		if (load)
			load->refused++;
	}
	if (p.payload && !r->first_byte_ns)
		first_answer(&p, *id, r);
	if (!l.known) {
		/* what it begins itself, and datagrams that the table has lost */
		if (!l.visitors)
			fc_keep(&k, l.metered ? FC_CELLS_METERED : FC_CELLS_OWN, *id, 0, 0);
		else if (p.proto == IPPROTO_UDP)
			fc_keep(&k, FC_CELLS_DATAGRAM, *id, 0, 0);
		return to_stack();
	}
	if (!f->uplink || by_stack())
		return to_stack();
	count(FC_STAT_REPLIED_UPLINK);
	return bpf_redirect_neigh(f->uplink, NULL, 0, 0);
}

/* At the sink's host end. */
SEC("tc")
int fc_sink_out(struct __sk_buff *skb)
{
	return to_stack();
}

#endif
