/* Tasks: spawning, results, handles, names and ids, and what a caller gets for a wrong call. Eager
 * ones are in test_eager.c. */
#include "test_forked.h"

#include <pthread.h>

static int say(void *word)
{
    trace("%s", (const char *)word);
    return 0;
}

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

/* --- Spawning --------------------------------------------------------------------------------- */

static int go_and_yield(void *arg)
{
    (void)arg;
    CHECK_INT(co_go(say, "b"), 0);
    co_task_t *task = co_spawn(say, "c");
    trace("a1");
    CHECK_INT(co_yield_now(), 0);
    trace("a2");
    CHECK(co_task_done(task));
    return co_await_task(task);
}

static void a_task_begins_in_the_next_pass_in_the_order_of_spawning(void **state)
{
    (void)state;
    assert_int_equal(run_task(go_and_yield, NULL), 0);
    assert_string_equal(traced(), "a1 b c a2");
}

static void results_are_read_by_the_handle_when_the_task_is_done(void **state)
{
    (void)state;
    static const int results[] = {0, 42, INT32_MAX, -ENOENT, INT32_MIN};
    enum { N = sizeof results / sizeof *results };
    co_task_t *tasks[N];
    loop_t *loop = open_loop();
    for (int i = 0; i < N; i++) {
        tasks[i] = loop_spawn(loop, return_arg, (void *)(intptr_t)results[i]);
        assert_false(co_task_done(tasks[i]));
        assert_int_equal(co_task_result(tasks[i]), -EINPROGRESS);
    }
    assert_int_equal(loop_run(loop), 0);
    for (int i = 0; i < N; i++) {
        assert_true(co_task_done(tasks[i]));
        assert_int_equal(co_task_result(tasks[i]), results[i]);
        co_task_release(tasks[i]);
    }
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void outside_a_coroutine_the_newest_loop_is_meant(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(say, "a"), 0);
    co_task_t *task = co_spawn(say, "b"), *same = loop_spawn(NULL, say, "c");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a b c");
    co_task_release(task);
    co_task_release(same);
    assert_int_equal(close_loop(loop), 0);
}

static void spawn_next(void *arg)
{
    trace("call");
    assert_int_equal(co_go(say, arg), 0);
    assert_null(co_self());
}

static void a_callback_may_spawn(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_soon(loop, spawn_next, "a", NULL), 0);
    assert_int_equal(loop_call_soon(loop, spawn_next, "b", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "call call a b");
    assert_int_equal(close_loop(loop), 0);
}

static int touch_stack(void *arg)
{
    volatile char data[600 * 1024];
    for (size_t i = 0; i < sizeof data; i += 1024)
        data[i] = (char)i;
    return data[1024] == 0 && arg == data ? 1 : 0;
}

static int spawn_with_sizes(void *arg)
{
    (void)arg;
    co_spawn_options_t large = {.stack_size = 1024 * 1024}, tiny = {.stack_size = 1};
    CHECK_INT(co_await_task(co_spawn_with(&large, touch_stack, NULL)), 0);
    CHECK_INT(co_await_task(co_spawn_with(&tiny, return_arg, (void *)5)), 5);
    CHECK_INT(co_await_task(co_spawn_with(NULL, return_arg, (void *)6)), 6);
    return 0;
}

static void a_task_may_have_a_stack_of_its_own_size(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_with_sizes, NULL), 0);
}

static void every_one_of_many_tasks_has_its_result(void **state)
{
    (void)state;
    enum { N = 3000 };
    static co_task_t *tasks[N];
    loop_t *loop = open_loop();
    for (intptr_t i = 0; i < N; i++)
        assert_non_null(tasks[i] = loop_spawn(loop, return_arg, (void *)i));
    assert_int_equal(loop_run(loop), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(co_task_result(tasks[i]), i);
        assert_int_equal(co_task_id(tasks[i]), i + 1);
        co_task_release(tasks[i]);
    }
    assert_int_equal(close_loop(loop), 0);
}

/* --- Names, ids and who runs ------------------------------------------------------------------ */

static void tasks_are_named_after_their_function_or_as_the_options_say(void **state)
{
    (void)state;
    co_spawn_options_t named = {.name = "worker 3"};
    loop_t *loop = open_loop();
    co_task_t *plain = loop_spawn(loop, say, "a"), *other = co_spawn_with(&named, say, "b");
    co_spawn_options_t no_name = {.stack_size = 1};
    co_task_t *unnamed = co_spawn_with(&no_name, say, "c");
    assert_string_equal(co_task_name(plain), "say");
    assert_ptr_equal(co_task_name(other), named.name);
    assert_string_equal(co_task_name(unnamed), "say");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(co_task_name(plain), "say");
    co_task_release(plain);
    co_task_release(other);
    co_task_release(unnamed);
    assert_int_equal(close_loop(loop), 0);
}

static void ids_count_from_1_in_each_loop(void **state)
{
    (void)state;
    loop_t *first = open_loop(), *second = loop_new(NULL);
    for (unsigned i = 1; i <= 3; i++) {
        co_task_t *a = loop_spawn(first, say, "a"), *b = loop_spawn(second, say, "b");
        assert_int_equal(co_task_id(a), i);
        assert_int_equal(co_task_id(b), i);
        co_task_release(a);
        co_task_release(b);
    }
    assert_int_equal(loop_run(first), 0);
    assert_int_equal(loop_run(second), 0);
    assert_int_equal(loop_close(second), 0);
    assert_int_equal(close_loop(first), 0);
}

static int is_self(void *arg)
{
    co_task_t **handle = arg;
    CHECK(co_self() == *handle);
    CHECK_INT(co_yield_now(), 0);
    CHECK(co_self() == *handle);
    return 0;
}

static void self_is_the_running_task_and_nothing_outside(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *tasks[2];
    for (int i = 0; i < 2; i++)
        tasks[i] = loop_spawn(loop, is_self, &tasks[i]);
    assert_null(co_self());
    assert_int_equal(loop_run(loop), 0);
    assert_null(co_self());
    co_task_release(tasks[0]);
    co_task_release(tasks[1]);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Handles ---------------------------------------------------------------------------------- */

static int sleep_and_say(void *word)
{
    CHECK_INT(co_sleep(5), 0);
    trace("%s", (const char *)word);
    return 0;
}

static void releasing_the_handle_does_not_end_the_task(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, sleep_and_say, "a"));
    co_task_t *task = loop_spawn(loop, sleep_and_say, "b");
    loop_run_once(loop, 0);
    co_task_release(task);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a b");
    assert_int_equal(close_loop(loop), 0);
}

static size_t stacks_in_use(loop_t *loop)
{
    loop_stats_t stats;
    loop_stats(loop, &stats);
    return stats.stacks - stats.stacks_idle;
}

static void a_done_task_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_arg, (void *)9);
    assert_ptr_equal(co_task_retain(task), task);
    assert_int_equal(loop_run(loop), 0);
    co_task_release(task);
    assert_int_equal(co_task_result(task), 9);
    assert_int_equal(stacks_in_use(loop), 1);
    co_task_release(task);
    assert_int_equal(stacks_in_use(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void retaining_and_releasing_null_does_nothing(void **state)
{
    (void)state;
    assert_null(co_task_retain(NULL));
    co_task_release(NULL);
}

static void call_it(void *fn)
{
    (*(void (**)(void))fn)();
}

/* What a child process that runs fn writes to stderr before it aborts. */
static const char *last_words(void (*fn)(void))
{
    return words_of_abort(call_it, &fn);
}

static void release_too_often(void)
{
    loop_t *loop = loop_new(NULL);
    co_task_t *task = loop_spawn(loop, sleep_and_say, "x");
    co_task_release(task);
    co_task_release(task);
}

static void releasing_more_often_than_held_aborts_and_names_the_task(void **state)
{
    (void)state;
    assert_non_null(strstr(last_words(release_too_often), "'sleep_and_say' (#1)"));
}

static int await_twice_task(void *arg)
{
    co_task_t *task = co_spawn(say, "x");
    (void)arg;
    co_await_task(task);
    return co_await_task(task);
}

static void await_twice(void)
{
    co_run(await_twice_task, NULL);
}

static void awaiting_a_handle_twice_aborts(void **state)
{
    (void)state;
    SKIP_IF(under_valgrind(), "it reads what is freed");
    assert_non_null(strstr(last_words(await_twice), "awaited or released once more"));
}

/* --- Wrong calls ------------------------------------------------------------------------------ */

static void spawning_nothing_or_a_stack_too_large_is_invalid(void **state)
{
    (void)state;
    co_fn *none = NULL;
    co_spawn_options_t huge = {.stack_size = SIZE_MAX};
    loop_t *loop = open_loop();
    errno = 0;
    assert_null(co_spawn(none, NULL));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(co_go(none, NULL), -EINVAL);
    errno = 0;
    assert_null(co_spawn_with(&huge, say, "x"));
    assert_int_equal(errno, EINVAL);
    huge.stack_size = SIZE_MAX / 8;
    assert_null(co_spawn_with(&huge, say, "x"));
    assert_true(errno == EINVAL || errno == ENOMEM);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void *spawn_without_loop(void *arg)
{
    int *result = arg;
    errno = 0;
    bool null = co_spawn(say, "x") == NULL;
    result[0] = null ? errno : 0;
    result[1] = co_go(say, "x");
    return NULL;
}

static void a_thread_without_a_loop_may_not_spawn(void **state)
{
    (void)state;
    int result[2] = {0};
    pthread_t thread;
    loop_t *loop = open_loop(); /* of this thread, not of the other */
    assert_int_equal(pthread_create(&thread, NULL, spawn_without_loop, result), 0);
    pthread_join(thread, NULL);
    assert_int_equal(result[0], EPERM);
    assert_int_equal(result[1], -EPERM);
    spawn_without_loop(result);
    assert_int_equal(result[0], 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int spawn_in_child(loop_t *loop)
{
    errno = 0;
    if (loop_spawn(loop, say, "x") || errno != ECHILD)
        return 1;
    return co_go(say, "x") == -ECHILD ? 0 : 2;
}

static void a_forked_child_may_not_spawn(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(spawn_in_child(loop));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(close_loop(loop), 0);
}

static void suspend_nowhere(void *arg)
{
    co_task_t *task = arg;
    int result;
    assert_int_equal(co_yield_now(), -EPERM);
    assert_int_equal(co_sleep(0), -EPERM);
    assert_int_equal(co_sleep(1), -EPERM);
    assert_int_equal(co_sleep_ns(1), -EPERM);
    assert_int_equal(co_sleep_until(1), -EPERM);
    assert_int_equal(co_await_task(task), -EPERM);
    assert_int_equal(co_wait_for(task, 1), -EPERM);
    assert_int_equal(co_gather(task), -EPERM);
    assert_int_equal(co_gather_all(&task, 1, &result), -EPERM);
    assert_int_equal(co_wait(&task, 1, CO_ALL), -EPERM);
    assert_int_equal(co_await_fd(0, CO_READ), -EPERM);
    trace("done");
}

static void suspending_outside_a_coroutine_is_refused_and_keeps_the_handle(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, return_arg, (void *)3);
    suspend_nowhere(task);
    assert_int_equal(loop_call_soon(loop, suspend_nowhere, task, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "done done");
    assert_int_equal(co_task_result(task), 3);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static void without_memory_spawning_fails_and_leaves_nothing(void **state)
{
    (void)state;
    bool ended = false;
    for (size_t n = 1; !ended && n < 50; n++) {
        loop_t *loop = open_loop();
        co_spawn_options_t big = {.stack_size = 512 * 1024};
        fail_allocation(n, true);
        errno = 0;
        co_task_t *task = co_spawn(say, "a");
        assert_true(task || errno == ENOMEM);
        co_task_t *other = co_spawn_with(&big, say, "b");
        int rc = co_go(say, "c");
        assert_true(rc == 0 || rc == -ENOMEM);
        ended = task && other && rc == 0;
        fail_allocation(0, false);
        assert_int_equal(loop_run(loop), 0);
        if (ended)
            assert_string_equal(traced(), "a b c");
        co_task_release(task);
        co_task_release(other);
        assert_int_equal(close_loop(loop), 0);
    }
    assert_true(ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_begins_in_the_next_pass_in_the_order_of_spawning),
        cmocka_unit_test(results_are_read_by_the_handle_when_the_task_is_done),
        cmocka_unit_test(outside_a_coroutine_the_newest_loop_is_meant),
        cmocka_unit_test(a_callback_may_spawn),
        cmocka_unit_test(a_task_may_have_a_stack_of_its_own_size),
        cmocka_unit_test(every_one_of_many_tasks_has_its_result),
        cmocka_unit_test(tasks_are_named_after_their_function_or_as_the_options_say),
        cmocka_unit_test(ids_count_from_1_in_each_loop),
        cmocka_unit_test(self_is_the_running_task_and_nothing_outside),
        cmocka_unit_test(releasing_the_handle_does_not_end_the_task),
        cmocka_unit_test(a_done_task_lives_as_long_as_its_last_reference),
        cmocka_unit_test(retaining_and_releasing_null_does_nothing),
        cmocka_unit_test(releasing_more_often_than_held_aborts_and_names_the_task),
        cmocka_unit_test(spawning_nothing_or_a_stack_too_large_is_invalid),
        cmocka_unit_test(a_thread_without_a_loop_may_not_spawn),
        cmocka_unit_test(awaiting_a_handle_twice_aborts),
        cmocka_unit_test(a_forked_child_may_not_spawn),
        cmocka_unit_test(suspending_outside_a_coroutine_is_refused_and_keeps_the_handle),
        cmocka_unit_test(without_memory_spawning_fails_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
