/* Scopes that change: deadlines that move, cancelled scopes, and which code the calls see. */
#include "support.h"

static int64_t now_ms(void)
{
    return loop_time(loop_current()) / MS;
}

/* --- Moving deadlines ------------------------------------------------------------------------- */

static int move_deadline(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, 10);
    co_scope_set_deadline(&scope, 30 * MS);
    CHECK_INT(co_sleep(20), 0);
    co_scope_set_deadline(&scope, INT64_MAX);
    CHECK_INT(co_sleep(20), 0);
    co_scope_set_deadline(&scope, 50 * MS);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    CHECK_INT(now_ms(), 50);
    co_scope_set_deadline(&scope, 90 * MS); /* too late */
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_leave(&scope);
    co_scope_enter(&scope, -1);
    co_scope_set_deadline(&scope, 0); /* long ago */
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    CHECK(co_scope_expired(&scope));
    co_scope_leave(&scope);
    return (int)now_ms();
}

static void a_running_task_may_move_its_deadline(void **state)
{
    (void)state;
    assert_int_equal(run_task(move_deadline, NULL), 50);
}

struct parked {
    co_scope_t scope;
    int64_t ms;
    bool shield;
};

static int park_in_scope(void *arg)
{
    struct parked *parked = arg;
    int rc = 1;
    co_scope_enter(&parked->scope, parked->ms);
    if (parked->shield)
        co_shield() trace("shield:%d", co_sleep(30));
    rc = co_sleep(100);
    trace("%s@%d", rc == 0 ? "slept" : rc == -ETIMEDOUT ? "timeout" : "cancelled", (int)now_ms());
    co_scope_leave(&parked->scope);
    CHECK_INT(co_yield_now(), 0);
    return 0;
}

struct move {
    struct parked *parked;
    int64_t when;
};

static void move(void *arg)
{
    struct move *m = arg;
    co_scope_set_deadline(&m->parked->scope, m->when);
}

/* Moves the deadline of a task that parks in a scope of `ms` at 5 ms to `when`. */
static const char *move_while_parked(int64_t ms, int64_t when, bool shield)
{
    struct parked parked = {.ms = ms, .shield = shield};
    struct move m = {&parked, when};
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_later(loop, 5, move, &m, NULL), 0);
    assert_int_equal(co_go(park_in_scope, &parked), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
    return traced();
}

static void the_deadline_of_a_parked_task_may_be_moved(void **state)
{
    (void)state;
    assert_string_equal(move_while_parked(50, 20 * MS, false), "timeout@20");
    assert_string_equal(move_while_parked(50, 70 * MS, false), "timeout@70");
    assert_string_equal(move_while_parked(50, 200 * MS, false), "slept@100");
    assert_string_equal(move_while_parked(50, INT64_MAX, false), "slept@100");
    assert_string_equal(move_while_parked(-1, 20 * MS, false), "timeout@20");
    assert_string_equal(move_while_parked(50, 0, false), "timeout@5");
    assert_string_equal(move_while_parked(50, -1, false), "timeout@5");
}

static void behind_a_shield_a_moved_deadline_counts_later(void **state)
{
    (void)state;
    assert_string_equal(move_while_parked(-1, 10 * MS, true), "shield:0 timeout@30");
    assert_string_equal(move_while_parked(-1, 60 * MS, true), "shield:0 timeout@60");
    assert_string_equal(move_while_parked(10, 60 * MS, true), "shield:0 timeout@60");
    assert_string_equal(move_while_parked(60, INT64_MAX, true), "shield:0 slept@130");
}

/* --- Cancelled scopes ------------------------------------------------------------------------- */

static void cancel_scope(void *scope)
{
    co_scope_cancel(scope);
}

static int cancel_scope_later(void *scope)
{
    CHECK_INT(co_sleep(5), 0);
    co_scope_cancel(scope);
    co_scope_cancel(scope);
    return 0;
}

static void a_scope_is_cancelled_by_a_callback_or_another_task(void **state)
{
    (void)state;
    for (int by_task = 0; by_task < 2; by_task++) {
        struct parked parked = {.ms = 50};
        loop_t *loop = open_loop();
        assert_int_equal(co_go(park_in_scope, &parked), 0);
        if (by_task)
            assert_int_equal(co_go(cancel_scope_later, &parked.scope), 0);
        else
            assert_int_equal(loop_call_later(loop, 5, cancel_scope, &parked.scope, NULL), 0);
        assert_int_equal(loop_run(loop), 0);
        assert_string_equal(traced(), "cancelled@5");
        assert_true(co_scope_cancelled(&parked.scope));
        assert_false(co_scope_expired(&parked.scope));
        assert_int_equal(close_loop(loop), 0);
    }
}

static int cancel_own_scope(void *arg)
{
    (void)arg;
    co_scope_t outer, inner;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, -1);
    co_scope_cancel(&inner);
    CHECK_INT(co_sleep(5), -ECANCELED);
    co_scope_leave(&inner);
    CHECK_INT(co_sleep(5), 0);
    co_scope_cancel(&outer);
    co_shield() CHECK_INT(co_sleep(5), 0);
    CHECK_INT(co_sleep(5), -ECANCELED);
    co_scope_leave(&outer);
    CHECK(co_scope_cancelled(&inner) && co_scope_cancelled(&outer));
    CHECK(!co_task_cancelled(co_self()));
    return co_sleep(5);
}

static void a_task_may_cancel_its_own_scope(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_own_scope, NULL), 0);
}

static int look_at_scopes(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, 5);
    CHECK(!co_scope_expired(&scope) && !co_scope_cancelled(&scope));
    CHECK_INT(co_sleep(1), 0);
    co_scope_leave(&scope);
    CHECK_INT(co_sleep(20), 0);
    CHECK(!co_scope_expired(&scope) && !co_scope_cancelled(&scope)); /* it was left in time */
    co_scope_cancel(&scope);                                         /* too late, and allowed */
    co_scope_set_deadline(&scope, 0);
    CHECK_INT(co_sleep(1), 0);
    co_scope_enter(&scope, 5);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_leave(&scope);
    CHECK(co_scope_expired(&scope) && !co_scope_cancelled(&scope));
    return 0;
}

static void a_scope_that_was_left_still_tells_how_it_ended(void **state)
{
    (void)state;
    assert_int_equal(run_task(look_at_scopes, NULL), 0);
}

/* --- Which code ------------------------------------------------------------------------------- */

static int cancel_outer_first(void *arg)
{
    (void)arg;
    co_scope_t outer, inner;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, 10);
    co_scope_cancel(&outer);
    co_shield() CHECK_INT(co_sleep(5), 0);
    co_scope_set_deadline(&inner, 0);
    CHECK_INT(co_sleep(5), -ECANCELED);
    co_scope_leave(&inner);
    CHECK_INT(co_sleep(5), -ECANCELED);
    co_scope_leave(&outer);
    return co_sleep(5);
}

static void cancelled_outside_before_it_expires_inside_is_cancelled(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_outer_first, NULL), 0);
}

static int expire_inner_first(void *arg)
{
    (void)arg;
    co_scope_t outer, inner;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, 10);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_cancel(&outer);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_leave(&inner);
    CHECK_INT(co_sleep(20), -ECANCELED);
    co_scope_leave(&outer);
    return co_sleep(5);
}

static void expired_inside_before_it_is_cancelled_outside_is_a_timeout(void **state)
{
    (void)state;
    assert_int_equal(run_task(expire_inner_first, NULL), 0);
}

static int cancel_when_expired(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, 10);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_cancel(&scope);
    CHECK_INT(co_sleep(20), -ETIMEDOUT);
    co_scope_leave(&scope);
    CHECK(co_scope_expired(&scope));
    return co_sleep(5);
}

static void an_expired_scope_that_is_cancelled_keeps_its_code(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_when_expired, NULL), 0);
}

static int cancelled_and_late(void *arg)
{
    co_scope_t scope;
    co_scope_enter(&scope, arg ? 10 : -1);
    int first = co_sleep(-1), again = co_sleep(20);
    co_scope_leave(&scope);
    int outside = co_sleep(20);
    trace("%d %d %d", first == -ETIMEDOUT, again == -ETIMEDOUT, outside == -ECANCELED);
    return 0;
}

static void cancel_task(void *task)
{
    co_task_cancel(task);
}

static void of_a_deadline_and_a_cancellation_the_first_one_tells(void **state)
{
    (void)state;
    static const char *const expected[] = {"0 0 1", "1 1 1"};
    for (int i = 0; i < 2; i++) {
        loop_t *loop = open_loop();
        co_task_t *task = loop_spawn(loop, cancelled_and_late, "x");
        assert_int_equal(loop_call_later(loop, i ? 15 : 5, cancel_task, task, NULL), 0);
        assert_int_equal(loop_run_until(loop, task), 0);
        assert_string_equal(traced(), expected[i]);
        assert_int_equal(close_loop(loop), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_task_may_move_its_deadline),
        cmocka_unit_test(the_deadline_of_a_parked_task_may_be_moved),
        cmocka_unit_test(behind_a_shield_a_moved_deadline_counts_later),
        cmocka_unit_test(a_scope_is_cancelled_by_a_callback_or_another_task),
        cmocka_unit_test(a_task_may_cancel_its_own_scope),
        cmocka_unit_test(a_scope_that_was_left_still_tells_how_it_ended),
        cmocka_unit_test(cancelled_outside_before_it_expires_inside_is_cancelled),
        cmocka_unit_test(expired_inside_before_it_is_cancelled_outside_is_a_timeout),
        cmocka_unit_test(an_expired_scope_that_is_cancelled_keeps_its_code),
        cmocka_unit_test(of_a_deadline_and_a_cancellation_the_first_one_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
