/* test_syscalls.h: forbids a process all system calls but those of a loop that looks at its fds and
 * its clock, and those that end the process. Needs Linux's seccomp, and no rights. */
#ifndef TESTS_TEST_SYSCALLS_H
#define TESTS_TEST_SYSCALLS_H

#include "context/context.h"

#include <stdbool.h>

#ifdef __linux__
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Tells which one it was. */
static inline void on_forbidden(int signo, siginfo_t *info, void *context)
{
    char text[80];
    int length = snprintf(text, sizeof text, "system call %d was made\n", info->si_syscall);
    (void)signo, (void)context;
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(4);
    _exit(3);
}

#define ALLOW(nr)                                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* From now on, for ever: any other system call ends the process with status 3 and a line on stderr.
 * False where the system refuses it. */
static inline bool forbid_system_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef __NR_epoll_wait
        ALLOW(__NR_epoll_wait),
#endif
#ifdef __NR_epoll_pwait2
        ALLOW(__NR_epoll_pwait2),
#endif
        ALLOW(__NR_epoll_pwait),
#ifdef __NR_poll
        ALLOW(__NR_poll),
#endif
        ALLOW(__NR_ppoll),
        ALLOW(__NR_clock_gettime),
#ifdef __NR_clock_gettime64
        ALLOW(__NR_clock_gettime64),
        ALLOW(__NR_ppoll_time64),
#endif
#if COLOOP_CONTEXT_UCONTEXT || COLOOP_HAVE_KQUEUE
        ALLOW(__NR_rt_sigprocmask), /* swapcontext's own, or of kevent as the tests bring it */
#ifdef __NR_sigprocmask
        ALLOW(__NR_sigprocmask), /* and swapcontext's on 32-bit x86 */
#endif
#endif
        ALLOW(__NR_write),
        ALLOW(__NR_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = on_forbidden;
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#undef ALLOW
#else
static inline bool forbid_system_calls(void)
{
    return false;
}
#endif

#endif
