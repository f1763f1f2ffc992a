/* Kernels that lack the newer system calls, or forbid them: each is refused in a forked child by a
 * filter of system calls, with ENOSYS as an old kernel does and with EPERM as old filters of
 * containers do, and everything works all the same. */
#include "support.h"

#include <stdio.h>

#ifdef __linux__
#include "base/clock.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* --- Refusing ------------------------------------------------------------------------------------
 */

/* With the kernel that brought them. */
static const int newer_calls[] = {
#ifdef SYS_accept4
    SYS_accept4, /* 2.6.28 */
#endif
#ifdef SYS_pidfd_open
    SYS_pidfd_open, /* 5.3 */
#endif
#ifdef SYS_close_range
    SYS_close_range, /* 5.9 */
#endif
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2, /* 5.11 */
#endif
};
enum { CALLS = sizeof newer_calls / sizeof newer_calls[0] };

#define ARGUMENT(i)                                                                                \
    (offsetof(struct seccomp_data, args[i]) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

static bool refuse_newer_calls(int error)
{
    struct sock_filter code[2 * CALLS + 6];
    struct sock_fprog program = {0, code};
    struct sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
#define ADD(...) code[program.len++] = (struct sock_filter)__VA_ARGS__
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (int i = 0; i < CALLS; i++) {
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)newer_calls[i], 0, 1));
        code[program.len++] = refuse;
    }
    /* guards by advice, 6.13 */
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(2)));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_GUARD_INSTALL, 0, 1));
    code[program.len++] = refuse;
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
#undef ADD
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/* Emulators take the filter and do not heed it. */
static bool is_refused(int error)
{
    for (int i = 0; i < CALLS; i++)
        if (syscall(newer_calls[i], -1, 0, 0, 0, 0, 0) != -1 || errno != error)
            return false;
    return madvise(NULL, 0, MADV_GUARD_INSTALL) == -1 && errno == error;
}

/* --- What has to work ----------------------------------------------------------------------------
 */

#define MUST(ok) ((ok) ? (void)0 : give_up(__LINE__, #ok))
static void give_up(int line, const char *what)
{
    fprintf(stderr, "line %d: %s\n", line, what);
    _exit(1);
}

static int echo(int fd, void *arg)
{
    char data[64];
    ssize_t n;
    (void)arg;
    while ((n = co_read(fd, data, sizeof data)) > 0)
        MUST(co_write(fd, data, (size_t)n) == n);
    return (int)n;
}

static int serve(void *listener)
{
    return co_serve(*(int *)listener, echo, NULL, NULL);
}

static int ask(void *port)
{
    char answer[5];
    int fd = co_tcp_connect("127.0.0.1", *(int *)port);
    MUST(fd >= 0);
    for (int i = 0; i < 20; i++) {
        MUST(co_write(fd, "hello", 5) == 5);
        for (ssize_t n, got = 0; got < 5; got += n)
            MUST((n = co_read(fd, answer, sizeof answer)) > 0);
    }
    return co_close(fd);
}

static int serve_and_ask(void *arg)
{
    (void)arg;
    int listener = co_tcp_listen("127.0.0.1", 0, 16), port = co_port(listener);
    MUST(listener >= 0 && port > 0);
    co_task_t *server = co_spawn(serve, &listener);
    MUST(co_gather(co_spawn(ask, &port), co_spawn(ask, &port), co_spawn(ask, &port)) == 0);
    co_task_cancel(server);
    MUST(co_await_task(server) == -ECANCELED);
    return co_close(listener);
}

static int accept_one(void *listener)
{
    int fd = co_accept(*(int *)listener, NULL, NULL);
    MUST(fd >= 0);
    MUST(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    MUST(fcntl(fd, F_GETFL) & O_NONBLOCK);
    MUST(echo(fd, NULL) == 0);
    return co_close(fd);
}

static int accept_and_ask(void *arg)
{
    (void)arg;
    int listener = co_tcp_listen("127.0.0.1", 0, 16), port = co_port(listener);
    MUST(co_gather(co_spawn(accept_one, &listener), co_spawn(ask, &port)) == 0);
    return co_close(listener);
}

static uint64_t polls(void)
{
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    return stats.polls;
}

static int sleep_somewhat(void *arg)
{
    static const int64_t times[] = {1, 1000, MS - 1, MS, 2 * MS + 1, 5 * MS};
    (void)arg;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t start = clock_real_now();
        MUST(co_sleep_ns(times[i]) == 0);
        MUST(clock_real_now() - start >= times[i]);
    }
    uint64_t before = polls();
    co_timeout(30) MUST(co_sleep(-1) == -ETIMEDOUT);
    MUST(polls() - before < 20); /* it waits, and does not go round */
    return 0;
}

static int park(void *arg)
{
    (void)arg;
    return co_sleep(1);
}

static int guard_stacks(void *arg)
{
    enum { TASKS = 200 };
    co_task_t *tasks[TASKS];
    loop_stats_t stats;
    (void)arg;
    for (int i = 0; i < TASKS; i++)
        MUST(tasks[i] = co_spawn(park, NULL));
    loop_stats(loop_current(), &stats);
    MUST(stats.stacks > TASKS);
    MUST(stats.stacks_unguarded == 0);
    return co_gather_tasks(tasks, TASKS);
}

static volatile int bottom = INT_MAX;

static int dive(int depth)
{
    volatile char here[1024];
    here[0] = (char)depth;
    return depth < bottom ? dive(depth + 1) + here[0] : 0;
}

static int overflow(void *arg)
{
    (void)arg;
    return dive(0);
}

/* --- In children ---------------------------------------------------------------------------------
 */

enum { WRONG = 1, NO_FILTER = 77 };
static char said[8192];

static void become_child(co_fn *fn, int error, const int ends[2])
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* of a sanitizer */
    signal(SIGBUS, SIG_DFL);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(60);
    if (error && (!refuse_newer_calls(error) || !is_refused(error)))
        _exit(NO_FILTER);
    _exit(co_run(fn, NULL) == 0 ? 0 : WRONG);
}

/* Runs fn as the first task of a child's loop; its exit code, or the signal it died of, negative.
 */
static int run_child(co_fn *fn, int error)
{
    int ends[2], status;
    size_t used = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become_child(fn, error, ends);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], said + used, sizeof said - 1 - used)) > 0;)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* With the calls that this kernel has, and without the newer ones. */
static void expect_always(co_fn *fn, int expected, const char *words)
{
    static const int errors[] = {0, ENOSYS, EPERM};
    SKIP_IF(under_valgrind(), "it does without the newer calls by itself");
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int rc = run_child(fn, errors[i]);
        SKIP_IF(rc == NO_FILTER, "filters of system calls are refused here, or not heeded");
        if (rc != expected || !strstr(said, words))
            fail_msg("with error %d: %d, said: %s", errors[i], rc, said);
    }
}

static void connections_are_served(void **state)
{
    (void)state;
    expect_always(serve_and_ask, 0, "");
}

static void accepted_sockets_are_as_they_should_be(void **state)
{
    (void)state;
    expect_always(accept_and_ask, 0, "");
}

static void sleeps_are_never_short(void **state)
{
    (void)state;
    expect_always(sleep_somewhat, 0, "");
}

static void stacks_have_guards(void **state)
{
    (void)state;
    expect_always(guard_stacks, 0, "");
}

static void an_overflow_is_found(void **state)
{
    (void)state;
    expect_always(overflow, -SIGSEGV, "coloop: stack overflow in task");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_served),
        cmocka_unit_test(accepted_sockets_are_as_they_should_be),
        cmocka_unit_test(sleeps_are_never_short),
        cmocka_unit_test(stacks_have_guards),
        cmocka_unit_test(an_overflow_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    puts("skipped: this kernel is no Linux");
    return 0;
}
#endif
