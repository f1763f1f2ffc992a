/* Futures: any number of waiters and callbacks, settled once. */
#include "support.h"

struct waiter {
    co_future_t *future;
    const char *name;
};

static int await(void *arg)
{
    struct waiter *waiter = arg;
    void *value = NULL;
    int rc = co_await_future(waiter->future, &value);
    trace("%s%d%s", waiter->name, rc, value ? (char *)value : "");
    return 0;
}

static void tell(co_future_t *future, void *arg)
{
    trace("%s%d", (char *)arg, co_future_result(future));
}

static int resolve_for_all(void *arg)
{
    co_future_t future = {0};
    struct waiter a = {&future, "a"}, b = {&future, "b"}, c = {&future, "c"}, d = {&future, "d"};
    co_task_t *tasks[] = {co_spawn(await, &a), co_spawn(await, &b), co_spawn(await, &c), NULL};
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_future_result(&future), -EINPROGRESS);
    co_task_cancel(tasks[0]); /* before: the future goes on */
    CHECK_INT(co_future_resolve(&future, *(int *)arg, "v"), 0);
    co_task_cancel(tasks[1]); /* after: it has its result */
    CHECK_INT(co_future_resolve(&future, 9, NULL), -EALREADY);
    CHECK(co_future_done(&future));
    tasks[3] = co_spawn(await, &d);
    CHECK_INT(co_gather_tasks(tasks, 4), 0);
    return co_await_future(&future, NULL);
}

static void all_waiters_get_result_and_value_and_it_is_settled_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(resolve_for_all, (&(int){7})), 7);
    assert_string_equal(traced(), "a-125 b7v c7v d7v");
    assert_int_equal(run_task(resolve_for_all, (&(int){-5})), -5);
    assert_string_equal(traced(), "a-125 b-5v c-5v d-5v");
}

static int call_back(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    CHECK_INT(co_future_add_done_callback(&future, NULL, NULL), -EINVAL);
    fail_allocation(1, true);
    CHECK_INT(co_future_add_done_callback(&future, tell, "x"), -ENOMEM);
    fail_allocation(0, false);
    CHECK_INT(co_future_add_done_callback(&future, tell, "p"), 0);
    CHECK_INT(co_future_add_done_callback(&future, tell, "q"), 0);
    CHECK_INT(co_future_resolve(&future, 3, NULL), 0);
    CHECK_INT(co_future_add_done_callback(&future, tell, "r"), 0);
    trace("resolved");
    return co_yield_now();
}

static void callbacks_come_through_the_ready_queue_in_the_order_of_adding(void **state)
{
    (void)state;
    assert_int_equal(run_task(call_back, NULL), 0);
    assert_string_equal(traced(), "resolved p3 q3 r3");
}

static int wait_in_vain(void *arg)
{
    co_future_t future = {0};
    int rc = 1;
    (void)arg;
    co_timeout(5) rc = co_await_future(&future, NULL);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_future_resolve(&future, 1, NULL), 0);
    co_timeout(0) rc = co_await_future(&future, NULL);
    return rc;
}

static void out_of_time_a_waiter_leaves_the_future_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_vain, NULL), 1);
    co_future_t future = {0};
    assert_int_equal(co_await_future(&future, NULL), -EPERM);
    assert_int_equal(co_future_add_done_callback(&future, tell, "x"), -EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_waiters_get_result_and_value_and_it_is_settled_once),
        cmocka_unit_test(callbacks_come_through_the_ready_queue_in_the_order_of_adding),
        cmocka_unit_test(out_of_time_a_waiter_leaves_the_future_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
