/* Stacks: how they are handed out, what guards them, what happens when there are none left. */
#include "test_stack.h"

/* --- Sizes ------------------------------------------------------------------------------------ */

static void sizes_are_whole_pages_and_enough(void **state)
{
    (void)state;
    static const size_t asked[] = {
        0, 1, 4096, 16384, 16385, 65536, 100000, 1 << 20, SIZE_MAX > UINT32_MAX ? (1 << 30) + 1 : 0,
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        size_t size = coloop__stack_round_size(asked[i]);
        assert_true(size >= asked[i] && size >= 8192);
        assert_int_equal(size % PAGE, 0);
    }
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    assert_int_equal(coloop__stack_round_size(SIZE_MAX), 0);
    assert_int_equal(coloop__stack_round_size(SIZE_MAX / 2), 0);
    assert_int_equal(coloop__stack_round_size(SIZE_MAX / 4 + 1), 0);
}

static void the_whole_size_may_be_used(void **state)
{
    (void)state;
    struct own *a = get(), *b = get(), *c = get();
    size_t usable = (size_t)((char *)b - b->stack.low) - 4096; /* its context lies at the top */
    assert_in_range(usable, pool.size - 3 * PAGE, pool.size);
    memset(b->stack.low, 0x5a, usable);
    run(a, do_nothing);
    run(b, do_nothing);
    run(c, do_nothing);
    assert_int_equal(a->runs + b->runs + c->runs, 3);
    put(a);
    put(b);
    put(c);
}

/* --- Handing out ------------------------------------------------------------------------------ */

static void the_last_one_put_back_comes_first(void **state)
{
    (void)state;
    struct own *a = get(), *b = get(), *c = get();
    put(b);
    put(c);
    put(a);
    assert_ptr_equal(get(), a);
    assert_ptr_equal(get(), c);
    put(c);
    assert_ptr_equal(get(), c);
    assert_ptr_equal(get(), b);
    assert_int_equal(pool.total, 3);
    put(a);
    put(b);
    put(c);
}

static void tops_of_neighbours_use_different_cache_lines(void **state)
{
    (void)state;
    enum { NEIGHBOURS = 8 };
    struct own *stacks[NEIGHBOURS];
    bool seen[PAGE / 64] = {0};
    get_many(stacks, NEIGHBOURS);
    for (int i = 0; i < NEIGHBOURS; i++) {
        size_t line = (uintptr_t)stacks[i] % PAGE / 64;
        assert_int_equal((uintptr_t)stacks[i] % 64, 0);
        assert_false(seen[line]);
        seen[line] = true;
    }
    put_many(stacks, NEIGHBOURS);
}

static void write_name_low(struct own *own)
{
    memcpy(own->stack.low, &own, sizeof own);
}

static void stacks_of_many_slabs_are_apart(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static struct own *stacks[MANY];
    get_many(stacks, MANY);
    for (int i = 0; i < MANY; i++)
        run(stacks[i], write_name_low);
    for (int i = 0; i < MANY; i++) {
        struct own *name;
        memcpy(&name, stacks[i]->stack.low, sizeof name);
        assert_ptr_equal(name, stacks[i]);
        assert_int_equal(stacks[i]->runs, 1);
    }
    assert_int_equal(pool.total, MANY);
    assert_true(coloop__stack_pool_bytes(&pool) >= MANY * pool.size);
    assert_true(coloop__stack_pool_bytes(&pool) <= 3 * MANY * pool.size);
    put_many(stacks, MANY);
}

static void trace_and_leave(struct own *own)
{
    trace("begun");
    context_switch(&own->stack.context, &home, false);
    trace("never");
}

static void an_unwound_stack_begins_anew(void **state)
{
    (void)state;
    trace_clear();
    struct own *a = get();
    for (int i = 0; i < 3; i++) {
        run(a, trace_and_leave);
        stack_put(&a->stack, true);
        assert_ptr_equal(get(), a);
    }
    run(a, do_nothing);
    assert_int_equal(a->runs, 1);
    assert_string_equal(traced(), "begun begun begun");
    put(a);
}

/* --- Guards ----------------------------------------------------------------------------------- */

static enum stack_guard kind;
static ptrdiff_t offset; /* from the lowest usable byte */

static void touch(void)
{
    coloop__stack_set_guard(kind);
    struct own *stacks[3];
    get_many(stacks, 3);
    volatile char *byte = stacks[1]->stack.low + offset;
    *byte = 1;
    _exit(pool.unguarded == 3 ? 3 : 0);
}

/* Faults at each end of the guard and not beside it. */
static void check_guard(enum stack_guard guard)
{
    ptrdiff_t guard_size = 4 * PAGE;
    kind = guard;
    offset = 0;
    assert_int_equal(run_child(touch), 0);
    offset = -1;
    assert_int_equal(run_child(touch), -SIGSEGV);
    offset = -guard_size;
    assert_int_equal(run_child(touch), -SIGSEGV);
}

/* Whether the kernel knows the advice (Linux 6.13), as an emulator says of everything. */
static bool has_guard_advice(void)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has = madvise(page, PAGE, 0x7ffffff) < 0 && madvise(page, PAGE, 102) == 0;
    munmap(page, PAGE);
    return has;
}

static void an_access_below_the_stack_faults(void **state)
{
    (void)state;
    check_guard(STACK_GUARD_UNKNOWN);
}

static void an_access_below_the_stack_faults_by_advice(void **state)
{
    (void)state;
    if (!has_guard_advice())
        skip();
    check_guard(STACK_GUARD_ADVICE);
}

static void an_access_below_the_stack_faults_by_protection(void **state)
{
    (void)state;
    check_guard(STACK_GUARD_PROTECT);
}

static void without_guards_there_is_no_fault(void **state)
{
    (void)state;
    kind = STACK_GUARD_NONE;
    offset = -1;
    assert_int_equal(run_child(touch), 3);
}

static void guards_are_counted_by_kind(void **state)
{
    (void)state;
    struct own *stacks[6];
    coloop__stack_set_guard(STACK_GUARD_PROTECT);
    get_many(stacks, 2);
    assert_int_equal(pool.protected, 2);
    coloop__stack_set_guard(STACK_GUARD_NONE);
    get_many(stacks + 2, 3);
    assert_int_equal(pool.unguarded, 3);
    coloop__stack_set_guard(STACK_GUARD_UNKNOWN); /* finds out again */
    get_many(stacks + 5, 1);
    assert_int_equal(pool.unguarded, 3);
    put_many(stacks, 6);
    struct own *again = get();
    assert_int_equal(pool.unguarded + pool.protected, has_guard_advice() && !under_asan() ? 5 : 6);
    put(again);
}

static void an_overflow_is_told_by_its_address(void **state)
{
    (void)state;
    struct own *a = get(), *b = get();
    const char *low = a->stack.low;
    assert_true(coloop__stack_overflowed(&a->stack, low - 1));
    assert_true(coloop__stack_overflowed(&a->stack, low - 4 * PAGE));
    assert_false(coloop__stack_overflowed(&a->stack, low));
    assert_false(coloop__stack_overflowed(&a->stack, low - 4 * PAGE - 1));
    assert_false(coloop__stack_overflowed(&a->stack, NULL));
    assert_false(coloop__stack_overflowed(&a->stack, b->stack.low - 1));
    put(a);
    put(b);
}

/* --- Without memory --------------------------------------------------------------------------- */

static void without_memory_there_is_no_stack_and_nothing_changes(void **state)
{
    (void)state;
    struct own *stacks[100];
    size_t have = 0;
    for (size_t n = 1; have < 100; n = n % 3 + 1) { /* fails each, then goes on */
        fail_allocation(n, true);
        struct stack *stack = coloop__stack_get(&pool);
        fail_allocation(0, false);
        assert_int_equal(pool.total, have + (stack != NULL));
        stacks[have++] = stack ? (struct own *)stack : get();
    }
    for (size_t i = 0; i < have; i++) {
        stacks[i]->runs = 0;
        run(stacks[i], do_nothing);
        assert_int_equal(stacks[i]->runs, 1);
    }
    put_many(stacks, have);
    assert_int_equal(pool.idle_count, have);
}

static void putting_back_needs_no_memory(void **state)
{
    (void)state;
    struct own *stacks[50];
    get_many(stacks, 50);
    fail_allocation(1, true);
    put_many(stacks, 50);
    assert_ptr_equal(get(), stacks[49]);
    put(stacks[49]);
    assert_int_equal(allocations(), 0);
    fail_allocation(0, false);
}

static void an_empty_pool_has_nothing_to_free(void **state)
{
    (void)state;
    coloop__stack_trim(&pool, 5 * NS_PER_S);
    assert_int_equal(coloop__stack_pool_bytes(&pool), 0);
    assert_false(stack_pool_trimmable(&pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        WITH_POOL(sizes_are_whole_pages_and_enough),
        WITH_POOL(sizes_that_cannot_be_are_refused),
        WITH_POOL(the_whole_size_may_be_used),
        WITH_POOL(the_last_one_put_back_comes_first),
        WITH_POOL(tops_of_neighbours_use_different_cache_lines),
        WITH_POOL(stacks_of_many_slabs_are_apart),
        WITH_POOL(an_unwound_stack_begins_anew),
        WITH_POOL(an_access_below_the_stack_faults),
        WITH_POOL(an_access_below_the_stack_faults_by_advice),
        WITH_POOL(an_access_below_the_stack_faults_by_protection),
        WITH_POOL(without_guards_there_is_no_fault),
        WITH_POOL(guards_are_counted_by_kind),
        WITH_POOL(an_overflow_is_told_by_its_address),
        WITH_POOL(without_memory_there_is_no_stack_and_nothing_changes),
        WITH_POOL(putting_back_needs_no_memory),
        WITH_POOL(an_empty_pool_has_nothing_to_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
