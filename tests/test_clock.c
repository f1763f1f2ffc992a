/* Time: the real clock is never early, the virtual one moves only when there is nothing else to
 * do. */
#include "support.h"

#include "base/clock.h"

#define HOUR (INT64_C(3600) * 1000) /* milliseconds */

static void times_that_would_overflow_are_never(void **state)
{
    (void)state;
    assert_int_equal(time_after(5, 7), 12);
    assert_int_equal(time_after(5, 0), 5);
    assert_int_equal(time_after(5, -1), TIME_NEVER);
    assert_int_equal(time_after(5, INT64_MIN), TIME_NEVER);
    assert_int_equal(time_after(5, INT64_MAX), TIME_NEVER);
    assert_int_equal(time_after(INT64_MAX, 1), TIME_NEVER);
    assert_int_equal(time_after(INT64_MAX - 1, 1), INT64_MAX);
}

static void milliseconds_become_nanoseconds_or_never(void **state)
{
    (void)state;
    assert_int_equal(ms_to_ns(0), 0);
    assert_int_equal(ms_to_ns(1), MS);
    assert_true(ms_to_ns(-1) < 0);
    assert_true(ms_to_ns(INT64_MIN) < 0);
    assert_int_equal(ms_to_ns(INT64_MAX), TIME_NEVER);
    assert_int_equal(ms_to_ns(INT64_MAX / MS), INT64_MAX / MS * MS);
    assert_int_equal(ms_to_ns(INT64_MAX / MS + 1), TIME_NEVER);
}

static void the_real_clock_does_not_go_back(void **state)
{
    (void)state;
    struct clock clock = {0};
    for (int i = 0; i < 1000; i++) {
        int64_t before = clock_now(&clock);
        assert_true(clock_real_now() >= before);
    }
}

static void the_coarse_clock_moves_with_the_real_one(void **state)
{
    (void)state;
    int64_t first = clock_coarse(), limit = clock_real_now() + 10 * NS_PER_S;
    while (clock_coarse() == first)
        assert_true(clock_real_now() < limit);
    assert_true(clock_coarse() > first);
}

static void a_virtual_clock_stands_still(void **state)
{
    (void)state;
    struct clock clock = {.is_virtual = true, .virtual_now = 42};
    usleep(1000);
    assert_int_equal(clock_now(&clock), 42);
}

/* --- Virtual time ----------------------------------------------------------------------------- */

static int sleep_for_a_year(void *arg)
{
    (void)arg;
    int64_t start = loop_time(loop_current());
    CHECK_INT(co_sleep(365 * 24 * HOUR), 0);
    CHECK_INT(loop_time(loop_current()) - start, 365 * 24 * HOUR * MS);
    return 0;
}

static void a_virtual_year_takes_exactly_a_year(void **state)
{
    (void)state;
    assert_int_equal(run_task(sleep_for_a_year, NULL), 0);
}

static int yield_often(void *arg)
{
    (void)arg;
    int64_t start = loop_time(loop_current());
    for (int i = 0; i < 10000; i++)
        CHECK_INT(co_yield_now(), 0);
    CHECK_INT(loop_time(loop_current()), start);
    return 0;
}

static void virtual_time_stands_still_while_work_is_ready(void **state)
{
    (void)state;
    assert_int_equal(run_task(yield_often, NULL), 0);
}

static int sleeper(void *arg)
{
    int64_t ms = (intptr_t)arg;
    CHECK_INT(co_sleep(ms), 0);
    trace("%d@%d", (int)ms, (int)(loop_time(loop_current()) / MS));
    CHECK_INT(co_sleep(ms), 0);
    trace("%d@%d", (int)ms, (int)(loop_time(loop_current()) / MS));
    return 0;
}

static void run_sleepers(void)
{
    loop_t *loop = open_loop();
    static const int times[] = {300, 100, 200, 100};
    int64_t start = loop_time(loop);
    assert_int_equal(start, 0);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        co_task_release(loop_spawn(loop, sleeper, (void *)(intptr_t)times[i]));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void virtual_time_jumps_from_timer_to_timer(void **state)
{
    (void)state;
    for (int run = 0; run < 2; run++) { /* every run is the same */
        run_sleepers();
        assert_string_equal(traced(), "100@100 100@100 200@200 100@200 100@200 "
                                      "300@300 200@400 300@600");
    }
}

static int wait_longest(void *arg)
{
    (void)arg;
    co_timeout(1) CHECK_INT(co_sleep(INT64_MAX), -ETIMEDOUT);
    co_timeout(1) CHECK_INT(co_sleep_ns(INT64_MAX), -ETIMEDOUT);
    co_timeout(1) CHECK_INT(co_sleep_until(INT64_MAX), -ETIMEDOUT);
    co_timeout(INT64_MAX) CHECK_INT(co_sleep(1), 0);
    co_timeout_at(INT64_MAX) CHECK_INT(co_sleep(1), 0);
    CHECK_INT(co_sleep_until(INT64_MIN), 0);
    return (int)(loop_time(loop_current()) / MS);
}

static void the_longest_times_do_not_overflow(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_longest, NULL), 5);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void a_single_virtual_pass_waits_no_longer_than_told(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    int calls = 0;
    assert_int_equal(loop_call_later(loop, 100, count, &calls, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_time(loop), 0);
    assert_int_equal(loop_run_once(loop, 60), 1);
    assert_int_equal(loop_time(loop), 60 * MS);
    assert_int_equal(calls, 0);
    assert_int_equal(loop_run_once(loop, 60), 0);
    assert_int_equal(loop_time(loop), 100 * MS);
    assert_int_equal(calls, 1);
    close_loop(loop);
}

static int read_what_is_there(void *arg)
{
    const int *fds = arg;
    char byte;
    CHECK_INT(co_write(fds[0], "x", 1), 1);
    co_timeout(HOUR) CHECK_INT(co_read(fds[1], &byte, 1), 1);
    CHECK_INT(loop_time(loop_current()), 0);
    co_timeout(HOUR) CHECK_INT(co_read(fds[1], &byte, 1), -ETIMEDOUT);
    CHECK_INT(loop_time(loop_current()), HOUR * MS);
    return 0;
}

static void an_event_comes_before_a_jump_of_the_virtual_clock(void **state)
{
    (void)state;
    int fds[2];
    make_socketpair(fds);
    assert_int_equal(run_task(read_what_is_there, fds), 0);
    close(fds[0]);
    close(fds[1]);
}

/* --- Real time -------------------------------------------------------------------------------- */

static void wait_for_the_clock(void *arg)
{
    loop_t *loop = arg;
    int64_t cached = loop_time(loop), start = clock_real_now();
    assert_true(cached <= start);
    while (clock_real_now() < start + MS)
        ;
    assert_int_equal(loop_time(loop), cached);
}

static void loop_time_is_read_once_a_pass(void **state)
{
    (void)state;
    loop_t *loop = open_real_loop();
    assert_int_equal(loop_call_soon(loop, wait_for_the_clock, loop, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    close_loop(loop);
}

static int sleep_briefly(void *arg)
{
    (void)arg;
    static const int64_t times[] = {1, 999, 1000, 50000, 999999, 1000000, 1000001, 3141592};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t start = clock_real_now();
        CHECK_INT(co_sleep_ns(times[i]), 0);
        CHECK(clock_real_now() - start >= times[i]);
    }
    return 0;
}

static void a_real_sleep_is_never_early(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(sleep_briefly, NULL), 0);
}

static int sleep_after_computing(void *arg)
{
    (void)arg;
    int64_t start = clock_real_now();
    while (clock_real_now() < start + 3 * MS)
        ; /* loop_time is old now */
    start = clock_real_now();
    CHECK_INT(co_sleep(2), 0);
    CHECK(clock_real_now() - start >= 2 * MS);
    return 0;
}

static void a_sleep_after_long_computing_is_not_early(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(sleep_after_computing, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_that_would_overflow_are_never),
        cmocka_unit_test(milliseconds_become_nanoseconds_or_never),
        cmocka_unit_test(the_real_clock_does_not_go_back),
        cmocka_unit_test(the_coarse_clock_moves_with_the_real_one),
        cmocka_unit_test(a_virtual_clock_stands_still),
        cmocka_unit_test(a_virtual_year_takes_exactly_a_year),
        cmocka_unit_test(virtual_time_stands_still_while_work_is_ready),
        cmocka_unit_test(virtual_time_jumps_from_timer_to_timer),
        cmocka_unit_test(the_longest_times_do_not_overflow),
        cmocka_unit_test(a_single_virtual_pass_waits_no_longer_than_told),
        cmocka_unit_test(an_event_comes_before_a_jump_of_the_virtual_clock),
        cmocka_unit_test(loop_time_is_read_once_a_pass),
        cmocka_unit_test(a_real_sleep_is_never_early),
        cmocka_unit_test(a_sleep_after_long_computing_is_not_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
