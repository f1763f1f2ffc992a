/* Awaits, gathers, groups, scopes and defers through the search: no task is orphaned, and what was
 * deferred happens exactly once. */
#include "test_exploration.h"

static int begun, ended, deferred;

static int setup(void *arg)
{
    (void)arg;
    begun = ended = deferred = 0;
    wrong = NULL;
    return 0;
}

static const char *check(void *arg)
{
    (void)arg;
    HOLDS(begun == ended);
    HOLDS(begun == deferred);
    return wrong;
}

static void note_deferred(void *arg)
{
    (void)arg;
    deferred++;
}

static int work_for(int64_t ms)
{
    begun++;
    co_defer(note_deferred, NULL);
    int rc = co_yield_now();
    if (rc == 0)
        rc = co_sleep(ms);
    ended++;
    return rc;
}

static int quick(void *arg)
{
    (void)arg;
    return work_for(1);
}

static int slow(void *arg)
{
    (void)arg;
    return work_for(20);
}

static int failing(void *arg)
{
    (void)arg;
    int rc = work_for(2);
    return rc < 0 ? rc : co_fail(-EIO, "as it has to be");
}

static int throwing(void *arg)
{
    (void)arg;
    int rc = work_for(3);
    if (rc < 0)
        return rc;
    co_throw(-EPIPE, "thrown at %d", rc);
}

#define TASK_SCENARIO(which)                                                                       \
    static const co_test_scenario_t which = {                                                      \
        .name = #which, .setup = setup, .run = run_##which, .check = check};                       \
    SEARCH(which)

/* --- Awaits ----------------------------------------------------------------------------------- */

static int parent(void *arg)
{
    int rc = co_await_task(co_spawn(quick, arg));
    return rc < 0 ? rc : co_await_task(co_spawn(quick, arg));
}

static int run_awaits(void *arg)
{
    int rc = co_await_task(co_spawn(parent, arg));
    if (rc < 0)
        return rc;
    rc = co_await_task(co_spawn(failing, arg));
    HOLDS(rc == -EIO || rc == -ENOMEM || rc == -ECANCELED);
    rc = co_wait_for(co_spawn(slow, arg), 5);
    HOLDS(rc == -ETIMEDOUT || rc == -ENOMEM || rc == -ECANCELED);
    return 0;
}
TASK_SCENARIO(awaits)

static int run_eager(void *arg)
{
    co_spawn_options_t options = {.name = "eager", .eager = true};
    co_task_t *first = co_spawn_with(&options, quick, arg);
    co_task_t *second = co_spawn_with(&options, slow, arg);
    int rc = co_await_task(first), last = co_await_task(second);
    return rc < 0 ? rc : last;
}
TASK_SCENARIO(eager)

/* --- Gathers ---------------------------------------------------------------------------------- */

static int run_gather(void *arg)
{
    int rc = co_gather(co_spawn(quick, arg), co_spawn(slow, arg), co_spawn(parent, arg));
    if (rc < 0)
        return rc;
    rc = co_gather(co_spawn(slow, arg), co_spawn(failing, arg), co_spawn(throwing, arg));
    HOLDS(rc < 0);
    return 0;
}
TASK_SCENARIO(gather)

static int run_gather_all(void *arg)
{
    int results[3] = {1, 1, 1};
    co_task_t *tasks[] = {co_spawn(quick, arg), co_spawn(failing, arg), co_spawn(throwing, arg)};
    int rc = co_gather_all(tasks, 3, results);
    for (int i = 0; i < 3; i++)
        HOLDS(results[i] <= 0);
    return rc < 0 ? rc : 0;
}
TASK_SCENARIO(gather_all)

static int run_wait_tasks(void *arg)
{
    co_task_t *tasks[] = {co_spawn(slow, arg), co_spawn(quick, arg), co_spawn(failing, arg)};
    int rc = co_wait(tasks, 3, CO_FIRST_COMPLETED);
    if (rc >= 0)
        rc = co_wait(tasks, 3, CO_FIRST_FAILED);
    if (rc >= 0)
        rc = co_wait(tasks, 3, CO_ALL);
    HOLDS(rc < 0 || rc == 3);
    int last = co_gather_all(tasks, 3, NULL);
    return rc < 0 ? rc : last < 0 ? last : 0;
}
TASK_SCENARIO(wait_tasks)

static void on_done(co_task_t *task, void *arg)
{
    HOLDS(co_task_done(task));
    ++*(int *)arg;
}

static int run_done_callbacks(void *arg)
{
    static int added, called;
    co_task_t *task = co_spawn(quick, arg);
    if (!task)
        return -ENOMEM;
    added = called = 0;
    added += co_task_add_done_callback(task, on_done, &called) == 0;
    added += co_task_add_done_callback(task, on_done, &called) == 0;
    int rc = co_await_task(task);
    co_shield() co_yield_now();
    co_shield() co_yield_now();
    HOLDS(added == called);
    return rc;
}
TASK_SCENARIO(done_callbacks)

/* --- Groups ----------------------------------------------------------------------------------- */

static int run_group(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    co_group_spawn(&group, quick, arg);
    co_group_spawn(&group, slow, arg);
    co_group_spawn(&group, parent, arg);
    int rc = co_group_wait(&group);
    HOLDS(begun == ended);
    return rc;
}
TASK_SCENARIO(group)

static int run_failing_group(void *arg)
{
    int rc = 0;
    co_group(g, &rc)
    {
        co_group_spawn(g, slow, arg);
        co_group_spawn(g, failing, arg);
        co_group_spawn(g, throwing, arg);
        co_sleep(50);
    }
    HOLDS(rc < 0 && begun == ended);
    return 0;
}
TASK_SCENARIO(failing_group)

static int inner_group(void *arg)
{
    int rc = 0;
    co_group(g, &rc)
    {
        co_group_spawn(g, quick, arg);
        co_group_spawn(g, slow, arg);
        if (co_sleep(2) < 0)
            break;
    }
    return rc;
}

static int run_nested_groups(void *arg)
{
    int rc = 0;
    co_group(g, &rc)
    {
        co_group_spawn(g, inner_group, arg);
        co_group_spawn(g, inner_group, arg);
        co_timeout(5) co_sleep(-1);
    }
    HOLDS(begun == ended);
    return rc;
}
TASK_SCENARIO(nested_groups)

static int leave_by_throw(void *arg)
{
    co_group(g, NULL)
    {
        co_group_spawn(g, slow, arg);
        co_group_spawn(g, quick, arg);
        co_sleep(2);
        co_throw(-EIO, "out of the group");
    }
    return 0;
}

static int run_group_left_by_throw(void *arg)
{
    int rc = co_try(leave_by_throw, arg);
    HOLDS(rc == -EIO && begun == ended);
    return 0;
}
TASK_SCENARIO(group_left_by_throw)

/* --- Scopes ----------------------------------------------------------------------------------- */

static int run_scopes(void *arg)
{
    (void)arg;
    int rc = 0, inner = 0, shielded = 0;
    co_timeout(10)
    {
        co_timeout(3) inner = co_sleep(20);
        co_shield() shielded = co_sleep(15);
        rc = co_sleep(1);
    }
    HOLDS(inner < 0 && (shielded == 0 || shielded == -ENOMEM));
    HOLDS(rc < 0 || shielded < 0);
    rc = work_for(2);
    return rc;
}
TASK_SCENARIO(scopes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEARCHED(awaits),        SEARCHED(eager),
        SEARCHED(gather),        SEARCHED(gather_all),
        SEARCHED(wait_tasks),    SEARCHED(done_callbacks),
        SEARCHED(group),         SEARCHED(failing_group),
        SEARCHED(nested_groups), SEARCHED(group_left_by_throw),
        SEARCHED(scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
