/* The look for fds that were closed behind the loop's back, where there are many: it never holds
 * the loop up for all of them, and comes to the last one all the same. */
#include "support.h"

#ifdef __linux__
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

enum { FDS = 1000, AT_ONCE = 512, GUARD_MS = 20000 };

static unsigned char looked_at[2048]; /* so often, since the loop was opened */
static int looks, most_looks;         /* of this pass, of any */

int __real_epoll_ctl(int set, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int set, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int set, int op, int fd, struct epoll_event *event)
{
    int rc = __real_epoll_ctl(set, op, fd, event);
    if (rc < 0 && op == EPOLL_CTL_ADD && errno == EEXIST) {
        looked_at[fd]++;
        looks++;
        errno = EEXIST;
    }
    return rc;
}

static int fds[FDS];

static void open_many(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < FDS; i++)
        assert_true((fds[i] = eventfd(0, EFD_NONBLOCK)) >= 0);
    memset(looked_at, 0, sizeof looked_at);
    looks = most_looks = 0;
}

static void close_many(void)
{
    for (int i = 0; i < FDS; i++)
        close(fds[i]);
}

static int wait_for(void *fd)
{
    int rc = co_await_fd(*(int *)fd, CO_READ);
    return rc == -ECANCELED || rc == -EBADF ? 0 : co_fail(rc, "an event on fd %d", *(int *)fd);
}

static bool all_looked_at(void)
{
    for (int i = 0; i < FDS; i++)
        if (!looked_at[fds[i]])
            return false;
    return true;
}

/* Other tasks run all the while: each pass is a chance to see how long the last one was. */
static int look_on(void *unused)
{
    (void)unused;
    co_group(g, NULL)
    {
        for (int i = 0; i < FDS; i++)
            CHECK_INT(co_group_spawn(g, wait_for, &fds[i]), 0);
        co_timeout(GUARD_MS) while (!all_looked_at() && co_yield_now() == 0)
        {
            most_looks = looks > most_looks ? looks : most_looks;
            looks = 0;
        }
        co_group_cancel(g);
    }
    return 0;
}

static void a_pass_is_not_held_up_for_all_fds(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "epoll_ctl is counted");
    open_many();
    assert_int_equal(run_real_task(look_on, NULL), 0);
    assert_true(all_looked_at());
    assert_in_range(most_looks, 1, AT_ONCE);
    close_many();
}

static int wait_until_closed(void *fd)
{
    return co_await_fd(*(int *)fd, CO_READ) == -EBADF;
}

/* Nothing else runs: the look goes on by itself. */
static int close_last(void *unused)
{
    (void)unused;
    co_group(g, NULL)
    {
        for (int i = 0; i < FDS; i++)
            CHECK_INT(co_group_spawn(g, wait_for, &fds[i]), 0);
        co_task_t *task = co_spawn(wait_until_closed, &fds[FDS - 1]);
        co_yield_now();
        close(fds[FDS - 1]);
        int rc = 0;
        co_timeout(GUARD_MS) rc = co_await_task(task);
        CHECK_INT(rc, 1);
        co_group_cancel(g);
    }
    return 0;
}

static void the_last_of_many_is_noticed(void **state)
{
    (void)state;
    open_many();
    assert_int_equal(run_real_task(close_last, NULL), 0);
    fds[FDS - 1] = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(run_task(close_last, NULL), 0);
    close_many();
}

/* An event says that it was open then, and may have been the last. */
static int wait_twice(void *fd)
{
    uint64_t count;
    CHECK_INT(co_await_fd(*(int *)fd, CO_READ), CO_READ);
    CHECK_INT((int)read(*(int *)fd, &count, sizeof count), sizeof count);
    return wait_until_closed(fd);
}

static int close_after_event(void *unused)
{
    (void)unused;
    int rc = 0;
    co_task_t *task = co_spawn(wait_twice, &fds[0]);
    co_yield_now();
    CHECK_INT(eventfd_write(fds[0], 1), 0);
    co_sleep(1);
    close(fds[0]);
    co_timeout(GUARD_MS) rc = co_await_task(task);
    CHECK_INT(rc, 1);
    return 0;
}

static void one_that_had_an_event_is_noticed(void **state)
{
    (void)state;
    open_many();
    assert_int_equal(run_real_task(close_after_event, NULL), 0);
    fds[0] = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(run_task(close_after_event, NULL), 0);
    close_many();
}

static void ignore(void *unused)
{
    (void)unused;
}

/* It lives on in a duplicate, and what comes of it is told without end. */
static void one_that_has_events_for_ever_is_noticed(void **state)
{
    (void)state;
    open_many();
    loop_t *loop = open_real_loop();
    int64_t give_up = loop_time(loop) + GUARD_MS * INT64_C(1000000);
    assert_int_equal(loop_add_reader(loop, fds[0], ignore, NULL), 0);
    assert_int_equal(eventfd_write(fds[0], 1), 0);
    loop_run_once(loop, -1);
    int copy = dup(fds[0]);
    close(fds[0]);
    while (!reports() && loop_time(loop) < give_up)
        loop_run_once(loop, 100);
    assert_int_equal(reports(), 1);
    close_loop(loop);
    close(copy);
    close_many();
}

static void say_late(void *unused)
{
    (void)unused;
    trace("late");
}

static void close_first(loop_t *loop, const loop_exception_t *exception, void *unused)
{
    (void)loop, (void)unused;
    trace("%d", exception->error);
    close(fds[0]);
}

static void one_that_the_exception_handler_closes_is_noticed(void **state)
{
    (void)state;
    open_many();
    trace_clear();
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, close_first, NULL);
    assert_int_equal(loop_add_reader(loop, fds[0], ignore, NULL), 0);
    assert_int_equal(loop_add_reader(loop, fds[1], ignore, NULL), 0);
    assert_int_equal(loop_call_later(loop, GUARD_MS, say_late, NULL, NULL), 0);
    close(fds[1]);
    loop_run(loop);
    assert_string_equal(traced(), "-9 -9 late");
    close_loop(loop);
    close_many();
}

/* --- Peace: what happens when the loop is about to wait for ever ------------------------------ */

static int rests;
static bool (*at_rest)(void); /* true: a signal comes */

int __real_epoll_wait(int set, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int n, int timeout)
{
    rests += timeout < 0;
    if (timeout < 0 && at_rest && at_rest()) {
        errno = EINTR;
        return -1;
    }
    return __real_epoll_wait(set, events, n, timeout);
}

static loop_t *loop;
static int ended;

static bool stop(void)
{
    loop_stop(loop);
    return false;
}

static bool close_one_then_stop(void)
{
    return rests == 1 ? close(fds[0]) == 0 : stop();
}

static int take_all(void *fd)
{
    uint64_t count;
    while (co_await_fd(*(int *)fd, CO_READ) == CO_READ)
        (void)!read(*(int *)fd, &count, sizeof count);
    ended++;
    return 0;
}

/* Tasks that wait in each chunk, and have had events. */
static void open_waiting(void)
{
    open_many();
    loop = open_real_loop();
    ended = 0;
    for (int i = 0; i < FDS; i += FDS / 8)
        co_task_release(loop_spawn(loop, take_all, &fds[i]));
    loop_run_once(loop, 0);
    for (int i = 0; i < FDS; i += FDS / 8)
        assert_int_equal(eventfd_write(fds[i], 1), 0);
}

static void close_waiting(void)
{
    at_rest = NULL;
    close_loop(loop);
    close_many();
}

static int run_until(bool (*hook)(void))
{
    rests = 0;
    at_rest = hook;
    return loop_run(loop);
}

/* And what was closed between two runs is looked for in the second. */
static void a_run_comes_to_rest(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "epoll_wait is looked at");
    open_waiting();
    assert_int_equal(run_until(stop), 1);
    close(fds[0]);
    assert_int_equal(ended, 0);
    assert_int_equal(run_until(stop), 1);
    assert_int_equal(ended, 1);
    close_waiting();
}

static void run_once_comes_to_rest(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "epoll_wait is looked at");
    open_waiting();
    rests = 0;
    at_rest = stop;
    for (int turns = 0; turns < 30 && !rests; turns++)
        loop_run_once(loop, -1);
    assert_int_equal(rests, 1);
    close_waiting();
}

static void one_that_a_signal_handler_closes_is_noticed(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "epoll_wait is looked at");
    open_waiting();
    assert_int_equal(run_until(close_one_then_stop), 1);
    assert_int_equal(ended, 1);
    close_waiting();
}

/* --- In a foreign loop ------------------------------------------------------------------------ */

static int64_t alarm_ns; /* so far ahead is the last one */

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    alarm_ns = (t->it_value.tv_sec - now.tv_sec) * INT64_C(1000000000) +
               (t->it_value.tv_nsec - now.tv_nsec);
    return __real_timerfd_settime(fd, flags, t, old);
}

/* It is woken seldom, and yet may close what is waited for. */
static void one_that_a_foreign_loop_closes_is_noticed(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "timerfd_settime is looked at");
    open_waiting();
    struct pollfd exported = {.fd = loop_fd(loop), .events = POLLIN};
    int64_t give_up = loop_time(loop) + GUARD_MS * INT64_C(1000000);
    while (alarm_ns < 200000000 && loop_time(loop) < give_up)
        if (poll(&exported, 1, 100) > 0)
            loop_run_once(loop, 0);
    assert_true(alarm_ns >= 200000000);
    close(fds[0]);
    assert_int_equal(ended, 0);
    while (!ended && loop_time(loop) < give_up)
        if (poll(&exported, 1, 100) > 0)
            loop_run_once(loop, 0);
    assert_int_equal(ended, 1);
    close_waiting();
}
#else
ONLY_ON_LINUX(a_pass_is_not_held_up_for_all_fds)
ONLY_ON_LINUX(the_last_of_many_is_noticed)
ONLY_ON_LINUX(one_that_had_an_event_is_noticed)
ONLY_ON_LINUX(one_that_has_events_for_ever_is_noticed)
ONLY_ON_LINUX(one_that_the_exception_handler_closes_is_noticed)
ONLY_ON_LINUX(a_run_comes_to_rest)
ONLY_ON_LINUX(run_once_comes_to_rest)
ONLY_ON_LINUX(one_that_a_signal_handler_closes_is_noticed)
ONLY_ON_LINUX(one_that_a_foreign_loop_closes_is_noticed)
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_is_not_held_up_for_all_fds),
        cmocka_unit_test(the_last_of_many_is_noticed),
        cmocka_unit_test(one_that_had_an_event_is_noticed),
        cmocka_unit_test(one_that_has_events_for_ever_is_noticed),
        cmocka_unit_test(one_that_the_exception_handler_closes_is_noticed),
        cmocka_unit_test(a_run_comes_to_rest),
        cmocka_unit_test(run_once_comes_to_rest),
        cmocka_unit_test(one_that_a_signal_handler_closes_is_noticed),
        cmocka_unit_test(one_that_a_foreign_loop_closes_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
