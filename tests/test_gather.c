/* Waiting for many tasks: co_gather, co_gather_all and co_wait. */
#include "support.h"

struct job {
    int64_t ms;
    int result;
    const char *name;
};

/* Sleeps, traces how that ended, and returns its result, or the code. */
static int work(void *arg)
{
    const struct job *job = arg;
    int rc = job->ms ? co_sleep(job->ms) : 0;
    if (job->name)
        trace("%s%s", job->name, rc == -ECANCELED ? "-" : "");
    return rc < 0 ? rc : job->result;
}

static int ignore(void *arg)
{
    const struct job *job = arg;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    co_shield() CHECK_INT(co_sleep(job->ms), 0);
    trace("%s!", job->name);
    return job->result;
}

static struct job a = {5, 1, "a"}, b = {10, 2, "b"}, c = {15, 3, "c"}, for_ever = {-1, 0, "e"};
static struct job bad = {10, -EIO, "bad"}, worse = {20, -EPIPE, "worse"}, now = {0, 4, "now"};
static struct job slow = {30, 5, "slow"}, bad_now = {0, -ENOENT, "bad_now"};

static size_t stacks_in_use(void)
{
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    return stats.stacks - stats.stacks_idle;
}

/* --- co_gather -------------------------------------------------------------------------------- */

static int gather_good(void *arg)
{
    (void)arg;
    CHECK_INT(co_gather(co_spawn(work, &c), co_spawn(work, &a), co_spawn(work, &b)), 0);
    CHECK_INT(co_gather(co_spawn(work, &now)), 0);
    CHECK_INT(co_gather_tasks(NULL, 0), 0);
    CHECK_INT(stacks_in_use(), 1);
    return 0;
}

static void gather_waits_for_all_and_releases_them(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_good, NULL), 0);
    assert_string_equal(traced(), "a b c now");
}

static int gather_bad(void *arg)
{
    (void)arg;
    int rc = co_gather(co_spawn(work, &a), co_spawn(work, &worse), co_spawn(ignore, &slow),
                       co_spawn(work, &bad), co_spawn(work, &for_ever));
    CHECK_INT(stacks_in_use(), 1);
    return rc;
}

static void the_first_failure_cancels_the_others_which_are_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_bad, NULL), -EIO);
    assert_string_equal(traced(), "a bad worse- e- slow!");
}

static int gather_done(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &now), co_spawn(work, &bad_now),
                          co_spawn(work, &for_ever)};
    CHECK_INT(co_yield_now(), 0);
    return co_gather_tasks(tasks, 3);
}

static void tasks_that_are_done_already_count(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_done, NULL), -ENOENT);
    assert_string_equal(traced(), "now bad_now e-");
}

static int gather_null(void *arg)
{
    (void)arg;
    CHECK_INT(co_gather(co_spawn(work, &for_ever), NULL, co_spawn(ignore, &slow)), -ENOMEM);
    CHECK_INT(co_gather(NULL), -ENOMEM);
    CHECK_INT(co_gather(NULL, NULL), -ENOMEM);
    CHECK_INT(stacks_in_use(), 1);
    return 0;
}

static void a_null_among_the_tasks_is_a_failure(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_null, NULL), 0);
    assert_string_equal(traced(), "e- slow!");
}

static int gather_same(void *arg)
{
    co_task_t *task = co_spawn(work, arg);
    CHECK_INT(co_gather(co_task_retain(task), task, co_task_retain(task)), -EIO);
    int results[2];
    task = co_spawn(work, arg);
    co_task_t *tasks[] = {task, co_task_retain(task)};
    CHECK_INT(co_gather_all(tasks, 2, results), 2);
    CHECK_INT(results[0], -EIO);
    CHECK_INT(results[1], -EIO);
    CHECK_INT(stacks_in_use(), 1);
    return 0;
}

static void one_task_may_be_gathered_more_than_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_same, &bad), 0);
    assert_string_equal(traced(), "bad bad");
}

static int gather_cancelled(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(work, &for_ever);
    co_task_cancel(task);
    return co_gather(task, co_spawn(work, &c));
}

static void a_cancelled_task_is_a_failure_of_the_gather(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_cancelled, NULL), -ECANCELED);
    assert_string_equal(traced(), "e- c-");
}

static int gather_for_ever(void *arg)
{
    (void)arg;
    return co_gather(co_spawn(work, &for_ever), co_spawn(ignore, &slow), co_spawn(work, &a));
}

static int gather_all_for_ever(void *arg)
{
    co_task_t *tasks[] = {co_spawn(work, &for_ever), co_spawn(ignore, &slow), co_spawn(work, &a)};
    return co_gather_all(tasks, 3, arg);
}

static void run_and_cancel(co_fn *fn, int *results)
{
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, fn, results);
    for (int i = 0; i < 4; i++) /* until `a` is done */
        loop_run_once(loop, 10);
    co_task_cancel(task);
    loop_run_once(loop, 0);
    co_task_cancel(task); /* does not hurry those that clean up */
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "a e- slow!");
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void a_cancelled_gather_cancels_all_and_waits_for_them(void **state)
{
    (void)state;
    int results[3] = {9, 9, 9};
    run_and_cancel(gather_for_ever, NULL);
    run_and_cancel(gather_all_for_ever, NULL);
    run_and_cancel(gather_all_for_ever, results);
    assert_int_equal(results[0], -ECANCELED);
    assert_int_equal(results[1], slow.result);
    assert_int_equal(results[2], a.result);
}

static int gather_out_of_time(void *arg)
{
    int results[3] = {9, 9, 9}, rc = 0;
    (void)arg;
    co_timeout(10) rc = gather_for_ever(NULL);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(10) rc = gather_all_for_ever(results);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(results[0], -ECANCELED);
    CHECK_INT(results[1], slow.result);
    CHECK_INT(stacks_in_use(), 1);
    return co_yield_now();
}

static void a_gather_out_of_time_cancels_all_and_waits_for_them(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_out_of_time, NULL), 0);
    assert_string_equal(traced(), "a e- slow! a e- slow!");
}

static int gather_when_cancelled(void *arg)
{
    (void)arg;
    int results[2];
    co_task_cancel(co_self());
    CHECK_INT(co_gather(co_spawn(work, &a), co_spawn(work, &for_ever)), -ECANCELED);
    co_task_t *tasks[] = {co_spawn(work, &a), co_spawn(work, &now)};
    CHECK_INT(co_gather_all(tasks, 2, results), -ECANCELED);
    CHECK_INT(results[0], -ECANCELED);
    CHECK_INT(results[1], 4);
    co_task_t *task = co_spawn(work, &now);
    CHECK_INT(co_wait(&task, 1, CO_ALL), -ECANCELED);
    co_task_release(task);
    return 0;
}

static void a_caller_that_was_cancelled_before_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_when_cancelled, NULL), 0);
    assert_string_equal(traced(), "a- e- a- now now");
}

static int fail_with_note(void *arg)
{
    return arg ? co_fail(-ENOENT, "no %s", (const char *)arg) : co_fail(-EIO, "later");
}

static int gather_notes(void *arg)
{
    (void)arg;
    CHECK_INT(co_gather(co_spawn(work, &a), co_spawn(fail_with_note, "bread"),
                        co_spawn(fail_with_note, NULL)),
              -ENOENT);
    const co_error_t *error = co_task_error(co_self());
    CHECK(error && error->code == -ENOENT && strcmp(error->message, "no bread") == 0);
    return 0;
}

static void the_message_of_the_first_failure_becomes_the_callers(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_notes, NULL), 0);
}

/* --- Thousands -------------------------------------------------------------------------------- */

enum { MANY = 2000 };
static co_task_t *many[MANY];
static struct job jobs[MANY];

static void spawn_many(int failing)
{
    for (int i = 0; i < MANY; i++) {
        jobs[i] = (struct job){1 + (i * 7919) % MANY, i == failing ? -EIO : i, NULL};
        CHECK((many[i] = co_spawn(work, &jobs[i])) != NULL);
    }
}

static int gather_thousands(void *arg)
{
    static int results[MANY];
    (void)arg;
    spawn_many(-1);
    CHECK_INT(co_gather_tasks(many, MANY), 0);
    spawn_many(MANY / 2);
    CHECK_INT(co_gather_tasks(many, MANY), -EIO);
    spawn_many(7);
    CHECK_INT(co_gather_all(many, MANY, results), 1);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(results[i], i == 7 ? -EIO : i);
    spawn_many(-1);
    CHECK_INT(co_wait(many, MANY, CO_FIRST_COMPLETED), 1);
    CHECK_INT(co_wait(many, MANY, CO_ALL), MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(co_await_task(many[i]), i);
    return 0;
}

static void thousands_may_be_gathered(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_thousands, NULL), 0);
}

/* --- co_gather_all ---------------------------------------------------------------------------- */

static int gather_all_kinds(void *arg)
{
    int results[5] = {9, 9, 9, 9, 9};
    co_task_t *tasks[] = {co_spawn(work, &worse), co_spawn(work, &a), co_spawn(work, &bad),
                          co_spawn(work, &c), arg ? co_spawn(work, &now) : NULL};
    CHECK_INT(co_gather_all(tasks, 5, results), arg ? 2 : 3);
    CHECK_INT(results[0], -EPIPE);
    CHECK_INT(results[1], 1);
    CHECK_INT(results[2], -EIO);
    CHECK_INT(results[3], 3);
    CHECK_INT(results[4], arg ? 4 : -ENOMEM);
    CHECK_INT(co_gather_all(NULL, 0, NULL), 0);
    co_task_t *none[] = {NULL, NULL};
    CHECK_INT(co_gather_all(none, 2, NULL), 2);
    CHECK_INT(stacks_in_use(), 1);
    return 0;
}

static void gather_all_lets_all_finish_and_counts_the_failures(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_all_kinds, "x"), 0);
    assert_string_equal(traced(), "now a bad c worse");
    assert_int_equal(run_task(gather_all_kinds, NULL), 0);
    assert_string_equal(traced(), "a bad c worse");
}

static int gather_all_with_null(void *arg)
{
    int results[3], rc = 0;
    co_task_t *tasks[] = {co_spawn(work, &a), NULL, co_spawn(work, arg)};
    co_timeout(20) rc = co_gather_all(tasks, 3, results);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(results[0], 1);
    CHECK_INT(results[1], -ENOMEM);
    CHECK_INT(results[2], -ECANCELED);
    return 0;
}

static void gather_all_with_a_null_may_run_out_of_time_too(void **state)
{
    (void)state;
    assert_int_equal(run_task(gather_all_with_null, &for_ever), 0);
    assert_string_equal(traced(), "a e-");
}

/* --- co_wait ---------------------------------------------------------------------------------- */

static void take_all(co_task_t *tasks[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        co_task_cancel(tasks[i]);
    CHECK(co_gather_all(tasks, n, NULL) >= 0);
}

static int wait_modes(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &c), co_spawn(work, &bad), co_spawn(work, &a),
                          co_spawn(work, &slow)};
    CHECK_INT(co_wait(tasks, 4, CO_FIRST_COMPLETED), 1);
    trace("first");
    CHECK_INT(co_wait(tasks, 4, CO_FIRST_COMPLETED), 1);
    CHECK_INT(co_wait(tasks, 4, CO_FIRST_FAILED), 2);
    trace("failed");
    CHECK_INT(co_wait(tasks, 4, CO_FIRST_FAILED), 2);
    CHECK_INT(co_wait(tasks, 1, CO_FIRST_FAILED), 1); /* none failed, but all are done */
    trace("one");
    CHECK_INT(co_wait(tasks, 4, CO_ALL), 4);
    trace("all");
    for (int i = 0; i < 4; i++)
        CHECK(co_task_done(tasks[i]) && !co_task_cancelled(tasks[i]));
    take_all(tasks, 4);
    return 0;
}

static void wait_ends_with_the_first_the_first_failed_or_all(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_modes, NULL), 0);
    assert_string_equal(traced(), "a first bad failed c one slow all");
}

static int wait_wrongly(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(work, &a), NULL};
    CHECK_INT(co_wait(tasks, 2, CO_ALL), -EINVAL);
    CHECK_INT(co_wait(tasks, 0, CO_ALL), -EINVAL);
    CHECK_INT(co_wait(tasks, 1, 3), -EINVAL);
    CHECK_INT(co_wait(tasks, 1, -1), -EINVAL);
    CHECK_INT(co_wait(tasks, 1, CO_ALL), 1);
    return co_await_task(tasks[0]);
}

static void wait_refuses_nothing_null_and_unknown_modes(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_wrongly, NULL), a.result);
}

static int wait_in_time(void *arg)
{
    (void)arg;
    int rc = 0;
    co_task_t *tasks[] = {co_spawn(work, &a), co_spawn(work, &slow)};
    co_timeout(10) rc = co_wait(tasks, 2, CO_ALL);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK(co_task_done(tasks[0]) && !co_task_cancelled(tasks[1]));
    co_timeout(0) rc = co_wait(tasks, 2, CO_FIRST_COMPLETED);
    CHECK_INT(rc, 1);
    CHECK_INT(co_wait(tasks, 2, CO_ALL), 2);
    take_all(tasks, 2);
    return 0;
}

static void wait_out_of_time_cancels_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_time, NULL), 0);
    assert_string_equal(traced(), "a slow");
}

static int wait_same(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(work, &a), *tasks[] = {task, task, task};
    CHECK_INT(co_wait(tasks, 3, CO_ALL), 3);
    return co_await_task(task);
}

static void one_task_may_be_waited_for_more_than_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_same, NULL), a.result);
}

static int wait_for_both(void *arg)
{
    co_task_t **tasks = arg;
    int rc = co_wait(tasks, 2, CO_ALL);
    trace("%s", rc == 2 ? "both" : "cancelled");
    return rc;
}

static void several_tasks_may_wait_for_the_same_ones(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *tasks[] = {loop_spawn(loop, work, &a), loop_spawn(loop, work, &b)}, *waiters[2];
    for (int i = 0; i < 2; i++)
        waiters[i] = loop_spawn(loop, wait_for_both, tasks);
    loop_run_once(loop, 0);
    co_task_cancel(waiters[0]);
    loop_run_once(loop, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "cancelled a b both");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(co_task_result(tasks[i]), i + 1);
        assert_int_equal(co_task_result(waiters[i]), i ? 2 : -ECANCELED);
        co_task_release(tasks[i]);
        co_task_release(waiters[i]);
    }
    assert_int_equal(close_loop(loop), 0);
}

/* --- Without memory --------------------------------------------------------------------------- */

/* More than the calls keep on the stack. */
enum { SOME = 20 };

static int gather_without_memory(void *arg)
{
    co_task_t *tasks[SOME];
    int kind = *(int *)arg, results[SOME];
    for (int i = 0; i < SOME; i++)
        tasks[i] = co_spawn(work, &b);
    CHECK_INT(co_yield_now(), 0);
    fail_allocation(1, true);
    int rc = kind == 0   ? co_gather_tasks(tasks, SOME)
             : kind == 1 ? co_gather_all(tasks, SOME, results)
                         : co_wait(tasks, SOME, CO_ALL);
    fail_allocation(0, false);
    CHECK_INT(rc, -ENOMEM);
    CHECK_INT(stacks_in_use(), kind == 2 ? 1 + SOME : 1);
    return kind == 2 ? co_gather_tasks(tasks, SOME) : 0;
}

static void without_memory_gathers_end_their_tasks_and_wait_leaves_them(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++)
        assert_int_equal(run_task(gather_without_memory, &kind), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_waits_for_all_and_releases_them),
        cmocka_unit_test(the_first_failure_cancels_the_others_which_are_waited_for),
        cmocka_unit_test(tasks_that_are_done_already_count),
        cmocka_unit_test(a_null_among_the_tasks_is_a_failure),
        cmocka_unit_test(one_task_may_be_gathered_more_than_once),
        cmocka_unit_test(a_cancelled_task_is_a_failure_of_the_gather),
        cmocka_unit_test(a_cancelled_gather_cancels_all_and_waits_for_them),
        cmocka_unit_test(a_gather_out_of_time_cancels_all_and_waits_for_them),
        cmocka_unit_test(a_caller_that_was_cancelled_before_leaves_nothing_behind),
        cmocka_unit_test(the_message_of_the_first_failure_becomes_the_callers),
        cmocka_unit_test(thousands_may_be_gathered),
        cmocka_unit_test(gather_all_lets_all_finish_and_counts_the_failures),
        cmocka_unit_test(gather_all_with_a_null_may_run_out_of_time_too),
        cmocka_unit_test(wait_ends_with_the_first_the_first_failed_or_all),
        cmocka_unit_test(wait_refuses_nothing_null_and_unknown_modes),
        cmocka_unit_test(wait_out_of_time_cancels_nothing),
        cmocka_unit_test(one_task_may_be_waited_for_more_than_once),
        cmocka_unit_test(several_tasks_may_wait_for_the_same_ones),
        cmocka_unit_test(without_memory_gathers_end_their_tasks_and_wait_leaves_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
