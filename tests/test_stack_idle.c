/* Idle stacks give their memory back: what a few keep, when the rest goes, and that they work
 * again after it. */
#include "test_stack.h"

#include <stdio.h>

enum { FEW = 20 }; /* more than the hot ones: 512 KiB of stacks */

/* Bytes of a stack's size that are in memory; without a look into it, which would bring a page
 * back. */
static size_t resident(const struct own *own)
{
    char *low = (char *)(((uintptr_t)(own + 1) + PAGE - 1) / PAGE * PAGE) - pool.size;
    unsigned char pages[1024];
    size_t n = pool.size / PAGE, used = 0;
    assert_true(n <= sizeof pages);
    assert_int_equal(mincore(low, pool.size, (void *)pages), 0);
    for (size_t i = 0; i < n; i++)
        used += (pages[i] & 1) * (size_t)PAGE;
    return used;
}

static size_t hot(void)
{
    return HOT / pool.size;
}

static void touch_all(struct own *own)
{
    for (char *p = own->stack.low; p < (char *)own - 2 * PAGE; p += PAGE)
        *(volatile char *)p = 1;
}

/* Stacks that have used all of their memory, idle; the first one will be used again last. */
static void use_deeply(struct own *stacks[], size_t n)
{
    get_many(stacks, n);
    for (size_t i = 0; i < n; i++) {
        run(stacks[i], touch_all);
        assert_true(resident(stacks[i]) >= pool.size - 2 * PAGE);
    }
    put_many(stacks, n);
}

static void check_they_run(struct own *stacks[], size_t n)
{
    for (size_t i = n; i-- > 0;) {
        assert_ptr_equal(get(), stacks[i]);
        run(stacks[i], touch_all);
        assert_int_equal(stacks[i]->runs, 1);
    }
    for (size_t i = 0; i < n; i++)
        put(stacks[i]);
}

static void idle_stacks_keep_little_but_for_the_hot_ones(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    use_deeply(stacks, FEW);
    assert_true(stack_pool_trimmable(&pool));
    coloop__stack_trim(&pool, 0);
    for (size_t i = 0; i < FEW - hot(); i++)
        assert_true(resident(stacks[i]) <= KEPT);
    for (size_t i = FEW - hot(); i < FEW; i++)
        assert_true(resident(stacks[i]) >= pool.size - 2 * PAGE);
    check_they_run(stacks, FEW);
}

static void a_stack_in_use_keeps_its_memory(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    use_deeply(stacks, FEW);
    get_many(stacks, FEW);
    for (int64_t now = 1; now < 6; now++)
        coloop__stack_trim(&pool, now * NS_PER_S);
    for (int i = 0; i < FEW; i++)
        assert_true(resident(stacks[i]) >= pool.size - 2 * PAGE);
    put_many(stacks, FEW);
}

static void a_stack_that_grows_again_is_trimmed_again(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    for (int round = 0; round < 3; round++) {
        use_deeply(stacks, FEW);
        coloop__stack_trim(&pool, 0);
        assert_true(resident(stacks[0]) <= KEPT);
        get_many(stacks, FEW);
        for (int i = 0; i < FEW / 2; i++) { /* the order of the next round */
            struct own *other = stacks[i];
            stacks[i] = stacks[FEW - 1 - i];
            stacks[FEW - 1 - i] = other;
        }
        put_many(stacks, FEW);
    }
}

static void stacks_idle_for_a_second_keep_nothing(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    use_deeply(stacks, FEW);
    coloop__stack_trim(&pool, 10 * NS_PER_S); /* from here on they are seen to be idle */
    coloop__stack_trim(&pool, 11 * NS_PER_S - 1);
    for (int i = 0; i < FEW; i++)
        assert_true(resident(stacks[i]) > 0);
    coloop__stack_trim(&pool, 11 * NS_PER_S);
    for (int i = 0; i < FEW; i++)
        assert_int_equal(resident(stacks[i]), 0);
    assert_false(stack_pool_trimmable(&pool));
    check_they_run(stacks, FEW);
}

static void stacks_used_within_the_second_stay(void **state)
{
    (void)state;
    struct own *stacks[FEW], *used[15];
    use_deeply(stacks, FEW);
    coloop__stack_trim(&pool, 10 * NS_PER_S);
    get_many(used, 15);
    for (int i = 15; i-- > 0;)
        put(used[i]);
    coloop__stack_trim(&pool, 11 * NS_PER_S);
    for (int i = 0; i < FEW; i++)
        assert_int_equal(resident(stacks[i]) > 0, i >= FEW - 15);
    coloop__stack_trim(&pool, 12 * NS_PER_S);
    assert_int_equal(resident(stacks[FEW - 1]), 0);
    check_they_run(stacks, FEW);
}

static void a_released_stack_lives_and_is_released_again(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    for (int64_t now = 10; now < 22; now += 4) {
        get_many(stacks, FEW);
        for (int i = 0; i < FEW; i++) {
            run(stacks[i], touch_all);
            assert_int_equal(stacks[i]->runs, 1);
        }
        put_many(stacks, FEW);
        for (int64_t k = 0; k < 3; k++)
            coloop__stack_trim(&pool, (now + k) * NS_PER_S);
        for (int i = 0; i < FEW; i++)
            assert_int_equal(resident(stacks[i]), 0);
    }
    assert_int_equal(pool.total, FEW);
}

static void an_unwound_stack_is_trimmed_and_released_too(void **state)
{
    (void)state;
    struct own *stacks[FEW];
    get_many(stacks, FEW);
    for (int i = 0; i < FEW; i++) {
        run(stacks[i], touch_all);
        stack_put(&stacks[i]->stack, true);
    }
    coloop__stack_trim(&pool, 10 * NS_PER_S);
    assert_true(resident(stacks[0]) <= KEPT);
    coloop__stack_trim(&pool, 11 * NS_PER_S);
    assert_int_equal(resident(stacks[FEW - 1]), 0);
    check_they_run(stacks, FEW);
}

static void a_trim_does_a_bounded_amount_of_work_and_the_next_ones_the_rest(void **state)
{
    (void)state;
    enum { MANY = 700 };
    static struct own *stacks[MANY];
    get_many(stacks, MANY);
    put_many(stacks, MANY);
    coloop__stack_trim(&pool, 10 * NS_PER_S);
    coloop__stack_trim(&pool, 11 * NS_PER_S);
    assert_true(resident(stacks[0]) == 0);
    assert_true(resident(stacks[MANY - 1]) > 0);
    int calls = 1;
    for (; stack_pool_trimmable(&pool); calls++) {
        assert_true(calls < MANY);
        coloop__stack_trim(&pool, 11 * NS_PER_S);
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(resident(stacks[i]), 0);
    check_they_run(stacks, MANY);
}

/* --- By a loop -------------------------------------------------------------------------------- */

static size_t resident_of_process(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %zu", &pages), 1);
    fclose(file);
    return pages * PAGE;
}

static int use_most(void *arg)
{
    char block[48 * 1024];
    volatile char *byte = block;
    __asm__ volatile("" : "+r"(byte)); /* or the compiler does without it */
    (void)arg;
    for (size_t i = 0; i < sizeof block; i += PAGE)
        byte[i] = 1;
    return co_yield_now();
}

static int use_stacks_and_rest(void *arg)
{
    size_t *sizes = arg;
    co_task_t *tasks[200];
    for (int i = 0; i < 200; i++)
        tasks[i] = co_spawn(use_most, NULL);
    CHECK_INT(co_gather_tasks(tasks, 200), 0);
    sizes[0] = resident_of_process();
    for (int i = 0; i < 4; i++)
        CHECK_INT(co_sleep(1100), 0);
    sizes[1] = resident_of_process();
    for (int i = 0; i < 200; i++)
        tasks[i] = co_spawn(use_most, NULL);
    return co_gather_tasks(tasks, 200);
}

static void a_loop_gives_memory_back_while_it_is_idle(void **state)
{
    (void)state;
    size_t sizes[2];
    need_proc();
    if (under_asan() || under_valgrind())
        skip(); /* they keep memory of their own about it */
    assert_int_equal(run_task(use_stacks_and_rest, sizes), 0);
    assert_true(sizes[0] >= sizes[1] + 150 * (size_t)(48 * 1024));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        WITH_POOL(idle_stacks_keep_little_but_for_the_hot_ones),
        WITH_POOL(a_stack_in_use_keeps_its_memory),
        WITH_POOL(a_stack_that_grows_again_is_trimmed_again),
        WITH_POOL(stacks_idle_for_a_second_keep_nothing),
        WITH_POOL(stacks_used_within_the_second_stay),
        WITH_POOL(a_released_stack_lives_and_is_released_again),
        WITH_POOL(an_unwound_stack_is_trimmed_and_released_too),
        WITH_POOL(a_trim_does_a_bounded_amount_of_work_and_the_next_ones_the_rest),
        cmocka_unit_test(a_loop_gives_memory_back_while_it_is_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
