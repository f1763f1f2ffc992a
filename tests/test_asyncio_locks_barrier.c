/* The barrier where Python's tests ask for more than test_barrier.c: what an abort reaches, and how
 * one that was broken is made anew, which is Python's reset. */
#include "test_asyncio.h"

enum { N = 5 };

static co_barrier_t barrier;

static const char *word(int rc)
{
    return rc >= 0 ? "pass" : rc == -EPIPE ? "broken" : "?";
}

static int arrive(void *arg)
{
    (void)arg;
    int rc = co_barrier_wait(&barrier);
    trace("%s", word(rc));
    return rc < 0 ? rc : 0;
}

static int arrive_again_if_broken(void *arg)
{
    return arrive(arg) < 0 ? arrive(arg) : 0;
}

/* --- Made anew -------------------------------------------------------------------------------- */

static int renew_under_waiters(void *arg)
{
    co_task_t *tasks[N];
    co_fn *again = *(co_fn **)arg;
    co_barrier_init(&barrier, N);
    for (int i = 0; i < N - 1; i++)
        tasks[i] = co_spawn(again, NULL);
    settle();
    co_barrier_abort(&barrier);
    co_barrier_init(&barrier, N);
    tasks[N - 1] = co_spawn(arrive, NULL); /* into the new one, where those that come again are */
    if (again == arrive_again_if_broken)
        return co_gather_tasks(tasks, N);
    CHECK_INT(co_gather_all(tasks, N - 1, NULL), N - 1);
    CHECK(!co_task_done(tasks[N - 1]));
    co_task_cancel(tasks[N - 1]);
    CHECK_INT(co_await_task(tasks[N - 1]), -ECANCELED);
    return 0;
}

static void made_anew_after_an_abort_it_is_whole_for_those_who_come(void **state)
{
    (void)state;
    assert_int_equal(run_task(renew_under_waiters, (&(co_fn *){arrive})), 0);
    assert_string_equal(traced(), "broken broken broken broken ?");
    assert_int_equal(run_task(renew_under_waiters, (&(co_fn *){arrive_again_if_broken})), 0);
    assert_string_equal(traced(), "broken broken broken broken pass pass pass pass pass");
}

/* --- Broken by one of those that passed ------------------------------------------------------- */

/* Passes, and comes again unless it is the first to have passed: that one breaks the barrier. */
static int pass_then_abort(void *arg)
{
    int *passed = arg;
    CHECK(co_barrier_wait(&barrier) >= 0);
    trace("pass");
    if ((*passed)++ == 0)
        co_barrier_abort(&barrier);
    return arrive(NULL) == -EPIPE ? 0 : 1;
}

static int abort_when_let_go(void *arg)
{
    int passed = 0;
    co_task_t *tasks[N];
    (void)arg;
    co_barrier_init(&barrier, N);
    for (int i = 0; i < N; i++)
        tasks[i] = co_spawn(pass_then_abort, &passed);
    CHECK_INT(co_gather_tasks(tasks, N), 0);
    return passed;
}

/* Python has a state of draining, in which an abort or a reset reaches those not yet run. */
static void an_abort_does_not_reach_those_who_were_let_go_before(void **state)
{
    (void)state;
    assert_int_equal(run_task(abort_when_let_go, NULL), N);
    assert_string_equal(traced(), "pass broken pass broken pass broken pass broken pass broken");
}

struct meeting {
    co_barrier_t work, all;
    int failed, renewed, done;
};

/* Works in two rounds; one party fails between them. All meet before and after that is mended. */
static int work_and_mend(void *arg)
{
    struct meeting *meeting = arg;
    int place = co_barrier_wait(&meeting->work);
    CHECK(place >= 0);
    if (place == N / 2)
        co_barrier_abort(&meeting->work);
    else
        meeting->failed += co_barrier_wait(&meeting->work) == -EPIPE;
    place = co_barrier_wait(&meeting->all);
    CHECK(place >= 0);
    if (place == N / 2) {
        co_barrier_init(&meeting->work, N);
        meeting->renewed++;
    }
    CHECK(co_barrier_wait(&meeting->all) >= 0);
    CHECK(co_barrier_wait(&meeting->work) >= 0);
    meeting->done++;
    return 0;
}

static int meet(void *arg)
{
    struct meeting meeting = {.failed = 0};
    co_task_t *tasks[N];
    (void)arg;
    co_barrier_init(&meeting.work, N);
    co_barrier_init(&meeting.all, N);
    for (int i = 0; i < N; i++)
        tasks[i] = co_spawn(work_and_mend, &meeting);
    CHECK_INT(co_gather_tasks(tasks, N), 0);
    CHECK_INT(meeting.failed, N - 1);
    CHECK_INT(meeting.renewed, 1);
    return meeting.done;
}

static void broken_by_one_that_failed_it_is_mended_where_all_meet(void **state)
{
    (void)state;
    assert_int_equal(run_task(meet, NULL), N);
}

/* --- Coming back ------------------------------------------------------------------------------ */

struct rounds {
    co_barrier_t all, some;
    int early;
};

/* Two come back at once; the others meet in between. */
static int come_back(void *arg)
{
    struct rounds *rounds = arg;
    CHECK(co_barrier_wait(&rounds->all) >= 0);
    if (rounds->early++ >= 2) {
        CHECK(co_barrier_wait(&rounds->some) >= 0);
        trace("met");
    }
    CHECK(co_barrier_wait(&rounds->all) >= 0);
    trace("pass");
    return 0;
}

static int come_back_in_two_ways(void *arg)
{
    struct rounds rounds = {.early = 0};
    co_task_t *tasks[N];
    (void)arg;
    co_barrier_init(&rounds.all, N);
    co_barrier_init(&rounds.some, N - 2);
    for (int i = 0; i < N; i++)
        tasks[i] = co_spawn(come_back, &rounds);
    return co_gather_tasks(tasks, N);
}

static void those_who_come_back_early_wait_for_the_others_of_their_round(void **state)
{
    (void)state;
    assert_int_equal(run_task(come_back_in_two_ways, NULL), 0);
    assert_int_equal(strncmp(traced(), "met met met ", 12), 0);
    assert_string_equal(traced() + 12, "pass pass pass pass pass");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_anew_after_an_abort_it_is_whole_for_those_who_come),
        cmocka_unit_test(an_abort_does_not_reach_those_who_were_let_go_before),
        cmocka_unit_test(broken_by_one_that_failed_it_is_mended_where_all_meet),
        cmocka_unit_test(those_who_come_back_early_wait_for_the_others_of_their_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
