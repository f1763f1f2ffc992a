/* Errors that travel: notes, co_try and co_throw, deferred calls. */
#include "support.h"

#include <stdio.h>

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static bool noted(const co_task_t *task, int code, const char *message)
{
    const co_error_t *error = co_task_error(task);
    return error && error->code == code && strcmp(error->message, message) == 0 &&
           strncmp(error->where, __FILE__ ":", sizeof __FILE__) == 0;
}

/* --- Notes ------------------------------------------------------------------------------------ */

static int note_codes(void *arg)
{
    (void)arg;
    CHECK(co_task_error(co_self()) == NULL);
    CHECK_INT(co_fail(-ENOENT, "no %s", "bread"), -ENOENT);
    CHECK(noted(co_self(), -ENOENT, "no bread"));
    CHECK_INT(co_fail(EIO, "lost %d of %d", 2, 3), -EIO);
    CHECK(noted(co_self(), -EIO, "lost 2 of 3"));
    return 0;
}

static void a_note_has_code_message_and_place_and_the_next_replaces_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(note_codes, NULL), 0);
}

static int place_line;

static int note_place(void *arg)
{
    (void)arg;
    place_line = __LINE__ + 1;
    return co_fail(-EIO, "here");
}

static void the_place_is_that_of_the_call(void **state)
{
    (void)state;
    char place[256];
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, note_place, NULL);
    assert_int_equal(loop_run(loop), 0);
    snprintf(place, sizeof place, "%s:%d", __FILE__, place_line);
    assert_string_equal(co_task_error(task)->where, place);
    assert_int_equal(co_task_result(task), -EIO);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static void outside_a_coroutine_only_the_code_comes_back(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_fail(ENOENT, "no %s", "bread"), -ENOENT);
    assert_int_equal(co_fail(-ENOENT, "no %s", "bread"), -ENOENT);
    assert_int_equal(close_loop(loop), 0);
}

static int note_and_return(void *arg)
{
    co_fail(-ENOENT, "a note");
    return *(int *)arg;
}

static void a_note_is_kept_while_the_handle_is_and_only_if_it_fits_the_result(void **state)
{
    (void)state;
    int results[] = {-ENOENT, -EIO, 0, 5};
    loop_t *loop = open_loop();
    for (int i = 0; i < 4; i++) {
        co_task_t *task = loop_spawn(loop, note_and_return, &results[i]);
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(co_task_result(task), results[i]);
        assert_true(i == 0 ? noted(task, -ENOENT, "a note") : !co_task_error(task));
        co_task_release(task);
    }
    assert_int_equal(close_loop(loop), 0);
}

static int wrap_note(void *arg)
{
    static char expected[20000];
    (void)arg;
    co_fail(-EIO, "end");
    strcpy(expected, "end");
    for (int i = 0; i < 2000; i++)
        co_fail(-EIO, "in: %s", co_task_error(co_self())->message);
    for (int i = 0; i < 2000; i++)
        strcat(strcpy(expected + (size_t)i * 4, "in: "), "end");
    CHECK(noted(co_self(), -EIO, expected));
    return 0;
}

static void a_note_may_quote_the_one_before_and_be_long(void **state)
{
    (void)state;
    assert_int_equal(run_task(wrap_note, NULL), 0);
}

static int note_without_memory(void *arg)
{
    (void)arg;
    co_fail(-ENOENT, "old");
    fail_allocation(1, true);
    int rc = co_fail(-ENOENT, "new");
    fail_allocation(0, false);
    CHECK(co_task_error(co_self()) == NULL); /* not the old one */
    return rc;
}

static int throw_something(void *message)
{
    co_throw(-EIO, "%s", (const char *)message);
}

static int throw_without_memory(void *arg)
{
    fail_allocation(1, true);
    int rc = co_try(throw_something, arg);
    fail_allocation(0, false);
    CHECK_INT(rc, -EIO);
    return 0;
}

static void without_memory_for_the_note_the_code_still_stands(void **state)
{
    (void)state;
    assert_int_equal(run_task(note_without_memory, NULL), -ENOENT);
    assert_int_equal(run_task(throw_without_memory, "x"), 0);
}

/* --- Throwing --------------------------------------------------------------------------------- */

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

static int throw_positive(void *arg)
{
    (void)arg;
    co_throw(EPIPE, "positive");
}

static int try_things(void *arg)
{
    (void)arg;
    CHECK_INT(co_try(return_arg, (void *)5), 5);
    CHECK_INT(co_try(return_arg, (void *)-EIO), -EIO);
    CHECK_INT(co_try(throw_something, "thrown"), -EIO);
    CHECK(noted(co_self(), -EIO, "thrown"));
    CHECK_INT(co_try(throw_positive, NULL), -EPIPE);
    for (int i = 0; i < 1000; i++)
        CHECK_INT(co_try(throw_something, "again"), -EIO);
    return co_try(return_arg, (void *)6);
}

static void a_try_returns_what_was_returned_or_thrown(void **state)
{
    (void)state;
    assert_int_equal(run_task(try_things, NULL), 6);
}

static int rethrow(void *arg)
{
    int rc = co_try(throw_something, arg);
    trace("inner%d", rc == -EIO);
    co_throw(-EPIPE, "outer, after %s", co_task_error(co_self())->message);
}

static int try_twice(void *arg)
{
    int rc = co_try(rethrow, arg);
    trace("outer%d", rc == -EPIPE);
    CHECK(noted(co_self(), -EPIPE, "outer, after inner"));
    return 0;
}

static void tries_nest(void **state)
{
    (void)state;
    assert_int_equal(run_task(try_twice, "inner"), 0);
    assert_string_equal(traced(), "inner1 outer1");
}

static int sleep_and_throw(void *arg)
{
    CHECK_INT(co_sleep(5), 0);
    co_timeout(5) CHECK_INT(co_sleep(10), -ETIMEDOUT);
    trace("%s", (const char *)arg);
    return throw_something(arg);
}

static int try_and_sleep(void *arg)
{
    CHECK_INT(co_try(sleep_and_throw, arg), -EIO);
    return co_sleep(5);
}

static void tries_of_several_tasks_do_not_meet(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *tasks[3];
    static char *const words[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        tasks[i] = loop_spawn(loop, try_and_sleep, words[i]);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a b c");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(co_task_result(tasks[i]), 0);
        co_task_release(tasks[i]);
    }
    assert_int_equal(close_loop(loop), 0);
}

static int throw_deep(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    co_defer(say, depth ? "-" : "bottom");
    if (depth == 0)
        co_throw(-EIO, "from the depth");
    co_timeout(100) throw_deep((void *)(depth - 1));
    return 1;
}

static int try_deep(void *arg)
{
    CHECK_INT(co_try(throw_deep, arg), -EIO);
    return 0;
}

static void a_throw_passes_many_frames(void **state)
{
    (void)state;
    assert_int_equal(run_task(try_deep, (void *)40), 0);
    assert_int_equal(strlen(traced()), strlen("bottom") + 40 * 2);
    assert_int_equal(strncmp(traced(), "bottom - -", 10), 0);
}

static void say_interrupted(void *word)
{
    trace("%s%s", (const char *)word, co_sleep(5) == 0 ? "" : "!");
}

/* Each deferred call tells which scopes it still is in, by sleeping. */
static int cross_frames(void *arg)
{
    co_defer(say_interrupted, "outside");
    co_timeout(10)
    {
        co_defer(say_interrupted, "late");
        co_shield()
        {
            co_defer(say_interrupted, "shielded");
            CHECK_INT(co_sleep(20), 0);
            co_defer(say, "last");
            throw_something(arg);
        }
    }
    return 1;
}

static int try_cross(void *arg)
{
    CHECK_INT(co_try(cross_frames, arg), -EIO);
    return co_sleep(5);
}

static void scopes_and_deferred_calls_are_undone_innermost_first(void **state)
{
    (void)state;
    assert_int_equal(run_task(try_cross, "x"), 0);
    assert_string_equal(traced(), "last shielded late! outside");
}

static int throw_away(void *arg)
{
    co_defer(say, "deferred");
    co_timeout(5) return throw_something(arg);
    return 1;
}

static void keep_task(loop_t *loop, const loop_exception_t *exception, void *task)
{
    (void)loop;
    trace("%s", exception->message);
    trace("%d", exception->error == -EIO && exception->task == *(co_task_t **)task);
    trace("%d", exception->where && strstr(exception->where, __FILE__) != NULL);
}

static void caught_by_nobody_a_throw_ends_the_task_and_is_reported(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, throw_away, "it broke");
    loop_set_exception_handler(loop, keep_task, &task);
    co_task_release(task);
    assert_int_equal(loop_run(loop), 0);
    assert_non_null(strstr(traced(), "deferred "));
    assert_non_null(strstr(traced(), "it broke 1 1"));
    assert_non_null(strstr(traced(), "throw_away"));
    assert_int_equal(close_loop(loop), 0);
}

static int await_thrower(void *arg)
{
    CHECK_INT(co_await_task(co_spawn(throw_away, arg)), -EIO);
    CHECK(noted(co_self(), -EIO, "it broke"));
    return 0;
}

static void thrown_out_of_a_task_it_reaches_who_awaits_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_thrower, "it broke"), 0);
}

static int spawn_throwers(void *arg)
{
    for (int i = 0; i < 300; i++) {
        int rc = co_await_task(co_spawn(i % 3 ? throw_something : return_arg, arg));
        CHECK_INT(rc, i % 3 ? -EIO : 0);
    }
    return 0;
}

static void the_stack_of_a_task_ended_by_a_throw_is_used_again(void **state)
{
    (void)state;
    loop_stats_t stats;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, spawn_throwers, NULL);
    assert_int_equal(loop_run_until(loop, task), 0);
    loop_stats(loop, &stats);
    assert_true(stats.stacks < 10);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Deferred calls --------------------------------------------------------------------------- */

static int defer_in_blocks(void *arg)
{
    (void)arg;
    co_defer(say, "1");
    co_defer(say, "2");
    {
        co_defer(say, "inner");
    }
    for (int i = 0; i < 3; i++) {
        co_defer(say, "round");
        if (i == 0)
            continue;
        break;
    }
    trace("end");
    return 0;
}

static void deferred_calls_are_made_in_the_reverse_order_when_their_block_is_left(void **state)
{
    (void)state;
    assert_int_equal(run_task(defer_in_blocks, NULL), 0);
    assert_string_equal(traced(), "inner round round end 2 1");
    loop_t *loop = open_loop();
    assert_int_equal(defer_in_blocks(NULL), 0); /* outside coroutines too */
    assert_string_equal(traced(), "inner round round end 2 1");
    assert_int_equal(close_loop(loop), 0);
}

static void throw_deferred(void *message)
{
    trace("throws");
    throw_something(message);
}

static int throw_when_left(void *arg)
{
    co_defer(say, "outer");
    {
        co_defer(throw_deferred, "second");
        co_defer(say, "inner");
        if (arg)
            co_throw(-EPIPE, "first");
    }
    trace("not here");
    return 1;
}

static int try_throw_when_left(void *arg)
{
    CHECK_INT(co_try(throw_when_left, arg), -EIO);
    CHECK(noted(co_self(), -EIO, "second"));
    trace("caught");
    return 0;
}

static void a_deferred_call_may_throw(void **state)
{
    (void)state;
    assert_int_equal(run_task(try_throw_when_left, NULL), 0);
    assert_string_equal(traced(), "inner throws outer caught");
    assert_int_equal(run_task(try_throw_when_left, "x"), 0);
    assert_string_equal(traced(), "inner throws outer caught");
}

static void a_deferred_call_may_throw_out_of_the_task(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        loop_t *loop = open_loop();
        co_task_t *task = loop_spawn(loop, throw_when_left, first ? "x" : NULL);
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(co_task_result(task), -EIO);
        assert_true(noted(task, -EIO, "second"));
        assert_string_equal(traced(), "inner throws outer");
        co_task_release(task);
        assert_int_equal(close_loop(loop), 0);
    }
}

static void try_deferred(void *arg)
{
    (void)arg;
    trace("%d", co_try(throw_positive, NULL) == -EPIPE);
}

static int try_while_unwinding(void *arg)
{
    (void)arg;
    co_defer(say, "outer");
    co_defer(try_deferred, NULL);
    co_throw(-EIO, "first");
}

static int catch_it(void *arg)
{
    CHECK_INT(co_try(try_while_unwinding, arg), -EIO);
    return 0;
}

static void a_deferred_call_may_try_something_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(run_task(catch_it, NULL), 0);
    assert_string_equal(traced(), "1 outer");
}

static int throw_when_cancelled(void *arg)
{
    co_defer(say_interrupted, "unshielded");
    co_defer(say, "clean");
    int rc = co_sleep(-1);
    if (rc < 0)
        co_throw(rc, "%s", (const char *)arg);
    return 0;
}

static void a_cancelled_task_may_end_by_a_throw(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(throw_when_cancelled, "cancelled"), 0);
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "clean unshielded!");
    assert_string_equal(reported(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_has_code_message_and_place_and_the_next_replaces_it),
        cmocka_unit_test(the_place_is_that_of_the_call),
        cmocka_unit_test(outside_a_coroutine_only_the_code_comes_back),
        cmocka_unit_test(a_note_is_kept_while_the_handle_is_and_only_if_it_fits_the_result),
        cmocka_unit_test(a_note_may_quote_the_one_before_and_be_long),
        cmocka_unit_test(without_memory_for_the_note_the_code_still_stands),
        cmocka_unit_test(a_try_returns_what_was_returned_or_thrown),
        cmocka_unit_test(tries_nest),
        cmocka_unit_test(tries_of_several_tasks_do_not_meet),
        cmocka_unit_test(a_throw_passes_many_frames),
        cmocka_unit_test(scopes_and_deferred_calls_are_undone_innermost_first),
        cmocka_unit_test(caught_by_nobody_a_throw_ends_the_task_and_is_reported),
        cmocka_unit_test(thrown_out_of_a_task_it_reaches_who_awaits_it),
        cmocka_unit_test(the_stack_of_a_task_ended_by_a_throw_is_used_again),
        cmocka_unit_test(deferred_calls_are_made_in_the_reverse_order_when_their_block_is_left),
        cmocka_unit_test(a_deferred_call_may_throw),
        cmocka_unit_test(a_deferred_call_may_throw_out_of_the_task),
        cmocka_unit_test(a_deferred_call_may_try_something_of_its_own),
        cmocka_unit_test(a_cancelled_task_may_end_by_a_throw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
