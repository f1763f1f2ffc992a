/* limit.h: the least that a coroutine can be: a switch, and a queue of those that are ready.
 * The limit of each work does just that work, and is no library: no errors, no cancellation, no
 * guard pages. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include "bench.h"

#include <sys/mman.h>

struct co {
    void (*ip)(void);
    void *sp, *fp;
    struct co *next;
    void (*fn)(void *);
    void *arg;
};

/* Every register that a call preserves is lost here, so that the compiler saves those in use. */
static inline __attribute__((always_inline)) void jump(struct co *from, struct co *to)
{
#ifdef __x86_64__
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 0(%0)\n\t"
                     "movq %%rsp, 8(%0)\n\t"
                     "movq %%rbp, 16(%0)\n\t"
                     "movq 8(%1), %%rsp\n\t"
                     "movq 16(%1), %%rbp\n\t"
                     "jmpq *0(%1)\n"
                     "1:\n\t"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",
                       "memory");
#else
    (void)from, (void)to;
    bench_must(false, "there is no hand-written switch for this machine");
#endif
}

/* The ready queue. */
static struct co limit_main, *limit_current = &limit_main, *limit_head, *limit_tail;

static inline void limit_ready(struct co *co)
{
    co->next = NULL;
    if (limit_head)
        limit_tail->next = co;
    else
        limit_head = co;
    limit_tail = co;
}

/* Goes on in the next that is ready, or else in main. */
static inline void limit_park(void)
{
    struct co *self = limit_current, *next = limit_head;
    if (next)
        limit_head = next->next;
    else
        next = &limit_main;
    limit_current = next;
    jump(self, next);
}

static inline void limit_yield(void)
{
    limit_ready(limit_current);
    limit_park();
}

/* --- Stacks ----------------------------------------------------------------------------------- */

enum { LIMIT_SLOT = 65536, LIMIT_PAGE = 4096, LIMIT_LINE = 64 };

static struct co *limit_pool;

/* Lives on through one function after the other. */
static inline void limit_live(void)
{
    for (;;) {
        struct co *self = limit_current;
        self->fn(self->arg);
        self->next = limit_pool;
        limit_pool = self;
        limit_park();
    }
}

/* The struct lies at the top of its stack, at a different cache line in neighbours. */
static inline void limit_make(char *slot, long i)
{
    struct co *co = (struct co *)(void *)(slot + LIMIT_SLOT - LIMIT_PAGE / 2 + i % 16 * LIMIT_LINE);
    co->ip = limit_live;
    co->sp = (void *)(((uintptr_t)co & ~(uintptr_t)15) - 8);
    co->next = limit_pool;
    limit_pool = co;
}

static inline char *limit_map(long n)
{
    char *memory = mmap(NULL, (size_t)n * LIMIT_SLOT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(memory != MAP_FAILED);
    madvise(memory, (size_t)n * LIMIT_SLOT, MADV_NOHUGEPAGE);
    return memory;
}

static char *limit_fresh;
static long limit_fresh_left, limit_fresh_index;

/* Stacks, in one mapping. */
static inline void limit_reserve(long n)
{
    limit_fresh = limit_map(n);
    limit_fresh_left = n;
}

/* On a stack of its own, from the pool; it runs fn(arg) when jumped to. It is too large to be
 * expanded in the loops that spawn. */
static __attribute__((noinline, unused)) struct co *limit_new(void)
{
    if (!limit_pool) {
        MUST(limit_fresh_left-- > 0);
        limit_make(limit_fresh, limit_fresh_index++);
        limit_fresh += LIMIT_SLOT;
    }
    struct co *co = limit_pool;
    limit_pool = co->next;
    return co;
}

static inline void limit_spawn(void (*fn)(void *), void *arg)
{
    struct co *co = limit_new();
    co->fn = fn;
    co->arg = arg;
    limit_ready(co);
}

#endif
