/* The loop: its options, how long it runs, and stopping it. */
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
