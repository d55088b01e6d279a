//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The data path of fcnode: see docs/architecture.md, "A packet's story". */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "budget.h"
#include "choose.h"
#include "control.h"
#include "count.h"
#include "datagrams.h"
#include "deny.h"
#include "events.h"
#include "flow.h"
#include "hold.h"
#include "ignore.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "proof.h"
#include "queues.h"
#include "reply.h"
#include "sockets.h"
#include "steer.h"
#include "use.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Types that only pointers use are not in BTF, and so not in the bindings. */
const struct fc_event *fc_type_event __attribute__((unused));
const struct fc_held *fc_type_held __attribute__((unused));
const struct fc_held_small *fc_type_held_small __attribute__((unused));
const struct fc_held_large *fc_type_held_large __attribute__((unused));
const enum fc_stat *fc_type_stat __attribute__((unused));
const enum fc_event_kind *fc_type_event_kind __attribute__((unused));
const struct fc_trigger_args *fc_type_trigger_args __attribute__((unused));
const struct fc_trigger_event *fc_type_trigger_event __attribute__((unused));
const enum fc_trigger_kind *fc_type_trigger_kind __attribute__((unused));
const enum fc_kind *fc_type_kind __attribute__((unused));
const enum fc_turn *fc_type_turn __attribute__((unused));
const struct fc_control_args *fc_type_control_args __attribute__((unused));
const enum fc_control_op *fc_type_control_op __attribute__((unused));
const enum fc_replica_flags *fc_type_replica_flags __attribute__((unused));
const enum fc_site_flags *fc_type_site_flags __attribute__((unused));
const struct fc_limited *fc_type_limited __attribute__((unused));
const struct fc_refusal *fc_type_refusal __attribute__((unused));
const enum fc_policy_owner *fc_type_policy_owner __attribute__((unused));
const enum fc_policy_target *fc_type_policy_target __attribute__((unused));
const enum fc_verdict *fc_type_verdict __attribute__((unused));
const enum fc_ignored_gets *fc_type_ignored_gets __attribute__((unused));
const enum fc_cells *fc_type_cells __attribute__((unused));
const enum fc_proof_of *fc_type_proof_of __attribute__((unused));
const enum fc_proof_mode *fc_type_proof_mode __attribute__((unused));
const enum fc_hold_most *fc_type_hold_most __attribute__((unused));
const enum fc_uplink_flags *fc_type_uplink_flags __attribute__((unused));
