/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a folder, without what readdir(3) allocates. */
struct entries {
	int fd;
	ssize_t at, got;
	char buf[2048] __attribute__((aligned(8)));
};

struct entry { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static struct entry *next_entry(struct entries *e)
{
	for (;;) {
		struct entry *d;

		if (e->at >= e->got) {
			e->got = syscall(SYS_getdents64, e->fd, e->buf, sizeof(e->buf));
			e->at = 0;
			if (e->got <= 0)
				return NULL;
		}
		d = (struct entry *)(e->buf + e->at);
		e->at += d->len;
		if (strcmp(d->name, ".") && strcmp(d->name, ".."))
			return d;
	}
}

static int open_folder(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Deeper than any folder of fcnode's own. */
#define DEEPEST 16

static void remove_below(int fd, int deep)
{
	struct entries e = { .fd = fd };
	struct entry *d;

	while ((d = next_entry(&e))) {
		int folder;

		if (!unlinkat(fd, d->name, 0) || errno == ENOENT || deep == DEEPEST)
			continue;
		folder = open_folder(fd, d->name);
		if (folder < 0)
			continue;
		remove_below(folder, deep + 1);
		close(folder);
		unlinkat(fd, d->name, AT_REMOVEDIR);
	}
}

/* What cannot be removed is swept by the next daemon. */
void remove_tree(const char *path)
{
	int fd = open_folder(AT_FDCWD, path);

	if (fd < 0)
		return;
	remove_below(fd, 0);
	close(fd);
	rmdir(path);
}

/* Reads the beginning of a file in a cgroup as a string. */
static ssize_t read_text(const char *cgroup, const char *name, char *buf, size_t size)
{
	int fd = open(path_of(cgroup, name), O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, buf, size - 1);
	close(fd);
	buf[got < 0 ? 0 : got] = 0;
	return got;
}

/* Kills every process in the cgroup. */
void kill_group(const char *cgroup)
{
	char buf[4096];
	char *at = buf;
	int fd = open(path_of(cgroup, "cgroup.procs"), O_RDONLY | O_CLOEXEC);
	size_t held = 0;
	ssize_t got;

	if (fd < 0)
		return; /* gone */
	while ((got = read(fd, buf + held, sizeof(buf) - 1 - held)) > 0) {
		char *newline;

		held += got;
		buf[held] = 0;
		for (at = buf; (newline = strchr(at, '\n')); at = newline + 1) {
			long pid = strtol(at, NULL, 10);

			if (pid > 0) /* 0 is a process of another PID namespace */
				kill(pid, SIGKILL);
		}
		held = buf + held - at;
		memmove(buf, at, held);
	}
	close(fd);
}

/* How long the processes of an exec may take to end: they have been killed. */
#define WITHIN 2000 /* ms */

/* The kernel makes cgroup.events readable anew with each change. */
static void wait_empty(const char *cgroup)
{
	char buf[256];
	int64_t until = now_ns() + WITHIN * MILLISECOND;
	struct pollfd p = { .events = POLLPRI };

	p.fd = open(path_of(cgroup, "cgroup.events"), O_RDONLY | O_CLOEXEC);
	if (p.fd < 0)
		return;
	for (;;) {
		ssize_t got = pread(p.fd, buf, sizeof(buf) - 1, 0);
		int64_t left = (until - now_ns()) / MILLISECOND;

		buf[got < 0 ? 0 : got] = 0;
		if (got <= 0 || strstr(buf, "populated 0") || left <= 0)
			break;
		poll(&p, 1, left);
	}
	close(p.fd);
}

/* Ends the cgroups in the replica's: those of execs, whose processes have ended
 * with init. */
static void end_below(const char *cgroup)
{
	static char path[PATH_MAX];
	struct entries e = {};
	struct entry *d;

	e.fd = open_folder(AT_FDCWD, cgroup);
	if (e.fd < 0)
		return;
	while ((d = next_entry(&e))) {
		const char *below;
		int fd;

		if (d->type != DT_DIR)
			continue;
		below = path_of(cgroup, d->name);
		memcpy(path, below, strlen(below) + 1);
		fd = open(path_of(path, "cgroup.kill"), O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			if (write(fd, "1", 1) < 0)
				kill_group(path);
			close(fd);
		}
		wait_empty(path);
		rmdir(path);
	}
	close(e.fd);
}

/* Whether the kernel has killed in it for lack of memory. */
static bool out_of_memory(const char *cgroup)
{
	static const char name[] = "\noom_kill ";
	char buf[512];
	char *at;

	if (read_text(cgroup, "memory.events", buf, sizeof(buf)) <= 0)
		return false;
	at = strstr(buf, name);
	return at && strtoull(at + sizeof(name) - 1, NULL, 10) > 0;
}

static void put_exit(struct text *t, const struct ending *e, bool oom, struct timespec at)
{
	const char *name;

	put(t, "{\"code\":");
	if (WIFSIGNALED(e->status)) {
		put_number(t, 128 + WTERMSIG(e->status));
		name = sigabbrev_np(WTERMSIG(e->status));
		if (name) {
			put(t, ",\"signal\":\"SIG");
			put(t, name);
			put(t, "\"");
		}
	} else {
		put_number(t, WEXITSTATUS(e->status));
	}
	if (oom)
		put(t, ",\"oom\":true");
	put(t, ",\"at\":\"");
	put_time(t, at);
	put(t, "\"");
	if (e->unable) { /* one of this program's own, in which nothing is to be escaped */
		put(t, ",\"failed\":\"");
		put(t, e->unable);
		put(t, "\"");
	}
	put(t, "}");
}

int write_exit(const struct ending *e, struct timespec at)
{
	static char temp[PATH_MAX];
	char buf[512];
	struct text t;
	const char *path;
	int fd, err;

	text_begin(&t, buf, sizeof(buf));
	put_exit(&t, e, out_of_memory(e->cgroup), at);
	/* Before exit.json: who reads that finds the cgroup gone. */
	end_below(e->cgroup);
	rmdir(e->cgroup);
	remove_tree(e->lib);
	path = path_of(e->dir, ".exit.json.tmp");
	memcpy(temp, path, strlen(path) + 1);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	err = write(fd, t.start, t.at - t.start) != t.at - t.start;
	err |= close(fd);
	return err || rename(temp, path_of(e->dir, "exit.json")) ? -1 : 0;
}
