/* context.c: the birth of a stack.
 *
 * With the fast switch a birth goes like this, on two stacks:
 *
 *     coloop__context_birth             launch                    born (on the new stack)
 *     context_jump(&back, launch)  -->  setcontext(new stack) --> context_jump(context, &back)
 *     returns                      <------------------------------
 *
 * so that the new stack is entered the way libc wants it (makecontext), with one system call, and
 * ends up waiting in a fast switch. Where libc has no ucontext, `born` is jumped to directly. */
#include "context/context.h"

#if CONTEXT_ASAN
_Thread_local struct sanitizer_fiber *coloop__sanitizer_left;
#endif

#if !COLOOP_CONTEXT_UCONTEXT && !defined(COLOOP_HAVE_UCONTEXT)
#define COLOOP_HAVE_UCONTEXT 1
#endif
#if !COLOOP_CONTEXT_UCONTEXT && COLOOP_HAVE_UCONTEXT
#include <ucontext.h>
#endif

struct birth {
    struct context *context;
    struct context back;
    void (*entry)(void *);
    void *arg;
#if !COLOOP_CONTEXT_UCONTEXT && COLOOP_HAVE_UCONTEXT
    ucontext_t state; /* to enter the stack with */
#endif
};

static _Thread_local struct birth *newborn;

CONTEXT_BARE static void born(void)
{
    CONTEXT_OUTERMOST();
    struct context *context = newborn->context;
    void (*entry)(void *) = newborn->entry;
    void *arg = newborn->arg;
#if COLOOP_CONTEXT_UCONTEXT
    context->state.uc_stack.ss_size =
        0; /* or ASan forgets all it knows of the stack at each switch */
#endif
    context_jump(context, &newborn->back);
    sanitizer_arrive(&context->fiber);
    entry(arg);
    __builtin_trap(); /* nothing to return to */
}

#if COLOOP_CONTEXT_UCONTEXT

/* Not inlined: a frame's address may be its upper end, which is above what the caller uses. */
__attribute__((noinline)) void coloop__context_swap(struct context *from, struct context *to)
{
    from->sp = __builtin_frame_address(0);
    swapcontext(&from->state, &to->state);
}

void coloop__context_birth(struct context *context, void *low, void *high, void (*entry)(void *),
                           void *arg)
{
    struct birth birth = {.context = context, .entry = entry, .arg = arg};
    getcontext(&context->state);
    context->state.uc_stack.ss_sp = low;
    context->state.uc_stack.ss_size = (size_t)((char *)high - (char *)low);
    context->state.uc_link = NULL;
    makecontext(&context->state, born, 0);
    newborn = &birth;
    swapcontext(&birth.back.state, &context->state);
    newborn = NULL;
}

size_t coloop__context_depth(const struct context *context, const void *high)
{
    return (size_t)((const char *)high - (const char *)context->sp);
}

#else

#if COLOOP_HAVE_UCONTEXT
CONTEXT_BARE static void launch(void)
{
    setcontext(&newborn->state);
    __builtin_trap(); /* it failed, which it cannot */
}

static void prepare(struct birth *birth, struct context *start, void *low, void *high)
{
    getcontext(&birth->state); /* it holds the signal mask that the thread goes on with */
    birth->state.uc_stack.ss_sp = low;
    birth->state.uc_stack.ss_size = (size_t)((char *)high - (char *)low);
    birth->state.uc_link = NULL;
    makecontext(&birth->state, born, 0);
    /* launch runs on this stack, well below all that is in use: it is never returned to */
    start->ip = launch;
    start->sp = context_call_sp(context_sp() - 1024);
}
#else
static void prepare(struct birth *birth, struct context *start, void *low, void *high)
{
    (void)birth, (void)low;
    start->ip = born;
    start->sp = context_call_sp(high);
}
#endif

void coloop__context_birth(struct context *context, void *low, void *high, void (*entry)(void *),
                           void *arg)
{
    struct birth birth;
    struct context start = {0};
    birth.context = context;
    birth.entry = entry;
    birth.arg = arg;
    prepare(&birth, &start, low, high);
    newborn = &birth;
    context_jump(&birth.back, &start);
    newborn = NULL;
}

size_t coloop__context_depth(const struct context *context, const void *high)
{
    return (size_t)((const char *)high - (const char *)context->sp);
}

#endif
