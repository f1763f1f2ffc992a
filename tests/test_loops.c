/* Several loops: inside each other, in turns, in threads; which is current; one that is stuck. */
#include "support.h"

#include <pthread.h>

static loop_t *loop;

static void finish(const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), expected);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static int return_seven(void *arg)
{
    (void)arg;
    return 7;
}

static int sleep_ms(void *arg)
{
    return co_sleep(*(int *)arg);
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

/* --- Loops in loops --------------------------------------------------------------------------- */

static loop_t *other;

static void try_everything_that_runs(void *arg)
{
    co_task_t *task = arg;
    assert_int_equal(loop_run(loop), -EBUSY);
    assert_int_equal(loop_run_once(loop, 0), -EBUSY);
    assert_int_equal(loop_run_until(loop, task), -EBUSY);
    assert_int_equal(loop_close(loop), -EBUSY);
    assert_int_equal(loop_run(other), -EBUSY);
    assert_int_equal(loop_run_once(other, 0), -EBUSY);
    trace("tried");
}

static int try_it_as_a_task(void *arg)
{
    CHECK_INT(loop_run(loop), -EBUSY);
    CHECK_INT(loop_run_once(loop, -1), -EBUSY);
    CHECK_INT(loop_run_until(loop, arg), -EBUSY);
    CHECK_INT(loop_run_until(other, arg), -EBUSY);
    CHECK_INT(loop_close(loop), -EBUSY);
    CHECK_INT(co_run(return_seven, NULL), -EBUSY);
    trace("task");
    return 0;
}

static void while_a_loop_runs_no_loop_of_the_thread_can_be_run(void **state)
{
    (void)state;
    int ms = 10;
    loop = open_loop();
    other = loop_new(NULL);
    co_task_t *sleeper = loop_spawn(loop, sleep_ms, &ms);
    co_task_t *task = loop_spawn(loop, try_it_as_a_task, sleeper);
    assert_int_equal(loop_call_soon(loop, try_everything_that_runs, sleeper, NULL), 0);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(loop_run_until(loop, sleeper), 0);
    assert_int_equal(loop_close(other), 0);
    finish("task tried");
}

static void schedule_in_the_other(void *word)
{
    say(word);
    assert_ptr_equal(loop_current(), loop);
    assert_int_equal(loop_call_soon(other, say, "other", NULL), 0);
    co_task_release(loop_spawn(other, return_seven, NULL));
    loop_t *third = loop_new(NULL);
    assert_ptr_equal(loop_current(), loop);
    assert_int_equal(loop_call_soon(third, say, "third", NULL), 0);
    assert_int_equal(loop_call_soon(loop, say, "own", NULL), 0);
    other = third;
}

static void a_callback_may_schedule_in_loops_that_do_not_run_and_make_new_ones(void **state)
{
    (void)state;
    loop = open_loop();
    loop_t *second = other = loop_new(NULL);
    assert_int_equal(loop_call_soon(loop, schedule_in_the_other, "a", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_run(second), 0);
    assert_int_equal(loop_run(other), 0);
    assert_int_equal(loop_close(other), 0);
    assert_int_equal(loop_close(second), 0);
    finish("a own other third");
}

static void hand_over(void *arg)
{
    loop_t *self = *(loop_t **)arg, *peer = self == loop ? other : loop;
    static int turns;
    trace(self == loop ? "a" : "b");
    assert_ptr_equal(loop_current(), self);
    if (++turns % 6)
        assert_int_equal(loop_call_soon(peer, hand_over, self == loop ? &other : &loop, NULL), 0);
}

static void two_loops_take_turns_on_one_thread(void **state)
{
    (void)state;
    loop = open_loop();
    other = loop_new(NULL);
    assert_int_equal(loop_call_soon(loop, hand_over, &loop, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(loop_run_once(other, -1), 0);
    }
    assert_int_equal(loop_close(other), 0);
    finish("a b a b a b");
}

/* --- The current loop ------------------------------------------------------------------------- */

static void the_newest_open_loop_is_current_while_none_runs(void **state)
{
    (void)state;
    assert_null(loop_current());
    loop = open_loop();
    assert_ptr_equal(loop_current(), loop);
    loop_t *second = loop_new(NULL), *third = loop_new(NULL);
    assert_ptr_equal(loop_current(), third);
    assert_int_equal(loop_close(second), 0);
    assert_ptr_equal(loop_current(), third);
    assert_int_equal(loop_close(third), 0);
    assert_ptr_equal(loop_current(), loop);
    finish("");
    assert_null(loop_current());
}

static int current_is(void *arg)
{
    return loop_current() == arg;
}

static void the_running_loop_is_current_even_if_it_is_not_the_newest(void **state)
{
    (void)state;
    loop = open_loop();
    loop_t *newer = loop_new(NULL);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, current_is, loop)), 1);
    assert_ptr_equal(loop_current(), newer);
    assert_int_equal(loop_run_until(newer, loop_spawn(newer, current_is, newer)), 1);
    assert_int_equal(loop_close(newer), 0);
    finish("");
}

static int count_up(void *arg)
{
    for (int i = 0; i < 500; i++)
        if (co_yield_now() < 0 || co_sleep_ns(1) < 0)
            return -1;
    return current_is(arg) ? 500 : -2;
}

static void *run_own_loop(void *result)
{
    if (loop_current())
        return NULL;
    loop_t *own = loop_new(NULL);
    *(int *)result = own ? loop_run_until(own, loop_spawn(own, count_up, own)) : -3;
    loop_close(own);
    return NULL;
}

static void threads_run_their_own_loops_at_once(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    int results[THREADS] = {0};
    loop = open_real_loop();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_own_loop, &results[i]), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, count_up, loop)), 500);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(results[i], 500);
    finish("");
}

/* --- Deadlock --------------------------------------------------------------------------------- */

static void stuck_tasks_are_reported_with_what_they_wait_for_and_where(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_ever, NULL);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "wait_for_ever"));
    assert_non_null(strstr(reported(), "co_sleep"));
    assert_non_null(strstr(reported(), "test_loops.c:"));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 2);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 1);
}

static void of_many_stuck_tasks_the_first_twenty_are_reported_one_by_one(void **state)
{
    (void)state;
    loop = open_loop();
    for (int i = 0; i < 30; i++)
        assert_int_equal(co_go(wait_for_ever, NULL), 0);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 21);
    assert_non_null(strstr(reported(), "(#1)"));
    assert_non_null(strstr(reported(), "(#20)"));
    assert_null(strstr(reported(), "(#21)"));
    assert_non_null(strstr(reported(), "10 more"));
    assert_int_equal(close_loop(loop), 30);
}

static void cancel_it(loop_t *in, const loop_exception_t *exception, void *arg)
{
    (void)arg;
    assert_ptr_equal(in, loop);
    assert_int_equal(exception->error, -EDEADLK);
    trace("stuck");
    co_task_cancel(exception->task);
}

static void the_exception_handler_may_cancel_what_is_stuck(void **state)
{
    (void)state;
    loop = open_loop();
    loop_set_exception_handler(loop, cancel_it, NULL);
    assert_int_equal(co_go(wait_for_ever, NULL), 0);
    assert_int_equal(co_go(wait_for_ever, NULL), 0);
    assert_int_equal(loop_run(loop), -EDEADLK);
    finish("stuck stuck");
}

static void run_once_does_not_call_stuck_tasks_an_error(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(wait_for_ever, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_run_once(loop, 10), 1);
    assert_int_equal(reports(), 0);
    assert_int_equal(close_loop(loop), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_a_loop_runs_no_loop_of_the_thread_can_be_run),
        cmocka_unit_test(a_callback_may_schedule_in_loops_that_do_not_run_and_make_new_ones),
        cmocka_unit_test(two_loops_take_turns_on_one_thread),
        cmocka_unit_test(the_newest_open_loop_is_current_while_none_runs),
        cmocka_unit_test(the_running_loop_is_current_even_if_it_is_not_the_newest),
        cmocka_unit_test(threads_run_their_own_loops_at_once),
        cmocka_unit_test(stuck_tasks_are_reported_with_what_they_wait_for_and_where),
        cmocka_unit_test(of_many_stuck_tasks_the_first_twenty_are_reported_one_by_one),
        cmocka_unit_test(the_exception_handler_may_cancel_what_is_stuck),
        cmocka_unit_test(run_once_does_not_call_stuck_tasks_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
