/* switch_ucontext.h: the switch by ucontext alone, for every other machine. Each switch makes a
 * system call for the signal mask, which therefore belongs to the coroutine here and not to the
 * thread. */
#ifndef CONTEXT_SWITCH_UCONTEXT_H
#define CONTEXT_SWITCH_UCONTEXT_H

#include <ucontext.h>

struct context {
    ucontext_t state;
    void *sp; /* about where it left, for coloop__context_depth */
    struct sanitizer_fiber fiber;
};

void coloop__context_swap(struct context *from, struct context *to);

static inline void context_jump(struct context *from, struct context *to)
{
    coloop__context_swap(from, to);
}

/* libc's functions switch it as well. */
static inline bool context_shadow_stack(void)
{
    return false;
}

#if defined(__x86_64__)
#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined rip")
#elif defined(__aarch64__)
#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined x30")
#elif defined(__i386__)
#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined eip")
#elif defined(__riscv)
#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined ra")
#else
#define CONTEXT_OUTERMOST() ((void)0)
#endif

#endif
