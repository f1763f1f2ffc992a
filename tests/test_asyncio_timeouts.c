/* Scopes where Python's tests of asyncio.timeout ask for more than test_scope*.c; co_wait_for is in
 * test_asyncio_tasks_wait.c, the table in asyncio_conformance.md. */
#include "test_asyncio.h"

#include <time.h>

/* --- How scopes end --------------------------------------------------------------------------- */

static int expire_both(void *arg)
{
    co_scope_t outer, inner;
    (void)arg;
    co_scope_enter(&outer, 10);
    co_scope_enter(&inner, 10);
    CHECK_INT(co_sleep(-1), -ETIMEDOUT);
    co_scope_leave(&inner);
    CHECK_INT(co_sleep(-1), -ETIMEDOUT);
    co_scope_leave(&outer);
    CHECK(co_scope_expired(&inner) && co_scope_expired(&outer));
    CHECK(!co_scope_cancelled(&inner) && !co_scope_cancelled(&outer));
    CHECK(!co_task_cancelled(co_self()));
    return (int)now_ms();
}

static void two_scopes_of_one_deadline_both_expire_and_cancel_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(expire_both, NULL), 10);
}

static int go_without_deadline(void *arg)
{
    co_scope_t scope;
    int rc = 1;
    (void)arg;
    co_timeout_at(INT64_MAX) rc = co_sleep(INT64_C(365) * 24 * 3600 * 1000);
    CHECK_INT(rc, 0);
    co_scope_enter(&scope, -1);
    CHECK_INT(co_sleep(10), 0);
    co_scope_leave(&scope);
    CHECK(!co_scope_expired(&scope));
    return 0;
}

static void a_scope_may_have_no_deadline(void **state)
{
    (void)state;
    assert_int_equal(run_task(go_without_deadline, NULL), 0);
}

static int throw_something(void *message)
{
    co_throw(-EIO, "%s", (const char *)message);
}

static co_scope_t crossed;

static int throw_out_of_a_scope(void *late)
{
    co_scope_enter(&crossed, 10);
    if (late)
        CHECK_INT(co_sleep(-1), -ETIMEDOUT);
    return throw_something("out");
}

static int throw_in_time_and_late(void *arg)
{
    (void)arg;
    CHECK_INT(co_try(throw_out_of_a_scope, NULL), -EIO);
    CHECK(!co_scope_expired(&crossed));
    CHECK_INT(co_sleep(20), 0); /* the scope was left */
    CHECK_INT(co_try(throw_out_of_a_scope, "late"), -EIO);
    CHECK(co_scope_expired(&crossed));
    return co_sleep(20);
}

static void a_throw_leaves_a_scope_and_does_not_expire_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(throw_in_time_and_late, NULL), 0);
}

static int cancel_itself_in_time(void *arg)
{
    co_scope_t scope;
    (void)arg;
    co_scope_enter(&scope, 10);
    co_task_cancel(co_self());
    CHECK_INT(co_sleep(-1), -ECANCELED);
    co_scope_leave(&scope);
    CHECK(!co_scope_expired(&scope) && !co_scope_cancelled(&scope));
    return (int)now_ms();
}

static void a_task_cancelled_in_a_scope_in_time_does_not_expire_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_itself_in_time, NULL), 0);
}

static co_scope_t moved;

static int sleep_in_a_scope(void *arg)
{
    (void)arg;
    co_scope_enter(&moved, 10);
    int rc = co_sleep(50);
    co_scope_leave(&moved);
    return rc;
}

static int move_and_cancel(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(sleep_in_a_scope, NULL);
    CHECK_INT(co_yield_now(), 0);
    co_scope_set_deadline(&moved, 30 * MS);
    CHECK_INT(co_sleep(20), 0);
    co_scope_set_deadline(&moved, INT64_MAX);
    CHECK_INT(co_sleep(20), 0);
    CHECK(!co_task_done(task));
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK(!co_scope_expired(&moved));
    return 0;
}

static void a_deadline_moved_and_taken_away_expires_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(move_and_cancel, NULL), 0);
}

static int enter_again(void *arg)
{
    co_scope_t scope;
    (void)arg;
    for (int i = 1; i <= 3; i++) {
        co_scope_enter(&scope, 10);
        CHECK(!co_scope_expired(&scope)); /* nothing of the time before */
        CHECK_INT(co_sleep(-1), -ETIMEDOUT);
        CHECK_INT(now_ms(), 10 * i);
        co_scope_leave(&scope);
    }
    return 0;
}

/* Python's can be entered once in their life. */
static void a_scope_that_was_left_may_be_entered_again(void **state)
{
    (void)state;
    assert_int_equal(run_task(enter_again, NULL), 0);
}

/* --- A busy thread ---------------------------------------------------------------------------- */

static void compute(int64_t ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t until = now.tv_sec * INT64_C(1000000000) + now.tv_nsec + ms * MS;
    while (now.tv_sec * INT64_C(1000000000) + now.tv_nsec < until)
        clock_gettime(CLOCK_MONOTONIC, &now);
}

static int compute_past_both(void *arg)
{
    int inner = 1, outer = 1;
    (void)arg;
    co_timeout(20)
    {
        co_timeout(5)
        {
            compute(25);
            inner = co_sleep(-1);
        }
        outer = co_sleep(-1);
    }
    CHECK_INT(inner, -ETIMEDOUT);
    CHECK_INT(outer, -ETIMEDOUT);
    co_timeout(1) co_timeout(100000)
    {
        compute(5);
        inner = co_sleep(-1);
    }
    CHECK_INT(inner, -ETIMEDOUT);
    return co_yield_now();
}

static void deadlines_that_pass_while_the_task_computes_are_all_noticed(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(compute_past_both, NULL), 0);
}

/* --- Cleaning up in time ---------------------------------------------------------------------- */

static int clean_up_in_time(void *cancelled)
{
    int code = cancelled ? -ECANCELED : -ETIMEDOUT, rc = 1;
    if (cancelled)
        co_task_cancel(co_self());
    co_timeout(cancelled ? -1 : 10)
    {
        CHECK_INT(co_sleep(-1), code);
        int64_t begin = now_ms();
        co_timeout(10) rc = co_sleep(-1); /* a new deadline alone brings no time */
        CHECK_INT(rc, code);
        CHECK_INT(now_ms(), begin);
        co_shield() co_timeout(10)
        {
            co_task_cancel(co_self()); /* hidden like the one before */
            rc = co_sleep(-1);
        }
        CHECK_INT(rc, -ETIMEDOUT);
        CHECK_INT(now_ms(), begin + 10);
        co_shield() co_timeout(0) rc = co_sleep(-1);
        CHECK_INT(rc, -ETIMEDOUT);
    }
    return co_sleep(-1);
}

/* Python's cancellation is an edge: there the clean-up needs no shield, and a second cancellation
 * interrupts it. */
static void a_shield_with_a_deadline_bounds_the_clean_up(void **state)
{
    (void)state;
    assert_int_equal(run_task(clean_up_in_time, NULL), -ECANCELED);
    assert_int_equal(run_task(clean_up_in_time, "cancelled"), -ECANCELED);
}

static int fail_when_interrupted(void *arg)
{
    (void)arg;
    co_defer(free, malloc(1));
    return co_sleep(-1) == -ECANCELED ? -EIO : 1;
}

static int time_out_around_a_group(void *arg)
{
    int rc = 1;
    (void)arg;
    co_timeout(10) co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, fail_when_interrupted, NULL), 0);
        trace("%d", co_sleep(-1));
    }
    CHECK_INT(now_ms(), 10);
    CHECK_INT(co_yield_now(), 0);
    return rc;
}

static void a_child_that_fails_in_its_clean_up_comes_before_the_timeout(void **state)
{
    (void)state;
    assert_int_equal(run_task(time_out_around_a_group, NULL), -EIO);
    assert_string_equal(traced(), "-110");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_scopes_of_one_deadline_both_expire_and_cancel_nothing),
        cmocka_unit_test(a_scope_may_have_no_deadline),
        cmocka_unit_test(a_throw_leaves_a_scope_and_does_not_expire_it),
        cmocka_unit_test(a_task_cancelled_in_a_scope_in_time_does_not_expire_it),
        cmocka_unit_test(a_deadline_moved_and_taken_away_expires_nothing),
        cmocka_unit_test(a_scope_that_was_left_may_be_entered_again),
        cmocka_unit_test(deadlines_that_pass_while_the_task_computes_are_all_noticed),
        cmocka_unit_test(a_shield_with_a_deadline_bounds_the_clean_up),
        cmocka_unit_test(a_child_that_fails_in_its_clean_up_comes_before_the_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
