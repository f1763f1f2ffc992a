/* Tasks where Python's tests of asyncio tasks ask for more than test_task.c, test_cancel.c,
 * test_gather.c and their like; co_wait_for is in test_asyncio_tasks_wait.c, the table in
 * asyncio_conformance.md. */
#include "test_asyncio.h"

#include <pthread.h>

static struct job a = {"a", 10, 1}, b = {"b", 15, 2}, c = {"c", 20, 3}, for_ever = {"e", -1, 0};

/* --- Sleeping --------------------------------------------------------------------------------- */

static void count_up(void *n)
{
    ++*(int *)n;
}

static int sleep_no_time(void *arg)
{
    int n = 0;
    (void)arg;
    CHECK_INT(loop_call_soon(loop_current(), count_up, &n, NULL), 0);
    CHECK_INT(n, 0);
    CHECK_INT(co_sleep(0), 0);
    return n;
}

static void sleeping_no_time_lets_what_is_ready_run(void **state)
{
    (void)state;
    assert_int_equal(run_task(sleep_no_time, NULL), 1);
}

static size_t timers(void)
{
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    return stats.timers;
}

static void cancel_task(void *task)
{
    co_task_cancel(task);
}

static int cancel_a_sleeper(void *arg)
{
    static struct job long_sleep = {"sleeper", 5000000, 0};
    co_task_t *task = co_spawn(work, &long_sleep);
    (void)arg;
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(timers(), 1);
    CHECK_INT(loop_call_later(loop_current(), 100, cancel_task, task, NULL), 0);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK_INT(timers(), 0);
    return (int)now_ms();
}

static void a_cancelled_sleep_ends_at_once_and_leaves_no_timer(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_a_sleeper, NULL), 100);
}

/* --- Cancelling ------------------------------------------------------------------------------- */

static int await_a_parked_one_when_cancelled(void *arg)
{
    co_task_t *task = co_task_retain(co_spawn(work, &for_ever));
    (void)arg;
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(co_self());
    CHECK(!co_task_cancelled(task));
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK(co_task_done(task) && co_task_cancelled(task));
    return co_await_task(task);
}

static void a_task_that_cancelled_itself_cancels_what_it_then_awaits(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_a_parked_one_when_cancelled, NULL), -ECANCELED);
    assert_string_equal(traced(), "e-");
}

static int fail_now(void *arg)
{
    (void)arg;
    return -EIO;
}

/* Python takes the cancellation of a finished task for notice of its failure. */
static void cancelling_a_task_that_has_failed_does_not_hide_the_failure(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, fail_now, NULL);
    assert_int_equal(loop_run(loop), 0);
    co_task_cancel(task);
    assert_int_equal(reports(), 0);
    co_task_release(task);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "'fail_now'"));
    assert_int_equal(close_loop(loop), 0);
}

/* --- Shields ---------------------------------------------------------------------------------- */

static int shield_an_await(void *task)
{
    int rc = 1;
    co_shield() rc = co_await_task(task);
    trace("%d", rc);
    CHECK_INT(co_yield_now(), 0);
    return 0;
}

static int end_what_is_awaited(void *arg)
{
    co_task_t *task = co_task_retain(co_spawn(work, &for_ever));
    co_task_t *waiter = co_spawn(shield_an_await, task);
    (void)arg;
    settle();
    co_task_cancel(task);
    CHECK_INT(co_await_task(waiter), 0);
    co_task_release(task);
    return co_await_task(co_spawn(shield_an_await, co_spawn(fail_now, NULL)));
}

static void through_a_shield_come_failures_and_the_cancellation_of_the_task_itself(void **state)
{
    (void)state;
    assert_int_equal(run_task(end_what_is_awaited, NULL), 0);
    assert_string_equal(traced(), "e- -125 -5");
}

static int shield_a_gather(void *results)
{
    co_task_t *tasks[] = {co_spawn(work, &a), co_spawn(work, &b)};
    co_shield() CHECK_INT(co_gather_all(tasks, 2, results), 0);
    trace("gathered");
    return co_yield_now();
}

static int cancel_a_shielded_gather(void *arg)
{
    int results[2] = {0};
    co_task_t *task = co_spawn(shield_a_gather, results);
    (void)arg;
    CHECK_INT(co_sleep(5), 0);
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK_INT(results[0], 1);
    CHECK_INT(results[1], 2);
    return (int)now_ms();
}

static void a_shielded_gather_has_all_results_in_spite_of_a_cancellation(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_a_shielded_gather, NULL), 15);
    assert_string_equal(traced(), "a b gathered");
}

/* --- Gathering -------------------------------------------------------------------------------- */

static void cancel_when_done(co_task_t *task, void *waiter)
{
    (void)task;
    co_task_cancel(waiter);
}

static int gather_one(void *task)
{
    CHECK_INT(co_gather(task), 0);
    trace("gathered");
    return co_yield_now();
}

static int cancel_a_gather_that_has_all(void *arg)
{
    co_task_t *task = co_spawn(work, &a), *gatherer;
    (void)arg;
    co_task_retain(task);
    gatherer = co_spawn(gather_one, task);
    /* added before the gather waits, it is called before that goes on */
    CHECK_INT(co_task_add_done_callback(task, cancel_when_done, gatherer), 0);
    CHECK_INT(co_await_task(gatherer), -ECANCELED);
    return co_await_task(task);
}

static void a_gather_cancelled_when_all_its_tasks_are_done_succeeds(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_a_gather_that_has_all, NULL), 1);
    assert_string_equal(traced(), "a gathered");
}

static int gather_cancelled_ones(void *arg)
{
    int results[4];
    co_task_t *tasks[] = {co_spawn(work, &a), co_spawn(work, &for_ever), co_spawn(fail_now, NULL),
                          co_spawn(work, &b)};
    (void)arg;
    co_task_cancel(tasks[1]);
    CHECK_INT(co_gather_all(tasks, 4, results), 2);
    CHECK_INT(results[0], 1);
    CHECK_INT(results[1], -ECANCELED);
    CHECK_INT(results[2], -EIO);
    CHECK_INT(results[3], 2);
    return co_yield_now();
}

static void a_cancelled_task_is_one_result_among_those_of_gather_all(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_cancelled_ones, NULL), 0);
    assert_string_equal(traced(), "e- a b");
}

/* --- Waiting for some ------------------------------------------------------------------------- */

static int give_way(void *passes)
{
    for (int i = 0; i < *(int *)passes; i++)
        CHECK_INT(co_yield_now(), 0);
    return 0;
}

static int wait_for_two_at_once(void *arg)
{
    int two = 2;
    (void)arg;
    co_task_t *tasks[] = {co_spawn(give_way, &two), co_spawn(give_way, &two)};
    CHECK_INT(co_wait(tasks, 2, CO_FIRST_COMPLETED), 2);
    return co_gather_tasks(tasks, 2);
}

static void wait_counts_all_that_are_done_when_it_comes_back(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_two_at_once, NULL), 0);
}

static int wait_until_the_first_ends(void *arg)
{
    int rc = 1;
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &b), co_spawn(work, &a)};
    CHECK_INT(co_yield_now(), 0);
    co_timeout_at(10 * MS) rc = co_wait(tasks, 2, CO_ALL);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK(co_task_done(tasks[1]) && !co_task_done(tasks[0]));
    CHECK_INT(co_wait(tasks, 2, CO_ALL), 2);
    CHECK_INT(now_ms(), 15);
    CHECK_INT(co_wait(tasks, 2, CO_ALL), 2); /* once more takes no time */
    CHECK_INT(now_ms(), 15);
    return co_gather_tasks(tasks, 2);
}

static void a_task_that_ends_at_the_deadline_of_a_wait_is_done(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_until_the_first_ends, NULL), 0);
    assert_string_equal(traced(), "a b");
}

/* --- As they are completed -------------------------------------------------------------------- */

/* Waits for the first of the tasks, takes its result, and closes the gap. */
static int take_next(co_task_t *tasks[], size_t n)
{
    co_case_t cases[4];
    for (size_t i = 0; i < n; i++)
        cases[i] = CO_TASK(tasks[i]);
    int which = co_select(cases, n);
    if (which < 0)
        return which;
    CHECK_INT(cases[which].result, 0);
    int result = co_await_task(tasks[which]);
    tasks[which] = tasks[n - 1];
    return result;
}

static int take_as_completed(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &b), co_spawn(work, &c), co_spawn(work, &a)};
    for (size_t n = 3; n > 0; n--) {
        int result = take_next(tasks, n);
        trace("=%d@%d", result, (int)now_ms());
    }
    return 0;
}

static void results_can_be_taken_as_the_tasks_are_completed(void **state)
{
    (void)state;
    assert_int_equal(run_task(take_as_completed, NULL), 0);
    assert_string_equal(traced(), "a =1@10 b =2@15 c =3@20");
}

static int take_in_time(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &a), co_spawn(work, &b)};
    co_timeout(12)
    {
        trace("=%d", take_next(tasks, 2));
        trace("=%d", take_next(tasks, 1));
    }
    CHECK(!co_task_done(tasks[0]) && !co_task_cancelled(tasks[0]));
    co_timeout(1000) trace("=%d", take_next(tasks, 1));
    return (int)now_ms();
}

static void out_of_time_those_not_completed_go_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(take_in_time, NULL), 15);
    assert_string_equal(traced(), "a =1 =-110 b =2");
}

/* --- Of another loop -------------------------------------------------------------------------- */

static int await_it(void *task)
{
    int rc = co_await_task(task);
    trace("=%d", rc);
    return rc;
}

/* Python refuses to. Here the loop says that nothing it knows of can wake the waiter. */
static void a_task_of_another_loop_may_be_awaited_and_has_to_be_run_by_that(void **state)
{
    (void)state;
    loop_options_t options = {.virtual_time = true};
    loop_t *loop = open_loop(), *other = loop_new(&options);
    co_task_t *waiter = loop_spawn(loop, await_it, loop_spawn(other, work, &a));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_int_equal(loop_run(other), 0);
    assert_string_equal(traced(), "a");
    assert_int_equal(loop_run_until(loop, waiter), 1);
    assert_string_equal(traced(), "a =1");
    assert_int_equal(loop_close(other), 0);
    assert_int_equal(close_loop(loop), 0);
}

/* --- From another thread ---------------------------------------------------------------------- */

struct request {
    loop_t *loop;
    co_fn *fn;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
    bool done;
    int result;
};

static void answer(co_task_t *task, void *arg)
{
    struct request *request = arg;
    pthread_mutex_lock(&request->mutex);
    request->result = co_task_result(task);
    request->done = true;
    pthread_cond_signal(&request->answered);
    pthread_mutex_unlock(&request->mutex);
}

static void begin(void *arg)
{
    struct request *request = arg;
    co_task_t *task = co_spawn(request->fn, NULL);
    assert_int_equal(co_task_add_done_callback(task, answer, request), 0);
    co_task_release(task);
}

static void *ask(void *arg)
{
    struct request *request = arg;
    if (loop_call_soon_threadsafe(request->loop, begin, request) == 0) {
        pthread_mutex_lock(&request->mutex);
        while (!request->done)
            pthread_cond_wait(&request->answered, &request->mutex);
        pthread_mutex_unlock(&request->mutex);
    }
    loop_stop(request->loop);
    return NULL;
}

static int add(void *arg)
{
    (void)arg;
    return co_sleep(1) == 0 ? 1 + 2 : -1;
}

static int fail_later(void *arg)
{
    (void)arg;
    return co_sleep(1) == 0 ? -EIO : -1;
}

static int cancel_itself(void *arg)
{
    (void)arg;
    co_task_cancel(co_self());
    return co_sleep(1);
}

static int ask_from_a_thread(co_fn *fn)
{
    struct request request = {open_real_loop(),         fn,    PTHREAD_MUTEX_INITIALIZER,
                              PTHREAD_COND_INITIALIZER, false, 0};
    pthread_t thread;
    loop_hold(request.loop);
    assert_int_equal(pthread_create(&thread, NULL, ask, &request), 0);
    loop_run(request.loop);
    pthread_join(thread, NULL);
    loop_release(request.loop);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(request.loop), 0);
    assert_true(request.done);
    return request.result;
}

/* There is no call for this: a posted call spawns, and a done callback answers. */
static void a_thread_has_a_task_run_in_the_loop_and_gets_its_result(void **state)
{
    (void)state;
    assert_int_equal(ask_from_a_thread(add), 3);
    assert_int_equal(ask_from_a_thread(fail_later), -EIO);
    assert_int_equal(ask_from_a_thread(cancel_itself), -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleeping_no_time_lets_what_is_ready_run),
        cmocka_unit_test(a_cancelled_sleep_ends_at_once_and_leaves_no_timer),
        cmocka_unit_test(a_task_that_cancelled_itself_cancels_what_it_then_awaits),
        cmocka_unit_test(cancelling_a_task_that_has_failed_does_not_hide_the_failure),
        cmocka_unit_test(through_a_shield_come_failures_and_the_cancellation_of_the_task_itself),
        cmocka_unit_test(a_shielded_gather_has_all_results_in_spite_of_a_cancellation),
        cmocka_unit_test(a_gather_cancelled_when_all_its_tasks_are_done_succeeds),
        cmocka_unit_test(a_cancelled_task_is_one_result_among_those_of_gather_all),
        cmocka_unit_test(wait_counts_all_that_are_done_when_it_comes_back),
        cmocka_unit_test(a_task_that_ends_at_the_deadline_of_a_wait_is_done),
        cmocka_unit_test(results_can_be_taken_as_the_tasks_are_completed),
        cmocka_unit_test(out_of_time_those_not_completed_go_on),
        cmocka_unit_test(a_task_of_another_loop_may_be_awaited_and_has_to_be_run_by_that),
        cmocka_unit_test(a_thread_has_a_task_run_in_the_loop_and_gets_its_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
