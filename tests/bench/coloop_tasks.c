/* coloop_tasks.c: libcoloop's switches, tasks and hand-overs. */
#include "bench.h"
#include "context/context.h"

#include <coloop.h>

#include <stdio.h>
#include <stdlib.h>

static loop_t *loop;

static void open_loop(void)
{
    MUST((loop = loop_new(NULL)) != NULL);
}

static void run_to_end(void)
{
    MUST(loop_run(loop) == 0);
}

static void start_task(co_fn *fn, void *arg)
{
    co_task_t *task = loop_spawn(loop, fn, arg);
    MUST(task != NULL);
    co_task_release(task);
}

/* --- Switch and yield ------------------------------------------------------------------------- */

static struct context home, away;

static void come_back(void *arg)
{
    (void)arg;
    for (;;)
        context_switch(&away, &home, false);
}

static void run_switch(long unused)
{
    static char stack[65536] __attribute__((aligned(16)));
    (void)unused;
    coloop__context_birth(&away, stack, stack + sizeof stack, come_back, NULL);
    context_switch(&home, &away, false);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SWITCHES; i += 2)
        context_switch(&home, &away, false);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES);
}

static long times;

static int yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        co_yield_now();
    return 0;
}

static void run_yield(long tasks)
{
    times = BENCH_YIELDS / tasks;
    open_loop();
    for (long i = 0; i < tasks; i++)
        start_task(yield_often, NULL);
    loop_run_once(loop, 0); /* everybody once, so that the stacks are warm */
    int64_t start = bench_now();
    run_to_end();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- Spawn ------------------------------------------------------------------------------------ */

static long finished;

static int end_at_once(void *arg)
{
    (void)arg;
    finished++;
    return 0;
}

static int spawn(long n)
{
    for (long i = 0; i < n; i++)
        MUST(co_go(end_at_once, NULL) == 0);
    return co_yield_now();
}

static int spawn_warm(void *arg)
{
    (void)arg;
    spawn(BENCH_BATCH);
    finished = 0;
    int64_t start = bench_now();
    while (finished < BENCH_SPAWNS)
        spawn(BENCH_BATCH);
    bench_each(NULL, bench_now() - start, BENCH_SPAWNS);
    return 0;
}

static int spawn_cold(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    spawn(BENCH_COLD);
    bench_each(NULL, bench_now() - start, BENCH_COLD);
    return finished == BENCH_COLD ? 0 : -EPROTO;
}

static int spawn_and_await(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SPAWNS; i++)
        co_await_task(co_spawn(end_at_once, NULL));
    bench_each(NULL, bench_now() - start, BENCH_SPAWNS);
    return finished == BENCH_SPAWNS ? 0 : -EPROTO;
}

static void run_spawn(long unused)
{
    (void)unused;
    MUST(co_run(spawn_warm, NULL) == 0);
}

static void run_spawn_cold(long unused)
{
    (void)unused;
    MUST(co_run(spawn_cold, NULL) == 0);
}

static void run_await(long unused)
{
    (void)unused;
    MUST(co_run(spawn_and_await, NULL) == 0);
}

/* --- Parked ----------------------------------------------------------------------------------- */

static co_event_t event;

static int park(void *arg)
{
    (void)arg;
    finished += co_event_wait(&event) == 0;
    return 0;
}

static double count_mappings(void)
{
    size_t n = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    for (int c; file && (c = fgetc(file)) != EOF;)
        n += c == '\n';
    if (file)
        fclose(file);
    return (double)n;
}

static void run_parked(long n)
{
    double memory = bench_memory("VmRSS"), tables = bench_memory("VmPTE");
    loop_stats_t stats;
    int64_t start = bench_now();
    open_loop();
    for (long i = 0; i < n; i++)
        start_task(park, NULL);
    loop_run_once(loop, 0);
    bench_each("start", bench_now() - start, n);
    bench_result("memory", "bytes", (bench_memory("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (bench_memory("VmPTE") - tables) / (double)n);
    bench_result("mappings", "mappings", count_mappings());
    loop_stats(loop, &stats);
    bench_result("unguarded", "stacks", (double)stats.stacks_unguarded);
    start = bench_now();
    co_event_set(&event);
    run_to_end();
    bench_each("wake", bench_now() - start, n);
    MUST(finished == n);
    loop_close(loop);
}

/* --- Hand-over -------------------------------------------------------------------------------- */

static int send_all(void *chan)
{
    for (long i = 0; i < BENCH_ITEMS; i++)
        co_chan_send(chan, &i);
    return 0;
}

static int receive_all(void *chan)
{
    for (long i = 0, got; i < BENCH_ITEMS; i++)
        MUST(co_chan_recv(chan, &got) == 0 && got == i);
    return 0;
}

static void run_rendezvous(long unused)
{
    co_chan_t *chan = co_chan_new(sizeof(long), 0);
    (void)unused;
    open_loop();
    start_task(send_all, chan);
    start_task(receive_all, chan);
    int64_t start = bench_now();
    run_to_end();
    bench_each(NULL, bench_now() - start, BENCH_ITEMS);
    co_chan_free(chan);
}

static int lock_often(void *arg)
{
    static co_mutex_t mutex;
    int rc = 0;
    (void)arg;
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_ITEMS; i++) {
        rc |= co_mutex_lock(&mutex);
        co_mutex_unlock(&mutex);
    }
    bench_each(NULL, bench_now() - start, BENCH_ITEMS);
    return rc;
}

static void run_lock(long unused)
{
    (void)unused;
    MUST(co_run(lock_often, NULL) == 0);
}

static co_mutex_t passed;

static int pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        MUST(co_mutex_lock(&passed) == 0);
        co_yield_now();
        co_mutex_unlock(&passed);
    }
    return 0;
}

static void run_mutex(long tasks)
{
    open_loop();
    times = BENCH_ITEMS / tasks;
    for (long i = 0; i < tasks; i++)
        start_task(pass_often, NULL);
    int64_t start = bench_now();
    run_to_end();
    bench_each(NULL, bench_now() - start, times * tasks);
}

void coloop_ready(long n), coloop_ready_record(long n), coloop_timers(long n);
void coloop_timers_later(long n), coloop_pairs(long n), coloop_pairs_tasks(long n);
void coloop_post(long n), coloop_echo(long port);

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"switch", NULL, run_switch, {0}},
        {"yield", NULL, run_yield, BENCH_YIELD_TASKS},
        {"spawn", NULL, run_spawn, {0}},
        {"spawn-cold", NULL, run_spawn_cold, {0}},
        {"await", NULL, run_await, {0}},
        {"parked", NULL, run_parked, BENCH_PARKED},
        {"rendezvous", NULL, run_rendezvous, {0}},
        {"lock", NULL, run_lock, {0}},
        {"mutex", NULL, run_mutex, BENCH_MUTEX_TASKS},
        {"ready", NULL, coloop_ready, BENCH_READY},
        {"ready", "no handle", coloop_ready_record, BENCH_READY},
        {"timers", NULL, coloop_timers, BENCH_TIMERS},
        {"timers", "call_later", coloop_timers_later, BENCH_TIMERS},
        {"pairs", NULL, coloop_pairs, BENCH_PAIRS},
        {"pairs", "tasks", coloop_pairs_tasks, BENCH_PAIRS},
        {"post", NULL, coloop_post, {0}},
        {"echo", NULL, coloop_echo, {-1}},
    };
    return bench_main(argc, argv, "libcoloop", works, sizeof works / sizeof *works);
}
