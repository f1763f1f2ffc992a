/* Stacks as tasks see them: sizes by option, reports of missing guards, and no memory for a
 * stack. */
#include "test_stack.h"

#include <coloop/debug.h>

#include <stdio.h>

static loop_stats_t stats_of(loop_t *loop)
{
    loop_stats_t stats;
    loop_stats(loop, &stats);
    return stats;
}

static int guard_unknown(void **state)
{
    (void)state;
    coloop__stack_set_guard(STACK_GUARD_UNKNOWN);
    return 0;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static __attribute__((noinline)) size_t use_bytes(size_t n)
{
    char frame[1024];
    volatile char *byte = frame;
    __asm__ volatile("" : "+r"(byte)); /* or the compiler does without most of it */
    *byte = 1;
    return n > sizeof frame ? *byte + use_bytes(n - sizeof frame) : 1;
}

static int use_stack(void *arg)
{
    size_t n = (uintptr_t)arg;
    CHECK(use_bytes(n / 4) > 0);
    CHECK_INT(co_yield_now(), 0);
    CHECK(use_bytes(n / 4 * 3) > 0);
    return 0;
}

static int spawn_sizes(void *arg)
{
    static const size_t sizes[] = {16 * 1024, 64 * 1024, 100000, 256 * 1024, 1024 * 1024};
    co_task_t *tasks[15];
    (void)arg;
    for (size_t i = 0; i < 15; i++) {
        co_spawn_options_t options = {.stack_size = sizes[i % 5]};
        tasks[i] = co_spawn_with(&options, use_stack, (void *)sizes[i % 5]);
    }
    return co_gather_tasks(tasks, 15);
}

static void a_task_may_have_a_stack_of_its_own_size(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_sizes, NULL), 0);
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void equal_sizes_share_their_stacks(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    static const size_t sizes[] = {0, 64 * 1024, 40000, 40960, 40961, 45056, 1, 16384};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < 8; i++) {
            co_spawn_options_t options = {.stack_size = sizes[i]};
            co_task_t *task = co_spawn_with(&options, nothing, NULL);
            assert_int_equal(loop_run_until(loop, task), 0);
        }
    /* Under ASan sizes are four times as large before they are rounded, and fewer of them equal. */
    assert_int_equal(stats_of(loop).stacks, under_asan() ? 6 : 4);
    assert_int_equal(close_loop(loop), 0);
}

static void a_loops_size_is_that_of_its_tasks(void **state)
{
    (void)state;
    loop_options_t options = {.stack_size = 512 * 1024, .virtual_time = true};
    loop_t *loop = open_loop_with(&options);
    co_task_t *task = loop_spawn(loop, use_stack, (void *)(uintptr_t)options.stack_size);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_true(stats_of(loop).stack_bytes >= options.stack_size);
    assert_int_equal(close_loop(loop), 0);
}

static void sizes_that_are_too_large_are_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1};
    loop_t *loop = open_loop();
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        assert_null(co_spawn_with(&(co_spawn_options_t){.stack_size = sizes[i]}, nothing, NULL));
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_null(loop_new(&(loop_options_t){.stack_size = sizes[i]}));
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(stats_of(loop).tasks, 0);
    assert_int_equal(close_loop(loop), 0);
}

static void sizes_beyond_the_address_space_are_out_of_memory(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        SIZE_MAX / 4,
        SIZE_MAX / 8,
#if SIZE_MAX > UINT32_MAX /* else this much can be had */
        SIZE_MAX / 64,
        SIZE_MAX >> 16,
#endif
    };
    loop_t *loop = open_loop();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        errno = 0;
        assert_null(co_spawn_with(&(co_spawn_options_t){.stack_size = sizes[i]}, nothing, NULL));
        assert_true(errno == ENOMEM || errno == EINVAL);
        loop_t *other = loop_new(&(loop_options_t){.stack_size = sizes[i]});
        if (!other) {
            assert_int_equal(errno, EINVAL);
            continue;
        }
        errno = 0;
        assert_null(loop_spawn(other, nothing, NULL));
        assert_int_equal(errno, ENOMEM);
        loop_close(other);
    }
    co_task_t *task = loop_spawn(loop, nothing, NULL);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Missing guards --------------------------------------------------------------------------- */

static void missing_guards_are_reported_once(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, nothing, NULL));
    assert_int_equal(reports(), 0);
    assert_int_equal(stats_of(loop).stacks_unguarded, 0);
    coloop__stack_set_guard(STACK_GUARD_NONE);
    for (int i = 0; i < 5; i++)
        co_task_release(loop_spawn(loop, nothing, NULL));
    co_task_release(co_spawn_with(&(co_spawn_options_t){.stack_size = 128 * 1024}, nothing, NULL));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "guard"));
    assert_non_null(strstr(reported(), "|0|"));
    assert_int_equal(stats_of(loop).stacks_unguarded, 6);
    assert_int_equal(close_loop(loop), 0);
}

static void note_where(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)arg;
    trace("%d%s", exception->error, co_self() ? "inside" : "outside");
}

static int spawn_one(void *arg)
{
    trace("spawn");
    CHECK_INT(co_await_task(co_spawn(nothing, arg)), 0);
    trace("%s", co_self() ? "back" : "lost");
    return 0;
}

static void the_report_comes_outside_any_coroutine(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, note_where, NULL);
    co_task_release(loop_spawn(loop, spawn_one, NULL));
    coloop__stack_set_guard(STACK_GUARD_NONE);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "spawn 0outside back");
    assert_int_equal(close_loop(loop), 0);
}

static void spawn_in_handler(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)exception;
    trace("report");
    for (int i = 0; i < 3; i++)
        co_task_release(loop_spawn(loop, spawn_one, arg));
}

static void the_handler_may_spawn(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, spawn_in_handler, NULL);
    co_task_release(loop_spawn(loop, spawn_one, NULL));
    coloop__stack_set_guard(STACK_GUARD_NONE);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "spawn report spawn spawn spawn back back back back");
    assert_int_equal(close_loop(loop), 0);
}

static int park(void *arg)
{
    (void)arg;
    return co_sleep(1000);
}

/* More tasks than a process may have protected guards. In a child, as it takes many mappings. */
static void spawn_beyond_the_limit_of_mappings(void)
{
    enum { MANY = 40000 };
    coloop__stack_set_guard(STACK_GUARD_PROTECT);
    loop_t *loop = open_loop();
    for (int i = 0; i < MANY; i++) {
        co_task_t *task = co_spawn_with(&(co_spawn_options_t){.stack_size = 1}, park, NULL);
        if (!task)
            _exit(2);
        co_task_release(task);
    }
    size_t unguarded = stats_of(loop).stacks_unguarded;
    void *room = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (unguarded == 0 || unguarded > MANY * 2 / 3 || room == MAP_FAILED || reports() != 1)
        _exit(3);
    _exit(loop_run(loop) == 0 ? 0 : 4);
}

static void near_the_limit_of_mappings_stacks_come_without_guards(void **state)
{
    (void)state;
    need_proc();
    if (under_asan() || under_valgrind())
        skip(); /* too much memory, too slow */
    if (under_tsan())
        skip(); /* it follows 8128 stacks and no more */
    size_t limit = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file && fscanf(file, "%zu", &limit) != 1)
        limit = 0;
    if (file)
        fclose(file);
    if (limit > 65530)
        skip(); /* of a system that allows more */
    assert_int_equal(run_child(spawn_beyond_the_limit_of_mappings), 0);
}

/* --- No memory for stacks --------------------------------------------------------------------- */

static int spawn_until_refused(void *arg)
{
    co_task_t *tasks[64], *refused = NULL;
    int n = 0;
    co_spawn_options_t options = {.stack_size = 8 << 20};
    errno = 0;
    while (n < 64 && (refused = co_spawn_with(&options, park, arg)))
        tasks[n++] = refused;
    CHECK(!refused);
    CHECK_INT(errno, ENOMEM);
    CHECK(n > 0);
    CHECK_INT(co_sleep(1), 0); /* the loop goes on */
    CHECK_INT(co_gather_tasks(tasks, (size_t)n), 0);
    CHECK_INT(co_await_task(co_spawn_with(&options, nothing, arg)), 0);
    return 46;
}

static void spawn_in_a_small_address_space(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%zu", &pages) != 1)
        _exit(1);
    fclose(file);
    rlim_t size = pages * PAGE + ((size_t)100 << 20);
    struct rlimit limit = {size, size};
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        _exit(2);
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, spawn_until_refused, NULL);
    _exit(loop_run_until(loop, task));
}

static void without_address_space_a_spawn_fails_and_the_loop_goes_on(void **state)
{
    (void)state;
    need_proc();
    SKIP_IF(under_asan() || under_valgrind(), "their own mappings are without number");
    SKIP_IF(under_emulator(), "RLIMIT_AS has no effect");
    assert_int_equal(run_child(spawn_in_a_small_address_space), 46);
}

static int spawn_without_memory(void *arg)
{
    int failures = 0;
    for (size_t n = 1; n < 10; n++) {
        /* a pool of its own each time */
        co_spawn_options_t options = {.stack_size = (16 + 4 * n) * 1024};
        fail_allocation(n, true);
        errno = 0;
        co_task_t *task = co_spawn_with(&options, nothing, arg);
        int error = errno;
        fail_allocation(0, false);
        CHECK(task || error == ENOMEM);
        failures += !task;
        CHECK_INT(co_await_task(task), task ? 0 : -ENOMEM);
        CHECK_INT(co_await_task(co_spawn_with(&options, nothing, arg)), 0);
    }
    CHECK(failures > 0 && failures < 9);
    return 0;
}

static void without_memory_a_spawn_fails_and_the_next_one_may_not(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_without_memory, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define GUARDED(test) cmocka_unit_test_setup_teardown(test, guard_unknown, guard_unknown)
        GUARDED(a_task_may_have_a_stack_of_its_own_size),
        GUARDED(equal_sizes_share_their_stacks),
        GUARDED(a_loops_size_is_that_of_its_tasks),
        GUARDED(sizes_that_are_too_large_are_refused),
        GUARDED(sizes_beyond_the_address_space_are_out_of_memory),
        GUARDED(missing_guards_are_reported_once),
        GUARDED(the_report_comes_outside_any_coroutine),
        GUARDED(the_handler_may_spawn),
        GUARDED(near_the_limit_of_mappings_stacks_come_without_guards),
        GUARDED(without_address_space_a_spawn_fails_and_the_loop_goes_on),
        GUARDED(without_memory_a_spawn_fails_and_the_next_one_may_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
