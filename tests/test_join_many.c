/* Waiting for thousands of tasks at a time. That it takes time in proportion to their number is
 * seen by their instructions: the crowds of bench/instructions.c. */
#include "support.h"

enum { MANY = 20000, FEW = 200 };

struct crowd {
    size_t n;
    void (*wait)(struct crowd *);
    co_task_t **tasks;
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

/* --- With thousands --------------------------------------------------------------------------- */

static int run_crowd(void *arg)
{
    struct crowd *crowd = arg;
    crowd->wait(crowd);
    return 0;
}

/* valgrind's own book-keeping of stacks is not linear, ThreadSanitizer's ends at 8128. */
static void run_with_many(void (*wait)(struct crowd *))
{
    struct crowd crowd = {.n = under_valgrind() || under_tsan() ? FEW : MANY, .wait = wait};
    crowd.tasks = calloc(crowd.n, sizeof *crowd.tasks);
    assert_int_equal(run_task(run_crowd, &crowd), 0);
    free(crowd.tasks);
}

#define WITH_MANY(name)                                                                            \
    static void many_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_with_many(name);                                                                       \
    }

WITH_MANY(wait_for_all)
WITH_MANY(gather_successes)
WITH_MANY(gather_a_failure)
WITH_MANY(gather_all_failures)
WITH_MANY(wait_for_a_group)
WITH_MANY(cancel_a_group)
WITH_MANY(wait_for_the_same)
WITH_MANY(wait_for_the_one_before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_wait_for_all),      cmocka_unit_test(many_gather_successes),
        cmocka_unit_test(many_gather_a_failure),  cmocka_unit_test(many_gather_all_failures),
        cmocka_unit_test(many_wait_for_a_group),  cmocka_unit_test(many_cancel_a_group),
        cmocka_unit_test(many_wait_for_the_same), cmocka_unit_test(many_wait_for_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
