/* libc.c: the switches of the C library. */
#include "bench.h"

#include <setjmp.h>
#include <ucontext.h>

static char stack[65536] __attribute__((aligned(16)));
static ucontext_t home, away;

static void come_back(void)
{
    for (;;)
        swapcontext(&away, &home);
}

static void start_on_stack(void (*fn)(void))
{
    getcontext(&away);
    away.uc_stack.ss_sp = stack;
    away.uc_stack.ss_size = sizeof stack;
    makecontext(&away, fn, 0);
    swapcontext(&home, &away);
}

static void run_swapcontext(long unused)
{
    (void)unused;
    start_on_stack(come_back);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SWITCHES / 10; i += 2)
        swapcontext(&home, &away);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES / 10);
}

static jmp_buf here, there;

static void jump_back(void)
{
    if (_setjmp(there) == 0)
        swapcontext(&away, &home);
    for (;;)
        if (_setjmp(there) == 0)
            _longjmp(here, 1);
}

static void run_setjmp(long unused)
{
    (void)unused;
    start_on_stack(jump_back);
    int64_t start = bench_now();
    for (volatile long i = 0; i < BENCH_SWITCHES; i += 2)
        if (_setjmp(here) == 0)
            _longjmp(there, 1);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"switch", "setjmp", run_setjmp, {0}},
        {"switch", "swapcontext", run_swapcontext, {0}},
    };
    return bench_main(argc, argv, "libc", works, sizeof works / sizeof *works);
}
