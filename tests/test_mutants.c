/* What no other test noticed when it was broken on purpose. */
#include "support.h"

/* --- The first of several codes --------------------------------------------------------------- */

static co_scope_t outer;

static int cancel_outer(void *arg)
{
    (void)arg;
    co_sleep(1);
    co_scope_cancel(&outer);
    return 0;
}

/*     outer     |------------x cancelled at 1 ms
 *     inner     |------------------------x expires at 2 ms
 *     shielded  |---------------------------------| until 3 ms
 */
static int expire_inside_a_cancelled_scope(void *arg)
{
    co_scope_t inner;
    (void)arg;
    co_go(cancel_outer, NULL);
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, 2);
    CHECK_INT(co_sleep_ns(MS / 2), 0); /* its timer is set */
    co_shield() CHECK_INT(co_sleep(3), 0);
    CHECK(co_scope_cancelled(&outer) && co_scope_expired(&inner));
    CHECK_INT(co_yield_now(), -ECANCELED);
    co_scope_leave(&inner);
    CHECK_INT(co_yield_now(), -ECANCELED);
    co_scope_leave(&outer);
    return co_yield_now();
}

static void the_scope_that_was_first_tells_the_code(void **state)
{
    (void)state;
    assert_int_equal(run_task(expire_inside_a_cancelled_scope, NULL), 0);
}

static int cancel_around_an_expired_scope(void *arg)
{
    co_scope_t inner;
    (void)arg;
    co_scope_enter(&outer, -1);
    co_scope_enter(&inner, 1);
    CHECK_INT(co_sleep(5), -ETIMEDOUT);
    co_scope_cancel(&outer);
    CHECK_INT(co_yield_now(), -ETIMEDOUT);
    co_scope_leave(&inner);
    CHECK_INT(co_yield_now(), -ECANCELED);
    co_scope_leave(&outer);
    return co_yield_now();
}

static void a_later_one_around_it_is_seen_after_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_around_an_expired_scope, NULL), 0);
}

/* --- No memory to wait for many --------------------------------------------------------------- */

enum { MANY = 20 };

static int sleep_for_ever(void *arg)
{
    int rc = co_sleep(-1);
    *(int *)arg += rc == -ECANCELED;
    return rc;
}

static void spawn_many(co_task_t *tasks[], int *cancelled)
{
    for (int i = 0; i < MANY; i++)
        tasks[i] = co_spawn(sleep_for_ever, cancelled);
    co_sleep(1);
}

static int gather_without_memory(void *arg)
{
    co_task_t *tasks[MANY];
    int cancelled = 0;
    (void)arg;
    spawn_many(tasks, &cancelled);
    fail_allocation(1, false);
    CHECK_INT(co_gather_tasks(tasks, MANY), -ENOMEM);
    CHECK_INT(cancelled, MANY);
    return 0;
}

static int gather_all_without_memory(void *arg)
{
    co_task_t *tasks[MANY];
    int cancelled = 0, results[MANY];
    (void)arg;
    spawn_many(tasks, &cancelled);
    fail_allocation(1, false);
    CHECK_INT(co_gather_all(tasks, MANY, results), -ENOMEM);
    CHECK_INT(cancelled, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(results[i], -ECANCELED);
    return 0;
}

static void a_gather_without_memory_cancels_all_and_waits_for_them(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_without_memory, NULL), 0);
    assert_int_equal(run_task(gather_all_without_memory, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scope_that_was_first_tells_the_code),
        cmocka_unit_test(a_later_one_around_it_is_seen_after_it),
        cmocka_unit_test(a_gather_without_memory_cancels_all_and_waits_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
