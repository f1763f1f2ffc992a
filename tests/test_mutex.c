/* The mutex: strict order, hand-over that cancellation cannot lose, and who is named when it goes
 * wrong. */
#include "test_forked.h"

struct user {
    co_mutex_t *mutex;
    const char *name;
    int64_t hold_ms; /* below 0: for ever */
    int result;
};

/* Locks, holds it for a while, and unlocks; "a+" when it has it, "a-" when it does not get it. */
static int use(void *arg)
{
    struct user *user = arg;
    user->result = co_mutex_lock(user->mutex);
    trace("%s%s", user->name, user->result < 0 ? "-" : "+");
    if (user->result < 0)
        return 0;
    co_shield() co_sleep(user->hold_ms);
    co_mutex_unlock(user->mutex);
    return 0;
}

static co_task_t *start(struct user *user)
{
    co_task_t *task = co_spawn(use, user);
    CHECK(task != NULL);
    CHECK_INT(co_yield_now(), 0);
    return task;
}

/* --- Order ------------------------------------------------------------------------------------ */

static int lock_free_one(void *arg)
{
    co_mutex_t mutex = {0};
    (void)arg;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(co_mutex_lock(&mutex), 0);
        co_mutex_unlock(&mutex);
        CHECK_INT(co_mutex_trylock(&mutex), 0);
        co_mutex_unlock(&mutex);
    }
    return 0;
}

static void a_free_mutex_is_taken_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(lock_free_one, NULL), 0);
}

static int lock_by_five(void *arg)
{
    co_mutex_t mutex = {0};
    struct user users[] = {{&mutex, "a", 5, 1},
                           {&mutex, "b", 0, 1},
                           {&mutex, "c", 9, 1},
                           {&mutex, "d", 1, 1},
                           {&mutex, "e", 3, 1}};
    co_task_t *tasks[5];
    (void)arg;
    for (int i = 0; i < 5; i++)
        tasks[i] = start(&users[i]);
    CHECK_INT(co_gather_tasks(tasks, 5), 0);
    return co_mutex_trylock(&mutex);
}

static void waiters_get_it_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(lock_by_five, NULL), 0);
    assert_string_equal(traced(), "a+ b+ c+ d+ e+");
}

static int unlock_and_come_back(void *arg)
{
    co_mutex_t mutex = {0};
    struct user a = {&mutex, "a", 0, 1}, b = {&mutex, "b", 0, 1};
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_task_t *tasks[] = {start(&a), start(&b)};
    co_mutex_unlock(&mutex);
    CHECK_INT(co_mutex_trylock(&mutex), -EBUSY); /* a has it, though it did not run yet */
    CHECK_INT(co_mutex_lock(&mutex), 0);
    trace("me");
    co_mutex_unlock(&mutex);
    return co_gather_tasks(tasks, 2);
}

static void nobody_slips_in_between_the_unlock_and_the_next_owner(void **state)
{
    (void)state;
    assert_int_equal(run_task(unlock_and_come_back, NULL), 0);
    assert_string_equal(traced(), "a+ b+ me");
}

/* --- Cancellation ----------------------------------------------------------------------------- */

static int cancel_waiters(void *arg)
{
    co_mutex_t mutex = {0};
    struct user users[] = {{&mutex, "a", 0, 1}, {&mutex, "b", 0, 1}, {&mutex, "c", 0, 1}};
    co_task_t *tasks[3];
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    for (int i = 0; i < 3; i++)
        tasks[i] = start(&users[i]);
    co_task_cancel(tasks[0]);
    co_task_cancel(tasks[1]);
    co_mutex_unlock(&mutex); /* before a and b have seen it */
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    CHECK_INT(users[0].result, -ECANCELED);
    CHECK_INT(users[1].result, -ECANCELED);
    return co_mutex_trylock(&mutex);
}

static void cancelled_waiters_are_passed_over(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_waiters, NULL), 0);
    assert_string_equal(traced(), "a- b- c+");
}

static int use_and_yield(void *arg)
{
    struct user *user = arg;
    user->result = co_mutex_lock(user->mutex);
    int next = co_yield_now();
    if (user->result == 0)
        co_mutex_unlock(user->mutex);
    return next;
}

static int cancel_chosen(void *arg)
{
    co_mutex_t mutex = {0};
    struct user chosen = {&mutex, "a", 0, 1}, behind = {&mutex, "b", 0, 1};
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_task_t *first = co_spawn(use_and_yield, &chosen);
    CHECK_INT(co_yield_now(), 0);
    co_task_t *second = start(&behind);
    co_mutex_unlock(&mutex);
    co_task_cancel(first);
    CHECK_INT(co_await_task(first), -ECANCELED);
    CHECK_INT(chosen.result, 0);
    CHECK_INT(co_await_task(second), 0);
    return co_mutex_trylock(&mutex);
}

static void cancelled_after_it_was_chosen_a_waiter_has_the_mutex_and_passes_it_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_chosen, NULL), 0);
    assert_string_equal(traced(), "b+");
}

static int lock_in_time(void *arg)
{
    struct user *user = arg;
    co_timeout(10) user->result = co_mutex_lock(user->mutex);
    trace("%s%d", user->name, user->result);
    if (user->result == 0)
        co_mutex_unlock(user->mutex);
    return 0;
}

static int unlock_at_the_deadline(void *arg)
{
    co_mutex_t mutex = {0};
    struct user a = {&mutex, "a", 0, 1}, b = {&mutex, "b", 0, 1};
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_task_t *tasks[] = {co_spawn(lock_in_time, &a), co_spawn(use, &b)};
    CHECK_INT(co_sleep(*(int *)arg), 0);
    co_mutex_unlock(&mutex);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK(a.result == 0 || a.result == -ETIMEDOUT);
    CHECK_INT(b.result, 0);
    return co_mutex_trylock(&mutex);
}

static void a_deadline_in_the_moment_of_the_unlock_loses_nothing(void **state)
{
    (void)state;
    for (int ms = 9; ms <= 11; ms++) {
        assert_int_equal(run_task(unlock_at_the_deadline, &ms), 0);
        if (ms != 10)
            assert_string_equal(traced(), ms == 9 ? "a0 b+" : "a-110 b+");
    }
}

static int lock_when_cancelled(void *arg)
{
    co_mutex_t mutex = {0};
    int rc = 1;
    (void)arg;
    co_timeout(0) rc = co_mutex_lock(&mutex); /* at once */
    CHECK_INT(rc, 0);
    struct user other = {&mutex, "other", 5, 1};
    co_task_t *task = start(&other);
    co_mutex_unlock(&mutex);
    co_timeout(0) rc = co_mutex_lock(&mutex); /* it would wait */
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_await_task(task), 0);
    co_task_cancel(co_self());
    CHECK_INT(co_mutex_lock(&mutex), -ECANCELED);
    return co_mutex_trylock(&mutex);
}

static void a_cancelled_task_does_not_get_a_free_mutex(void **state)
{
    (void)state;
    assert_int_equal(run_task(lock_when_cancelled, NULL), 0);
    assert_string_equal(traced(), "other+");
}

static int lock_shielded(void *arg)
{
    struct user *user = arg;
    co_shield() user->result = co_mutex_lock(user->mutex);
    trace("locked");
    co_mutex_unlock(user->mutex);
    return co_yield_now();
}

static int cancel_shielded(void *arg)
{
    co_mutex_t mutex = {0};
    struct user user = {&mutex, "a", 0, 1};
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    co_task_t *task = co_spawn(lock_shielded, &user);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(task);
    CHECK_INT(co_sleep(5), 0);
    trace("unlock");
    co_mutex_unlock(&mutex);
    CHECK_INT(co_await_task(task), -ECANCELED);
    return user.result;
}

static void a_shielded_waiter_waits_in_spite_of_its_cancellation(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_shielded, NULL), 0);
    assert_string_equal(traced(), "unlock locked");
}

/* --- A long random run ------------------------------------------------------------------------ */

enum { RIVALS = 20, ROUNDS = 60 };
struct contest {
    co_mutex_t mutex;
    int inside, held, given_up;
    uint32_t random;
};

static uint32_t draw(uint32_t *random, uint32_t below)
{
    *random = *random * 1664525 + 1013904223;
    return (*random >> 8) % below;
}

static void contend(struct contest *contest)
{
    int rc = 0;
    co_timeout(draw(&contest->random, 12)) rc = co_mutex_lock(&contest->mutex);
    if (rc < 0) {
        CHECK(rc == -ETIMEDOUT || rc == -ECANCELED);
        contest->given_up++;
        return;
    }
    CHECK_INT(contest->inside++, 0);
    co_shield() co_sleep(draw(&contest->random, 3));
    contest->inside--;
    contest->held++;
    co_mutex_unlock(&contest->mutex);
}

static int rival(void *arg)
{
    struct contest *contest = arg;
    for (int i = 0; i < ROUNDS && !co_task_cancelled(co_self()); i++)
        contend(contest);
    return 0;
}

static int compete(void *arg)
{
    struct contest contest = {.random = *(uint32_t *)arg};
    co_task_t *tasks[RIVALS];
    for (int i = 0; i < RIVALS; i++)
        tasks[i] = co_spawn(rival, &contest);
    for (int i = 0; i < RIVALS; i += 2) {
        CHECK_INT(co_sleep(draw(&contest.random, 7)), 0);
        co_task_cancel(tasks[i]);
    }
    CHECK_INT(co_gather_tasks(tasks, RIVALS), 0);
    CHECK(contest.held > 0 && contest.given_up > 0);
    return co_mutex_trylock(&contest.mutex);
}

static void many_random_timeouts_and_cancellations_lose_no_lock(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 8; seed++)
        assert_int_equal(run_task(compete, &seed), 0);
}

/* --- Refusals --------------------------------------------------------------------------------- */

static int lock_twice(void *arg)
{
    co_mutex_t mutex = {0};
    (void)arg;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    CHECK_INT(co_mutex_lock(&mutex), -EDEADLK);
    CHECK_INT(co_mutex_trylock(&mutex), -EBUSY);
    co_mutex_unlock(&mutex); /* one unlock is enough */
    return co_mutex_trylock(&mutex);
}

static void locking_twice_is_a_deadlock_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(lock_twice, NULL), 0);
}

static void outside_a_coroutine_it_cannot_be_locked(void **state)
{
    (void)state;
    co_mutex_t mutex = {0};
    loop_t *loop = open_loop();
    assert_int_equal(co_mutex_lock(&mutex), -EPERM);
    assert_true(co_mutex_trylock(&mutex) < 0);
    assert_int_equal(close_loop(loop), 0);
}

static int unlock(void *mutex)
{
    co_mutex_unlock(mutex);
    return 0;
}

static int own(void *arg)
{
    CHECK_INT(co_mutex_lock(arg), 0);
    co_spawn_options_t options = {.name = "stranger"};
    return co_await_task(co_spawn_with(&options, unlock, arg));
}

static void unlock_as_stranger(void *arg)
{
    co_mutex_t mutex = {0};
    (void)arg;
    co_run(own, &mutex);
}

static void unlock_free_one(void *arg)
{
    co_mutex_t mutex = {0};
    (void)arg;
    co_run(unlock, &mutex);
}

static void unlock_outside(void *arg)
{
    co_mutex_t mutex = {0};
    (void)arg;
    co_mutex_unlock(&mutex);
}

static void unlocking_what_one_does_not_own_aborts_and_names_both(void **state)
{
    (void)state;
    const char *words = words_of_abort(unlock_as_stranger, NULL);
    assert_non_null(strstr(words, "'stranger'"));
    assert_non_null(strstr(words, "'own'"));
    if (!under_emulator()) /* it adds a line of its own */
        assert_ptr_equal(strchr(words, '\n'), words + strlen(words) - 1); /* one line */
    assert_non_null(strstr(words_of_abort(unlock_free_one, NULL), "'unlock'"));
    assert_non_null(strstr(words_of_abort(unlock_outside, NULL), "co_mutex_unlock"));
}

/* --- Reports ---------------------------------------------------------------------------------- */

static void a_deadlock_report_names_the_owner(void **state)
{
    (void)state;
    co_mutex_t mutex = {0};
    struct user holder = {&mutex, "h", -1, 0}, waiter = {&mutex, "w", 0, 0};
    loop_t *loop = open_loop();
    co_spawn_options_t options = {.name = "the holder"};
    co_task_t *first = co_spawn_with(&options, use, &holder);
    co_task_t *second = loop_spawn(loop, use, &waiter);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 2);
    assert_non_null(strstr(reported(), "co_mutex_lock"));
    assert_non_null(strstr(strstr(reported(), "co_mutex_lock"), "'the holder'"));
    co_task_release(first);
    co_task_release(second);
    assert_int_equal(close_loop(loop), 2);
}

static int lock_and_end(void *mutex)
{
    return co_mutex_lock(mutex);
}

static int leave_it_locked(void *mutex)
{
    co_spawn_options_t options = {.name = "the late owner", .stack_size = 128 * 1024};
    co_task_release(co_spawn_with(&options, lock_and_end, mutex));
    CHECK_INT(co_sleep(60000), 0); /* idle stacks are given back meanwhile */
    return co_mutex_lock(mutex);
}

/* Its caller's bug, but the report is there to find such. */
static void an_owner_that_ended_does_no_harm_to_the_report(void **state)
{
    (void)state;
    co_mutex_t mutex = {0};
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, leave_it_locked, &mutex));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "co_mutex_lock"));
    assert_null(strstr(reported(), "null"));
    assert_int_equal(close_loop(loop), 1);
}

static int own_a_reused_stack(void *mutex)
{
    return co_mutex_lock(mutex);
}

static int reuse_the_stack_of_the_owner(void *arg)
{
    co_mutex_t mutex = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(lock_and_end, &mutex)), 0);
    co_timeout(5) rc = co_await_task(co_spawn(own_a_reused_stack, &mutex));
    return rc;
}

/* Only the owner locks twice: a new task is not the one that had its stack before. */
static void a_new_task_on_the_stack_of_an_owner_that_ended_is_no_owner(void **state)
{
    (void)state;
    assert_int_equal(run_task(reuse_the_stack_of_the_owner, NULL), -ETIMEDOUT);
}

/* --- Cost ------------------------------------------------------------------------------------- */

static int hand_over_often(void *arg)
{
    co_mutex_t *mutex = arg;
    for (int i = 0; i < 100; i++) {
        CHECK_INT(co_mutex_lock(mutex), 0);
        CHECK_INT(co_yield_now(), 0);
        co_mutex_unlock(mutex);
    }
    return 0;
}

static int count_allocations(void *arg)
{
    co_mutex_t mutex = {0};
    co_task_t *tasks[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        tasks[i] = co_spawn(hand_over_often, &mutex);
    fail_allocation(1, true);
    CHECK_INT(hand_over_often(&mutex), 0);
    CHECK_INT(allocations(), 0);
    fail_allocation(0, false);
    return co_gather_tasks(tasks, 4);
}

static void no_call_allocates(void **state)
{
    (void)state;
    assert_int_equal(run_task(count_allocations, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_mutex_is_taken_at_once),
        cmocka_unit_test(waiters_get_it_in_the_order_of_arrival),
        cmocka_unit_test(nobody_slips_in_between_the_unlock_and_the_next_owner),
        cmocka_unit_test(cancelled_waiters_are_passed_over),
        cmocka_unit_test(cancelled_after_it_was_chosen_a_waiter_has_the_mutex_and_passes_it_on),
        cmocka_unit_test(a_deadline_in_the_moment_of_the_unlock_loses_nothing),
        cmocka_unit_test(a_cancelled_task_does_not_get_a_free_mutex),
        cmocka_unit_test(a_shielded_waiter_waits_in_spite_of_its_cancellation),
        cmocka_unit_test(many_random_timeouts_and_cancellations_lose_no_lock),
        cmocka_unit_test(locking_twice_is_a_deadlock_and_changes_nothing),
        cmocka_unit_test(outside_a_coroutine_it_cannot_be_locked),
        cmocka_unit_test(unlocking_what_one_does_not_own_aborts_and_names_both),
        cmocka_unit_test(a_deadlock_report_names_the_owner),
        cmocka_unit_test(an_owner_that_ended_does_no_harm_to_the_report),
        cmocka_unit_test(a_new_task_on_the_stack_of_an_owner_that_ended_is_no_owner),
        cmocka_unit_test(no_call_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
