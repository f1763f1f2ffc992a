/* The event: set wakes everybody, even if it is cleared before they run. */
#include "support.h"

struct waiter {
    co_event_t *event;
    const char *name;
    int result;
};

static int await(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = co_event_wait(waiter->event);
    trace("%s%s", waiter->name, waiter->result < 0 ? "-" : "+");
    return 0;
}

static co_task_t *start(struct waiter *waiter)
{
    co_task_t *task = co_spawn(await, waiter);
    CHECK(task != NULL);
    CHECK_INT(co_yield_now(), 0);
    return task;
}

static void it_is_set_and_cleared_from_anywhere(void **state)
{
    (void)state;
    co_event_t event = {0};
    assert_false(co_event_is_set(&event));
    co_event_set(&event);
    co_event_set(&event);
    assert_true(co_event_is_set(&event));
    co_event_clear(&event);
    co_event_clear(&event);
    assert_false(co_event_is_set(&event));
}

static int wait_for_set(void *arg)
{
    co_event_t event = {0};
    int rc = 1;
    (void)arg;
    co_timeout(0) rc = co_event_wait(&event);
    CHECK_INT(rc, -ETIMEDOUT);
    co_event_set(&event);
    CHECK_INT(co_event_wait(&event), 0);
    co_timeout(0) rc = co_event_wait(&event);
    CHECK_INT(rc, 0); /* it stays set */
    return co_event_is_set(&event);
}

static void set_it_is_waited_for_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_set, NULL), 1);
}

static int wake_three(void *arg)
{
    co_event_t event = {0};
    struct waiter a = {&event, "a", 1}, b = {&event, "b", 1}, c = {&event, "c", 1};
    co_task_t *tasks[] = {start(&a), start(&b), start(&c)};
    co_event_set(&event);
    if (arg)
        co_event_clear(&event);
    trace("set");
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    return co_event_is_set(&event);
}

static void setting_it_wakes_all_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(wake_three, NULL), 1);
    assert_string_equal(traced(), "set a+ b+ c+");
}

static void cleared_at_once_it_has_woken_them_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(run_task(wake_three, "clear"), 0);
    assert_string_equal(traced(), "set a+ b+ c+");
}

static int wait_after_pulse(void *arg)
{
    co_event_t event = {0};
    struct waiter a = {&event, "a", 1}, late = {&event, "late", 1};
    (void)arg;
    co_task_t *first = start(&a);
    co_event_set(&event);
    co_event_clear(&event);
    co_task_t *second = start(&late);
    CHECK_INT(co_await_task(first), 0);
    CHECK_INT(co_sleep(5), 0);
    CHECK(!co_task_done(second));
    co_event_set(&event);
    return co_await_task(second);
}

static void who_comes_after_it_was_cleared_waits(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_after_pulse, NULL), 0);
    assert_string_equal(traced(), "a+ late+");
}

static int cancel_waiters(void *arg)
{
    co_event_t event = {0};
    struct waiter a = {&event, "a", 1}, b = {&event, "b", 1}, c = {&event, "c", 1};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b), start(&c)};
    co_task_cancel(tasks[0]); /* before: it is told so */
    co_event_set(&event);
    co_task_cancel(tasks[1]); /* after: it was woken */
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    CHECK_INT(a.result, -ECANCELED);
    return 0;
}

static void a_waiter_cancelled_in_the_same_moment_is_woken_or_cancelled(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_waiters, NULL), 0);
    assert_string_equal(traced(), "a- b+ c+");
}

static int wait_when_cancelled(void *arg)
{
    co_event_t event = {0};
    (void)arg;
    co_event_set(&event);
    co_task_cancel(co_self());
    return co_event_wait(&event);
}

static void a_cancelled_task_is_told_so_even_if_it_is_set(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_when_cancelled, NULL), -ECANCELED);
}

static int wait_again_and_again(void *arg)
{
    co_event_t *event = arg;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(co_event_wait(event), 0);
        trace("%d", i);
    }
    return 0;
}

static int pulse(void *arg)
{
    co_event_t event = {0};
    (void)arg;
    co_task_t *task = co_spawn(wait_again_and_again, &event);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(co_yield_now(), 0);
        trace("set");
        co_event_set(&event);
        co_event_clear(&event);
        CHECK_INT(co_yield_now(), 0);
    }
    return co_await_task(task);
}

static void each_setting_wakes_a_waiter_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(pulse, NULL), 0);
    assert_string_equal(traced(), "set 0 set 1 set 2");
}

static void set_from_call(void *event)
{
    co_event_set(event);
}

static int wait_for_callback(void *arg)
{
    co_event_t event = {0};
    (void)arg;
    CHECK_INT(loop_call_later(loop_current(), 5, set_from_call, &event, NULL), 0);
    return co_event_wait(&event);
}

static void a_callback_may_set_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_callback, NULL), 0);
    co_event_t event = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_event_wait(&event), -EPERM); /* but not wait */
    assert_int_equal(close_loop(loop), 0);
}

static int leave_and_free(void *arg)
{
    co_event_t *event = calloc(1, sizeof *event);
    struct waiter a = {event, "a", 1};
    (void)arg;
    co_task_t *task = start(&a);
    co_event_set(event);
    CHECK_INT(co_await_task(task), 0);
    task = start(&(struct waiter){event, "b", 1});
    co_event_clear(event);
    free(event); /* nobody waits any more */
    return co_await_task(task);
}

static void it_can_go_away_when_nobody_waits(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_and_free, NULL), 0);
}

static void those_who_wait_in_vain_are_reported_with_the_place(void **state)
{
    (void)state;
    co_event_t event = {0};
    struct waiter a = {&event, "a", 1};
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, await, &a));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_non_null(strstr(reported(), "co_event_wait"));
    assert_non_null(strstr(reported(), "test_event.c:"));
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "a-");
}

static int wait_often(void *arg)
{
    co_event_t *events = arg;
    for (int i = 0; i < 50; i++) {
        CHECK_INT(co_event_wait(&events[0]), 0);
        co_event_clear(&events[0]);
        co_event_set(&events[1]);
    }
    return 0;
}

static int count_allocations(void *arg)
{
    co_event_t events[2] = {0};
    (void)arg;
    co_task_t *task = co_spawn(wait_often, events);
    fail_allocation(1, true);
    for (int i = 0; i < 50; i++) {
        co_event_set(&events[0]);
        CHECK_INT(co_event_wait(&events[1]), 0);
        co_event_clear(&events[1]);
    }
    CHECK_INT(allocations(), 0);
    fail_allocation(0, false);
    return co_await_task(task);
}

static void no_call_allocates(void **state)
{
    (void)state;
    assert_int_equal(run_task(count_allocations, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_set_and_cleared_from_anywhere),
        cmocka_unit_test(set_it_is_waited_for_at_once),
        cmocka_unit_test(setting_it_wakes_all_in_the_order_of_arrival),
        cmocka_unit_test(cleared_at_once_it_has_woken_them_all_the_same),
        cmocka_unit_test(who_comes_after_it_was_cleared_waits),
        cmocka_unit_test(a_waiter_cancelled_in_the_same_moment_is_woken_or_cancelled),
        cmocka_unit_test(a_cancelled_task_is_told_so_even_if_it_is_set),
        cmocka_unit_test(each_setting_wakes_a_waiter_once),
        cmocka_unit_test(a_callback_may_set_it),
        cmocka_unit_test(it_can_go_away_when_nobody_waits),
        cmocka_unit_test(those_who_wait_in_vain_are_reported_with_the_place),
        cmocka_unit_test(no_call_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
