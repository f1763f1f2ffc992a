/* The selectors: the exported fd, beginning anew, and what happens without memory. */
#include "test_selector.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#ifdef __linux__
#include <sys/epoll.h>

/* The linker has all calls of epoll_ctl come here (--wrap): it fails on demand. */
static int control_error;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if (control_error) {
        errno = control_error;
        return -1;
    }
    return __real_epoll_ctl(epfd, op, fd, event);
}
#endif

/* --- Reset ------------------------------------------------------------------------------------ */

static void a_reset_forgets_everything(void **state)
{
    (void)state;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_int_equal(ops->add(s, fds[1], SELECT_WRITE, 1), 0);
    assert_int_equal(ops->reset(s), 0);
    expect_nothing();
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 2), 0);
    expect_one(fds[0], 2, SELECT_READ);
}

static void a_reset_without_fds_to_be_had_changes_nothing(void **state)
{
    (void)state;
    struct rlimit limit, none;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    int rc = ops->reset(s);
    setrlimit(RLIMIT_NOFILE, &limit);
    fill(fds[1], 1);
    if (rc == 0) {
        expect_nothing();
    } else {
        assert_int_equal(rc, -EMFILE);
        expect_one(fds[0], 1, SELECT_READ);
    }
}

/* --- The exported fd -------------------------------------------------------------------------- */

/* Whether the exported fd polls readable, waiting for it at most so many milliseconds. */
static bool exported_readable(int ms)
{
    struct pollfd p = {.fd = ops->fd(s), .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void the_exported_fd_is_readable_when_an_event_is_there(void **state)
{
    (void)state;
    int fd = ops->fd(s);
    if (is("poll")) {
        assert_int_equal(fd, -ENOTSUP);
        return;
    }
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ops->fd(s), fd);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_false(exported_readable(0));
    fill(fds[1], 1);
    assert_true(exported_readable(10000));
    expect_one(fds[0], 1, SELECT_READ);
    assert_true(exported_readable(0));
    ops->remove(s, fds[0]);
    assert_false(exported_readable(0));
}

static void the_exported_fd_is_readable_at_the_alarm(void **state)
{
    (void)state;
    assert_true(ops->fd(s) >= 0);
    int64_t when = clock_real_now() + 3 * NS_PER_MS;
    ops->alarm(s, when);
    assert_true(exported_readable(10000));
    assert_true(clock_real_now() >= when);
    ops->alarm(s, clock_real_now() + 3600 * NS_PER_S);
    assert_false(exported_readable(0));
    ops->alarm(s, 0);
    assert_true(exported_readable(10000));
    ops->alarm(s, INT64_MAX);
    assert_false(exported_readable(0));
    ops->alarm(s, 1);
    assert_true(exported_readable(10000));
    ops->alarm(s, NS_PER_S);
    assert_true(exported_readable(10000));
    ops->alarm(s, INT64_MAX - 1);
    assert_false(exported_readable(0));
}

static void an_alarm_long_before_the_clock_began_is_at_once(void **state)
{
    (void)state;
    assert_true(ops->fd(s) >= 0);
    ops->alarm(s, -5 * NS_PER_S);
    assert_true(exported_readable(1000));
}

static void an_alarm_ends_no_wait_of_a_selector_that_is_asked_again(void **state)
{
    (void)state;
    assert_true(ops->fd(s) >= 0);
    ops->alarm(s, 0);
    assert_true(exported_readable(10000));
    int n = ops->wait(s, 0, events, 64);
    for (int i = 0; i < n; i++)
        assert_int_equal(events[i].generation, 0);
    ops->alarm(s, INT64_MAX);
    expect_nothing();
}

static void a_reset_keeps_the_exported_number(void **state)
{
    (void)state;
    int fd = ops->fd(s);
    assert_int_equal(ops->reset(s), 0);
    assert_int_equal(ops->fd(s), fd);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_false(exported_readable(0));
    fill(fds[1], 1);
    assert_true(exported_readable(10000));
    ops->remove(s, fds[0]);
    assert_false(exported_readable(0));
    ops->alarm(s, 0);
    assert_true(exported_readable(10000));
}

#ifdef __linux__
static void a_reset_keeps_the_exported_fd_for_a_foreign_epoll(void **state)
{
    (void)state;
    struct epoll_event event = {.events = EPOLLIN};
    int foreign = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(epoll_ctl(foreign, EPOLL_CTL_ADD, ops->fd(s), &event), 0);
    assert_int_equal(ops->reset(s), 0);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    fill(fds[1], 1);
    int n = epoll_wait(foreign, &event, 1, 1000);
    close(foreign);
    assert_int_equal(n, 1);
}
#else
ONLY_ON_LINUX(a_reset_keeps_the_exported_fd_for_a_foreign_epoll)
#endif

/* --- Short of memory -------------------------------------------------------------------------- */

#ifdef __linux__
static void the_system_without_memory_is_an_error_of_the_call(void **state)
{
    (void)state;
    control_error = ENOMEM;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), -ENOMEM);
    control_error = ENOSPC;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), -ENOSPC);
    control_error = 0;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
}

static void an_alarm_that_cannot_be_registered_is_tried_again(void **state)
{
    (void)state;
    control_error = ENOMEM;
    assert_int_equal(ops->fd(s), -ENOMEM);
    assert_int_equal(ops->fd(s), -ENOMEM);
    control_error = 0;
    assert_true(ops->fd(s) >= 0);
    ops->alarm(s, 0);
    assert_true(exported_readable(1000));
}

static void a_reset_that_fails_changes_nothing(void **state)
{
    (void)state;
    assert_true(ops->fd(s) >= 0);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    control_error = ENOMEM;
    int rc = ops->reset(s);
    control_error = 0;
    if (rc == 0)
        return;
    fill(fds[1], 1);
    expect_one(fds[0], 1, SELECT_READ);
}
#else
ONLY_ON_LINUX(the_system_without_memory_is_an_error_of_the_call)
ONLY_ON_LINUX(an_alarm_that_cannot_be_registered_is_tried_again)
ONLY_ON_LINUX(a_reset_that_fails_changes_nothing)
#endif

static void opening_without_memory_says_so(void **state)
{
    (void)state;
    fail_allocation(1, true);
    errno = 0;
    struct selector *other = ops->open();
    int error = errno;
    fail_allocation(0, false);
    assert_null(other);
    assert_int_equal(error, ENOMEM);
}

static void an_addition_without_memory_changes_nothing(void **state)
{
    (void)state;
    fill(fds[1], 1);
    for (size_t n = 1;; n++) {
        fail_allocation(n, false);
        int rc = ops->add(s, fds[0], SELECT_READ, 1);
        bool failed = allocations() >= n;
        fail_allocation(0, false);
        if (!failed)
            break;
        assert_int_equal(rc, -ENOMEM);
        expect_nothing();
    }
    expect_one(fds[0], 1, SELECT_READ);
}

static void growing_without_memory_keeps_what_there_is(void **state)
{
    (void)state;
    enum { COPIES = 200 };
    int copies[COPIES], n = 0, rc = 0;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    for (size_t nth = 1; nth < 4; nth++) {
        fail_allocation(nth, true);
        while (rc == 0 && n < COPIES) {
            copies[n] = dup(fds[1]);
            rc = ops->add(s, copies[n++], SELECT_READ, 1);
        }
        assert_true(rc == 0 || rc == -ENOMEM);
        rc = 0;
        expect_one(fds[0], 1, SELECT_READ);
    }
    fail_allocation(0, false);
    while (n)
        close(copies[--n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_reset_forgets_everything),
        ON_ALL(a_reset_without_fds_to_be_had_changes_nothing),
        ON_ALL(the_exported_fd_is_readable_when_an_event_is_there),
        ON_EDGE(the_exported_fd_is_readable_at_the_alarm),
        ON_EDGE(an_alarm_long_before_the_clock_began_is_at_once),
        ON_EDGE(an_alarm_ends_no_wait_of_a_selector_that_is_asked_again),
        ON_EDGE(a_reset_keeps_the_exported_number),
        ON_EPOLL(a_reset_keeps_the_exported_fd_for_a_foreign_epoll),
        ON_EDGE(the_system_without_memory_is_an_error_of_the_call),
        ON_EPOLL(an_alarm_that_cannot_be_registered_is_tried_again),
        ON_EDGE(a_reset_that_fails_changes_nothing),
        ON_ALL(opening_without_memory_says_so),
        ON_ALL(an_addition_without_memory_changes_nothing),
        ON_ALL(growing_without_memory_keeps_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
