/* The condition: it holds the mutex again whatever it returns, and no signal is lost. */
#include "support.h"

struct place {
    co_mutex_t mutex;
    co_cond_t cond;
    int items, results[3];
};

static int consume(struct place *place, const char *name, int *result)
{
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    *result = 0;
    while (!place->items && *result == 0)
        *result = co_cond_wait(&place->cond, &place->mutex);
    CHECK(place->mutex.owner == co_self());
    trace("%s%d", name, *result);
    place->items -= *result == 0;
    co_mutex_unlock(&place->mutex);
    return 0;
}

static int consume_a(void *arg)
{
    return consume(arg, "a", &((struct place *)arg)->results[0]);
}

static int consume_b(void *arg)
{
    return consume(arg, "b", &((struct place *)arg)->results[1]);
}

static void spawn_both(struct place *place, co_task_t *tasks[2])
{
    tasks[0] = co_spawn(consume_a, place);
    tasks[1] = co_spawn(consume_b, place);
    CHECK_INT(co_yield_now(), 0);
}

static int signal_each(void *arg)
{
    struct place place = {0};
    co_task_t *tasks[2];
    spawn_both(&place, tasks);
    co_cond_signal(&place.cond); /* a hint: nothing to consume, it waits again, behind b */
    CHECK_INT(co_sleep(1), 0);
    place.items = 2;
    if (arg)
        co_cond_broadcast(&place.cond);
    for (int i = 0; i < 2 && !arg; i++)
        co_cond_signal(&place.cond);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    return place.items;
}

static void signals_and_broadcasts_wake_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_each, NULL), 0);
    assert_string_equal(traced(), "b0 a0");
    assert_int_equal(run_task(signal_each, "broadcast"), 0);
    assert_string_equal(traced(), "b0 a0");
}

static int cancel_and_signal(void *arg)
{
    struct place place = {0};
    co_task_t *tasks[2];
    (void)arg;
    spawn_both(&place, tasks);
    place.items = 1;
    co_task_cancel(tasks[0]);
    co_cond_signal(&place.cond); /* b's, as a does not wait any more */
    CHECK_INT(co_gather_all(tasks, 2, NULL), 0);
    CHECK_INT(place.results[0], -ECANCELED);
    return place.results[1];
}

static void a_signal_passes_a_cancelled_waiter_over(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_and_signal, NULL), 0);
    assert_string_equal(traced(), "a-125 b0");
}

static int signal_and_cancel(void *arg)
{
    struct place place = {0};
    co_task_t *tasks[2];
    (void)arg;
    spawn_both(&place, tasks);
    place.items = 2;
    co_cond_signal(&place.cond);
    co_task_cancel(tasks[0]);
    CHECK_INT(co_await_task(tasks[0]), 0);
    CHECK_INT(place.results[0], 0); /* it was chosen: it consumes */
    co_cond_signal(&place.cond);
    return co_await_task(tasks[1]);
}

static void cancelled_after_the_signal_a_waiter_has_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_and_cancel, NULL), 0);
    assert_string_equal(traced(), "a0 b0");
}

static int cancel_while_locked(void *arg)
{
    struct place place = {0};
    co_task_t *tasks[2];
    spawn_both(&place, tasks);
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    if (arg) {
        place.items = 2;
        co_cond_broadcast(&place.cond);
        CHECK_INT(co_yield_now(), 0); /* now they wait for the mutex */
    }
    co_task_cancel(tasks[0]);
    co_task_cancel(tasks[1]);
    CHECK_INT(co_sleep(5), 0);
    trace("unlock");
    co_mutex_unlock(&place.mutex);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    return co_mutex_trylock(&place.mutex);
}

static void a_cancelled_waiter_waits_for_the_mutex_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_while_locked, NULL), 0);
    assert_string_equal(traced(), "unlock a-125 b-125");
    assert_int_equal(run_task(cancel_while_locked, "signalled"), 0);
    assert_string_equal(traced(), "unlock a0 b0");
}

static int wait_in_vain(void *arg)
{
    struct place place = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_cond_wait(&place.cond, &place.mutex), -EPERM); /* not locked */
    co_cond_signal(&place.cond);                                /* nobody waits: it is lost */
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    co_timeout(5) rc = co_cond_wait(&place.cond, &place.mutex);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK(place.mutex.owner == co_self());
    co_task_cancel(co_self());
    CHECK_INT(co_cond_wait(&place.cond, &place.mutex), -ECANCELED);
    co_mutex_unlock(&place.mutex);
    return 0;
}

static void the_mutex_is_wanted_and_held_after_a_timeout_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_vain, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_and_broadcasts_wake_in_the_order_of_arrival),
        cmocka_unit_test(a_signal_passes_a_cancelled_waiter_over),
        cmocka_unit_test(cancelled_after_the_signal_a_waiter_has_it),
        cmocka_unit_test(a_cancelled_waiter_waits_for_the_mutex_all_the_same),
        cmocka_unit_test(the_mutex_is_wanted_and_held_after_a_timeout_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
