/* test_stack.h: a pool of stacks that run a function given to each, and children to die in.
 * Included once by each test_stack*.c. */
#ifndef TEST_STACK_H
#define TEST_STACK_H

#include "support.h"

#include "base/clock.h"
#include "context/stack.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { PAGE = 4096, SIZE = 64 * 1024, KEPT = 16 * 1024, HOT = 512 * 1024 };

struct own { /* at the top of each stack */
    struct stack stack;
    void (*fn)(struct own *);
    int runs;
};

static struct context home;
static struct stack_pool pool;

static void run_own(struct stack *stack)
{
    struct own *own = (struct own *)stack;
    for (;;) {
        own->fn(own);
        own->runs++;
        context_switch(&own->stack.context, &home, false);
    }
}

static inline int set_up(void **state)
{
    (void)state;
    close_loop(open_loop()); /* brings the allocator that can fail */
    coloop__stack_set_guard(STACK_GUARD_UNKNOWN);
    pool = (struct stack_pool){
        .size = coloop__stack_round_size(SIZE), .header = sizeof(struct own), .entry = run_own};
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    coloop__stack_pool_free(&pool);
    coloop__stack_set_guard(STACK_GUARD_UNKNOWN);
    return blocks() == 0 ? 0 : -1;
}

static inline void do_nothing(struct own *own)
{
    (void)own;
}

static inline struct own *get(void)
{
    struct own *own = (struct own *)coloop__stack_get(&pool);
    assert_non_null(own);
    own->fn = do_nothing;
    own->runs = 0;
    return own;
}

static inline void run(struct own *own, void (*fn)(struct own *))
{
    own->fn = fn;
    context_switch(&home, &own->stack.context, false);
}

static inline void put(struct own *own)
{
    stack_put(&own->stack, false);
}

static inline void get_many(struct own *stacks[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        stacks[i] = get();
}

static inline void put_many(struct own *stacks[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(stacks[i]);
}

/* Runs fn in a child; returns its exit code, or the signal it died of, negative. */
static inline int run_child(void (*fn)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* cmocka's, or a sanitizer's */
        alarm(60);
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
