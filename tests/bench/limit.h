/* limit.h: the least that a coroutine can be: a switch, and a queue of those that are ready.
 * The limit of each work does just that work, and is no library: no errors, no cancellation, no
 * guard pages. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include "bench.h"

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

struct co *limit_new(
    void); /* on a stack of its own, from the pool; it runs fn(arg) when jumped to */
void limit_reserve(long n); /* stacks, in one mapping */

/* The ready queue. */
extern struct co limit_main, *limit_current, *limit_head, *limit_tail;

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

static inline void limit_spawn(void (*fn)(void *), void *arg)
{
    struct co *co = limit_new();
    co->fn = fn;
    co->arg = arg;
    limit_ready(co);
}

#endif
