/* limit_loop.c: the hand-written limits of callbacks, timers, readiness, and calls from threads. */
#include "limit.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- Ready callbacks -------------------------------------------------------------------------- */

struct call {
    struct call *next;
    void (*fn)(void *);
    void *arg;
};

static struct call *first, **last = &first;
static long calls_left;

static void call_soon(struct call *call)
{
    call->next = NULL;
    *last = call;
    last = &call->next;
}

static void run_calls(void)
{
    while (first) {
        struct call *call = first;
        if (!(first = call->next))
            last = &first;
        call->fn(call->arg);
    }
}

static void call_again(void *call)
{
    if (--calls_left > 0)
        call_soon(call);
}

void limit_ready_calls(long n)
{
    struct call *calls = bench_alloc((size_t)n, sizeof *calls);
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++) {
        calls[i].fn = call_again;
        calls[i].arg = &calls[i];
        call_soon(&calls[i]);
    }
    int64_t start = bench_now();
    run_calls();
    bench_each(NULL, bench_now() - start, BENCH_CALLS);
}

/* --- Timers: an implicit 4-ary heap ----------------------------------------------------------- */

struct timer {
    size_t at;
    void (*fn)(void *);
    void *arg;
};
struct entry {
    int64_t when;
    struct timer *timer;
};

static struct timer *timers;
static struct entry *heap;
static size_t count;
static int64_t loop_now;
static long expired;

static inline void place(size_t i, struct entry entry)
{
    heap[i] = entry;
    entry.timer->at = i;
}

static void up(size_t i, struct entry entry)
{
    for (size_t parent; i > 0 && entry.when < heap[parent = (i - 1) / 4].when; i = parent)
        place(i, heap[parent]);
    place(i, entry);
}

static void down(size_t i, struct entry entry)
{
    for (size_t child; (child = 4 * i + 1) < count;) {
        size_t end = child + 4 < count ? child + 4 : count, least = child;
        for (size_t c = child + 1; c < end; c++)
            if (heap[c].when < heap[least].when)
                least = c;
        if (entry.when <= heap[least].when)
            break;
        place(i, heap[least]);
        i = least;
    }
    place(i, entry);
}

static void set_timer(long i, int64_t ns)
{
    up(count++, (struct entry){loop_now + ns, &timers[i]});
}

static void take_out(size_t i)
{
    struct entry end = heap[--count];
    if (i == count)
        return;
    if (i > 0 && end.when < heap[(i - 1) / 4].when)
        up(i, end);
    else
        down(i, end);
}

static void cancel_timer(long i)
{
    take_out(timers[i].at);
}

static void expire(void *arg)
{
    (void)arg;
    expired++;
}

static void run_timers(void)
{
    loop_now = bench_now();
    while (count && heap[0].when <= loop_now) {
        struct timer *timer = heap[0].timer;
        take_out(0);
        timer->fn(timer->arg);
    }
}

void limit_timers(long n)
{
    static const struct bench_timers ops = {set_timer, cancel_timer, run_timers, &expired};
    size_t bytes = (size_t)(n + 8) * sizeof *heap;
    char *block = aligned_alloc(64, (bytes + 127) / 64 * 64);
    timers = bench_alloc((size_t)n + 1, sizeof *timers);
    MUST(block && timers);
    heap = (struct entry *)(void *)(block + 48); /* the children of one share a cache line */
    for (long i = 0; i <= n; i++)
        timers[i].fn = expire;
    loop_now = bench_now();
    bench_timers(&ops, n);
}

/* --- Readiness -------------------------------------------------------------------------------- */

void limit_pairs(long n)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    bool more = true;
    bench_pairs_open(n);
    for (uint32_t i = 0; (long)i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, bench_readers[i], &event) == 0);
    }
    int64_t start = bench_now();
    bench_pairs_start();
    while (more) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++)
            more = bench_hop(events[i].data.u32);
    }
    bench_each(NULL, bench_now() - start, BENCH_EVENTS);
}

/* --- Calls from other threads ----------------------------------------------------------------- */

static _Atomic(struct call *) posted;
static int wake;
static long arrived;

static void arrive(void *arg)
{
    (void)arg;
    arrived++;
}

static void post(void)
{
    struct call *call = malloc(sizeof *call);
    MUST(call != NULL);
    call->fn = arrive;
    call->arg = NULL;
    call->next = atomic_load_explicit(&posted, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&posted, &call->next, call))
        ;
    if (!call->next)
        MUST(eventfd_write(wake, 1) == 0);
}

static void take_posts(void)
{
    struct call *order = NULL;
    for (struct call *call = atomic_exchange(&posted, NULL), *next; call; call = next) {
        next = call->next;
        call->next = order;
        order = call;
    }
    for (struct call *next; order; order = next) {
        next = order->next;
        order->fn(order->arg);
        free(order);
    }
}

static void run_posts(void)
{
    eventfd_t value;
    while (arrived < (long)BENCH_THREADS * BENCH_POSTS) {
        MUST(eventfd_read(wake, &value) == 0);
        take_posts();
    }
}

void limit_post(long unused)
{
    (void)unused;
    MUST((wake = eventfd(0, EFD_CLOEXEC)) >= 0);
    bench_threads(post, run_posts);
}
