/* Task-local values: what a task sets is its own and its children's, and each value is destroyed
 * once. */
#include "support.h"

#include <sys/wait.h>

static int destroyed;

static void destroy(void *value)
{
    trace("~%d", *(int *)value);
    destroyed++;
}

static co_local_t plain, owned = {destroy}, second = {destroy};
static int values[] = {0, 1, 2, 3, 4};

static int setup(void **state)
{
    (void)state;
    trace_clear();
    destroyed = 0;
    return 0;
}

/* --- One task --------------------------------------------------------------------------------- */

static int set_and_get(void *arg)
{
    (void)arg;
    CHECK(co_local_get(&plain) == NULL);
    CHECK_INT(co_local_set(&plain, &values[1]), 0);
    CHECK(co_local_get(&plain) == &values[1]);
    CHECK(co_local_get(&owned) == NULL);
    CHECK_INT(co_local_set(&owned, &values[2]), 0);
    CHECK_INT(co_local_set(&plain, &values[3]), 0);
    CHECK(co_local_get(&plain) == &values[3]);
    CHECK(co_local_get(&owned) == &values[2]);
    CHECK_INT(co_local_set(&plain, NULL), 0);
    CHECK(co_local_get(&plain) == NULL);
    CHECK_INT(co_yield_now(), 0);
    CHECK(co_local_get(&owned) == &values[2]);
    CHECK_INT(destroyed, 0);
    return 0;
}

static void test_set_and_get(void **state)
{
    (void)state;
    assert_int_equal(run_task(set_and_get, NULL), 0);
    assert_int_equal(destroyed, 1);
}

static int replace(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    CHECK_INT(co_local_set(&owned, &values[1]), 0); /* the same: nothing happens to it */
    trace("same");
    CHECK_INT(co_local_set(&owned, &values[2]), 0);
    trace("replaced");
    CHECK_INT(co_local_set(&owned, NULL), 0);
    trace("taken");
    CHECK_INT(co_local_set(&owned, NULL), 0);
    return 0;
}

static void test_a_replaced_value_is_destroyed_at_once(void **state)
{
    (void)state;
    run_task(replace, NULL);
    assert_string_equal(traced(), "same ~1 replaced ~2 taken");
}

static int set_several(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    CHECK_INT(co_local_set(&second, &values[2]), 0);
    CHECK_INT(co_local_set(&owned, &values[3]), 0);
    trace("end");
    return 0;
}

static void test_what_was_set_last_is_destroyed_first(void **state)
{
    (void)state;
    run_task(set_several, NULL);
    assert_string_equal(traced(), "~1 end ~3 ~2");
}

static int set_null_key(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(NULL, &values[1]), -EINVAL);
    CHECK(co_local_get(NULL) == NULL);
    return 0;
}

static void test_outside_a_coroutine_there_are_no_values(void **state)
{
    (void)state;
    assert_null(co_local_get(&plain));
    assert_int_equal(co_local_set(&plain, &values[1]), -EPERM);
    run_task(set_null_key, NULL);
}

/* --- Parents and children --------------------------------------------------------------------- */

static int expect(void *arg)
{
    CHECK(co_local_get(&owned) == arg);
    CHECK_INT(co_yield_now(), 0);
    CHECK(co_local_get(&owned) == arg);
    trace("child");
    return 0;
}

static int inherit(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    co_task_t *child = co_spawn(expect, &values[1]);
    CHECK_INT(co_local_set(&owned, &values[2]), 0); /* of no concern to the child */
    CHECK_INT(destroyed, 0);
    CHECK_INT(co_await_task(child), 0);
    CHECK_INT(destroyed, 1);
    trace("awaited");
    return 0;
}

static void test_a_child_starts_with_its_parents_values(void **state)
{
    (void)state;
    run_task(inherit, NULL);
    assert_string_equal(traced(), "child ~1 awaited ~2");
}

static int change(void *arg)
{
    CHECK(co_local_get(&owned) == &values[1]);
    CHECK_INT(co_local_set(&owned, arg), 0);
    CHECK(co_local_get(&owned) == arg);
    return 0;
}

static int keep(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    CHECK_INT(co_await_task(co_spawn(change, &values[2])), 0);
    CHECK_INT(co_await_task(co_spawn(change, NULL)), 0);
    CHECK(co_local_get(&owned) == &values[1]);
    return 0;
}

static void test_what_a_child_sets_is_its_own(void **state)
{
    (void)state;
    run_task(keep, NULL);
    assert_string_equal(traced(), "~2 ~1");
}

static int outlive(void *arg)
{
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_yield_now(), 0);
    return expect(arg);
}

static int leave_to_child(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    CHECK_INT(co_go(outlive, &values[1]), 0);
    trace("parent");
    return 0;
}

static void test_a_value_outlives_its_parent_in_a_child(void **state)
{
    (void)state;
    run_task(leave_to_child, NULL);
    assert_string_equal(traced(), "parent child ~1");
}

static int spawn_all_ways(void *arg)
{
    int rc = 0;
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[3]), 0);
    CHECK_INT(
        co_await_task(co_spawn_with(&(co_spawn_options_t){.eager = true}, expect, &values[3])), 0);
    co_group(g, &rc) co_group_spawn(g, expect, &values[3]);
    CHECK_INT(rc, 0);
    CHECK_INT(co_gather(co_spawn(expect, &values[3]), loop_spawn(NULL, expect, &values[3])), 0);
    return 0;
}

static void test_every_way_to_spawn_hands_them_on(void **state)
{
    (void)state;
    run_task(spawn_all_ways, NULL);
    assert_string_equal(traced(), "child child child child ~3");
}

static void spawn_from_callback(void *arg)
{
    (void)arg;
    co_go(expect, NULL);
}

static int call_soon(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    CHECK_INT(loop_call_soon(loop_current(), spawn_from_callback, NULL, NULL), 0);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_yield_now(), 0);
    return 0;
}

static void test_a_task_spawned_by_a_callback_has_none(void **state)
{
    (void)state;
    run_task(call_soon, NULL);
    assert_string_equal(traced(), "~1 child");
}

static int descend(void *arg)
{
    int *depth = arg;
    CHECK(co_local_get(&owned) == &values[1]);
    return *depth-- ? co_await_task(co_spawn(descend, depth)) : 0;
}

static int found_dynasty(void *arg)
{
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    return descend(arg);
}

static void test_values_reach_all_descendants(void **state)
{
    (void)state;
    run_task(found_dynasty, &values[4]);
    assert_int_equal(destroyed, 1);
}

/* --- Ends ------------------------------------------------------------------------------------- */

static int throw_it(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    co_throw(-EIO, "thrown");
}

static int catch_it(void *arg)
{
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(throw_it, NULL)), -EIO);
    CHECK_INT(destroyed, 1);
    return 0;
}

static void test_a_throw_ends_them_too(void **state)
{
    (void)state;
    run_task(catch_it, NULL);
}

static int hold_on(void *arg)
{
    CHECK_INT(co_local_set(&owned, arg), 0);
    co_shield() co_sleep(-1);
    return 0;
}

static void test_closing_the_loop_ends_them(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    for (int i = 1; i <= 3; i++)
        co_task_release(loop_spawn(loop, hold_on, &values[i]));
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(close_loop(loop), 3);
    assert_int_equal(destroyed, 3);
}

static void test_a_held_handle_holds_no_values(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, keep, NULL);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "~2 ~1");
    co_task_release(task);
    close_loop(loop);
}

static void misbehave(void *value)
{
    destroyed += *(int *)value;
    CHECK(co_self() == NULL);
    CHECK_INT(co_yield_now(), -EPERM);
    CHECK_INT(co_local_set(&plain, value), -EPERM);
    co_go(expect, NULL); /* a task without values */
    co_task_release(co_spawn_with(&(co_spawn_options_t){.eager = true}, expect, NULL));
}

static int set_misbehaving(void *arg)
{
    static co_local_t key = {misbehave};
    CHECK_INT(co_local_set(&key, &values[1]), 0);
    CHECK_INT(co_local_set(&key, &values[2]), 0);
    CHECK_INT(destroyed, 1);
    CHECK_INT(co_local_set(&plain, arg), 0);
    return 0;
}

static int spawn_misbehaving(void *arg)
{
    co_task_t *task = co_spawn_with(&(co_spawn_options_t){.eager = true}, set_misbehaving, arg);
    CHECK(co_self() != NULL && co_self() != task);
    CHECK_INT(destroyed, 3);
    return co_await_task(task);
}

/* From co_local_set, from the end of a task, and from the end of one that ran inside another. */
static void test_a_destructor_runs_outside_coroutines(void **state)
{
    (void)state;
    run_task(set_misbehaving, values);
    assert_int_equal(destroyed, 3);
    destroyed = 0;
    run_task(spawn_misbehaving, values);
    assert_int_equal(destroyed, 3);
}

static int fail_and_wait(void *arg)
{
    CHECK_INT(co_local_set(&owned, arg), 0);
    co_fail(-EIO, "noted");
    return co_sleep(-1);
}

static void test_a_forked_child_frees_the_parents_records_and_destroys_no_value(void **state)
{
    (void)state;
    int status;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, fail_and_wait, &values[1]));
    assert_int_equal(loop_run_once(loop, 0), 1);
    pid_t child = fork();
    if (child == 0) {
        loop_close(loop);
        _exit(blocks() || destroyed);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(close_loop(loop), 1);
    assert_int_equal(destroyed, 1);
}

/* --- Out of memory ---------------------------------------------------------------------------- */

static int set_without_memory(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&owned, &values[1]), 0);
    for (size_t n = 1; n <= 2; n++) {
        fail_allocation(n, false);
        CHECK_INT(co_local_set(&owned, &values[2]), -ENOMEM);
        fail_allocation(0, false);
        CHECK(co_local_get(&owned) == &values[1]);
    }
    fail_allocation(1, true);
    CHECK_INT(co_local_set(&second, &values[2]), -ENOMEM);
    fail_allocation(0, false);
    CHECK_INT(destroyed, 0);
    return 0;
}

static void test_without_memory_nothing_changes(void **state)
{
    (void)state;
    run_task(set_without_memory, NULL);
    assert_string_equal(traced(), "~1");
}

static int count_allocations(void *arg)
{
    (void)arg;
    CHECK_INT(co_local_set(&plain, &values[1]), 0);
    CHECK_INT(co_await_task(co_spawn(expect, NULL)), 0); /* the stacks are there from now on */
    fail_allocation(0, false);
    CHECK_INT(co_await_task(co_spawn(expect, NULL)), 0);
    CHECK_INT((int64_t)allocations(), 0);
    return 0;
}

static void test_inheriting_allocates_nothing(void **state)
{
    (void)state;
    run_task(count_allocations, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_set_and_get, setup),
        cmocka_unit_test_setup(test_a_replaced_value_is_destroyed_at_once, setup),
        cmocka_unit_test_setup(test_what_was_set_last_is_destroyed_first, setup),
        cmocka_unit_test_setup(test_outside_a_coroutine_there_are_no_values, setup),
        cmocka_unit_test_setup(test_a_child_starts_with_its_parents_values, setup),
        cmocka_unit_test_setup(test_what_a_child_sets_is_its_own, setup),
        cmocka_unit_test_setup(test_a_value_outlives_its_parent_in_a_child, setup),
        cmocka_unit_test_setup(test_every_way_to_spawn_hands_them_on, setup),
        cmocka_unit_test_setup(test_a_task_spawned_by_a_callback_has_none, setup),
        cmocka_unit_test_setup(test_values_reach_all_descendants, setup),
        cmocka_unit_test_setup(test_a_throw_ends_them_too, setup),
        cmocka_unit_test_setup(test_closing_the_loop_ends_them, setup),
        cmocka_unit_test_setup(test_a_held_handle_holds_no_values, setup),
        cmocka_unit_test_setup(test_a_forked_child_frees_the_parents_records_and_destroys_no_value,
                               setup),
        cmocka_unit_test_setup(test_a_destructor_runs_outside_coroutines, setup),
        cmocka_unit_test_setup(test_without_memory_nothing_changes, setup),
        cmocka_unit_test_setup(test_inheriting_allocates_nothing, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
