/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a container gets to end when the machine goes down and this process
 * is asked to end. */
#define STOP_GRACE (8 * SECOND)

/* How long the output of a container that has ended may take to end too. Nobody
 * is left to hold the other end, so this is a safety net. */
#define DRAIN (2 * SECOND)

static volatile sig_atomic_t asked; /* SIGTERM has come */

struct monitor {
	pid_t init; /* 0: it has ended */
	pid_t maker; /* the runner, or CRIU; 0: it has ended */
	int stop_signal;
	bool stopping;
	int64_t kill_at; /* 0: never */
	int64_t drained; /* when the output has to have ended; 0: init runs */
	struct timespec ended;
	struct ending ending;
	struct output out;
	struct pages pages;
};

static struct monitor m = {
	.out = { .log.fd = -1, .streams = { { "stdout", -1, 0, 0 }, { "stderr", -1, 0, 0 } } },
	.pages = { .checkpoint = -1, .marker = "", .spent = "" },
	.ending = { .dir = "", .cgroup = "", .lib = "" },
};

static void on_signal(int sig)
{
	if (sig == SIGTERM)
		asked = 1;
}

static void fail(const char *why, const char *what)
{
	struct text t;
	char buf[256];
	ssize_t n;

	text_begin(&t, buf, sizeof(buf));
	put(&t, "fcnode-monitor: ");
	put(&t, why);
	put(&t, what);
	put(&t, "\n");
	n = write(2, buf, t.at - buf);
	_exit(n < 0 ? 3 : 2);
}

static int64_t number(const char *text, const char *what)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < 0)
		fail("not a number: ", what);
	return n;
}

static void held(const char *list)
{
	while (*list) {
		char *end;

		if (m.pages.held_count == MAX_HELD)
			fail("too many descriptors: ", list);
		m.pages.held[m.pages.held_count++] = strtol(list, &end, 10);
		if (end == list)
			fail("not a descriptor: ", list);
		list = *end == ',' ? end + 1 : end;
	}
}

static void text_option(const char *arg, const char *value)
{
	static const struct {
		const char *name;
		const char **to;
	} texts[] = {
		{ "replica=", &m.out.replica }, { "log=", &m.out.log.dir }, { "dir=", &m.ending.dir },
		{ "cgroup=", &m.ending.cgroup }, { "lib=", &m.ending.lib }, { "marker=", &m.pages.marker },
		{ "spent=", &m.pages.spent },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!strncmp(arg, texts[i].name, value - arg)) {
			*texts[i].to = value;
			return;
		}
	fail("unknown: ", arg);
}

static void option(const char *arg)
{
	const char *value = strchr(arg, '=');

	if (!value++)
		fail("unknown: ", arg);
#define IS(name) (!strncmp(arg, name, sizeof(name) - 1))
	if (IS("init="))
		m.init = number(value, arg);
	else if (IS("maker="))
		m.maker = number(value, arg);
	else if (IS("signal="))
		m.stop_signal = number(value, arg);
	else if (IS("stop="))
		asked = number(value, arg) != 0;
	else if (IS("stdout="))
		m.out.streams[0].fd = number(value, arg);
	else if (IS("stderr="))
		m.out.streams[1].fd = number(value, arg);
	else if (IS("size="))
		m.out.log.max_size = number(value, arg);
	else if (IS("files="))
		m.out.log.files = number(value, arg);
	else if (IS("bytes="))
		m.out.bytes.rate = number(value, arg);
	else if (IS("lines="))
		m.out.lines.rate = number(value, arg);
	else if (IS("server="))
		m.pages.server = number(value, arg);
	else if (IS("patience="))
		m.pages.patience = number(value, arg);
	else if (IS("checkpoint="))
		m.pages.checkpoint = number(value, arg);
	else if (IS("held="))
		held(value);
	else
		text_option(arg, value);
#undef IS
}

static void read_options(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "version"))
		_exit(write(1, VERSION "\n", sizeof(VERSION)) != sizeof(VERSION));
	if (argc < 2 || strcmp(argv[1], VERSION))
		fail("the fcnode daemon starts this program, of the same release; this one speaks version ", VERSION);
	for (int i = 2; i < argc; i++)
		option(argv[i]);
	if (m.init <= 0 || !m.out.replica || strlen(m.out.replica) > NAME_MAX || !m.out.log.dir || m.out.log.max_size <= 0 || m.out.log.files <= 0)
		fail("something is missing or too long: ", "init, replica, log, size, files");
	if (m.out.bytes.rate > MOST_RATE || m.out.lines.rate > MOST_RATE)
		fail("out of range: ", "bytes, lines");
}

/* The signals are let in only where this process waits. What asks it to end at
 * a terminal is not for it. */
static void catch_signals(sigset_t *waiting)
{
	struct sigaction sa = { .sa_handler = on_signal };
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigemptyset(waiting);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGCHLD, &sa, NULL);
	/* Nothing is executed any more that would inherit that. */
	sa.sa_handler = SIG_IGN;
	sigaction(SIGHUP, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGQUIT, &sa, NULL);
	sigaction(SIGPIPE, &sa, NULL);
}

static void init_ended(int status)
{
	m.init = 0;
	m.ending.status = status;
	clock_gettime(CLOCK_REALTIME, &m.ended);
	m.drained = now_ns() + DRAIN;
	/* It may be frozen with the container. */
	if (m.maker > 0)
		kill(m.maker, SIGKILL);
	pages_abandon(&m.pages);
}

/* All children are this process' to collect: those whose parents have ended,
 * too. */
static void reap(int flags)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, flags);

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return;
		if (pid == m.init)
			init_ended(status);
		else if (pid == m.maker)
			m.maker = 0;
		else if (pid == m.pages.server)
			m.ending.unable = pages_ended(&m.pages, status, m.ending.cgroup);
	}
}

static void stop(int64_t now)
{
	if (m.stopping || !m.init)
		return;
	m.stopping = true;
	m.kill_at = now + STOP_GRACE;
	kill(m.init, m.stop_signal); /* a child of this process: not collected, so not another's number */
}

/* Does what is due, and says when something is again; 0: never. */
static int64_t tick(void)
{
	int64_t now = now_ns(), next;

	if (asked)
		stop(now);
	if (m.kill_at && now >= m.kill_at && m.init) {
		kill(m.init, SIGKILL);
		m.kill_at = 0;
	}
	pages_tick(&m.pages, now);
	next = output_tick(&m.out, now);
	sooner(&next, m.kill_at);
	sooner(&next, m.drained);
	if (m.pages.server)
		sooner(&next, m.pages.look);
	return next;
}

/* Waits for output, for signals, or until something is due. */
static void wait_for_more(int64_t next, const sigset_t *waiting)
{
	struct pollfd fds[2];
	struct timespec left = {};

	for (int i = 0; i < 2; i++) {
		struct stream *s = &m.out.streams[i];

		fds[i].fd = s->rest ? -1 : s->fd;
		fds[i].events = POLLIN;
		fds[i].revents = 0;
	}
	if (next) {
		int64_t ns = next - now_ns();

		if (ns < 0)
			ns = 0;
		left.tv_sec = ns / SECOND;
		left.tv_nsec = ns % SECOND;
	}
	if (ppoll(fds, 2, next ? &left : NULL, waiting) <= 0)
		return;
	for (int i = 0; i < 2; i++)
		if (fds[i].revents)
			output_read(&m.out, &m.out.streams[i]);
}

int main(int argc, char **argv)
{
	sigset_t waiting;

	read_options(argc, argv);
	prctl(PR_SET_NAME, "fcnode-monitor");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	catch_signals(&waiting);
	for (int i = 0; i < 2; i++)
		fcntl(m.out.streams[i].fd, F_SETFL, O_NONBLOCK);
	if (m.pages.server)
		m.pages.look = now_ns() + m.pages.patience;
	for (;;) {
		int64_t next;

		reap(WNOHANG);
		if (m.drained && (output_over(&m.out) || now_ns() >= m.drained))
			break;
		next = tick();
		wait_for_more(next, &waiting);
	}
	reap(0);
	return write_exit(&m.ending, m.ended) ? 1 : 0;
}
