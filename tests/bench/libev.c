/* libev.c: the works that libev knows: callbacks, timers, readiness, calls from threads, echo. */
#include "bench.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct ev_loop *loop;

static void open_loop(void)
{
    MUST((loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
}

/* --- Ready callbacks: idle watchers run once a pass --------------------------------------------
 */

static long calls_left;

static void on_idle(struct ev_loop *l, ev_idle *watcher, int events)
{
    (void)watcher, (void)events;
    if (--calls_left <= 0)
        ev_break(l, EVBREAK_ALL);
}

static void run_ready(long n)
{
    ev_idle *watchers = bench_alloc((size_t)n, sizeof *watchers);
    open_loop();
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++) {
        ev_idle_init(&watchers[i], on_idle);
        ev_idle_start(loop, &watchers[i]);
    }
    int64_t start = bench_now();
    ev_run(loop, 0);
    bench_each(NULL, bench_now() - start, BENCH_CALLS);
}

/* --- Timers ----------------------------------------------------------------------------------- */

static ev_timer *timers;
static long expired;

static void on_timer(struct ev_loop *l, ev_timer *timer, int events)
{
    (void)l, (void)timer, (void)events;
    expired++;
}

static void set_timer(long i, int64_t ns)
{
    ev_timer_set(&timers[i], (double)ns / 1e9, 0.);
    ev_timer_start(loop, &timers[i]);
}

static void cancel_timer(long i)
{
    ev_timer_stop(loop, &timers[i]);
}

static void run_to_end(void)
{
    ev_run(loop, 0);
}

static void run_timers(long n)
{
    static const struct bench_timers ops = {set_timer, cancel_timer, run_to_end, &expired};
    timers = bench_alloc((size_t)n + 1, sizeof *timers);
    open_loop();
    for (long i = 0; i <= n; i++)
        ev_init(&timers[i], on_timer);
    bench_timers(&ops, n);
}

/* --- Readiness -------------------------------------------------------------------------------- */

static ev_io ios[BENCH_PAIRS_MAX];

static void on_pair(struct ev_loop *l, ev_io *io, int events)
{
    (void)events;
    if (!bench_hop(io - ios))
        ev_break(l, EVBREAK_ALL);
}

static void run_pairs(long n)
{
    bench_pairs_open(n);
    open_loop();
    for (long i = 0; i < n; i++) {
        ev_io_init(&ios[i], on_pair, bench_readers[i], EV_READ);
        ev_io_start(loop, &ios[i]);
    }
    ev_run(loop, EVRUN_NOWAIT);
    int64_t start = bench_now();
    bench_pairs_start();
    ev_run(loop, 0);
    bench_each(NULL, bench_now() - start, BENCH_EVENTS);
}

/* --- Calls from other threads: an async watcher says that there are some, the queue is ours -----
 */

static ev_async async;

static void post(void)
{
    bench_queue_push();
    ev_async_send(loop, &async);
}

static void on_async(struct ev_loop *l, ev_async *watcher, int events)
{
    (void)watcher, (void)events;
    if (bench_queue_run())
        ev_break(l, EVBREAK_ALL);
}

static void run_post(long unused)
{
    (void)unused;
    open_loop();
    ev_async_init(&async, on_async);
    ev_async_start(loop, &async);
    bench_threads(post, run_to_end);
}

/* --- Echo ------------------------------------------------------------------------------------- */

struct connection {
    ev_io io; /* first: the watcher is the connection */
    size_t left;
    char *rest; /* of what could not be written at once */
};

static ev_io listener;
static long alive;

static void end(struct connection *c)
{
    ev_io_stop(loop, &c->io);
    close(c->io.fd);
    free(c->rest);
    free(c);
    if (--alive == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void watch(struct connection *c, int events)
{
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
}

/* Waits with reading until what is left has been written. */
static void write_some(struct connection *c, const char *data, size_t size)
{
    ssize_t n = send(c->io.fd, data, size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        end(c);
        return;
    }
    bool waited = c->left > 0;
    c->left = size - (n < 0 ? 0 : (size_t)n);
    if (c->left) {
        if (!c->rest)
            c->rest = malloc(BENCH_ECHO_MAX);
        MUST(c->rest != NULL);
        memmove(c->rest, data + size - c->left, c->left);
    }
    if (waited != (c->left > 0))
        watch(c, c->left ? EV_WRITE : EV_READ);
}

static void on_ready(struct ev_loop *l, ev_io *io, int events)
{
    static char data[BENCH_ECHO_MAX];
    struct connection *c = (struct connection *)io;
    (void)l;
    if (events & EV_WRITE) {
        write_some(c, c->rest, c->left);
        return;
    }
    ssize_t n = read(io->fd, data, sizeof data);
    if (n > 0)
        write_some(c, data, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        end(c);
}

static void on_connection(struct ev_loop *l, ev_io *io, int events)
{
    int fd;
    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        MUST(c != NULL);
        bench_tune(fd);
        ev_io_init(&c->io, on_ready, fd, EV_READ);
        ev_io_start(l, &c->io);
        alive++;
    }
}

static void serve(long port)
{
    open_loop();
    ev_io_init(&listener, on_connection, bench_listen(port), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"ready", NULL, run_ready, BENCH_READY},
        {"timers", NULL, run_timers, BENCH_TIMERS},
        {"pairs", NULL, run_pairs, BENCH_PAIRS},
        {"post", NULL, run_post, {0}},
        {"echo", NULL, serve, {-1}},
    };
    return bench_main(argc, argv, "libev", works, sizeof works / sizeof *works);
}
