/* co_wait_for where Python's tests of asyncio.wait_for ask for more than test_await.c, and waiting
 * for a task in time without cancelling it, which there is wait_for with shield; the table is in
 * asyncio_conformance.md. */
#include "test_asyncio.h"

static struct job slow = {"slow", 20, 42}, for_ever = {"e", -1, 0};

static int clean_up(void *arg)
{
    int rc = co_sleep(-1);
    co_shield() CHECK_INT(co_sleep(20), 0);
    trace("clean");
    *(bool *)arg = true;
    return rc;
}

/* --- No time ---------------------------------------------------------------------------------- */

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 7;
}

static int wait_no_time(void *arg)
{
    bool cleaned = false;
    (void)arg;
    CHECK_INT(co_wait_for(co_spawn(say, "begun"), 0), 7);
    co_task_t *task = co_task_retain(co_spawn(clean_up, &cleaned));
    CHECK_INT(co_wait_for(task, 0), -ETIMEDOUT);
    CHECK(cleaned && co_task_done(task) && co_task_cancelled(task));
    co_task_release(task);
    cleaned = false;
    task = co_spawn(clean_up, &cleaned);
    CHECK_INT(co_sleep(10), 0);
    CHECK_INT(co_wait_for(task, 0), -ETIMEDOUT);
    CHECK(cleaned);
    return (int)now_ms();
}

/* In Python a coroutine that has no time is not even begun. A task here begins in any case, and one
 * that does not wait ends in the same pass. */
static void without_time_a_task_begins_and_is_cancelled_at_its_first_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_no_time, NULL), 50);
    assert_string_equal(traced(), "begun clean clean");
}

/* --- Cleaning up ------------------------------------------------------------------------------ */

static int wait_in_time(void *arg)
{
    bool cleaned = false;
    (void)arg;
    CHECK_INT(co_wait_for(co_spawn(clean_up, &cleaned), 10), -ETIMEDOUT);
    CHECK(cleaned);
    return (int)now_ms();
}

static void a_task_out_of_time_is_waited_for_while_it_cleans_up(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_time, NULL), 30);
}

static int wait_10_ms(void *arg)
{
    int rc = co_wait_for(arg, 10);
    trace("%d", rc);
    CHECK_INT(co_yield_now(), -ECANCELED);
    return rc;
}

static int cancel_who_waits_for_a_late_one(void *arg)
{
    co_task_t *task = co_task_retain(co_spawn(linger, &slow)), *waiter = co_spawn(wait_10_ms, task);
    (void)arg;
    CHECK_INT(co_sleep(20), 0); /* the task is late, and cleans up until 30 ms */
    co_task_cancel(waiter);
    CHECK_INT(co_await_task(waiter), 42);
    CHECK_INT(now_ms(), 30);
    return co_await_task(task);
}

/* Python 3.11 lets the waiter go at once and the task go on alone. Here nothing is orphaned. */
static void a_waiter_cancelled_while_the_late_task_cleans_up_waits_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_who_waits_for_a_late_one, NULL), 42);
    assert_string_equal(traced(), "slow! 42");
}

/* --- Cancelled -------------------------------------------------------------------------------- */

static int64_t patience;

static int wait_with_patience(void *arg)
{
    return co_wait_for(arg, patience);
}

static int cancel_waiter(void *arg)
{
    co_task_t *task = co_task_retain(co_spawn(work, &for_ever));
    co_task_t *waiter = co_spawn(wait_with_patience, task);
    (void)arg;
    settle();
    co_task_cancel(waiter);
    CHECK_INT(co_await_task(waiter), -ECANCELED);
    CHECK(co_task_done(task) && co_task_cancelled(task));
    CHECK_INT(now_ms(), 0);
    return co_await_task(task);
}

static void cancelling_the_waiter_cancels_the_task_whatever_the_deadline(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        patience = i ? 60000 : -1;
        assert_int_equal(run_task(cancel_waiter, NULL), -ECANCELED);
        assert_string_equal(traced(), "e-");
    }
}

static int wait_and_go_on(void *arg)
{
    CHECK_INT(co_wait_for(arg, 100), 7);
    trace("result");
    int rc = co_sleep(1000);
    trace(rc < 0 ? "cancelled" : "slept");
    return rc;
}

static int cancel_when_the_task_is_done(void *arg)
{
    co_task_t *task = co_spawn(say, "done"), *waiter;
    (void)arg;
    co_task_retain(task);
    waiter = co_spawn(wait_and_go_on, task);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(waiter);
    CHECK_INT(co_await_task(waiter), -ECANCELED);
    return co_await_task(task);
}

static void a_waiter_cancelled_when_the_task_is_done_has_its_result(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_when_the_task_is_done, NULL), 7);
    assert_string_equal(traced(), "done result cancelled");
}

static void settle_future(void *future)
{
    CHECK_INT(co_future_resolve(future, 7, NULL), 0);
}

/* Settled at 9, 10 or 11 ms, where the deadline is at 10. */
static int await_future_in_time(void *arg)
{
    co_future_t future = {0};
    int rc = 1, ms = *(int *)arg;
    CHECK_INT(loop_call_later(loop_current(), ms, settle_future, &future, NULL), 0);
    co_timeout(10) rc = co_await_future(&future, NULL);
    CHECK(rc == 7 || rc == -ETIMEDOUT);
    CHECK(ms == 10 || (ms < 10) == (rc == 7));
    CHECK_INT(co_sleep(10), 0);
    return co_await_future(&future, NULL);
}

static void a_future_settled_at_the_deadline_is_a_result_or_a_timeout(void **state)
{
    (void)state;
    for (int ms = 9; ms <= 11; ms++)
        assert_int_equal(run_task(await_future_in_time, &ms), 7);
}

/* --- Waiting without cancelling --------------------------------------------------------------- */

static int wait_and_leave(void *arg)
{
    int rc = 1;
    (void)arg;
    co_task_t *task = co_spawn(work, &slow);
    co_timeout(0) rc = co_wait(&task, 1, CO_ALL);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(10) rc = co_wait(&task, 1, CO_ALL);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK(!co_task_done(task) && !co_task_cancelled(task));
    co_shield() co_timeout(-1) rc = co_wait(&task, 1, CO_ALL);
    CHECK_INT(rc, 1);
    CHECK_INT(now_ms(), 20);
    return co_await_task(task);
}

static void co_wait_in_time_leaves_the_task_running(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_and_leave, NULL), 42);
    assert_string_equal(traced(), "slow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_time_a_task_begins_and_is_cancelled_at_its_first_wait),
        cmocka_unit_test(a_task_out_of_time_is_waited_for_while_it_cleans_up),
        cmocka_unit_test(a_waiter_cancelled_while_the_late_task_cleans_up_waits_on),
        cmocka_unit_test(cancelling_the_waiter_cancels_the_task_whatever_the_deadline),
        cmocka_unit_test(a_waiter_cancelled_when_the_task_is_done_has_its_result),
        cmocka_unit_test(a_future_settled_at_the_deadline_is_a_result_or_a_timeout),
        cmocka_unit_test(co_wait_in_time_leaves_the_task_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
