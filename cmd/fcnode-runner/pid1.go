package main

/*
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

// As wire.InitName.
#define NAME "/.fcnode-init-"

static pid_t child;

static void pass_on(int sig)
{
	int saved = errno;

	kill(child, sig); // one that is another user's by now cannot be helped
	errno = saved;
}

// passing has signals passed on: all that can be caught, but for those of its own faults
// and the ends of processes.
static void passing(void)
{
	static const int own[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGCHLD };
	struct sigaction act = { .sa_handler = pass_on, .sa_flags = SA_RESTART };

	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		size_t i = 0;

		while (i < sizeof(own) / sizeof(*own) && own[i] != sig)
			i++;
		if (i == sizeof(own) / sizeof(*own))
			sigaction(sig, &act, NULL); // SIGKILL and SIGSTOP cannot be
	}
}

// pid1 is the first process of a container whose spec says init: true. It starts
// the site's program, passes on the signals that it gets, reaps what is left to it and
// ends as the program does. It is in C, and before main, so that it takes some tens of kilobytes of memory
// and one thread: Go's runtime never starts. 101 is the first priority that is not
// the C library's; nsenter's constructor comes later.
__attribute__((constructor(101))) static void pid1(int argc, char **argv)
{
	sigset_t all, before;
	pid_t ended;
	int status;

	if (argc < 3 || strncmp(argv[0], NAME, strlen(NAME)) || strcmp(argv[1], "--"))
		return;
	sigfillset(&all); // until there is whom to pass them on to
	sigprocmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		execvp(argv[2], argv + 2);
		status = errno == ENOENT ? 127 : 126;
		dprintf(2, "%s: cannot execute %s: %s\n", argv[0] + 1, argv[2], strerror(errno));
		_exit(status);
	}
	if (child < 0) {
		dprintf(2, "%s: cannot start %s: %s\n", argv[0] + 1, argv[2], strerror(errno));
		_exit(126);
	}
	passing();
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	do
		ended = waitpid(-1, &status, 0);
	while (ended != child);
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}
*/
import "C"
