/* yield.c: tasks that give way to each other, through the scheduler.
 *
 * So many tasks yield in turn until they have done so 2,000,000 times together; in C, all of them
 * have begun before the clock is started. libcoloop's co_yield_now also looks for cancellation and,
 * from time to time, at the timers and fds. State Threads have no yield but a sleep of no time, and
 * do a quarter as many. Go's Gosched, on one core, and asyncio's sleep(0) are in go.go and
 * asyncio_peer.py. */
#include "tasks.h"

#define YIELDS 2000000

static long times;

/* --- Limit ------------------------------------------------------------------------------------ */

static void limit_yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        limit_yield();
}

static void limit_run_yield(long tasks)
{
    times = YIELDS / tasks;
    limit_reserve(tasks);
    for (long i = 0; i < tasks; i++)
        limit_spawn(limit_yield_often, NULL);
    limit_yield(); /* everybody once, so that the stacks are warm */
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static int coloop_yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        co_yield_now();
    return 0;
}

static void coloop_run_yield(long tasks)
{
    times = YIELDS / tasks;
    coloop_open();
    for (long i = 0; i < tasks; i++)
        coloop_start(coloop_yield_often, NULL);
    loop_run_once(coloop_loop, 0); /* everybody once, so that the stacks are warm */
    int64_t start = bench_now();
    coloop_run();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- State Threads ---------------------------------------------------------------------------- */

#ifdef BENCH_ST
static long statethreads_left;
static st_cond_t statethreads_over;

static void *statethreads_yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        st_usleep(0);
    if (--statethreads_left == 0)
        st_cond_signal(statethreads_over);
    return NULL;
}

static void statethreads_run_yield(long tasks)
{
    statethreads_begin();
    statethreads_over = st_cond_new();
    statethreads_left = tasks;
    times = YIELDS / 4 / tasks;
    for (long i = 0; i < tasks; i++)
        statethreads_start(statethreads_yield_often, NULL, false);
    st_usleep(0);
    int64_t began = bench_now();
    while (statethreads_left > 0)
        st_cond_wait(statethreads_over);
    bench_each(NULL, bench_now() - began, times * tasks);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "yield", .rounds = 5, .parameters = {10, 1000, 100000}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_run_yield}},
        {"libcoloop", {coloop_run_yield}},
#ifdef BENCH_ST
        {"State Threads", {statethreads_run_yield}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
