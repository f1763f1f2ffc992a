/* Whose message a task ends with that leaves a block early: its own, whatever becomes of the
 * children meanwhile. */
#include "support.h"

static int last_rc;

/* Fails when it is cancelled. */
static int fail_at_the_end(void *arg)
{
    co_sleep(-1);
    return co_fail(*(const int *)arg, "the child's");
}

static int throw_it(void *arg)
{
    co_group(g, &last_rc)
    {
        CHECK_INT(co_group_spawn(g, fail_at_the_end, arg), 0);
        CHECK_INT(co_yield_now(), 0);
        co_throw(-EIO, "the parent's");
    }
    return 0;
}

static int return_it(void *arg)
{
    co_group(g, &last_rc)
    {
        CHECK_INT(co_group_spawn(g, fail_at_the_end, arg), 0);
        CHECK_INT(co_yield_now(), 0);
        return co_fail(-EIO, "the parent's");
    }
    return 0;
}

/* A child has failed before, which interrupts the body. */
static int return_it_late(void *arg)
{
    co_group(g, &last_rc)
    {
        CHECK_INT(co_group_spawn(g, fail_at_the_end, arg), 0);
        CHECK_INT(co_yield_now(), 0);
        co_group_cancel(g);
        co_shield() CHECK_INT(co_sleep(1), 0);
        return co_fail(-EIO, "the parent's");
    }
    return 0;
}

static int nested(void *arg)
{
    co_group(outer, NULL)
    {
        CHECK_INT(co_group_spawn(outer, fail_at_the_end, arg), 0);
        co_group(inner, &last_rc)
        {
            CHECK_INT(co_group_spawn(inner, fail_at_the_end, arg), 0);
            CHECK_INT(co_yield_now(), 0);
            co_throw(-EIO, "the parent's");
        }
    }
    return 0;
}

static int try_it(void *arg)
{
    int rc = co_try(throw_it, arg);
    CHECK_INT(rc, -EIO);
    CHECK(co_task_error(co_self()) != NULL);
    trace("%s", co_task_error(co_self())->message);
    return rc;
}

/* Runs fn in a task whose children end with `code`, and expects the parent's failure. */
static void expect_own_message(co_fn *fn, int code)
{
    loop_t *loop = open_loop();
    co_task_t *task = co_spawn(fn, &code);
    last_rc = 1;
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), -EIO);
    const co_error_t *error = co_task_error(task);
    assert_non_null(error);
    assert_string_equal(error->message, "the parent's");
    assert_int_equal(error->code, -EIO);
    assert_int_equal(last_rc, code);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static void a_thrown_error_keeps_its_message(void **state)
{
    (void)state;
    expect_own_message(throw_it, -ENOENT);
    expect_own_message(throw_it, -EIO); /* the same code: its message would fit as well */
    expect_own_message(nested, -ENOENT);
}

static void a_caught_error_keeps_its_message(void **state)
{
    (void)state;
    expect_own_message(try_it, -ENOENT);
    assert_string_equal(traced(), "the parent's");
}

static void a_returned_error_keeps_its_message(void **state)
{
    (void)state;
    expect_own_message(return_it, -ENOENT);
    expect_own_message(return_it, -EIO);
}

static void so_it_does_if_the_child_has_failed_before(void **state)
{
    (void)state;
    expect_own_message(return_it_late, -ENOENT);
    expect_own_message(return_it_late, -EIO);
}

/* Left by break, and without a failure of its own, it is the child's message that counts, also if
 * there is an older one. */
static int leave_by_break(void *arg)
{
    int rc = co_fail(-EEXIST, "an old one");
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, fail_at_the_end, arg), 0);
        CHECK_INT(co_yield_now(), 0);
        break;
    }
    return rc;
}

static void left_by_break_the_message_is_the_childs(void **state)
{
    (void)state;
    int code = -ENOENT;
    loop_t *loop = open_loop();
    co_task_t *task = co_spawn(leave_by_break, &code);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), -ENOENT);
    assert_non_null(co_task_error(task));
    assert_string_equal(co_task_error(task)->message, "the child's");
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thrown_error_keeps_its_message),
        cmocka_unit_test(a_caught_error_keeps_its_message),
        cmocka_unit_test(a_returned_error_keeps_its_message),
        cmocka_unit_test(so_it_does_if_the_child_has_failed_before),
        cmocka_unit_test(left_by_break_the_message_is_the_childs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
