/* The allocator hook: who may set it when, and that nothing goes past it. */
#include "support.h"

#include "base/alloc.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

/* A hook that knows every block it gave out. */
struct ledger {
    void *blocks[4096];
    size_t count, calls, strange; /* strange: pointers that are not ours */
    bool refuse;
    pthread_t last_thread;
};

static void **find(struct ledger *ledger, void *pointer)
{
    for (size_t i = 0; i < ledger->count; i++)
        if (ledger->blocks[i] == pointer)
            return &ledger->blocks[i];
    ledger->strange++;
    return NULL;
}

static void *ledger_allocate(void *pointer, size_t size, void *arg)
{
    struct ledger *ledger = arg;
    void **entry = pointer ? find(ledger, pointer) : &ledger->blocks[ledger->count];
    ledger->calls++;
    ledger->last_thread = pthread_self();
    if (!entry || (size && ledger->refuse))
        return NULL;
    if (!size) {
        *entry = ledger->blocks[--ledger->count];
        free(pointer);
        return NULL;
    }
    void *result = realloc(pointer, size);
    if (result) {
        *entry = result;
        ledger->count += !pointer;
    }
    return result;
}

static struct ledger ledger;

static int set_ledger(void **state)
{
    (void)state;
    ledger = (struct ledger){0};
    return coloop_set_allocator(ledger_allocate, &ledger);
}

static int unset(void **state)
{
    (void)state;
    return coloop_set_allocator(NULL, NULL);
}

static int use_some(void *arg)
{
    char byte;
    co_timeout(1) CHECK_INT(co_read(*(int *)arg, &byte, 1), -ETIMEDOUT);
    CHECK_INT(co_sleep(1), 0);
    return co_fail(-ENOENT, "noted");
}

static void nothing(void *arg)
{
    (void)arg;
}

static void every_block_comes_from_the_hook_and_goes_back(void **state)
{
    (void)state;
    int fds[2];
    make_socketpair(fds);
    loop_t *loop = loop_new(&(loop_options_t){.virtual_time = true});
    assert_non_null(loop);
    co_task_t *task = loop_spawn(loop, use_some, fds);
    assert_int_equal(loop_call_soon(loop, nothing, NULL, NULL), 0);
    assert_int_equal(loop_call_later(loop, 5, nothing, NULL, NULL), 0);
    assert_int_equal(loop_call_soon_threadsafe(loop, nothing, NULL), 0);
    assert_int_equal(loop_add_reader(loop, fds[1], nothing, NULL), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, nothing, NULL), 0);
    for (int i = 0; i < 10; i++)
        loop_run_once(loop, 10);
    assert_int_equal(co_task_result(task), -ENOENT);
    assert_true(ledger.count > 5);
    assert_int_equal(loop_close(loop), 0);
    assert_int_equal(ledger.count, 0);
    assert_int_equal(ledger.strange, 0);
    close(fds[0]);
    close(fds[1]);
}

static void *bump(void *pointer, size_t size, void *arg)
{
    static _Alignas(16) char memory[1 << 20];
    static size_t used;
    size_t *last = arg;
    if (!size)
        return NULL;
    size = (size + 31) / 16 * 16;
    if (used + size > sizeof memory)
        return NULL;
    char *result = memory + used + 16;
    memcpy(memory + used, &size, sizeof size);
    if (pointer) {
        size_t old;
        memcpy(&old, (char *)pointer - 16, sizeof old);
        memcpy(result, pointer, old < size ? old - 16 : size - 16);
    }
    used += size;
    *last = used;
    return result;
}

#ifndef __GLIBC_PREREQ
#define __GLIBC_PREREQ(major, minor) 0
#endif
#if __GLIBC_PREREQ(2, 33)
#include <malloc.h>
#define COUNTING_MALLOC true
static size_t heap_in_use(void)
{
    return mallinfo2().uordblks;
}
#else
#define COUNTING_MALLOC false
static size_t heap_in_use(void)
{
    return 0;
}
#endif

static void the_library_takes_nothing_from_malloc_itself(void **state)
{
    (void)state;
    if (!COUNTING_MALLOC || under_asan() || under_valgrind())
        skip(); /* their malloc does not count so */
    int fds[2];
    size_t used = 0;
    make_socketpair(fds);
    assert_int_equal(loop_close(loop_new(NULL)), 0); /* libc's own, once: fork handlers */
    assert_int_equal(coloop_set_allocator(bump, &used), 0);
    size_t before = heap_in_use();
    loop_t *loop = loop_new(&(loop_options_t){.virtual_time = true});
    assert_non_null(loop);
    co_task_t *task = loop_spawn(loop, use_some, fds);
    assert_int_equal(loop_call_later(loop, 100, nothing, NULL, NULL), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, nothing, NULL), 0);
    for (int i = 0; i < 5; i++)
        loop_run_once(loop, 10);
    assert_true(co_task_done(task));
    assert_int_equal(heap_in_use(), before);
    assert_true(used > 0);
    co_task_release(co_task_retain(task));
    assert_int_equal(loop_close(loop), 0);
    assert_int_equal(heap_in_use(), before);
    close(fds[0]);
    close(fds[1]);
}

static void the_hook_cannot_change_while_a_loop_is_open(void **state)
{
    (void)state;
    loop_t *first = loop_new(NULL), *second = loop_new(NULL);
    assert_int_equal(coloop_set_allocator(NULL, NULL), -EBUSY);
    loop_close(first);
    assert_int_equal(coloop_set_allocator(NULL, NULL), -EBUSY);
    size_t calls = ledger.calls;
    void *block = coloop__alloc(1); /* still from the old one */
    assert_int_equal(ledger.calls, calls + 1);
    coloop__free(block);
    loop_close(second);
    assert_int_equal(coloop_set_allocator(NULL, NULL), 0);
}

static void a_single_block_keeps_the_hook(void **state)
{
    (void)state;
    void *block = coloop__alloc(10);
    assert_int_equal(coloop_set_allocator(ledger_allocate, &ledger), -EBUSY);
    block = coloop__realloc(block, 20);
    assert_int_equal(coloop_set_allocator(NULL, NULL), -EBUSY);
    coloop__free(block);
    assert_int_equal(coloop_set_allocator(NULL, NULL), 0);
    size_t calls = ledger.calls;
    coloop__free(coloop__alloc(10));
    assert_int_equal(ledger.calls, calls);
}

static void a_refused_block_does_not_count(void **state)
{
    (void)state;
    ledger.refuse = true;
    assert_null(coloop__alloc(10));
    assert_null(coloop__zalloc(10));
    assert_null(loop_new(NULL));
    assert_int_equal(coloop_set_allocator(NULL, NULL), 0);
}

static void a_refused_enlargement_leaves_the_old_block(void **state)
{
    (void)state;
    char *block = coloop__alloc(4);
    memcpy(block, "abc", 4);
    ledger.refuse = true;
    assert_null(coloop__realloc(block, 1000));
    assert_string_equal(block, "abc");
    ledger.refuse = false;
    block = coloop__realloc(block, 1000);
    assert_string_equal(block, "abc");
    coloop__free(block);
    assert_int_equal(ledger.count, 0);
}

static void freeing_nothing_does_not_reach_the_hook(void **state)
{
    (void)state;
    coloop__free(NULL);
    assert_int_equal(ledger.calls, 0);
}

static void *dirty(void *pointer, size_t size, void *arg)
{
    (void)arg;
    if (pointer || !size) {
        free(pointer);
        return NULL;
    }
    return memset(malloc(size), 0xa5, size);
}

static void zeroed_memory_is_zeroed_by_the_library(void **state)
{
    (void)state;
    assert_int_equal(coloop_set_allocator(dirty, NULL), 0);
    unsigned char *block = coloop__zalloc(1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(block[i], 0);
    coloop__free(block);
}

static void *post(void *loop)
{
    return (void *)(intptr_t)loop_call_soon_threadsafe(loop, nothing, NULL);
}

static void other_threads_allocate_by_the_hook_too(void **state)
{
    (void)state;
    loop_t *loop = loop_new(NULL);
    assert_non_null(loop);
    size_t calls = ledger.calls;
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, post, loop), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    assert_true(ledger.calls > calls);
    assert_false(pthread_equal(ledger.last_thread, pthread_self()));
    assert_int_equal(loop_run(loop), 0);
    loop_close(loop);
    assert_int_equal(ledger.count, 0);
}

static void a_loop_needs_all_its_memory_or_none(void **state)
{
    (void)state;
    assert_int_equal(close_loop(open_loop()), 0);
    for (size_t n = 1;; n++) {
        fail_allocation(n, false);
        errno = 0;
        loop_t *loop = loop_new(NULL);
        if (loop) {
            assert_true(n > 1);
            loop_close(loop);
            break;
        }
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(blocks(), 0);
    }
    fail_allocation(0, false);
}

static void the_program_runs_with_the_version_it_was_compiled_with(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(coloop_version(), COLOOP_VERSION);
    snprintf(text, sizeof text, "%d.%d.%d", COLOOP_VERSION_NUMBER / 10000,
             COLOOP_VERSION_NUMBER / 100 % 100, COLOOP_VERSION_NUMBER % 100);
    assert_string_equal(text, COLOOP_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LEDGER(test) cmocka_unit_test_setup_teardown(test, set_ledger, unset)
        LEDGER(every_block_comes_from_the_hook_and_goes_back),
        cmocka_unit_test_teardown(the_library_takes_nothing_from_malloc_itself, unset),
        LEDGER(the_hook_cannot_change_while_a_loop_is_open),
        LEDGER(a_single_block_keeps_the_hook),
        LEDGER(a_refused_block_does_not_count),
        LEDGER(a_refused_enlargement_leaves_the_old_block),
        LEDGER(freeing_nothing_does_not_reach_the_hook),
        cmocka_unit_test_teardown(zeroed_memory_is_zeroed_by_the_library, unset),
        LEDGER(other_threads_allocate_by_the_hook_too),
        cmocka_unit_test_teardown(a_loop_needs_all_its_memory_or_none, unset),
        cmocka_unit_test(the_program_runs_with_the_version_it_was_compiled_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
