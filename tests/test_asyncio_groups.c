/* Groups where Python's tests of asyncio.TaskGroup ask for more than test_group*.c; the table is in
 * asyncio_conformance.md. */
#include "test_asyncio.h"

static struct job soon = {"soon", 5, 0}, for_ever = {"e", -1, 0};
static struct job bad = {"bad", 10, -EIO}, dies_badly = {"dies", 5, -EIO};
static struct job outer_bad = {"outer", 0, -EPIPE}, crash = {"crash", 40, -EIO};

/* Runs fn as a task, cancels it after 20 ms, and returns what it ends with. */
static int start_and_cancel(void *fn)
{
    co_task_t *task = co_spawn(*(co_fn **)fn, NULL);
    CHECK_INT(co_sleep(20), 0);
    CHECK(!co_task_done(task));
    co_task_cancel(task);
    return co_await_task(task);
}

static int cancel_while_it_runs(co_fn *fn)
{
    return run_reporting(start_and_cancel, &fn);
}

/* --- Children that are cancelled or fail ------------------------------------------------------ */

static int tell_handle_and_sleep(void *arg)
{
    *(co_task_t **)arg = co_self();
    return work(&for_ever);
}

static int cancel_one_child(void *arg)
{
    int rc = 1;
    co_task_t *child = NULL;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, tell_handle_and_sleep, &child), 0);
        CHECK_INT(co_yield_now(), 0);
        co_task_cancel(child);
        CHECK_INT(co_group_spawn(g, work, &soon), 0);
        CHECK_INT(co_sleep(1), 0);
    }
    return rc;
}

static void a_child_that_somebody_cancels_leaves_group_and_body_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_one_child, NULL), 0);
    assert_string_equal(traced(), "e- soon");
}

static int three_fail_at_once(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        for (int i = 0; i < 3; i++)
            CHECK_INT(co_group_spawn(g, work, &bad), 0);
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        trace("body%d", co_sleep(-1));
    }
    return rc;
}

/* Python collects all of them in one exception; here the group tells the first. */
static void of_several_failures_in_one_moment_the_others_are_reported(void **state)
{
    (void)state;
    assert_int_equal(run_reporting(three_fail_at_once, NULL), -EIO);
    assert_string_equal(traced(), "bad bad bad e- body-125");
    assert_int_equal(reports(), 2);
}

static co_group_t *own_group;

static int fail_now(void *arg)
{
    (void)arg;
    trace("fails");
    return -EIO;
}

static int spawn_one_that_fails(void *arg)
{
    (void)arg;
    CHECK_INT(co_group_spawn(own_group, fail_now, NULL), 0);
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = co_yield_now();
    trace("%s", rc == -ECANCELED ? "cancelled" : "?");
    return rc;
}

static int fail_in_a_grandchild(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        own_group = g;
        CHECK_INT(co_group_spawn(g, spawn_one_that_fails, NULL), 0);
    }
    return rc;
}

static void a_child_is_cancelled_by_the_failure_of_one_that_it_spawned(void **state)
{
    (void)state;
    assert_int_equal(run_task(fail_in_a_grandchild, NULL), -EIO);
    assert_string_equal(traced(), "fails cancelled");
}

/* --- Groups in groups ------------------------------------------------------------------------- */

static int nest_and_sleep(void *arg)
{
    int outer = 1, inner = 1;
    (void)arg;
    co_group(g, &outer)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        co_group(h, &inner)
        {
            for (int i = 0; i < 3; i++)
                CHECK_INT(co_group_spawn(h, linger, &dies_badly), 0);
            CHECK_INT(co_sleep(-1), -ECANCELED);
        }
        trace("inner%d", inner);
    }
    return outer;
}

/* Failures are values: the outer group tells of its own children only. */
static void children_that_fail_as_they_are_cancelled_are_told_by_their_own_group(void **state)
{
    (void)state;
    assert_int_equal(cancel_while_it_runs(nest_and_sleep), -ECANCELED);
    assert_string_equal(traced(), "dies! dies! dies! inner-5 e-");
    assert_int_equal(reports(), 2);
}

static int throw_inner_failure(void *arg)
{
    int inner = 1;
    co_group(g, arg)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        co_group(h, &inner)
        {
            CHECK_INT(co_group_spawn(h, work, &bad), 0);
        }
        if (inner < 0)
            co_throw(inner, "inner group");
    }
    return 0;
}

static int catch_inner_failure(void *arg)
{
    int outer = 1;
    (void)arg;
    CHECK_INT(co_try(throw_inner_failure, &outer), -EIO);
    CHECK_INT(outer, 0);
    return co_yield_now();
}

static void the_failure_of_an_inner_group_thrown_on_cancels_the_outer_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(catch_inner_failure, NULL), 0);
    assert_string_equal(traced(), "bad e-");
}

static int fail_in_both(void *arg)
{
    int outer = 1, inner = 1;
    (void)arg;
    co_group(g, &outer)
    {
        co_group(h, &inner)
        {
            CHECK_INT(co_group_spawn(h, fail_now, NULL), 0);
            CHECK_INT(co_group_spawn(g, work, &outer_bad), 0);
        }
        CHECK_INT(inner, -EIO);
        CHECK_INT(co_yield_now(), -ECANCELED); /* the outer one still interrupts */
    }
    CHECK_INT(outer, -EPIPE);
    CHECK(!co_task_cancelled(co_self()));
    return co_yield_now();
}

static void two_groups_that_fail_in_one_moment_each_tell_their_own_failure(void **state)
{
    (void)state;
    assert_int_equal(run_task(fail_in_both, NULL), 0);
    assert_string_equal(traced(), "fails outer");
}

/* --- The body of a cancelled task ------------------------------------------------------------- */

static int clean_up_beside_a_failure(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &crash), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
        co_shield() CHECK_INT(co_sleep(50), 0);
        trace("clean");
    }
    return rc;
}

static int await_that(void *arg)
{
    return co_await_task(co_spawn(clean_up_beside_a_failure, arg));
}

static void a_child_may_fail_while_the_cancelled_body_cleans_up(void **state)
{
    (void)state;
    static co_fn *const ways[] = {clean_up_beside_a_failure, await_that};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cancel_while_it_runs(ways[i]), -EIO);
        assert_string_equal(traced(), "crash clean");
        assert_int_equal(reports(), 0);
    }
}

static int sleep_in_an_empty_group(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        trace("%d", co_sleep(-1));
    }
    trace("left");
    return rc;
}

static void a_group_without_children_whose_task_is_cancelled_says_so(void **state)
{
    (void)state;
    assert_int_equal(cancel_while_it_runs(sleep_in_an_empty_group), -ECANCELED);
    assert_string_equal(traced(), "-125 left");
}

static int throw_when_cancelled(void *arg)
{
    (void)arg;
    co_group(g, NULL)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        if (co_sleep(-1) == -ECANCELED)
            co_throw(-EPIPE, "another error");
    }
    return 0;
}

static void a_cancelled_body_may_leave_with_an_error_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(cancel_while_it_runs(throw_when_cancelled), -EPIPE);
    assert_string_equal(traced(), "e-");
    assert_int_equal(reports(), 0);
}

/* --- Failure and error of the body ------------------------------------------------------------ */

static void throw_something(void *arg)
{
    (void)arg;
    co_throw(-EPIPE, "clean-up");
}

static int throw_in_an_interrupted_body(void *arg)
{
    int *rc = arg;
    co_group(g, rc)
    {
        CHECK_INT(co_group_spawn(g, work, &bad), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
        throw_something(NULL);
    }
    return 0;
}

static int throw_in_its_clean_up(void *arg)
{
    int *rc = arg;
    co_group(g, rc)
    {
        co_defer(throw_something, NULL);
        CHECK_INT(co_group_spawn(g, work, &bad), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
    }
    return 0;
}

static int catch_both_errors(void *body)
{
    int rc = 1;
    CHECK_INT(co_try(*(co_fn **)body, &rc), -EPIPE);
    CHECK_INT(rc, -EIO);
    CHECK(strcmp(co_task_error(co_self())->message, "clean-up") == 0);
    CHECK(!co_task_cancelled(co_self()));
    return co_yield_now();
}

/* Python puts both in one exception. */
static void the_error_of_an_interrupted_body_goes_on_beside_the_failure(void **state)
{
    (void)state;
    assert_int_equal(run_task(catch_both_errors, (&(co_fn *){throw_in_an_interrupted_body})), 0);
    assert_int_equal(run_task(catch_both_errors, (&(co_fn *){throw_in_its_clean_up})), 0);
}

static int fail_after_a_pass(void *parent)
{
    co_task_cancel(parent);
    CHECK_INT(co_yield_now(), 0);
    return -EIO;
}

static int fail_and_be_cancelled(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, fail_after_a_pass, co_self()), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
        co_shield() CHECK_INT(co_sleep(1), 0);
    }
    CHECK_INT(rc, -EIO);
    CHECK(co_task_cancelled(co_self()));
    return co_sleep(-1); /* the cancellation still stands */
}

static void a_failure_does_not_hide_that_the_task_was_cancelled_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(fail_and_be_cancelled, NULL), -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_that_somebody_cancels_leaves_group_and_body_alone),
        cmocka_unit_test(of_several_failures_in_one_moment_the_others_are_reported),
        cmocka_unit_test(a_child_is_cancelled_by_the_failure_of_one_that_it_spawned),
        cmocka_unit_test(children_that_fail_as_they_are_cancelled_are_told_by_their_own_group),
        cmocka_unit_test(the_failure_of_an_inner_group_thrown_on_cancels_the_outer_one),
        cmocka_unit_test(two_groups_that_fail_in_one_moment_each_tell_their_own_failure),
        cmocka_unit_test(a_child_may_fail_while_the_cancelled_body_cleans_up),
        cmocka_unit_test(a_group_without_children_whose_task_is_cancelled_says_so),
        cmocka_unit_test(a_cancelled_body_may_leave_with_an_error_of_its_own),
        cmocka_unit_test(the_error_of_an_interrupted_body_goes_on_beside_the_failure),
        cmocka_unit_test(a_failure_does_not_hide_that_the_task_was_cancelled_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
