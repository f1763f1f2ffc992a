/* st.c: the works that State Threads know: tasks, hand-overs, echo. */
#include "bench.h"

#include <st.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK = 65536 };

/* epoll, if it was built with it (Debian's was not), else poll: select does not know many fds. */
static void begin(void)
{
    st_set_eventsys(ST_EVENTSYS_ALT);
    if (strcmp(st_get_eventsys_name(), "epoll") != 0)
        st_set_eventsys(ST_EVENTSYS_POLL);
    MUST(st_init() == 0);
}

static st_thread_t start(void *(*fn)(void *), void *arg, bool joinable)
{
    st_thread_t thread = st_thread_create(fn, arg, joinable, STACK);
    MUST(thread != NULL);
    return thread;
}

/* --- Yield and spawn -------------------------------------------------------------------------- */

static long times, finished;

static void *yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        st_usleep(0);
    finished++;
    return NULL;
}

static void run_yield(long tasks)
{
    begin();
    times = BENCH_YIELDS / 4 / tasks;
    for (long i = 0; i < tasks; i++)
        start(yield_often, NULL, false);
    st_usleep(0);
    int64_t began = bench_now();
    while (finished < tasks)
        st_usleep(0);
    bench_each(NULL, bench_now() - began, times * tasks);
}

static void *end_at_once(void *arg)
{
    (void)arg;
    finished++;
    return NULL;
}

static void spawn(long n)
{
    for (long i = 0; i < n; i++)
        start(end_at_once, NULL, false);
    st_usleep(0);
}

static void run_spawn(long unused)
{
    (void)unused;
    begin();
    spawn(BENCH_BATCH);
    finished = 0;
    int64_t began = bench_now();
    while (finished < BENCH_SPAWNS)
        spawn(BENCH_BATCH);
    bench_each(NULL, bench_now() - began, BENCH_SPAWNS);
}

static void run_spawn_cold(long unused)
{
    (void)unused;
    begin();
    int64_t began = bench_now();
    spawn(BENCH_COLD);
    bench_each(NULL, bench_now() - began, BENCH_COLD);
    MUST(finished == BENCH_COLD);
}

static void run_await(long unused)
{
    (void)unused;
    begin();
    int64_t began = bench_now();
    for (long i = 0; i < BENCH_SPAWNS; i++)
        st_thread_join(start(end_at_once, NULL, true), NULL);
    bench_each(NULL, bench_now() - began, BENCH_SPAWNS);
}

/* --- Parked ----------------------------------------------------------------------------------- */

static st_cond_t cond;

static void *park(void *arg)
{
    (void)arg;
    st_cond_wait(cond);
    finished++;
    return NULL;
}

static void run_parked(long n)
{
    double memory = bench_memory("VmRSS"), tables = bench_memory("VmPTE");
    begin();
    cond = st_cond_new();
    int64_t began = bench_now();
    for (long i = 0; i < n; i++)
        start(park, NULL, false);
    st_usleep(0);
    bench_each("start", bench_now() - began, n);
    bench_result("memory", "bytes", (bench_memory("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (bench_memory("VmPTE") - tables) / (double)n);
    began = bench_now();
    st_cond_broadcast(cond);
    while (finished < n)
        st_usleep(0);
    bench_each("wake", bench_now() - began, n);
}

/* --- Hand-over: there are no channels, so one is made of conditions ----------------------------
 */

static st_cond_t sent, taken;
static const long *item;

static void *send_all(void *arg)
{
    (void)arg;
    for (long i = 0; i < BENCH_ITEMS; i++) {
        item = &i;
        st_cond_signal(sent);
        while (item)
            st_cond_wait(taken);
    }
    return NULL;
}

static void run_rendezvous(long unused)
{
    (void)unused;
    begin();
    sent = st_cond_new();
    taken = st_cond_new();
    start(send_all, NULL, false);
    int64_t began = bench_now();
    for (long i = 0; i < BENCH_ITEMS; i++) {
        while (!item)
            st_cond_wait(sent);
        MUST(*item == i);
        item = NULL;
        st_cond_signal(taken);
    }
    bench_each(NULL, bench_now() - began, BENCH_ITEMS);
}

static void run_lock(long unused)
{
    (void)unused;
    begin();
    st_mutex_t mutex = st_mutex_new();
    int64_t began = bench_now();
    for (long i = 0; i < BENCH_ITEMS; i++) {
        st_mutex_lock(mutex);
        st_mutex_unlock(mutex);
    }
    bench_each(NULL, bench_now() - began, BENCH_ITEMS);
}

static st_mutex_t passed;

static void *pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        st_mutex_lock(passed);
        st_usleep(0);
        st_mutex_unlock(passed);
    }
    finished++;
    return NULL;
}

static void run_mutex(long tasks)
{
    begin();
    passed = st_mutex_new();
    times = BENCH_ITEMS / 4 / tasks;
    for (long i = 0; i < tasks; i++)
        start(pass_often, NULL, false);
    int64_t began = bench_now();
    while (finished < tasks)
        st_usleep(1000);
    bench_each(NULL, bench_now() - began, times * tasks);
}

/* --- Echo ------------------------------------------------------------------------------------- */

static long alive;

static void *echo(void *fd)
{
    char *data = malloc(BENCH_ECHO_MAX);
    ssize_t n;
    MUST(data != NULL);
    while ((n = st_read(fd, data, BENCH_ECHO_MAX, ST_UTIME_NO_TIMEOUT)) > 0)
        if (st_write(fd, data, (size_t)n, ST_UTIME_NO_TIMEOUT) != n)
            break;
    free(data);
    st_netfd_close(fd);
    if (--alive == 0)
        exit(0);
    return NULL;
}

static void serve(long port)
{
    begin();
    st_netfd_t listener = st_netfd_open_socket(bench_listen(port));
    for (;;) {
        st_netfd_t fd = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT);
        MUST(fd != NULL);
        bench_tune(st_netfd_fileno(fd));
        alive++;
        start(echo, fd, false);
    }
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"yield", NULL, run_yield, BENCH_YIELD_TASKS},
        {"spawn", NULL, run_spawn, {0}},
        {"spawn-cold", NULL, run_spawn_cold, {0}},
        {"await", NULL, run_await, {0}},
        {"parked", NULL, run_parked, BENCH_PARKED},
        {"rendezvous", NULL, run_rendezvous, {0}},
        {"lock", NULL, run_lock, {0}},
        {"mutex", NULL, run_mutex, BENCH_MUTEX_TASKS},
        {"echo", NULL, serve, {-1}},
    };
    return bench_main(argc, argv, "State Threads", works, sizeof works / sizeof *works);
}
