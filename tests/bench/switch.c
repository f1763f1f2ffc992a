/* switch.c: from one coroutine to another and back, with no scheduler in between.
 *
 * Each contender has its own function for that. What they keep differs, so the limit is there
 * twice: with the registers that a call preserves, as in libcoloop and setjmp, and with the control
 * words of the floating-point unit too, as in boost.context. Both, and libcoloop's, are expanded in
 * place; the others' are called. swapcontext asks the kernel each time for the signal mask, and
 * goes round a tenth as often. */
#include "context/context.h"
#include "limit.h"

#if COLOOP_HAVE_UCONTEXT
#include <setjmp.h>
#include <ucontext.h>
#endif

#define SWITCHES 10000000

static char stack[65536] __attribute__((aligned(16))); /* of the other coroutine */

/* --- Limit ------------------------------------------------------------------------------------ */

static struct co limit_away;

static void limit_enter(void (*fn)(void))
{
    limit_away.ip = fn;
    limit_away.sp = stack + sizeof stack - 8;
}

static void limit_come_back(void)
{
    for (;;)
        jump(&limit_away, &limit_main);
}

static void limit_switch(long unused)
{
    (void)unused;
    limit_enter(limit_come_back);
    int64_t start = bench_now();
    for (long i = 0; i < SWITCHES; i += 2)
        jump(&limit_main, &limit_away);
    bench_each(NULL, bench_now() - start, SWITCHES);
}

#ifdef __x86_64__
static inline __attribute__((always_inline)) void limit_jump_fpu(struct co *from, struct co *to)
{
    uint32_t sse;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
    jump(from, to);
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(sse), "m"(x87));
}

static void limit_come_back_fpu(void)
{
    for (;;)
        limit_jump_fpu(&limit_away, &limit_main);
}

static void limit_switch_fpu(long unused)
{
    (void)unused;
    limit_enter(limit_come_back_fpu);
    int64_t start = bench_now();
    for (long i = 0; i < SWITCHES; i += 2)
        limit_jump_fpu(&limit_main, &limit_away);
    bench_each(NULL, bench_now() - start, SWITCHES);
}
#endif

/* --- libcoloop -------------------------------------------------------------------------------- */

static struct context coloop_home, coloop_away;

static void coloop_come_back(void *arg)
{
    (void)arg;
    for (;;)
        context_switch(&coloop_away, &coloop_home, false);
}

static void coloop_switch(long unused)
{
    (void)unused;
    coloop__context_birth(&coloop_away, stack, stack + sizeof stack, coloop_come_back, NULL);
    context_switch(&coloop_home, &coloop_away, false);
    int64_t start = bench_now();
    for (long i = 0; i < SWITCHES; i += 2)
        context_switch(&coloop_home, &coloop_away, false);
    bench_each(NULL, bench_now() - start, SWITCHES);
}

/* --- boost.context: its header is C++, its functions are not ---------------------------------- */

#ifdef BENCH_BOOST
typedef void *fcontext_t;
typedef struct transfer_t {
    fcontext_t fctx;
    void *data;
} transfer_t;
transfer_t jump_fcontext(fcontext_t to, void *data);
fcontext_t make_fcontext(void *high, size_t size, void (*fn)(transfer_t));

static void boost_come_back(transfer_t from)
{
    for (;;)
        from = jump_fcontext(from.fctx, NULL);
}

static void boost_switch(long unused)
{
    (void)unused;
    fcontext_t away = make_fcontext(stack + sizeof stack, sizeof stack, boost_come_back);
    transfer_t to = jump_fcontext(away, NULL);
    int64_t start = bench_now();
    for (long i = 0; i < SWITCHES; i += 2)
        to = jump_fcontext(to.fctx, NULL);
    bench_each(NULL, bench_now() - start, SWITCHES);
}
#endif

/* --- The C library ---------------------------------------------------------------------------- */

#if COLOOP_HAVE_UCONTEXT
static ucontext_t libc_home, libc_away;

static void libc_come_back(void)
{
    for (;;)
        swapcontext(&libc_away, &libc_home);
}

static void libc_start(void (*fn)(void))
{
    getcontext(&libc_away);
    libc_away.uc_stack.ss_sp = stack;
    libc_away.uc_stack.ss_size = sizeof stack;
    makecontext(&libc_away, fn, 0);
    swapcontext(&libc_home, &libc_away);
}

static void libc_swapcontext(long unused)
{
    (void)unused;
    libc_start(libc_come_back);
    int64_t start = bench_now();
    for (long i = 0; i < SWITCHES / 10; i += 2)
        swapcontext(&libc_home, &libc_away);
    bench_each(NULL, bench_now() - start, SWITCHES / 10);
}

static jmp_buf libc_here, libc_there;

static void libc_jump_back(void)
{
    if (_setjmp(libc_there) == 0)
        swapcontext(&libc_away, &libc_home);
    for (;;)
        if (_setjmp(libc_there) == 0)
            _longjmp(libc_here, 1);
}

static void libc_setjmp(long unused)
{
    (void)unused;
    libc_start(libc_jump_back);
    int64_t start = bench_now();
    for (volatile long i = 0; i < SWITCHES; i += 2)
        if (_setjmp(libc_here) == 0)
            _longjmp(libc_there, 1);
    bench_each(NULL, bench_now() - start, SWITCHES);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {{.name = "switch", .rounds = 5}, {0}};
    static const struct bench_contender contenders[] = {
        {"limit", {limit_switch}},
#ifdef __x86_64__
        {"limit, with FPU words", {limit_switch_fpu}},
#endif
        {"libcoloop", {coloop_switch}},
#ifdef BENCH_BOOST
        {"boost.context", {boost_switch}},
#endif
#if COLOOP_HAVE_UCONTEXT
        {"libc, setjmp", {libc_setjmp}},
        {"libc, swapcontext", {libc_swapcontext}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
