/* co_await_fd: readiness of every pollable kind of fd, for one waiter and many, own and foreign. */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#endif

enum { GUARD_MS = 20000, STARTED = -1000 };

struct waiter {
    int fd, events, result;
};

static int await_one(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = STARTED;
    co_timeout(GUARD_MS) waiter->result = co_await_fd(waiter->fd, waiter->events);
    return waiter->result < 0 ? waiter->result : 0;
}

static int try_await(int fd, int events)
{
    int rc = 0;
    co_timeout(0) rc = co_await_fd(fd, events);
    return rc;
}

static void open_pair(int fds[2], bool own)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (own)
        CHECK_INT(co_adopt(fds[0]), 0);
}

static void close_pair(int fds[2])
{
    co_close(fds[0]);
    co_close(fds[1]);
}

static void fill(int fd)
{
    static const char block[4096];
    while (write(fd, block, sizeof block) > 0)
        ;
}

static void drain(int fd)
{
    char block[4096];
    while (read(fd, block, sizeof block) > 0)
        ;
}

static void run_own_and_foreign(co_fn *fn)
{
    assert_int_equal(run_task(fn, (&(bool){false})), 0);
    assert_int_equal(run_task(fn, (&(bool){true})), 0);
}

/* --- What it returns
 * ------------------------------------------------------------------------------------- */

static int ready_ones(void *arg)
{
    enum { BOTH = CO_READ | CO_WRITE };
    int fds[2];
    open_pair(fds, *(bool *)arg);
    CHECK_INT(try_await(fds[0], BOTH), CO_WRITE);
    CHECK_INT(try_await(fds[0], CO_READ), -ETIMEDOUT);
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(try_await(fds[0], BOTH), BOTH);
    CHECK_INT(try_await(fds[0], CO_READ), CO_READ); /* nothing was asked about writing */
    fill(fds[0]);
    CHECK_INT(try_await(fds[0], BOTH), CO_READ);
    CHECK_INT(try_await(fds[0], CO_WRITE), -ETIMEDOUT);
    drain(fds[0]);
    CHECK_INT(try_await(fds[0], BOTH), -ETIMEDOUT);
    CHECK_INT(close(fds[1]), 0);
    CHECK_INT(try_await(fds[0], BOTH), BOTH); /* hang-up counts as both */
    CHECK_INT(try_await(fds[0], CO_READ), CO_READ);
    CHECK_INT(try_await(fds[0], CO_WRITE), CO_WRITE);
    CHECK_INT(co_close(fds[0]), 0);
    return 0;
}

static void it_returns_what_is_ready_of_what_was_asked(void **state)
{
    (void)state;
    run_own_and_foreign(ready_ones);
}

/* Bytes that are left are told again, whoever read the others and how. */
static int told_again(void *arg)
{
    int fds[2];
    char bytes[8];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(write(fds[1], "abcd", 4), 4);
        for (int i = 0; i < 3; i++)
            CHECK_INT(try_await(fds[0], CO_READ), CO_READ);
        CHECK_INT(read(fds[0], bytes, 1), 1);
        CHECK_INT(try_await(fds[0], CO_READ), CO_READ);
        CHECK_INT(co_read(fds[0], bytes, 1), 1);
        CHECK_INT(try_await(fds[0], CO_READ), CO_READ);
        CHECK_INT(read(fds[0], bytes, 8), 2);
        CHECK_INT(try_await(fds[0], CO_READ), -ETIMEDOUT);
    }
    close_pair(fds);
    return 0;
}

static void readiness_is_a_level_and_told_again(void **state)
{
    (void)state;
    run_own_and_foreign(told_again);
}

/* A library reads the fd itself until it is empty; the wait is ours. */
static int echo_by_hand(void *arg)
{
    int fd = *(int *)arg;
    char byte = 0;
    while (byte != 'e') {
        if (read(fd, &byte, 1) == 1)
            CHECK_INT(write(fd, &byte, 1), 1);
        else
            CHECK_INT(co_await_fd(fd, CO_READ), CO_READ);
    }
    return 0;
}

static int converse(void *arg)
{
    int fds[2];
    char byte;
    open_pair(fds, *(bool *)arg);
    co_task_t *task = co_spawn(echo_by_hand, &fds[0]);
    for (const char *next = "hello, there is one"; *next; next++) {
        CHECK_INT(co_write(fds[1], next, 1), 1);
        CHECK_INT(co_read(fds[1], &byte, 1), 1);
        CHECK_INT(byte, *next);
        if (byte == 'e')
            break;
    }
    CHECK_INT(co_await_task(task), 0);
    close_pair(fds);
    return 0;
}

static void others_may_read_the_fd_themselves(void **state)
{
    (void)state;
    run_own_and_foreign(converse);
}

/* --- Kinds of fds
 * ---------------------------------------------------------------------------------------- */

#ifdef __linux__
static int eventfd_wakes(void *arg)
{
    int fd = eventfd(0, 0);
    uint64_t value = 0;
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    struct waiter waiter = {.fd = fd, .events = CO_READ};
    co_task_t *task = co_spawn(await_one, &waiter);
    co_yield_now();
    CHECK_INT(waiter.result, STARTED);
    CHECK_INT(co_write(fd, &(uint64_t){3}, sizeof value), sizeof value);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(co_read(fd, &value, sizeof value), sizeof value);
    CHECK_INT(value, 3);
    CHECK_INT(try_await(fd, CO_READ), -ETIMEDOUT);
    return co_close(fd);
}

static void an_eventfd_wakes(void **state)
{
    (void)state;
    run_own_and_foreign(eventfd_wakes);
}

static int timerfd_wakes(void *arg)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), n = 0;
    struct itimerspec every = {{0, 1000000}, {0, 1000000}};
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    CHECK_INT(timerfd_settime(fd, 0, &every, NULL), 0);
    for (int i = 0; i < 5; i++) {
        uint64_t value = 0;
        co_timeout(GUARD_MS) n = (int)co_read(fd, &value, sizeof value);
        CHECK_INT(n, sizeof value);
        CHECK(value >= 1);
    }
    return co_close(fd);
}

static void a_timerfd_wakes_again_and_again(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(timerfd_wakes, (&(bool){false})), 0);
    assert_int_equal(run_real_task(timerfd_wakes, (&(bool){true})), 0);
}

static int signalfd_and_epoll(void *arg)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    int fd = signalfd(-1, &set, SFD_CLOEXEC), inner = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    struct signalfd_siginfo info;
    CHECK_INT(epoll_ctl(inner, EPOLL_CTL_ADD, fd, &event), 0);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    struct waiter waiter = {.fd = inner, .events = CO_READ}; /* an event loop of somebody else */
    co_task_t *task = co_spawn(await_one, &waiter);
    co_yield_now();
    CHECK_INT(waiter.result, STARTED);
    kill(getpid(), SIGUSR2);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(co_read(fd, &info, sizeof info), sizeof info);
    CHECK_INT(info.ssi_signo, SIGUSR2);
    CHECK_INT(close(inner), 0);
    return co_close(fd);
}

static void a_signalfd_inside_a_foreign_epoll_wakes(void **state)
{
    (void)state;
    sigset_t set, before; /* the mask belongs to the thread: not to be changed inside a coroutine */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, &before);
    run_own_and_foreign(signalfd_and_epoll);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

/* The child ends when the pipe is closed. */
static pid_t fork_reader(int fds[2])
{
    char byte;
    pid_t child = fork();
    if (child != 0)
        return child;
    close(fds[1]);
    _exit(read(fds[0], &byte, 1) == 0 ? 7 : 8);
}

static int pidfd(void *arg)
{
    int fds[2], status = 0, rc = 0;
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t child = fork_reader(fds);
    int fd = open_pidfd(child);
    CHECK(child > 0 && fd >= 0);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    co_timeout(0) rc = co_await_fd(fd, CO_READ);
    CHECK_INT(rc, -ETIMEDOUT);
    close(fds[0]);
    close(fds[1]);
    CHECK_INT(co_await_fd(fd, CO_READ), CO_READ);
    CHECK_INT(waitpid(child, &status, WNOHANG), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return co_close(fd);
}

static void a_pidfd_wakes_when_the_child_ends(void **state)
{
    (void)state;
    int fd = open_pidfd(getpid());
    SKIP_IF(fd < 0, "this kernel has no pidfd_open");
    close(fd);
    run_own_and_foreign(pidfd);
}
#else
ONLY_ON_LINUX(a_pidfd_wakes_when_the_child_ends)
ONLY_ON_LINUX(an_eventfd_wakes)
ONLY_ON_LINUX(a_timerfd_wakes_again_and_again)
ONLY_ON_LINUX(a_signalfd_inside_a_foreign_epoll_wakes)
#endif

/* --- Many
 * ------------------------------------------------------------------------------------------------
 */

enum { MANY = 1000 };

/* More fds are ready at once than one call of the selector tells. */
static int many_fds(void *arg)
{
    static int fds[MANY][2];
    static struct waiter waiters[MANY];
    static co_task_t *tasks[MANY];
    for (int i = 0; i < MANY; i++) {
        open_pair(fds[i], *(bool *)arg);
        waiters[i] = (struct waiter){.fd = fds[i][0], .events = CO_READ};
        tasks[i] = co_spawn(await_one, &waiters[i]);
    }
    co_yield_now();
    for (int i = 0; i < MANY; i++)
        CHECK_INT(write(fds[i][1], "x", 1), 1);
    CHECK_INT(co_gather_tasks(tasks, MANY), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(waiters[i].result, CO_READ);
        close_pair(fds[i]);
    }
    return 0;
}

static void a_thousand_fds_ready_at_once_wake_all(void **state)
{
    (void)state;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * MANY + 50) {
        limit.rlim_cur = 2 * MANY + 50 < limit.rlim_max ? 2 * MANY + 50 : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < 2 * MANY + 50)
        skip();
    run_own_and_foreign(many_fds);
}

static int many_waiters(void *arg)
{
    static struct waiter waiters[MANY];
    static co_task_t *tasks[MANY];
    int fds[2];
    loop_stats_t stats;
    open_pair(fds, *(bool *)arg);
    fill(fds[0]);
    for (int i = 0; i < MANY; i++) {
        waiters[i] = (struct waiter){.fd = fds[0], .events = i % 2 ? CO_READ : CO_WRITE};
        tasks[i] = co_spawn(await_one, &waiters[i]);
    }
    co_yield_now();
    loop_stats(loop_current(), &stats);
    CHECK_INT(stats.fd_waiters, MANY);
    CHECK_INT(write(fds[1], "x", 1), 1);
    co_sleep(1);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(waiters[i].result, i % 2 ? CO_READ : STARTED);
    drain(fds[1]);
    CHECK_INT(co_gather_tasks(tasks, MANY), 0);
    for (int i = 0; i < MANY; i += 2)
        CHECK_INT(waiters[i].result, CO_WRITE);
    loop_stats(loop_current(), &stats);
    CHECK_INT(stats.fd_waiters, 0);
    close_pair(fds);
    return 0;
}

static void a_thousand_waiters_on_one_fd_are_all_woken(void **state)
{
    (void)state;
    run_own_and_foreign(many_waiters);
}

/* Of waiters in a row some are cancelled, and the others stay. */
static int cancel_some(void *arg)
{
    struct waiter waiters[5];
    co_task_t *tasks[5];
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int i = 0; i < 5; i++) {
        waiters[i] = (struct waiter){.fd = fds[0], .events = CO_READ};
        tasks[i] = co_spawn(await_one, &waiters[i]);
    }
    co_yield_now();
    for (int i = 0; i < 5; i += 2)
        co_task_cancel(tasks[i]);
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    co_task_cancel(tasks[1]); /* at the same moment: one or the other */
    co_sleep(1);
    trace("%d %d %d", waiters[0].result, waiters[2].result, waiters[4].result);
    CHECK(waiters[1].result == -ECANCELED || waiters[1].result == CO_READ);
    CHECK_INT(waiters[3].result, CO_READ);
    for (int i = 0; i < 5; i++) {
        co_task_result(tasks[i]);
        co_task_release(tasks[i]);
    }
    close_pair(fds);
    return 0;
}

static void cancelled_waiters_leave_the_others_waiting(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_task(cancel_some, (&(bool){own})), 0);
        assert_string_equal(traced(), "-125 -125 -125");
    }
}

/* --- Beside callbacks
 * ------------------------------------------------------------------------------------ */

static void take_byte(void *arg)
{
    char byte;
    trace("callback%d", (int)read(*(int *)arg, &byte, 1));
}

static int beside_callback(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    fill(fds[0]);
    struct waiter writer = {.fd = fds[0], .events = CO_WRITE},
                  reader = {.fd = fds[0], .events = CO_READ};
    co_task_t *tasks[2] = {co_spawn(await_one, &writer), NULL};
    co_yield_now();
    CHECK_INT(loop_add_reader(loop_current(), fds[0], take_byte, &fds[0]), 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    co_sleep(1);
    CHECK_INT(writer.result, STARTED);
    tasks[1] = co_spawn(await_one, &reader);
    co_yield_now();
    CHECK_INT(loop_remove_reader(loop_current(), fds[0]), 1); /* the task waits on */
    co_sleep(1);
    CHECK_INT(reader.result, STARTED);
    CHECK_INT(write(fds[1], "y", 1), 1);
    drain(fds[1]);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(reader.result, CO_READ);
    CHECK_INT(writer.result, CO_WRITE);
    close_pair(fds);
    return 0;
}

static void tasks_and_callbacks_share_an_fd(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_task(beside_callback, (&(bool){own})), 0);
        assert_string_equal(traced(), "callback1");
    }
}

/* --- Adopting
 * -------------------------------------------------------------------------------------------- */

static int adopt_while_waited_for(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    struct waiter waiter = {.fd = fds[0], .events = CO_READ};
    co_task_t *task = co_spawn(await_one, &waiter);
    co_yield_now();
    CHECK_INT(co_adopt(fds[0]), 0);
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_await_task(task), 0); /* it was open all the time */
    CHECK_INT(waiter.result, CO_READ);
    CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    close_pair(fds);
    return 0;
}

static void adopting_an_open_fd_leaves_its_waiters_waiting(void **state)
{
    (void)state;
    run_own_and_foreign(adopt_while_waited_for);
}

static int adopt_while_watched(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    CHECK_INT(loop_add_reader(loop_current(), fds[0], take_byte, &fds[0]), 0);
    CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    co_sleep(1);
    CHECK_INT(loop_remove_reader(loop_current(), fds[0]), 1);
    close_pair(fds);
    return 0;
}

static void adopting_a_watched_fd_keeps_its_callback(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_task(adopt_while_watched, (&(bool){own})), 0);
        assert_string_equal(traced(), "callback1");
    }
}

/* --- Errors
 * ---------------------------------------------------------------------------------------------- */

static int await_pair(void *arg)
{
    int *fds = arg;
    struct waiter waiters[2] = {{.fd = fds[0], .events = CO_READ},
                                {.fd = fds[1], .events = CO_READ}};
    int rc = co_gather(co_spawn(await_one, &waiters[0]), co_spawn(await_one, &waiters[1]));
    return rc;
}

static void without_memory_a_wait_is_enomem(void **state)
{
    (void)state;
    int rc = -ENOMEM, fds[2];
    make_socketpair(fds);
    assert_int_equal(write(fds[0], "x", 1), 1);
    assert_int_equal(write(fds[1], "x", 1), 1);
    for (size_t n = 1; rc == -ENOMEM && n < 100; n++) {
        loop_t *loop = open_loop();
        loop_stats_t stats;
        fail_allocation(n, n % 2);
        co_task_t *task = loop_spawn(loop, await_pair, fds);
        rc = task ? loop_run_until(loop, task) : -errno;
        fail_allocation(0, false);
        assert_true(rc == 0 || rc == -ENOMEM);
        loop_stats(loop, &stats);
        assert_int_equal(stats.fd_waiters, 0);
        close_loop(loop);
    }
    assert_int_equal(rc, 0);
    close(fds[0]);
    close(fds[1]);
}

static int await_interrupted(void *arg)
{
    int fds[2], rc = 0;
    open_pair(fds, *(bool *)arg);
    CHECK_INT(write(fds[1], "x", 1), 1);
    co_task_cancel(co_self());
    CHECK_INT(co_await_fd(fds[0], CO_READ), -ECANCELED); /* though it is ready */
    co_shield() rc = co_await_fd(fds[0], CO_READ);
    CHECK_INT(rc, CO_READ);
    close_pair(fds);
    return 0;
}

static void a_cancelled_task_is_told_so_even_if_the_fd_is_ready(void **state)
{
    (void)state;
    run_own_and_foreign(await_interrupted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_returns_what_is_ready_of_what_was_asked),
        cmocka_unit_test(readiness_is_a_level_and_told_again),
        cmocka_unit_test(others_may_read_the_fd_themselves),
        cmocka_unit_test(an_eventfd_wakes),
        cmocka_unit_test(a_timerfd_wakes_again_and_again),
        cmocka_unit_test(a_signalfd_inside_a_foreign_epoll_wakes),
        cmocka_unit_test(a_pidfd_wakes_when_the_child_ends),
        cmocka_unit_test(a_thousand_fds_ready_at_once_wake_all),
        cmocka_unit_test(a_thousand_waiters_on_one_fd_are_all_woken),
        cmocka_unit_test(cancelled_waiters_leave_the_others_waiting),
        cmocka_unit_test(tasks_and_callbacks_share_an_fd),
        cmocka_unit_test(adopting_an_open_fd_leaves_its_waiters_waiting),
        cmocka_unit_test(adopting_a_watched_fd_keeps_its_callback),
        cmocka_unit_test(without_memory_a_wait_is_enomem),
        cmocka_unit_test(a_cancelled_task_is_told_so_even_if_the_fd_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
