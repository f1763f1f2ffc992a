/* Who waits for a group: one at a time, what it is told when it is out of luck, and groups whose
 * children have groups. */
#include "test_forked.h"

static int sleep_ms(void *arg)
{
    int rc = co_sleep(*(int *)arg);
    trace("%d%s", *(int *)arg, rc < 0 ? "!" : "");
    return rc < 0 ? rc : 0;
}

static int five = 5, ten = 10, for_ever = -1;

static int wait_for_it(void *group)
{
    int rc = co_group_wait(group);
    trace("rc%d", rc);
    return rc;
}

/* --- One at a time ---------------------------------------------------------------------------- */

static int wait_twice_at_a_time(void *arg)
{
    co_spawn_options_t options = {.name = "the second"};
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    co_group_spawn(&group, sleep_ms, &for_ever);
    co_task_release(co_spawn(wait_for_it, &group));
    co_yield_now();
    return co_await_task(co_spawn_with(&options, wait_for_it, &group));
}

static void run_two_waiters(void *arg)
{
    co_run(wait_twice_at_a_time, arg);
}

static void a_second_waiter_at_a_time_aborts_and_is_named(void **state)
{
    (void)state;
    const char *words = words_of_abort(run_two_waiters, NULL);
    assert_non_null(strstr(words, "co_group_wait"));
    assert_non_null(strstr(words, "'the second'"));
    assert_non_null(strstr(words, "test_group_waiters.c:"));
    assert_ptr_equal(strchr(words, '\n'), words + strlen(words) - 1); /* one line */
}

static int wait_one_after_the_other(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(co_group_spawn(&group, sleep_ms, &five), 0);
        CHECK_INT(co_await_task(co_spawn(wait_for_it, &group)), 0);
    }
    return co_group_wait(&group);
}

static void one_after_the_other_may_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_one_after_the_other, NULL), 0);
    assert_string_equal(traced(), "5 rc0 5 rc0 5 rc0");
}

/* A waiter that gave up has ended the children, and the next one finds an empty group. */
static int give_up_and_wait_again(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, sleep_ms, &for_ever), 0);
    co_task_t *first = co_spawn(wait_for_it, &group);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(first);
    CHECK_INT(co_await_task(first), -ECANCELED);
    CHECK_INT(co_group_spawn(&group, sleep_ms, &five), 0); /* it is as good as new */
    return co_group_wait(&group);
}

static void after_one_who_gave_up_the_next_may_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(give_up_and_wait_again, NULL), 0);
    assert_string_equal(traced(), "-1! rc-125 5");
}

/* --- Out of luck ------------------------------------------------------------------------------ */

static int wait_without_memory(void *arg)
{
    int rc = 1;
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, sleep_ms, &for_ever), 0);
    CHECK_INT(co_group_spawn(&group, sleep_ms, &for_ever), 0);
    CHECK_INT(co_yield_now(), 0);
    fail_allocation(1, true);
    co_timeout(1000) rc = co_group_wait(&group);
    fail_allocation(0, false);
    CHECK_INT(co_group_spawn(&group, sleep_ms, &five), 0);
    CHECK_INT(co_group_wait(&group), 0);
    return rc;
}

static void without_memory_for_the_deadline_all_are_cancelled_and_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_without_memory, NULL), -ENOMEM);
    assert_string_equal(traced(), "-1! -1! 5");
}

static int gather_without_memory(void *arg)
{
    int rc = 1;
    co_task_t *tasks[] = {co_spawn(sleep_ms, &for_ever), co_spawn(sleep_ms, &for_ever)};
    (void)arg;
    CHECK_INT(co_yield_now(), 0);
    fail_allocation(1, true);
    co_timeout(1000) rc = co_gather_tasks(tasks, 2);
    fail_allocation(0, false);
    return rc;
}

static void so_are_the_tasks_of_a_gather(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_without_memory, NULL), -ENOMEM);
    assert_string_equal(traced(), "-1! -1!");
}

static int spawn_and_wait(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    for (int i = 0; i < 3; i++)
        CHECK_INT(co_group_spawn(&group, sleep_ms, arg), 0);
    return co_group_wait(&group);
}

static int wait_on_semaphore(void *sem)
{
    return co_sem_acquire((co_sem_t *)sem);
}

static int wait_in_vain(void *arg)
{
    int rc = 1;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, wait_on_semaphore, arg), 0);
        CHECK_INT(co_group_spawn(g, wait_on_semaphore, arg), 0);
    }
    return rc;
}

static void who_waits_in_vain_is_reported_with_the_number_of_children(void **state)
{
    (void)state;
    co_sem_t sem = {0};
    loop_t *loop = open_loop();
    co_task_release(co_spawn(wait_in_vain, &sem));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 3);
    assert_non_null(strstr(reported(), "'wait_in_vain'"));
    assert_non_null(strstr(reported(), "co_group_wait, for 2 tasks"));
    assert_int_equal(close_loop(loop), 3);
}

static void outside_a_coroutine_the_children_go_on(void **state)
{
    (void)state;
    co_group_t group;
    loop_t *loop = open_loop();
    co_group_init(&group);
    assert_int_equal(co_group_spawn(&group, sleep_ms, &five), 0);
    assert_int_equal(co_group_wait(&group), -EPERM);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "5");
    assert_int_equal(close_loop(loop), 0);
}

static int rc_of_block = 1;

static void use_a_block(void *arg)
{
    (void)arg;
    co_group(g, &rc_of_block)
    {
        trace("body");
        co_group_spawn(g, sleep_ms, &five);
    }
    trace("after");
}

static void in_a_callback_the_block_is_left_out(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_soon(loop, use_a_block, NULL, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(rc_of_block, -EPERM);
    assert_string_equal(traced(), "after");
    assert_int_equal(close_loop(loop), 0);
}

/* --- Groups of groups ------------------------------------------------------------------------- */

struct tree {
    co_group_t *outer;
    int depth;
};

/* Each has a group of its own with two children, and adds one child to the outermost. */
static int grow(void *arg)
{
    const struct tree *tree = arg;
    struct tree below = {tree->outer, tree->depth - 1};
    int rc = 1;
    CHECK_INT(co_group_spawn(tree->outer, sleep_ms, &five), 0);
    if (tree->depth == 0)
        return 0;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, grow, &below), 0);
        CHECK_INT(co_group_spawn(g, grow, &below), 0);
    }
    return rc;
}

static int grow_a_tree(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        struct tree *tree = &(struct tree){g, 4};
        CHECK_INT(co_group_spawn(g, grow, tree), 0);
        co_shield() CHECK_INT(co_sleep(1), 0); /* as the tree is of this block */
    }
    return rc;
}

static void children_of_inner_groups_may_spawn_into_the_outer_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(grow_a_tree, NULL), 0);
    assert_int_equal(strlen(traced()), 31 * 2 - 1); /* 1 + 2 + 4 + 8 + 16 fives */
}

/* The innermost of three groups fails: each passes it on to the next, with the message. */
static int fail_deep(void *arg)
{
    int depth = *(int *)arg, rc = 1;
    if (depth == 0)
        return co_fail(-EIO, "deep below");
    int below = depth - 1;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, sleep_ms, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, fail_deep, &below), 0);
        CHECK_INT(co_sleep(-1), -ECANCELED);
    }
    return rc;
}

static void a_failure_ends_all_the_groups_around_it(void **state)
{
    (void)state;
    int depth = 3;
    loop_t *loop = open_loop();
    co_task_t *task = co_spawn(fail_deep, &depth);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), -EIO);
    assert_non_null(co_task_error(task));
    assert_string_equal(co_task_error(task)->message, "deep below");
    assert_string_equal(traced(), "-1! -1! -1!");
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static int cancel_half_way(void *arg)
{
    co_task_t *tasks[] = {co_spawn(spawn_and_wait, &ten), co_spawn(spawn_and_wait, &ten)};
    (void)arg;
    CHECK_INT(co_sleep(5), 0);
    co_task_cancel(tasks[0]);
    return co_gather_all(tasks, 2, NULL);
}

static void cancelling_one_waiter_leaves_other_groups_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_half_way, NULL), 1);
    assert_string_equal(traced(), "10! 10! 10! 10 10 10");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_waiter_at_a_time_aborts_and_is_named),
        cmocka_unit_test(one_after_the_other_may_wait),
        cmocka_unit_test(after_one_who_gave_up_the_next_may_wait),
        cmocka_unit_test(without_memory_for_the_deadline_all_are_cancelled_and_waited_for),
        cmocka_unit_test(so_are_the_tasks_of_a_gather),
        cmocka_unit_test(who_waits_in_vain_is_reported_with_the_number_of_children),
        cmocka_unit_test(outside_a_coroutine_the_children_go_on),
        cmocka_unit_test(in_a_callback_the_block_is_left_out),
        cmocka_unit_test(children_of_inner_groups_may_spawn_into_the_outer_one),
        cmocka_unit_test(a_failure_ends_all_the_groups_around_it),
        cmocka_unit_test(cancelling_one_waiter_leaves_other_groups_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
