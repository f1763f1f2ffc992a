/* Eager tasks: run at once, up to their first suspension, and only then goes their spawner on. */
#include "support.h"

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 0;
}

static int say_twice(void *word)
{
    trace("%s1", (const char *)word);
    CHECK_INT(co_yield_now(), 0);
    trace("%s2", (const char *)word);
    return 7;
}

/* --- Eager ------------------------------------------------------------------------------------ */

static const co_spawn_options_t eager = {.eager = true};

static int spawn_eagerly(void *arg)
{
    (void)arg;
    CHECK_INT(co_go(say, "b"), 0);
    trace("a1");
    co_task_t *task = co_spawn_with(&eager, say_twice, "e");
    trace("a2");
    CHECK(!co_task_done(task));
    CHECK_INT(co_await_task(task), 7);
    trace("a3");
    task = co_spawn_with(&eager, say, "f");
    CHECK(co_task_done(task));
    return co_await_task(task);
}

static void an_eager_task_runs_to_its_first_suspension_before_its_spawner_goes_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_eagerly, NULL), 0);
    assert_string_equal(traced(), "a1 e1 a2 b e2 a3 f");
}

static int nest_eagerly(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    trace("down%d", (int)depth);
    if (depth == 3)
        return 3;
    co_task_t *task = co_spawn_with(&eager, nest_eagerly, (void *)(depth + 1));
    trace("up%d", (int)depth);
    return co_await_task(task);
}

static void eager_tasks_nest(void **state)
{
    (void)state;
    assert_int_equal(run_task(nest_eagerly, NULL), 3);
    assert_string_equal(traced(), "down0 down1 down2 down3 up2 up1 up0");
}

static void call_eagerly(void *word)
{
    trace("begin");
    co_task_release(co_spawn_with(&eager, say_twice, word));
    trace("end");
}

static void an_eager_task_runs_inside_the_callback_that_spawns_it(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_soon(loop, call_eagerly, "a", NULL), 0);
    assert_int_equal(loop_call_soon(loop, call_eagerly, "b", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "begin a1 end begin b1 end a2 b2");
    assert_int_equal(close_loop(loop), 0);
}

static void nothing_else_runs_inside_a_callback_that_spawns_eagerly(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_soon(loop, call_eagerly, "a", NULL), 0);
    assert_int_equal(co_go(say, "other"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "begin a1 end other a2");
    assert_int_equal(close_loop(loop), 0);
}

static int spawn_eagerly_inside(void *word)
{
    trace("t1");
    co_task_release(co_spawn_with(&eager, say_twice, word));
    trace("t2");
    CHECK_INT(co_yield_now(), 0);
    trace("t3");
    return 0;
}

static void call_doubly_eagerly(void *word)
{
    trace("begin");
    co_task_release(co_spawn_with(&eager, spawn_eagerly_inside, word));
    trace("end");
}

static void eager_tasks_nest_inside_a_callback(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_soon(loop, call_doubly_eagerly, "a", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "begin t1 a1 t2 end a2 t3");
    assert_int_equal(close_loop(loop), 0);
}

/* No loop runs yet that it could suspend into. */
static void spawned_before_the_loop_runs_an_eager_task_waits_for_it(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = co_spawn_with(&eager, say_twice, "e");
    assert_false(co_task_done(task));
    assert_int_equal(loop_run_until(loop, task), 7);
    assert_string_equal(traced(), "e1 e2");
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_eager_task_runs_to_its_first_suspension_before_its_spawner_goes_on),
        cmocka_unit_test(eager_tasks_nest),
        cmocka_unit_test(an_eager_task_runs_inside_the_callback_that_spawns_it),
        cmocka_unit_test(nothing_else_runs_inside_a_callback_that_spawns_eagerly),
        cmocka_unit_test(eager_tasks_nest_inside_a_callback),
        cmocka_unit_test(spawned_before_the_loop_runs_an_eager_task_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
