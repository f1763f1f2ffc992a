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
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 32768 };

struct connection {
    char *data; /* of what could not be written at once, or of a request that is not complete */
    size_t size, done;
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
    *connection = (struct connection){0};
    close(fd);
    alive--;
}

/* Until the last connection has ended. */
static void serve(long port, serve_fn *fn)
{
    struct epoll_event events[EVENTS];
    bool begun = false;
    listener = bench_listen(port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    add(listener, EPOLLIN);
    while (!begun || alive > 0) {
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

static bool echo(int fd, struct connection *connection)
{
    static char data[BENCH_ECHO_MAX];
    if (connection->size) {
        size_t size = connection->size;
        connection->size = 0;
        int rc = write_some(fd, connection, connection->data, size);
        if (rc <= 0)
            return rc == 0;
    }
    for (;;) {
        ssize_t n = read(fd, data, sizeof data);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        int rc = write_some(fd, connection, data, (size_t)n);
        if (rc <= 0)
            return rc == 0;
        if ((size_t)n < sizeof data)
            return true; /* nothing is left, or there will be another event */
    }
}

void limit_echo(long port)
{
    serve(port, echo);
}

/* --- HTTP: GET requests for the files of a folder, which fit into the socket's buffer ----------
 */

enum { REQUEST_MAX = 4096 };

static int folder;

static bool respond(int fd, const char *path)
{
    char head[256];
    struct stat status;
    off_t offset = 0;
    int file = openat(folder, path[0] ? path : "index.html", O_RDONLY | O_CLOEXEC);
    bool found = file >= 0 && fstat(file, &status) == 0;
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %lld\r\n\r\n",
                     found ? "200 OK" : "404 Not Found", found ? (long long)status.st_size : 0);
    bool ok = send(fd, head, (size_t)n, MSG_NOSIGNAL | (found ? MSG_MORE : 0)) == n;
    while (ok && found && offset < status.st_size)
        ok = sendfile(fd, file, &offset, (size_t)(status.st_size - offset)) > 0;
    if (file >= 0)
        close(file);
    return ok;
}

static bool answer(int fd, struct connection *connection)
{
    if (!connection->data)
        connection->data = malloc(REQUEST_MAX);
    MUST(connection->data != NULL);
    ssize_t n = read(fd, connection->data + connection->done, REQUEST_MAX - 1 - connection->done);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    connection->done += (size_t)n;
    connection->data[connection->done] = '\0';
    if (!strstr(connection->data, "\r\n\r\n"))
        return connection->done < REQUEST_MAX - 1;
    char *path = strchr(connection->data, '/');
    char *space = path ? strchr(path, ' ') : NULL;
    if (!space)
        return false;
    *space = '\0';
    connection->done = 0;
    return respond(fd, path + 1);
}

/* The folder is the current one. */
void limit_http(long port)
{
    signal(SIGPIPE, SIG_IGN);
    MUST((folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    serve(port, answer);
}
