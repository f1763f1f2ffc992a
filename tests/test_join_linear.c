/* Waiting for thousands of tasks takes time in proportion to their number: hardly more than these
 * tasks take without anybody who waits for them. If each one had all the others looked at, it would
 * be ten times that and more. The measure is CPU time, the least of several tries. */
#include "support.h"

#include <time.h>

enum { MANY = 20000, FEW = 200, TRIES = 5, ATTEMPTS = 20, TIMES = 4 };

struct crowd {
    size_t n;
    void (*wait)(struct crowd *);
    co_task_t **tasks;
    double least; /* CPU seconds */
};

static int yield_once(void *arg)
{
    int rc = co_yield_now();
    return rc < 0 ? rc : arg != NULL;
}

static int wait_for_end(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static int fail_first(void *arg)
{
    return arg ? co_sleep(-1) : -EIO;
}

static void spawn_all(struct crowd *crowd, co_fn *fn)
{
    for (size_t i = 0; i < crowd->n; i++) {
        crowd->tasks[i] = co_spawn(fn, i ? crowd : NULL);
        CHECK(crowd->tasks[i] != NULL);
    }
}

static void release_all(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->n; i++)
        co_task_release(crowd->tasks[i]);
}

/* --- The ways to wait ------------------------------------------------------------------------- */

static void wait_for_none(struct crowd *crowd)
{
    spawn_all(crowd, yield_once);
    release_all(crowd);
    for (int i = 0; i < 3; i++)
        CHECK_INT(co_yield_now(), 0); /* they end */
}

static void wait_for_all(struct crowd *crowd)
{
    spawn_all(crowd, yield_once);
    CHECK_INT(co_wait(crowd->tasks, crowd->n, CO_ALL), (int64_t)crowd->n);
    CHECK_INT(co_wait(crowd->tasks, crowd->n, CO_FIRST_FAILED), (int64_t)crowd->n);
    release_all(crowd);
}

static void gather_successes(struct crowd *crowd)
{
    spawn_all(crowd, yield_once);
    CHECK_INT(co_gather_tasks(crowd->tasks, crowd->n), 0);
}

/* The first fails, the others are cancelled. */
static void gather_a_failure(struct crowd *crowd)
{
    spawn_all(crowd, fail_first);
    CHECK_INT(co_gather_tasks(crowd->tasks, crowd->n), -EIO);
}

static void gather_all_failures(struct crowd *crowd)
{
    int rc = 1;
    spawn_all(crowd, wait_for_end);
    co_timeout(10) rc = co_gather_all(crowd->tasks, crowd->n, NULL);
    CHECK_INT(rc, -ETIMEDOUT);
}

static void wait_for_a_group(struct crowd *crowd)
{
    co_group_t group;
    co_group_init(&group);
    for (size_t i = 0; i < crowd->n; i++)
        CHECK_INT(co_group_spawn(&group, yield_once, crowd), 0);
    CHECK_INT(co_group_wait(&group), 0);
}

static void cancel_a_group(struct crowd *crowd)
{
    co_group_t group;
    co_group_init(&group);
    for (size_t i = 0; i < crowd->n; i++)
        CHECK_INT(co_group_spawn(&group, wait_for_end, crowd), 0);
    CHECK_INT(co_yield_now(), 0);
    co_group_cancel(&group);
    CHECK_INT(co_group_wait(&group), 0);
}

static int await_it(void *arg)
{
    return co_await_task((co_task_t *)arg);
}

/* All wait for one and the same. */
static void wait_for_the_same(struct crowd *crowd)
{
    co_task_t *one = co_spawn(wait_for_end, NULL);
    CHECK_INT(co_yield_now(), 0);
    for (size_t i = 0; i < crowd->n; i++)
        crowd->tasks[i] = co_spawn(await_it, co_task_retain(one));
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(one);
    CHECK_INT(co_gather_all(crowd->tasks, crowd->n, NULL), (int64_t)crowd->n);
    co_task_release(one);
}

static int follow(void *task)
{
    return task ? co_await_task((co_task_t *)task) : co_sleep(-1);
}

/* Each waits for the one before it. */
static void wait_for_the_one_before(struct crowd *crowd)
{
    co_task_t *first = co_task_retain(co_spawn(follow, NULL)), *last = first;
    for (size_t i = 1; i < crowd->n; i++) {
        last = co_spawn(follow, last);
        if (i % 64 == 0)
            CHECK_INT(co_yield_now(), 0);
    }
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(first);
    CHECK_INT(co_await_task(last), -ECANCELED);
    co_task_release(first);
}

/* --- Measuring -------------------------------------------------------------------------------- */

/* From the second try on, the stacks are there. */
static int run_crowd(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < TRIES; i++) {
        clock_t start = clock();
        crowd->wait(crowd);
        double took = (double)(clock() - start) / CLOCKS_PER_SEC;
        crowd->least = took < crowd->least ? took : crowd->least;
    }
    return 0;
}

static double time_of(void (*wait)(struct crowd *), size_t n)
{
    struct crowd crowd = {.n = n, .wait = wait, .least = 1e9};
    crowd.tasks = calloc(n, sizeof *crowd.tasks);
    assert_int_equal(run_task(run_crowd, &crowd), 0);
    free(crowd.tasks);
    return crowd.least;
}

static void expect_linear(void (*wait)(struct crowd *))
{
    /* valgrind's own book-keeping of stacks is not linear, ThreadSanitizer's ends at 8128 */
    if (under_valgrind() || under_tsan()) {
        time_of(wait, FEW);
        return;
    }
    /* a busy machine may spoil a measurement, but not every one of many; a square is too slow in
     * all */
    double without = 0, took = 1;
    for (int i = 0; i < ATTEMPTS && took > without * TIMES; i++) {
        without = time_of(wait_for_none, MANY);
        took = time_of(wait, MANY);
    }
    if (took > without * TIMES)
        fail_msg("%d tasks took %.6f s, and %.6f without waiting", MANY, took, without);
}

#define LINEAR(name)                                                                               \
    static void to_##name##_is_linear(void **state)                                                \
    {                                                                                              \
        (void)state;                                                                               \
        expect_linear(name);                                                                       \
    }

LINEAR(wait_for_all)
LINEAR(gather_successes)
LINEAR(gather_a_failure)
LINEAR(gather_all_failures)
LINEAR(wait_for_a_group)
LINEAR(cancel_a_group)
LINEAR(wait_for_the_same)
LINEAR(wait_for_the_one_before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(to_wait_for_all_is_linear),
        cmocka_unit_test(to_gather_successes_is_linear),
        cmocka_unit_test(to_gather_a_failure_is_linear),
        cmocka_unit_test(to_gather_all_failures_is_linear),
        cmocka_unit_test(to_wait_for_a_group_is_linear),
        cmocka_unit_test(to_cancel_a_group_is_linear),
        cmocka_unit_test(to_wait_for_the_same_is_linear),
        cmocka_unit_test(to_wait_for_the_one_before_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
