/* Debug mode: what runs too long without a pause is reported, and who goes on in spite of being
 * cancelled, and nothing else. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { SLOW_MS = 20, BUSY_MS = 45 };

static void keep_busy(void)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < BUSY_MS);
}

static loop_t *open_debug_loop(int64_t slow_ms)
{
    loop_options_t options = {.virtual_time = true, .debug = true, .slow_ms = slow_ms};
    return open_loop_with(&options);
}

static void check_reported(const char *word)
{
    if (!strstr(reported(), word))
        fail_msg("'%s' is not in: %s", word, reported());
}

static int lines[2];

static int slow_after_yield(void *arg)
{
    (void)arg;
    lines[0] = __LINE__ + 1;
    co_yield_now();
    keep_busy();
    return 0;
}

static int slow_after_sleep(void *arg)
{
    (void)arg;
    co_yield_now();
    lines[0] = __LINE__ + 1;
    co_sleep(1000);
    keep_busy();
    co_yield_now();
    return 0;
}

/* The place is that of the call after which the task ran on. */
static void try_task(co_fn *fn, const char *name, const char *call)
{
    char place[64];
    loop_t *loop = open_debug_loop(SLOW_MS);
    co_task_t *task = co_spawn_here(loop, NULL, name, fn, NULL, CO_HERE);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_true(reports() >= 1);
    snprintf(place, sizeof place, "test_slow.c:%d", lines[0]);
    check_reported(place);
    check_reported(name);
    check_reported(call);
    check_reported("|0|"); /* a warning, and no error */
    close_loop(loop);
}

static void a_slow_task_is_reported_with_where_it_was_resumed(void **state)
{
    (void)state;
    try_task(slow_after_yield, "slow_after_yield", "co_yield_now");
    try_task(slow_after_sleep, "slow_after_sleep", "co_sleep");
}

static int slow_from_start(void *arg)
{
    (void)arg;
    keep_busy();
    return 0;
}

static void a_task_slow_from_its_start_is_reported_with_where_it_was_spawned(void **state)
{
    (void)state;
    char place[64];
    loop_t *loop = open_debug_loop(SLOW_MS);
    co_task_t *task = loop_spawn(loop, slow_from_start, NULL);
    snprintf(place, sizeof place, "test_slow.c:%d", __LINE__ - 1);
    assert_int_equal(loop_run_until(loop, task), 0);
    check_reported("slow_from_start");
    check_reported(place);
    close_loop(loop);
}

static int spawn_slow_eagerly(void *arg)
{
    static const co_spawn_options_t eager = {.eager = true};
    (void)arg;
    lines[0] = __LINE__ + 1;
    return co_await_task(co_spawn_with(&eager, slow_from_start, NULL));
}

static void of_an_eager_child_and_its_parent_the_slow_one_is_reported(void **state)
{
    (void)state;
    char place[64];
    loop_t *loop = open_debug_loop(SLOW_MS);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, spawn_slow_eagerly, NULL)), 0);
    snprintf(place, sizeof place, "test_slow.c:%d", lines[0]);
    check_reported("'slow_from_start'");
    check_reported(place);
    close_loop(loop);
}

static void slow_callback(void *arg)
{
    (void)arg;
    keep_busy();
}

static void remove_and_be_slow(void *fd)
{
    loop_remove_writer(loop_current(), *(int *)fd);
    keep_busy();
}

static void remove_signal_and_be_slow(void *arg)
{
    loop_remove_signal_handler(loop_current(), SIGUSR1);
    slow_callback(arg);
}

static void check_callback_reported(loop_fn *fn)
{
    char address[64];
    snprintf(address, sizeof address, "callback %p ", (void *)(uintptr_t)fn);
    check_reported(address);
    check_reported("|0|"); /* a warning, and no error */
}

static void check_callback(loop_t *loop, loop_fn *fn)
{
    assert_int_equal(loop_run(loop), 0);
    check_callback_reported(fn);
}

static void a_slow_callback_is_reported_by_its_address(void **state)
{
    (void)state;
    loop_handle_t handle = {0};
    loop_t *loop = open_debug_loop(SLOW_MS);
    assert_int_equal(loop_call_soon(loop, slow_callback, NULL, NULL), 0);
    check_callback(loop, slow_callback);
    close_loop(loop);
    loop = open_debug_loop(SLOW_MS);
    assert_int_equal(loop_call_later(loop, 5, slow_callback, NULL, &handle), 0);
    check_callback(loop, slow_callback);
    close_loop(loop);
    loop = open_debug_loop(SLOW_MS);
    assert_int_equal(loop_call_soon_threadsafe(loop, slow_callback, NULL), 0);
    check_callback(loop, slow_callback);
    close_loop(loop);
}

static void a_slow_watcher_or_signal_handler_is_reported_by_its_address(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    loop_t *loop = open_debug_loop(SLOW_MS);
    assert_int_equal(loop_add_writer(loop, ends[1], remove_and_be_slow, &ends[1]), 0);
    check_callback(loop, remove_and_be_slow);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, remove_signal_and_be_slow, NULL), 0);
    raise(SIGUSR1);
    for (int i = 0; i < 10; i++)
        loop_run_once(loop, 0);
    check_callback_reported(remove_signal_and_be_slow);
    close_loop(loop);
    close(ends[0]);
    close(ends[1]);
}

/* A handler for reports that is slow itself, or starts things, does no harm. */
static int handled;

static void busy_handler(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)arg;
    handled++;
    assert_int_equal(exception->error, 0); /* on the main stack */
    if (handled > 3)
        return;
    assert_int_equal(loop_call_soon(loop, slow_callback, NULL, NULL), 0);
    FILE *file = fopen("/dev/null", "w");
    loop_dump(loop, file);
    fclose(file);
}

static void the_handler_of_a_report_may_look_around_and_start_more(void **state)
{
    (void)state;
    loop_t *loop = open_debug_loop(SLOW_MS);
    handled = 0;
    loop_set_exception_handler(loop, busy_handler, NULL);
    co_task_release(loop_spawn(loop, slow_from_start, NULL));
    assert_int_equal(loop_run(loop), 0);
    assert_true(handled >= 4);
    close_loop(loop);
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void spawning_handler(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)arg;
    co_task_release(loop_spawn(loop, do_nothing, NULL));
    trace("%s", co_task_name(exception->task));
}

static void a_slow_task_that_ended_is_there_until_the_handler_has_returned(void **state)
{
    (void)state;
    loop_t *loop = open_debug_loop(SLOW_MS);
    loop_set_exception_handler(loop, spawning_handler, NULL);
    co_task_release(loop_spawn(loop, slow_from_start, NULL));
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "slow_from_start");
    close_loop(loop);
}

/* --- Tasks that do not listen ----------------------------------------------------------------- */

static int deaf_calls;

static int go_on(void *arg)
{
    (void)arg;
    lines[0] = __LINE__ + 2;
    for (int i = 0; i < deaf_calls; i++)
        co_sleep(10);
    return 0;
}

static int go_on_for_several_timeouts(void *arg)
{
    for (int i = 0; i < 3; i++)
        co_timeout(5) go_on(arg);
    return 0;
}

static void cancel(void *task)
{
    co_task_cancel(task);
}

/* Each call after the first one returns the code at once. */
static int reports_of_deaf(loop_t *loop, co_fn *fn, int calls, int64_t cancel_ms)
{
    deaf_calls = calls + 1;
    co_task_t *task = co_spawn_here(loop, NULL, "deaf one", fn, NULL, CO_HERE);
    assert_int_equal(loop_call_later(loop, cancel_ms, cancel, task, NULL), 0);
    assert_int_equal(loop_run_until(loop, task), 0);
    return reports();
}

static void a_task_that_ignores_its_cancellation_is_reported_once(void **state)
{
    (void)state;
    char place[64];
    loop_t *loop = open_debug_loop(100000);
    assert_int_equal(reports_of_deaf(loop, go_on, 5000, 5), 1);
    snprintf(place, sizeof place, "test_slow.c:%d", lines[0]);
    check_reported(place);
    check_reported("'deaf one' (#1)");
    check_reported("in spite of being cancelled");
    check_reported("co_sleep");
    check_reported("|0|");
    close_loop(loop);
}

static void a_task_that_ignores_its_timeout_is_reported_once_for_each(void **state)
{
    (void)state;
    loop_t *loop = open_debug_loop(100000);
    assert_int_equal(reports_of_deaf(loop, go_on_for_several_timeouts, 5000, 1000), 3);
    check_reported("in spite of being out of time");
    close_loop(loop);
}

static void a_few_calls_in_spite_of_a_code_are_not_reported(void **state)
{
    (void)state;
    loop_t *loop = open_debug_loop(100000);
    assert_int_equal(reports_of_deaf(loop, go_on, 900, 5), 0);
    assert_int_equal(reports_of_deaf(loop, go_on_for_several_timeouts, 900, 1000), 0);
    close_loop(loop);
}

static void without_debug_mode_a_deaf_task_is_not_reported(void **state)
{
    (void)state;
    loop_t *loop = open_loop_with(&(loop_options_t){.virtual_time = true});
    bool debug = getenv("COLOOP_DEBUG") && strcmp(getenv("COLOOP_DEBUG"), "0") != 0;
    assert_int_equal(reports_of_deaf(loop, go_on, 5000, 5), debug);
    close_loop(loop);
}

/* Its calls before the close are not held against it: it may clean up then as any other. */
static int go_on_and_clean_up(void *arg)
{
    int rc = go_on(arg);
    for (int i = 0; i < 3; i++)
        co_yield_now();
    trace("cleaned up");
    return rc;
}

static void calls_before_the_close_do_not_count_for_it(void **state)
{
    (void)state;
    loop_t *loop = open_debug_loop(100000);
    deaf_calls = 1000000;
    co_task_t *task = loop_spawn(loop, go_on_and_clean_up, NULL);
    assert_int_equal(loop_call_later(loop, 5, cancel, task, NULL), 0);
    while (reports() == 0 && loop_run_once(loop, 10) > 0)
        ;
    deaf_calls = 0;
    co_task_release(task);
    close_loop(loop);
    assert_string_equal(traced(), "cleaned up");
}

/* --- Nothing to report ------------------------------------------------------------------------ */

static int reports_of(const loop_options_t *options)
{
    loop_t *loop = open_loop_with(options);
    co_task_t *task = loop_spawn(loop, slow_after_yield, NULL);
    assert_int_equal(loop_run_until(loop, task), 0);
    int n = reports();
    close_loop(loop);
    return n;
}

static void within_the_limit_nothing_is_reported(void **state)
{
    (void)state;
    assert_int_equal(reports_of(&(loop_options_t){.debug = true, .slow_ms = 100000}), 0);
}

static void the_environment_switches_debug_mode_on(void **state)
{
    (void)state;
    const char *before = getenv("COLOOP_DEBUG");
    char *saved = before ? strdup(before) : NULL;
    loop_options_t options = {.slow_ms = SLOW_MS};
    unsetenv("COLOOP_DEBUG");
    assert_int_equal(reports_of(&options), 0);
    setenv("COLOOP_DEBUG", "0", 1);
    assert_int_equal(reports_of(&options), 0);
    setenv("COLOOP_DEBUG", "", 1);
    assert_int_equal(reports_of(&options), 0);
    setenv("COLOOP_DEBUG", "1", 1);
    assert_true(reports_of(&options) >= 1);
    if (saved)
        setenv("COLOOP_DEBUG", saved, 1);
    else
        unsetenv("COLOOP_DEBUG");
    free(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_task_is_reported_with_where_it_was_resumed),
        cmocka_unit_test(a_task_slow_from_its_start_is_reported_with_where_it_was_spawned),
        cmocka_unit_test(of_an_eager_child_and_its_parent_the_slow_one_is_reported),
        cmocka_unit_test(a_slow_callback_is_reported_by_its_address),
        cmocka_unit_test(a_slow_watcher_or_signal_handler_is_reported_by_its_address),
        cmocka_unit_test(the_handler_of_a_report_may_look_around_and_start_more),
        cmocka_unit_test(a_slow_task_that_ended_is_there_until_the_handler_has_returned),
        cmocka_unit_test(a_task_that_ignores_its_cancellation_is_reported_once),
        cmocka_unit_test(a_task_that_ignores_its_timeout_is_reported_once_for_each),
        cmocka_unit_test(a_few_calls_in_spite_of_a_code_are_not_reported),
        cmocka_unit_test(without_debug_mode_a_deaf_task_is_not_reported),
        cmocka_unit_test(calls_before_the_close_do_not_count_for_it),
        cmocka_unit_test(within_the_limit_nothing_is_reported),
        cmocka_unit_test(the_environment_switches_debug_mode_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
