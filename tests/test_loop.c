/* The loop: options, how long it runs, stopping it, running loops inside loops, and which one is current. */
#include "support.h"

#include <pthread.h>
#include <sys/resource.h>

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

static void say_and_stop(void *word)
{
    say(word);
    loop_stop(loop);
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

/* --- Making ----------------------------------------------------------------------------------- */

static void expect_no_loop(const loop_options_t *options, int error)
{
    errno = 0;
    assert_null(loop_new(options));
    assert_int_equal(errno, error);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    loop = open_loop();
    expect_no_loop(&(loop_options_t){.selector = "select"}, EINVAL);
    expect_no_loop(&(loop_options_t){.selector = "epoll "}, EINVAL);
    expect_no_loop(&(loop_options_t){.stack_size = SIZE_MAX}, EINVAL);
    assert_ptr_equal(loop_current(), loop);
    finish("");
}

static void the_environment_names_the_selector_unless_the_options_do(void **state)
{
    (void)state;
    char *before = getenv("COLOOP_SELECTOR"), *kept = before ? strdup(before) : NULL;
    loop = open_loop();
    setenv("COLOOP_SELECTOR", "nonsense", 1);
    expect_no_loop(NULL, EINVAL);
    loop_t *named = loop_new(&(loop_options_t){.selector = "poll"});
    assert_non_null(named);
    assert_int_equal(loop_fd(named), -ENOTSUP);
    assert_int_equal(loop_close(named), 0);
    setenv("COLOOP_SELECTOR", "", 1);
    loop_t *best = loop_new(NULL);
    assert_non_null(best);
    assert_int_equal(loop_close(best), 0);
    if (kept)
        setenv("COLOOP_SELECTOR", kept, 1);
    else
        unsetenv("COLOOP_SELECTOR");
    free(kept);
    finish("");
}

static void without_memory_there_is_no_loop_and_no_leak(void **state)
{
    (void)state;
    loop = open_loop();
    size_t before = blocks(), nth = 1;
    for (loop_t *made = NULL; !made; nth++) {
        fail_allocation(nth, false);
        errno = 0;
        made = loop_new(NULL);
        if (!made) {
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(blocks(), before);
            assert_ptr_equal(loop_current(), loop);
        }
        loop_close(made);
    }
    assert_true(nth > 2);
    finish("");
}

static loop_t *make_with_fds_left(int n, int *error)
{
    struct rlimit limit, few;
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &limit);
    few = (struct rlimit){.rlim_cur = (rlim_t)(lowest + n), .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    errno = 0;
    loop_t *made = loop_new(NULL);
    *error = errno;
    setrlimit(RLIMIT_NOFILE, &limit);
    return made;
}

static void out_of_fds_there_is_no_loop_and_no_leak(void **state)
{
    (void)state;
    int error, fds = 0;
    loop = open_loop();
    int lowest = dup(0);
    close(lowest);
    size_t before = blocks();
    loop_t *made;
    while (!(made = make_with_fds_left(fds, &error))) {
        assert_int_equal(error, EMFILE);
        assert_int_equal(blocks(), before);
        int again = dup(0);
        assert_int_equal(again, lowest);
        close(again);
        assert_true(++fds < 5);
    }
    assert_true(fds > 0);
    assert_int_equal(loop_close(made), 0);
    finish("");
}

/* --- How long it runs ------------------------------------------------------------------------- */

static void an_empty_loop_returns_at_once_and_runs_any_number_of_times(void **state)
{
    (void)state;
    loop = open_loop();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(loop_run_once(loop, 0), 0);
        assert_int_equal(loop_run_once(loop, 10), 0);
    }
    assert_int_equal(loop_call_soon(loop, say, "a", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_call_soon(loop, say, "b", NULL), 0);
    finish("a b");
}

static void tasks_calls_and_timers_keep_it_running(void **state)
{
    (void)state;
    int ms = 20;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, sleep_ms, &ms);
    assert_int_equal(loop_call_later(loop, 30, say, "timer", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_time(loop), 30 * MS);
    assert_int_equal(co_task_result(task), 0);
    co_task_release(task);
    finish("timer");
}

static void run_once_tells_whether_work_is_left(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, say, "a", NULL), 0);
    assert_int_equal(loop_call_later(loop, 10, say, "b", NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_string_equal(traced(), "a");
    assert_int_equal(loop_run_once(loop, -1), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    finish("a b");
}

static void reschedule(void *word)
{
    say(word);
    assert_int_equal(loop_call_soon(loop, say, "next", NULL), 0);
}

static void run_once_runs_one_pass_only(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, reschedule, "now", NULL), 0);
    assert_int_equal(loop_run_once(loop, -1), 1);
    assert_string_equal(traced(), "now");
    assert_int_equal(loop_run_once(loop, -1), 0);
    finish("now next");
}

static void run_until_returns_the_result_and_leaves_the_rest(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, 10, say, "rest", NULL), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, return_seven, NULL)), 7);
    assert_string_equal(traced(), "");
    finish("rest");
}

static void run_until_takes_a_failure_so_that_it_is_not_reported(void **state)
{
    (void)state;
    int ms = 5;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, sleep_ms, &ms);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    finish("");
}

static void run_until_with_a_finished_task_or_none_needs_no_run(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_seven, NULL);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_call_soon(loop, say, "later", NULL), 0);
    assert_int_equal(loop_run_until(loop, task), 7);
    assert_int_equal(loop_run_until(loop, NULL), -ENOMEM);
    assert_string_equal(traced(), "");
    finish("later");
}

static void run_until_that_ends_early_leaves_the_handle_to_the_caller(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_ever, NULL);
    assert_int_equal(loop_call_soon(loop, say_and_stop, "stop", NULL), 0);
    assert_int_equal(loop_run_until(loop, task), -EINTR);
    assert_int_equal(co_task_result(task), -EINPROGRESS);
    assert_int_equal(loop_run_until(loop, task), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_int_equal(co_task_result(task), -EINPROGRESS);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "stop");
    assert_int_equal(close_loop(loop), 0);
}

static void release(void *arg)
{
    (void)arg;
    say("release");
    loop_release(loop);
}

static void *post_release(void *arg)
{
    assert_int_equal(loop_call_soon_threadsafe(arg, release, NULL), 0);
    return NULL;
}

static void a_hold_keeps_it_running_until_a_thread_has_posted(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    loop_hold(loop);
    loop_release(loop);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(pthread_create(&thread, NULL, post_release, loop), 0);
    assert_int_equal(loop_run(loop), 0);
    pthread_join(thread, NULL);
    finish("release");
}

/* --- Stopping --------------------------------------------------------------------------------- */

static void stop_lets_the_pass_at_hand_end_and_the_rest_for_the_next_run(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, say_and_stop, "a", NULL), 0);
    assert_int_equal(loop_call_soon(loop, reschedule, "b", NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    assert_string_equal(traced(), "a b");
    finish("a b next");
}

static void stop_with_no_work_left_is_a_normal_end(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, say_and_stop, "a", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_call_soon(loop, reschedule, "b", NULL), 0);
    finish("a b next");
}

static void stop_before_a_run_lets_one_pass_happen(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, reschedule, "a", NULL), 0);
    loop_stop(loop);
    loop_stop(loop);
    assert_int_equal(loop_run(loop), 1);
    assert_string_equal(traced(), "a");
    finish("a next");
}

static void stop_before_a_run_does_not_wait_for_a_timer(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, 10, say, "timer", NULL), 0);
    loop_stop(loop);
    assert_int_equal(loop_run(loop), 1);
    assert_string_equal(traced(), "");
    assert_int_equal(loop_time(loop), 0);
    finish("timer");
}

static void a_stop_is_used_up_by_the_run_it_ended(void **state)
{
    (void)state;
    loop = open_loop();
    loop_stop(loop);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_call_soon(loop, reschedule, "a", NULL), 0);
    finish("a next");
}

static void a_stop_in_the_pass_that_ends_the_awaited_task_is_no_error(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_seven, NULL);
    assert_int_equal(loop_call_soon(loop, say_and_stop, "stop", NULL), 0);
    assert_int_equal(loop_run_until(loop, task), 7);
    assert_int_equal(loop_call_soon(loop, reschedule, "a", NULL), 0);
    finish("stop a next");
}

static int stop_and_yield(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        trace("t%d", i);
        loop_stop(loop_current());
        CHECK_INT(co_yield_now(), 0);
    }
    return 0;
}

static void a_task_that_stops_its_loop_again_and_again_is_resumed_each_time(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, stop_and_yield, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_run(loop), 1);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), 0);
    co_task_release(task);
    finish("t0 t1 t2");
}

static void *stop_it(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void a_thread_stops_a_loop_that_blocks(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, loop), 0);
    assert_int_equal(loop_run(loop), 1);
    pthread_join(thread, NULL);
    loop_release(loop);
    finish("");
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
    assert_non_null(strstr(reported(), "test_loop.c:"));
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
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(the_environment_names_the_selector_unless_the_options_do),
        cmocka_unit_test(without_memory_there_is_no_loop_and_no_leak),
        cmocka_unit_test(out_of_fds_there_is_no_loop_and_no_leak),
        cmocka_unit_test(an_empty_loop_returns_at_once_and_runs_any_number_of_times),
        cmocka_unit_test(tasks_calls_and_timers_keep_it_running),
        cmocka_unit_test(run_once_tells_whether_work_is_left),
        cmocka_unit_test(run_once_runs_one_pass_only),
        cmocka_unit_test(run_until_returns_the_result_and_leaves_the_rest),
        cmocka_unit_test(run_until_takes_a_failure_so_that_it_is_not_reported),
        cmocka_unit_test(run_until_with_a_finished_task_or_none_needs_no_run),
        cmocka_unit_test(run_until_that_ends_early_leaves_the_handle_to_the_caller),
        cmocka_unit_test(a_hold_keeps_it_running_until_a_thread_has_posted),
        cmocka_unit_test(stop_lets_the_pass_at_hand_end_and_the_rest_for_the_next_run),
        cmocka_unit_test(stop_with_no_work_left_is_a_normal_end),
        cmocka_unit_test(stop_before_a_run_lets_one_pass_happen),
        cmocka_unit_test(stop_before_a_run_does_not_wait_for_a_timer),
        cmocka_unit_test(a_stop_is_used_up_by_the_run_it_ended),
        cmocka_unit_test(a_stop_in_the_pass_that_ends_the_awaited_task_is_no_error),
        cmocka_unit_test(a_task_that_stops_its_loop_again_and_again_is_resumed_each_time),
        cmocka_unit_test(a_thread_stops_a_loop_that_blocks),
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
