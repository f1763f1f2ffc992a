/* stack.h: stacks for coroutines: slabs of them, guarded, reused, given back.
 *
 * The struct below lies at the top of its own stack, followed by whatever the owner keeps there
 * (the pool's `header` bytes in all): an idle coroutine is one page. */
#ifndef CONTEXT_STACK_H
#define CONTEXT_STACK_H

#include "context/context.h"

#include <coloop/base.h>

struct stack_pool;

struct stack {
    struct context context; /* the coroutine that lies here, suspended */
    struct stack_pool *pool;
    char *low;  /* lowest usable byte; the guard is right below. Usable up to this struct */
    bool fresh; /* just born: the owner has to make the rest of the header, and to clear this */
};

struct stack_slab;

/* Stacks of one size. Zero it, set the first three fields, and keep it in place. */
struct stack_pool {
    size_t size;   /* usable bytes, header included; whole pages: stack_round_size */
    size_t header; /* bytes at the top that the owner keeps, struct stack first */
    void (*entry)(struct stack *); /* runs on every new stack, and never returns */

    struct stack_slab *slabs; /* newest first */
    uintptr_t *idle; /* stacks not in use, last in first out; or'ed with STACK_UNWOUND, _RELEASED */
    size_t idle_count, idle_capacity;
    size_t trimmed;   /* idle[0..trimmed) hold no more than what is worth keeping */
    size_t released;  /* idle[0..released) hold no memory at all */
    size_t low_water; /* the least idle_count since released_at */
    int64_t released_at;
    size_t total;     /* stacks handed out or idle */
    size_t unguarded; /* of these, without a guard */
    size_t protected; /* of these, with a guard that splits a mapping */
};

/* In pool->idle, beside the address, of stacks that are to be born anew: frames were abandoned on
 * it; it holds no memory. */
enum { STACK_UNWOUND = 1, STACK_RELEASED = 2, STACK_NEEDS_BIRTH = 3 };

enum stack_guard { STACK_GUARD_UNKNOWN, STACK_GUARD_ADVICE, STACK_GUARD_PROTECT, STACK_GUARD_NONE };

/* Bytes as asked for, as a usable size: whole pages, not less than a stack needs; 0 if too large.
 */
size_t coloop__stack_round_size(size_t size);

/* A stack, its context born and waiting; or NULL when out of memory. The last one put back comes
 * first, and unless it is `fresh`, its header beyond struct stack is as it was then. */
struct stack *coloop__stack_get(struct stack_pool *pool);

/* Whether that takes no more than to take it. */
static inline bool stack_at_hand(const struct stack_pool *pool)
{
    size_t n = pool->idle_count;
    return n > pool->trimmed && n > pool->low_water && !(pool->idle[n - 1] & STACK_NEEDS_BIRTH);
}

static inline struct stack *stack_take(struct stack_pool *pool)
{
    return (struct stack *)pool->idle[--pool->idle_count];
}

/* Gives a stack back, perhaps the one that is run on, which is then left for good at once. Its
 * context waits in pool->entry for the next coroutine; or else `unwound` says that frames were
 * abandoned on it, so that it is born anew. Cannot fail. */
static inline void stack_put(struct stack *stack, bool unwound)
{
    struct stack_pool *pool = stack->pool;
    sanitizer_stack_idle(stack->low, (size_t)((char *)stack - stack->low));
    pool->idle[pool->idle_count++] = (uintptr_t)stack | (unwound ? STACK_UNWOUND : 0);
}

/* Gives memory of idle stacks back to the system: the extra pages of those that grew large; and all
 * of those that were not needed for a second. Does a bounded amount of work; for when the loop has
 * nothing to do. */
void coloop__stack_trim(struct stack_pool *pool, int64_t now);

void coloop__stack_pool_free(struct stack_pool *pool);

/* Address space of all stacks of the pool. */
size_t coloop__stack_pool_bytes(const struct stack_pool *pool);

/* Whether an access to `address` ran off this stack's end. */
bool coloop__stack_overflowed(const struct stack *stack, const void *address);

/* For tests: pretends that the kernel offers only this kind of guard, or finds out again. */
void coloop__stack_set_guard(enum stack_guard guard);

/* Whether coloop__stack_trim has something to do, now or in a second or two. */
static inline bool stack_pool_trimmable(const struct stack_pool *pool)
{
    return pool->idle_count > pool->released;
}

#endif
