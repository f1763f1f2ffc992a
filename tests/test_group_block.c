/* The block form of groups: however the block is left, its children have ended by then. */
#include "support.h"

struct job {
    const char *name;
    int64_t ms;
    int result;
};

static int work(void *arg)
{
    const struct job *job = arg;
    int rc = job->ms ? co_sleep(job->ms) : 0;
    trace("%s%s", job->name, rc < 0 ? "-" : "");
    return rc < 0 ? rc : job->result;
}

static int linger(void *arg)
{
    const struct job *job = arg;
    int rc = co_sleep(-1);
    co_shield() co_sleep(job->ms);
    trace("%s%s", job->name, rc < 0 ? "!" : "");
    return job->result;
}

static struct job a = {"a", 5, 1}, b = {"b", 10, 2}, now = {"now", 0, 4};
static struct job for_ever = {"e", -1, 0}, bad = {"bad", 10, -EIO}, slow = {"slow", 30, 5};

static void say(void *word)
{
    trace("%s", (const char *)word);
}

/* --- Left at the end -------------------------------------------------------------------------- */

static int leave_at_end(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &b), 0);
        CHECK_INT(co_group_spawn(g, work, &a), 0);
        CHECK_INT(co_sleep(7), 0);
        CHECK_INT(co_group_spawn(g, work, &a), 0);
        trace("end");
    }
    trace("joined");
    co_group(g, NULL) CHECK_INT(co_group_spawn(g, work, &now), 0);
    return rc;
}

static void at_its_end_the_children_are_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_at_end, NULL), 0);
    assert_string_equal(traced(), "a end b a joined now");
}

static int leave_empty(void *arg)
{
    int first = 1, second = 1;
    co_group(g, &first) trace("body");
    if (arg)
        co_group(g, &second) trace("if");
    else
        trace("else");
    CHECK_INT(second, arg ? 0 : 1);
    return first;
}

static void an_empty_block_is_a_statement_like_any_other(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_empty, "x"), 0);
    assert_string_equal(traced(), "body if");
    assert_int_equal(run_task(leave_empty, NULL), 0);
    assert_string_equal(traced(), "body else");
}

static int leave_by_continue(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &a), 0);
        if (arg)
            continue;
        trace("not here");
    }
    trace("joined");
    return rc;
}

static void continue_goes_to_its_end(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_by_continue, "x"), 0);
    assert_string_equal(traced(), "a joined");
}

/* --- Failures --------------------------------------------------------------------------------- */

static int be_interrupted(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &bad), 0);
        CHECK_INT(co_group_spawn(g, linger, &slow), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
        CHECK_INT(co_yield_now(), -ECANCELED);
        CHECK_INT(co_group_spawn(g, work, &now), -ECANCELED);
        co_shield() CHECK_INT(co_sleep(1), 0);
        trace("body");
    }
    trace("joined");
    CHECK_INT(co_yield_now(), 0); /* outside nothing was cancelled */
    CHECK(!co_task_cancelled(co_self()));
    return rc;
}

static void a_failing_child_interrupts_the_body(void **state)
{
    (void)state;
    assert_int_equal(run_task(be_interrupted, NULL), -EIO);
    assert_string_equal(traced(), "bad body slow! joined");
}

static int cancel_in_body(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_yield_now(), 0);
        co_group_cancel(g);
        CHECK_INT(co_sleep(1), -ECANCELED);
        CHECK_INT(co_group_spawn(g, work, &now), -ECANCELED);
        co_group_cancel(g);
    }
    CHECK_INT(co_yield_now(), 0);
    return rc;
}

static void cancelling_it_interrupts_children_and_body(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_in_body, NULL), 0);
    assert_string_equal(traced(), "e-");
}

static int wait_inside(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &b), 0);
        CHECK_INT(co_group_wait(g), 0);
        trace("waited");
        CHECK_INT(co_group_spawn(g, work, &a), 0);
    }
    return rc;
}

static void the_body_may_wait_itself_and_go_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_inside, NULL), 0);
    assert_string_equal(traced(), "b waited a");
}

/* --- Left early ------------------------------------------------------------------------------- */

static int leave_by_return(void *arg)
{
    int *rc = arg;
    co_group(g, rc)
    {
        co_defer(say, "deferred");
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, linger, &slow), 0);
        CHECK_INT(co_sleep(1), 0);
        trace("return");
        return 7;
    }
    return 0;
}

static void left_by_return_it_cancels_the_children_and_waits(void **state)
{
    (void)state;
    int rc = 1;
    assert_int_equal(run_task(leave_by_return, &rc), 7);
    assert_string_equal(traced(), "return deferred e- slow!");
    assert_int_equal(rc, 0);
}

static int leave_by_break(void *arg)
{
    int rc = 1, rounds = 0;
    (void)arg;
    while (rounds++ < 2) {
        co_group(g, &rc)
        {
            CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
            CHECK_INT(co_group_spawn(g, work, &bad), 0);
            if (rounds == 2)
                CHECK_INT(co_sleep(20), -ECANCELED);
            break;
        }
        trace("joined");
        CHECK_INT(rc, rounds == 2 ? -EIO : 0);
    }
    return 0;
}

static void left_by_break_it_cancels_the_children_and_waits(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_by_break, NULL), 0);
    assert_string_equal(traced(), "e- bad- joined bad e- joined");
}

static int leave_by_goto(void *arg)
{
    (void)arg;
    co_group(g, NULL)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_yield_now(), 0);
        goto out;
    }
out:
    trace("joined");
    return 0;
}

static void left_by_goto_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_by_goto, NULL), 0);
    assert_string_equal(traced(), "e- joined");
}

static int throw_out(void *arg)
{
    int *rc = arg;
    co_defer(say, "outer");
    co_group(g, rc)
    {
        co_defer(say, "inner");
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, linger, &slow), 0);
        CHECK_INT(co_yield_now(), 0);
        co_timeout(1000) co_shield() co_throw(-ENOENT, "thrown");
    }
    return 0;
}

static int catch_it(void *arg)
{
    int rc = co_try(throw_out, arg);
    trace("caught");
    CHECK_INT(co_yield_now(), 0);
    const co_error_t *error = co_task_error(co_self());
    CHECK(error && strcmp(error->message, "thrown") == 0);
    return rc;
}

static void left_by_a_throw_it_cancels_the_children_and_waits(void **state)
{
    (void)state;
    int rc = 1;
    assert_int_equal(run_task(catch_it, &rc), -ENOENT);
    assert_string_equal(traced(), "inner e- slow! outer caught");
    assert_int_equal(rc, 0);
}

static void a_throw_that_ends_the_task_waits_for_them_too(void **state)
{
    (void)state;
    int rc = 1;
    loop_t *loop = open_loop();
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, throw_out, &rc)), -ENOENT);
    assert_string_equal(traced(), "inner e- slow! outer");
    assert_int_equal(close_loop(loop), 0);
}

static int fail_while_left(void *arg)
{
    const struct job *job = arg;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    co_throw(job->result, "%s", job->name);
}

static int throw_among_failures(void *arg)
{
    co_group(g, arg)
    {
        CHECK_INT(co_group_spawn(g, fail_while_left, &bad), 0);
        CHECK_INT(co_yield_now(), 0);
        co_throw(-ENOENT, "thrown");
    }
    return 0;
}

static void a_throw_goes_on_in_spite_of_a_failure_of_a_child(void **state)
{
    (void)state;
    int rc = 1;
    loop_t *loop = open_loop();
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, throw_among_failures, &rc)), -ENOENT);
    assert_int_equal(rc, -EIO);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Around and inside ------------------------------------------------------------------------ */

static int two_levels(void *arg)
{
    int outer = 1, inner = 1;
    (void)arg;
    co_group(g, &outer)
    {
        CHECK_INT(co_group_spawn(g, work, &b), 0);
        co_group(h, &inner)
        {
            CHECK_INT(co_group_spawn(h, work, &bad), 0);
            CHECK_INT(co_group_spawn(h, work, &for_ever), 0);
            CHECK_INT(co_sleep(-1), -ECANCELED);
        }
        trace("inner");
        CHECK_INT(co_group_spawn(g, work, &a), 0);
        CHECK_INT(co_yield_now(), 0);
    }
    CHECK_INT(inner, -EIO);
    return outer;
}

static void a_failure_in_an_inner_group_is_none_of_the_outer_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(two_levels, NULL), 0);
    assert_string_equal(traced(), "b bad e- inner a");
}

static int fail_outside(void *arg)
{
    int outer = 1, inner = 1;
    (void)arg;
    co_group(g, &outer)
    {
        CHECK_INT(co_group_spawn(g, work, &bad), 0);
        co_group(h, &inner)
        {
            CHECK_INT(co_group_spawn(h, work, &for_ever), 0);
            CHECK_INT(co_group_spawn(h, linger, &slow), 0);
        }
        trace("inner");
        CHECK_INT(inner, -ECANCELED);
        CHECK_INT(co_yield_now(), -ECANCELED);
    }
    return outer;
}

static void a_failure_in_an_outer_group_cancels_the_inner_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(fail_outside, NULL), -EIO);
    assert_string_equal(traced(), "bad e- slow! inner");
}

static int block_in_time(void *arg)
{
    int rc = 1;
    (void)arg;
    co_timeout(10) co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, linger, &slow), 0);
    }
    CHECK_INT(rc, -ETIMEDOUT);
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &b), 0);
        int inner = 1;
        co_timeout(1) inner = co_sleep(-1);
        CHECK_INT(inner, -ETIMEDOUT); /* a deadline of the body is none of the group */
    }
    return rc;
}

static void deadlines_around_and_inside_the_block(void **state)
{
    (void)state;
    assert_int_equal(run_task(block_in_time, NULL), 0);
    assert_string_equal(traced(), "e- slow! b");
}

static int body_for_ever(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, linger, &slow), 0);
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        trace("%d", co_sleep(-1));
    }
    trace("%d", co_yield_now());
    return rc;
}

static int cancel_body(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(body_for_ever, NULL);
    CHECK_INT(co_sleep(5), 0);
    co_task_cancel(task);
    return co_await_task(task);
}

static void a_task_cancelled_in_the_body_cancels_the_children_at_its_end(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_body, NULL), -ECANCELED);
    assert_string_equal(traced(), "-125 e- slow! -125");
}

static int ten_levels(void *arg)
{
    int depth = *(int *)arg - 1, rc = 1;
    if (depth == 0)
        return work(&for_ever);
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, ten_levels, &depth), 0);
        CHECK_INT(co_group_spawn(g, work, &now), 0);
    }
    return rc;
}

static int cancel_ten_levels(void *arg)
{
    co_task_t *task = co_spawn(ten_levels, arg);
    CHECK_INT(co_sleep(5), 0);
    co_task_cancel(task);
    return co_await_task(task);
}

static void groups_in_groups_end_from_the_innermost(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_ten_levels, (&(int){10})), -ECANCELED);
    assert_string_equal(traced(), "now now now now now now now now now e-");
}

static void outside_a_coroutine_the_body_is_left_out(void **state)
{
    (void)state;
    int rc = 1;
    loop_t *loop = open_loop();
    co_group(g, &rc) fail_msg("entered with %p", (void *)g);
    assert_int_equal(rc, -EPERM);
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_its_end_the_children_are_waited_for),
        cmocka_unit_test(an_empty_block_is_a_statement_like_any_other),
        cmocka_unit_test(continue_goes_to_its_end),
        cmocka_unit_test(a_failing_child_interrupts_the_body),
        cmocka_unit_test(cancelling_it_interrupts_children_and_body),
        cmocka_unit_test(the_body_may_wait_itself_and_go_on),
        cmocka_unit_test(left_by_return_it_cancels_the_children_and_waits),
        cmocka_unit_test(left_by_break_it_cancels_the_children_and_waits),
        cmocka_unit_test(left_by_goto_too),
        cmocka_unit_test(left_by_a_throw_it_cancels_the_children_and_waits),
        cmocka_unit_test(a_throw_that_ends_the_task_waits_for_them_too),
        cmocka_unit_test(a_throw_goes_on_in_spite_of_a_failure_of_a_child),
        cmocka_unit_test(a_failure_in_an_inner_group_is_none_of_the_outer_one),
        cmocka_unit_test(a_failure_in_an_outer_group_cancels_the_inner_one),
        cmocka_unit_test(deadlines_around_and_inside_the_block),
        cmocka_unit_test(a_task_cancelled_in_the_body_cancels_the_children_at_its_end),
        cmocka_unit_test(groups_in_groups_end_from_the_innermost),
        cmocka_unit_test(outside_a_coroutine_the_body_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
