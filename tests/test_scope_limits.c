/* Scopes in trouble: used wrongly, outside a coroutine, and without memory. */
#include "test_forked.h"

/* --- Misuse ----------------------------------------------------------------------------------- */

static void run_it(void *fn)
{
    co_run(*(co_fn **)fn, NULL);
}

/* What a child process that runs fn as a task writes to stderr before it aborts. */
static const char *last_words(co_fn *fn)
{
    return words_of_abort(run_it, &fn);
}

static int leave_outer_first(void *arg)
{
    (void)arg;
    co_scope_t outer, inner;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, -1);
    co_scope_leave(&outer);
    return 0;
}

static int leave_it(void *scope)
{
    co_scope_leave(scope);
    return 0;
}

static int let_another_leave(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, -1);
    return co_await_task(co_spawn(leave_it, &scope));
}

static int leave_round_a_shield(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, -1);
    co_shield() co_scope_leave(&scope);
    return 0;
}

static int never_leave(void *arg)
{
    (void)arg;
    static co_scope_t scope;
    co_scope_enter(&scope, -1);
    return 0;
}

static int enter_twice(void *arg)
{
    (void)arg;
    static co_scope_t scope;
    co_scope_enter(&scope, 10);
    co_scope_enter(&scope, 10);
    return co_sleep(100);
}

static void entering_twice_aborts(void **state)
{
    (void)state;
    assert_non_null(strstr(last_words(enter_twice), "is entered already, by task"));
}

static void leaving_in_the_wrong_order_or_not_at_all_aborts(void **state)
{
    (void)state;
    assert_non_null(strstr(last_words(leave_outer_first), "co_scope_leave"));
    assert_non_null(strstr(last_words(let_another_leave), "'leave_it'"));
    assert_non_null(strstr(last_words(leave_round_a_shield), "co_scope_leave"));
    assert_non_null(strstr(last_words(never_leave), "inside a scope"));
}

static void outside_a_coroutine_scopes_do_nothing(void **state)
{
    (void)state;
    int runs = 0;
    co_scope_t scope;
    loop_t *loop = open_loop();
    co_timeout(0) runs++;
    co_timeout_at(0) runs++;
    co_shield() runs++;
    co_scope_enter(&scope, 0);
    co_scope_cancel(&scope);
    co_scope_set_deadline(&scope, 0);
    assert_false(co_scope_expired(&scope));
    co_scope_leave(&scope);
    assert_int_equal(runs, 3);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Without memory --------------------------------------------------------------------------- */

static int sleep_without_memory(void *arg)
{
    (void)arg;
    co_timeout(10)
    {
        fail_allocation(1, true);
        CHECK_INT(co_sleep(-1), -ENOMEM);
        CHECK_INT(co_yield_now(), -ENOMEM);
        fail_allocation(0, false);
        CHECK_INT(co_sleep(-1), -ETIMEDOUT);
    }
    return (int)(loop_time(loop_current()) / MS);
}

static void a_call_whose_deadline_cannot_be_set_says_so(void **state)
{
    (void)state;
    assert_int_equal(run_task(sleep_without_memory, NULL), 10);
}

/* The inner scope needs no timer, the outer one does and gets none: it must be tried again. */
static int sleep_in_two_scopes(void *arg)
{
    (void)arg;
    co_timeout(10) co_timeout(-1)
    {
        fail_allocation(1, true);
        CHECK_INT(co_sleep(-1), -ENOMEM);
        fail_allocation(0, false);
        CHECK_INT(co_sleep(100), -ETIMEDOUT);
    }
    return (int)(loop_time(loop_current()) / MS);
}

static void no_deadline_is_forgotten_when_one_of_several_could_not_be_set(void **state)
{
    (void)state;
    assert_int_equal(run_task(sleep_in_two_scopes, NULL), 10);
}

static int move_without_memory(void *arg)
{
    (void)arg;
    co_scope_t outer, inner;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, -1);
    CHECK_INT(co_yield_now(), 0);
    fail_allocation(1, true);
    co_scope_set_deadline(&outer, 10 * MS);
    fail_allocation(0, false);
    int rc = co_sleep(100);
    CHECK(rc == -ENOMEM || rc == -ETIMEDOUT);
    CHECK_INT(co_sleep(100), -ETIMEDOUT);
    co_scope_leave(&inner);
    co_scope_leave(&outer);
    return (int)(loop_time(loop_current()) / MS);
}

static void a_deadline_moved_without_memory_is_not_forgotten(void **state)
{
    (void)state;
    assert_int_equal(run_task(move_without_memory, NULL), 10);
}

struct parked {
    co_scope_t scope;
};

static int park_in_scopes(void *arg)
{
    struct parked *parked = arg;
    co_scope_enter(&parked->scope, -1);
    co_timeout(-1)
    {
        trace("%s", co_sleep(-1) == -ENOMEM ? "no-memory" : "?");
        trace("%s", co_sleep(-1) == -ETIMEDOUT ? "timeout" : "?");
    }
    co_scope_leave(&parked->scope);
    return 0;
}

static void moving_the_deadline_of_a_parked_task_without_memory_wakes_it(void **state)
{
    (void)state;
    struct parked parked;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, park_in_scopes, &parked);
    loop_run_once(loop, 0);
    fail_allocation(1, true);
    co_scope_set_deadline(&parked.scope, 10 * MS);
    fail_allocation(0, false);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "no-memory timeout");
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

/* More timers than the loop has room for: an allocation fails, and all is well in the end. */
static int sleep_a_little(void *arg)
{
    (void)arg;
    int rc = 0;
    co_timeout(50) co_timeout(20) rc = co_sleep(10);
    if (rc == -ENOMEM)
        trace("m");
    return 0;
}

static void when_some_timers_cannot_be_set_the_others_are(void **state)
{
    (void)state;
    enum { N = 100 };
    for (size_t nth = 1; nth < 8; nth++) {
        loop_t *loop = open_loop();
        for (int i = 0; i < N; i++)
            assert_int_equal(co_go(sleep_a_little, NULL), 0);
        fail_allocation(nth, false);
        loop_run_once(loop, 0);
        fail_allocation(0, false);
        assert_int_equal(loop_run(loop), 0);
        assert_true(strlen(traced()) <= 1);
        assert_int_equal(close_loop(loop), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaving_in_the_wrong_order_or_not_at_all_aborts),
        cmocka_unit_test(entering_twice_aborts),
        cmocka_unit_test(outside_a_coroutine_scopes_do_nothing),
        cmocka_unit_test(a_call_whose_deadline_cannot_be_set_says_so),
        cmocka_unit_test(no_deadline_is_forgotten_when_one_of_several_could_not_be_set),
        cmocka_unit_test(a_deadline_moved_without_memory_is_not_forgotten),
        cmocka_unit_test(moving_the_deadline_of_a_parked_task_without_memory_wakes_it),
        cmocka_unit_test(when_some_timers_cannot_be_set_the_others_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
