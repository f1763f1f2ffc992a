/* The loop inside a foreign one: one fd tells of everything, loses nothing and does not spin. */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

static loop_t *loop;
static int exported;

/* False where the selector has no such fd; it says so then. */
static bool setup(void)
{
    loop = open_real_loop();
    exported = loop_fd(loop);
    if (exported >= 0)
        return true;
    assert_int_equal(exported, -ENOTSUP);
    assert_int_equal(close_loop(loop), 0);
    return false;
}

static void finish(const char *expected)
{
    assert_string_equal(traced(), expected);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static bool readable_in(int ms)
{
    struct pollfd p = {.fd = exported, .events = POLLIN};
    int n;
    while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
        ;
    return n == 1;
}

static bool readable(void)
{
    return readable_in(0);
}

/* What the foreign loop does until our loop has no work left; how often it was woken. */
static int drive(void)
{
    for (int woken = 1; woken < 100000; woken++) {
        if (!readable_in(10000))
            fail_msg("the loop has work, and its fd is not readable");
        if (loop_run_once(loop, 0) == 0)
            return woken;
    }
    fail_msg("it spins");
    return 0;
}

/* An own fd may tell once of what nobody waits for. */
static void settle(void)
{
    for (int i = 0; i < 3 && readable(); i++)
        (void)loop_run_once(loop, 0);
    assert_false(readable());
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

/* --- The fd ----------------------------------------------------------------------------------- */

static void the_fd_is_the_same_each_time_and_quiet_without_work(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_fd(loop), exported);
    assert_false(readable());
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_false(readable());
    finish("");
}

static void work_that_was_there_before_is_told(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        loop = open_real_loop();
        if (kind == 0)
            assert_int_equal(loop_call_soon(loop, say, "x", NULL), 0);
        else if (kind == 1)
            assert_int_equal(loop_call_later(loop, 1, say, "x", NULL), 0);
        else
            assert_int_equal(loop_call_soon_threadsafe(loop, say, "x"), 0);
        exported = loop_fd(loop);
        if (exported >= 0)
            drive();
        else
            assert_int_equal(loop_run(loop), 0);
        finish("x");
    }
}

static int fd_within(void *arg)
{
    trace("%d", loop_fd(arg) == loop_fd(arg));
    CHECK_INT(co_sleep(1), 0);
    trace("woken");
    return 0;
}

static void it_may_be_asked_for_inside_a_run(void **state)
{
    (void)state;
    loop = open_real_loop();
    assert_int_equal(co_go(fd_within, loop), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    exported = loop_fd(loop);
    if (exported >= 0)
        drive();
    else
        assert_int_equal(loop_run(loop), 0);
    finish("1 woken");
}

static void out_of_fds_it_is_refused_and_the_loop_goes_on(void **state)
{
    (void)state;
    struct rlimit limit, none;
    loop = open_real_loop();
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    int refused = loop_fd(loop);
    setrlimit(RLIMIT_NOFILE, &limit);
    if (refused < 0 || !selector_is("kqueue")) /* which needs no further fd */
        assert_true(refused == -EMFILE || refused == -ENOTSUP);
    assert_int_equal(loop_call_later(loop, 1, say, "x", NULL), 0);
    exported = loop_fd(loop);
    if (refused != -ENOTSUP)
        drive();
    else
        assert_int_equal(loop_run(loop), 0);
    finish("x");
}

/* --- What it tells of ------------------------------------------------------------------------- */

static void calls_and_spawns_from_outside_make_it_readable_at_once(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_call_soon(loop, say, "call", NULL), 0);
    assert_true(readable());
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_false(readable());
    co_task_t *task = loop_spawn(loop, fd_within, loop);
    assert_true(readable());
    assert_int_equal(loop_run_once(loop, 0), 1);
    drive();
    co_task_release(task);
    finish("call 1 woken");
}

static void timers_wake_it_once_each_and_in_order(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_call_later(loop, 9, say, "c", NULL), 0);
    assert_int_equal(loop_call_later(loop, 3, say, "a", NULL), 0);
    assert_int_equal(loop_call_later(loop, 6, say, "b", NULL), 0);
    assert_true(drive() <= 3 + 1);
    assert_false(readable());
    finish("a b c");
}

static void an_earlier_timer_set_from_outside_is_not_slept_through(void **state)
{
    (void)state;
    loop_handle_t far = {0};
    if (!setup())
        return;
    assert_int_equal(loop_call_later(loop, 3600 * 1000, say, "no", &far), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_false(readable());
    assert_int_equal(loop_call_later(loop, 1, say, "a", NULL), 0);
    assert_true(readable_in(10000));
    while (*traced() == '\0')
        assert_int_equal(loop_run_once(loop, 0), 1);
    loop_cancel(&far);
    finish("a");
}

static void past_and_extreme_deadlines_are_told_at_once(void **state)
{
    (void)state;
    static const int64_t past[] = {INT64_MIN, -5000 * MS, -5000 * MS - 1, -1, 0, 1, 1000 * MS};
    if (!setup())
        return;
    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        assert_int_equal(loop_call_at(loop, past[i], say, "x", NULL), 0);
        if (!readable_in(1000))
            fail_msg("not told of %lld", (long long)past[i]);
        assert_int_equal(loop_run_once(loop, 0), 0);
        assert_false(readable());
    }
    finish("x x x x x x x");
}

static void a_deadline_never_reached_does_not_make_it_readable(void **state)
{
    (void)state;
    loop_handle_t never = {0};
    if (!setup())
        return;
    assert_int_equal(loop_call_at(loop, INT64_MAX, say, "no", &never), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_false(readable());
    assert_int_equal(loop_call_at(loop, INT64_MAX - 1, say, "no", &never), 0);
    assert_false(readable());
    assert_int_equal(loop_run_once(loop, 0), 1);
    loop_cancel(&never);
    finish("");
}

static void a_cancelled_timer_wakes_it_once_in_vain_at_most(void **state)
{
    (void)state;
    loop_handle_t handle = {0};
    if (!setup())
        return;
    assert_int_equal(loop_call_later(loop, 1, say, "no", &handle), 0);
    assert_true(loop_cancel(&handle));
    if (readable_in(20))
        assert_int_equal(loop_run_once(loop, 0), 0);
    assert_false(readable_in(5));
    finish("");
}

static void release(void *arg)
{
    (void)arg;
    say("released");
    loop_release(loop);
}

static int numbers;

static void count(void *arg)
{
    (void)arg;
    numbers++;
}

static void *post(void *arg)
{
    void *failed = NULL;
    for (int i = 0; i < 1000; i++)
        if (loop_call_soon_threadsafe(loop, count, NULL) != 0)
            failed = arg;
    return loop_call_soon_threadsafe(loop, release, NULL) == 0 ? failed : arg;
}

static void posts_of_a_thread_all_arrive(void **state)
{
    (void)state;
    pthread_t thread;
    void *failed;
    if (!setup())
        return;
    numbers = 0;
    loop_hold(loop);
    assert_int_equal(pthread_create(&thread, NULL, post, &numbers), 0);
    drive();
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(numbers, 1000);
    finish("released");
}

static void read_byte(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    if (read(fd, &byte, 1) == 1)
        trace("%c", byte);
    if (byte == '.')
        assert_int_equal(loop_remove_reader(loop, fd), 1);
}

static void watched_fds_make_it_readable_while_they_are(void **state)
{
    (void)state;
    int fds[2];
    if (!setup())
        return;
    make_socketpair(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], read_byte, &fds[0]), 0);
    assert_false(readable());
    assert_int_equal(write(fds[1], "ab", 2), 2);
    for (int i = 0; i < 2; i++) {
        assert_true(readable());
        assert_int_equal(loop_run_once(loop, 0), 1);
    }
    assert_false(readable());
    assert_int_equal(write(fds[1], ".", 1), 1);
    assert_int_equal(drive(), 1);
    close(fds[0]);
    close(fds[1]);
    finish("a b .");
}

static int echo(void *arg)
{
    int fd = *(int *)arg;
    char byte = 0;
    while (byte != '.' && co_read(fd, &byte, 1) == 1)
        CHECK_INT(co_write(fd, &byte, 1), 1);
    return 0;
}

static void tasks_on_own_and_foreign_fds_are_woken(void **state)
{
    (void)state;
    int fds[2][2];
    if (!setup())
        return;
    for (int i = 0; i < 2; i++)
        make_socketpair(fds[i]);
    assert_int_equal(co_adopt(fds[0][0]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(co_go(echo, &fds[i][0]), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    for (int i = 0; i < 6; i++) {
        char byte = i < 4 ? 'x' : '.';
        settle();
        assert_int_equal(write(fds[i % 2][1], &byte, 1), 1);
        while (read(fds[i % 2][1], &byte, 1) != 1) {
            assert_true(readable_in(10000));
            (void)loop_run_once(loop, 0);
        }
        trace("%c", byte);
    }
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(co_close(fds[0][0]), 0);
    close(fds[0][1]), close(fds[1][0]), close(fds[1][1]);
    finish("x x x x . .");
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    int rc = co_sleep(-1);
    trace("cancelled%d", rc == -ECANCELED);
    return rc;
}

static void a_cancellation_from_outside_makes_it_readable(void **state)
{
    (void)state;
    if (!setup())
        return;
    co_task_t *task = loop_spawn(loop, wait_for_ever, NULL);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_false(readable());
    co_task_cancel(task);
    co_task_release(task);
    assert_int_equal(drive(), 1);
    finish("cancelled1");
}

static void a_signal_and_a_stop_make_it_readable(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, say, "signal"), 0);
    raise(SIGUSR1);
    assert_true(readable_in(1000));
    assert_int_equal(loop_run_once(loop, 0), 0);
    loop_stop(loop);
    assert_true(readable());
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_false(readable());
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    finish("signal");
}

/* --- Nothing lost, nothing in vain ------------------------------------------------------------ */

static int worker(void *arg)
{
    int *steps = arg;
    for (int i = 0; i < 50; i++) {
        CHECK_INT(co_yield_now(), 0);
        CHECK_INT(co_sleep_ns(i % 7 * 1000), 0);
        ++*steps;
    }
    return 0;
}

static void many_tasks_that_yield_and_sleep_all_come_to_their_end(void **state)
{
    (void)state;
    int steps = 0;
    if (!setup())
        return;
    for (int i = 0; i < 20; i++)
        assert_int_equal(co_go(worker, &steps), 0);
    drive();
    assert_int_equal(steps, 20 * 50);
    assert_false(readable());
    finish("");
}

static void a_long_sleep_costs_no_wake_ups(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_call_later(loop, 60, say, "x", NULL), 0);
    assert_true(drive() <= 2);
    finish("x");
}

enum { PAIRS = 300 };
static int pairs[PAIRS][2];

/* More events at once than the loop takes from the selector at a time. */
static void many_ready_fds_are_all_served(void **state)
{
    (void)state;
    if (!setup())
        return;
    numbers = 0;
    for (int i = 0; i < PAIRS; i++) {
        make_socketpair(pairs[i]);
        assert_int_equal(write(pairs[i][1], ".", 1), 1);
        assert_int_equal(loop_add_reader(loop, pairs[i][0], read_byte, &pairs[i][0]), 0);
    }
    assert_true(drive() <= 10);
    for (int i = 0; i < PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    assert_int_equal(strlen(traced()), 2 * PAIRS - 1);
    trace_clear();
    finish("");
}

static void driving_out_a_ghost_keeps_fd_and_alarm(void **state)
{
    (void)state;
    int fds[2];
    if (!setup())
        return;
    make_socketpair(fds);
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    close(fds[0]);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    assert_int_equal(write(fds[1], "x", 1), 1);
    settle();
    assert_int_equal(loop_fd(loop), exported);
    assert_int_equal(loop_call_later(loop, 1, say, "timer", NULL), 0);
    drive();
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "posted"), 0);
    drive();
    close(ghost);
    close(fds[1]);
    finish("timer posted");
}

static void runs_of_its_own_in_between_do_no_harm(void **state)
{
    (void)state;
    if (!setup())
        return;
    assert_int_equal(loop_call_later(loop, 1, say, "a", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_false(readable());
    assert_int_equal(loop_call_later(loop, 1, say, "b", NULL), 0);
    drive();
    co_task_t *task = loop_spawn(loop, fd_within, loop);
    assert_int_equal(loop_call_later(loop, 3, say, "c", NULL), 0);
    assert_int_equal(loop_run_until(loop, task), 0);
    if (strstr(traced(), "c") == NULL)
        drive();
    finish("a b 1 woken c");
}

#ifdef __linux__
static void it_can_be_polled_through_an_epoll_of_the_foreign_loop(void **state)
{
    (void)state;
    if (!setup())
        return;
    struct epoll_event event = {.events = EPOLLIN};
    int foreign = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(epoll_ctl(foreign, EPOLL_CTL_ADD, exported, &event), 0);
    assert_int_equal(epoll_wait(foreign, &event, 1, 0), 0);
    assert_int_equal(loop_call_later(loop, 1, say, "a", NULL), 0);
    assert_int_equal(epoll_wait(foreign, &event, 1, 10000), 1);
    while (loop_run_once(loop, 0) != 0)
        assert_int_equal(epoll_wait(foreign, &event, 1, 10000), 1);
    assert_int_equal(epoll_wait(foreign, &event, 1, 0), 0);
    close(foreign);
    finish("a");
}
#else
ONLY_ON_LINUX(it_can_be_polled_through_an_epoll_of_the_foreign_loop)
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fd_is_the_same_each_time_and_quiet_without_work),
        cmocka_unit_test(work_that_was_there_before_is_told),
        cmocka_unit_test(it_may_be_asked_for_inside_a_run),
        cmocka_unit_test(out_of_fds_it_is_refused_and_the_loop_goes_on),
        cmocka_unit_test(calls_and_spawns_from_outside_make_it_readable_at_once),
        cmocka_unit_test(timers_wake_it_once_each_and_in_order),
        cmocka_unit_test(an_earlier_timer_set_from_outside_is_not_slept_through),
        cmocka_unit_test(past_and_extreme_deadlines_are_told_at_once),
        cmocka_unit_test(a_deadline_never_reached_does_not_make_it_readable),
        cmocka_unit_test(a_cancelled_timer_wakes_it_once_in_vain_at_most),
        cmocka_unit_test(posts_of_a_thread_all_arrive),
        cmocka_unit_test(watched_fds_make_it_readable_while_they_are),
        cmocka_unit_test(tasks_on_own_and_foreign_fds_are_woken),
        cmocka_unit_test(a_cancellation_from_outside_makes_it_readable),
        cmocka_unit_test(a_signal_and_a_stop_make_it_readable),
        cmocka_unit_test(many_tasks_that_yield_and_sleep_all_come_to_their_end),
        cmocka_unit_test(a_long_sleep_costs_no_wake_ups),
        cmocka_unit_test(many_ready_fds_are_all_served),
        cmocka_unit_test(driving_out_a_ghost_keeps_fd_and_alarm),
        cmocka_unit_test(runs_of_its_own_in_between_do_no_harm),
        cmocka_unit_test(it_can_be_polled_through_an_epoll_of_the_foreign_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
