/* Cycles of waiting that close late, and looking for cycles in large graphs of waiting tasks. Each
 * test runs in a child that has 10 seconds, as what fails here hangs. */
#include "support.h"

#include <sys/wait.h>

static int status_of_child(int (*fn)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(fn());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* --- A cycle that closes while a gather cleans up ---------------------------------------- */

static co_task_t *gatherer;

static int clean_up_slowly(void *arg)
{
    (void)arg;
    int rc = co_sleep(-1);
    co_shield() co_sleep(20);
    return rc;
}

/* Cancelled by the gather, it wants to wait for the task that gathers it. */
static int await_gatherer(void *arg)
{
    (void)arg;
    int rc = co_sleep(-1), awaited = 0;
    co_shield() co_sleep(10);
    co_shield() awaited = co_await_task(gatherer);
    if (awaited == -EDEADLK)
        co_task_release(gatherer);
    trace("%s", awaited == -EDEADLK ? "refused" : "waited");
    return rc;
}

static int gather_both(void *arg)
{
    (void)arg;
    return co_gather(co_spawn(clean_up_slowly, NULL), co_spawn(await_gatherer, NULL));
}

static int await_it(void *arg)
{
    return co_await_task(arg);
}

static int cancel_a_gather(void)
{
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, gather_both, NULL);
    gatherer = co_task_retain(task);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    int rc = loop_run_until(loop, task);
    return rc == -ECANCELED && strcmp(traced(), "refused") == 0 ? 0 : 1;
}

static void who_is_gathered_may_not_await_the_gatherer_while_that_cleans_up(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(cancel_a_gather), 0);
}

/* Two tasks that have come to wait for each other, by whatever way, hang; a third one that awaits
 * one of them waits as well, and the loop goes on. */
static int await_one_of_a_cycle(void)
{
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, gather_both, NULL);
    gatherer = co_task_retain(task);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    for (int i = 0; i < 50; i++)
        loop_run_once(loop, 10);
    co_task_t *third = loop_spawn(loop, await_it, co_task_retain(task));
    int rc = loop_run_until(loop, third);
    return rc == -ECANCELED || rc == -EDEADLK ? 0 : 1;
}

static void awaiting_a_member_of_a_foreign_cycle_comes_back(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(await_one_of_a_cycle), 0);
}

/* --- Large graphs ------------------------------------------------------------------------- */

/* Each of two tasks of a level gathers both tasks of the next one: 2 to the power of LEVELS ways,
 * but few tasks. */
enum { LEVELS = 28 };
static co_task_t *ladder[LEVELS + 1][2];

static int gather_next_level(void *arg)
{
    intptr_t level = (intptr_t)arg;
    if (level == LEVELS)
        return co_sleep(5);
    co_task_t *const *next = ladder[level + 1];
    return co_gather(co_task_retain(next[0]), co_task_retain(next[1]));
}

static int climb(void)
{
    loop_t *loop = open_loop();
    for (intptr_t i = LEVELS; i >= 0; i--)
        for (int j = 0; j < 2; j++)
            ladder[i][j] = loop_spawn(loop, gather_next_level, (void *)i);
    int rc = loop_run_until(loop, loop_spawn(loop, await_it, co_task_retain(ladder[0][0])));
    for (int i = 0; i <= LEVELS; i++)
        for (int j = 0; j < 2; j++)
            co_task_release(ladder[i][j]);
    return rc == 0 && loop_run(loop) == 0 ? 0 : 1;
}

static void looking_for_cycles_does_not_take_for_ever(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(climb), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_gathered_may_not_await_the_gatherer_while_that_cleans_up),
        cmocka_unit_test(awaiting_a_member_of_a_foreign_cycle_comes_back),
        cmocka_unit_test(looking_for_cycles_does_not_take_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
