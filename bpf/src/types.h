/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Layouts shared with user space. bpf2go emits their Go twins from BTF, so
 * nothing is typed twice; layout_test.go compares sizes and offsets. */
#ifndef FCNODE_TYPES_H
#define FCNODE_TYPES_H

#include <linux/types.h>

#define FC_MAX_REPLICAS 16   /* of one site, draining ones included */
#define FC_MAX_PORTS 32      /* of one site: a bit each */
#define FC_HELD_SMALL 256    /* bytes: any SYN without much payload */
#define FC_HELD_MAX 2048     /* bytes: nothing larger is held */

enum fc_hold_most {
	/* Datagrams of a flow that are held at once: as many as QUIC sends before it has an
	 * answer (RFC 9002, 7.2). Beyond them it is one in FC_HOLD_FRESH_NS. */
	FC_HOLD_FLIGHT = 10,
};

/* Every address is kept in its IPv6 form; IPv4 is mapped (::ffff:a.b.c.d). */
struct fc_addr {
	__be32 w[4];
};

/* What a visitor can name: one port of one VIP. A parked site is these
 * entries and nothing else. */
struct fc_listener_key {
	struct fc_addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct fc_listener {
	__u32 site;
	__u32 port_bit; /* index of the port in the site's list, below 32; FC_PORT_OF_RANGE may be with it */
};

/* The port is one of a range, which has one bit: that says only that somebody listens on
 * one of them, and fc_open on which. */
#define FC_PORT_OF_RANGE 64

enum fc_site_flags {
	FC_SITE_REFUSE = 1, /* answer with RST / unreachable instead of holding */
	FC_SITE_SLEEPS = 2, /* all of its replicas do, so that a held packet wakes it */
};

/* Owned by the daemon, which replaces it whole; absent while the site is
 * parked. The data path only reads it. */
struct fc_site {
	__u32 flags;
	__u32 draining; /* bit per slot: gets no new flows */
	__u32 n;
	__u32 replicas[FC_MAX_REPLICAS];
	__u32 forced[FC_MAX_REPLICAS]; /* bit per port: taken as ready though nobody listens */
};

/* Marks that the daemon sets (fc_control) and the programs take off. */
enum fc_replica_flags {
	FC_REPLICA_ASLEEP = 1,  /* its first packet knocks */
	FC_REPLICA_WATCHED = 2, /* tell when it has no connection any more */
	FC_REPLICA_BUSY = 4,    /* over the threshold on connections; the programs' own */
	FC_REPLICA_QUEUED = 8,  /* over that on its accept queue; theirs too */
	FC_REPLICA_CLOSED = 16, /* gets no new flows yet, whoever listens */
	FC_REPLICA_KNOCKED = 32, /* was asleep, and has not answered since; theirs too */
	FC_REPLICA_TOLD = 64,    /* an event about its ports is on its way; theirs, the daemon takes it off */
};

/* The first block is written once by the daemon before the container starts
 * (of the flags: their marks by fc_control and the programs), the second only
 * ever by the programs: no lost updates without locks. */
struct fc_replica {
	__u32 site;
	__u32 ifindex; /* host end of its veth */
	__s32 nsid;    /* its network namespace as seen from the node's */
	__u32 flags;
	struct fc_addr vip4;
	struct fc_addr vip6;
	__u32 keepalive; /* seconds after which a client that is gone is found out; 0: never */
	__u32 udp_idle;  /* seconds of silence after which a flow of UDP that lasts is over; 0: none counts */

	__u32 ready4; /* bit per port somebody listens on for IPv4 */
	__u32 ready6;
	__u32 listeners4[FC_MAX_PORTS]; /* TCP sockets that listen on each port for IPv4 */
	__u32 listeners6[FC_MAX_PORTS];
	__u64 conns_total; /* TCP connections accepted so far */
	__u64 conns_now;
	__u64 conns_failed; /* ended by a reset or by giving up */
	__u64 conns_used;   /* of conns_now, those that have carried data */
	__u64 last_ns;        /* CLOCK_MONOTONIC of the last arrival: SYN, connection or datagram */
	__u64 used_ns;        /* of the last datagram, first data of a connection, or end of one that had any */
	__u64 established_ns; /* of the first established connection */
	__u64 first_byte_ns;  /* of the first answer's first payload */
};

struct fc_flow_key {
	struct fc_addr client;
	struct fc_addr vip;
	__be16 client_port;
	__be16 vip_port;
	__u8 proto;
	__u8 pad[3];
};

struct fc_flow {
	__u32 replica;
	__u32 uplink; /* ifindex the client's packets come in by; 0: the stack */
	__u32 syn;    /* TCP: sequence number of its SYN, host order; of visitors' UDP: see datagrams.h */
	__u32 metered; /* its replica has begun it, to the Internet */
};

/* A VIP has so many cells in each table of what costs its sender nothing, and no
 * more, whatever is sent to it or by it: see flow.h. */
struct fc_cell_key {
	struct fc_addr vip;
	__u32 n;
};

struct fc_cell {
	struct fc_addr client;
	__be16 client_port, vip_port; /* of a fragment: its datagram's number */
	__u8 proto;
	__u8 pad[3];
	__u32 seen; /* when it was last of use, in 2^30 ns; 0: it may be taken */
	struct fc_flow flow;
};

/* What is kept in cells, each in a table of its own. */
enum fc_cells {
	FC_CELLS_HANDSHAKE, /* connections that visitors begin */
	FC_CELLS_DATAGRAM,  /* visitors' datagrams */
	FC_CELLS_OWN,       /* what replicas begin */
	FC_CELLS_METERED,   /* likewise, to the Internet; in the same table */
	FC_CELLS_FRAGMENT,
	FC_CELLS_FRAGMENT_OUT,
};

#define FC_VIP_REPLICAS 32

/* All replicas that have a VIP, in the site's set or not: the daemon's. */
struct fc_vip {
	__u32 n;
	__u32 replicas[FC_VIP_REPLICAS];
};

struct fc_held_flow {
	__u64 ns;
	__u32 seq; /* of UDP how many of its datagrams are held */
	__u32 proof; /* enum fc_proof_of */
};

/* What a flow that was held has to do with proofs of address; see proof.h. */
enum fc_proof_of {
	FC_PROOF_NONE,
	FC_PROOF_OWED,  /* its SYN was held on trust */
	FC_PROOF_GIVEN, /* by the end of a handshake */
};

/* Whether a source proves its address before it wakes a site. */
enum fc_proof_mode {
	FC_PROOF_OFF,
	FC_PROOF_AUTO, /* while more is held on trust than `trust` allows */
	FC_PROOF_ALWAYS,
};

/* Kept with a listening socket: the ports of its replica that it opens. */
struct fc_listening {
	__u32 replica;
	__u32 site;
	__u8 port4, port6; /* port bits, with FC_PORT_OF_RANGE; or FC_NO_PORT */
	__be16 port;
};

#define FC_OPEN_PORTS 32

/* Neighbouring ports, in ranges, of which a replica has listened on one. So many of them
 * share an entry, which is never taken out for what its sockets do: a replica has as many
 * as its site's ranges have such neighbours, whatever it opens and closes. */
struct fc_open_key {
	__u32 replica;
	__u16 ports; /* the first one, divided by FC_OPEN_PORTS */
	__u8 proto;
	__u8 pad;
};

/* How many sockets listen on each (TCP), or are bound to it (UDP): in the lower half for
 * IPv4, in the upper one for IPv6. Whoever opens more than fit counts wrong for himself. */
struct fc_openers {
	__u32 n[FC_OPEN_PORTS];
};

#define FC_OPENER4 1U
#define FC_OPENER6 (1U << 16)

#define FC_NO_PORT 0xff

/* Kept with an accepted connection that is counted. */
struct fc_conn {
	__u32 replica;
	__u32 site;
	__u64 began;   /* the request that waits for its answer */
	__u32 in_end;  /* sequence numbers behind the payload that was counted */
	__u32 out_end;
	__u32 fin_end; /* behind all of the client's payload, once fin is set */
	__u32 kind;    /* enum fc_kind */
	__u8 turn;     /* enum fc_turn */
	__u8 fin;
	__u8 seen;   /* of a TLS handshake */
	__u8 unsure; /* the next answer may be none */
	__u32 use;   /* see use.h */
	__u32 kept;  /* enum fc_kept */
	__u32 pad;
};

/* Whether fc_flows has a connection, which packets and its end may change at the same
 * time. */
enum fc_kept {
	FC_KEPT_NOT,
	FC_KEPT_IN, /* unless it was pushed out */
	FC_KEPT_ENDED,
};

/* What a connection's first payload says it is. */
enum fc_kind {
	FC_KIND_NEW,
	FC_KIND_PLAIN,    /* nothing that is known here */
	FC_KIND_HTTP,     /* 0.9 to 1.1 */
	FC_KIND_TLS,      /* in its handshake */
	FC_KIND_TLS_DATA, /* after it */
	FC_KIND_NO_TURNS,
};

enum fc_turn {
	FC_TURN_NONE,    /* nobody has asked yet */
	FC_TURN_WAITING, /* asked, not answered */
	FC_TURN_ANSWERED,
};

/* Latencies are counted in buckets of 64 ns below 1.024 us, from there up to
 * 137 s in 16 buckets for each power of two. */
#define FC_LATENCY_UNIT 6
#define FC_LATENCY_SUB 16
#define FC_LATENCY_TOP 30
#define FC_LATENCY_BUCKETS ((FC_LATENCY_TOP - 2) * FC_LATENCY_SUB)

/* What is counted of a replica on one CPU. */
struct fc_load {
	__u64 attempts; /* TCP handshakes that a client began */
	__u64 refused;  /* of them, by a reset */
	__u64 bytes_in, bytes_out;
	__u64 requests;
	__u64 no_turns; /* connections */
	__u64 udp_flows;
	__u64 datagrams_in, datagrams_out;
};

/* Once for all CPUs: it is written once a request, and large. */
struct fc_latency {
	__u64 n[FC_LATENCY_BUCKETS];
};

/* What is counted of a site on one CPU, from when it was last parked. */
struct fc_site_load {
	__u64 held;    /* packets */
	__u64 refused; /* flows, while it refuses */
};

/* A port that a replica listens on. */
struct fc_queue_key {
	__u32 replica;
	__be16 port;
	__u16 pad;
};

/* The accept queues of all listeners there, as they were when last read. */
struct fc_queue {
	__u32 depth;
	__u32 max;
};

#define FC_RATIOS 3

/* The daemon's half of a trigger; a threshold of 0 is none. */
struct fc_trigger_params {
	__u32 conns; /* of one replica */
	__u32 queue; /* in one listener */
	__u64 latency;
	__u64 step[FC_RATIOS]; /* see fc_surge and package detect */
	__u64 limit[FC_RATIOS];
	__u64 rearm[FC_RATIOS];
};

struct fc_trigger {
	struct fc_trigger_params p;
	__u64 due[FC_RATIOS];
	__u64 latency; /* smoothed */
	__u32 alarmed; /* ratios of which the alarm lasts */
	__u32 marks;
};

#define FC_MARK_SLOW 1

struct fc_trigger_args {
	__u32 site;
	__u32 pad;
	struct fc_trigger_params p;
	__u64 due_was[FC_RATIOS];
	__u64 due[FC_RATIOS];
};

enum fc_trigger_kind {
	FC_TRIGGER_CONNS = 1,   /* connections of a replica */
	FC_TRIGGER_QUEUE = 2,   /* accept queue of a replica's listener */
	FC_TRIGGER_LATENCY = 3, /* smoothed latency of the site, ns */
	FC_TRIGGER_SURGE = 4,   /* value: ratios of which the alarm begins; threshold: of which it lasts */
};

struct fc_trigger_event {
	__u64 ns; /* CLOCK_MONOTONIC */
	__u32 site;
	__u32 replica;
	__u32 kind;
	__u32 pad;
	__u64 value;
	__u64 threshold;
};

/* Keys of the tries of denied sources. */
struct fc_deny_key4 {
	__u32 prefixlen;
	__be32 addr;
};

struct fc_deny_key6 {
	__u32 prefixlen;
	struct fc_addr addr;
};

struct fc_denied {
	__u64 until; /* CLOCK_MONOTONIC; 0: for good */
};

/* Whom a site may open connections to, by the longest prefix. What comes before
 * the address is compared whole. */
struct fc_policy_key {
	__u32 prefixlen;
	__u32 owner; /* a site, or one of enum fc_policy_owner */
	__be16 port; /* 0 with proto 0: every port and protocol */
	__u8 proto;
	__u8 target; /* enum fc_policy_target */
	struct fc_addr addr;
};

#define FC_POLICY_FIXED 64 /* bits before the address */

enum fc_policy_owner {
	FC_OWNER_NODE = 0,       /* what holds for all sites that say nothing else */
	FC_OWNER_LOCAL = ~0U,    /* what is not the Internet; verdicts are refusals */
};

enum fc_policy_target {
	FC_TARGET_ADDRESS,
	FC_TARGET_INTERNET, /* all that is nothing else */
	FC_TARGET_HOST,     /* the node's own addresses */
};

/* A verdict is to allow, or why not. */
enum fc_verdict {
	FC_VERDICT_NONE,
	FC_VERDICT_ALLOW,
	FC_VERDICT_RULE,     /* a rule denies it */
	FC_VERDICT_PRIVATE,  /* another network of the node's */
	FC_VERDICT_SITE,     /* another site */
	FC_VERDICT_HOST,     /* the node itself, or nowhere */
	FC_VERDICT_SMTP,
	FC_VERDICT_NEVER,    /* loopback, multicast and the like */
	FC_VERDICT_INTERNET, /* to allow, as the Internet: so much a second */
};

/* One destination that a site was refused. */
struct fc_refused_key {
	__u32 site;
	__be16 port;
	__u8 proto;
	__u8 pad;
	struct fc_addr addr;
};

struct fc_refused_rate {
	__u64 since;
	__u64 told;
};

struct fc_refusal {
	__u64 ns; /* CLOCK_MONOTONIC */
	struct fc_refused_key to;
	__u32 replica;
	__u32 verdict;
};

/* Keys of the trie of sources that are no visitors. */
struct fc_ignore_key {
	__u32 prefixlen;
	__u32 owner; /* a site, or FC_OWNER_NODE for all */
	struct fc_addr addr;
};

#define FC_IGNORE_FIXED 32 /* bits before the address */

/* What such a source gets from a site that sleeps. */
enum fc_ignored_gets {
	FC_IGNORED_REFUSED = 1,
	FC_IGNORED_ANSWERED, /* by the daemon's listener */
};

/* Packets of such sources: first ones of a flow, and those that would have
 * woken the site. */
struct fc_ignored_packets {
	__u64 awake; /* of a site that served them */
	__u64 asleep;
};

/* What an uplink's program may not let the stack forward. */
enum fc_uplink_flags {
	FC_UPLINK_GUARD4 = 1, /* IPv4 that is not for a VIP */
	FC_UPLINK_GUARD6 = 2,
};

/* Keys of the trie of the node's prefixes. */
struct fc_prefix_key {
	__u32 prefixlen;
	struct fc_addr addr;
};

/* So many tokens at once, and one more after each `every`. */
struct fc_rate {
	__u64 every; /* ns */
	__u32 burst; /* 0: no limit */
	__u32 pad;
};

struct fc_bucket {
	__u64 full; /* CLOCK_MONOTONIC of when it is full again */
	__u64 told; /* of when it was told that it is empty */
};

/* The first three are the daemon's, the others the programs'. */
struct fc_proof {
	__u32 mode; /* enum fc_proof_mode */
	__u32 pad;
	struct fc_rate trust;
	struct fc_bucket bucket;
	__u64 asked; /* CLOCK_MONOTONIC of when somebody was last asked, nearly */
};

enum fc_limit {
	FC_LIMIT_WAKE,
	FC_LIMIT_CONNS,   /* that a site begins; `source` is where to */
	FC_LIMIT_PACKETS, /* likewise */
	FC_LIMIT_TRUST,   /* of fc_proof: sources have to prove their address */
};

/* A bucket is empty: that of a source's network, of a site (site not 0), or of trust. */
struct fc_limited {
	__u64 ns; /* CLOCK_MONOTONIC */
	struct fc_addr source;
	__u32 site;
	enum fc_limit limit;
};

/* What a site may send into the Internet of its own accord, and what of it is left.
 * The daemon makes those of sites whose specs say it and that of the node (site 0), the
 * programs a copy of that for each other site. */
struct fc_allowance {
	struct fc_rate conns, packets;
	struct fc_bucket conns_left, packets_left;
};

struct fc_settings {
	__u32 device;        /* ifindex of fc0 */
	__u32 sink;          /* ifindex of the sink's host end */
	__u32 hold_per_site; /* flows of a site that may be held at once; below FC_HELD_FURTHER / FC_HOLD_FLIGHT */
	__u32 by_stack;      /* 1: no short ways, all packets pass the machine's firewall */
	struct fc_rate wake_source;
	struct fc_rate wake_site;
	__u64 seed;           /* of the choice of cells, which nobody outside is to know */
	__u32 cell_mask;      /* cells of a VIP in each table, less one */
	__u32 flows_per_site; /* connections of a site that fc_flows has */
};

/* When the daemon was well for the last time, and for how long it may be silent
 * before nobody waits for it any more. */
struct fc_pulse {
	__u64 ns;    /* CLOCK_MONOTONIC */
	__u64 limit; /* 0: there is none */
};

/* A wake event and the held packet in one. Two sizes, so that a flood of
 * SYNs does not eat the ring in units of the largest datagram. */
struct fc_held {
	__u64 ns; /* CLOCK_MONOTONIC */
	__u32 site;
	__u32 len; /* bytes used of data */
	struct fc_addr client;
	struct fc_addr vip;
	__be16 client_port;
	__be16 vip_port;
	__u8 proto;
	__u8 pad[3];
	__u32 seq; /* TCP, host order: that of the SYN, one more of data behind a proof */
	__u32 proof; /* enum fc_proof_of */
};

struct fc_held_small {
	struct fc_held h;
	__u8 data[FC_HELD_SMALL];
};

struct fc_held_large {
	struct fc_held h;
	__u8 data[FC_HELD_MAX];
};

enum fc_event_kind {
	FC_EVENT_READY = 1,       /* who listens has changed: ask by FC_CONTROL_TAKE_PORTS */
	FC_EVENT_ESTABLISHED = 2, /* first connection of this replica */
	FC_EVENT_FIRST_BYTE = 3,  /* first answer of this replica */
	FC_EVENT_KNOCK = 4,       /* first packet for a replica marked asleep */
	FC_EVENT_EMPTY = 5,       /* no connection left of a replica that is watched */
};

enum fc_control_op {
	FC_CONTROL_ASLEEP = 1,
	FC_CONTROL_AWAKE,
	FC_CONTROL_WATCH,
	FC_CONTROL_UNWATCH,
	FC_CONTROL_BEGIN_WAKE,
	FC_CONTROL_OPEN,
	FC_CONTROL_TAKE_PORTS,
	FC_CONTROL_FLOWS,
};

/* What the daemon asks of fc_control, which returns 0 or an errno. */
struct fc_control_args {
	__u32 op;
	__u32 replica;
	__u64 conns; /* out, of WATCH: connections now; with 0 nothing is watched */
	__u32 ready4, ready6; /* out, of TAKE_PORTS */
	__u32 flows, lasting; /* out, of FLOWS: those of UDP that live, and those of them that last */
	__u32 left, pad;      /* cell time until the last of them is over if nothing comes */
};

struct fc_event {
	__u64 ns; /* CLOCK_MONOTONIC */
	__u32 kind;
	__u32 site;
	__u32 replica;
	__u32 ready4; /* the whole mask after this event */
	__u32 ready6;
	__u32 pad;
};

/* Why a packet went where it went; one per-CPU counter each. */
enum fc_stat {
	FC_STAT_STEERED,
	FC_STAT_HELD,
	FC_STAT_HOLD_DUPLICATE,
	FC_STAT_HOLD_CAP,
	FC_STAT_HOLD_RING_FULL,
	FC_STAT_HOLD_TOO_LARGE,
	FC_STAT_SINK,
	FC_STAT_FLOW_FOUND_BY_SOCKET,
	FC_STAT_SPOOFED,
	FC_STAT_MALFORMED,
	FC_STAT_REPLIED_UPLINK,
	FC_STAT_REPLIED_STACK,
	FC_STAT_EVENT_LOST,
	FC_STAT_MAP_FULL,
	FC_STAT_DENIED,
	FC_STAT_POLICY,
	FC_STAT_FOREIGN,
	FC_STAT_UNATTENDED,
	FC_STAT_KEEPALIVE,
	FC_STAT_WAKE_SOURCE,
	FC_STAT_WAKE_SITE,
	FC_STAT_FLOW_EVICTED,
	FC_STAT_FLOW_QUOTA,
	FC_STAT_CELL_TAKEN,
	FC_STAT_EGRESS_CONNECTIONS,
	FC_STAT_EGRESS_PACKETS,
	FC_STAT_PROOF_ASKED,
	FC_STAT_PROOF_GIVEN,
	FC_STAT_MAX,
};

#endif
