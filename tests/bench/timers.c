/* timers.c: so many timers, of which each is due within the next fifth of a second.
 *
 *     insert   all are set, to random times
 *     churn    1,000,000 times, one at random is cancelled and set anew
 *     far      1,000,000 times, one more is set to an hour later, and cancelled: a timeout that
 *              does not come to pass
 *     expire   all are due, and are called
 *
 * The phases are the same for all in C, and the owner of a timer has its memory. What a timer is
 * relative to: for libcoloop's call_at, libuv and libev the loop's time, for libcoloop's call_later
 * and libevent the clock, which they look at each time. call_later and libuv know milliseconds
 * only. asyncio's timers are objects of its own; it does a twentieth of the churn, among the few
 * timers only. */
#include "bench.h"

#include <coloop.h>

#include <stdlib.h>

#define CHURN 1000000
#define SPAN_NS 200000000 /* the deadlines are up to that far away, in all rounds together */
#define ROUNDS 10         /* of insertion and expiry, where there are few timers */
#define FAR_NS INT64_C(3600000000000)

/* --- The phases ------------------------------------------------------------------------------- */

struct timers {
    void (*set)(long i, int64_t ns); /* the i-th, which is not set */
    void (*cancel)(long i);
    void (*run)(void); /* until all have expired; they may be set again */
};

static long expired; /* counted by the callbacks */

static void set_all(const struct timers *ops, long n, int64_t span)
{
    for (long i = 0; i < n; i++)
        ops->set(i, bench_random((uint32_t)span));
}

static void churn(const struct timers *ops, long n, int64_t span)
{
    int64_t start = bench_now();
    for (long i = 0; i < CHURN; i++) {
        long which = bench_random((uint32_t)n);
        ops->cancel(which);
        ops->set(which, bench_random((uint32_t)span));
    }
    bench_each("churn", bench_now() - start, CHURN);

    start = bench_now();
    for (long i = 0; i < CHURN; i++) {
        ops->set(n, FAR_NS);
        ops->cancel(n);
    }
    bench_each("far", bench_now() - start, CHURN);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void report_median(const char *part, int64_t *ns, int rounds, long n)
{
    qsort(ns, (size_t)rounds, sizeof *ns, compare);
    bench_each(part, ns[rounds / 2], n);
}

/* Few timers are set, and expire, too fast to be measured in one round. While they become due
 * nobody sleeps, which would leave the caches to others. */
static __attribute__((noinline)) void run_phases(const struct timers *ops, long n)
{
    int64_t insert[ROUNDS], expire[ROUNDS];
    int rounds = n < CHURN ? ROUNDS : 1;
    int64_t span = SPAN_NS / rounds;
    for (int round = 0; round < rounds; round++) {
        int64_t start = bench_now();
        set_all(ops, n, span);
        insert[round] = bench_now() - start;
        if (round == rounds - 1) {
            report_median("insert", insert, rounds, n);
            churn(ops, n, span);
        }
        for (int64_t due = bench_now() + span + span / 10; bench_now() < due;)
            ;
        start = bench_now();
        ops->run();
        expire[round] = bench_now() - start;
        MUST(expired == n * (round + 1));
    }
    report_median("expire", expire, rounds, n);
}

/* --- Limit: an implicit 4-ary heap ------------------------------------------------------------ */

struct limit_timer {
    size_t at;
    void (*fn)(void *);
    void *arg;
};

struct limit_entry {
    int64_t when;
    struct limit_timer *timer;
};

static struct limit_timer *limit_all;
static struct limit_entry *limit_heap;
static size_t limit_count;
static int64_t limit_now;

static inline void limit_place(size_t i, struct limit_entry entry)
{
    limit_heap[i] = entry;
    entry.timer->at = i;
}

static void limit_up(size_t i, struct limit_entry entry)
{
    for (size_t parent; i > 0 && entry.when < limit_heap[parent = (i - 1) / 4].when; i = parent)
        limit_place(i, limit_heap[parent]);
    limit_place(i, entry);
}

static void limit_down(size_t i, struct limit_entry entry)
{
    for (size_t child; (child = 4 * i + 1) < limit_count;) {
        size_t end = child + 4 < limit_count ? child + 4 : limit_count, least = child;
        for (size_t c = child + 1; c < end; c++)
            if (limit_heap[c].when < limit_heap[least].when)
                least = c;
        if (entry.when <= limit_heap[least].when)
            break;
        limit_place(i, limit_heap[least]);
        i = least;
    }
    limit_place(i, entry);
}

static void limit_set(long i, int64_t ns)
{
    limit_up(limit_count++, (struct limit_entry){limit_now + ns, &limit_all[i]});
}

static void limit_take_out(size_t i)
{
    struct limit_entry end = limit_heap[--limit_count];
    if (i == limit_count)
        return;
    if (i > 0 && end.when < limit_heap[(i - 1) / 4].when)
        limit_up(i, end);
    else
        limit_down(i, end);
}

static void limit_cancel(long i)
{
    limit_take_out(limit_all[i].at);
}

static void limit_expire(void *arg)
{
    (void)arg;
    expired++;
}

static void limit_run(void)
{
    limit_now = bench_now();
    while (limit_count && limit_heap[0].when <= limit_now) {
        struct limit_timer *timer = limit_heap[0].timer;
        limit_take_out(0);
        timer->fn(timer->arg);
    }
}

static void limit_timers(long n)
{
    static const struct timers ops = {limit_set, limit_cancel, limit_run};
    size_t bytes = (size_t)(n + 8) * sizeof *limit_heap;
    char *block = aligned_alloc(64, (bytes + 127) / 64 * 64);
    limit_all = bench_alloc((size_t)n + 1, sizeof *limit_all);
    MUST(block && limit_all);
    limit_heap =
        (struct limit_entry *)(void *)(block + 48); /* the children of one share a cache line */
    for (long i = 0; i <= n; i++)
        limit_all[i].fn = limit_expire;
    limit_now = bench_now();
    run_phases(&ops, n);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static loop_t *coloop_loop;
static loop_handle_t *coloop_all;
static int64_t coloop_now; /* the time at which the last pass began, as in the peers */

static void coloop_expire(void *arg)
{
    (void)arg;
    expired++;
}

static void coloop_set(long i, int64_t ns)
{
    loop_call_at(coloop_loop, coloop_now + ns, coloop_expire, NULL, &coloop_all[i]);
}

/* From now, which costs a look at the clock. */
static void coloop_set_later(long i, int64_t ns)
{
    loop_call_later(coloop_loop, ns / 1000000, coloop_expire, NULL, &coloop_all[i]);
}

static void coloop_cancel(long i)
{
    loop_cancel(&coloop_all[i]);
}

static void coloop_run(void)
{
    MUST(loop_run(coloop_loop) == 0);
    coloop_now = loop_time(coloop_loop);
}

static void coloop_phases(void (*set)(long i, int64_t ns), long n)
{
    struct timers ops = {set, coloop_cancel, coloop_run};
    coloop_all = bench_alloc((size_t)n + 1, sizeof *coloop_all);
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    loop_run_once(coloop_loop, 0); /* reads the clock */
    coloop_now = loop_time(coloop_loop);
    run_phases(&ops, n);
}

static void coloop_timers(long n)
{
    coloop_phases(coloop_set, n);
}

static void coloop_timers_later(long n)
{
    coloop_phases(coloop_set_later, n);
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBUV
#include <uv.h>

static uv_loop_t *libuv_loop;
static uv_timer_t *libuv_all;

static void libuv_on_timer(uv_timer_t *timer)
{
    (void)timer;
    expired++;
}

static void libuv_set(long i, int64_t ns)
{
    uv_timer_start(&libuv_all[i], libuv_on_timer, (uint64_t)(ns / 1000000), 0);
}

static void libuv_cancel(long i)
{
    uv_timer_stop(&libuv_all[i]);
}

static void libuv_run(void)
{
    uv_update_time(libuv_loop);
    uv_run(libuv_loop, UV_RUN_DEFAULT);
}

static void libuv_timers(long n)
{
    static const struct timers ops = {libuv_set, libuv_cancel, libuv_run};
    libuv_all = bench_alloc((size_t)n + 1, sizeof *libuv_all);
    MUST((libuv_loop = uv_default_loop()) != NULL);
    for (long i = 0; i <= n; i++)
        uv_timer_init(libuv_loop, &libuv_all[i]);
    run_phases(&ops, n);
}
#endif

/* --- libev ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBEV
#include <ev.h>

static struct ev_loop *libev_loop;
static ev_timer *libev_all;

static void libev_on_timer(struct ev_loop *l, ev_timer *timer, int events)
{
    (void)l, (void)timer, (void)events;
    expired++;
}

static void libev_set(long i, int64_t ns)
{
    ev_timer_set(&libev_all[i], (double)ns / 1e9, 0.);
    ev_timer_start(libev_loop, &libev_all[i]);
}

static void libev_cancel(long i)
{
    ev_timer_stop(libev_loop, &libev_all[i]);
}

static void libev_run(void)
{
    ev_run(libev_loop, 0);
}

static void libev_timers(long n)
{
    static const struct timers ops = {libev_set, libev_cancel, libev_run};
    libev_all = bench_alloc((size_t)n + 1, sizeof *libev_all);
    MUST((libev_loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
    for (long i = 0; i <= n; i++)
        ev_init(&libev_all[i], libev_on_timer);
    run_phases(&ops, n);
}
#endif

/* --- libevent --------------------------------------------------------------------------------- */

#ifdef BENCH_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>

static struct event_base *libevent_base;
static struct event *libevent_all;

static void libevent_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    expired++;
}

static void libevent_set(long i, int64_t ns)
{
    struct timeval after = {ns / 1000000000, ns % 1000000000 / 1000};
    event_add(&libevent_all[i], &after);
}

static void libevent_cancel(long i)
{
    event_del(&libevent_all[i]);
}

static void libevent_run(void)
{
    event_base_dispatch(libevent_base);
}

static void libevent_timers(long n)
{
    static const struct timers ops = {libevent_set, libevent_cancel, libevent_run};
    libevent_all = bench_alloc((size_t)n + 1, sizeof *libevent_all);
    MUST((libevent_base = event_base_new()) != NULL);
    for (long i = 0; i <= n; i++)
        event_assign(&libevent_all[i], libevent_base, -1, 0, libevent_on_timer, NULL);
    run_phases(&ops, n);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "timers", .rounds = 5, .parameters = {1000, 1000000}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_timers}},
        {"libcoloop", {coloop_timers}},
        {"libcoloop, call_later", {coloop_timers_later}},
#ifdef BENCH_LIBUV
        {"libuv", {libuv_timers}},
#endif
#ifdef BENCH_LIBEV
        {"libev", {libev_timers}},
#endif
#ifdef BENCH_LIBEVENT
        {"libevent", {libevent_timers}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
