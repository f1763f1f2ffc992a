/* The semaphore: no permit is ever lost or made up, and those who wait get them in order. */
#include "support.h"

struct user {
    co_sem_t *sem;
    const char *name;
    int64_t hold_ms;
    int result;
};

static int use(void *arg)
{
    struct user *user = arg;
    user->result = co_sem_acquire(user->sem);
    trace("%s%s", user->name, user->result < 0 ? "-" : "+");
    if (user->result < 0)
        return 0;
    co_shield() co_sleep(user->hold_ms);
    co_sem_release(user->sem);
    return 0;
}

static co_task_t *start(struct user *user)
{
    co_task_t *task = co_spawn(use, user);
    CHECK(task != NULL);
    CHECK_INT(co_yield_now(), 0);
    return task;
}

static int permits(co_sem_t *sem)
{
    int n = 0;
    while (co_sem_tryacquire(sem) == 0)
        n++;
    for (int i = 0; i < n; i++)
        co_sem_release(sem);
    return n;
}

/* --- Counting --------------------------------------------------------------------------------- */

static void permits_are_counted(void **state)
{
    (void)state;
    co_sem_t sem = {0};
    assert_int_equal(co_sem_tryacquire(&sem), -EAGAIN); /* zeroed: without permits */
    co_sem_release(&sem);
    assert_int_equal(co_sem_tryacquire(&sem), 0);
    assert_int_equal(co_sem_tryacquire(&sem), -EAGAIN);
    co_sem_init(&sem, 3);
    assert_int_equal(permits(&sem), 3);
    co_sem_release(&sem); /* more than there were at first */
    assert_int_equal(permits(&sem), 4);
}

static int acquire_at_once(void *arg)
{
    co_sem_t sem;
    int rc = 1;
    (void)arg;
    co_sem_init(&sem, 2);
    CHECK_INT(co_sem_acquire(&sem), 0);
    co_timeout(0) rc = co_sem_acquire(&sem);
    CHECK_INT(rc, 0);
    co_timeout(0) rc = co_sem_acquire(&sem);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_sem_tryacquire(&sem), -EAGAIN);
    co_sem_release(&sem);
    return permits(&sem);
}

static void a_permit_that_is_there_is_taken_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(acquire_at_once, NULL), 1);
}

static int two_at_a_time(void *arg)
{
    co_sem_t sem;
    co_sem_init(&sem, 2);
    struct user users[] = {{&sem, "a", 5, 1},
                           {&sem, "b", 2, 1},
                           {&sem, "c", 9, 1},
                           {&sem, "d", 1, 1},
                           {&sem, "e", 0, 1}};
    co_task_t *tasks[5];
    (void)arg;
    for (int i = 0; i < 5; i++)
        tasks[i] = start(&users[i]);
    trace("|");
    CHECK_INT(co_gather_tasks(tasks, 5), 0);
    return permits(&sem);
}

static void waiters_get_permits_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(two_at_a_time, NULL), 2);
    assert_string_equal(traced(), "a+ b+ | c+ d+ e+");
}

static int release_and_try(void *arg)
{
    co_sem_t sem = {0};
    struct user a = {&sem, "a", 0, 1};
    (void)arg;
    co_task_t *task = start(&a);
    co_sem_release(&sem);
    CHECK_INT(co_sem_tryacquire(&sem), -EAGAIN); /* it is a's */
    CHECK_INT(co_sem_acquire(&sem), 0);
    trace("me");
    CHECK_INT(co_await_task(task), 0);
    return permits(&sem);
}

static void nobody_slips_in_between_the_release_and_the_waiter(void **state)
{
    (void)state;
    assert_int_equal(run_task(release_and_try, NULL), 0);
    assert_string_equal(traced(), "a+ me");
}

static void release_twice(void *sem)
{
    co_sem_release(sem);
    co_sem_release(sem);
}

static int wait_for_callback(void *arg)
{
    co_sem_t sem = {0};
    struct user a = {&sem, "a", 0, 1};
    (void)arg;
    co_task_t *task = start(&a);
    CHECK_INT(loop_call_later(loop_current(), 5, release_twice, &sem, NULL), 0);
    CHECK_INT(co_sem_acquire(&sem), 0);
    CHECK_INT(co_await_task(task), 0);
    return permits(&sem);
}

static void a_callback_may_release(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_callback, NULL), 1);
}

static void outside_a_coroutine_nothing_is_acquired_by_waiting(void **state)
{
    (void)state;
    co_sem_t sem;
    loop_t *loop = open_loop();
    co_sem_init(&sem, 1);
    assert_int_equal(co_sem_acquire(&sem), -EPERM);
    assert_int_equal(permits(&sem), 1);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Cancellation ----------------------------------------------------------------------------- */

static int cancel_before(void *arg)
{
    co_sem_t sem = {0};
    struct user a = {&sem, "a", 0, 1}, b = {&sem, "b", 0, 1};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b)};
    co_task_cancel(tasks[0]);
    co_sem_release(&sem); /* before a has seen it */
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(a.result, -ECANCELED);
    return permits(&sem);
}

static void a_cancelled_waiter_is_passed_over(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_before, NULL), 1);
    assert_string_equal(traced(), "a- b+");
}

static int cancel_after(void *arg)
{
    co_sem_t sem = {0};
    struct user a = {&sem, "a", 0, 1}, b = {&sem, "b", 0, 1};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b)};
    co_sem_release(&sem);
    co_task_cancel(tasks[0]);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(a.result, 0);
    return permits(&sem);
}

static void cancelled_after_it_was_chosen_a_waiter_has_the_permit(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_after, NULL), 1);
    assert_string_equal(traced(), "a+ b+");
}

static int cancel_all_but_last(void *arg)
{
    enum { N = 10 };
    co_sem_t sem = {0};
    struct user users[N];
    co_task_t *tasks[N];
    (void)arg;
    for (int i = 0; i < N; i++) {
        users[i] = (struct user){&sem, i == N - 1 ? "last" : "x", 0, 1};
        tasks[i] = start(&users[i]);
    }
    for (int i = N - 2; i >= 0; i--)
        co_task_cancel(tasks[i]);
    co_sem_release(&sem);
    CHECK_INT(co_gather_tasks(tasks, N), 0);
    CHECK_INT(users[N - 1].result, 0);
    return permits(&sem);
}

static void a_permit_finds_the_one_waiter_that_is_left(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_all_but_last, NULL), 1);
}

static int acquire_when_cancelled(void *arg)
{
    co_sem_t sem;
    (void)arg;
    co_sem_init(&sem, 1);
    co_task_cancel(co_self());
    CHECK_INT(co_sem_acquire(&sem), -ECANCELED);
    return permits(&sem);
}

static void a_cancelled_task_takes_no_permit(void **state)
{
    (void)state;
    assert_int_equal(run_task(acquire_when_cancelled, NULL), 1);
}

enum { RIVALS = 20, ROUNDS = 50, PERMITS = 3 };
struct contest {
    co_sem_t sem;
    int inside, held, given_up;
    uint32_t random;
};

static uint32_t draw(struct contest *contest, uint32_t below)
{
    contest->random = contest->random * 1664525 + 1013904223;
    return (contest->random >> 8) % below;
}

static int rival(void *arg)
{
    struct contest *contest = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = 0;
        co_timeout(draw(contest, 8)) rc = co_sem_acquire(&contest->sem);
        contest->held += rc == 0;
        contest->given_up += rc < 0;
        if (rc < 0)
            continue;
        CHECK(++contest->inside <= PERMITS);
        co_shield() co_sleep(draw(contest, 4));
        contest->inside--;
        co_sem_release(&contest->sem);
    }
    return 0;
}

static int compete(void *arg)
{
    struct contest contest = {.random = *(uint32_t *)arg};
    co_task_t *tasks[RIVALS];
    co_sem_init(&contest.sem, PERMITS);
    for (int i = 0; i < RIVALS; i++)
        tasks[i] = co_spawn(rival, &contest);
    for (int i = 0; i < RIVALS; i += 3) {
        CHECK_INT(co_sleep(draw(&contest, 7)), 0);
        co_task_cancel(tasks[i]);
    }
    CHECK_INT(co_gather_tasks(tasks, RIVALS), 0);
    CHECK(contest.held > 0 && contest.given_up > 0);
    return permits(&contest.sem);
}

static void many_random_timeouts_and_cancellations_lose_no_permit(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 8; seed++)
        assert_int_equal(run_task(compete, &seed), PERMITS);
}

/* --- Cost ------------------------------------------------------------------------------------- */

static int pass_on(void *arg)
{
    co_sem_t *sems = arg;
    for (int i = 0; i < 100; i++) {
        CHECK_INT(co_sem_acquire(&sems[0]), 0);
        co_sem_release(&sems[1]);
    }
    return 0;
}

static int count_allocations(void *arg)
{
    co_sem_t sems[2] = {{0}, {0}};
    (void)arg;
    co_task_t *task = co_spawn(pass_on, sems);
    fail_allocation(1, true);
    for (int i = 0; i < 100; i++) {
        co_sem_release(&sems[0]);
        CHECK_INT(co_sem_acquire(&sems[1]), 0);
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

static int take_and_release_for_ever(void *arg)
{
    co_sem_t *sem = arg;
    while (co_sem_acquire(sem) == 0)
        co_sem_release(sem);
    return 0;
}

static int cancel_greedy(void *arg)
{
    co_sem_t sem;
    (void)arg;
    co_sem_init(&sem, 1);
    co_task_t *task = co_spawn(take_and_release_for_ever, &sem);
    CHECK_INT(co_sleep(5), 0);
    co_task_cancel(task);
    return co_await_task(task);
}

static void a_task_that_always_gets_its_permit_gives_way_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(cancel_greedy, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permits_are_counted),
        cmocka_unit_test(a_permit_that_is_there_is_taken_at_once),
        cmocka_unit_test(waiters_get_permits_in_the_order_of_arrival),
        cmocka_unit_test(nobody_slips_in_between_the_release_and_the_waiter),
        cmocka_unit_test(a_callback_may_release),
        cmocka_unit_test(outside_a_coroutine_nothing_is_acquired_by_waiting),
        cmocka_unit_test(a_cancelled_waiter_is_passed_over),
        cmocka_unit_test(cancelled_after_it_was_chosen_a_waiter_has_the_permit),
        cmocka_unit_test(a_permit_finds_the_one_waiter_that_is_left),
        cmocka_unit_test(a_cancelled_task_takes_no_permit),
        cmocka_unit_test(many_random_timeouts_and_cancellations_lose_no_permit),
        cmocka_unit_test(no_call_allocates),
        cmocka_unit_test(a_task_that_always_gets_its_permit_gives_way_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
