/* ready.c: callbacks that are called as soon as the loop comes to them.
 *
 * So many are in the queue, each of which puts itself there again, until 5,000,000 have been called
 * together. The limit is a list of structs of their owners; so are libcoloop's handles, and without
 * one the loop has a record of its own. libuv and libev have no such queue: what is nearest are
 * idle watchers, which stay and are called once in each pass of the loop. libevent activates an
 * event by hand, asyncio has call_soon. */
#include "bench.h"

#include <coloop.h>

#define CALLS 5000000

static long calls_left;

/* --- Limit ------------------------------------------------------------------------------------ */

struct limit_call {
    struct limit_call *next;
    void (*fn)(void *);
    void *arg;
};

static struct limit_call *limit_first, **limit_last = &limit_first;

static void limit_call_soon(struct limit_call *call)
{
    call->next = NULL;
    *limit_last = call;
    limit_last = &call->next;
}

static void limit_run_calls(void)
{
    while (limit_first) {
        struct limit_call *call = limit_first;
        if (!(limit_first = call->next))
            limit_last = &limit_first;
        call->fn(call->arg);
    }
}

static void limit_call_again(void *call)
{
    if (--calls_left > 0)
        limit_call_soon(call);
}

static void limit_ready(long n)
{
    struct limit_call *calls = bench_alloc((size_t)n, sizeof *calls);
    calls_left = CALLS;
    for (long i = 0; i < n; i++) {
        calls[i].fn = limit_call_again;
        calls[i].arg = &calls[i];
        limit_call_soon(&calls[i]);
    }
    int64_t start = bench_now();
    limit_run_calls();
    bench_each(NULL, bench_now() - start, CALLS);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static loop_t *coloop_loop;

static void coloop_call_again(void *handle)
{
    if (--calls_left > 0)
        loop_call_soon(coloop_loop, coloop_call_again, handle, handle);
}

static void coloop_run_calls(void)
{
    int64_t start = bench_now();
    MUST(loop_run(coloop_loop) == 0);
    bench_each(NULL, bench_now() - start, CALLS);
}

static void coloop_ready(long n)
{
    loop_handle_t *handles = bench_alloc((size_t)n, sizeof *handles);
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    calls_left = CALLS;
    for (long i = 0; i < n; i++)
        loop_call_soon(coloop_loop, coloop_call_again, &handles[i], &handles[i]);
    coloop_run_calls();
}

static void coloop_ready_record(long n)
{
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    calls_left = CALLS;
    for (long i = 0; i < n; i++)
        loop_call_soon(coloop_loop, coloop_call_again, NULL, NULL);
    coloop_run_calls();
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBUV
#include <uv.h>

static uv_loop_t *libuv_loop;

static void libuv_on_idle(uv_idle_t *handle)
{
    (void)handle;
    if (--calls_left <= 0)
        uv_stop(libuv_loop);
}

static void libuv_ready(long n)
{
    uv_idle_t *handles = bench_alloc((size_t)n, sizeof *handles);
    MUST((libuv_loop = uv_default_loop()) != NULL);
    calls_left = CALLS;
    for (long i = 0; i < n; i++) {
        uv_idle_init(libuv_loop, &handles[i]);
        uv_idle_start(&handles[i], libuv_on_idle);
    }
    int64_t start = bench_now();
    uv_run(libuv_loop, UV_RUN_DEFAULT);
    bench_each(NULL, bench_now() - start, CALLS);
}
#endif

/* --- libev ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBEV
#include <ev.h>

static struct ev_loop *libev_loop;

static void libev_on_idle(struct ev_loop *l, ev_idle *watcher, int events)
{
    (void)watcher, (void)events;
    if (--calls_left <= 0)
        ev_break(l, EVBREAK_ALL);
}

static void libev_ready(long n)
{
    ev_idle *watchers = bench_alloc((size_t)n, sizeof *watchers);
    MUST((libev_loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
    calls_left = CALLS;
    for (long i = 0; i < n; i++) {
        ev_idle_init(&watchers[i], libev_on_idle);
        ev_idle_start(libev_loop, &watchers[i]);
    }
    int64_t start = bench_now();
    ev_run(libev_loop, 0);
    bench_each(NULL, bench_now() - start, CALLS);
}
#endif

/* --- libevent --------------------------------------------------------------------------------- */

#ifdef BENCH_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>

static struct event_base *libevent_base;

static void libevent_call_again(evutil_socket_t fd, short what, void *event)
{
    (void)fd, (void)what;
    if (--calls_left > 0)
        event_active(event, EV_TIMEOUT, 1);
}

static void libevent_ready(long n)
{
    struct event *events = bench_alloc((size_t)n, sizeof *events);
    MUST((libevent_base = event_base_new()) != NULL);
    calls_left = CALLS;
    for (long i = 0; i < n; i++) {
        event_assign(&events[i], libevent_base, -1, 0, libevent_call_again, &events[i]);
        event_active(&events[i], EV_TIMEOUT, 1);
    }
    int64_t start = bench_now();
    event_base_dispatch(libevent_base);
    bench_each(NULL, bench_now() - start, CALLS);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "ready", .rounds = 5, .parameters = {1000}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_ready}},
        {"libcoloop", {coloop_ready}},
        {"libcoloop, no handle", {coloop_ready_record}},
#ifdef BENCH_LIBUV
        {"libuv", {libuv_ready}},
#endif
#ifdef BENCH_LIBEV
        {"libev", {libev_ready}},
#endif
#ifdef BENCH_LIBEVENT
        {"libevent", {libevent_ready}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
