/* A task's struct lies on its stack, which goes from one task to the next with what was in it:
 * whatever became of a task, the next one on its stack is a new one. */
#include "support.h"

static co_local_t key = {free};
static const co_spawn_options_t eagerly = {.eager = true};

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

/* --- What may become of a task ---------------------------------------------------------------- */

static int return_at_once(void *arg)
{
    (void)arg;
    return 0;
}

static int be_cancelled_unnoticed(void *arg)
{
    (void)arg;
    co_task_cancel(co_self());
    return 0;
}

static int be_cancelled_asleep(void *arg)
{
    return sleep_for_ever(arg);
}

static int cancel_a_scope(void *arg)
{
    (void)arg;
    co_scope_t scope;
    co_scope_enter(&scope, -1);
    co_scope_cancel(&scope);
    int rc = co_sleep(1);
    co_scope_leave(&scope);
    return rc == -ECANCELED ? 0 : rc;
}

static int run_out_of_time(void *arg)
{
    (void)arg;
    int rc = 0;
    co_timeout(1) rc = co_sleep(-1);
    return rc == -ETIMEDOUT ? 0 : rc;
}

static int end_in_a_shield(void *arg)
{
    (void)arg;
    int rc = -1;
    co_task_cancel(co_self());
    co_shield() rc = co_sleep(1);
    return rc;
}

static int fail_with_a_note(void *arg)
{
    (void)arg;
    return co_fail(-EIO, "a message of %d", 1);
}

static int note_and_succeed(void *arg)
{
    (void)arg;
    co_fail(-EIO, "forgotten");
    return 0;
}

static int throw_from_a_scope(void *arg)
{
    (void)arg;
    co_timeout(1000) co_throw(-EIO, "thrown");
    return 0;
}

static int set_a_local_value(void *arg)
{
    (void)arg;
    return co_local_set(&key, strdup("value"));
}

static int lose_a_group(void *arg)
{
    int rc;
    co_group(group, &rc)
    {
        co_group_spawn(group, sleep_for_ever, arg);
        co_group_spawn(group, fail_with_a_note, arg);
    }
    return rc == -EIO ? 0 : rc;
}

static int be_out_of_calls(void *arg)
{
    co_sem_t sem;
    (void)arg;
    co_sem_init(&sem, 100);
    for (int i = 0; i < 60; i++)
        co_sem_acquire(&sem);
    return 0;
}

static int await_an_eager_one(void *arg)
{
    return co_await_task(co_spawn_with(&eagerly, run_out_of_time, arg));
}

static co_fn *const ends[] = {
    return_at_once,     be_cancelled_unnoticed, be_cancelled_asleep, cancel_a_scope,
    run_out_of_time,    end_in_a_shield,        fail_with_a_note,    note_and_succeed,
    throw_from_a_scope, set_a_local_value,      lose_a_group,        be_out_of_calls,
    await_an_eager_one,
};
enum { ENDS = sizeof ends / sizeof ends[0] };

/* --- A task is new ---------------------------------------------------------------------------- */

static int count_calls(void *arg)
{
    int *calls = arg;
    ++*calls;
    return co_yield_now();
}

static int be_new(void *arg)
{
    int *calls = arg, before = *calls;
    CHECK(!co_task_cancelled(co_self()));
    CHECK(co_task_error(co_self()) == NULL);
    CHECK(co_local_get(&key) == NULL);
    CHECK_INT(co_task_result(co_self()), -EINPROGRESS);
    int64_t start = loop_time(loop_current());
    CHECK_INT(co_sleep(5), 0);
    CHECK_INT(loop_time(loop_current()), start + 5 * MS);
    int rc = -1;
    co_timeout(5) rc = co_await_task(co_spawn(count_calls, calls));
    CHECK_INT(rc, 0);
    CHECK_INT(*calls, before + 1);
    co_group(group, &rc) co_group_spawn(group, count_calls, calls);
    CHECK_INT(rc, 0);
    CHECK_INT(co_try(count_calls, calls), 0);
    return 17;
}

static void note_end(co_task_t *task, void *arg)
{
    (void)task;
    ++*(int *)arg;
}

/* Runs a task that ends in this way, cancelled while it sleeps if it still does then; its memory is
 * free afterwards. Returns where it was. */
static const void *end_a_task(co_fn *fn, bool starts_at_once)
{
    const co_spawn_options_t options = {.name = "end", .eager = starts_at_once};
    co_task_t *task = co_spawn_with(&options, fn, NULL);
    const void *address = task;
    co_sleep(1);
    if (fn == be_cancelled_asleep)
        co_task_cancel(task);
    while (!co_task_done(task))
        co_sleep(1);
    (void)co_task_result(task); /* so that nothing is reported */
    co_task_release(task);
    return address;
}

static void check_next(const void *address, bool starts_at_once)
{
    const co_spawn_options_t options = {.name = "next", .eager = starts_at_once};
    int calls = 0, notes = 0;
    co_task_t *task = co_spawn_with(&options, be_new, &calls);
    CHECK(task == address);
    CHECK_INT(co_task_add_done_callback(task, note_end, &notes), 0);
    CHECK(!co_task_done(task));
    CHECK_INT(co_await_task(task), 17);
    co_yield_now();
    CHECK_INT(notes, 1);
    CHECK_INT(calls, 3);
}

static int follow_each_end(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4 * ENDS; i++)
        check_next(end_a_task(ends[i / 4], i & 1), i & 2);
    return 0;
}

static void whatever_became_of_a_task_the_next_on_its_stack_is_new(void **state)
{
    (void)state;
    assert_int_equal(run_task(follow_each_end, NULL), 0);
}

static int fail_unnoticed_after_one_that_was_noticed(void *arg)
{
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(fail_with_a_note, NULL)), -EIO);
    CHECK_INT(reports(), 0);
    CHECK_INT(co_go(fail_with_a_note, NULL), 0);
    CHECK_INT(co_sleep(1), 0);
    CHECK_INT(reports(), 1);
    return 0;
}

static void a_failure_is_told_whoever_took_notice_of_the_last_on_its_stack(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(
        loop_run_until(loop, loop_spawn(loop, fail_unnoticed_after_one_that_was_noticed, NULL)), 0);
    close_loop(loop);
}

/* --- All at once ------------------------------------------------------------------------------ */

static int end_somehow(void *arg)
{
    co_test_random_t *random = arg;
    co_fn *fn = ends[co_test_below(random, ENDS)];
    int rc = 0;
    CHECK(!co_task_cancelled(co_self()) && !co_task_error(co_self()) && !co_local_get(&key));
    co_timeout(50) rc = fn(NULL);
    return rc;
}

static int spawn_many(void *arg)
{
    enum { TASKS = 20, ROUNDS = 200 };
    for (int round = 0; round < ROUNDS; round++) {
        co_task_t *tasks[TASKS];
        for (int i = 0; i < TASKS; i++)
            tasks[i] = co_test_below(arg, 2) ? co_spawn(end_somehow, arg)
                                             : co_spawn_with(&eagerly, end_somehow, arg);
        CHECK_INT(co_yield_now(), 0); /* all have begun then */
        if (co_test_below(arg, 4) == 0)
            co_task_cancel(tasks[co_test_below(arg, TASKS)]);
        CHECK(co_gather_all(tasks, TASKS, NULL) >= 0);
    }
    return 0;
}

static void so_it_is_with_many_that_end_in_any_order(void **state)
{
    (void)state;
    co_test_random_t random = {1};
    assert_int_equal(run_task(spawn_many, &random), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_became_of_a_task_the_next_on_its_stack_is_new),
        cmocka_unit_test(a_failure_is_told_whoever_took_notice_of_the_last_on_its_stack),
        cmocka_unit_test(so_it_is_with_many_that_end_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
