/* parked.c: what a task costs that waits, and how long it takes to start and park, and to wake and
 * end, so many of them.
 *
 * Memory is what the process has grown by, resident, and of page tables. All wait for the same
 * thing: the limit in a list, libcoloop's tasks for an event, State Threads for a condition, Go's
 * for a channel that is closed, asyncio's for an event. The limit's stacks and State Threads' have
 * no guard pages; libcoloop also tells how many mappings its guards take, and how many stacks had
 * to do without. Go's stacks are copied as they grow. */
#include "tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long finished;

/* What the process has now, in bytes: "VmRSS" or "VmPTE" of /proc/self/status. */
static double memory_of(const char *name)
{
    char line[256];
    double kib = 0;
    size_t length = strlen(name);
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            kib = atof(line + length + 1);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* --- Limit ------------------------------------------------------------------------------------ */

static struct co *limit_parked;

static void limit_wait(void *arg)
{
    (void)arg;
    limit_current->arg = limit_parked;
    limit_parked = limit_current;
    limit_park();
    finished++;
}

static void limit_run_parked(long n)
{
    double memory = memory_of("VmRSS"), tables = memory_of("VmPTE");
    int64_t start = bench_now();
    limit_reserve(n);
    for (long i = 0; i < n; i++)
        limit_spawn(limit_wait, NULL);
    while (limit_head)
        limit_park();
    bench_each("start", bench_now() - start, n);
    bench_result("memory", "bytes", (memory_of("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (memory_of("VmPTE") - tables) / (double)n);
    start = bench_now();
    for (struct co *next; limit_parked; limit_parked = next) {
        next = limit_parked->arg;
        limit_ready(limit_parked);
    }
    while (limit_head)
        limit_park();
    bench_each("wake", bench_now() - start, n);
    MUST(finished == n);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static co_event_t coloop_event;

static int coloop_wait(void *arg)
{
    (void)arg;
    finished += co_event_wait(&coloop_event) == 0;
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

static void coloop_run_parked(long n)
{
    double memory = memory_of("VmRSS"), tables = memory_of("VmPTE");
    loop_stats_t stats;
    int64_t start = bench_now();
    coloop_open();
    for (long i = 0; i < n; i++)
        coloop_start(coloop_wait, NULL);
    loop_run_once(coloop_loop, 0);
    bench_each("start", bench_now() - start, n);
    bench_result("memory", "bytes", (memory_of("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (memory_of("VmPTE") - tables) / (double)n);
    bench_result("mappings", "mappings", count_mappings());
    loop_stats(coloop_loop, &stats);
    bench_result("unguarded", "stacks", (double)stats.stacks_unguarded);
    start = bench_now();
    co_event_set(&coloop_event);
    coloop_run();
    bench_each("wake", bench_now() - start, n);
    MUST(finished == n);
    loop_close(coloop_loop);
}

/* --- State Threads ---------------------------------------------------------------------------- */

#ifdef BENCH_ST
static st_cond_t statethreads_cond;

static void *statethreads_wait(void *arg)
{
    (void)arg;
    st_cond_wait(statethreads_cond);
    finished++;
    return NULL;
}

static void statethreads_run_parked(long n)
{
    double memory = memory_of("VmRSS"), tables = memory_of("VmPTE");
    statethreads_begin();
    statethreads_cond = st_cond_new();
    int64_t began = bench_now();
    for (long i = 0; i < n; i++)
        statethreads_start(statethreads_wait, NULL, false);
    st_usleep(0);
    bench_each("start", bench_now() - began, n);
    bench_result("memory", "bytes", (memory_of("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (memory_of("VmPTE") - tables) / (double)n);
    began = bench_now();
    st_cond_broadcast(statethreads_cond);
    while (finished < n)
        st_usleep(0);
    bench_each("wake", bench_now() - began, n);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "parked", .rounds = 3, .parameters = {1000, 10000, 100000}},
        {.name = "parked", .rounds = 1, .parameters = {1000000}}, /* takes long, varies little */
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_run_parked}},
        {"libcoloop", {coloop_run_parked}},
#ifdef BENCH_ST
        {"State Threads", {statethreads_run_parked}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
