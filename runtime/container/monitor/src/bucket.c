/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#define MILLION 1000000LL

void bucket_fill(struct bucket *b, int64_t now)
{
	int64_t most = (int64_t)b->rate * BURST * MILLION;
	int64_t micros = (now - b->at) / 1000;

	if (!b->at || micros >= BURST * 2 * MILLION) {
		/* What a long line has borrowed is paid back by then. */
		b->tokens = most;
		b->at = now;
		return;
	}
	b->at += micros * 1000;
	b->tokens += micros * (int64_t)b->rate;
	if (b->tokens > most)
		b->tokens = most;
}

bool bucket_empty(const struct bucket *b)
{
	return b->rate && b->tokens <= 0;
}

/* The last line may take more than there is. */
bool bucket_take(struct bucket *b, uint64_t n)
{
	if (bucket_empty(b))
		return false;
	b->tokens -= (int64_t)n * MILLION;
	return true;
}

int64_t bucket_wait(const struct bucket *b)
{
	int64_t missing = (int64_t)b->rate * MILLION - b->tokens;

	if (!b->rate || missing <= 0)
		return 0;
	return (missing / (int64_t)b->rate + 1) * 1000;
}
