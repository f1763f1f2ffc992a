/* libevent.c: the works that libevent knows: callbacks, timers, readiness, calls from threads,
 * echo. */
#include "bench.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct event_base *base;

static void open_base(void)
{
    MUST((base = event_base_new()) != NULL);
}

/* --- Ready callbacks -------------------------------------------------------------------------- */

static long calls_left;

static void call_again(evutil_socket_t fd, short what, void *event)
{
    (void)fd, (void)what;
    if (--calls_left > 0)
        event_active(event, EV_TIMEOUT, 1);
}

static void run_ready(long n)
{
    struct event *events = bench_alloc((size_t)n, sizeof *events);
    open_base();
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++) {
        event_assign(&events[i], base, -1, 0, call_again, &events[i]);
        event_active(&events[i], EV_TIMEOUT, 1);
    }
    int64_t start = bench_now();
    event_base_dispatch(base);
    bench_each(NULL, bench_now() - start, BENCH_CALLS);
}

/* --- Timers ----------------------------------------------------------------------------------- */

static struct event *timers;
static long expired;

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    expired++;
}

static void set_timer(long i, int64_t ns)
{
    struct timeval after = {ns / 1000000000, ns % 1000000000 / 1000};
    event_add(&timers[i], &after);
}

static void cancel_timer(long i)
{
    event_del(&timers[i]);
}

static void run_to_end(void)
{
    event_base_dispatch(base);
}

static void run_timers(long n)
{
    static const struct bench_timers ops = {set_timer, cancel_timer, run_to_end, &expired};
    timers = bench_alloc((size_t)n + 1, sizeof *timers);
    open_base();
    for (long i = 0; i <= n; i++)
        event_assign(&timers[i], base, -1, 0, on_timer, NULL);
    bench_timers(&ops, n);
}

/* --- Readiness -------------------------------------------------------------------------------- */

static void on_readable(evutil_socket_t fd, short what, void *number)
{
    (void)fd, (void)what;
    if (!bench_hop((long)(intptr_t)number))
        event_base_loopbreak(base);
}

static void run_pairs(long n)
{
    static struct event events[BENCH_PAIRS_MAX];
    bench_pairs_open(n);
    open_base();
    for (long i = 0; i < n; i++) {
        event_assign(&events[i], base, bench_readers[i], EV_READ | EV_PERSIST, on_readable,
                     (void *)(intptr_t)i);
        event_add(&events[i], NULL);
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    int64_t start = bench_now();
    bench_pairs_start();
    event_base_dispatch(base);
    bench_each(NULL, bench_now() - start, BENCH_EVENTS);
}

/* --- Calls from other threads: an active event says that there are some, the queue is ours ------
 */

static struct event wake;

static void post(void)
{
    bench_queue_push();
    event_active(&wake, EV_TIMEOUT, 1);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (bench_queue_run())
        event_base_loopbreak(base);
}

static void run_posts(void)
{
    event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static void run_post(long unused)
{
    (void)unused;
    MUST(evthread_use_pthreads() == 0);
    open_base();
    event_assign(&wake, base, -1, 0, on_wake, NULL);
    bench_threads(post, run_posts);
}

/* --- Echo with events ------------------------------------------------------------------------- */

struct connection {
    struct event event;
    int fd;
    size_t left;
    char *rest; /* of what could not be written at once */
};

static long alive;

static void one_less(void)
{
    if (--alive == 0)
        event_base_loopbreak(base);
}

static void end(struct connection *c)
{
    event_del(&c->event);
    close(c->fd);
    free(c->rest);
    free(c);
    one_less();
}

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void watch(struct connection *c, short what)
{
    event_del(&c->event);
    event_assign(&c->event, base, c->fd, (short)(what | EV_PERSIST), on_ready, c);
    event_add(&c->event, NULL);
}

/* Waits with reading until what is left has been written. */
static void write_some(struct connection *c, const char *data, size_t size)
{
    ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
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

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    static char data[BENCH_ECHO_MAX];
    struct connection *c = arg;
    if (what & EV_WRITE) {
        write_some(c, c->rest, c->left);
        return;
    }
    ssize_t n = read(fd, data, sizeof data);
    if (n > 0)
        write_some(c, data, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        end(c);
}

static void begin(int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    MUST(c != NULL);
    c->fd = fd;
    event_assign(&c->event, base, fd, EV_READ | EV_PERSIST, on_ready, c);
    event_add(&c->event, NULL);
}

/* --- Echo with buffers ------------------------------------------------------------------------ */

static void on_data(struct bufferevent *bev, void *arg)
{
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(bev), bufferevent_get_input(bev));
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
    (void)what, (void)arg;
    bufferevent_free(bev);
    one_less();
}

static void begin_buffered(int fd)
{
    struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    MUST(bev != NULL);
    bufferevent_setcb(bev, on_data, NULL, on_end, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void (*begin_connection)(int fd);

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
    int fd;
    (void)what, (void)arg;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench_tune(fd);
        begin_connection(fd);
        alive++;
    }
}

static void serve(long port)
{
    struct event event;
    if (!begin_connection)
        begin_connection = begin;
    open_base();
    event_assign(&event, base, bench_listen(port), EV_READ | EV_PERSIST, on_connection, NULL);
    event_add(&event, NULL);
    event_base_dispatch(base);
}

static void serve_buffered(long port)
{
    begin_connection = begin_buffered;
    serve(port);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"ready", NULL, run_ready, BENCH_READY},
        {"timers", NULL, run_timers, BENCH_TIMERS},
        {"pairs", NULL, run_pairs, BENCH_PAIRS},
        {"post", NULL, run_post, {0}},
        {"echo", NULL, serve, {-1}},
        {"echo-buffered", "bufferevent", serve_buffered, {-1}},
    };
    return bench_main(argc, argv, "libevent", works, sizeof works / sizeof *works);
}
