/* serve.c: co_serve: a task for each connection.
 *
 * The server's state lives on the stack of the task that called co_serve, which outlives every
 * connection: it returns only when the list of connections is empty; only if it is ended by force
 * are connections left, which then forget it. Whoever ends a connection wakes the server, if it is
 * waiting for that: below the limit, out of fds, or at the end. */
#include "base/alloc.h"
#include "io/core.h"

#include <coloop/net.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { OUT_OF_FDS_MS = 100 };

struct server {
    co_task_t *task;
    co_serve_fn *handler;
    void *arg;
    co_serve_options_t options;
    const char *name, *where;
    struct list connections;
    size_t count;
    struct co__wait *waiting; /* the server's, for a connection to end */
};

struct connection {
    struct coloop__link link;
    struct server *server; /* NULL once that was ended by force, while its loop closed */
    co_serve_fn *handler;
    void *arg;
    co_task_t *task;
    int fd;
};

static void wake_server(struct server *server)
{
    struct co__wait *wait = server->waiting;
    server->waiting = NULL;
    if (wait)
        co__wake(wait, 0);
}

static void end_connection(void *arg)
{
    struct connection *connection = arg;
    struct server *server = connection->server;
    co_close(connection->fd);
    if (server) {
        list_remove(&connection->link);
        server->count--;
        wake_server(server);
    }
    coloop__free(connection);
}

static void detach_connections(void *arg)
{
    struct server *server = arg;
    for (struct coloop__link *link; (link = list_pop_front(&server->connections));)
        container_of(link, struct connection, link)->server = NULL;
}

static int call_handler(void *arg)
{
    struct connection *connection = arg;
    return connection->handler(connection->fd, connection->arg);
}

/* A peer that left is an ordinary event, and no failure that anybody should hear of. */
static int run_connection(void *arg)
{
    struct connection *connection = arg;
    co_defer(end_connection, connection);
    int rc = co_try(call_handler, connection);
    return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

static int start_connection(struct server *server, int fd)
{
    co_spawn_options_t options = {.name = server->name, .stack_size = server->options.stack_size};
    struct connection *connection = coloop__zalloc(sizeof *connection);
    if (!connection)
        return -ENOMEM;
    connection->server = server;
    connection->handler = server->handler;
    connection->arg = server->arg;
    connection->fd = fd;
    connection->task =
        co_spawn_here(NULL, &options, server->name, run_connection, connection, server->where);
    if (!connection->task) {
        coloop__free(connection);
        return -errno;
    }
    list_push_back(&server->connections, &connection->link);
    server->count++;
    co_task_release(connection->task);
    return 0;
}

/* --- Waiting for connections to end ----------------------------------------------------------- */

struct end_waiter {
    struct co__wait wait;
    struct server *server;
};

static void undo_wait(struct co__wait *wait)
{
    container_of(wait, struct end_waiter, wait)->server->waiting = NULL;
}

/* Waits until some connection ends. */
static int await_end(struct server *server)
{
    struct end_waiter waiter = {{.task = server->task, .undo = undo_wait}, server};
    int rc = co__check(server->task);
    if (rc < 0)
        return rc;
    server->waiting = &waiter.wait;
    co__reason(server->task, "co_serve, for a connection to end", server->where, CO__OBJECT);
    return co__park(server->task, &waiter.wait);
}

/* Out of fds, memory or stacks: somebody has to end, or the system to recover. Without memory for
 * the deadline that waits for the latter, only the former is waited for, or others are let run; and
 * if it is a deadline around co_serve that finds none, that is the end: -ENOMEM. */
static int recover(struct server *server)
{
    co_task_t *task = server->task;
    int rc = 0;
    co_timeout(OUT_OF_FDS_MS) rc = await_end(server);
    if (rc == -ENOMEM && (rc = co__arm_scopes(task)) == 0) {
        if (server->count)
            rc = await_end(server);
        else
            co__take_a_turn(task, &task->reason);
    }
    return rc == -ENOMEM ? rc : task->interrupt;
}

static void cancel_all(struct server *server)
{
    list_for_each (link, &server->connections)
        co_task_cancel(container_of(link, struct connection, link)->task);
}

static void await_all(struct server *server)
{
    while (server->count && await_end(server) == 0)
        ;
}

/* Without memory for its deadline there is no grace. */
static void wind_up(struct server *server)
{
    co_shield()
    {
        co_timeout(server->options.grace_ms) await_all(server);
        while (server->count) {
            cancel_all(server);
            await_all(server);
        }
    }
}

/* --- Accepting -------------------------------------------------------------------------------- */

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
           error == -EAGAIN;
}

static int accept_one(struct server *server, int fd)
{
    if (server->options.limit && server->count >= server->options.limit)
        return await_end(server);
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    int connection = co_accept_here(fd, (struct sockaddr *)&peer, &length, server->where), on = 1;
    if (connection < 0)
        return connection;
    if (peer.ss_family == AF_INET || peer.ss_family == AF_INET6)
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int rc = start_connection(server, connection);
    if (rc < 0)
        co_close(connection);
    return rc;
}

int co_serve_here(int fd, co_serve_fn *handler, void *arg, const co_serve_options_t *options,
                  const char *name, const char *where)
{
    if (!co__current)
        return -EPERM;
    struct server server = {
        .task = co__current, .handler = handler, .arg = arg, .name = name, .where = where};
    list_init(&server.connections);
    if (options)
        server.options = *options;
    co_defer(detach_connections, &server);
    int rc;
    do {
        rc = accept_one(&server, fd);
        if (is_shortage(rc) && !server.task->interrupt)
            rc = recover(&server);
    } while (rc >= 0);
    wind_up(&server);
    return rc;
}
