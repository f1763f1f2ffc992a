/* limit_net.c: the hand-written limits of servers: epoll, edge-triggered, no system call that is
 * not needed. */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 32768 };

struct connection {
    char *data; /* of what could not be written at once, or of a request that is not complete */
    size_t size;
    int file; /* that is being sent, up to `end`; or 0 */
    off_t offset, end;
};

static struct connection connections[FDS];
static int epoll, listener, alive;

/* Does what is possible; false if the connection has ended. */
typedef bool serve_fn(int fd, struct connection *connection);

static void add(int fd, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.fd = fd};
    MUST(fd < FDS && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void take_all(void)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench_tune(fd);
        add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        alive++;
    }
}

static void end(int fd, struct connection *connection)
{
    free(connection->data);
    if (connection->file)
        close(connection->file);
    *connection = (struct connection){0};
    close(fd);
    alive--;
}

/* For ever, or until the last connection has ended. */
static void serve(long port, serve_fn *fn, bool for_ever)
{
    struct epoll_event events[EVENTS];
    bool begun = false;
    listener = bench_listen(port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    add(listener, EPOLLIN);
    while (for_ever || !begun || alive > 0) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                take_all();
            else if (!fn(fd, &connections[fd]))
                end(fd, &connections[fd]);
        }
        begun = begun || alive;
    }
}

/* --- Echo ------------------------------------------------------------------------------------- */

/* Writes what it can, and keeps the rest: 1: all; 0: some is left; -1: the end. */
static int write_some(int fd, struct connection *connection, const char *data, size_t size)
{
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n == (ssize_t)size)
        return 1;
    if (n < 0 && errno != EAGAIN)
        return -1;
    size_t left = size - (n < 0 ? 0 : (size_t)n);
    if (!connection->data)
        connection->data = malloc(BENCH_ECHO_MAX);
    MUST(connection->data != NULL);
    memmove(connection->data, data + size - left, left);
    connection->size = left;
    return 0;
}

static bool echo_through(int fd, struct connection *connection, char data[BENCH_ECHO_MAX])
{
    if (connection->size) {
        size_t size = connection->size;
        connection->size = 0;
        int rc = write_some(fd, connection, connection->data, size);
        if (rc <= 0)
            return rc == 0;
    }
    for (;;) {
        ssize_t n = read(fd, data, BENCH_ECHO_MAX);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        int rc = write_some(fd, connection, data, (size_t)n);
        if (rc <= 0)
            return rc == 0;
        if ((size_t)n < BENCH_ECHO_MAX)
            return true; /* nothing is left, or there will be another event */
    }
}

/* All connections share a buffer, which stays in the cache. */
static bool echo(int fd, struct connection *connection)
{
    static char data[BENCH_ECHO_MAX];
    return echo_through(fd, connection, data);
}

void limit_echo(long port)
{
    serve(port, echo, false);
}

/* Each connection has its own, as in a task: the limit of that kind. */
static bool echo_apart(int fd, struct connection *connection)
{
    enum { STRIDE = BENCH_ECHO_MAX + 4096 + 64 }; /* so that they share few sets of the cache */
    static char *buffers;
    if (!buffers)
        buffers = mmap(NULL, (size_t)FDS * STRIDE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(buffers != MAP_FAILED);
    return echo_through(fd, connection, buffers + (size_t)fd * STRIDE);
}

void limit_echo_apart(long port)
{
    serve(port, echo_apart, false);
}

/* --- HTTP: GET requests for the files of a folder, one after the other -------------------------
 */

enum { REQUEST_MAX = 4096 };

static int folder;

static bool send_file(int fd, struct connection *c)
{
    while (c->offset < c->end)
        if (sendfile(fd, c->file, &c->offset, (size_t)(c->end - c->offset)) <= 0)
            return errno == EAGAIN;
    close(c->file);
    c->file = 0;
    return true;
}

static bool respond(int fd, struct connection *c, const char *path)
{
    char head[256];
    struct stat status;
    int file = openat(folder, path[0] ? path : "index.html", O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) < 0)
        return false;
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %lld\r\n\r\n",
                     (long long)status.st_size);
    c->file = file;
    c->offset = 0;
    c->end = status.st_size;
    return send(fd, head, (size_t)n, MSG_NOSIGNAL | MSG_MORE) == n && send_file(fd, c);
}

static bool answer(int fd, struct connection *c)
{
    if (c->file)
        return send_file(fd, c);
    if (!c->data)
        c->data = malloc(REQUEST_MAX);
    MUST(c->data != NULL);
    ssize_t n = read(fd, c->data + c->size, REQUEST_MAX - 1 - c->size);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    c->size += (size_t)n;
    c->data[c->size] = '\0';
    if (!strstr(c->data, "\r\n\r\n"))
        return c->size < REQUEST_MAX - 1;
    char *path = strchr(c->data, '/');
    char *space = path ? strchr(path, ' ') : NULL;
    if (!space)
        return false;
    *space = '\0';
    c->size = 0;
    return respond(fd, c, path + 1);
}

/* The folder is the current one. */
void limit_http(long port)
{
    signal(SIGPIPE, SIG_IGN);
    MUST((folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    serve(port, answer, true);
}
