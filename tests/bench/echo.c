/* echo.c: servers that send back what comes over TCP, and the table of them; echo_client.c has the
 * client, and what is measured.
 *
 *     echo SERVER PORT                         only the server
 *     echo --servers                           their names
 *     echo --count N CONNECTIONS SERVER...     see echo_client.c; SERVER... is a command, to which
 *     echo --spans N CONNECTIONS SERVER...     the port is appended
 *
 * and as in bench.h. All send without delay (TCP_NODELAY), write what came at once, wait only when
 * that would block, and end with their last connection. Those in C read up to 64 KiB at a time, but
 * for libevent's buffers, which take less. A server of callbacks needs only one buffer, one of
 * tasks has one for each connection: the limit is there in both ways. libuv is there as it writes
 * by default, which allocates, and trying to write first, as the others do; libevent with events
 * and with its buffers. Go's and asyncio's are in go.go and asyncio_peer.py. */
#include "echo.h"
#include "limit_server.h"
#include "tasks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static long alive; /* connections */

/* Writes what it can, and keeps the rest: 1: all; 0: some is left; -1: the end. In place, as a call
 * would show in the instructions. */
static inline __attribute__((always_inline)) int write_some(int fd, struct kept *kept,
                                                            const char *data, size_t size)
{
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n == (ssize_t)size)
        return 1;
    if (n < 0 && errno != EAGAIN)
        return -1;
    size_t left = size - (n < 0 ? 0 : (size_t)n);
    if (!kept->data)
        kept->data = malloc(ECHO_MAX);
    MUST(kept->data != NULL);
    memmove(kept->data, data + size - left, left);
    kept->size = left;
    return 0;
}

/* --- Limit ------------------------------------------------------------------------------------ */

static bool limit_echo_through(int fd, struct limit_connection *connection, char data[ECHO_MAX])
{
    struct kept *kept = &connection->kept;
    if (kept->size) {
        size_t size = kept->size;
        kept->size = 0;
        int rc = write_some(fd, kept, kept->data, size);
        if (rc <= 0)
            return rc == 0;
    }
    for (;;) {
        ssize_t n = read(fd, data, ECHO_MAX);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        int rc = write_some(fd, kept, data, (size_t)n);
        if (rc <= 0)
            return rc == 0;
        if ((size_t)n < ECHO_MAX)
            return true; /* nothing is left, or there will be another event */
    }
}

/* All connections share a buffer, which stays in the cache. */
static bool limit_echo_shared(int fd, struct limit_connection *connection)
{
    static char data[ECHO_MAX];
    return limit_echo_through(fd, connection, data);
}

static void limit_echo(long port)
{
    limit_serve(port, limit_echo_shared, false);
}

/* Each connection has its own, as in a task: the limit of that kind. */
static bool limit_echo_apart(int fd, struct limit_connection *connection)
{
    enum { STRIDE = ECHO_MAX + 4096 + 64 }; /* so that they share few sets of the cache */
    static char *buffers;
    if (!buffers)
        buffers = mmap(NULL, (size_t)LIMIT_FDS * STRIDE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(buffers != MAP_FAILED);
    return limit_echo_through(fd, connection, buffers + (size_t)fd * STRIDE);
}

static void limit_echo_own(long port)
{
    limit_serve(port, limit_echo_apart, false);
}

/* --- libcoloop: as one writes it, a task for each connection ---------------------------------- */

static co_task_t *coloop_server;

static int coloop_echo_task(int fd, void *arg)
{
    char data[ECHO_MAX];
    ssize_t n;
    (void)arg;
    alive++;
    while ((n = co_read(fd, data, sizeof data)) > 0)
        if ((n = co_write(fd, data, (size_t)n)) < 0)
            break;
    if (--alive == 0)
        co_task_cancel(coloop_server);
    return (int)n;
}

static int coloop_serve(void *port)
{
    co_serve_options_t options = {.stack_size = ECHO_MAX + 16384};
    int fd = bench_listen(*(long *)port);
    coloop_server = co_self();
    int rc = co_serve(fd, coloop_echo_task, NULL, &options);
    co_close(fd);
    return rc;
}

static void coloop_echo(long port)
{
    MUST(co_run(coloop_serve, &port) == -ECANCELED);
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBUV
#include <uv.h>

struct libuv_reply {
    uv_write_t request;
    char data[];
};

static uv_loop_t *libuv_loop;
static uv_tcp_t libuv_listener;
static bool libuv_try_first; /* to write at once, without a request */

static void libuv_give_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    static char data[ECHO_MAX];
    (void)handle, (void)wanted;
    *buffer = uv_buf_init(data, sizeof data);
}

static void libuv_on_close(uv_handle_t *handle)
{
    free(handle);
    if (--alive == 0)
        uv_close((uv_handle_t *)&libuv_listener, NULL);
}

static void libuv_on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void libuv_write_later(uv_stream_t *stream, const char *data, size_t size)
{
    struct libuv_reply *reply = malloc(sizeof *reply + size);
    MUST(reply != NULL);
    memcpy(reply->data, data, size);
    uv_buf_t buffer = uv_buf_init(reply->data, (unsigned)size);
    uv_write(&reply->request, stream, &buffer, 1, libuv_on_written);
}

static void libuv_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    if (n < 0) {
        uv_close((uv_handle_t *)stream, libuv_on_close);
        return;
    }
    uv_buf_t reply = uv_buf_init(buffer->base, (unsigned)n);
    int written = libuv_try_first ? uv_try_write(stream, &reply, 1) : 0;
    written = written < 0 ? 0 : written;
    if (written < n)
        libuv_write_later(stream, buffer->base + written, (size_t)(n - written));
}

static void libuv_on_connection(uv_stream_t *server, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);
    MUST(status == 0 && client);
    uv_tcp_init(libuv_loop, client);
    MUST(uv_accept(server, (uv_stream_t *)client) == 0);
    uv_tcp_nodelay(client, 1);
    alive++;
    uv_read_start((uv_stream_t *)client, libuv_give_buffer, libuv_on_read);
}

static void libuv_echo(long port)
{
    MUST((libuv_loop = uv_default_loop()) != NULL);
    uv_tcp_init(libuv_loop, &libuv_listener);
    MUST(uv_tcp_open(&libuv_listener, bench_listen(port)) == 0);
    MUST(uv_listen((uv_stream_t *)&libuv_listener, 4096, libuv_on_connection) == 0);
    uv_run(libuv_loop, UV_RUN_DEFAULT);
}

static void libuv_echo_trying(long port)
{
    libuv_try_first = true;
    libuv_echo(port);
}
#endif

/* --- libev ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBEV
#include <ev.h>

struct libev_connection {
    ev_io io;         /* first: the watcher is the connection */
    struct kept kept; /* of what could not be written at once */
};

static struct ev_loop *libev_loop;
static ev_io libev_listener;

static void libev_end(struct libev_connection *c)
{
    ev_io_stop(libev_loop, &c->io);
    close(c->io.fd);
    free(c->kept.data);
    free(c);
    if (--alive == 0)
        ev_break(libev_loop, EVBREAK_ALL);
}

static void libev_watch(struct libev_connection *c, int events)
{
    ev_io_stop(libev_loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(libev_loop, &c->io);
}

/* Waits with reading until what is left has been written. */
static void libev_write(struct libev_connection *c, const char *data, size_t size)
{
    bool waited = c->kept.size > 0;
    c->kept.size = 0;
    int rc = write_some(c->io.fd, &c->kept, data, size);
    if (rc < 0)
        libev_end(c);
    else if (waited != (rc == 0))
        libev_watch(c, rc == 0 ? EV_WRITE : EV_READ);
}

static void libev_on_ready(struct ev_loop *l, ev_io *io, int events)
{
    static char data[ECHO_MAX];
    struct libev_connection *c = (struct libev_connection *)io;
    (void)l;
    if (events & EV_WRITE) {
        libev_write(c, c->kept.data, c->kept.size);
        return;
    }
    ssize_t n = read(io->fd, data, sizeof data);
    if (n > 0)
        libev_write(c, data, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        libev_end(c);
}

static void libev_on_connection(struct ev_loop *l, ev_io *io, int events)
{
    int fd;
    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct libev_connection *c = calloc(1, sizeof *c);
        MUST(c != NULL);
        bench_tune(fd);
        ev_io_init(&c->io, libev_on_ready, fd, EV_READ);
        ev_io_start(l, &c->io);
        alive++;
    }
}

static void libev_echo(long port)
{
    MUST((libev_loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
    ev_io_init(&libev_listener, libev_on_connection, bench_listen(port), EV_READ);
    ev_io_start(libev_loop, &libev_listener);
    ev_run(libev_loop, 0);
}
#endif

/* --- libevent, with events -------------------------------------------------------------------- */

#ifdef BENCH_LIBEVENT
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>

struct libevent_connection {
    struct event event;
    int fd;
    struct kept kept; /* of what could not be written at once */
};

static struct event_base *libevent_base;

static void libevent_one_less(void)
{
    if (--alive == 0)
        event_base_loopbreak(libevent_base);
}

static void libevent_end(struct libevent_connection *c)
{
    event_del(&c->event);
    close(c->fd);
    free(c->kept.data);
    free(c);
    libevent_one_less();
}

static void libevent_on_ready(evutil_socket_t fd, short what, void *arg);

static void libevent_watch(struct libevent_connection *c, short what)
{
    event_del(&c->event);
    event_assign(&c->event, libevent_base, c->fd, (short)(what | EV_PERSIST), libevent_on_ready, c);
    event_add(&c->event, NULL);
}

/* Waits with reading until what is left has been written. */
static void libevent_write(struct libevent_connection *c, const char *data, size_t size)
{
    bool waited = c->kept.size > 0;
    c->kept.size = 0;
    int rc = write_some(c->fd, &c->kept, data, size);
    if (rc < 0)
        libevent_end(c);
    else if (waited != (rc == 0))
        libevent_watch(c, rc == 0 ? EV_WRITE : EV_READ);
}

static void libevent_on_ready(evutil_socket_t fd, short what, void *arg)
{
    static char data[ECHO_MAX];
    struct libevent_connection *c = arg;
    if (what & EV_WRITE) {
        libevent_write(c, c->kept.data, c->kept.size);
        return;
    }
    ssize_t n = read(fd, data, sizeof data);
    if (n > 0)
        libevent_write(c, data, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        libevent_end(c);
}

static void libevent_begin(int fd)
{
    struct libevent_connection *c = calloc(1, sizeof *c);
    MUST(c != NULL);
    c->fd = fd;
    event_assign(&c->event, libevent_base, fd, EV_READ | EV_PERSIST, libevent_on_ready, c);
    event_add(&c->event, NULL);
}

/* --- libevent, with buffers ------------------------------------------------------------------- */

static void libevent_on_data(struct bufferevent *bev, void *arg)
{
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(bev), bufferevent_get_input(bev));
}

static void libevent_on_end(struct bufferevent *bev, short what, void *arg)
{
    (void)what, (void)arg;
    bufferevent_free(bev);
    libevent_one_less();
}

static void libevent_begin_buffered(int fd)
{
    struct bufferevent *bev = bufferevent_socket_new(libevent_base, fd, BEV_OPT_CLOSE_ON_FREE);
    MUST(bev != NULL);
    bufferevent_setcb(bev, libevent_on_data, NULL, libevent_on_end, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void (*libevent_begin_connection)(int fd) = libevent_begin;

static void libevent_on_connection(evutil_socket_t listener, short what, void *arg)
{
    int fd;
    (void)what, (void)arg;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench_tune(fd);
        libevent_begin_connection(fd);
        alive++;
    }
}

static void libevent_echo(long port)
{
    struct event event;
    MUST((libevent_base = event_base_new()) != NULL);
    event_assign(&event, libevent_base, bench_listen(port), EV_READ | EV_PERSIST,
                 libevent_on_connection, NULL);
    event_add(&event, NULL);
    event_base_dispatch(libevent_base);
}

static void libevent_echo_buffered(long port)
{
    libevent_begin_connection = libevent_begin_buffered;
    libevent_echo(port);
}
#endif

/* --- State Threads ---------------------------------------------------------------------------- */

#ifdef BENCH_ST
static void *statethreads_echo_task(void *fd)
{
    char *data = malloc(ECHO_MAX);
    ssize_t n;
    MUST(data != NULL);
    while ((n = st_read(fd, data, ECHO_MAX, ST_UTIME_NO_TIMEOUT)) > 0)
        if (st_write(fd, data, (size_t)n, ST_UTIME_NO_TIMEOUT) != n)
            break;
    free(data);
    st_netfd_close(fd);
    if (--alive == 0)
        exit(0);
    return NULL;
}

static void statethreads_echo(long port)
{
    statethreads_begin();
    st_netfd_t listener = st_netfd_open_socket(bench_listen(port));
    for (;;) {
        st_netfd_t fd = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT);
        MUST(fd != NULL);
        bench_tune(st_netfd_fileno(fd));
        alive++;
        statethreads_start(statethreads_echo_task, fd, false);
    }
}
#endif

static const struct bench_contender servers[] = {
    {"limit", {limit_echo}},
    {"limit, own buffers", {limit_echo_own}},
    {"libcoloop", {coloop_echo}},
#ifdef BENCH_LIBUV
    {"libuv, try_write", {libuv_echo_trying}},
    {"libuv, write", {libuv_echo}},
#endif
#ifdef BENCH_LIBEV
    {"libev", {libev_echo}},
#endif
#ifdef BENCH_LIBEVENT
    {"libevent", {libevent_echo}},
    {"libevent, bufferevent", {libevent_echo_buffered}},
#endif
#ifdef BENCH_ST
    {"State Threads", {statethreads_echo}},
#endif
    {0},
};

/* Small messages are where the servers differ least: more rounds. */
static const struct bench_work works[] = {
    {.name = "echo", .rounds = 3, .parameters = {100, 1000, 10000}, .measure = echo_measure},
    {.name = "echo", .rounds = 4, .parameters = {100, 1000}, .measure = echo_measure_small},
    {0},
};

static int list(void)
{
    for (const struct bench_contender *server = servers; server->name; server++)
        puts(server->name);
    return 0;
}

static int serve(const char *name, long port)
{
    bench_pin(0);
    bench_raise_fd_limit();
    for (const struct bench_contender *server = servers; server->name; server++)
        if (strcmp(server->name, name) == 0) {
            server->run[0](port);
            return 0;
        }
    return 2;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--servers") == 0)
        return list();
    if (argc > 4 && strncmp(argv[1], "--", 2) == 0)
        return echo_count(argv + 1);
    if (argc == 3 && atol(argv[2]) > 0)
        return serve(argv[1], atol(argv[2]));
    return bench_main(argc, argv, works, servers);
}
