/* coloop_loop.c: libcoloop's callbacks, timers, readiness, and calls from threads. */
#include "bench.h"

#include <coloop.h>

#include <stdlib.h>

static loop_t *loop;

static void open_loop(void)
{
    MUST((loop = loop_new(NULL)) != NULL);
}

/* --- Ready callbacks -------------------------------------------------------------------------- */

static long calls_left;

static void call_again(void *handle)
{
    if (--calls_left > 0)
        loop_call_soon(loop, call_again, handle, handle);
}

static void run_calls(void)
{
    int64_t start = bench_now();
    MUST(loop_run(loop) == 0);
    bench_each(NULL, bench_now() - start, BENCH_CALLS);
}

void coloop_ready(long n)
{
    loop_handle_t *handles = bench_alloc((size_t)n, sizeof *handles);
    open_loop();
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++)
        loop_call_soon(loop, call_again, &handles[i], &handles[i]);
    run_calls();
}

void coloop_ready_record(long n)
{
    open_loop();
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++)
        loop_call_soon(loop, call_again, NULL, NULL);
    run_calls();
}

/* --- Timers ----------------------------------------------------------------------------------- */

static loop_handle_t *timers;
static long expired;

static void expire(void *arg)
{
    (void)arg;
    expired++;
}

/* From the time at which the last pass began, as in the peers. */
static int64_t now;

static void set_timer(long i, int64_t ns)
{
    loop_call_at(loop, now + ns, expire, NULL, &timers[i]);
}

/* From now, which costs a look at the clock. */
static void set_timer_later(long i, int64_t ns)
{
    loop_call_later(loop, ns / 1000000, expire, NULL, &timers[i]);
}

static void cancel_timer(long i)
{
    loop_cancel(&timers[i]);
}

static void run_timers(void)
{
    MUST(loop_run(loop) == 0);
    now = loop_time(loop);
}

static void time_timers(void (*set)(long i, int64_t ns), long n)
{
    struct bench_timers ops = {set, cancel_timer, run_timers, &expired};
    timers = bench_alloc((size_t)n + 1, sizeof *timers);
    open_loop();
    loop_run_once(loop, 0); /* reads the clock */
    now = loop_time(loop);
    bench_timers(&ops, n);
}

void coloop_timers(long n)
{
    time_timers(set_timer, n);
}

void coloop_timers_later(long n)
{
    time_timers(set_timer_later, n);
}

/* --- Readiness -------------------------------------------------------------------------------- */

static void on_readable(void *number)
{
    if (!bench_hop((long)(intptr_t)number))
        loop_stop(loop);
}

static void run_pairs(void)
{
    int64_t start = bench_now();
    bench_pairs_start();
    MUST(loop_run(loop) == 1);
    bench_each(NULL, bench_now() - start, BENCH_EVENTS);
}

void coloop_pairs(long n)
{
    bench_pairs_open(n);
    open_loop();
    for (long i = 0; i < n; i++)
        MUST(loop_add_reader(loop, bench_readers[i], on_readable, (void *)(intptr_t)i) == 0);
    loop_run_once(loop, 0);
    run_pairs();
}

static long pairs, hops;

static int hop_on(void *number)
{
    long i = (long)(intptr_t)number;
    char byte;
    while (co_read(bench_readers[i], &byte, 1) == 1) {
        if (hops < BENCH_EVENTS - BENCH_ACTIVE)
            MUST(co_write(bench_writers[(i + 1) % pairs], &byte, 1) == 1);
        if (++hops == BENCH_EVENTS)
            loop_stop(loop);
    }
    return 0;
}

/* A task for each pair, on fds of the loop's own. */
void coloop_pairs_tasks(long n)
{
    pairs = n;
    bench_pairs_open(n);
    open_loop();
    for (long i = 0; i < n; i++) {
        MUST(co_adopt(bench_readers[i]) == 0 && co_adopt(bench_writers[i]) == 0);
        co_task_release(loop_spawn(loop, hop_on, (void *)(intptr_t)i));
    }
    loop_run_once(loop, 0);
    run_pairs();
}

/* --- Calls from other threads ----------------------------------------------------------------- */

static long arrived;

static void arrive(void *arg)
{
    (void)arg;
    if (++arrived == (long)BENCH_THREADS * BENCH_POSTS)
        loop_release(loop);
}

static void post(void)
{
    MUST(loop_call_soon_threadsafe(loop, arrive, NULL) == 0);
}

static void run_posts(void)
{
    MUST(loop_run(loop) == 0);
}

void coloop_post(long unused)
{
    (void)unused;
    open_loop();
    loop_hold(loop);
    bench_threads(post, run_posts);
    MUST(arrived == (long)BENCH_THREADS * BENCH_POSTS);
}
