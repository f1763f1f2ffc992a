/* Failures that nobody took: the default handler's report, handlers of one's own, and warnings. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static loop_t *loop;

/* Runs fn in a child whose stderr is a pipe, into `output`. Returns its wait status. */
static char output[4096];

static int run_in_child(void (*fn)(void))
{
    int fds[2], status;
    size_t length = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        dup2(fds[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], output + length, sizeof output - 1 - length)) > 0;)
        length += (size_t)n;
    output[length] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A loop of the child's own, with the default handler. */
static void open_in_child(void)
{
    loop = loop_new(&(loop_options_t){.virtual_time = true});
}

static int fail_plainly(void *arg)
{
    (void)arg;
    return -ENOENT;
}

static int fail_with_words(void *name)
{
    return co_fail(-ENOENT, "no such user: %s", (const char *)name);
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

/* --- The default handler ---------------------------------------------------------------------- */

static void let_tasks_fail(void)
{
    open_in_child();
    co_go(fail_plainly, NULL);
    co_go(fail_with_words, "nobody");
    loop_run(loop);
    loop_close(loop);
}

static void the_default_handler_reports_who_failed_how_and_where_on_a_line(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(let_tasks_fail), 0);
    char *first = strstr(output, "coloop: "); /* ASan may warn of ucontext on a line before */
    assert_non_null(first);
    char *second = strchr(first, '\n');
    assert_non_null(second);
    *second++ = '\0';
    assert_non_null(strstr(first, "fail_plainly"));
    assert_non_null(strstr(first, strerror(ENOENT)));
    assert_non_null(strstr(first, "test_exception.c:"));
    assert_non_null(strstr(second, "fail_with_words"));
    assert_non_null(strstr(second, "no such user: nobody"));
    assert_non_null(strstr(second, strerror(ENOENT)));
    assert_ptr_equal(strchr(second, '\n'), second + strlen(second) - 1);
}

static void get_stuck(void)
{
    open_in_child();
    co_go(wait_for_ever, NULL);
    loop_run(loop);
    loop_close(loop);
}

static void the_default_handler_reports_a_deadlock(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(get_stuck), 0);
    assert_non_null(strstr(output, "wait_for_ever"));
    assert_non_null(strstr(output, "co_sleep"));
    assert_non_null(strstr(output, "test_exception.c:"));
}

static void report_with_gaps(void)
{
    open_in_child();
    loop_exception_t warning = {.message = "only a warning"};
    loop_exception_t failure = {"it broke", -EIO, "place.c:7", NULL};
    loop_default_exception_handler(loop, &warning);
    loop_call_exception_handler(loop, &failure);
    loop_close(loop);
}

static void the_default_handler_leaves_out_what_is_not_known(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(report_with_gaps), 0);
    char *second = strchr(output, '\n');
    assert_non_null(second);
    *second++ = '\0';
    assert_non_null(strstr(output, "only a warning"));
    assert_null(strstr(output, "null"));
    assert_null(strstr(output, strerror(0)));
    assert_non_null(strstr(second, "it broke"));
    assert_non_null(strstr(second, strerror(EIO)));
    assert_non_null(strstr(second, "place.c:7"));
}

static void ignore(loop_t *in, const loop_exception_t *exception, void *arg)
{
    (void)in, (void)exception, (void)arg;
}

static void set_and_reset(void)
{
    open_in_child();
    loop_set_exception_handler(loop, ignore, NULL);
    co_go(fail_with_words, "ignored");
    loop_run(loop);
    loop_set_exception_handler(loop, NULL, NULL);
    co_go(fail_with_words, "told");
    loop_run(loop);
    loop_close(loop);
}

static void a_null_handler_brings_the_default_back(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(set_and_reset), 0);
    assert_null(strstr(output, "ignored"));
    assert_non_null(strstr(output, "told"));
}

static void release_too_often(void)
{
    open_in_child();
    loop_hold(loop);
    loop_release(loop);
    signal(SIGABRT, SIG_DFL);
    loop_release(loop);
}

static void releasing_what_is_not_held_aborts_with_a_line(void **state)
{
    (void)state;
    int status = run_in_child(release_too_often);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(output, "loop_release"));
}

/* --- A handler of one's own ------------------------------------------------------------------- */

static struct {
    loop_t *in;
    co_task_t *task;
    void *arg;
    int error, current;
    bool has_where;
    char message[256];
} seen;

static void remember(loop_t *in, const loop_exception_t *exception, void *arg)
{
    seen.in = in;
    seen.task = exception->task;
    seen.arg = arg;
    seen.error = exception->error;
    seen.has_where = exception->where != NULL;
    seen.current = co_self() != NULL;
    snprintf(seen.message, sizeof seen.message, "%s", exception->message);
    trace("seen");
}

static void setup(void)
{
    loop = open_loop();
    memset(&seen, 0, sizeof seen);
    loop_set_exception_handler(loop, remember, &seen);
}

static void a_handler_gets_loop_task_error_message_and_its_argument(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_go(fail_with_words, "me"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_ptr_equal(seen.in, loop);
    assert_ptr_equal(seen.arg, &seen);
    assert_non_null(seen.task);
    assert_int_equal(seen.error, -ENOENT);
    assert_true(seen.has_where);
    assert_false(seen.current);
    assert_non_null(strstr(seen.message, "no such user: me"));
    assert_string_equal(traced(), "seen");
    assert_int_equal(close_loop(loop), 0);
}

static void calling_the_handler_hands_the_exception_on_as_it_is(void **state)
{
    (void)state;
    setup();
    loop_exception_t exception = {"mine", -EIO, NULL, NULL};
    loop_call_exception_handler(loop, &exception);
    assert_string_equal(seen.message, "mine");
    assert_int_equal(seen.error, -EIO);
    assert_false(seen.has_where);
    assert_null(seen.task);
    assert_int_equal(close_loop(loop), 0);
}

static int call_the_handler(void *arg)
{
    loop_exception_t exception = {"from a task", -EIO, NULL, co_self()};
    loop_call_exception_handler(arg, &exception);
    return 0;
}

static void called_from_a_coroutine_the_handler_still_runs_outside_any(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_go(call_the_handler, loop), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(seen.message, "from a task");
    assert_false(seen.current);
    assert_int_equal(close_loop(loop), 0);
}

static int fail_late(void *arg)
{
    (void)arg;
    int rc = co_sleep(5);
    return rc ? rc : -EIO;
}

static void a_failure_is_reported_at_the_end_or_when_the_handle_is_dropped_unread(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_go(fail_late, NULL), 0);
    co_task_t *held = loop_spawn(loop, fail_late, NULL), *read = loop_spawn(loop, fail_late, NULL);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "seen");
    assert_int_equal(co_task_result(read), -EIO);
    co_task_release(read);
    assert_string_equal(traced(), "seen");
    co_task_release(held);
    assert_string_equal(traced(), "seen seen");
    assert_int_equal(close_loop(loop), 0);
}

static int succeed(void *arg)
{
    trace("%s", (const char *)arg);
    return 0;
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

/* Uses what a handler may: everything but running and closing. */
static void use_the_loop(loop_t *in, const loop_exception_t *exception, void *arg)
{
    trace("handler");
    assert_int_equal(loop_run(in), -EBUSY);
    assert_int_equal(loop_close(in), -EBUSY);
    assert_int_equal(loop_call_soon(in, say, "soon", NULL), 0);
    assert_int_equal(loop_call_soon_threadsafe(in, say, "posted"), 0);
    co_task_release(loop_spawn(in, succeed, "task"));
    assert_true(co_task_done(exception->task));
    co_task_release(co_task_retain(exception->task));
    co_task_cancel(exception->task);
    loop_set_exception_handler(in, remember, arg);
}

static void a_handler_may_use_the_loop_and_replace_itself(void **state)
{
    (void)state;
    setup();
    loop_set_exception_handler(loop, use_the_loop, NULL);
    assert_int_equal(co_go(fail_plainly, NULL), 0);
    assert_int_equal(co_go(fail_plainly, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "handler seen soon task posted");
    assert_int_equal(close_loop(loop), 0);
}

static void keep(loop_t *in, const loop_exception_t *exception, void *arg)
{
    (void)in;
    *(co_task_t **)arg = co_task_retain(exception->task);
}

static void a_handler_may_keep_the_task(void **state)
{
    (void)state;
    co_task_t *kept = NULL;
    setup();
    loop_set_exception_handler(loop, keep, &kept);
    assert_int_equal(co_go(fail_with_words, "kept"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_non_null(kept);
    assert_int_equal(co_task_result(kept), -ENOENT);
    assert_string_equal(co_task_error(kept)->message, "no such user: kept");
    co_task_release(kept);
    co_task_t *held = loop_spawn(loop, fail_plainly, NULL);
    assert_int_equal(loop_run(loop), 0);
    kept = NULL;
    co_task_release(held);
    assert_non_null(kept);
    assert_int_equal(co_task_result(kept), -ENOENT);
    co_task_release(kept);
    assert_int_equal(close_loop(loop), 0);
}

static void handlers_of_two_loops_are_apart(void **state)
{
    (void)state;
    setup();
    loop_t *other = loop_new(NULL);
    int mark;
    loop_set_exception_handler(other, remember, &mark);
    co_task_release(loop_spawn(other, fail_plainly, NULL));
    assert_int_equal(loop_run(other), 0);
    assert_ptr_equal(seen.in, other);
    assert_ptr_equal(seen.arg, &mark);
    assert_int_equal(loop_close(other), 0);
    assert_string_equal(traced(), "seen");
    assert_int_equal(close_loop(loop), 0);
}

static int fail_at_length(void *arg)
{
    (void)arg;
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    return co_fail(-EIO, "begin %s", text);
}

static void a_very_long_message_does_no_harm(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_go(fail_at_length, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_non_null(strstr(seen.message, "begin xxx"));
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_handler_reports_who_failed_how_and_where_on_a_line),
        cmocka_unit_test(the_default_handler_reports_a_deadlock),
        cmocka_unit_test(the_default_handler_leaves_out_what_is_not_known),
        cmocka_unit_test(a_null_handler_brings_the_default_back),
        cmocka_unit_test(releasing_what_is_not_held_aborts_with_a_line),
        cmocka_unit_test(a_handler_gets_loop_task_error_message_and_its_argument),
        cmocka_unit_test(calling_the_handler_hands_the_exception_on_as_it_is),
        cmocka_unit_test(called_from_a_coroutine_the_handler_still_runs_outside_any),
        cmocka_unit_test(a_failure_is_reported_at_the_end_or_when_the_handle_is_dropped_unread),
        cmocka_unit_test(a_handler_may_use_the_loop_and_replace_itself),
        cmocka_unit_test(a_handler_may_keep_the_task),
        cmocka_unit_test(handlers_of_two_loops_are_apart),
        cmocka_unit_test(a_very_long_message_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
