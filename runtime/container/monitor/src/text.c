/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <string.h>

void text_begin(struct text *t, char *buf, size_t size)
{
	t->start = t->at = buf;
	t->end = buf + size;
	t->cut = false;
}

void put_bytes(struct text *t, const char *from, size_t n)
{
	size_t room = t->end - t->at;

	if (n > room) {
		n = room;
		t->cut = true;
	}
	memcpy(t->at, from, n);
	t->at += n;
}

void put(struct text *t, const char *s)
{
	put_bytes(t, s, strlen(s));
}

static void put_padded(struct text *t, uint64_t n, int width)
{
	char digits[20];
	char *at = digits + sizeof(digits);

	do {
		*--at = '0' + n % 10;
		n /= 10;
		width--;
	} while (n || width > 0);
	put_bytes(t, at, digits + sizeof(digits) - at);
}

void put_number(struct text *t, uint64_t n)
{
	put_padded(t, n, 1);
}

/* gmtime(3) reads the time zone's files, and allocates. */
void put_time(struct text *t, struct timespec at)
{
	uint64_t secs = at.tv_sec < 0 ? 0 : at.tv_sec;
	uint64_t days = secs / 86400, left = secs % 86400;
	/* Years of 365.2425 days that begin in March, in eras of 400 years. */
	uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153;
	uint64_t day = doy - (153 * mp + 2) / 5 + 1;
	uint64_t month = mp < 10 ? mp + 3 : mp - 9;

	put_padded(t, yoe + era * 400 + (month <= 2), 4);
	put(t, "-");
	put_padded(t, month, 2);
	put(t, "-");
	put_padded(t, day, 2);
	put(t, "T");
	put_padded(t, left / 3600, 2);
	put(t, ":");
	put_padded(t, left / 60 % 60, 2);
	put(t, ":");
	put_padded(t, left % 60, 2);
	put(t, ".");
	put_padded(t, at.tv_nsec, 9);
	put(t, "Z");
}

const char *path_of(const char *dir, const char *name)
{
	static char path[PATH_MAX];
	struct text t;

	text_begin(&t, path, sizeof(path) - 1);
	put(&t, dir);
	put(&t, "/");
	put(&t, name);
	*t.at = 0;
	return t.cut ? "" : path;
}

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}
