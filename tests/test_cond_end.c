/* The condition when the wait ends otherwise: out of time, cancelled, without memory, at the close
 * of the loop. Whatever co_cond_wait returns, the mutex is the caller's. */
#include "support.h"

struct place {
    co_mutex_t mutex;
    co_cond_t cond;
    int result;
};

static int wait_once(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    place->result = co_cond_wait(&place->cond, &place->mutex);
    CHECK(place->mutex.owner == co_self());
    trace("%d", place->result);
    co_mutex_unlock(&place->mutex);
    return 0;
}

/* --- Deadlines -------------------------------------------------------------------------------- */

static int wait_for_5_ms(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_timeout(5) place->result = co_cond_wait(&place->cond, &place->mutex);
    CHECK(place->mutex.owner == co_self());
    trace("%d", place->result);
    co_mutex_unlock(&place->mutex);
    return 0;
}

static int expire_while_locked(void *arg)
{
    struct place place = {.result = 1};
    (void)arg;
    co_task_t *task = co_spawn(wait_for_5_ms, &place);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    CHECK_INT(co_sleep(10), 0);
    CHECK_INT(place.result, 1);  /* it waits for the mutex */
    co_cond_signal(&place.cond); /* and for no signal any more */
    trace("unlock");
    co_mutex_unlock(&place.mutex);
    CHECK_INT(co_await_task(task), 0);
    return place.result;
}

static void out_of_time_a_waiter_waits_for_the_mutex_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(run_task(expire_while_locked, NULL), -ETIMEDOUT);
    assert_string_equal(traced(), "unlock -110");
}

static int wait_then_sleep(void *arg)
{
    struct place *place = arg;
    int rc = 1;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_timeout(5)
    {
        place->result = co_cond_wait(&place->cond, &place->mutex);
        rc = co_yield_now();
    }
    CHECK(place->mutex.owner == co_self());
    co_mutex_unlock(&place->mutex);
    return rc;
}

static int expire_after_the_signal(void *arg)
{
    struct place place = {.result = 1};
    (void)arg;
    co_task_t *task = co_spawn(wait_then_sleep, &place);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    co_cond_signal(&place.cond);
    CHECK_INT(co_sleep(10), 0);
    co_mutex_unlock(&place.mutex);
    int rc = co_await_task(task);
    CHECK_INT(place.result, 0); /* it had its signal, and is told of the deadline later */
    return rc;
}

static void a_deadline_that_comes_after_the_signal_is_seen_by_the_next_call(void **state)
{
    (void)state;
    assert_int_equal(run_task(expire_after_the_signal, NULL), -ETIMEDOUT);
}

static int wait_with_no_time(void *arg)
{
    struct place place = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    co_timeout(0) rc = co_cond_wait(&place.cond, &place.mutex);
    CHECK(place.mutex.owner == co_self());
    co_mutex_unlock(&place.mutex);
    return rc;
}

static void without_any_time_the_wait_ends_with_the_mutex(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_with_no_time, NULL), -ETIMEDOUT);
}

/* --- Cancellations ---------------------------------------------------------------------------- */

static int wait_shielded(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_shield() place->result = co_cond_wait(&place->cond, &place->mutex);
    CHECK(place->mutex.owner == co_self());
    co_mutex_unlock(&place->mutex);
    return co_yield_now();
}

static int cancel_shielded(void *arg)
{
    struct place place = {.result = 1};
    (void)arg;
    co_task_t *task = co_spawn(wait_shielded, &place);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(task);
    CHECK_INT(co_sleep(5), 0);
    CHECK_INT(place.result, 1);
    co_cond_signal(&place.cond);
    CHECK_INT(co_await_task(task), -ECANCELED);
    return place.result;
}

static void a_shielded_waiter_waits_for_its_signal(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_shielded, NULL), 0);
}

static int use_what_one_does_not_own(void *arg)
{
    struct place place = {0};
    (void)arg;
    CHECK_INT(co_cond_wait(&place.cond, &place.mutex), -EPERM);
    CHECK(place.mutex.owner == NULL);
    co_task_t *task = co_spawn(wait_once, &place);
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    CHECK_INT(co_yield_now(), 0);
    co_mutex_unlock(&place.mutex); /* it is the other one's now */
    CHECK_INT(co_cond_wait(&place.cond, &place.mutex), -EPERM);
    CHECK(place.mutex.owner == task);
    CHECK_INT(co_yield_now(), 0);
    co_cond_signal(&place.cond);
    return co_await_task(task);
}

static void a_mutex_of_another_or_of_nobody_is_refused_and_left_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_what_one_does_not_own, NULL), 0);
    struct place place = {0};
    assert_int_equal(co_cond_wait(&place.cond, &place.mutex), -EPERM);
}

/* --- Memory ----------------------------------------------------------------------------------- */

static int wait_without_memory(void *arg)
{
    struct place place = {.result = 1};
    (void)arg;
    co_task_t *task = co_spawn(wait_once, &place);
    CHECK_INT(co_yield_now(), 0);
    fail_allocation(1, true);
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    co_cond_signal(&place.cond);
    CHECK_INT(co_yield_now(), 0); /* it queues for the mutex */
    co_mutex_unlock(&place.mutex);
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT((int64_t)allocations(), 0);
    fail_allocation(0, false);
    CHECK_INT(co_await_task(task), 0);
    return place.result;
}

static void waiting_signalling_and_locking_again_need_no_memory(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_without_memory, NULL), 0);
}

/* The deadline of the scope around it cannot be set: it has not waited, but it has let others at
 * the mutex, and gets it back after them. */
static int wait_without_memory_for_the_deadline(void *arg)
{
    struct place place = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_mutex_lock(&place.mutex), 0);
    co_task_t *task = co_spawn(wait_once, &place);
    CHECK_INT(co_yield_now(), 0); /* it waits for the mutex */
    fail_allocation(1, true);
    co_timeout(5) rc = co_cond_wait(&place.cond, &place.mutex);
    fail_allocation(0, false);
    CHECK(place.mutex.owner == co_self());
    trace("%d", rc);
    co_cond_signal(&place.cond);
    co_mutex_unlock(&place.mutex);
    CHECK_INT(co_await_task(task), 0);
    return rc;
}

static void without_memory_for_a_deadline_the_mutex_comes_back_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_without_memory_for_the_deadline, NULL), -ENOMEM);
    assert_string_equal(traced(), "-12 0");
}

/* --- The end of the loop ---------------------------------------------------------------------- */

enum { MANY = 50 };

static void a_closing_loop_cancels_waiters_who_hold_the_mutex_in_turn(void **state)
{
    (void)state;
    struct place place = {.result = 1};
    loop_t *loop = open_loop();
    for (int i = 0; i < MANY; i++)
        co_task_release(co_spawn(wait_once, &place));
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), MANY);
    assert_int_equal(place.result, -ECANCELED);
    assert_null(place.mutex.owner);
    assert_int_equal(strlen(traced()), MANY * strlen("-125 ") - 1);
    assert_string_equal(reported(), "");
}

static void who_waits_in_vain_is_reported_with_the_place(void **state)
{
    (void)state;
    struct place place = {.result = 1};
    loop_t *loop = open_loop();
    co_task_release(co_spawn(wait_once, &place));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_non_null(strstr(reported(), "co_cond_wait"));
    assert_non_null(strstr(reported(), "wait_once"));
    assert_non_null(strstr(reported(), "test_cond_end.c:"));
    assert_int_equal(close_loop(loop), 1);
}

static int lock_for_ever(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_cond_signal(&place->cond);
    return co_sleep(-1);
}

/* A waiter that has its signal and waits for the mutex again is described as one who waits for it,
 * with the owner's name. */
static void who_waits_for_the_mutex_again_is_reported_with_its_owner(void **state)
{
    (void)state;
    struct place place = {.result = 1};
    co_spawn_options_t options = {.name = "the owner"};
    loop_t *loop = open_loop();
    co_task_release(co_spawn(wait_once, &place));
    co_task_release(co_spawn_with(&options, lock_for_ever, &place));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 2);
    const char *waiter = strstr(reported(), "wait_once");
    assert_non_null(waiter);
    assert_non_null(strstr(waiter, "'the owner'"));
    assert_non_null(strstr(waiter, "test_cond_end.c:"));
    assert_int_equal(close_loop(loop), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_time_a_waiter_waits_for_the_mutex_all_the_same),
        cmocka_unit_test(a_deadline_that_comes_after_the_signal_is_seen_by_the_next_call),
        cmocka_unit_test(without_any_time_the_wait_ends_with_the_mutex),
        cmocka_unit_test(a_shielded_waiter_waits_for_its_signal),
        cmocka_unit_test(a_mutex_of_another_or_of_nobody_is_refused_and_left_alone),
        cmocka_unit_test(waiting_signalling_and_locking_again_need_no_memory),
        cmocka_unit_test(without_memory_for_a_deadline_the_mutex_comes_back_too),
        cmocka_unit_test(a_closing_loop_cancels_waiters_who_hold_the_mutex_in_turn),
        cmocka_unit_test(who_waits_in_vain_is_reported_with_the_place),
        cmocka_unit_test(who_waits_for_the_mutex_again_is_reported_with_its_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
