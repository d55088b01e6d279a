/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who speaks when on a connection. A request is the first payload that comes in
 * after the server has spoken, its answer the first that goes out after that.
 * What is known not to take turns, or cannot be told from it, is counted as
 * such and not measured. */
#ifndef FCNODE_TURNS_H
#define FCNODE_TURNS_H

#include "maps.h"

/* Four characters as they are read into a word. */
#define FC_WORD(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

#define FC_TLS_CCS 20
#define FC_TLS_ALERT 21
#define FC_TLS_HANDSHAKE 22
#define FC_TLS_DATA 23
#define FC_TLS_CLIENT_HELLO 1
#define FC_TLS_ALPN 16
/* Encrypted alerts and key updates are shorter than this, requests are not. */
#define FC_TLS_SMALL 24
#define FC_TLS_RECORDS 6     /* walked in one packet */
#define FC_TLS_EXTENSIONS 40 /* walked in a client's first message */
#define FC_TLS_PROTOCOLS 8   /* that a client offers */

/* What has been seen of a TLS handshake. */
#define FC_SEEN_CCS 1
#define FC_SEEN_TLS12 2

static __always_inline bool after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

static __always_inline struct fc_load *load_of(__u32 replica)
{
	return bpf_map_lookup_elem(&fc_loads, &replica);
}

/* Log-linear: FC_LATENCY_SUB buckets for each power of two. */
static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u64 v = ns >> FC_LATENCY_UNIT;
	__u32 e;

	if (v < FC_LATENCY_SUB)
		return v;
	e = 63 - __builtin_clzll(v);
	if (e > FC_LATENCY_TOP)
		return FC_LATENCY_BUCKETS - 1;
	return (e - 3) * FC_LATENCY_SUB + ((v >> (e - 4)) & (FC_LATENCY_SUB - 1));
}

static __always_inline void no_turns(struct fc_conn *c, struct fc_load *load)
{
	if (__sync_lock_test_and_set(&c->kind, FC_KIND_NO_TURNS) != FC_KIND_NO_TURNS)
		__sync_fetch_and_add(&load->no_turns, 1);
}

static __always_inline void begin_turn(struct fc_conn *c, struct fc_load *load)
{
	load->requests++;
	c->began = bpf_ktime_get_ns();
	c->turn = FC_TURN_WAITING;
}

static __always_inline bool is_method(__u32 word)
{
	switch (word) {
	case FC_WORD('G', 'E', 'T', ' '):
	case FC_WORD('P', 'O', 'S', 'T'):
	case FC_WORD('H', 'E', 'A', 'D'):
	case FC_WORD('P', 'U', 'T', ' '):
	case FC_WORD('D', 'E', 'L', 'E'):
	case FC_WORD('P', 'A', 'T', 'C'):
	case FC_WORD('O', 'P', 'T', 'I'):
	case FC_WORD('P', 'R', 'O', 'P'):
	case FC_WORD('R', 'E', 'P', 'O'):
	case FC_WORD('T', 'R', 'A', 'C'):
		return true;
	}
	return false;
}

struct tls_record {
	__u8 type, major, minor, len_hi, len_lo;
	__u8 first; /* byte of what is in it */
};

static __always_inline bool tls_record(struct __sk_buff *skb, __u32 at, struct tls_record *r)
{
	return bpf_skb_load_bytes(skb, at, r, sizeof(*r)) == 0 && r->major == 3 && r->type >= FC_TLS_CCS &&
	       r->type <= FC_TLS_DATA;
}

static __always_inline __u32 tls_len(const struct tls_record *r)
{
	return (__u32)r->len_hi << 8 | r->len_lo;
}

struct alpn {
	struct __sk_buff *skb;
	__u32 at, end;
	__u32 h2;
	__u32 pad;
};

static long next_protocol(__u32 i, struct alpn *q)
{
	__u8 name[3];

	if (q->at + 3 > q->end)
		return 1;
	if (bpf_skb_load_bytes(q->skb, q->at, name, sizeof(name)) < 0 ||
	    (name[0] == 2 && name[1] == 'h' && name[2] == '2')) {
		q->h2 = 1;
		return 1;
	}
	q->at += 1 + (__u32)name[0];
	return 0;
}

/* Whether a list of protocol names has HTTP/2 in it. */
__noinline int fc_alpn_has_h2(struct __sk_buff *skb, __u32 at, __u32 end)
{
	struct alpn q = { .skb = skb, .at = at, .end = end };

	bpf_loop(FC_TLS_PROTOCOLS, next_protocol, &q, 0);
	return q.h2 || q.at + 3 <= end;
}

struct extensions {
	struct __sk_buff *skb;
	__u32 at, end;
	__u32 h2;
	__u32 pad;
};

static long next_extension(__u32 i, struct extensions *q)
{
	struct {
		__be16 type, len;
	} ext;

	if (q->at >= q->end) {
		q->h2 = 0;
		return 1;
	}
	if (bpf_skb_load_bytes(q->skb, q->at, &ext, sizeof(ext)) < 0)
		return 1;
	q->at += sizeof(ext);
	if (ext.type == bpf_htons(FC_TLS_ALPN)) {
		q->h2 = fc_alpn_has_h2(q->skb, q->at + 2, q->at + bpf_ntohs(ext.len));
		return 1;
	}
	q->at += bpf_ntohs(ext.len);
	return 0;
}

/* Whether a client offers HTTP/2 in its first message; also if the message is
 * longer than what is here of it. What the server then takes is encrypted, so
 * such a connection cannot be said to take turns. */
__noinline int fc_offers_h2(struct __sk_buff *skb, __u32 at)
{
	struct extensions q = { .skb = skb, .h2 = 1 };
	__u8 b[2];

	at += 5 + 4 + 2 + 32; /* record, message, version, random */
	if (bpf_skb_load_bytes(skb, at, b, 1) < 0)
		return 1;
	at += 1 + (__u32)b[0]; /* session */
	if (bpf_skb_load_bytes(skb, at, b, 2) < 0)
		return 1;
	at += 2 + ((__u32)b[0] << 8 | b[1]); /* ciphers */
	if (bpf_skb_load_bytes(skb, at, b, 1) < 0)
		return 1;
	at += 1 + (__u32)b[0]; /* compression */
	if (bpf_skb_load_bytes(skb, at, b, 2) < 0)
		return at < skb->len; /* no extensions at all */
	q.at = at + 2;
	q.end = q.at + ((__u32)b[0] << 8 | b[1]);
	bpf_loop(FC_TLS_EXTENSIONS, next_extension, &q, 0);
	return q.h2;
}

/* Records of the client until its first request. TLS 1.3 hides the end of the
 * handshake in a record of data; TLS 1.2 has shown another handshake message
 * by then. */
static __always_inline void tls_handshake(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at,
					  __u32 end)
{
	struct tls_record r;

	for (int i = 0; i < FC_TLS_RECORDS && at + sizeof(r) <= end; i++) {
		if (!tls_record(skb, at, &r)) {
			no_turns(c, load);
			return;
		}
		if (r.type == FC_TLS_CCS) {
			c->seen |= FC_SEEN_CCS;
		} else if (r.type == FC_TLS_HANDSHAKE) {
			if (r.first != FC_TLS_CLIENT_HELLO || (c->seen & FC_SEEN_CCS))
				c->seen |= FC_SEEN_TLS12;
		} else if (r.type == FC_TLS_DATA && c->kind == FC_KIND_TLS && !(c->seen & FC_SEEN_TLS12)) {
			/* the first answer cannot be told from the session tickets
			 * that a server sends about now */
			c->kind = FC_KIND_TLS_DATA;
			c->unsure = 1;
		} else if (r.type == FC_TLS_DATA && tls_len(&r) > FC_TLS_SMALL) {
			c->kind = FC_KIND_TLS_DATA;
			begin_turn(c, load);
			return;
		}
		at += 5 + tls_len(&r);
	}
}

static __always_inline void first_payload(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at,
					  __u32 len, __u32 word)
{
	if (word == FC_WORD('P', 'R', 'I', ' ') || word == FC_WORD('C', 'O', 'N', 'N')) {
		no_turns(c, load); /* HTTP/2; a tunnel */
		return;
	}
	if ((word & 0xffff) == FC_WORD(FC_TLS_HANDSHAKE, 3, 0, 0)) {
		c->kind = FC_KIND_TLS;
		if (fc_offers_h2(skb, at))
			no_turns(c, load);
		return;
	}
	c->kind = is_method(word) ? FC_KIND_HTTP : FC_KIND_PLAIN;
	begin_turn(c, load);
}

static __always_inline void tls_payload(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at,
					__u32 len)
{
	struct tls_record r;

	if (c->turn == FC_TURN_WAITING)
		return; /* more of the request */
	if (len < sizeof(r))
		return;
	if (!tls_record(skb, at, &r))
		no_turns(c, load);
	else if (r.type == FC_TLS_DATA && tls_len(&r) > FC_TLS_SMALL)
		begin_turn(c, load);
}

/* New payload from the client. */
__noinline int fc_turn_in(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at, __u32 len)
{
	__u32 word = 0;

	if (!c || !load || c->kind == FC_KIND_NO_TURNS)
		return 0;
	if (c->kind == FC_KIND_TLS) {
		tls_handshake(skb, c, load, at, at + len);
		return 0;
	}
	if (c->kind == FC_KIND_TLS_DATA) {
		tls_payload(skb, c, load, at, len);
		return 0;
	}
	if (c->kind == FC_KIND_PLAIN) {
		if (c->turn != FC_TURN_WAITING)
			begin_turn(c, load);
		return 0;
	}
	if (len >= sizeof(word) && bpf_skb_load_bytes(skb, at, &word, sizeof(word)) < 0)
		return 0;
	if (c->kind == FC_KIND_NEW) {
		first_payload(skb, c, load, at, len, word);
	} else if (is_method(word)) {
		if (c->turn == FC_TURN_WAITING)
			no_turns(c, load); /* the next request before the answer */
		else
			begin_turn(c, load);
	} else if (c->turn == FC_TURN_ANSWERED) {
		no_turns(c, load); /* still sending, and answered already */
	}
	return 0;
}

/* Whether this is not the answer yet. */
static __always_inline bool interim(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at)
{
	char h[12] = {};

	if (c->kind == FC_KIND_TLS_DATA) {
		/* TLS 1.2: the server's end of the handshake */
		return bpf_skb_load_bytes(skb, at, h, 1) < 0 || h[0] != FC_TLS_DATA;
	}
	if (c->kind != FC_KIND_HTTP || bpf_skb_load_bytes(skb, at, h, sizeof(h)) < 0)
		return false;
	if (h[0] != 'H' || h[4] != '/' || h[8] != ' ' || h[9] != '1')
		return false;
	if (h[11] == '1') /* 101: WebSocket and others from here on */
		no_turns(c, load);
	return true;
}

/* The server speaks first, as far as has been seen. With `unseen` the client
 * has: its request came with the end of the handshake, to the listener. Then
 * it is told from what HTTP answers. */
static __always_inline void first_answer_of(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at,
					    bool unseen)
{
	__u32 word;

	if (!unseen || bpf_skb_load_bytes(skb, at, &word, sizeof(word)) < 0 || word != FC_WORD('H', 'T', 'T', 'P')) {
		no_turns(c, load);
		return;
	}
	__sync_fetch_and_add(&load->requests, 1);
	c->kind = FC_KIND_HTTP;
	c->turn = FC_TURN_ANSWERED;
}

/* When a segment left its socket, by the clock of bpf_ktime_get_ns(): TCP has
 * read it already to send this one (tcp_mstamp_refresh), and writes it on each
 * as the earliest time of departure. That lies ahead only where a fair queue
 * (fq) does the pacing, and the device of a replica has no queue. */
static __always_inline __u64 sent_at(struct __sk_buff *skb)
{
	return skb->tstamp ?: bpf_ktime_get_ns();
}

/* New payload of the server. Returns the latency in ns if it is an answer that
 * was measured, else 0. */
__noinline __u64 fc_turn_out(struct __sk_buff *skb, struct fc_conn *c, struct fc_load *load, __u32 at, int unseen)
{
	struct fc_latency *all;
	__u32 b, replica;
	__u64 latency;

	if (!c || !load)
		return 0;
	replica = c->replica;
	if (c->turn == FC_TURN_NONE) {
		if (c->kind == FC_KIND_NEW) /* else within a TLS handshake */
			first_answer_of(skb, c, load, at, unseen);
		return 0;
	}
	if (interim(skb, c, load, at))
		return 0;
	c->turn = FC_TURN_ANSWERED;
	if (c->unsure) {
		c->unsure = 0;
		return 0;
	}
	latency = sent_at(skb) - c->began;
	if ((__s64)latency < 0)
		latency = 0; /* began on another CPU, just now */
	all = bpf_map_lookup_elem(&fc_latencies, &replica);
	b = latency_bucket(latency);
	barrier_var(b); /* clang knows its range, the verifier wants to see it */
	if (all && b < FC_LATENCY_BUCKETS)
		__sync_fetch_and_add(&all->n[b], 1);
	return latency ?: 1;
}

#endif
