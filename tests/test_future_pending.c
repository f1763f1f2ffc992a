/* Callbacks of futures that are not settled, or not yet run: at the close of their loop nothing is
 * left of them, settling such a future later does no harm, and they can be taken away. */
#include "support.h"

static const char x[] = "x", y[] = "y";

static void tell(co_future_t *future, void *arg)
{
    trace("%s%d", (const char *)arg, co_future_result(future));
}

static void a_callback_of_a_future_that_is_never_settled_is_freed(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, tell, "a"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0); /* no block is left */
    assert_string_equal(traced(), "");
}

static void settled_after_the_close_it_calls_nobody(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, tell, "a"), 0);
    assert_int_equal(co_future_add_done_callback(&future, tell, "b"), 0);
    loop_close(loop);
    assert_int_equal(co_future_resolve(&future, 1, NULL), 0);
    assert_string_equal(traced(), "");
    assert_int_equal(blocks(), 0);
}

static int forget(void *arg)
{
    co_future_t future = {0};
    CHECK_INT(co_future_add_done_callback(&future, tell, (void *)x), 0);
    (void)arg;
    return co_await_future(&future, NULL); /* until the close: it goes away with its task */
}

static void a_future_of_a_cancelled_task_leaves_nothing_behind(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(co_spawn(forget, NULL));
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "");
}

static void settled_but_not_run_they_are_dropped_too(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, tell, "a"), 0);
    assert_int_equal(co_future_resolve(&future, 1, NULL), 0);
    assert_int_equal(co_future_add_done_callback(&future, tell, "b"), 0);
    assert_int_equal(close_loop(loop), 0);
    assert_string_equal(traced(), "");
}

static void a_future_may_outlive_several_loops(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, tell, "a"), 0);
    assert_int_equal(close_loop(loop), 0);
    loop = open_loop();
    assert_int_equal(co_future_add_done_callback(&future, tell, "b"), 0);
    assert_int_equal(co_future_resolve(&future, 2, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "b2");
    assert_int_equal(close_loop(loop), 0);
}

/* --- Taking away ------------------------------------------------------------------------------ */

static void a_callback_may_be_taken_away_before_and_after_settling(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    char a[] = "a", b[] = "b";
    for (int i = 0; i < 2; i++) {
        assert_int_equal(co_future_add_done_callback(&future, tell, a), 0);
        assert_int_equal(co_future_add_done_callback(&future, tell, b), 0);
    }
    assert_int_equal(co_future_remove_done_callback(&future, tell, a), 2);
    assert_int_equal(co_future_remove_done_callback(&future, tell, a), 0);
    assert_int_equal(co_future_add_done_callback(&future, tell, a), 0);
    assert_int_equal(co_future_resolve(&future, 1, NULL), 0);
    assert_int_equal(co_future_remove_done_callback(&future, tell, b), 2); /* ready, but not run */
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a1");
    assert_int_equal(co_future_remove_done_callback(&future, tell, a), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void take_others_away(co_future_t *future, void *arg)
{
    tell(future, arg);
    trace("%d", co_future_remove_done_callback(future, take_others_away, arg));
}

static void a_callback_may_take_away_those_that_would_follow(void **state)
{
    (void)state;
    co_future_t future = {0};
    loop_t *loop = open_loop();
    char word[] = "x";
    for (int i = 0; i < 3; i++)
        assert_int_equal(co_future_add_done_callback(&future, take_others_away, word), 0);
    assert_int_equal(co_future_resolve(&future, 4, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "x4 2"); /* its own has begun */
    assert_int_equal(close_loop(loop), 0);
}

/* Who gives up on a future takes its callback away, and the future may go. */
static int give_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        co_future_t future = {0};
        int rc = 1;
        CHECK_INT(co_future_add_done_callback(&future, tell, (void *)x), 0);
        co_timeout(1) rc = co_await_future(&future, NULL);
        CHECK_INT(rc, -ETIMEDOUT);
        CHECK_INT(co_future_remove_done_callback(&future, tell, (void *)y), 0);
        CHECK_INT(co_future_remove_done_callback(&future, tell, (void *)x), 1);
    }
    return 0;
}

static void who_gives_up_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(run_task(give_up, NULL), 0);
    assert_string_equal(traced(), "");
    co_future_t future = {0}; /* untouched, and without a loop */
    assert_int_equal(co_future_remove_done_callback(&future, tell, (void *)x), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callback_of_a_future_that_is_never_settled_is_freed),
        cmocka_unit_test(settled_after_the_close_it_calls_nobody),
        cmocka_unit_test(a_future_of_a_cancelled_task_leaves_nothing_behind),
        cmocka_unit_test(settled_but_not_run_they_are_dropped_too),
        cmocka_unit_test(a_future_may_outlive_several_loops),
        cmocka_unit_test(a_callback_may_be_taken_away_before_and_after_settling),
        cmocka_unit_test(a_callback_may_take_away_those_that_would_follow),
        cmocka_unit_test(who_gives_up_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
