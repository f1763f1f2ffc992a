/* The barrier: who is let go with whom, and how it breaks. */
#include "support.h"

struct party {
    co_barrier_t *barrier;
    const char *name;
    int64_t after_ms;
    int rounds, result;
};

/* Arrives `rounds` times, the first time after a while; traces "name=result". */
static int arrive(void *arg)
{
    struct party *party = arg;
    if (party->after_ms)
        co_sleep(party->after_ms);
    for (int i = 0; i < party->rounds; i++) {
        party->result = co_barrier_wait(party->barrier);
        trace("%s=%d", party->name, party->result);
        if (party->result < 0)
            break;
    }
    return 0;
}

static co_task_t *start(struct party *party)
{
    co_task_t *task = co_spawn(arrive, party);
    CHECK(task != NULL);
    CHECK_INT(co_yield_now(), 0);
    return task;
}

/* --- Whole ------------------------------------------------------------------------------------ */

static int three_parties(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 3);
    struct party parties[] = {
        {&barrier, "a", 3, 1, 9}, {&barrier, "b", 1, 1, 9}, {&barrier, "c", 2, 1, 9}};
    co_task_t *tasks[3];
    (void)arg;
    for (int i = 0; i < 3; i++)
        tasks[i] = start(&parties[i]);
    CHECK_INT(co_sleep(2), 0);
    trace("now");
    return co_gather_tasks(tasks, 3);
}

static void all_are_let_go_when_the_last_arrives_and_told_their_place(void **state)
{
    (void)state;
    assert_int_equal(run_task(three_parties, NULL), 0);
    assert_string_equal(traced(), "now a=2 b=0 c=1");
}

static int again_and_again(void *arg)
{
    enum { N = 4, ROUNDS = 25 };
    co_barrier_t barrier;
    co_barrier_init(&barrier, N);
    struct party parties[N];
    co_task_t *tasks[N];
    (void)arg;
    for (int i = 0; i < N; i++) {
        parties[i] = (struct party){&barrier, "", i, ROUNDS, 9};
        tasks[i] = start(&parties[i]);
    }
    CHECK_INT(co_gather_tasks(tasks, N), 0);
    unsigned places = 0;
    for (int i = 0; i < N; i++)
        places |= 1u << parties[i].result;
    CHECK_INT(places, 15); /* each place once in the last round too */
    return 0;
}

static void it_can_be_used_again_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(again_and_again, NULL), 0);
}

static int more_than_parties(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 2);
    struct party parties[5];
    co_task_t *tasks[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    (void)arg;
    for (int i = 0; i < 5; i++) {
        parties[i] = (struct party){&barrier, names[i], 0, 1, 9};
        tasks[i] = co_spawn(arrive, &parties[i]); /* all in one pass */
    }
    CHECK_INT(co_sleep(1), 0);
    CHECK(!co_task_done(tasks[4]));
    CHECK_INT(co_barrier_wait(&barrier), 1);
    return co_gather_tasks(tasks, 5);
}

static void more_tasks_than_parties_are_let_go_in_groups(void **state)
{
    (void)state;
    assert_int_equal(run_task(more_than_parties, NULL), 0);
    assert_string_equal(traced(), "b=1 d=1 a=0 c=0 e=0");
}

static int alone(void *arg)
{
    co_barrier_t barrier = {0};
    (void)arg;
    CHECK_INT(co_barrier_wait(&barrier), -EINVAL);
    co_barrier_init(&barrier, 0);
    CHECK_INT(co_barrier_wait(&barrier), -EINVAL);
    co_barrier_init(&barrier, 1);
    CHECK_INT(co_barrier_wait(&barrier), 0);
    return co_barrier_wait(&barrier);
}

static void one_party_need_not_wait_and_none_is_invalid(void **state)
{
    (void)state;
    assert_int_equal(run_task(alone, NULL), 0);
}

/* --- Broken ----------------------------------------------------------------------------------- */

static int cancel_one(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 4);
    struct party a = {&barrier, "a", 0, 2, 9}, b = {&barrier, "b", 0, 2, 9}, c = a;
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b), NULL};
    co_task_cancel(tasks[0]);
    CHECK_INT(co_yield_now(), 0);
    c.name = "late";
    tasks[2] = start(&c);
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    CHECK_INT(co_barrier_wait(&barrier), -EPIPE);
    co_barrier_init(&barrier, 1);
    return co_barrier_wait(&barrier);
}

static void a_cancelled_waiter_breaks_it_until_it_is_made_anew(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_one, NULL), 0);
    assert_string_equal(traced(), "b=-32 a=-125 late=-32");
}

static int arrive_in_time(void *arg)
{
    struct party *party = arg;
    co_timeout(5) return arrive(party);
    return 0;
}

static int time_out(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 3);
    struct party a = {&barrier, "a", 0, 1, 9}, b = {&barrier, "b", 0, 1, 9};
    (void)arg;
    co_task_t *tasks[] = {start(&b), co_spawn(arrive_in_time, &a)};
    return co_gather_tasks(tasks, 2);
}

static void a_waiter_out_of_time_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(time_out, NULL), 0);
    assert_string_equal(traced(), "b=-32 a=-110");
}

static int abort_it(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 3);
    struct party a = {&barrier, "a", 0, 1, 9}, b = {&barrier, "b", 0, 1, 9};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b)};
    co_barrier_abort(&barrier);
    co_barrier_abort(&barrier);
    CHECK_INT(co_barrier_wait(&barrier), -EPIPE);
    return co_gather_tasks(tasks, 2);
}

static void an_abort_wakes_all_and_refuses_later_ones(void **state)
{
    (void)state;
    assert_int_equal(run_task(abort_it, NULL), 0);
    assert_string_equal(traced(), "a=-32 b=-32");
}

static int abort_before_anybody(void *arg)
{
    co_barrier_t barrier;
    (void)arg;
    co_barrier_init(&barrier, 2);
    co_barrier_abort(&barrier);
    CHECK_INT(co_barrier_wait(&barrier), -EPIPE);
    co_barrier_init(&barrier, 2);
    struct party a = {&barrier, "a", 0, 1, 9};
    co_task_t *task = start(&a);
    CHECK_INT(co_barrier_wait(&barrier), 1);
    return co_await_task(task);
}

static void aborted_before_anybody_waits_it_is_broken_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(abort_before_anybody, NULL), 0);
    assert_string_equal(traced(), "a=0");
}

static int arrive_when_cancelled(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 2);
    struct party a = {&barrier, "a", 0, 1, 9}, never = {&barrier, "never", 0, 1, 9};
    (void)arg;
    co_task_t *task = start(&a), *cancelled = co_spawn(arrive, &never);
    co_task_cancel(cancelled); /* before it has arrived: it was no waiter */
    CHECK_INT(co_await_task(cancelled), 0);
    CHECK_INT(co_barrier_wait(&barrier), 1);
    return co_await_task(task);
}

static void a_task_cancelled_before_it_arrives_does_not_break_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(arrive_when_cancelled, NULL), 0);
    assert_string_equal(traced(), "never=-125 a=0");
}

/* --- In one moment ---------------------------------------------------------------------------- */

static int arrive_and_cancel(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 3);
    struct party a = {&barrier, "a", 0, 1, 9}, b = {&barrier, "b", 0, 1, 9};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b)};
    CHECK_INT(co_barrier_wait(&barrier), 2); /* a and b are let go, though they did not run yet */
    co_task_cancel(tasks[0]);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    co_barrier_init(&barrier, 1);
    return co_barrier_wait(&barrier);
}

static void cancelled_after_the_last_arrived_a_waiter_was_let_go(void **state)
{
    (void)state;
    assert_int_equal(run_task(arrive_and_cancel, NULL), 0);
    assert_string_equal(traced(), "a=0 b=1");
}

static int cancel_and_arrive(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 3);
    struct party a = {&barrier, "a", 0, 1, 9}, b = {&barrier, "b", 0, 1, 9};
    (void)arg;
    co_task_t *tasks[] = {start(&a), start(&b)};
    co_task_cancel(tasks[0]); /* it does not wait any more, though it did not run yet */
    CHECK_INT(co_barrier_wait(&barrier), -EPIPE);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(a.result, -ECANCELED);
    return b.result;
}

static void cancelled_before_the_last_arrives_a_waiter_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_and_arrive, NULL), -EPIPE);
}

static int renew_after_cancel(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 2);
    struct party a = {&barrier, "a", 0, 1, 9}, b = {&barrier, "b", 0, 1, 9};
    (void)arg;
    co_task_t *first = start(&a);
    co_task_cancel(first);
    co_barrier_init(&barrier, 2); /* before a has seen it */
    co_task_t *second = start(&b);
    CHECK_INT(co_await_task(first), 0);
    CHECK_INT(co_barrier_wait(&barrier), 1);
    return co_await_task(second);
}

static void a_waiter_cancelled_before_it_was_made_anew_does_not_break_the_new_one(void **state)
{
    (void)state;
    assert_int_equal(run_task(renew_after_cancel, NULL), 0);
    assert_string_equal(traced(), "a=-125 b=0");
}

static int wait_without_alloc(void *arg)
{
    co_barrier_t barrier;
    co_barrier_init(&barrier, 2);
    struct party a = {&barrier, "a", 0, 20, 9};
    (void)arg;
    co_task_t *task = co_spawn(arrive, &a);
    fail_allocation(1, true);
    for (int i = 0; i < 20; i++)
        CHECK(co_barrier_wait(&barrier) >= 0);
    CHECK_INT(allocations(), 0);
    fail_allocation(0, false);
    return co_await_task(task);
}

static void no_call_allocates(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_without_alloc, NULL), 0);
}

static void outside_a_coroutine_nobody_waits_but_may_abort(void **state)
{
    (void)state;
    co_barrier_t barrier;
    loop_t *loop = open_loop();
    co_barrier_init(&barrier, 2);
    assert_int_equal(co_barrier_wait(&barrier), -EPERM);
    struct party a = {&barrier, "a", 0, 1, 9};
    co_task_t *task = loop_spawn(loop, arrive, &a);
    loop_run_once(loop, 0);
    co_barrier_abort(&barrier);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_string_equal(traced(), "a=-32");
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_let_go_when_the_last_arrives_and_told_their_place),
        cmocka_unit_test(it_can_be_used_again_at_once),
        cmocka_unit_test(more_tasks_than_parties_are_let_go_in_groups),
        cmocka_unit_test(one_party_need_not_wait_and_none_is_invalid),
        cmocka_unit_test(a_cancelled_waiter_breaks_it_until_it_is_made_anew),
        cmocka_unit_test(a_waiter_out_of_time_breaks_it),
        cmocka_unit_test(an_abort_wakes_all_and_refuses_later_ones),
        cmocka_unit_test(aborted_before_anybody_waits_it_is_broken_too),
        cmocka_unit_test(a_task_cancelled_before_it_arrives_does_not_break_it),
        cmocka_unit_test(cancelled_after_the_last_arrived_a_waiter_was_let_go),
        cmocka_unit_test(cancelled_before_the_last_arrives_a_waiter_breaks_it),
        cmocka_unit_test(a_waiter_cancelled_before_it_was_made_anew_does_not_break_the_new_one),
        cmocka_unit_test(no_call_allocates),
        cmocka_unit_test(outside_a_coroutine_nobody_waits_but_may_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
