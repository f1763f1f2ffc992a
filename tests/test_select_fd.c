/* Select over fds, own and foreign: ready, hung up, closed, reused, and in several cases. */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

enum { BOTH = CO_READ | CO_WRITE };

static void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

/* A select in a task of its own. */
struct selector {
    co_case_t cases[8];
    size_t n;
    int rc;
    co_task_t *task;
};

static int run_selector(void *arg)
{
    struct selector *selector = arg;
    co_timeout(20000) selector->rc = co_select(selector->cases, selector->n);
    return 0;
}

static void park_selector(struct selector *selector)
{
    selector->rc = -1000;
    selector->task = co_spawn(run_selector, selector);
    CHECK(selector->task != NULL);
    settle();
    CHECK_INT(selector->rc, -1000);
}

static void join_selector(struct selector *selector)
{
    CHECK_INT(co_await_task(selector->task), 0);
}

static int try_select(co_case_t cases[], size_t n)
{
    int rc = 0;
    co_timeout(0) rc = co_select(cases, n);
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

static void put_byte(int fd)
{
    CHECK_INT(write(fd, "x", 1), 1);
}

static void take_byte(int fd)
{
    char byte;
    CHECK_INT(read(fd, &byte, 1), 1);
}

static void run_own_and_foreign(co_fn *fn)
{
    for (int own = 0; own < 2; own++)
        assert_int_equal(run_task(fn, &(bool){own}), 0);
}

/* --- Fds -------------------------------------------------------------------------------------- */

static int fd_ready(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 3; round++) {
        co_case_t cases[] = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], BOTH)};
        CHECK_INT(try_select(cases, 1), -ETIMEDOUT);
        CHECK_INT(try_select(cases, 2), 1);
        CHECK_INT(cases[1].events, CO_WRITE);
        CHECK_INT(cases[1].result, 0);
        put_byte(fds[1]);
        CHECK_INT(try_select(cases, 1), 0);
        CHECK_INT(cases[0].events, CO_READ);
        CHECK_INT(try_select(cases, 1), 0); /* a level: told until it is read */
        cases[1].events = BOTH;
        CHECK_INT(try_select(&cases[1], 1), 0);
        CHECK_INT(cases[1].events, BOTH);
        take_byte(fds[0]);
    }
    close_pair(fds);
    return 0;
}

static void a_ready_fd_happens_at_once_and_tells_its_events(void **state)
{
    (void)state;
    run_own_and_foreign(fd_ready);
}

static int fd_becomes_ready(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 5; round++) {
        struct selector selector = {.cases = {CO_AFTER(15000), CO_FD(fds[0], CO_READ)}, .n = 2};
        park_selector(&selector);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        CHECK_INT(selector.cases[1].result, 0);
        CHECK_INT(selector.cases[1].events, CO_READ);
        take_byte(fds[0]);
    }
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ)}, .n = 1};
    park_selector(&selector);
    CHECK_INT(close(fds[1]), 0);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    CHECK_INT(selector.cases[0].result, 0);
    CHECK_INT(co_close(fds[0]), 0);
    return 0;
}

static void a_parked_select_is_woken_by_bytes_and_by_hang_up(void **state)
{
    (void)state;
    run_own_and_foreign(fd_becomes_ready);
}

static int fd_becomes_writable(void *arg)
{
    static char block[4096];
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 2; round++) {
        while (write(fds[0], block, sizeof block) > 0)
            ;
        struct selector selector = {.cases = {CO_FD(fds[0], CO_WRITE)}, .n = 1};
        park_selector(&selector);
        while (read(fds[1], block, sizeof block) > 0)
            ;
        join_selector(&selector);
        CHECK_INT(selector.rc, 0);
        CHECK_INT(selector.cases[0].events, CO_WRITE);
    }
    close_pair(fds);
    return 0;
}

static void a_parked_select_is_woken_by_room_to_write(void **state)
{
    (void)state;
    run_own_and_foreign(fd_becomes_writable);
}

/* What select waits for in vain or in part, co_read must still be told of, and the other way
 * round. */
static int fd_shared(void *arg)
{
    int fds[2];
    char byte = 0;
    ssize_t n = 0;
    open_pair(fds, *(bool *)arg);
    co_chan_t *chan = co_chan_new(0, 0);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_RECV(chan, NULL)}, .n = 2};
        park_selector(&selector);
        CHECK_INT(co_chan_send(chan, NULL), 0);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        co_timeout(10000) n = co_read(fds[0], &byte, 1);
        CHECK_INT(n, 1);
        park_selector(&selector);
        put_byte(fds[1]);
        co_timeout(10000) n = co_read(fds[0], &byte, 1);
        CHECK_INT(n, 1);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 0);
        take_byte(fds[0]);
    }
    co_chan_free(chan);
    close_pair(fds);
    return 0;
}

static void select_and_read_share_an_fd(void **state)
{
    (void)state;
    run_own_and_foreign(fd_shared);
}

static int fd_many_cases(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 4; round++) {
        struct selector selector = {
            .cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_READ)},
            .n = 3};
        struct selector other = {.cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_READ)}, .n = 2};
        park_selector(&selector);
        park_selector(&other);
        if (round == 3)
            CHECK_INT(co_close(fds[0]), 0);
        else
            put_byte(fds[1]);
        join_selector(&selector);
        join_selector(&other);
        CHECK(selector.rc >= 0 && selector.rc < 3 && other.rc >= 0 && other.rc < 2);
        CHECK_INT(selector.cases[selector.rc].result, round == 3 ? -EBADF : 0);
        CHECK_INT(other.cases[other.rc].result, round == 3 ? -EBADF : 0);
        if (round < 3)
            take_byte(fds[0]);
    }
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void one_fd_in_several_cases_is_told_once(void **state)
{
    (void)state;
    run_own_and_foreign(fd_many_cases);
}

/* A hang-up is both, and wakes a case for reading and one for writing at the same time. */
static int fd_both_ways(void *arg)
{
    static const char block[4096];
    int fds[2];
    open_pair(fds, *(bool *)arg);
    while (write(fds[0], block, sizeof block) > 0)
        ;
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_WRITE)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(close(fds[1]), 0);
    join_selector(&selector);
    CHECK(selector.rc == 0 || selector.rc == 1);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(co_close(fds[0]), 0);
    return 0;
}

static void a_hang_up_wakes_one_of_two_cases(void **state)
{
    (void)state;
    run_own_and_foreign(fd_both_ways);
}

static int fd_reused(void *arg)
{
    int fds[2], again[2];
    (void)arg;
    co_chan_t *chan = co_chan_new(0, 0);
    open_pair(fds, false);
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_RECV(chan, NULL)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_chan_send(chan, NULL), 0);
    join_selector(&selector);
    CHECK_INT(close(fds[0]), 0);
    open_pair(again, false);
    CHECK_INT(again[0], fds[0]); /* the same number, another file */
    park_selector(&selector);
    put_byte(again[1]);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    co_chan_free(chan);
    close_pair(again);
    co_close(fds[1]);
    return 0;
}

static void an_fd_number_may_become_another_file_between_selects(void **state)
{
    (void)state;
    assert_int_equal(run_task(fd_reused, NULL), 0);
}

static int fd_closed(void *arg)
{
    int fds[2], n = 1;
    co_chan_t *chan = co_chan_new(sizeof n, 0);
    open_pair(fds, *(bool *)arg);
    struct selector selector = {.cases = {CO_RECV(chan, &n), CO_FD(fds[0], CO_READ)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_close(fds[0]), 0);
    CHECK_INT(co_chan_try_send(chan, &n), -EAGAIN);
    join_selector(&selector);
    CHECK_INT(selector.rc, 1);
    CHECK_INT(selector.cases[1].result, -EBADF);
    CHECK_INT(co_select(selector.cases, 2), -EBADF); /* not open at all: none happens */
    CHECK_INT(co_chan_try_send(chan, &n), -EAGAIN);
    co_case_t negative = CO_FD(-1, CO_READ);
    CHECK_INT(co_select(&negative, 1), -EBADF);
    co_chan_free(chan);
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void a_closed_fd_is_an_error_and_leaves_the_other_cases_alone(void **state)
{
    (void)state;
    run_own_and_foreign(fd_closed);
}

static int fd_nonsense(void *arg)
{
    co_case_t none = CO_FD(0, 0);
    (void)arg;
    CHECK_INT(co_select(&none, 1), -EINVAL);
    return 0;
}

static void an_fd_case_without_events_is_refused(void **state)
{
    (void)state;
    assert_int_equal(run_task(fd_nonsense, NULL), 0);
}

static int fd_always(void *arg)
{
    int fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    for (int i = 0; i < 2; i++) {
        co_case_t cases[] = {CO_FD(fd, CO_READ), CO_AFTER(100)};
        CHECK_INT(co_select(cases, 2), 0);
        CHECK_INT(cases[0].events, CO_READ);
    }
    co_close(fd);
    return 0;
}

static void a_regular_file_is_always_ready(void **state)
{
    (void)state;
    run_own_and_foreign(fd_always);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ready_fd_happens_at_once_and_tells_its_events),
        cmocka_unit_test(a_parked_select_is_woken_by_bytes_and_by_hang_up),
        cmocka_unit_test(a_parked_select_is_woken_by_room_to_write),
        cmocka_unit_test(select_and_read_share_an_fd),
        cmocka_unit_test(one_fd_in_several_cases_is_told_once),
        cmocka_unit_test(a_hang_up_wakes_one_of_two_cases),
        cmocka_unit_test(an_fd_number_may_become_another_file_between_selects),
        cmocka_unit_test(a_closed_fd_is_an_error_and_leaves_the_other_cases_alone),
        cmocka_unit_test(an_fd_case_without_events_is_refused),
        cmocka_unit_test(a_regular_file_is_always_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
