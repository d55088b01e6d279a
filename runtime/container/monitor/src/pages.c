/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How many bytes the server has read so far: it copies without being asked, so
 * the number grows as long as it works. */
static int bytes_read(pid_t server, uint64_t *n)
{
	static const char name[] = "rchar: ";
	char path[64], buf[128];
	struct text t;
	ssize_t got;
	int fd;

	text_begin(&t, path, sizeof(path) - 1);
	put(&t, "/proc/");
	put_number(&t, server);
	put(&t, "/io");
	*t.at = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	got = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (got < (ssize_t)sizeof(name) || memcmp(buf, name, sizeof(name) - 1))
		return -1;
	buf[got] = 0;
	*n = strtoull(buf + sizeof(name) - 1, NULL, 10);
	return 0;
}

/* Ends a server that goes on without reading any, and by that the container:
 * who touches what is missing would wait for ever. */
void pages_tick(struct pages *p, int64_t now)
{
	uint64_t n;

	if (!p->server || now < p->look)
		return;
	p->look = now + p->patience;
	if (bytes_read(p->server, &n))
		return; /* it has ended, or this kernel does not count that */
	if (n == p->read)
		kill(p->server, SIGKILL); /* a child of this process: not collected, so not another's number */
	p->read = n;
}

/* The folder is not needed any more. */
static void spend(struct pages *p)
{
	if (*p->spent)
		remove_tree(p->spent);
	if (p->checkpoint >= 0)
		close(p->checkpoint);
	p->checkpoint = -1;
}

const char *pages_ended(struct pages *p, int status, const char *cgroup)
{
	const char *unable = NULL;

	p->server = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		kill_group(cgroup); /* before the memory is let go */
		unable = "restoring a checkpoint: the server of its memory ended before all was there";
	} else {
		unlink(p->marker); /* what is left of it forbids checkpoints, no more */
	}
	for (int i = 0; i < p->held_count; i++)
		close(p->held[i]);
	p->held_count = 0;
	spend(p);
	return unable;
}

void pages_abandon(struct pages *p)
{
	if (!p->server)
		return;
	kill(p->server, SIGKILL); /* as above */
	p->server = 0;
	spend(p);
}
