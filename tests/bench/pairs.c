/* pairs.c: so many pairs of sockets are watched, 100 of which have something to read at a time.
 *
 * Whose turn it is reads the byte and sends it to the next pair; what is measured is an event with
 * its read and its write. All watch with epoll, level-triggered, but for libcoloop's tasks: each of
 * those reads from its pair until nothing is left, as one writes it, with fds of the loop's own,
 * and that costs it a read more. */
#include "bench.h"

#include <coloop.h>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 9000
#define ACTIVE 100
#define EVENTS 100000

/* --- The pairs -------------------------------------------------------------------------------- */

static int readers[PAIRS_MAX], writers[PAIRS_MAX];
static long pairs, hops, sent;

static void open_pairs(long n)
{
    pairs = n;
    for (long i = 0; i < n; i++) {
        int fds[2];
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
        readers[i] = fds[0];
        writers[i] = fds[1];
    }
}

static void send_to(long i)
{
    MUST(write(writers[i], "x", 1) == 1);
    sent++;
}

static void start_pairs(void)
{
    for (long i = 0; i < ACTIVE; i++)
        send_to(i * (pairs / ACTIVE));
}

/* The i-th is readable. False: that was the last event. */
static bool hop(long i)
{
    char byte;
    MUST(read(readers[i], &byte, 1) == 1);
    if (sent < EVENTS)
        send_to((i + 1) % pairs);
    return ++hops < EVENTS;
}

/* --- Limit ------------------------------------------------------------------------------------ */

static void limit_pairs(long n)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    bool more = true;
    open_pairs(n);
    for (uint32_t i = 0; (long)i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, readers[i], &event) == 0);
    }
    int64_t start = bench_now();
    start_pairs();
    while (more) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++)
            more = hop(events[i].data.u32);
    }
    bench_each(NULL, bench_now() - start, EVENTS);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static loop_t *coloop_loop;

static void coloop_on_readable(void *number)
{
    if (!hop((long)(intptr_t)number))
        loop_stop(coloop_loop);
}

static void coloop_run(void)
{
    int64_t start = bench_now();
    start_pairs();
    MUST(loop_run(coloop_loop) == 1);
    bench_each(NULL, bench_now() - start, EVENTS);
}

static void coloop_pairs(long n)
{
    open_pairs(n);
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    for (long i = 0; i < n; i++)
        MUST(loop_add_reader(coloop_loop, readers[i], coloop_on_readable, (void *)(intptr_t)i) ==
             0);
    loop_run_once(coloop_loop, 0);
    coloop_run();
}

static int coloop_hop_on(void *number)
{
    long i = (long)(intptr_t)number;
    char byte;
    while (co_read(readers[i], &byte, 1) == 1) {
        if (hops < EVENTS - ACTIVE)
            MUST(co_write(writers[(i + 1) % pairs], &byte, 1) == 1);
        if (++hops == EVENTS)
            loop_stop(coloop_loop);
    }
    return 0;
}

/* A task for each pair, on fds of the loop's own. */
static void coloop_pairs_tasks(long n)
{
    open_pairs(n);
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    for (long i = 0; i < n; i++) {
        MUST(co_adopt(readers[i]) == 0 && co_adopt(writers[i]) == 0);
        co_task_release(loop_spawn(coloop_loop, coloop_hop_on, (void *)(intptr_t)i));
    }
    loop_run_once(coloop_loop, 0);
    coloop_run();
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBUV
#include <uv.h>

static uv_loop_t *libuv_loop;
static uv_poll_t libuv_polls[PAIRS_MAX];

static void libuv_on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    MUST(status == 0);
    if (!hop(poll - libuv_polls))
        uv_stop(libuv_loop);
}

static void libuv_pairs(long n)
{
    open_pairs(n);
    MUST((libuv_loop = uv_default_loop()) != NULL);
    for (long i = 0; i < n; i++) {
        uv_poll_init(libuv_loop, &libuv_polls[i], readers[i]);
        uv_poll_start(&libuv_polls[i], UV_READABLE, libuv_on_readable);
    }
    uv_run(libuv_loop, UV_RUN_NOWAIT);
    int64_t start = bench_now();
    start_pairs();
    uv_run(libuv_loop, UV_RUN_DEFAULT);
    bench_each(NULL, bench_now() - start, EVENTS);
}
#endif

/* --- libev ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBEV
#include <ev.h>

static struct ev_loop *libev_loop;
static ev_io libev_ios[PAIRS_MAX];

static void libev_on_readable(struct ev_loop *l, ev_io *io, int events)
{
    (void)events;
    if (!hop(io - libev_ios))
        ev_break(l, EVBREAK_ALL);
}

static void libev_pairs(long n)
{
    open_pairs(n);
    MUST((libev_loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
    for (long i = 0; i < n; i++) {
        ev_io_init(&libev_ios[i], libev_on_readable, readers[i], EV_READ);
        ev_io_start(libev_loop, &libev_ios[i]);
    }
    ev_run(libev_loop, EVRUN_NOWAIT);
    int64_t start = bench_now();
    start_pairs();
    ev_run(libev_loop, 0);
    bench_each(NULL, bench_now() - start, EVENTS);
}
#endif

/* --- libevent --------------------------------------------------------------------------------- */

#ifdef BENCH_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>

static struct event_base *libevent_base;

static void libevent_on_readable(evutil_socket_t fd, short what, void *number)
{
    (void)fd, (void)what;
    if (!hop((long)(intptr_t)number))
        event_base_loopbreak(libevent_base);
}

static void libevent_pairs(long n)
{
    static struct event events[PAIRS_MAX];
    open_pairs(n);
    MUST((libevent_base = event_base_new()) != NULL);
    for (long i = 0; i < n; i++) {
        event_assign(&events[i], libevent_base, readers[i], EV_READ | EV_PERSIST,
                     libevent_on_readable, (void *)(intptr_t)i);
        event_add(&events[i], NULL);
    }
    event_base_loop(libevent_base, EVLOOP_NONBLOCK);
    int64_t start = bench_now();
    start_pairs();
    event_base_dispatch(libevent_base);
    bench_each(NULL, bench_now() - start, EVENTS);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "pairs", .rounds = 5, .parameters = {1000, PAIRS_MAX}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_pairs}},
        {"libcoloop", {coloop_pairs}},
        {"libcoloop, tasks", {coloop_pairs_tasks}},
#ifdef BENCH_LIBUV
        {"libuv", {libuv_pairs}},
#endif
#ifdef BENCH_LIBEV
        {"libev", {libev_pairs}},
#endif
#ifdef BENCH_LIBEVENT
        {"libevent", {libevent_pairs}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
