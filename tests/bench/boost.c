/* boost.c: the switch of boost.context. Its header is C++, its functions are not. */
#include "bench.h"

typedef void *fcontext_t;
typedef struct transfer_t {
    fcontext_t fctx;
    void *data;
} transfer_t;
transfer_t jump_fcontext(fcontext_t to, void *data);
fcontext_t make_fcontext(void *high, size_t size, void (*fn)(transfer_t));

static void come_back(transfer_t from)
{
    for (;;)
        from = jump_fcontext(from.fctx, NULL);
}

static void run_switch(long unused)
{
    static char stack[65536] __attribute__((aligned(16)));
    (void)unused;
    fcontext_t away = make_fcontext(stack + sizeof stack, sizeof stack, come_back);
    transfer_t to = jump_fcontext(away, NULL);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SWITCHES; i += 2)
        to = jump_fcontext(to.fctx, NULL);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {{"switch", NULL, run_switch, {0}}};
    return bench_main(argc, argv, "boost.context", works, 1);
}
