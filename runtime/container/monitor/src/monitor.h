/* SPDX-License-Identifier: Apache-2.0 */
/* fcnode-monitor stands beside one container for as long as that runs. See
 * doc.go of the package that tests it. It allocates nothing, uses no stdio and
 * has one thread: there is one of it for each replica. */
#ifndef FCNODE_MONITOR_H
#define FCNODE_MONITOR_H

#define _GNU_SOURCE

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Of the command line and the files: wire.Version. */
#define VERSION "7"

#define SECOND 1000000000LL /* ns */
#define MILLISECOND 1000000LL

/* --- text.c: text in buffers of a fixed size --- */

/* A text that is too long for its buffer is cut, and says so. */
struct text {
	char *start, *at, *end;
	bool cut;
};

void text_begin(struct text *t, char *buf, size_t size);
void put_bytes(struct text *t, const char *from, size_t n);
void put(struct text *t, const char *s);
void put_number(struct text *t, uint64_t n);
void put_time(struct text *t, struct timespec at); /* RFC 3339, UTC, nine digits */

/* A path that lives until the next call of this function, and "" if it is
 * longer than the kernel takes, which no file has as its name. */
const char *path_of(const char *dir, const char *name);

int64_t now_ns(void); /* CLOCK_MONOTONIC */

/* Of two times the sooner one; 0 is never. */
static inline void sooner(int64_t *at, int64_t other)
{
	if (other && (!*at || other < *at))
		*at = other;
}

/* --- bucket.c: how much of the output is kept --- */

struct bucket {
	uint64_t rate;	 /* tokens a second; 0: without end */
	int64_t tokens;	 /* in millionths; below 0 when a long line took more than there were */
	int64_t at;	 /* CLOCK_MONOTONIC, ns */
};

#define BURST 10 /* seconds' worth of tokens */
#define MOST_RATE (1LL << 36)

void bucket_fill(struct bucket *b, int64_t now);
bool bucket_take(struct bucket *b, uint64_t n);
bool bucket_empty(const struct bucket *b);
/* How long until there is a second's worth again, ns. */
int64_t bucket_wait(const struct bucket *b);

/* --- logfile.c: the site's log, which other monitors write, too --- */

struct logfile {
	const char *dir;
	int64_t max_size; /* bytes */
	int files;
	int fd; /* -1: not open */
	bool torn; /* it may end in the middle of a line */
};

int log_append(struct logfile *l, const char *buf, size_t n);

/* --- output.c: from the pipes into the log --- */

#define MAX_LINE (16 << 10) /* runtime/logs.MaxLine */

struct stream {
	const char *name;
	int fd; /* -1: it has ended */
	size_t held; /* bytes of an unfinished line */
	int64_t rest; /* not read before that, ns */
};

struct output {
	struct logfile log;
	const char *replica;
	struct bucket bytes, lines;
	struct stream streams[2];
	bool dropping;
	uint64_t dropped; /* lines since the last note of it */
	uint64_t lost; /* lines since the last that could be written */
	int64_t used; /* when the buffers were last written to; 0: they are released */
};

void output_read(struct output *o, struct stream *s);
/* Does what is due, and says when it has to be called again (ns; 0: never). */
int64_t output_tick(struct output *o, int64_t now);
bool output_over(const struct output *o);

/* --- pages.c: the memory of a restored container that is not there yet --- */

#define MAX_HELD 64

struct pages {
	pid_t server; /* 0: all is there */
	int64_t patience; /* ns */
	int64_t look; /* when to look again */
	uint64_t read; /* bytes, when last looked */
	const char *marker; /* removed when all is there */
	const char *spent; /* a folder, removed when it is not needed any more; "" if there is none */
	int held[MAX_HELD];
	int held_count;
	int checkpoint; /* holds the folder */
};

void pages_tick(struct pages *p, int64_t now);
/* The server has ended. Returns why the container cannot go on, or NULL. */
const char *pages_ended(struct pages *p, int status, const char *cgroup);
void pages_abandon(struct pages *p);

/* --- end.c: what is left of a container --- */

struct ending {
	const char *dir, *cgroup, *lib;
	int status; /* of wait(2) */
	const char *unable; /* why it could not go on, or NULL */
};

void kill_group(const char *cgroup);
void remove_tree(const char *path);
/* Removes the cgroup and libcontainer's record, then writes exit.json. */
int write_exit(const struct ending *e, struct timespec at);

#endif
