/* Throws where they are delicate: outside coroutines, and from tasks that are ended by force. */
#include "test_forked.h"

/* --- Outside coroutines ----------------------------------------------------------------------- */

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static int throw_something(void *message)
{
    co_defer(say, "deferred");
    co_throw(-EIO, "%s", (const char *)message);
}

static int try_inside(void *message)
{
    trace("%d", co_try(throw_something, message) == -EIO);
    co_throw(-EPIPE, "outer");
}

static void throws_are_caught_outside_coroutines_too(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_try(try_inside, "x"), -EPIPE);
    assert_string_equal(traced(), "deferred 1");
    assert_int_equal(close_loop(loop), 0);
}

static void try_in_callback(void *message)
{
    trace("%d", co_try(throw_something, message) == -EIO);
}

static int throw_later(void *message)
{
    CHECK_INT(co_yield_now(), 0);
    return throw_something(message);
}

static int run_loop(void *loop)
{
    return loop_run(loop);
}

/* The try of the main stack is none of the task's. */
static void a_task_in_a_loop_that_runs_in_a_try_is_on_its_own(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, throw_later, "x");
    assert_int_equal(loop_call_soon(loop, try_in_callback, "y", NULL), 0);
    assert_int_equal(co_try(run_loop, loop), 0);
    assert_int_equal(co_task_result(task), -EIO);
    assert_string_equal(traced(), "deferred 1 deferred");
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static char words[2048];

static void exit_with(void *fn)
{
    _exit((*(int (**)(void))fn)());
}

/* Runs fn in a child process, and returns its status; `words` is its stderr. */
static int run_in_child(int (*fn)(void))
{
    return run_forked(exit_with, &fn, words, sizeof words);
}

static int throw_nowhere(void)
{
    co_throw(-ENOSPC, "no room for %s", "the piano");
}

static void throw_call(void *message)
{
    co_throw(-EIO, "%s", (const char *)message);
}

static int throw_from_callback(void)
{
    loop_t *loop = loop_new(NULL);
    loop_call_soon(loop, throw_call, "from a callback", NULL);
    loop_run(loop);
    return 0;
}

static void caught_by_nobody_a_throw_outside_aborts_with_its_message(void **state)
{
    (void)state;
    int status = run_in_child(throw_nowhere);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(words, "no room for the piano"));
    assert_non_null(strstr(words, __FILE__));
    status = run_in_child(throw_from_callback);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(words, "from a callback"));
}

/* A throw from a callback past loop_run: it aborts, or leaves a loop that can be used on. */
static int throw_past_the_loop(void)
{
    loop_t *loop = loop_new(NULL);
    loop_call_soon(loop, throw_call, "past the loop", NULL);
    int rc = co_try(run_loop, loop);
    if (rc != -EIO)
        return 1;
    return loop_run(loop) == 0 && loop_close(loop) == 0 && loop_current() == NULL ? 0 : 2;
}

static void a_throw_past_a_running_loop_leaves_no_broken_loop(void **state)
{
    (void)state;
    int status = run_in_child(throw_past_the_loop);
    bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    assert_true((aborted && strstr(words, "past the loop")) || status == 0);
}

/* --- Tasks ended by force --------------------------------------------------------------------- */

static int spin(void *arg)
{
    co_defer(say, "clean");
    while (co_yield_now() != 1) /* for ever */
        if (arg)
            co_sleep(1);
    return 0;
}

static void a_task_deaf_to_its_cancellation_is_ended_by_a_throw_at_the_close(void **state)
{
    (void)state;
    for (int sleeps = 0; sleeps < 2; sleeps++) {
        loop_t *loop = open_loop();
        assert_int_equal(co_go(spin, sleeps ? "x" : NULL), 0);
        loop_run_once(loop, 0);
        assert_int_equal(close_loop(loop), 1);
        assert_string_equal(traced(), "clean");
        assert_int_equal(reports(), 1);
    }
}

static int spin_in_try(void *arg)
{
    while (co_try(spin, arg) != 1)
        ;
    return 0;
}

static void no_try_keeps_it(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(spin_in_try, NULL), 0);
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "clean");
}

static void spin_deferred(void *arg)
{
    spin(arg);
}

static int defer_spinning(void *arg)
{
    co_defer(spin_deferred, arg);
    return spin(arg);
}

static int spin_and_throw(void *arg)
{
    co_defer(throw_call, "while it is being ended");
    return spin(arg);
}

static int try_again_for_ever(void *arg)
{
    while (co_try(spin_and_throw, arg) < 0)
        ;
    return 0;
}

static int wait_shielded(void *arg)
{
    co_defer(say, "clean");
    for (;;)
        co_shield() co_sleep(-1);
    return arg ? 1 : 0;
}

static int close_with(co_fn *fn)
{
    loop_t *loop = open_loop();
    if (co_go(fn, NULL) < 0)
        return 1;
    loop_run_once(loop, 0);
    return loop_close(loop) == 1 ? 0 : 2;
}

static int close_waiting_shielded(void)
{
    return close_with(wait_shielded);
}
static int close_spinning_deferred(void)
{
    return close_with(defer_spinning);
}
static int close_thrown_again(void)
{
    return close_with(try_again_for_ever);
}

static void one_that_waits_shielded_for_ever_is_ended_too(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(close_waiting_shielded), 0);
}

static void one_whose_deferred_call_is_deaf_is_ended_too(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(close_spinning_deferred), 0);
}

static void one_whose_deferred_call_throws_into_a_try_is_ended_too(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(close_thrown_again), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(throws_are_caught_outside_coroutines_too),
        cmocka_unit_test(a_task_in_a_loop_that_runs_in_a_try_is_on_its_own),
        cmocka_unit_test(caught_by_nobody_a_throw_outside_aborts_with_its_message),
        cmocka_unit_test(a_throw_past_a_running_loop_leaves_no_broken_loop),
        cmocka_unit_test(a_task_deaf_to_its_cancellation_is_ended_by_a_throw_at_the_close),
        cmocka_unit_test(no_try_keeps_it),
        cmocka_unit_test(one_that_waits_shielded_for_ever_is_ended_too),
        cmocka_unit_test(one_whose_deferred_call_is_deaf_is_ended_too),
        cmocka_unit_test(one_whose_deferred_call_throws_into_a_try_is_ended_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
