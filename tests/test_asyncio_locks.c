/* Mutex, event, condition and semaphore where Python's tests of asyncio locks ask for more than the
 * tests of each. The barrier is in test_asyncio_locks_barrier.c; the table in
 * asyncio_conformance.md. */
#include "test_asyncio.h"

/* --- Mutex ------------------------------------------------------------------------------------ */

static co_mutex_t mutex;

struct holder {
    const char *name;
    co_event_t *leave;
};

/* Holds the mutex until it is told to leave; "a+" when it has it, "a-" when it does not get it. */
static int hold(void *arg)
{
    const struct holder *holder = arg;
    int rc = co_mutex_lock(&mutex);
    trace(rc < 0 ? "%s-" : "%s+", holder->name);
    if (rc < 0)
        return rc;
    CHECK_INT(co_event_wait(holder->leave), 0);
    co_mutex_unlock(&mutex);
    return 0;
}

static void cancel_task(void *task)
{
    co_task_cancel(task);
}

static int cancel_the_first_of_three(void *arg)
{
    co_event_t leave = {0};
    struct holder a = {"a", &leave}, b = {"b", &leave}, c = {"c", &leave};
    (void)arg;
    mutex = (co_mutex_t){0};
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_task_t *tasks[] = {co_spawn(hold, &a), co_spawn(hold, &b), co_spawn(hold, &c)};
    settle();
    CHECK_INT(loop_call_soon(loop_current(), cancel_task, tasks[0], NULL), 0);
    CHECK_INT(co_yield_now(), 0);
    co_mutex_unlock(&mutex);
    settle();
    trace("|");
    CHECK(mutex.owner == tasks[1] && !co_task_done(tasks[2]));
    co_event_set(&leave);
    CHECK_INT(co_gather_all(tasks, 3, NULL), 1);
    return co_mutex_trylock(&mutex);
}

static void behind_a_cancelled_waiter_one_gets_the_mutex_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_the_first_of_three, NULL), 0);
    assert_string_equal(traced(), "a- b+ | c+");
}

static void unlock(void *arg)
{
    co_mutex_unlock(arg);
}

static int lock_in_a_block(void *arg)
{
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_defer(unlock, &mutex);
    CHECK(mutex.owner == co_self());
    if (arg)
        co_throw(-EIO, "thrown");
    return 0;
}

static int leave_the_block(void *arg)
{
    mutex = (co_mutex_t){0};
    CHECK_INT(co_try(lock_in_a_block, arg), arg ? -EIO : 0);
    return co_mutex_trylock(&mutex);
}

static void a_deferred_unlock_gives_the_mutex_back_when_the_block_is_left(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_the_block, NULL), 0);
    assert_int_equal(run_task(leave_the_block, "by a throw"), 0);
}

/* --- Event ------------------------------------------------------------------------------------ */

static co_event_t event;

static int await_event(void *name)
{
    CHECK_INT(co_event_wait(&event), 0);
    trace("%s", (const char *)name);
    return 0;
}

static int set_before_the_last_begins(void *arg)
{
    (void)arg;
    event = (co_event_t){0};
    co_task_t *tasks[] = {co_spawn(await_event, "a"), co_spawn(await_event, "b"), NULL};
    settle();
    tasks[2] = co_spawn(await_event, "c");
    co_event_set(&event);
    return co_gather_tasks(tasks, 3);
}

/* It was ready when the others were woken. */
static void a_task_that_finds_it_set_does_not_queue_behind_those_woken(void **state)
{
    (void)state;
    assert_int_equal(run_task(set_before_the_last_begins, NULL), 0);
    assert_string_equal(traced(), "c a b");
}

static int set_clear_set_set(void *arg)
{
    (void)arg;
    event = (co_event_t){0};
    co_task_t *task = co_spawn(await_event, "a");
    settle();
    co_event_set(&event);
    co_event_clear(&event);
    CHECK(!co_event_is_set(&event));
    co_event_set(&event);
    co_event_set(&event);
    CHECK_INT(co_await_task(task), 0);
    co_event_clear(&event);
    task = co_spawn(await_event, "b"); /* no wake-up is left over */
    settle();
    CHECK(!co_task_done(task));
    co_event_set(&event);
    return co_await_task(task);
}

static void set_several_times_at_once_it_wakes_each_waiter_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(set_clear_set_set, NULL), 0);
    assert_string_equal(traced(), "a b");
}

/* --- Condition -------------------------------------------------------------------------------- */

static co_cond_t cond;
static bool met;

static int wait_for_signal(void *arg)
{
    const struct holder *holder = arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    CHECK_INT(co_cond_wait(&cond, &mutex), 0);
    trace("%s", holder->name);
    CHECK_INT(co_event_wait(holder->leave), 0);
    co_event_clear(holder->leave);
    co_mutex_unlock(&mutex);
    return 0;
}

static void let_one_leave(co_event_t *leave)
{
    settle();
    trace("|");
    co_event_set(leave);
    settle();
}

static int signal_three(void *arg)
{
    co_event_t leave = {0};
    struct holder a = {"a", &leave}, b = {"b", &leave}, c = {"c", &leave};
    (void)arg;
    mutex = (co_mutex_t){0}, cond = (co_cond_t){0};
    co_task_t *tasks[] = {co_spawn(wait_for_signal, &a), co_spawn(wait_for_signal, &b),
                          co_spawn(wait_for_signal, &c)};
    settle();
    CHECK_INT(co_mutex_lock(&mutex), 0); /* all have given it back */
    co_cond_signal(&cond);
    settle();
    CHECK(!*traced()); /* woken, but the mutex is ours */
    co_mutex_unlock(&mutex);
    let_one_leave(&leave);
    CHECK_INT(co_mutex_trylock(&mutex), 0); /* nobody else was woken */
    co_mutex_unlock(&mutex);
    for (int i = 0; i < 3; i++) /* more than wait: it is lost */
        co_cond_signal(&cond);
    let_one_leave(&leave);
    let_one_leave(&leave);
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    return co_mutex_trylock(&mutex);
}

static void those_woken_hold_the_mutex_one_after_another_in_order(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_three, NULL), 0);
    assert_string_equal(traced(), "a | b | c |");
}

static int wait_until_met(void *arg)
{
    int rc = 0, waits = 0;
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    for (; rc == 0 && !met; waits++)
        rc = co_cond_wait(&cond, &mutex);
    CHECK(mutex.owner == co_self());
    trace("%d", waits);
    co_mutex_unlock(&mutex);
    return rc;
}

/* The wait that was woken tells so; the cancellation is seen by the next one. */
static int cancel_while_it_locks_again(void *arg)
{
    mutex = (co_mutex_t){0}, cond = (co_cond_t){0}, met = false;
    co_task_t *task = co_spawn(wait_until_met, NULL);
    settle();
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_cond_signal(&cond);
    settle();
    met = arg != NULL;
    co_task_cancel(task);
    settle();
    CHECK(!*traced());
    co_mutex_unlock(&mutex);
    CHECK_INT(co_await_task(task), met ? 0 : -ECANCELED);
    return co_mutex_trylock(&mutex);
}

static void cancelled_while_it_locks_again_a_waiter_is_told_by_its_next_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_while_it_locks_again, NULL), 0);
    assert_string_equal(traced(), "2");
    assert_int_equal(run_task(cancel_while_it_locks_again, "met"), 0);
    assert_string_equal(traced(), "1");
}

/* --- Semaphore -------------------------------------------------------------------------------- */

static co_sem_t sem;

static int acquire(void *name)
{
    int rc = co_sem_acquire(&sem);
    trace(rc < 0 ? "%s-" : "%s+", (const char *)name);
    return rc;
}

static int cancel_two_of_four(void *arg)
{
    (void)arg;
    co_sem_init(&sem, 0);
    co_task_t *tasks[] = {co_spawn(acquire, "a"), co_spawn(acquire, "b"), co_spawn(acquire, "c"),
                          co_spawn(acquire, "d")};
    settle();
    co_task_cancel(tasks[0]);
    co_task_cancel(tasks[1]);
    co_sem_release(&sem);
    settle();
    CHECK(co_task_done(tasks[2]) && !co_task_done(tasks[3]));
    co_task_cancel(tasks[3]);
    CHECK_INT(co_gather_all(tasks, 4, NULL), 3);
    return co_sem_tryacquire(&sem);
}

static void behind_cancelled_waiters_a_permit_wakes_one_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_two_of_four, NULL), -EAGAIN);
    assert_string_equal(traced(), "a- b- c+ d-");
}

static int acquire_twice(void *name)
{
    for (int i = 1; i <= 2; i++) {
        CHECK_INT(co_sem_acquire(&sem), 0);
        trace("%s%d", (const char *)name, i);
        CHECK_INT(co_sleep(10), 0);
        co_sem_release(&sem);
    }
    return 0;
}

static int take_turns(void *arg)
{
    (void)arg;
    co_sem_init(&sem, 1);
    CHECK_INT(co_gather(co_spawn(acquire_twice, "a"), co_spawn(acquire_twice, "b"),
                        co_spawn(acquire_twice, "c")),
              0);
    return (int)now_ms();
}

static void who_releases_and_acquires_again_goes_behind_the_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(take_turns, NULL), 60);
    assert_string_equal(traced(), "a1 b1 c1 a2 b2 c2");
}

static int release_three_and_acquire(void *name)
{
    for (int i = 0; i < 3; i++)
        co_sem_release(&sem);
    return acquire(name);
}

static int acquire_beside_one_that_was_chosen(void *arg)
{
    (void)arg;
    co_sem_init(&sem, 0);
    CHECK_INT(co_gather(co_spawn(acquire, "a"), co_spawn(release_three_and_acquire, "b"),
                        co_spawn(acquire, "c")),
              0);
    return co_sem_tryacquire(&sem);
}

/* Python lets those that come later wait until `a` has run, though its permit is safe. */
static void a_permit_that_is_left_is_taken_before_a_chosen_waiter_runs(void **state)
{
    (void)state;
    assert_int_equal(run_task(acquire_beside_one_that_was_chosen, NULL), -EAGAIN);
    assert_string_equal(traced(), "b+ c+ a+");
}

static int release_and_cancel_next(void *arg)
{
    co_task_t **next = arg;
    CHECK_INT(acquire("a"), 0);
    CHECK_INT(co_yield_now(), 0);
    co_sem_release(&sem);
    co_task_cancel(*next);
    return 0;
}

static int acquire_and_give_way(void *arg)
{
    CHECK_INT(acquire(arg), 0);
    int rc = co_yield_now();
    co_sem_release(&sem);
    return rc;
}

static int cancel_the_one_just_chosen(void *arg)
{
    co_task_t *next;
    (void)arg;
    co_sem_init(&sem, 1);
    co_task_t *first = co_spawn(release_and_cancel_next, &next);
    next = co_spawn(acquire_and_give_way, "b");
    CHECK_INT(co_await_task(first), 0);
    CHECK_INT(co_await_task(next), -ECANCELED);
    int rc = 1;
    co_timeout(0) rc = co_sem_acquire(&sem);
    return rc;
}

static void the_permit_of_a_waiter_cancelled_when_chosen_comes_back(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_the_one_just_chosen, NULL), 0);
    assert_string_equal(traced(), "a+ b+");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_a_cancelled_waiter_one_gets_the_mutex_and_no_more),
        cmocka_unit_test(a_deferred_unlock_gives_the_mutex_back_when_the_block_is_left),
        cmocka_unit_test(a_task_that_finds_it_set_does_not_queue_behind_those_woken),
        cmocka_unit_test(set_several_times_at_once_it_wakes_each_waiter_once),
        cmocka_unit_test(those_woken_hold_the_mutex_one_after_another_in_order),
        cmocka_unit_test(cancelled_while_it_locks_again_a_waiter_is_told_by_its_next_wait),
        cmocka_unit_test(behind_cancelled_waiters_a_permit_wakes_one_and_no_more),
        cmocka_unit_test(who_releases_and_acquires_again_goes_behind_the_others),
        cmocka_unit_test(a_permit_that_is_left_is_taken_before_a_chosen_waiter_runs),
        cmocka_unit_test(the_permit_of_a_waiter_cancelled_when_chosen_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
