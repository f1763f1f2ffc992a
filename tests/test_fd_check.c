/* The look for fds that were closed behind the loop's back, where there are many: it never holds
 * the loop up for all of them, and comes to the last one all the same. */
#include "support.h"

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

enum { FDS = 700, AT_ONCE = 256, GUARD_MS = 20000 };

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

/* --- Peace ------------------------------------------------------------------------------------ */

static int waits_for_ever;

int __real_epoll_wait(int set, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int n, int timeout)
{
    waits_for_ever += timeout < 0;
    return __real_epoll_wait(set, events, n, timeout < 0 ? 0 : timeout);
}

static void it_ends_when_nothing_happens(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "epoll_wait is looked at");
    open_many();
    loop_t *loop = open_real_loop();
    co_task_release(loop_spawn(loop, wait_for, &fds[0]));
    co_task_release(loop_spawn(loop, wait_for, &fds[FDS - 1]));
    waits_for_ever = 0;
    for (int turns = 0; turns < 30 && !waits_for_ever; turns++)
        loop_run_once(loop, -1);
    assert_int_equal(waits_for_ever, 1);
    close_loop(loop);
    close_many();
}

/* A foreign loop that polls ours is not woken for it either. */
static bool at_rest;

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old)
{
    at_rest = !t->it_value.tv_sec && !t->it_value.tv_nsec;
    return __real_timerfd_settime(fd, flags, t, old);
}

static void it_ends_in_a_foreign_loop_as_well(void **state)
{
    (void)state;
    SKIP_IF(!selector_is("epoll"), "timerfd_settime is looked at");
    open_many();
    loop_t *loop = open_real_loop();
    co_task_release(loop_spawn(loop, wait_for, &fds[0]));
    assert_true(loop_fd(loop) >= 0);
    at_rest = false;
    int64_t give_up = loop_time(loop) + GUARD_MS * INT64_C(1000000);
    do
        loop_run_once(loop, 0);
    while (!at_rest && loop_time(loop) < give_up);
    assert_true(at_rest);
    close_loop(loop);
    close_many();
}
#else
ONLY_ON_LINUX(it_ends_in_a_foreign_loop_as_well)
ONLY_ON_LINUX(it_ends_when_nothing_happens)
ONLY_ON_LINUX(one_that_had_an_event_is_noticed)
ONLY_ON_LINUX(a_pass_is_not_held_up_for_all_fds)
ONLY_ON_LINUX(the_last_of_many_is_noticed)
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_is_not_held_up_for_all_fds),
        cmocka_unit_test(the_last_of_many_is_noticed),
        cmocka_unit_test(one_that_had_an_event_is_noticed),
        cmocka_unit_test(it_ends_when_nothing_happens),
        cmocka_unit_test(it_ends_in_a_foreign_loop_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
