/* spawn.c: a task's whole life: it is started, runs, ends at once and is done away with.
 *
 *     spawn        1,000,000 of them, 100 at a time, once the stacks of the first 100 are there
 *     spawn-cold   10,000 in a fresh process, all alive at once: each needs a new stack
 *     await        1,000,000, each of which is waited for before the next one starts
 *
 * Whoever starts them lets them run by yielding, and asks for no result but in "await". libcoloop's
 * stacks have guard pages, the limit's and State Threads' have none, and Go copies its own when
 * they grow. Go and asyncio do fewer. */
#include "tasks.h"

#define SPAWNS 1000000
#define BATCH 100
#define COLD 10000

static long finished;

/* --- Limit ------------------------------------------------------------------------------------ */

static void limit_end(void *arg)
{
    (void)arg;
    finished++;
}

static void limit_spawn_many(long n)
{
    for (long i = 0; i < n; i++)
        limit_spawn(limit_end, NULL);
    while (limit_head)
        limit_park();
}

static void limit_warm(long unused)
{
    (void)unused;
    limit_reserve(BATCH);
    limit_spawn_many(BATCH);
    int64_t start = bench_now();
    for (long done = 0; done < SPAWNS; done += BATCH)
        limit_spawn_many(BATCH);
    bench_each(NULL, bench_now() - start, SPAWNS);
}

static void limit_cold(long unused)
{
    (void)unused;
    int64_t start = bench_now();
    limit_reserve(COLD);
    limit_spawn_many(COLD);
    bench_each(NULL, bench_now() - start, COLD);
}

static void limit_await(long unused)
{
    (void)unused;
    limit_reserve(1);
    int64_t start = bench_now();
    for (long i = 0; i < SPAWNS; i++)
        limit_spawn_many(1);
    bench_each(NULL, bench_now() - start, SPAWNS);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static int coloop_end(void *arg)
{
    (void)arg;
    finished++;
    return 0;
}

static int coloop_spawn_many(long n)
{
    for (long i = 0; i < n; i++)
        MUST(co_go(coloop_end, NULL) == 0);
    return co_yield_now();
}

static int coloop_spawn_warm(void *arg)
{
    (void)arg;
    coloop_spawn_many(BATCH);
    finished = 0;
    int64_t start = bench_now();
    while (finished < SPAWNS)
        coloop_spawn_many(BATCH);
    bench_each(NULL, bench_now() - start, SPAWNS);
    return 0;
}

static int coloop_spawn_cold(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    coloop_spawn_many(COLD);
    bench_each(NULL, bench_now() - start, COLD);
    return finished == COLD ? 0 : -EPROTO;
}

static int coloop_spawn_and_await(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (long i = 0; i < SPAWNS; i++)
        co_await_task(co_spawn(coloop_end, NULL));
    bench_each(NULL, bench_now() - start, SPAWNS);
    return finished == SPAWNS ? 0 : -EPROTO;
}

static void coloop_warm(long unused)
{
    (void)unused;
    MUST(co_run(coloop_spawn_warm, NULL) == 0);
}

static void coloop_cold(long unused)
{
    (void)unused;
    MUST(co_run(coloop_spawn_cold, NULL) == 0);
}

static void coloop_await(long unused)
{
    (void)unused;
    MUST(co_run(coloop_spawn_and_await, NULL) == 0);
}

/* --- State Threads ---------------------------------------------------------------------------- */

#ifdef BENCH_ST
static void *statethreads_end(void *arg)
{
    (void)arg;
    finished++;
    return NULL;
}

static void statethreads_spawn_many(long n)
{
    for (long i = 0; i < n; i++)
        statethreads_start(statethreads_end, NULL, false);
    st_usleep(0);
}

static void statethreads_warm(long unused)
{
    (void)unused;
    statethreads_begin();
    statethreads_spawn_many(BATCH);
    finished = 0;
    int64_t began = bench_now();
    while (finished < SPAWNS)
        statethreads_spawn_many(BATCH);
    bench_each(NULL, bench_now() - began, SPAWNS);
}

static void statethreads_cold(long unused)
{
    (void)unused;
    statethreads_begin();
    int64_t began = bench_now();
    statethreads_spawn_many(COLD);
    bench_each(NULL, bench_now() - began, COLD);
    MUST(finished == COLD);
}

static void statethreads_await(long unused)
{
    (void)unused;
    statethreads_begin();
    int64_t began = bench_now();
    for (long i = 0; i < SPAWNS; i++)
        st_thread_join(statethreads_start(statethreads_end, NULL, true), NULL);
    bench_each(NULL, bench_now() - began, SPAWNS);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "spawn", .rounds = 5},
        {.name = "spawn-cold", .rounds = 5},
        {.name = "await", .rounds = 5},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_warm, limit_cold, limit_await}},
        {"libcoloop", {coloop_warm, coloop_cold, coloop_await}},
#ifdef BENCH_ST
        {"State Threads", {statethreads_warm, statethreads_cold, statethreads_await}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
