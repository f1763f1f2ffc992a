/* Failures that nobody took: what is reported, exactly when, and what is not.
 * The handler here writes "!" and the code into the trace. */
#include "support.h"

#include <fcntl.h>

static co_task_t *reported_task;
static bool reported_inside_a_task, reported_with_place;

static void trace_report(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)arg;
    trace("!%s", exception->error == -EIO ? "EIO" : "ECANCELED");
    reported_task = exception->task;
    reported_inside_a_task = co_self() != NULL;
    reported_with_place = exception->where && strstr(exception->where, __FILE__ ":");
}

static loop_t *open_tracing_loop(void)
{
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, trace_report, NULL);
    reported_task = NULL;
    reported_inside_a_task = reported_with_place = false;
    return loop;
}

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 0;
}

/* Fails after one pass. */
static int fail_later(void *arg)
{
    (void)arg;
    CHECK_INT(co_yield_now(), 0);
    trace("fails");
    return -EIO;
}

static void on_done(co_task_t *task, void *arg)
{
    (void)arg;
    trace("done%d", co_task_result(task) == -EIO);
}

static void a_task_without_a_handle_is_reported_when_it_ends(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    assert_int_equal(co_go(fail_later, NULL), 0);
    assert_int_equal(co_go(say, "1"), 0);
    loop_run_once(loop, 0);
    assert_int_equal(co_go(say, "2"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "1 fails !EIO 2");
    assert_non_null(reported_task);
    assert_true(reported_with_place);
    assert_int_equal(close_loop(loop), 0);
}

static void a_task_whose_handle_was_dropped_is_reported_when_it_ends(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    co_task_t *task = loop_spawn(loop, fail_later, NULL);
    co_task_release(co_task_retain(task));
    co_task_release(task);
    assert_string_equal(traced(), "");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails !EIO");
    assert_int_equal(close_loop(loop), 0);
}

static void a_held_failure_is_reported_when_the_last_handle_is_released_unread(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    co_task_t *task = co_task_retain(loop_spawn(loop, fail_later, NULL));
    assert_int_equal(co_task_result(task), -EINPROGRESS); /* that was no reading */
    assert_int_equal(loop_run(loop), 0);
    trace("held");
    co_task_release(task);
    trace("once");
    co_task_release(task);
    assert_string_equal(traced(), "fails held once !EIO");
    assert_ptr_equal(reported_task, task);
    assert_int_equal(close_loop(loop), 0);
}

static void a_failure_whose_result_was_read_is_not_reported(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    co_task_t *task = loop_spawn(loop, fail_later, NULL);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), -EIO);
    co_task_release(task);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, fail_later, NULL)), -EIO);
    assert_string_equal(traced(), "fails fails");
    assert_int_equal(close_loop(loop), 0);
}

static int await_failure(void *arg)
{
    (void)arg;
    co_task_t *done = co_spawn(fail_later, NULL);
    CHECK_INT(co_await_task(co_spawn(fail_later, NULL)), -EIO);
    return co_await_task(done) == -EIO ? 0 : 1;
}

static void an_awaited_failure_is_not_reported(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    assert_int_equal(run_task_in(loop, "await_failure", await_failure, NULL), 0);
    assert_string_equal(traced(), "fails fails");
}

static void a_failure_told_to_a_done_callback_is_not_reported(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    co_task_t *task = loop_spawn(loop, fail_later, NULL);
    assert_int_equal(co_task_add_done_callback(task, on_done, NULL), 0);
    co_task_release(task);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails done1");
    assert_int_equal(close_loop(loop), 0);
}

static void a_failure_whose_done_callback_was_removed_is_reported(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    co_task_t *task = loop_spawn(loop, fail_later, NULL);
    assert_int_equal(co_task_add_done_callback(task, on_done, NULL), 0);
    assert_int_equal(co_task_remove_done_callback(task, on_done, NULL), 1);
    co_task_release(task);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails !EIO");
    assert_int_equal(close_loop(loop), 0);
}

static int wait_and_leave(void *arg)
{
    co_task_t *task = arg;
    CHECK_INT(co_wait(&task, 1, CO_ALL), 1);
    trace("waited");
    co_task_release(task);
    return 0;
}

/* co_wait consumes nothing and tells no results: the failure is as unread as before. */
static void a_failure_that_was_only_waited_for_is_reported_at_its_release(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    assert_int_equal(co_go(wait_and_leave, loop_spawn(loop, fail_later, NULL)), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails waited !EIO");
    assert_int_equal(close_loop(loop), 0);
}

/* --- Cancelled ones --------------------------------------------------------------------------- */

static int sleep_for_ever(void *arg)
{
    return co_sleep(-1) == -ECANCELED && arg ? *(int *)arg : -ECANCELED;
}

static int cancelled_by_itself(void *arg)
{
    (void)arg;
    return -ECANCELED;
}

static void run_cancelled(int *result)
{
    loop_t *loop = open_tracing_loop();
    co_task_t *task = loop_spawn(loop, sleep_for_ever, result);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    co_task_release(task);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void a_cancelled_task_that_ends_as_asked_has_not_failed(void **state)
{
    (void)state;
    run_cancelled(NULL);
    assert_string_equal(traced(), "");
}

static void a_cancelled_task_that_ends_with_another_error_has_failed(void **state)
{
    (void)state;
    int result = -EIO;
    run_cancelled(&result);
    assert_string_equal(traced(), "!EIO");
}

static void ecanceled_of_a_task_that_nobody_cancelled_is_a_failure(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    assert_int_equal(co_go(cancelled_by_itself, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "!ECANCELED");
    assert_int_equal(close_loop(loop), 0);
}

/* --- The handler ------------------------------------------------------------------------------ */

static int release_unread(void *arg)
{
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_yield_now(), 0);
    trace("release");
    co_task_release(arg);
    return 0;
}

static void the_handler_runs_outside_any_coroutine(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    assert_int_equal(co_go(release_unread, loop_spawn(loop, fail_later, NULL)), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails release !EIO");
    assert_false(reported_inside_a_task);
    assert_int_equal(close_loop(loop), 0);
}

static void keep_task(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop;
    *(co_task_t **)arg = co_task_retain(exception->task);
}

static void the_handler_may_retain_a_task_that_ends(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *kept = NULL;
    loop_set_exception_handler(loop, keep_task, &kept);
    assert_int_equal(co_go(fail_later, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(kept), -EIO);
    co_task_release(kept);
    assert_int_equal(close_loop(loop), 0);
}

static void the_handler_may_retain_a_task_that_is_released(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *kept = NULL;
    loop_set_exception_handler(loop, keep_task, &kept);
    co_task_t *task = loop_spawn(loop, fail_later, NULL);
    assert_int_equal(loop_run(loop), 0);
    co_task_release(task);
    assert_ptr_equal(kept, task);
    co_task_t *other = loop_spawn(loop, say, "other");
    assert_ptr_not_equal(kept, other); /* its memory is still its own */
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(kept), -EIO);
    co_task_release(kept);
    co_task_release(other);
    assert_int_equal(close_loop(loop), 0);
}

static void use_everything(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    co_spawn_options_t eager = {.eager = true};
    trace("handler");
    assert_int_equal(loop_run_once(loop, 0), -EBUSY);
    assert_int_equal(loop_close(loop), -EBUSY);
    assert_int_equal(co_yield_now(), -EPERM);
    co_task_cancel(exception->task);
    assert_int_equal(co_task_add_done_callback(exception->task, on_done, NULL), 0);
    assert_int_equal(co_go(say, arg), 0);
    co_task_release(co_spawn_with(&eager, say, "eager"));
    co_task_release(co_task_retain(exception->task));
}

static void the_handler_may_call_anything(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, use_everything, "spawned");
    assert_int_equal(co_go(fail_later, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "fails handler eager done1 spawned");
    assert_int_equal(close_loop(loop), 0);
}

static void the_default_handler_is_back_after_null(void **state)
{
    (void)state;
    loop_t *loop = open_tracing_loop();
    loop_exception_t exception = {"for the handler of the test", -EIO, NULL, NULL};
    loop_call_exception_handler(loop, &exception);
    assert_string_equal(traced(), "!EIO");
    int null = open("/dev/null", O_WRONLY), saved = dup(STDERR_FILENO);
    dup2(null, STDERR_FILENO);
    loop_set_exception_handler(loop, NULL, NULL);
    loop_call_exception_handler(loop, &exception);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    assert_string_equal(traced(), "!EIO");
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_without_a_handle_is_reported_when_it_ends),
        cmocka_unit_test(a_task_whose_handle_was_dropped_is_reported_when_it_ends),
        cmocka_unit_test(a_held_failure_is_reported_when_the_last_handle_is_released_unread),
        cmocka_unit_test(a_failure_whose_result_was_read_is_not_reported),
        cmocka_unit_test(an_awaited_failure_is_not_reported),
        cmocka_unit_test(a_failure_told_to_a_done_callback_is_not_reported),
        cmocka_unit_test(a_failure_whose_done_callback_was_removed_is_reported),
        cmocka_unit_test(a_failure_that_was_only_waited_for_is_reported_at_its_release),
        cmocka_unit_test(a_cancelled_task_that_ends_as_asked_has_not_failed),
        cmocka_unit_test(a_cancelled_task_that_ends_with_another_error_has_failed),
        cmocka_unit_test(ecanceled_of_a_task_that_nobody_cancelled_is_a_failure),
        cmocka_unit_test(the_handler_runs_outside_any_coroutine),
        cmocka_unit_test(the_handler_may_retain_a_task_that_ends),
        cmocka_unit_test(the_handler_may_retain_a_task_that_is_released),
        cmocka_unit_test(the_handler_may_call_anything),
        cmocka_unit_test(the_default_handler_is_back_after_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
