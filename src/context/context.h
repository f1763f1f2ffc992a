/* context.h: a place in a stack that one can leave and come back to.
 *
 * A stack is born once: context_birth enters it by ucontext, and the function running on it then
 * gives way with context_switch, to be resumed, for as many coroutines as follow each other on it.
 * Switches are a few instructions on x86-64, AArch64 and 64-bit RISC-V, and swapcontext elsewhere
 * or with COLOOP_CONTEXT=ucontext. */
#ifndef CONTEXT_CONTEXT_H
#define CONTEXT_CONTEXT_H

#include "context/sanitizer.h"

/* Of these machines, those with 32-bit pointers (x32) are left to ucontext. */
#if defined(COLOOP_CONTEXT_UCONTEXT)
#elif defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__) || defined(__riscv))
#define COLOOP_CONTEXT_UCONTEXT 0
#else
#define COLOOP_CONTEXT_UCONTEXT 1
#endif

struct context;
static inline void context_jump(struct context *from, struct context *to);

#if COLOOP_CONTEXT_UCONTEXT
#include "context/switch_ucontext.h"
#elif defined(__x86_64__)
#include "context/switch_x86_64.h"
#elif defined(__aarch64__)
#include "context/switch_aarch64.h"
#else
#include "context/switch_riscv64.h"
#endif

/* Leaves `from` and goes on in `to`; returns when somebody switches to `from`. A dying context's
 * frames are not needed any more: its stack is about to be reused or freed. */
static inline __attribute__((always_inline)) void context_switch(struct context *from,
                                                                 struct context *to, bool dying)
{
    sanitizer_leave(&from->fiber, &to->fiber, dying);
    context_jump(from, to);
    sanitizer_arrive(&from->fiber);
}

/* Begins to fetch what a suspended context touches first: the frame of the call it left in, and
 * what lies above that in its caller's, such as a buffer. */
static inline void context_prefetch(const struct context *context)
{
    for (int line = 0; line < 3; line++)
        __builtin_prefetch((const char *)context->sp + line * 64, 1);
}

/* Makes `context` a fresh one on the stack between low and high: the first switch to it calls
 * entry(arg), which must not return. */
void coloop__context_birth(struct context *context, void *low, void *high, void (*entry)(void *),
                           void *arg);

/* Whether this thread has a hardware shadow stack, which the switch does not know to switch. */
bool coloop__context_shadow_stack(void);

/* Bytes of stack between the place where a suspended context left and `high`. */
size_t coloop__context_depth(const struct context *context, const void *high);

#endif
