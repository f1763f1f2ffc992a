/* The condition: who is woken, in which order, and who has the mutex then. */
#include "support.h"

enum { MANY = 300 };

struct waiter {
    co_cond_t *cond;
    co_mutex_t *mutex;
    int number, result;
};

struct scene {
    co_mutex_t mutex, other;
    co_cond_t cond;
    struct waiter waiters[MANY];
    co_task_t *tasks[MANY];
    int order[MANY], woken;
};

static struct scene scene;

static int wait_once(void *arg)
{
    struct waiter *waiter = arg;
    CHECK_INT(co_mutex_lock(waiter->mutex), 0);
    waiter->result = co_cond_wait(waiter->cond, waiter->mutex);
    CHECK(waiter->mutex->owner == co_self());
    scene.order[scene.woken++] = waiter->number;
    trace("%d%s", waiter->number, waiter->result < 0 ? "!" : "");
    co_mutex_unlock(waiter->mutex);
    return 0;
}

static void start(int number, co_mutex_t *mutex)
{
    struct waiter *waiter = &scene.waiters[number];
    *waiter = (struct waiter){&scene.cond, mutex, number, 1};
    scene.tasks[number] = co_spawn(wait_once, waiter);
    CHECK(scene.tasks[number] != NULL);
}

static void start_all(int n)
{
    memset(&scene, 0, sizeof scene);
    for (int i = 0; i < n; i++)
        start(i, &scene.mutex);
    CHECK_INT(co_yield_now(), 0);
}

static int count_woken(int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += scene.waiters[i].result == 0;
    return count;
}

static int signal_one_by_one(void *arg)
{
    (void)arg;
    start_all(MANY);
    for (int i = 0; i < MANY; i++) {
        co_cond_signal(&scene.cond);
        CHECK_INT(co_sleep(1), 0);
        CHECK_INT(scene.woken, i + 1); /* one signal, one waiter */
        CHECK_INT(scene.order[i], i);
    }
    return co_gather_tasks(scene.tasks, MANY);
}

static void each_signal_wakes_one_of_many_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_one_by_one, NULL), 0);
}

static int signal_some_at_once(void *arg)
{
    (void)arg;
    start_all(MANY);
    for (int i = 0; i < MANY / 3; i++)
        co_cond_signal(&scene.cond);
    CHECK_INT(co_sleep(1), 0);
    CHECK_INT(count_woken(MANY), MANY / 3);
    co_cond_broadcast(&scene.cond);
    co_cond_broadcast(&scene.cond); /* finds nobody */
    CHECK_INT(co_gather_tasks(scene.tasks, MANY), 0);
    CHECK_INT(count_woken(MANY), MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(scene.order[i], i);
    return 0;
}

static void a_broadcast_wakes_the_rest_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_some_at_once, NULL), 0);
}

static int cancel_every_third(void *arg)
{
    bool after = arg != NULL;
    start_all(MANY);
    if (after)
        co_cond_broadcast(&scene.cond);
    for (int i = 0; i < MANY; i += 3)
        co_task_cancel(scene.tasks[i]);
    if (!after)
        co_cond_broadcast(&scene.cond);
    CHECK_INT(co_gather_all(scene.tasks, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(scene.waiters[i].result, i % 3 == 0 && !after ? -ECANCELED : 0);
    return 0;
}

static void a_broadcast_and_cancellations_decide_for_each_by_what_came_first(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_every_third, NULL), 0);
    assert_int_equal(run_task(cancel_every_third, "after"), 0);
}

/* Cancelled ones stand in the line no more: no signal is lost on them. */
static int signal_among_cancelled(void *arg)
{
    (void)arg;
    start_all(9);
    for (int i = 0; i < 9; i++)
        if (i % 3)
            co_task_cancel(scene.tasks[i]);
    for (int i = 0; i < 3; i++)
        co_cond_signal(&scene.cond);
    CHECK_INT(co_gather_all(scene.tasks, 9, NULL), 0);
    for (int i = 0; i < 9; i++)
        CHECK_INT(scene.waiters[i].result, i % 3 ? -ECANCELED : 0);
    return 0;
}

static void signals_find_those_who_still_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_among_cancelled, NULL), 0);
}

/* --- The mutex afterwards --------------------------------------------------------------------- */

static int lock_and_tell(void *arg)
{
    CHECK_INT(co_mutex_lock(&scene.mutex), 0);
    trace("%s", (const char *)arg);
    co_mutex_unlock(&scene.mutex);
    return 0;
}

/* The broadcaster holds the mutex: x asked for it before the waiters were woken, y after it. */
static int requeue(void *arg)
{
    (void)arg;
    start_all(3);
    CHECK_INT(co_mutex_lock(&scene.mutex), 0);
    co_task_t *x = co_spawn(lock_and_tell, "x");
    CHECK_INT(co_yield_now(), 0);
    co_cond_broadcast(&scene.cond);
    CHECK_INT(co_yield_now(), 0);
    co_task_t *y = co_spawn(lock_and_tell, "y");
    CHECK_INT(co_sleep(1), 0);
    trace("unlock");
    co_mutex_unlock(&scene.mutex);
    CHECK_INT(co_gather(x, y), 0);
    return co_gather_tasks(scene.tasks, 3);
}

static void woken_waiters_queue_for_the_mutex_in_their_order(void **state)
{
    (void)state;
    assert_int_equal(run_task(requeue, NULL), 0);
    assert_string_equal(traced(), "unlock x 0 1 2 y");
}

static int signal_first(void *arg)
{
    int rc = 1;
    (void)arg;
    memset(&scene, 0, sizeof scene);
    co_cond_signal(&scene.cond);
    co_cond_broadcast(&scene.cond);
    CHECK_INT(co_mutex_lock(&scene.mutex), 0);
    int64_t start = loop_time(loop_current());
    co_timeout(7) rc = co_cond_wait(&scene.cond, &scene.mutex);
    CHECK_INT(loop_time(loop_current()) - start, 7 * MS);
    CHECK(scene.mutex.owner == co_self());
    co_mutex_unlock(&scene.mutex);
    return rc;
}

static void a_signal_before_the_wait_is_lost(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_first, NULL), -ETIMEDOUT);
}

/* Each waiter locks its own again; the one whose mutex is held does not keep the other one. */
static int use_two_mutexes(void *arg)
{
    (void)arg;
    memset(&scene, 0, sizeof scene);
    start(0, &scene.mutex);
    start(1, &scene.other);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_mutex_lock(&scene.mutex), 0); /* both gave theirs back */
    CHECK_INT(co_mutex_trylock(&scene.other), 0);
    co_mutex_unlock(&scene.other);
    co_cond_broadcast(&scene.cond);
    CHECK_INT(co_await_task(scene.tasks[1]), 0);
    trace("unlock");
    co_mutex_unlock(&scene.mutex);
    return co_await_task(scene.tasks[0]);
}

static void waiters_with_different_mutexes_get_their_own_back(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_two_mutexes, NULL), 0);
    assert_string_equal(traced(), "1 unlock 0");
}

static int use_two_conditions(void *arg)
{
    co_cond_t other = {0};
    (void)arg;
    start_all(2);
    scene.waiters[2] = (struct waiter){&other, &scene.mutex, 2, 1};
    co_task_t *task = co_spawn(wait_once, &scene.waiters[2]);
    CHECK_INT(co_yield_now(), 0);
    co_cond_broadcast(&other);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(count_woken(2), 0);
    co_cond_broadcast(&scene.cond);
    return co_gather_tasks(scene.tasks, 2);
}

static void conditions_of_one_mutex_are_apart(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_two_conditions, NULL), 0);
    assert_string_equal(traced(), "2 0 1");
}

static void signal_it(void *cond)
{
    trace("signal");
    co_cond_signal(cond);
}

static int wait_for_callback(void *arg)
{
    (void)arg;
    memset(&scene, 0, sizeof scene);
    CHECK_INT(loop_call_later(loop_current(), 5, signal_it, &scene.cond, NULL), 0);
    CHECK_INT(co_mutex_lock(&scene.mutex), 0);
    int rc = co_cond_wait(&scene.cond, &scene.mutex);
    CHECK(scene.mutex.owner == co_self());
    co_mutex_unlock(&scene.mutex);
    return rc;
}

static void a_callback_may_signal(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_callback, NULL), 0);
    assert_string_equal(traced(), "signal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_wakes_one_of_many_in_the_order_of_arrival),
        cmocka_unit_test(a_broadcast_wakes_the_rest_in_the_order_of_arrival),
        cmocka_unit_test(a_broadcast_and_cancellations_decide_for_each_by_what_came_first),
        cmocka_unit_test(signals_find_those_who_still_wait),
        cmocka_unit_test(woken_waiters_queue_for_the_mutex_in_their_order),
        cmocka_unit_test(a_signal_before_the_wait_is_lost),
        cmocka_unit_test(waiters_with_different_mutexes_get_their_own_back),
        cmocka_unit_test(conditions_of_one_mutex_are_apart),
        cmocka_unit_test(a_callback_may_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
