/* SPDX-License-Identifier: Apache-2.0 */
/* The format of the log and the rules by which several monitors share it are
 * those of the Go package runtime/logs, which has the other writer of it. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG "output.log"
#define LOCK ".lock"

static int log_open(struct logfile *l)
{
	struct stat st;
	/* Whoever put a FIFO there does not get us to wait. */
	int fd = open(path_of(l->dir, LOG), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -1;
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	return 0;
}

/* Whether the open file is still the one of that name; -1 if nobody can say. */
static int is_current(struct logfile *l, off_t *size)
{
	struct stat open, named;

	if (fstat(l->fd, &open))
		return -1;
	*size = open.st_size;
	if (stat(path_of(l->dir, LOG), &named))
		return errno == ENOENT ? 0 : -1;
	return open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

/* The name of an older part, which lives until the next call with the same slot. */
static const char *part(const struct logfile *l, int n, int slot)
{
	static char paths[2][PATH_MAX];
	struct text t;

	text_begin(&t, paths[slot], sizeof(paths[slot]) - 1);
	put(&t, l->dir);
	put(&t, "/" LOG ".");
	put_number(&t, n);
	*t.at = 0;
	return t.cut ? "" : paths[slot];
}

static int shift(struct logfile *l)
{
	if (l->files == 1)
		return unlink(path_of(l->dir, LOG));
	for (int i = l->files - 2; i >= 1; i--)
		if (rename(part(l, i, 0), part(l, i + 1, 1)) && errno != ENOENT)
			return -1;
	return rename(path_of(l->dir, LOG), part(l, 1, 0));
}

/* Renames the files one up and starts a new one, unless another monitor has
 * just done that. */
static int rotate(struct logfile *l, size_t n)
{
	struct stat named;
	int err = 0;
	int lock = open(path_of(l->dir, LOCK), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);

	if (lock < 0)
		return -1;
	while (flock(lock, LOCK_EX))
		if (errno != EINTR) {
			close(lock);
			return -1;
		}
	if (!stat(path_of(l->dir, LOG), &named) && named.st_size && named.st_size + (int64_t)n > l->max_size)
		err = shift(l);
	if (!err)
		err = log_open(l);
	close(lock); /* releases the lock */
	return err;
}

/* Makes sure that the file that is open is the current one and that n more
 * bytes fit. */
static int make_room(struct logfile *l, size_t n)
{
	off_t size = 0;
	int current;

	if (l->fd < 0 && log_open(l))
		return -1;
	current = is_current(l, &size);
	if (!current && (log_open(l) || is_current(l, &size) < 0))
		return -1;
	if (current < 0)
		return -1;
	if (!size || size + (int64_t)n <= l->max_size)
		return 0;
	return rotate(l, n);
}

int log_append(struct logfile *l, const char *buf, size_t n)
{
	bool begun = false;

	if (make_room(l, n))
		return -1;
	while (n > 0) {
		ssize_t done = write(l->fd, buf, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) { /* the disk is full, maybe in the middle of a line */
			l->torn |= begun;
			return -1;
		}
		begun = true;
		buf += done;
		n -= done;
	}
	l->torn = false;
	return 0;
}
