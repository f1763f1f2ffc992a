/* A great many parked coroutines, each with a guard: starts them, counts what they cost, wakes and
 * finishes all. parked [N]     1,000,000 by default */
#include <coloop.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int woken;

static int sleeper(void *arg)
{
    (void)arg;
    int rc = co_sleep(-1);
    woken += rc == -ECANCELED;
    return rc;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A figure of /proc/self/status, in bytes. */
static double status_bytes(const char *name)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = atof(line + strlen(name));
    if (file)
        fclose(file);
    return kib * 1024;
}

static size_t count_mappings(void)
{
    size_t n = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    for (int c; file && (c = fgetc(file)) != EOF;)
        n += c == '\n';
    if (file)
        fclose(file);
    return n;
}

static void each(const char *what, double from, double to, long n)
{
    printf("%-24s %8.0f ns a coroutine\n", what, (to - from) * 1e9 / (double)n);
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 1000000, started = 0;
    co_task_t **tasks = calloc((size_t)n, sizeof *tasks);
    loop_t *loop = loop_new(NULL);
    if (!tasks || !loop)
        return 1;
    double memory = status_bytes("VmRSS:"), tables = status_bytes("VmPTE:"), t0 = seconds();
    while (started < n && (tasks[started] = loop_spawn(loop, sleeper, NULL)))
        started++;
    loop_run_once(loop, 0);
    double t1 = seconds();
    memory = status_bytes("VmRSS:") - memory;
    tables = status_bytes("VmPTE:") - tables;
    loop_stats_t stats;
    loop_stats(loop, &stats);
    printf("%ld coroutines parked, %zu stacks without a guard, %zu mappings\n", started,
           stats.stacks_unguarded, count_mappings());
    printf("resident                 %8.0f bytes a coroutine, page tables %.0f\n",
           memory / (double)started, tables / (double)started);
    double t2 = seconds();
    for (long i = 0; i < started; i++)
        co_task_cancel(tasks[i]);
    int rc = loop_run(loop);
    double t3 = seconds();
    for (long i = 0; i < started; i++)
        co_task_release(tasks[i]);
    loop_close(loop);
    each("spawn and park", t0, t1, started);
    each("wake and finish", t2, t3, started);
    each("release and close", t3, seconds(), started);
    printf("%d woken, loop_run returned %d\n", woken, rc);
    free(tasks);
    return started == n && woken == n && rc == 0 ? 0 : 1;
}
