/* Running a loop for one task: co_run and loop_run_until. */
#include "support.h"

#include <stdio.h>
#include <sys/wait.h>

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 0;
}

static int sleep_only(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

/* --- What co_run writes ----------------------------------------------------------------------- */

static char written[4096];
static int saved_stderr, stderr_file;

static void catch_stderr(void)
{
    fflush(stderr);
    FILE *file = tmpfile();
    assert_non_null(file);
    stderr_file = dup(fileno(file));
    fclose(file);
    saved_stderr = dup(STDERR_FILENO);
    dup2(stderr_file, STDERR_FILENO);
}

static const char *caught_stderr(void)
{
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(stderr_file, written, sizeof written - 1, 0);
    close(stderr_file);
    written[n > 0 ? n : 0] = '\0';
    return written;
}

/* --- co_run ----------------------------------------------------------------------------------- */

static void the_result_of_the_first_task_is_returned(void **state)
{
    (void)state;
    assert_int_equal(co_run(return_arg, (void *)1), 1); /* a sanitizer may speak once */
    catch_stderr();
    int five = co_run(return_arg, (void *)5), zero = co_run(return_arg, NULL);
    int failure = co_run(return_arg, (void *)-ENOENT);
    assert_string_equal(caught_stderr(), "");
    assert_int_equal(five, 5);
    assert_int_equal(zero, 0);
    assert_int_equal(failure, -ENOENT);
    assert_null(loop_current());
}

static int sleep_and_say(void *word)
{
    CHECK_INT(co_sleep(2), 0);
    return say(word);
}

static int start_others(void *arg)
{
    (void)arg;
    trace("%s", co_task_name(co_self()));
    CHECK_INT(co_go(sleep_and_say, "later"), 0);
    CHECK_INT(co_go(say, "soon"), 0);
    return 1;
}

static void everything_that_it_starts_is_run_to_its_end(void **state)
{
    (void)state;
    trace_clear();
    assert_int_equal(co_run(start_others, NULL), 1);
    assert_string_equal(traced(), "start_others soon later");
}

static int fail_with_note(void *arg)
{
    return co_fail(-ENOENT, "no such user: %s", (const char *)arg);
}

static int throw_it(void *arg)
{
    co_throw(-EIO, "thrown: %s", (const char *)arg);
}

static void the_message_of_a_failure_goes_to_stderr(void **state)
{
    (void)state;
    catch_stderr();
    int rc = co_run(fail_with_note, "ann");
    caught_stderr();
    assert_int_equal(rc, -ENOENT);
    const char *message = strstr(written, "no such user: ann");
    assert_non_null(message);
    assert_non_null(strstr(written, __FILE__));
    assert_null(strstr(message + 1, "no such user: ann")); /* once */
    catch_stderr();
    rc = co_run(throw_it, "bob");
    assert_non_null(strstr(caught_stderr(), "thrown: bob"));
    assert_int_equal(rc, -EIO);
}

static int wait_for_ever(void *arg)
{
    co_task_t *task = co_spawn(sleep_only, NULL);
    CHECK_INT(co_await_task(task), -ECANCELED);
    trace("%s", (const char *)arg);
    return 3;
}

static void a_first_task_that_can_never_end_is_a_deadlock(void **state)
{
    (void)state;
    trace_clear();
    catch_stderr();
    int rc = co_run(wait_for_ever, "cleaned-up");
    assert_non_null(strstr(caught_stderr(), "wait_for_ever"));
    assert_non_null(strstr(written, "sleep_only"));
    assert_int_equal(rc, -EDEADLK);
    assert_string_equal(traced(), "cleaned-up"); /* by the loop's close */
}

static int leave_one_behind(void *arg)
{
    CHECK_INT(co_go(sleep_only, arg), 0);
    return 4;
}

static void a_deadlock_of_others_does_not_hide_the_result(void **state)
{
    (void)state;
    catch_stderr();
    int rc = co_run(leave_one_behind, NULL);
    assert_non_null(strstr(caught_stderr(), "sleep_only"));
    assert_int_equal(rc, 4);
}

static void run_in_callback(void *rc)
{
    *(int *)rc = co_run(return_arg, (void *)1);
}

static int run_inside(void *arg)
{
    (void)arg;
    int rc = 0;
    loop_t *loop = loop_current();
    co_task_t *task = co_spawn(return_arg, (void *)2);
    CHECK_INT(co_run(return_arg, NULL), -EBUSY);
    CHECK_INT(loop_run(loop), -EBUSY);
    CHECK_INT(loop_run_once(loop, 0), -EBUSY);
    CHECK_INT(loop_run_until(loop, task), -EBUSY);
    CHECK_INT(loop_close(loop), -EBUSY);
    CHECK_INT(loop_call_soon(loop, run_in_callback, &rc, NULL), 0);
    CHECK_INT(co_await_task(task), 2); /* the handle was still ours */
    CHECK_INT(rc, -EBUSY);
    return 6;
}

static void no_loop_runs_inside_another(void **state)
{
    (void)state;
    assert_int_equal(co_run(run_inside, NULL), 6);
}

static int stop_and_sleep(void *arg)
{
    (void)arg;
    loop_stop(loop_current());
    return co_sleep(-1);
}

static int stop_and_insist(void *arg)
{
    (void)arg;
    loop_stop(loop_current());
    CHECK_INT(co_sleep(-1), -ECANCELED);
    loop_stop(loop_current());
    co_shield() CHECK_INT(co_sleep(1), 0);
    return 7;
}

static int end_and_stop(void *arg)
{
    (void)arg;
    CHECK_INT(co_go(sleep_only, NULL), 0);
    loop_stop(loop_current());
    return 8;
}

static void stopped_it_cancels_its_task_and_returns_its_result(void **state)
{
    (void)state;
    assert_int_equal(co_run(stop_and_sleep, NULL), -ECANCELED);
    assert_int_equal(co_run(end_and_stop, NULL), 8);
}

static void stopped_twice_it_still_returns_the_result(void **state)
{
    (void)state;
    assert_int_equal(co_run(stop_and_insist, NULL), 7);
}

static void without_a_function_or_memory_it_fails(void **state)
{
    (void)state;
    co_fn *none = NULL;
    assert_int_equal(co_run(none, NULL), -EINVAL);
    loop_t *loop = open_loop(); /* brings the failing allocator */
    size_t before = blocks();
    bool ended = false;
    for (size_t n = 1; !ended && n < 30; n++) {
        fail_allocation(n, true);
        int rc = co_run(return_arg, (void *)5);
        ended = rc == 5;
        assert_true(ended || rc == -ENOMEM);
        assert_int_equal(blocks(), before);
    }
    assert_true(ended);
    assert_ptr_equal(loop_current(), loop);
    assert_int_equal(close_loop(loop), 0);
}

/* --- loop_run_until --------------------------------------------------------------------------- */

static int sleep_long(void *arg)
{
    CHECK_INT(co_sleep(1000), 0);
    return say(arg);
}

static void until_one_task_is_done_the_others_run_and_then_wait(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(sleep_and_say, "short"), 0);
    assert_int_equal(co_go(sleep_long, "long"), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, sleep_and_say, "task")), 0);
    assert_string_equal(traced(), "short task");
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, return_arg, (void *)-EIO)), -EIO);
    assert_int_equal(loop_run_until(loop, NULL), -ENOMEM);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "short task long");
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void the_result_of_a_task_that_is_done_comes_at_once(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_arg, (void *)5);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_go(say, "not yet"), 0);
    assert_int_equal(loop_run_until(loop, task), 5);
    assert_string_equal(traced(), "");
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int stop_then_return(void *arg)
{
    loop_stop(loop_current());
    if (arg)
        CHECK_INT(co_yield_now(), 0);
    return 5;
}

static void a_stopped_loop_leaves_the_task_and_its_handle(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, stop_then_return, "x");
    assert_int_equal(loop_run_until(loop, task), -EINTR);
    assert_false(co_task_done(task));
    assert_int_equal(loop_run_until(loop, task), 5);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, stop_then_return, NULL)), 5);
    assert_int_equal(close_loop(loop), 0);
}

static void a_task_that_nothing_can_wake_is_a_deadlock_and_keeps_its_handle(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, sleep_only, NULL);
    assert_int_equal(loop_run_until(loop, task), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "sleep_only"));
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_int_equal(close_loop(loop), 0);
}

static void several_in_a_deadlock_are_all_reported(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *tasks[10];
    for (int i = 0; i < 10; i++)
        tasks[i] = loop_spawn(loop, sleep_only, NULL);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 10);
    for (int i = 0; i < 10; i++) {
        assert_false(co_task_done(tasks[i]));
        co_task_release(tasks[i]);
    }
    assert_int_equal(close_loop(loop), 10);
}

static int run_both(loop_t *loop, co_task_t *task)
{
    if (loop_run_until(loop, task) != -ECHILD || loop_run(loop) != -ECHILD)
        return 1;
    return loop_run_once(loop, 0) == -ECHILD ? 0 : 2;
}

static void a_forked_child_may_not_run_the_loop(void **state)
{
    (void)state;
    int status;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_arg, (void *)5);
    pid_t child = fork();
    if (child == 0)
        _exit(run_both(loop, task));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(loop_run_until(loop, task), 5);
    assert_int_equal(close_loop(loop), 0);
}

static int run_in_child_of_task(void *arg)
{
    (void)arg;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(co_run(return_arg, (void *)7));
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The child has the task's stack, and no loop that runs. */
static void a_child_forked_by_a_task_may_make_its_own_loop(void **state)
{
    (void)state;
    assert_int_equal(run_task(run_in_child_of_task, NULL), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_of_the_first_task_is_returned),
        cmocka_unit_test(everything_that_it_starts_is_run_to_its_end),
        cmocka_unit_test(the_message_of_a_failure_goes_to_stderr),
        cmocka_unit_test(a_first_task_that_can_never_end_is_a_deadlock),
        cmocka_unit_test(a_deadlock_of_others_does_not_hide_the_result),
        cmocka_unit_test(no_loop_runs_inside_another),
        cmocka_unit_test(stopped_it_cancels_its_task_and_returns_its_result),
        cmocka_unit_test(stopped_twice_it_still_returns_the_result),
        cmocka_unit_test(without_a_function_or_memory_it_fails),
        cmocka_unit_test(until_one_task_is_done_the_others_run_and_then_wait),
        cmocka_unit_test(the_result_of_a_task_that_is_done_comes_at_once),
        cmocka_unit_test(a_stopped_loop_leaves_the_task_and_its_handle),
        cmocka_unit_test(a_task_that_nothing_can_wake_is_a_deadlock_and_keeps_its_handle),
        cmocka_unit_test(several_in_a_deadlock_are_all_reported),
        cmocka_unit_test(a_forked_child_may_not_run_the_loop),
        cmocka_unit_test(a_child_forked_by_a_task_may_make_its_own_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
