/* libuv.c: the works that libuv knows: callbacks, timers, readiness, calls from threads, echo. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static uv_loop_t *loop;

static void open_loop(void)
{
    MUST((loop = uv_default_loop()) != NULL);
}

/* --- Ready callbacks: idle handles run once a pass ---------------------------------------------
 */

static long calls_left;

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
    if (--calls_left <= 0)
        uv_stop(loop);
}

static void run_ready(long n)
{
    uv_idle_t *handles = bench_alloc((size_t)n, sizeof *handles);
    open_loop();
    calls_left = BENCH_CALLS;
    for (long i = 0; i < n; i++) {
        uv_idle_init(loop, &handles[i]);
        uv_idle_start(&handles[i], on_idle);
    }
    int64_t start = bench_now();
    uv_run(loop, UV_RUN_DEFAULT);
    bench_each(NULL, bench_now() - start, BENCH_CALLS);
}

/* --- Timers ----------------------------------------------------------------------------------- */

static uv_timer_t *timers;
static long expired;

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
    expired++;
}

static void set_timer(long i, int64_t ns)
{
    uv_timer_start(&timers[i], on_timer, (uint64_t)(ns / 1000000), 0);
}

static void cancel_timer(long i)
{
    uv_timer_stop(&timers[i]);
}

static void run_to_end(void)
{
    uv_update_time(loop);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void run_timers(long n)
{
    static const struct bench_timers ops = {set_timer, cancel_timer, run_to_end, &expired};
    timers = bench_alloc((size_t)n + 1, sizeof *timers);
    open_loop();
    for (long i = 0; i <= n; i++)
        uv_timer_init(loop, &timers[i]);
    bench_timers(&ops, n);
}

/* --- Readiness -------------------------------------------------------------------------------- */

static uv_poll_t polls[BENCH_PAIRS_MAX];

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    MUST(status == 0);
    if (!bench_hop(poll - polls))
        uv_stop(loop);
}

static void run_pairs(long n)
{
    bench_pairs_open(n);
    open_loop();
    for (long i = 0; i < n; i++) {
        uv_poll_init(loop, &polls[i], bench_readers[i]);
        uv_poll_start(&polls[i], UV_READABLE, on_readable);
    }
    uv_run(loop, UV_RUN_NOWAIT);
    int64_t start = bench_now();
    bench_pairs_start();
    uv_run(loop, UV_RUN_DEFAULT);
    bench_each(NULL, bench_now() - start, BENCH_EVENTS);
}

/* --- Calls from other threads: an async handle says that there are some, the queue is ours ------
 */

static uv_async_t async;

static void post(void)
{
    bench_queue_push();
    uv_async_send(&async);
}

static void on_async(uv_async_t *handle)
{
    (void)handle;
    if (bench_queue_run())
        uv_stop(loop);
}

static void run_posts(void)
{
    uv_run(loop, UV_RUN_DEFAULT);
}

static void run_post(long unused)
{
    (void)unused;
    open_loop();
    uv_async_init(loop, &async, on_async);
    bench_threads(post, run_posts);
}

/* --- Echo ------------------------------------------------------------------------------------- */

struct reply {
    uv_write_t request;
    char data[];
};

static uv_tcp_t listener;
static long alive;
static bool try_first; /* to write at once, without a request */

static void give_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    static char data[BENCH_ECHO_MAX];
    (void)handle, (void)wanted;
    *buffer = uv_buf_init(data, sizeof data);
}

static void on_close(uv_handle_t *handle)
{
    free(handle);
    if (--alive == 0)
        uv_close((uv_handle_t *)&listener, NULL);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void write_later(uv_stream_t *stream, const char *data, size_t size)
{
    struct reply *reply = malloc(sizeof *reply + size);
    MUST(reply != NULL);
    memcpy(reply->data, data, size);
    uv_buf_t buffer = uv_buf_init(reply->data, (unsigned)size);
    uv_write(&reply->request, stream, &buffer, 1, on_written);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    uv_buf_t reply = uv_buf_init(buffer->base, (unsigned)n);
    int written = try_first ? uv_try_write(stream, &reply, 1) : 0;
    written = written < 0 ? 0 : written;
    if (written < n)
        write_later(stream, buffer->base + written, (size_t)(n - written));
}

static void on_connection(uv_stream_t *server, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);
    MUST(status == 0 && client);
    uv_tcp_init(loop, client);
    MUST(uv_accept(server, (uv_stream_t *)client) == 0);
    uv_tcp_nodelay(client, 1);
    alive++;
    uv_read_start((uv_stream_t *)client, give_buffer, on_read);
}

static void serve(long port)
{
    open_loop();
    uv_tcp_init(loop, &listener);
    MUST(uv_tcp_open(&listener, bench_listen(port)) == 0);
    MUST(uv_listen((uv_stream_t *)&listener, 4096, on_connection) == 0);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void serve_trying(long port)
{
    try_first = true;
    serve(port);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"ready", NULL, run_ready, BENCH_READY},   {"timers", NULL, run_timers, BENCH_TIMERS},
        {"pairs", NULL, run_pairs, BENCH_PAIRS},   {"post", NULL, run_post, {0}},
        {"echo", "try_write", serve_trying, {-1}}, {"echo-write", "write", serve, {-1}},
    };
    return bench_main(argc, argv, "libuv", works, sizeof works / sizeof *works);
}
