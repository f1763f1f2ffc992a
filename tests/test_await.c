/* Waiting for one task: results, cycles, what a cancelled or late waiter does to the task,
 * and the message of a failure on its way. */
#include "support.h"

#include <stdio.h>

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

/* Sleeps until cancelled, traces what it got and needs 10 ms to clean up. */
static int sleep_and_clean_up(void *word)
{
    int rc = co_sleep(-1);
    trace("%s%d", (const char *)word, rc == -ECANCELED);
    co_shield() CHECK_INT(co_sleep(10), 0);
    trace("%s-clean", (const char *)word);
    return rc;
}

static int ignore_cancellation(void *result)
{
    CHECK_INT(co_sleep(50), -ECANCELED);
    trace("ignored");
    return (int)(intptr_t)result;
}

static size_t stacks_in_use(void)
{
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    return stats.stacks - stats.stacks_idle;
}

/* --- Results and handles ---------------------------------------------------------------------- */

static int await_results(void *arg)
{
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(return_arg, (void *)5)), 5);
    CHECK_INT(co_await_task(co_spawn(return_arg, (void *)0)), 0);
    CHECK_INT(co_await_task(co_spawn(return_arg, (void *)-EIO)), -EIO);
    CHECK_INT(stacks_in_use(), 1); /* all handles were released */
    CHECK_INT(co_await_task(NULL), -ENOMEM);
    CHECK_INT(co_wait_for(NULL, 5), -ENOMEM);
    return 0;
}

static void awaiting_returns_the_result_and_releases_the_handle(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_results, NULL), 0);
}

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 0;
}

static int await_what_is_done(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(return_arg, (void *)5);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_go(say, "other"), 0);
    CHECK_INT(co_await_task(task), 5);
    trace("result");
    return 0;
}

static void a_done_task_is_awaited_without_giving_way(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_what_is_done, NULL), 0);
    assert_string_equal(traced(), "result other");
}

struct waiter {
    co_task_t *task;
    const char *name;
    int64_t ms;
};

static int await_shared(void *arg)
{
    struct waiter *waiter = arg;
    int rc = 0;
    co_timeout(waiter->ms) rc = co_await_task(waiter->task);
    trace("%s:%d", waiter->name, rc);
    return rc;
}

static int sleep_then_return_5(void *arg)
{
    (void)arg;
    return co_sleep(20) == 0 ? 5 : -ECANCELED;
}

static void share(loop_t *loop, struct waiter waiters[3])
{
    co_task_t *task = loop_spawn(loop, sleep_then_return_5, NULL);
    for (int i = 0; i < 3; i++) {
        waiters[i].task = co_task_retain(task);
        co_task_release(loop_spawn(loop, await_shared, &waiters[i]));
    }
    co_task_release(task);
    loop_run(loop);
}

static void several_waiters_get_the_result_in_the_order_they_came(void **state)
{
    (void)state;
    struct waiter waiters[3] = {{NULL, "a", -1}, {NULL, "b", -1}, {NULL, "c", -1}};
    loop_t *loop = open_loop();
    share(loop, waiters);
    assert_string_equal(traced(), "a:5 b:5 c:5");
    assert_int_equal(stacks_in_use(), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void a_late_waiter_cancels_the_task_of_the_others_too(void **state)
{
    (void)state;
    char expected[64];
    struct waiter waiters[3] = {{NULL, "a", -1}, {NULL, "b", 10}, {NULL, "c", -1}};
    loop_t *loop = open_loop();
    share(loop, waiters);
    snprintf(expected, sizeof expected, "a:%d c:%d b:%d", -ECANCELED, -ECANCELED, -ETIMEDOUT);
    assert_string_equal(traced(), expected);
    assert_int_equal(reports(), 3); /* nobody asked these waiters to fail */
    assert_int_equal(close_loop(loop), 0);
}

/* --- Cycles ----------------------------------------------------------------------------------- */

static int await_self(void *arg)
{
    (void)arg;
    co_task_t *self = co_task_retain(co_self());
    CHECK_INT(co_await_task(self), -EDEADLK);
    CHECK_INT(co_wait_for(self, 10), -EDEADLK);
    CHECK_INT(co_gather(self), -EDEADLK);
    CHECK_INT(co_gather_all(&self, 1, NULL), -EDEADLK);
    CHECK_INT(co_wait(&self, 1, CO_ALL), -EDEADLK);
    co_task_release(self);
    return 0;
}

static void awaiting_oneself_is_a_deadlock_and_keeps_the_handle(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_self, NULL), 0);
}

/* Members of a ring: each awaits the next one; the last to try is refused. */
struct member {
    co_task_t *next;
    int free_calls; /* it makes before that */
    bool by_gather;
};

static int await_next(void *arg)
{
    struct member *member = arg;
    for (int i = 0; i < member->free_calls; i++)
        CHECK_INT(co_await_fd(-1, 0), -EINVAL); /* a call that never parks */
    int rc = member->by_gather ? co_gather(member->next) : co_await_task(member->next);
    if (rc == -EDEADLK)
        co_task_release(member->next);
    trace("%s", rc == -EDEADLK ? "deadlock" : rc == 3 || member->by_gather ? "end" : "?");
    return 3;
}

static void run_ring(struct member *ring, int n)
{
    co_task_t *tasks[3];
    loop_t *loop = open_loop();
    for (int i = 0; i < n; i++)
        tasks[i] = loop_spawn(loop, await_next, &ring[i]);
    for (int i = 0; i < n; i++)
        ring[i].next = co_task_retain(tasks[(i + 1) % n]);
    assert_int_equal(loop_run(loop), 0);
    for (int i = 0; i < n; i++)
        co_task_release(tasks[i]);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void two_tasks_that_await_each_other_are_a_deadlock(void **state)
{
    (void)state;
    struct member ring[2] = {{0}};
    run_ring(ring, 2);
    assert_string_equal(traced(), "deadlock end");
}

static void three_tasks_in_a_ring_are_a_deadlock(void **state)
{
    (void)state;
    struct member ring[3] = {{0}};
    run_ring(ring, 3);
    assert_string_equal(traced(), "deadlock end end");
}

/* The call that has to give way for fairness' sake looks for the cycle when it is back. */
static void a_cycle_is_found_whenever_its_members_give_way(void **state)
{
    (void)state;
    for (int calls = 0; calls < 130; calls++) {
        struct member ring[2] = {{.free_calls = calls}, {.free_calls = 0}};
        run_ring(ring, 2);
        assert_string_equal(traced(), "deadlock end");
    }
}

static void a_cycle_through_a_gather_is_a_deadlock(void **state)
{
    (void)state;
    struct member ring[2] = {{.by_gather = true}, {0}};
    run_ring(ring, 2);
    assert_string_equal(traced(), "deadlock end");
}

/* --- Cancelled and late waiters --------------------------------------------------------------- */

static int await_cleaner(void *arg)
{
    int rc = co_await_task(co_spawn(sleep_and_clean_up, "child"));
    trace("parent%d", rc == -ECANCELED);
    CHECK_INT(co_yield_now(), -ECANCELED);
    return arg ? 0 : rc;
}

static void cancel_twice_and_more(loop_t *loop, co_task_t *task, int times)
{
    for (int i = 0; i < times; i++) {
        co_task_cancel(task);
        loop_run_once(loop, 0);
    }
}

static void a_cancelled_waiter_cancels_the_task_and_waits_for_it(void **state)
{
    (void)state;
    for (int times = 1; times < 5; times++) {
        loop_t *loop = open_loop();
        co_task_t *task = loop_spawn(loop, await_cleaner, NULL);
        loop_run_once(loop, 0);
        loop_run_once(loop, 0);
        cancel_twice_and_more(loop, task, times);
        assert_int_equal(loop_run_until(loop, task), -ECANCELED);
        assert_string_equal(traced(), "child1 child-clean parent1");
        assert_string_equal(reported(), "");
        assert_int_equal(close_loop(loop), 0);
    }
}

static int await_in_time(void *arg)
{
    (void)arg;
    int rc = 0;
    int64_t begin = loop_time(loop_current());
    co_timeout(20) rc = co_await_task(co_spawn(sleep_and_clean_up, "child"));
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(loop_time(loop_current()) - begin, 30 * MS);
    return co_yield_now();
}

static void a_waiter_out_of_time_cancels_the_task_and_waits_for_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_in_time, NULL), 0);
    assert_string_equal(traced(), "child1 child-clean");
}

static int await_deaf(void *arg)
{
    (void)arg;
    int rc = 0;
    co_timeout(20)
    {
        rc = co_await_task(co_spawn(ignore_cancellation, (void *)7));
        CHECK_INT(co_yield_now(), -ETIMEDOUT);
    }
    return rc;
}

static void the_result_of_a_task_that_ignores_its_cancellation_is_returned(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_deaf, NULL), 7);
    assert_string_equal(traced(), "ignored");
}

static int never_begun(void *arg)
{
    trace("begins%d", co_task_cancelled(co_self()));
    return arg ? 0 : co_yield_now();
}

static int await_when_cancelled(void *arg)
{
    (void)arg;
    co_task_t *done = co_spawn(return_arg, (void *)4);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(co_self());
    CHECK_INT(co_await_task(done), 4);
    CHECK_INT(co_await_task(co_spawn(never_begun, NULL)), -ECANCELED);
    CHECK_INT(co_await_task(co_spawn(never_begun, "x")), 0);
    CHECK_INT(stacks_in_use(), 1);
    return 0;
}

static void a_waiter_that_was_cancelled_before_still_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_when_cancelled, NULL), 0);
    assert_string_equal(traced(), "begins1 begins1");
}

static int await_chain(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    int rc = depth ? co_await_task(co_spawn(await_chain, (void *)(depth - 1))) : co_sleep(-1);
    trace("%d", (int)depth);
    return rc;
}

static void cancelling_the_first_of_a_chain_ends_it_from_its_end(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, await_chain, (void *)5);
    for (int i = 0; i < 8; i++)
        loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "0 1 2 3 4 5");
    assert_int_equal(close_loop(loop), 0);
}

static int await_shielded(void *arg)
{
    int rc = 0;
    co_shield() rc = co_await_task(arg);
    trace("%d", rc);
    return co_yield_now();
}

static void a_shielded_waiter_lets_the_task_go_on(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, await_shielded, loop_spawn(loop, sleep_then_return_5, NULL));
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "5");
    assert_int_equal(close_loop(loop), 0);
}

static int await_and_go_on(void *arg)
{
    CHECK_INT(co_await_task(arg), -ECANCELED);
    CHECK_INT(co_yield_now(), 0);
    return 0;
}

static int sleep_only(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static void a_waiter_is_not_cancelled_with_the_task(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *child = loop_spawn(loop, sleep_only, NULL);
    co_task_t *task = loop_spawn(loop, await_and_go_on, child);
    loop_run_once(loop, 0);
    co_task_cancel(child);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int await_anything(void *arg)
{
    int rc = co_await_task(arg);
    trace("%s", rc == -ECANCELED ? "cancelled" : "?");
    return rc;
}

static void waiter_and_task_may_be_cancelled_in_one_moment(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        loop_t *loop = open_loop();
        co_task_t *child = loop_spawn(loop, sleep_only, NULL);
        co_task_t *task = loop_spawn(loop, await_anything, child);
        loop_run_once(loop, 0);
        co_task_cancel(order ? child : task);
        co_task_cancel(order ? task : child);
        assert_int_equal(loop_run_until(loop, task), -ECANCELED);
        assert_string_equal(traced(), "cancelled");
        assert_int_equal(close_loop(loop), 0);
    }
}

/* A child that cancels who awaits it finds itself cancelled in turn. */
static int cancel_parent(void *arg)
{
    co_task_cancel(arg);
    trace("child%d", co_task_cancelled(co_self()));
    CHECK_INT(co_sleep(-1), -ECANCELED);
    return -ECANCELED;
}

static int await_its_canceller(void *arg)
{
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(cancel_parent, co_self())), -ECANCELED);
    return 0;
}

static void a_task_may_cancel_its_waiter(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_its_canceller, NULL), 0);
    assert_string_equal(traced(), "child0");
}

/* --- co_wait_for ------------------------------------------------------------------------------ */

static int wait_for_all_kinds(void *arg)
{
    (void)arg;
    CHECK_INT(co_wait_for(co_spawn(sleep_then_return_5, NULL), 30), 5);
    CHECK_INT(co_wait_for(co_spawn(sleep_then_return_5, NULL), -1), 5);
    CHECK_INT(co_wait_for(co_spawn(sleep_then_return_5, NULL), 10), -ETIMEDOUT);
    CHECK_INT(co_wait_for(co_spawn(sleep_then_return_5, NULL), 0), -ETIMEDOUT);
    CHECK_INT(co_wait_for(co_spawn(ignore_cancellation, (void *)8), 10), 8);
    CHECK_INT(co_wait_for(co_spawn(ignore_cancellation, (void *)-EIO), 10), -EIO);
    CHECK_INT(co_wait_for(co_spawn(return_arg, (void *)-ECANCELED), 10), -ECANCELED);
    co_timeout(10) CHECK_INT(co_wait_for(co_spawn(sleep_only, NULL), 50), -ETIMEDOUT);
    CHECK_INT(stacks_in_use(), 1);
    return co_yield_now();
}

static void waiting_for_a_time_cancels_the_task_when_it_has_passed(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_all_kinds, NULL), 0);
}

static int wait_for_what_is_done(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(return_arg, (void *)5);
    CHECK_INT(co_yield_now(), 0);
    return co_wait_for(task, 0);
}

static void waiting_no_time_takes_a_result_that_is_there(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_what_is_done, NULL), 5);
}

static int wait_for_cleaner(void *arg)
{
    (void)arg;
    return co_wait_for(co_spawn(sleep_and_clean_up, "child"), 1000);
}

static void a_cancelled_caller_of_co_wait_for_gets_its_own_code(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_cleaner, NULL);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "child1 child-clean");
    assert_int_equal(close_loop(loop), 0);
}

/* --- Messages --------------------------------------------------------------------------------- */

static int fail_with_note(void *arg)
{
    return co_fail(-ENOENT, "no such user: %s", (const char *)arg);
}

static int await_once_more(void *arg)
{
    int rc = co_await_task(co_spawn(fail_with_note, arg));
    const co_error_t *error = co_task_error(co_self());
    CHECK(error && strcmp(error->message, "no such user: ann") == 0);
    return rc;
}

static int await_message(void *arg)
{
    char name[] = "ann";
    CHECK(co_task_error(co_self()) == NULL);
    CHECK_INT(co_await_task(co_spawn(await_once_more, name)), -ENOENT);
    memset(name, '?', sizeof name - 1);
    const co_error_t *error = co_task_error(co_self());
    CHECK(error && error->code == -ENOENT && strcmp(error->message, "no such user: ann") == 0);
    CHECK(strncmp(error->where, __FILE__, sizeof __FILE__ - 1) == 0);
    CHECK_INT(co_await_task(co_spawn(return_arg, (void *)1)), 1);
    CHECK(co_task_error(co_self()) == error);
    return arg ? 0 : -EIO;
}

static void the_message_of_a_failure_travels_to_who_awaits_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_message, "x"), 0);
}

static void a_message_taken_over_is_dropped_with_another_code(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, await_message, NULL);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), -EIO);
    assert_null(co_task_error(task));
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(awaiting_returns_the_result_and_releases_the_handle),
        cmocka_unit_test(a_done_task_is_awaited_without_giving_way),
        cmocka_unit_test(several_waiters_get_the_result_in_the_order_they_came),
        cmocka_unit_test(a_late_waiter_cancels_the_task_of_the_others_too),
        cmocka_unit_test(awaiting_oneself_is_a_deadlock_and_keeps_the_handle),
        cmocka_unit_test(two_tasks_that_await_each_other_are_a_deadlock),
        cmocka_unit_test(three_tasks_in_a_ring_are_a_deadlock),
        cmocka_unit_test(a_cycle_is_found_whenever_its_members_give_way),
        cmocka_unit_test(a_cycle_through_a_gather_is_a_deadlock),
        cmocka_unit_test(a_cancelled_waiter_cancels_the_task_and_waits_for_it),
        cmocka_unit_test(a_waiter_out_of_time_cancels_the_task_and_waits_for_it),
        cmocka_unit_test(the_result_of_a_task_that_ignores_its_cancellation_is_returned),
        cmocka_unit_test(a_waiter_that_was_cancelled_before_still_leaves_nothing_behind),
        cmocka_unit_test(cancelling_the_first_of_a_chain_ends_it_from_its_end),
        cmocka_unit_test(a_shielded_waiter_lets_the_task_go_on),
        cmocka_unit_test(a_waiter_is_not_cancelled_with_the_task),
        cmocka_unit_test(waiter_and_task_may_be_cancelled_in_one_moment),
        cmocka_unit_test(a_task_may_cancel_its_waiter),
        cmocka_unit_test(waiting_for_a_time_cancels_the_task_when_it_has_passed),
        cmocka_unit_test(waiting_no_time_takes_a_result_that_is_there),
        cmocka_unit_test(a_cancelled_caller_of_co_wait_for_gets_its_own_code),
        cmocka_unit_test(the_message_of_a_failure_travels_to_who_awaits_it),
        cmocka_unit_test(a_message_taken_over_is_dropped_with_another_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
