/* Closing a loop: with calls, watchers and every kind of task left. */
#include "support.h"

#include <pthread.h>
#include <signal.h>

static loop_t *loop;

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void expect_close(int cancelled, const char *expected)
{
    assert_int_equal(close_loop(loop), cancelled);
    assert_string_equal(traced(), expected);
}

static void hold_on(void *arg)
{
    (void)arg;
}

/* --- Without tasks ---------------------------------------------------------------------------- */

static void closing_null_and_an_unused_loop_is_nothing(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_close(NULL), 0);
    expect_close(0, "");
    assert_null(loop_current());
}

static void pending_calls_are_dropped_and_fds_of_the_user_stay_open(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    loop_handle_t handle = {0};
    loop = open_loop();
    make_socketpair(fds);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_add_writer(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_call_soon(loop, say, "no", NULL), 0);
    assert_int_equal(loop_call_soon(loop, say, "no", &handle), 0);
    assert_int_equal(loop_call_later(loop, 1, say, "no", NULL), 0);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "no"), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, say, "no"), 0);
    loop_hold(loop);
    raise(SIGUSR1);
    expect_close(0, "");
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
}

static void stop_and_reschedule(void *arg)
{
    trace("ran");
    loop_stop(loop);
    assert_int_equal(loop_call_soon(loop, stop_and_reschedule, arg, NULL), 0);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "no"), 0);
}

static void a_stopped_loop_is_closed_with_what_it_had_not_got_round_to(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, stop_and_reschedule, NULL, NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    expect_close(0, "ran");
}

/* --- Tasks that end when asked ---------------------------------------------------------------- */

static int tidy_up(void *name)
{
    int rc = co_sleep(-1);
    trace("%s:%d", (const char *)name, rc == -ECANCELED);
    return rc;
}

static void parked_tasks_are_cancelled_in_the_order_of_their_spawning(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(tidy_up, "a"), 0);
    assert_int_equal(co_go(tidy_up, "b"), 0);
    co_task_release(loop_spawn(loop, tidy_up, "c"));
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(3, "a:1 b:1 c:1");
    assert_int_equal(reports(), 0);
}

static void a_task_that_never_began_runs_and_finds_itself_cancelled(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(tidy_up, "new"), 0);
    expect_close(1, "new:1");
    assert_int_equal(reports(), 0);
}

static int clean_up_in_a_shield(void *arg)
{
    int rc = co_sleep(-1);
    co_shield()
    {
        CHECK_INT(co_sleep(1000), 0);
        trace("clean%lld", (long long)(loop_time(arg) / MS));
    }
    return rc;
}

static void shielded_cleaning_up_gets_the_time_it_needs(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(clean_up_in_a_shield, loop), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "clean1000");
    assert_int_equal(reports(), 0);
}

static int sleep_in_a_shield(void *ms)
{
    co_shield()
    {
        CHECK_INT(co_sleep((intptr_t)ms), 0);
        trace("slept%lld", (long long)(loop_time(loop) / MS));
    }
    return co_yield_now();
}

/* The calls are taken out of the heap from between the sleepers' timers. */
static void shielded_sleep_that_has_begun_goes_on_though_calls_are_dropped(void **state)
{
    enum { SLEEPERS = 20 };
    static loop_handle_t handles[SLEEPERS];
    (void)state;
    loop = open_loop();
    for (intptr_t i = SLEEPERS; i > 0; i--) {
        assert_int_equal(loop_call_later(loop, 2 * i, say, "no", NULL), 0);
        assert_int_equal(loop_call_later(loop, 2 * i, say, "no", &handles[i - 1]), 0);
        assert_int_equal(co_go(sleep_in_a_shield, (void *)(2 * i + 1)), 0);
    }
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(SLEEPERS, "slept3 slept5 slept7 slept9 slept11 slept13 slept15 slept17 slept19 "
                           "slept21 slept23 slept25 slept27 slept29 slept31 slept33 slept35 "
                           "slept37 slept39 slept41");
    assert_int_equal(reports(), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_false(loop_cancel(&handles[i]));
}

static int fail_when_cancelled(void *arg)
{
    (void)arg;
    co_sleep(-1);
    return co_fail(-EIO, "could not save");
}

static void a_failure_during_the_close_is_reported(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(fail_when_cancelled, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "");
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "could not save"));
}

static int await_child(void *arg)
{
    (void)arg;
    int rc = co_await_task(co_spawn(tidy_up, "child"));
    trace("parent:%d", rc == -ECANCELED);
    return rc;
}

static void parents_outlive_the_children_they_wait_for(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(await_child, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(2, "child:1 parent:1");
    assert_int_equal(reports(), 0);
}

static void tell(co_task_t *task, void *arg)
{
    trace("%s%d", (const char *)arg, co_task_result(task) == -ECANCELED);
}

static void done_callbacks_of_cancelled_tasks_are_called(void **state)
{
    (void)state;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, tidy_up, "a");
    assert_int_equal(co_task_add_done_callback(task, tell, "done"), 0);
    co_task_release(task);
    expect_close(1, "a:1 done1");
}

static int use_the_loop(void *arg)
{
    (void)arg;
    co_sleep(-1);
    CHECK_INT(loop_close(loop), -EBUSY);
    CHECK_INT(loop_run(loop), -EBUSY);
    CHECK_INT(loop_call_soon(loop, say, "soon", NULL), 0);
    CHECK_INT(loop_call_later(loop, 5000, say, "no", NULL), 0);
    CHECK_INT(loop_call_soon_threadsafe(loop, hold_on, NULL), 0);
    loop_stop(loop);
    co_shield()
    {
        CHECK_INT(co_sleep(5), 0);
    }
    trace("task");
    return 0;
}

static void a_task_may_use_the_loop_while_it_is_being_closed(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(use_the_loop, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "soon task");
    assert_int_equal(reports(), 0);
}

static int await_fd(void *arg)
{
    int rc = co_await_fd(*(int *)arg, CO_READ);
    trace("fd:%d", rc == -ECANCELED);
    return rc;
}

static void tasks_waiting_for_fds_beside_a_watcher_are_cancelled(void **state)
{
    (void)state;
    int fds[2];
    loop = open_loop();
    make_pipe(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(co_go(await_fd, &fds[0]), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "fd:1");
    close(fds[0]);
    close(fds[1]);
}

/* A task that needs the answer of a thread before it can go: loop_close waits for the hold. */
static co_scope_t waiting;

static void answer(void *arg)
{
    (void)arg;
    trace("answered");
    co_scope_cancel(&waiting);
    loop_release(loop);
}

static void *work(void *arg)
{
    return loop_call_soon_threadsafe(loop, answer, NULL) == 0 ? NULL : arg;
}

static int wait_for_the_thread(void *arg)
{
    pthread_t thread;
    void *failed = arg;
    int rc = co_sleep(-1);
    co_shield()
    {
        co_scope_enter(&waiting, -1);
        loop_hold(loop);
        CHECK_INT(pthread_create(&thread, NULL, work, &waiting), 0);
        co_sleep(-1);
        co_scope_leave(&waiting);
    }
    pthread_join(thread, &failed);
    trace("ended%d", failed == NULL);
    return rc;
}

static void a_hold_is_waited_for(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(wait_for_the_thread, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "answered ended1");
    assert_int_equal(reports(), 0);
}

/* --- Tasks that do not ------------------------------------------------------------------------ */

static int shield_for_ever(void *arg)
{
    (void)arg;
    int rc = 0;
    co_shield() rc = co_sleep(-1);
    trace("shielded:%d", rc == -ECANCELED);
    return rc;
}

static int ignore_for_ever(void *arg)
{
    (void)arg;
    while (co_sleep(-1) <= 0)
        ;
    return 0;
}

static int ignore_politely(void *arg)
{
    (void)arg;
    while (co_yield_now() <= 0)
        ;
    return 0;
}

static int catch_for_ever(void *arg)
{
    while (co_try(ignore_for_ever, arg) <= 0)
        ;
    return 0;
}

static int shield_each_sleep(void *arg)
{
    (void)arg;
    for (int rc = 0; rc <= 0;)
        co_shield() rc = co_sleep(-1);
    return 0;
}

/* One such task is ended with a report, and what it deferred is done. */
static int with_a_defer(void *arg)
{
    co_fn *fn = *(co_fn **)arg;
    co_defer(say, "deferred");
    return fn(NULL);
}

static void expect_forced(co_fn *fn, const char *expected)
{
    loop = open_loop();
    assert_int_equal(co_go(with_a_defer, &fn), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, expected);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "with_a_defer"));
}

static void a_task_shielded_for_ever_is_reported_and_interrupted(void **state)
{
    (void)state;
    expect_forced(shield_for_ever, "shielded:1 deferred");
}

static void tasks_that_ignore_their_cancellation_are_reported_and_ended(void **state)
{
    (void)state;
    expect_forced(ignore_for_ever, "deferred");
    expect_forced(ignore_politely, "deferred");
    expect_forced(catch_for_ever, "deferred");
    expect_forced(shield_each_sleep, "deferred");
}

static void a_watcher_and_a_signal_handler_do_not_keep_a_shielded_task_for_ever(void **state)
{
    (void)state;
    int fds[2];
    loop = open_loop();
    make_pipe(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, say, "no"), 0);
    assert_int_equal(co_go(shield_for_ever, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "shielded:1");
    assert_int_equal(reports(), 1);
    close(fds[0]);
    close(fds[1]);
}

static void tick(void *handle)
{
    assert_int_equal(loop_call_later(loop, 10, tick, handle, handle), 0);
}

static void a_periodic_timer_does_not_keep_a_shielded_task_for_ever(void **state)
{
    (void)state;
    loop_handle_t handle = {0};
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, 10, tick, &handle, &handle), 0);
    assert_int_equal(co_go(shield_for_ever, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    expect_close(1, "shielded:1");
}

/* --- Tasks that spawn others during the close ------------------------------------------------- */

static int spawn_when_cancelled(void *fn)
{
    int rc = co_sleep(-1);
    CHECK_INT(co_go(*(co_fn **)fn, "late"), 0);
    return rc;
}

static void expect_close_with_late_task(co_fn *fn, const char *expected)
{
    loop = open_loop();
    assert_int_equal(co_go(spawn_when_cancelled, &fn), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_true(close_loop(loop) >= 1);
    assert_string_equal(traced(), expected);
}

static int say_something(void *word)
{
    say(word);
    return 0;
}

static int say_after_a_while(void *word)
{
    int rc = co_sleep(10);
    trace("%s:%d", (const char *)word, rc);
    return rc;
}

static void a_task_spawned_during_the_close_runs_and_ends_too(void **state)
{
    (void)state;
    expect_close_with_late_task(say_something, "late");
    expect_close_with_late_task(tidy_up, "late:1");
    assert_int_equal(reports(), 0);
}

static void a_sleeping_task_spawned_during_the_close_is_cancelled(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof expected, "late:%d", -ECANCELED);
    expect_close_with_late_task(say_after_a_while, expected);
}

static void a_task_spawned_during_the_close_that_never_ends_is_ended(void **state)
{
    (void)state;
    expect_close_with_late_task(ignore_for_ever, "");
    expect_close_with_late_task(ignore_politely, "");
    expect_close_with_late_task(shield_for_ever, "shielded:1");
}

static int respawn(void *arg)
{
    int *left = arg;
    int rc = co_sleep(-1);
    if (--*left)
        CHECK_INT(co_go(respawn, arg), 0);
    return rc;
}

static void a_task_that_leaves_a_successor_is_followed_to_the_last(void **state)
{
    (void)state;
    int left = 50;
    loop = open_loop();
    assert_int_equal(co_go(respawn, &left), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_true(close_loop(loop) >= 1);
    assert_int_equal(left, 0);
    assert_int_equal(reports(), 0);
}

static void log_in_a_task(loop_t *in, const loop_exception_t *exception, void *arg)
{
    (void)arg, (void)exception;
    co_task_release(loop_spawn(in, say_something, "logged"));
}

static void an_exception_handler_may_spawn_during_the_close(void **state)
{
    (void)state;
    loop = open_loop();
    loop_set_exception_handler(loop, log_in_a_task, NULL);
    assert_int_equal(co_go(shield_for_ever, NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_true(close_loop(loop) >= 1);
    assert_non_null(strstr(traced(), "logged"));
    assert_non_null(strstr(traced(), "shielded:1"));
}

static void many_tasks_are_cancelled_without_memory(void **state)
{
    (void)state;
    loop = open_loop();
    for (int i = 0; i < 100; i++)
        assert_int_equal(co_go(tidy_up, "x"), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    fail_allocation(1, true);
    assert_int_equal(close_loop(loop), 100);
    assert_int_equal(reports(), 0);
    assert_int_equal(strlen(traced()), 100 * 4 - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_null_and_an_unused_loop_is_nothing),
        cmocka_unit_test(pending_calls_are_dropped_and_fds_of_the_user_stay_open),
        cmocka_unit_test(a_stopped_loop_is_closed_with_what_it_had_not_got_round_to),
        cmocka_unit_test(parked_tasks_are_cancelled_in_the_order_of_their_spawning),
        cmocka_unit_test(a_task_that_never_began_runs_and_finds_itself_cancelled),
        cmocka_unit_test(shielded_cleaning_up_gets_the_time_it_needs),
        cmocka_unit_test(shielded_sleep_that_has_begun_goes_on_though_calls_are_dropped),
        cmocka_unit_test(a_failure_during_the_close_is_reported),
        cmocka_unit_test(parents_outlive_the_children_they_wait_for),
        cmocka_unit_test(done_callbacks_of_cancelled_tasks_are_called),
        cmocka_unit_test(a_task_may_use_the_loop_while_it_is_being_closed),
        cmocka_unit_test(tasks_waiting_for_fds_beside_a_watcher_are_cancelled),
        cmocka_unit_test(a_hold_is_waited_for),
        cmocka_unit_test(a_task_shielded_for_ever_is_reported_and_interrupted),
        cmocka_unit_test(tasks_that_ignore_their_cancellation_are_reported_and_ended),
        cmocka_unit_test(a_watcher_and_a_signal_handler_do_not_keep_a_shielded_task_for_ever),
        cmocka_unit_test(a_periodic_timer_does_not_keep_a_shielded_task_for_ever),
        cmocka_unit_test(a_task_spawned_during_the_close_runs_and_ends_too),
        cmocka_unit_test(a_sleeping_task_spawned_during_the_close_is_cancelled),
        cmocka_unit_test(a_task_spawned_during_the_close_that_never_ends_is_ended),
        cmocka_unit_test(a_task_that_leaves_a_successor_is_followed_to_the_last),
        cmocka_unit_test(an_exception_handler_may_spawn_during_the_close),
        cmocka_unit_test(many_tasks_are_cancelled_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
