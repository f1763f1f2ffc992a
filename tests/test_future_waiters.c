/* Futures: who waits, when it is settled, by whom, and how long it has to live. */
#include "support.h"

#include <pthread.h>
#include <stdio.h>

enum { MANY = 500 };

struct waiter {
    co_future_t *future;
    int number, result;
    void *value;
};

static int order[MANY], woken;

static int await(void *arg)
{
    struct waiter *waiter = arg;
    waiter->value = NULL;
    waiter->result = co_await_future(waiter->future, &waiter->value);
    order[woken++] = waiter->number;
    return 0;
}

static void start(struct waiter waiters[], co_task_t *tasks[], int n, co_future_t *future)
{
    woken = 0;
    for (int i = 0; i < n; i++) {
        waiters[i] = (struct waiter){future, i, 1, NULL};
        tasks[i] = co_spawn(await, &waiters[i]);
        CHECK(tasks[i] != NULL);
    }
    CHECK_INT(co_yield_now(), 0);
}

/* --- Many ------------------------------------------------------------------------------------- */

static int settle_for_many(void *arg)
{
    static struct waiter waiters[MANY];
    co_task_t *tasks[MANY];
    co_future_t future = {0};
    int result = *(int *)arg;
    start(waiters, tasks, MANY, &future);
    for (int i = 0; i < MANY; i += 3)
        co_task_cancel(tasks[i]);
    CHECK_INT(co_future_resolve(&future, result, &future), 0);
    for (int i = 1; i < MANY; i += 3)
        co_task_cancel(tasks[i]); /* too late */
    CHECK_INT(co_gather_all(tasks, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(order[i] % 3 == 0, i < (MANY + 2) / 3); /* the cancelled ones came first */
        CHECK_INT(waiters[i].result, i % 3 ? result : -ECANCELED);
        CHECK(waiters[i].value == (i % 3 ? &future : NULL));
    }
    for (int i = (MANY + 2) / 3; i + 1 < MANY; i++)
        CHECK(order[i] < order[i + 1]);
    return 0;
}

static void many_waiters_are_woken_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(settle_for_many, (&(int){5})), 0);
    assert_int_equal(run_task(settle_for_many, (&(int){0})), 0);
    assert_int_equal(run_task(settle_for_many, (&(int){-EIO})), 0);
}

/* --- Before, in the same pass, after ---------------------------------------------------------- */

static int settle_it(void *arg)
{
    co_future_t *future = arg;
    trace("settle%d", co_future_resolve(future, 7, arg));
    return 0;
}

static int await_and_tell(void *arg)
{
    void *value = NULL;
    int rc = co_await_future((co_future_t *)arg, &value);
    trace("%d%s", rc, value == arg ? "=" : "?");
    return 0;
}

/* b and d wait beside a, which settles it, c comes with it settled, all in one pass. */
static int meet_in_one_pass(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    co_task_t *tasks[] = {co_spawn(await_and_tell, &future), co_spawn(settle_it, &future),
                          co_spawn(await_and_tell, &future), co_spawn(settle_it, &future)};
    CHECK_INT(co_gather_tasks(tasks, 4), 0);
    return co_await_future(&future, NULL);
}

static void settled_before_beside_or_after_all_get_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(meet_in_one_pass, NULL), 7);
    char words[64];
    snprintf(words, sizeof words, "settle0 7= settle%d 7=", -EALREADY);
    assert_string_equal(traced(), words);
}

static int settle_twice(void *arg)
{
    co_future_t future = {0};
    int a, b;
    void *value = arg;
    CHECK_INT(co_future_resolve(&future, 1, &a), 0);
    CHECK_INT(co_future_resolve(&future, 2, &b), -EALREADY);
    CHECK_INT(co_future_resolve(&future, -EIO, NULL), -EALREADY);
    CHECK_INT(co_future_result(&future), 1);
    CHECK_INT(co_await_future(&future, &value), 1);
    CHECK(value == &a);
    CHECK_INT(co_await_future(&future, NULL), 1);
    return 0;
}

static void settled_twice_it_keeps_the_first_result(void **state)
{
    (void)state;
    assert_int_equal(run_task(settle_twice, NULL), 0);
}

static int await_cancelled(void *arg)
{
    co_future_t future = {0};
    void *value = &future;
    (void)arg;
    CHECK_INT(co_future_resolve(&future, 3, NULL), 0);
    co_task_cancel(co_self());
    CHECK_INT(co_await_future(&future, &value), -ECANCELED);
    CHECK(value == &future); /* without effect */
    co_shield() CHECK_INT(co_await_future(&future, &value), 3);
    CHECK(value == NULL);
    return 0;
}

static void a_cancelled_task_is_told_so_even_if_it_is_settled(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_cancelled, NULL), 0);
}

static int count(void *arg)
{
    for (;; ++*(int *)arg)
        if (co_yield_now() < 0)
            return 0;
}

static int await_again_and_again(void *arg)
{
    co_future_t future = {.done = true};
    int turns = 0;
    (void)arg;
    co_task_t *other = co_spawn(count, &turns);
    for (int i = 0; i < 1000; i++)
        CHECK_INT(co_await_future(&future, NULL), 0);
    CHECK(turns > 5);
    co_task_cancel(other);
    return co_await_task(other);
}

static void a_task_that_finds_it_settled_each_time_gives_way_to_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_again_and_again, NULL), 0);
}

/* --- By whom ---------------------------------------------------------------------------------- */

static void settle(void *future)
{
    co_future_resolve(future, 4, future);
}

static int await_callback(void *arg)
{
    co_future_t future = {0};
    void *value = arg;
    CHECK_INT(loop_call_later(loop_current(), 5, settle, &future, NULL), 0);
    CHECK_INT(co_await_future(&future, &value), 4);
    CHECK(value == &future);
    return 0;
}

static void a_callback_may_settle_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_callback, NULL), 0);
}

static void code_outside_the_run_may_settle_it(void **state)
{
    (void)state;
    co_future_t future = {0};
    struct waiter waiter = {&future, 0, 1, NULL};
    woken = 0;
    loop_t *loop = open_loop();
    co_task_t *task = co_spawn(await, &waiter);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(co_future_resolve(&future, 6, &waiter), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(waiter.result, 6);
    assert_ptr_equal(waiter.value, &waiter);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

struct errand {
    loop_t *loop;
    co_future_t future;
};

static void settle_and_release(void *arg)
{
    struct errand *errand = arg;
    CHECK_INT(co_future_resolve(&errand->future, 8, arg), 0);
    loop_release(errand->loop);
}

static void *post(void *arg)
{
    struct errand *errand = arg;
    loop_call_soon_threadsafe(errand->loop, settle_and_release, errand);
    return NULL;
}

static int await_thread(void *arg)
{
    struct errand errand = {.loop = loop_current()};
    pthread_t thread;
    void *value = arg;
    loop_hold(errand.loop);
    CHECK_INT(pthread_create(&thread, NULL, post, &errand), 0);
    CHECK_INT(co_await_future(&errand.future, &value), 8);
    CHECK(value == &errand);
    return pthread_join(thread, NULL);
}

static void a_thread_may_have_it_settled(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(await_thread, NULL), 0);
}

static void without_a_hold_the_report_tells_of_it(void **state)
{
    (void)state;
    co_future_t future = {0};
    struct waiter waiter = {.future = &future};
    woken = 0;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, await, &waiter));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "in co_await_future"));
    assert_non_null(strstr(reported(), "loop_hold"));
    close_loop(loop);
}

/* --- For how long ----------------------------------------------------------------------------- */

static __attribute__((noinline)) void settle_own(struct waiter *waiter)
{
    co_future_t future = {0};
    waiter->future = &future;
    co_task_release(co_spawn(await, waiter));
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_future_resolve(&future, 9, waiter), 0);
}

static __attribute__((noinline)) int scribble(void)
{
    volatile unsigned char space[512];
    for (size_t i = 0; i < sizeof space; i++)
        space[i] = 0xaa;
    return space[7];
}

/* Settled, nobody waits for it any more: it may go before its waiters run. */
static int leave_at_once(void *arg)
{
    struct waiter waiter = {.result = 1};
    (void)arg;
    woken = 0;
    settle_own(&waiter);
    CHECK_INT(scribble(), 0xaa);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(waiter.result, 9);
    CHECK(waiter.value == &waiter);
    return 0;
}

static void it_may_go_as_soon_as_it_is_settled(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_at_once, NULL), 0);
}

static int free_at_once(void *arg)
{
    static struct waiter waiters[3];
    co_task_t *tasks[3];
    co_future_t *future = calloc(1, sizeof *future);
    (void)arg;
    start(waiters, tasks, 3, future);
    CHECK_INT(co_future_resolve(future, 2, waiters), 0);
    free(future);
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    for (int i = 0; i < 3; i++)
        CHECK(waiters[i].result == 2 && waiters[i].value == waiters);
    return 0;
}

static void it_may_be_freed_as_soon_as_it_is_settled(void **state)
{
    (void)state;
    assert_int_equal(run_task(free_at_once, NULL), 0);
}

/* --- In vain ---------------------------------------------------------------------------------- */

static void a_closing_loop_cancels_all_waiters(void **state)
{
    (void)state;
    static struct waiter waiters[20];
    co_future_t future = {0};
    loop_t *loop = open_loop();
    woken = 0;
    for (int i = 0; i < 20; i++) {
        waiters[i] = (struct waiter){&future, i, 1, NULL};
        co_task_release(co_spawn(await, &waiters[i]));
    }
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(waiters[i].result, -ECANCELED);
    assert_int_equal(co_future_resolve(&future, 1, NULL), 0); /* it is a struct like any other */
}

static void who_waits_for_ever_is_reported_with_the_place(void **state)
{
    (void)state;
    co_future_t future = {0};
    struct waiter waiter = {&future, 0, 1, NULL};
    loop_t *loop = open_loop();
    woken = 0;
    co_task_release(co_spawn(await, &waiter));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_non_null(strstr(reported(), "co_await_future"));
    assert_non_null(strstr(reported(), "test_future_waiters.c:"));
    assert_int_equal(close_loop(loop), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_waiters_are_woken_in_the_order_of_arrival),
        cmocka_unit_test(settled_before_beside_or_after_all_get_it),
        cmocka_unit_test(settled_twice_it_keeps_the_first_result),
        cmocka_unit_test(a_cancelled_task_is_told_so_even_if_it_is_settled),
        cmocka_unit_test(a_task_that_finds_it_settled_each_time_gives_way_to_others),
        cmocka_unit_test(a_callback_may_settle_it),
        cmocka_unit_test(code_outside_the_run_may_settle_it),
        cmocka_unit_test(a_thread_may_have_it_settled),
        cmocka_unit_test(without_a_hold_the_report_tells_of_it),
        cmocka_unit_test(it_may_go_as_soon_as_it_is_settled),
        cmocka_unit_test(it_may_be_freed_as_soon_as_it_is_settled),
        cmocka_unit_test(a_closing_loop_cancels_all_waiters),
        cmocka_unit_test(who_waits_for_ever_is_reported_with_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
