/* Callbacks of futures that use futures themselves. */
#include "support.h"

static void tell(co_future_t *future, void *arg)
{
    trace("%s%d", (const char *)arg, co_future_result(future));
}

/* --- Other futures ---------------------------------------------------------------------------- */

static void pass_on(co_future_t *future, void *next)
{
    CHECK_INT(co_future_resolve(next, co_future_result(future) + 1, future), 0);
}

static int run_chain(void *arg)
{
    enum { LENGTH = 200 };
    co_future_t chain[LENGTH] = {0};
    void *value = arg;
    for (int i = 0; i + 1 < LENGTH; i++)
        CHECK_INT(co_future_add_done_callback(&chain[i], pass_on, &chain[i + 1]), 0);
    CHECK_INT(co_future_resolve(&chain[0], 0, NULL), 0);
    CHECK_INT(co_await_future(&chain[LENGTH - 1], &value), LENGTH - 1);
    CHECK(value == &chain[LENGTH - 2]);
    return 0;
}

static void a_callback_may_settle_another_future(void **state)
{
    (void)state;
    assert_int_equal(run_task(run_chain, NULL), 0);
}

static void settle_again(co_future_t *future, void *arg)
{
    (void)arg;
    trace("again%d", co_future_resolve(future, 9, NULL));
    trace("%d", co_future_result(future));
}

static int settle_in_callback(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, settle_again, NULL), 0);
    CHECK_INT(co_future_resolve(&future, 1, NULL), 0);
    return co_yield_now();
}

static void a_callback_cannot_settle_its_own_again(void **state)
{
    (void)state;
    assert_int_equal(run_task(settle_in_callback, NULL), 0);
    assert_string_equal(traced(), "again-114 1");
}

/* --- More callbacks --------------------------------------------------------------------------- */

static void add_two(co_future_t *future, void *arg)
{
    tell(future, arg);
    CHECK_INT(co_future_add_done_callback(future, tell, (void *)"x"), 0);
    CHECK_INT(co_future_add_done_callback(future, tell, (void *)"y"), 0);
    trace("added");
}

static int add_in_callback(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, add_two, (void *)"a"), 0);
    CHECK_INT(co_future_add_done_callback(&future, tell, (void *)"b"), 0);
    CHECK_INT(co_future_resolve(&future, 2, NULL), 0);
    CHECK_INT(co_sleep(1), 0);
    return 0;
}

static void callbacks_added_by_a_callback_come_after_those_that_were_there(void **state)
{
    (void)state;
    assert_int_equal(run_task(add_in_callback, NULL), 0);
    assert_string_equal(traced(), "a2 added b2 x2 y2");
}

struct repeat {
    int left;
};

static void add_itself(co_future_t *future, void *arg)
{
    struct repeat *repeat = arg;
    if (--repeat->left)
        CHECK_INT(co_future_add_done_callback(future, add_itself, arg), 0);
}

static int repeat_while_others_run(void *arg)
{
    co_future_t future = {.done = true};
    struct repeat repeat = {1000};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, add_itself, &repeat), 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(co_yield_now(), 0);
    CHECK(repeat.left > 900); /* one a pass: others have their turns */
    CHECK_INT(co_sleep(1), 0);
    return repeat.left;
}

static void a_callback_that_adds_itself_starves_nobody(void **state)
{
    (void)state;
    assert_int_equal(run_task(repeat_while_others_run, NULL), 0);
}

/* --- Awaiting and spawning -------------------------------------------------------------------- */

static void await_it(co_future_t *future, void *arg)
{
    (void)arg;
    trace("await%d", co_await_future(future, NULL));
    CHECK(co_self() == NULL);
}

static int await_and_tell(void *future)
{
    trace("task%d", co_await_future((co_future_t *)future, NULL));
    return 0;
}

static void spawn_one(co_future_t *future, void *arg)
{
    co_spawn_options_t options = {.eager = arg != NULL};
    co_task_release(co_spawn_with(&options, await_and_tell, future));
    trace("spawned");
}

static int spawn_in_callback(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, await_it, NULL), 0);
    CHECK_INT(co_future_add_done_callback(&future, spawn_one, NULL), 0);
    CHECK_INT(co_future_add_done_callback(&future, spawn_one, (void *)"eager"), 0);
    CHECK_INT(co_future_resolve(&future, 3, NULL), 0);
    return co_sleep(1);
}

static void a_callback_cannot_await_but_start_who_does(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_in_callback, NULL), 0);
    assert_string_equal(traced(), "await-1 spawned task3 spawned task3");
}

/* A waiter that settles the next future, for which the next one waits, and so on. */
struct relay {
    co_future_t *mine, *next;
};

static int hand_on(void *arg)
{
    const struct relay *relay = arg;
    int rc = co_await_future(relay->mine, NULL);
    if (relay->next)
        CHECK_INT(co_future_resolve(relay->next, rc + 1, NULL), 0);
    return rc;
}

static int run_relay(void *arg)
{
    enum { LENGTH = 100 };
    co_future_t futures[LENGTH] = {0};
    struct relay relays[LENGTH];
    co_task_t *tasks[LENGTH];
    (void)arg;
    for (int i = 0; i < LENGTH; i++) {
        relays[i] = (struct relay){&futures[i], i + 1 < LENGTH ? &futures[i + 1] : NULL};
        tasks[i] = co_spawn(hand_on, &relays[i]);
    }
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_future_resolve(&futures[0], 0, NULL), 0);
    CHECK_INT(co_await_future(&futures[LENGTH - 1], NULL), LENGTH - 1);
    return co_gather_tasks(tasks, LENGTH);
}

static void a_waiter_may_settle_another_future(void **state)
{
    (void)state;
    assert_int_equal(run_task(run_relay, NULL), 0);
}

/* --- The future's end ------------------------------------------------------------------------- */

static void free_it(co_future_t *future, void *arg)
{
    tell(future, arg);
    free(future);
}

static int free_in_callback(void *arg)
{
    (void)arg;
    co_future_t *future = calloc(1, sizeof *future);
    CHECK_INT(co_future_add_done_callback(future, tell, (void *)"a"), 0);
    CHECK_INT(co_future_add_done_callback(future, free_it, (void *)"b"), 0);
    CHECK_INT(co_future_resolve(future, 4, NULL), 0);
    return co_yield_now();
}

static void the_last_callback_may_free_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(free_in_callback, NULL), 0);
    assert_string_equal(traced(), "a4 b4");
}

static void use_again(co_future_t *future, void *arg)
{
    tell(future, arg);
    *future = (co_future_t){0}; /* it waits for the next answer */
    CHECK_INT(co_future_add_done_callback(future, tell, (void *)"next"), 0);
}

static int use_twice(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, use_again, (void *)"first"), 0);
    CHECK_INT(co_future_resolve(&future, 1, NULL), 0);
    CHECK_INT(co_yield_now(), 0);
    CHECK(!co_future_done(&future));
    CHECK_INT(co_future_resolve(&future, 2, NULL), 0);
    return co_yield_now();
}

static void zeroed_again_it_is_a_new_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_twice, NULL), 0);
    assert_string_equal(traced(), "first1 next2");
}

static void stop(co_future_t *future, void *loop)
{
    (void)future;
    trace("stop");
    loop_stop(loop);
}

static void a_callback_may_stop_the_loop_and_the_rest_comes_later(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, stop, loop), 0);
    assert_int_equal(co_future_add_done_callback(&future, add_two, (void *)"a"), 0);
    assert_int_equal(co_future_resolve(&future, 5, NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    assert_string_equal(traced(), "stop a5 added"); /* the pass at hand, no more */
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "stop a5 added x5 y5");
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callback_may_settle_another_future),
        cmocka_unit_test(a_callback_cannot_settle_its_own_again),
        cmocka_unit_test(callbacks_added_by_a_callback_come_after_those_that_were_there),
        cmocka_unit_test(a_callback_that_adds_itself_starves_nobody),
        cmocka_unit_test(a_callback_cannot_await_but_start_who_does),
        cmocka_unit_test(a_waiter_may_settle_another_future),
        cmocka_unit_test(the_last_callback_may_free_it),
        cmocka_unit_test(zeroed_again_it_is_a_new_one),
        cmocka_unit_test(a_callback_may_stop_the_loop_and_the_rest_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
