/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* In whole pages of their own, which are given back when nothing is in them:
 * most sites write something when they start, and then nothing for days. */
#define PAGE 4096
static char lines_of[2][MAX_LINE] __attribute__((aligned(PAGE)));
static char out[2 * MAX_LINE] __attribute__((aligned(PAGE)));

/* How long they stay. */
#define KEEP (1 * SECOND)

/* A site that writes more than is kept is read by the pipe, with a pause after
 * each: so it takes next to nothing of a processor that is not its own, and is
 * slowed to some MB a second, not stopped. */
#define PIPE (64 << 10)
#define PAUSE (10 * MILLISECOND)

/* A batch of lines that are written by one write(2). */
struct batch {
	struct output *o;
	struct text text;
	uint64_t count; /* of lines */
	uint64_t told; /* how many dropped ones it tells of */
	struct timespec at;
};

static void put_head(struct batch *b, const char *stream, bool partial)
{
	put_time(&b->text, b->at);
	put(&b->text, " ");
	put(&b->text, stream);
	put(&b->text, partial ? " P:" : " F:");
	put(&b->text, b->o->replica);
	put(&b->text, " ");
}

static void put_size(struct text *t, uint64_t n)
{
	static const char *const units[] = { " bytes", " KiB", " MiB", " GiB" };
	int unit = 0;

	for (; unit < 3 && n && n % 1024 == 0; unit++)
		n /= 1024;
	put_number(t, n);
	put(t, units[unit]);
}

static void begin(struct batch *b, struct output *o)
{
	b->o = o;
	b->count = b->told = 0;
	clock_gettime(CLOCK_REALTIME, &b->at);
	text_begin(&b->text, out, sizeof(out));
	if (o->log.torn)
		put(&b->text, "\n");
	if (o->lost) {
		put_head(b, "stderr", false);
		put(&b->text, "fcnode: ");
		put_number(&b->text, o->lost);
		put(&b->text, " lines were lost: the log could not be written\n");
	}
	if (o->dropped && !o->dropping) {
		b->told = o->dropped;
		put_head(b, "stderr", false);
		put(&b->text, "fcnode: ");
		put_number(&b->text, o->dropped);
		put(&b->text, " lines were dropped: the replica writes more than ");
		if (o->lines.rate) {
			put_number(&b->text, o->lines.rate);
			put(&b->text, " lines");
		}
		if (o->lines.rate && o->bytes.rate)
			put(&b->text, " or ");
		if (o->bytes.rate)
			put_size(&b->text, o->bytes.rate);
		put(&b->text, " a second (log.rate)\n");
	}
}

static void flush(struct batch *b)
{
	struct output *o = b->o;

	if (b->text.at == b->text.start)
		return;
	if (log_append(&o->log, b->text.start, b->text.at - b->text.start)) {
		o->lost += b->count;
		return; /* what was dropped is told later */
	}
	o->lost = 0;
	o->dropped -= b->told;
}

/* Whether there are tokens for the line. From the first that is dropped on all
 * are, until there is a second's worth again. */
static bool allowed(struct output *o, size_t n)
{
	if (o->dropping)
		return false;
	if (bucket_empty(&o->bytes) || bucket_empty(&o->lines)) {
		o->dropping = true;
		return false;
	}
	bucket_take(&o->bytes, n + 1);
	bucket_take(&o->lines, 1);
	return true;
}

static void line(struct batch *b, const struct stream *s, const char *from, size_t n, bool partial)
{
	const size_t most_head = 64 + NAME_MAX; /* time, stream, tag, replica */

	if (!allowed(b->o, n)) {
		b->o->dropped++;
		return;
	}
	if ((size_t)(b->text.end - b->text.at) < most_head + n + 1) {
		flush(b);
		begin(b, b->o);
	}
	put_head(b, s->name, partial);
	put_bytes(&b->text, from, n);
	put(&b->text, "\n");
	b->count++;
}

static uint64_t newlines(const char *from, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += from[i] == '\n';
	return count;
}

/* Writes the whole lines of what is held, and at the end also the last,
 * unfinished one. */
static void lines(struct output *o, struct stream *s, bool end)
{
	char *buf = lines_of[s - o->streams];
	char *from = buf, *stop = buf + s->held, *newline;
	struct batch b;

	begin(&b, o);
	while (from < stop && (newline = memchr(from, '\n', stop - from))) {
		if (o->dropping) { /* all of them, which need not be looked at one by one */
			newline = memrchr(from, '\n', stop - from);
			o->dropped += newlines(from, newline + 1 - from);
		} else {
			line(&b, s, from, newline - from, false);
		}
		from = newline + 1;
	}
	if (from < stop && end) {
		line(&b, s, from, stop - from, false);
		from = stop;
	} else if (from == buf && s->held == MAX_LINE) {
		line(&b, s, from, stop - from, true);
		from = stop;
	}
	if (b.count)
		flush(&b);
	s->held = stop - from;
	memmove(buf, from, s->held);
}

static void fill(struct output *o, int64_t now)
{
	bucket_fill(&o->bytes, now);
	bucket_fill(&o->lines, now);
	if (o->dropping && !bucket_wait(&o->bytes) && !bucket_wait(&o->lines))
		o->dropping = false;
}

/* One read, and one pipe's worth of them while lines are dropped. */
void output_read(struct output *o, struct stream *s)
{
	char *buf = lines_of[s - o->streams];
	size_t got = 0;

	o->used = now_ns();
	fill(o, o->used);
	do {
		ssize_t n = read(s->fd, buf + s->held, MAX_LINE - s->held);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return;
		if (n > 0)
			s->held += n;
		lines(o, s, n <= 0);
		if (n <= 0) {
			close(s->fd);
			s->fd = -1;
			return;
		}
		got += n;
	} while (o->dropping && got < PIPE);
	if (o->dropping)
		s->rest = o->used + PAUSE;
}

int64_t output_tick(struct output *o, int64_t now)
{
	int64_t next = 0;

	for (int i = 0; i < 2; i++) {
		struct stream *s = &o->streams[i];

		if (s->rest && s->rest <= now)
			s->rest = 0;
		if (s->rest && s->fd >= 0)
			sooner(&next, s->rest);
	}
	if (o->dropping) {
		fill(o, now);
		if (!o->dropping) {
			struct batch b;

			begin(&b, o);
			flush(&b);
			o->used = now;
		}
	}
	if (o->dropping) {
		int64_t bytes = bucket_wait(&o->bytes), lines = bucket_wait(&o->lines);

		sooner(&next, now + (bytes > lines ? bytes : lines));
	}
	if (!o->used)
		return next;
	if (now < o->used + KEEP) {
		sooner(&next, o->used + KEEP);
		return next;
	}
	o->used = 0;
	if (!o->streams[0].held && !o->streams[1].held)
		madvise(lines_of, sizeof(lines_of), MADV_DONTNEED);
	madvise(out, sizeof(out), MADV_DONTNEED);
	return next;
}

bool output_over(const struct output *o)
{
	return o->streams[0].fd < 0 && o->streams[1].fd < 0;
}
