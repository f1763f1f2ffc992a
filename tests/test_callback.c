/* Done callbacks: when and in what order they are called, how removed, and what they may do. */
#include "support.h"

static int return_5(void *arg)
{
    (void)arg;
    trace("ends");
    return 5;
}

static int sleep_only(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static void on_done(co_task_t *task, void *word)
{
    assert_true(co_task_done(task));
    assert_null(co_self());
    trace("%s", (const char *)word);
}

static void on_done_too(co_task_t *task, void *word)
{
    on_done(task, word);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void add(co_task_t *task, co_done_fn *fn, void *arg)
{
    assert_int_equal(co_task_add_done_callback(task, fn, arg), 0);
}

static void finish(loop_t *loop, const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), expected);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void callbacks_are_called_in_the_order_of_adding(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, on_done, "a");
    add(task, on_done_too, "b");
    add(task, on_done, "a");
    add(task, on_done, "c");
    co_task_release(task);
    finish(loop, "ends a b a c");
}

static int say_from_task(void *word)
{
    say(word);
    return 0;
}

/* What was ready before comes before them. */
static void callbacks_go_through_the_ready_queue(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, on_done, "done");
    co_task_release(task);
    assert_int_equal(co_go(say_from_task, "task"), 0);
    assert_int_equal(loop_call_soon(loop, say, "call", NULL), 0);
    finish(loop, "ends task call done");
}

static void added_to_a_done_task_they_are_called_in_the_next_pass(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    assert_int_equal(loop_run(loop), 0);
    add(task, on_done, "a");
    add(task, on_done, "b");
    co_task_release(task);
    assert_string_equal(traced(), "ends");
    finish(loop, "ends a b");
}

static void read_result(co_task_t *task, void *arg)
{
    *(int *)arg = co_task_result(task);
}

static void the_task_is_kept_for_its_callbacks(void **state)
{
    (void)state;
    int results[2] = {0};
    loop_stats_t stats;
    loop_t *loop = open_loop();
    for (int i = 0; i < 2; i++) {
        co_task_t *task = loop_spawn(loop, return_5, NULL);
        add(task, read_result, &results[i]);
        co_task_release(task);
    }
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(results[0] + results[1], 10);
    loop_stats(loop, &stats);
    assert_int_equal(stats.stacks - stats.stacks_idle, 0);
    finish(loop, "ends ends");
}

/* --- Removing --------------------------------------------------------------------------------- */

static void removing_takes_away_all_with_that_function_and_argument(void **state)
{
    (void)state;
    static char a[] = "a", b[] = "b";
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, on_done, a);
    add(task, on_done, b);
    add(task, on_done, a);
    add(task, on_done_too, a);
    assert_int_equal(co_task_remove_done_callback(task, on_done, a), 2);
    assert_int_equal(co_task_remove_done_callback(task, on_done, a), 0);
    assert_int_equal(co_task_remove_done_callback(task, on_done_too, b), 0);
    co_task_release(task);
    finish(loop, "ends b a");
}

static void a_callback_of_a_done_task_may_still_be_removed_before_it_runs(void **state)
{
    (void)state;
    static char a[] = "a", b[] = "b";
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, on_done, a);
    add(task, on_done, b);
    loop_run_once(loop, 0);
    assert_true(co_task_done(task));
    assert_int_equal(co_task_remove_done_callback(task, on_done, a), 1);
    co_task_release(task);
    finish(loop, "ends b");
}

static void remove_next(co_task_t *task, void *next)
{
    trace("removes");
    assert_int_equal(co_task_remove_done_callback(task, on_done, next), 1);
    assert_int_equal(co_task_remove_done_callback(task, remove_next, next), 0); /* it has begun */
}

static void a_callback_may_remove_the_next_one(void **state)
{
    (void)state;
    static char next[] = "next";
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, remove_next, next);
    add(task, on_done, next);
    add(task, on_done, "last");
    co_task_release(task);
    finish(loop, "ends removes last");
}

static void a_callback_of_another_task_is_left_alone(void **state)
{
    (void)state;
    static char word[] = "x";
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL), *other = loop_spawn(loop, return_5, NULL);
    add(task, on_done, word);
    loop_run_once(loop, 0);
    assert_int_equal(co_task_remove_done_callback(other, on_done, word), 0);
    co_task_release(task);
    co_task_release(other);
    finish(loop, "ends ends x");
}

/* The last reference goes with the callback that is removed. */
static void the_last_callback_may_hold_the_last_reference(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, on_done, NULL);
    assert_int_equal(loop_run_once(loop, 0), 1);
    co_task_release(task);
    assert_int_equal(co_task_remove_done_callback(task, on_done, NULL), 1);
    finish(loop, "ends");
}

/* --- What they may do ------------------------------------------------------------------------- */

static void add_more(co_task_t *task, void *arg)
{
    int *left = arg;
    trace("%d", *left);
    if (--*left > 0)
        add(task, add_more, left);
}

static void a_callback_may_add_itself_again(void **state)
{
    (void)state;
    int left = 4;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    add(task, add_more, &left);
    co_task_release(task);
    finish(loop, "ends 4 3 2 1");
}

static void use_everything(co_task_t *task, void *other)
{
    co_spawn_options_t eager = {.eager = true};
    trace("uses");
    assert_int_equal(co_task_result(task), 5);
    co_task_cancel(task);
    co_task_release(task); /* the handle that the test left to us */
    co_task_cancel(other);
    assert_int_equal(co_go(say_from_task, "spawned"), 0);
    co_task_release(co_spawn_with(&eager, say_from_task, "eager"));
    assert_int_equal(loop_run_once(loop_current(), 0), -EBUSY);
    assert_int_equal(loop_close(loop_current()), -EBUSY);
    assert_int_equal(co_await_task(other), -EPERM);
    assert_int_equal(loop_call_soon(loop_current(), say, "called", NULL), 0);
}

static void a_callback_may_call_anything(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL), *other = loop_spawn(loop, sleep_only, NULL);
    add(task, use_everything, other);
    add(task, on_done, "after");
    add(other, on_done, "cancelled");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "ends uses eager after spawned called cancelled");
    assert_int_equal(co_task_result(other), -ECANCELED);
    co_task_release(other);
    assert_int_equal(close_loop(loop), 0);
}

static int add_to_itself(void *arg)
{
    CHECK_INT(co_task_add_done_callback(co_self(), on_done, arg), 0);
    return co_yield_now();
}

static void a_task_may_add_a_callback_to_itself(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(add_to_itself, "done"), 0);
    finish(loop, "done");
}

static int await_it(void *task)
{
    trace("%d", co_await_task(task));
    return 0;
}

static void waiters_and_callbacks_come_in_the_order_they_were_added(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, sleep_only, NULL);
    add(task, on_done, "a");
    assert_int_equal(co_go(await_it, co_task_retain(task)), 0);
    loop_run_once(loop, 0);
    add(task, on_done, "b");
    co_task_cancel(task);
    co_task_release(task);
    finish(loop, "a -125 b");
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void a_callback_needs_a_function_and_memory(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_5, NULL);
    for (int done = 0; done < 2; done++) {
        assert_int_equal(co_task_add_done_callback(task, NULL, NULL), -EINVAL);
        fail_allocation(1, true);
        assert_int_equal(co_task_add_done_callback(task, on_done, "x"), -ENOMEM);
        fail_allocation(0, false);
        assert_int_equal(loop_run(loop), 0);
    }
    co_task_release(task);
    finish(loop, "ends");
}

static void what_is_pending_at_the_close_is_called_or_dropped_without_a_leak(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *done = loop_spawn(loop, return_5, NULL), *left = loop_spawn(loop, sleep_only, NULL);
    add(done, on_done, "done");
    add(left, on_done, "left");
    loop_run_once(loop, 0);
    co_task_release(done);
    co_task_release(left);
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "ends done left");
}

static int clean_up_when_cancelled(void *arg)
{
    (void)arg;
    co_defer(say, "clean");
    trace("begun");
    return co_sleep(-1);
}

static void spawn_eager_sleeper(co_task_t *task, void *arg)
{
    (void)task, (void)arg;
    co_spawn_options_t eager = {.eager = true};
    co_task_release(co_spawn_with(&eager, clean_up_when_cancelled, NULL));
}

/* "cancels all tasks that are left, runs the loop until they have cleaned up" */
static void a_task_spawned_by_a_callback_at_the_close_cleans_up_too(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, sleep_only, NULL);
    add(task, spawn_eager_sleeper, NULL);
    co_task_release(task);
    loop_run_once(loop, 0);
    assert_true(close_loop(loop) >= 1);
    assert_string_equal(traced(), "begun clean");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callbacks_are_called_in_the_order_of_adding),
        cmocka_unit_test(callbacks_go_through_the_ready_queue),
        cmocka_unit_test(added_to_a_done_task_they_are_called_in_the_next_pass),
        cmocka_unit_test(the_task_is_kept_for_its_callbacks),
        cmocka_unit_test(removing_takes_away_all_with_that_function_and_argument),
        cmocka_unit_test(a_callback_of_a_done_task_may_still_be_removed_before_it_runs),
        cmocka_unit_test(a_callback_may_remove_the_next_one),
        cmocka_unit_test(a_callback_of_another_task_is_left_alone),
        cmocka_unit_test(the_last_callback_may_hold_the_last_reference),
        cmocka_unit_test(a_callback_may_add_itself_again),
        cmocka_unit_test(a_callback_may_call_anything),
        cmocka_unit_test(a_task_may_add_a_callback_to_itself),
        cmocka_unit_test(waiters_and_callbacks_come_in_the_order_they_were_added),
        cmocka_unit_test(a_callback_needs_a_function_and_memory),
        cmocka_unit_test(what_is_pending_at_the_close_is_called_or_dropped_without_a_leak),
        cmocka_unit_test(a_task_spawned_by_a_callback_at_the_close_cleans_up_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
