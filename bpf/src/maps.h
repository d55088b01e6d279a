/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* All maps are pinned by name: the data path lives on without the daemon.
 * Sizes marked "set by the loader" are overwritten from the configuration. */
#ifndef FCNODE_MAPS_H
#define FCNODE_MAPS_H

#include "types.h"

#define ENOENT 2
#define EINVAL 22

/* What is read of the kernel's own sockets. */
struct sock_common {
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

struct sock_reuseport;

struct sock {
	struct sock_common __sk_common;
	struct sock_reuseport *sk_reuseport_cb;
	int sk_err;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* memory only for what exists */
	__uint(max_entries, 1 << 18);         /* set by the loader */
	__type(key, struct fc_listener_key);
	__type(value, struct fc_listener);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17); /* set by the loader */
	__type(key, __u32);
	__type(value, struct fc_site);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_sites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct fc_replica);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_replicas SEC(".maps");

/* network namespace cookie -> replica */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_netns SEC(".maps");

/* ifindex of a host end -> replica */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_veths SEC(".maps");

/* Connections that visitors have, from their handshake's end to their own. An entry
 * that is lost is found again by asking the sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16); /* set by the loader */
	__type(key, struct fc_flow_key);
	__type(value, struct fc_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_flows SEC(".maps");

/* All else, in cells: see flow.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16); /* set by the loader */
	__type(key, struct fc_cell_key);
	__type(value, struct fc_cell);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_handshakes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16); /* set by the loader */
	__type(key, struct fc_cell_key);
	__type(value, struct fc_cell);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_datagrams SEC(".maps");

/* Apart from the visitors', so that nobody outside can push them out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16); /* set by the loader */
	__type(key, struct fc_cell_key);
	__type(value, struct fc_cell);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_own_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 15); /* set by the loader */
	__type(key, struct fc_cell_key);
	__type(value, struct fc_cell);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_frags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 15); /* set by the loader */
	__type(key, struct fc_cell_key);
	__type(value, struct fc_cell);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_frags_out SEC(".maps");

/* VIP -> who has it; a site that sleeps without processes has no entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct fc_addr);
	__type(value, struct fc_vip);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_vips SEC(".maps");

/* Flows whose first packet was already sent up, to send it up only once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct fc_flow_key);
	__type(value, struct fc_held_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_held_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fc_pulse);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_last_pulse SEC(".maps");

/* What is held now per site: its flows, and in FC_HELD_FURTHER datagrams of theirs beyond
 * the first. Entries exist only during a wake. */
#define FC_HELD_FURTHER (1U << 16)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_hold_counts SEC(".maps");

/* Who has woken sites, and which sites were woken, of late; see budget.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct fc_addr);
	__type(value, struct fc_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_wake_source SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, __u32);
	__type(value, struct fc_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_wake_site SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fc_proof);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_proofs SEC(".maps");

/* Small: what does not fit into it is counted, and told with the next. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 12);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_limited_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, struct fc_deny_key4);
	__type(value, struct fc_denied);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_deny4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, struct fc_deny_key6);
	__type(value, struct fc_denied);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_deny6 SEC(".maps");

/* The prefixes that VIPs are taken from. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, struct fc_prefix_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_prefixes SEC(".maps");

/* ifindex -> enum fc_uplink_flags */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 10);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_uplinks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct fc_policy_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_policy SEC(".maps");

/* Sources that are no visitors, whole in the form of IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, struct fc_ignore_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_ignore SEC(".maps");

/* site, or FC_OWNER_NODE -> enum fc_ignored_gets */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17); /* set by the loader */
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_ignore_how SEC(".maps");

/* Made by the first packet that is counted; goes with the site. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17); /* set by the loader */
	__type(key, __u32);
	__type(value, struct fc_ignored_packets);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_ignored SEC(".maps");

/* The daemon's listeners that answer such sources, for IPv4 and IPv6: with the
 * daemon they leave the map. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_answerers SEC(".maps");

/* By site; 0: the node's. Its loader makes room for all sites. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, __u32);
	__type(value, struct fc_allowance);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_egress SEC(".maps");

/* Destinations that were told as refused, to tell each once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, struct fc_refused_key);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_refused SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, __u32);
	__type(value, struct fc_refused_rate);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_refusal_rate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fc_settings);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FC_STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct fc_listening);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_listen_socks SEC(".maps");

/* Entries go with their replica. One has FC_OPEN_PORTS ports, so a site, with the most
 * ports and replicas that it may have, has no more than a seventh of them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct fc_open_key);
	__type(value, struct fc_openers);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_open SEC(".maps");

/* Entries go with their replica. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct fc_queue_key);
	__type(value, struct fc_queue);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct fc_conn);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_conns SEC(".maps");

/* Made with its replica; a site that sleeps has none. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct fc_load);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct fc_latency);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_latencies SEC(".maps");

/* Made by what is counted first, gone when the site is parked. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct fc_site_load);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_site_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17); /* set by the loader */
	__type(key, __u32);
	__type(value, struct fc_trigger);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_triggers SEC(".maps");

/* Rings of their own: a flood of held SYNs must not push out readiness, nor a
 * flood of readiness the triggers. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_held_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_event_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 17);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_trigger_ring SEC(".maps");

/* Of its own, too: a tenant who tries every address pushes out nothing else. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fc_refusal_ring SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&fc_stats, &what);

	if (n)
		*n += 1; /* per CPU, and tc and sock_ops run with BHs off */
}

static __always_inline void count_site(__u32 site, bool refused)
{
	struct fc_site_load *l = bpf_map_lookup_elem(&fc_site_loads, &site);

	if (!l) {
		struct fc_site_load zero = {};

		bpf_map_update_elem(&fc_site_loads, &site, &zero, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&fc_site_loads, &site);
		if (!l) {
			count(FC_STAT_MAP_FULL);
			return;
		}
	}
	if (refused)
		l->refused++;
	else
		l->held++;
}

static __always_inline struct fc_settings *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fc_config, &zero);
}

/* Netfilter comes after these programs: what they redirect it does not see. Where
 * the machine has rules for what it forwards, nothing is taken past them. */
static __always_inline bool by_stack(void)
{
	struct fc_settings *cfg = config();

	return !cfg || cfg->by_stack;
}

#endif
