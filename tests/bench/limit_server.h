/* limit_server.h: the least that a server can be: epoll, edge-triggered, and no system call that is
 * not needed. */
#ifndef BENCH_LIMIT_SERVER_H
#define BENCH_LIMIT_SERVER_H

#include "bench.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT_EVENTS = 256, LIMIT_FDS = 32768 };

struct kept {
    char *data;
    size_t size;
};

struct limit_connection {
    struct kept kept; /* of what could not be written at once, or of a request not yet complete */
    int file;         /* that is being sent, up to `end`; or 0 */
    off_t offset, end;
};

static struct limit_connection limit_connections[LIMIT_FDS];
static int limit_epoll, limit_listener, limit_alive;

/* Does what is possible; false if the connection has ended. */
typedef bool limit_serve_fn(int fd, struct limit_connection *connection);

static inline void limit_add(int fd, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.fd = fd};
    MUST(fd < LIMIT_FDS && epoll_ctl(limit_epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static inline void limit_take_all(void)
{
    int fd;
    while ((fd = accept4(limit_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench_tune(fd);
        limit_add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        limit_alive++;
    }
}

static inline void limit_end(int fd, struct limit_connection *connection)
{
    free(connection->kept.data);
    if (connection->file)
        close(connection->file);
    *connection = (struct limit_connection){0};
    close(fd);
    limit_alive--;
}

/* For ever, or until the last connection has ended. */
static inline void limit_serve(long port, limit_serve_fn *fn, bool for_ever)
{
    struct epoll_event events[LIMIT_EVENTS];
    bool begun = false;
    limit_listener = bench_listen(port);
    limit_epoll = epoll_create1(EPOLL_CLOEXEC);
    limit_add(limit_listener, EPOLLIN);
    while (for_ever || !begun || limit_alive > 0) {
        int n = epoll_wait(limit_epoll, events, LIMIT_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == limit_listener)
                limit_take_all();
            else if (!fn(fd, &limit_connections[fd]))
                limit_end(fd, &limit_connections[fd]);
        }
        begun = begun || limit_alive;
    }
}

#endif
