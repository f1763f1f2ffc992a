/* Cycles of tasks that wait for each other through groups: found when the last of them waits. */
#include "support.h"

static co_task_t *top;

static int await_top(void *arg)
{
    (void)arg;
    trace("%d", co_await_task(top) == -EDEADLK);
    return 0;
}

static int child_with_a_group(void *arg)
{
    int rc = 1;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, await_top, arg), 0);
    }
    return rc;
}

static int child_that_awaits(void *arg)
{
    return co_await_task(co_spawn(await_top, arg));
}

static int child_that_gathers(void *arg)
{
    return co_gather(co_spawn(child_with_a_group, arg), co_spawn(child_that_awaits, arg));
}

static int wait_for_a_group(void *child)
{
    int rc = 1;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, *(co_fn **)child, NULL), 0);
    }
    return rc;
}

/* The cycle begins and ends with the task that waits for a group with this child. */
static void expect_found(co_fn *child, const char *found)
{
    loop_t *loop = open_loop();
    top = co_spawn(wait_for_a_group, &child);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(top), 0);
    assert_string_equal(traced(), found);
    assert_string_equal(reported(), "");
    co_task_release(top);
    assert_int_equal(close_loop(loop), 0);
}

static void through_a_group_in_a_group(void **state)
{
    (void)state;
    expect_found(child_with_a_group, "1");
}

static void through_what_a_child_awaits(void **state)
{
    (void)state;
    expect_found(child_that_awaits, "1");
}

static void through_a_gather_in_a_group(void **state)
{
    (void)state;
    expect_found(child_that_gathers, "1 1");
}

static int await_another(void *arg)
{
    int rc = co_await_task((co_task_t *)arg);
    trace("%d", rc);
    return 0;
}

static int sleep_5_ms(void *arg)
{
    (void)arg;
    return co_sleep(5);
}

/* Who waits for a group that one is not in is no cycle. */
static int wait_beside(void *arg)
{
    int rc = 1;
    co_task_t *group = co_spawn(wait_for_a_group, arg);
    CHECK_INT(co_yield_now(), 0);
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, await_another, group), 0);
    }
    return rc;
}

static void awaiting_who_waits_for_another_group_is_none(void **state)
{
    (void)state;
    co_fn *child = sleep_5_ms;
    assert_int_equal(run_task(wait_beside, &child), 0);
    assert_string_equal(traced(), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_a_group_in_a_group),
        cmocka_unit_test(through_what_a_child_awaits),
        cmocka_unit_test(through_a_gather_in_a_group),
        cmocka_unit_test(awaiting_who_waits_for_another_group_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
