/* httpd: serves the files of a folder over HTTP/1.1.
 *
 *     httpd [-a ADDRESS] [-p PORT] [-c CONNECTIONS] [-t SECONDS] [-q] FOLDER
 *
 * Each connection is a coroutine that reads like the protocol: wait for a request, read its head,
 * answer, again. What is a straight line here would be a table of states in a server of
 * callbacks, and a deadline is a block around the lines that it is for.
 *
 *     await_request    between two requests: may end at any time, nothing is lost
 *     read_head        from the first byte on there is a deadline for the whole head: 408
 *     answer           which file, and which part of it: 200, 206, 301, 304, 4xx
 *     send_response    no deadline for the whole, but the client must make progress
 *
 * 1. What was read and not yet used stays in the connection's buffer: the next request of a
 *    pipeline.
 * 2. A connection is on the server's idle list exactly while it is inside its `idle` scope. A
 *    server that is asked to stop cancels these scopes, and lets all other connections finish.
 * 3. A response that cannot be finished as it was announced ends its connection.
 *
 * SIGINT or SIGTERM stops the server gently: it takes no more connections, closes the idle ones
 * and gives running responses half a minute. A second signal stops it at once. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "http_folder.h"
#include "http_log.h"
#include "http_parse.h"
#include "http_response.h"
#include <arpa/inet.h>
#include <coloop.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<linux/sockios.h>)
#include <linux/sockios.h>
#endif
#ifndef MSG_MORE
#define MSG_MORE 0
#endif

enum {
    SPARE = 64,             /* connections beyond the limit that are told so, at a time */
    GRACE_MS = 30000,       /* for running responses when the server stops */
    LINGER_MS = 1000,       /* how long we listen to a client after our last word */
    PIECE = 256 * 1024,     /* of a large file; then other connections have their turn */
    SMALL_BODY = 64 * 1024, /* a request's body is read and dropped up to here */
    SMALL_HEAD = 1024,      /* most requests' heads: what each connection has room for */
};

struct connection;

struct server {
    const char *address, *folder_name;
    int port;
    int64_t patience_ms; /* how long a client may be silent */
    size_t limit, active;
    bool quiet, stopping;
    int folder, listener;
    loop_t *loop;
    co_task_t *task;         /* borrowed; NULL when it no longer serves */
    struct connection *idle; /* the list of those between two requests */
    struct http_log log;
};

struct connection {
    struct server *server;
    int fd;
    char *data; /* `size` bytes, `used` of them filled: what was read and not yet answered */
    size_t size, used;
    char small[SMALL_HEAD]; /* data, until a head is larger */
    struct text head; /* of the response; its memory serves the next one too */
    int64_t sent;     /* of its body */
    struct timespec started;
    char peer[INET6_ADDRSTRLEN];
    co_scope_t idle;
    struct connection *idle_next, **idle_link; /* while on the idle list */
};

/* ---- Sending a response ---- */

/* Bytes the client's system has not acknowledged; always 0 where the system does not tell. */
static int unacknowledged(int fd)
{
    int bytes = 0;
#ifdef SIOCOUTQ
    if (ioctl(fd, SIOCOUTQ, &bytes) < 0)
        return 0;
#else
    (void)fd;
#endif
    return bytes;
}

/* Waits until the socket takes more. A slow client may need longer than our patience to make a
 * third of the socket's buffer free, which is when it counts as writable; it has stalled if it
 * takes nothing. */
static int await_room(const struct connection *c)
{
    int before = unacknowledged(c->fd);
    for (;;) {
        int now, rc = -ECANCELED;
        co_timeout(c->server->patience_ms) rc = co_await_fd(c->fd, CO_WRITE);
        if (rc != -ETIMEDOUT)
            return rc;
        now = unacknowledged(c->fd);
        if (now >= before)
            return -ETIMEDOUT;
        before = now;
    }
}

/* Sends the response's part of its file. Others have their turn even if the client takes it all. */
static int send_file(struct connection *c, const struct http_response *response)
{
    off_t offset = response->offset;
    while (c->sent < response->length) {
        int64_t rest = response->length - c->sent;
        size_t size = rest < PIECE ? (size_t)rest : PIECE;
        ssize_t n = folder_send(c->fd, response->file, &offset, size);
        int rc;
        if (n == 0)
            return -EIO; /* the file has shrunk */
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        if (n > 0)
            c->sent += n;
        rc = n > 0 ? co_yield_now() : await_room(c);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* False: the connection is of no more use. */
static bool send_response(struct connection *c, const struct http_response *response)
{
    bool file = response->with_body && response->file >= 0;
    struct iovec parts[2];
    ssize_t n = -ETIMEDOUT;

    response_write_head(response, &c->head);
    if (c->head.failed || response->body.failed || response->location.failed)
        return false;
    parts[0] = (struct iovec){c->head.data, c->head.size};
    parts[1] = (struct iovec){response->body.data, response->with_body ? response->body.size : 0};
    co_timeout(c->server->patience_ms) {
        if (file)
            n = co_send(c->fd, c->head.data, c->head.size, MSG_MORE);
        else
            n = co_writev(c->fd, parts, 2);
    }
    if (n < (ssize_t)c->head.size)
        return false;
    c->sent = n - (ssize_t)c->head.size;
    return file ? send_file(c, response) == 0 : c->sent == (ssize_t)parts[1].iov_len;
}

/* Ends a connection on our side and lets the client read in peace: to close while bytes of it are
 * unread would reset the connection, and the response might be lost with it. */
static void linger(const struct connection *c)
{
    shutdown(c->fd, SHUT_WR);
    co_timeout(LINGER_MS) {
        while (co_read(c->fd, c->data, c->size) > 0)
            continue;
    }
}

static void log_response(const struct connection *c, const struct http_request *request,
                         const struct http_response *response)
{
    struct http_slice first = request->line;
    struct text line = {0};
    struct timespec now;
    struct tm tm;
    char date[32] = "";
    time_t seconds = time(NULL);

    if (c->server->quiet)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (gmtime_r(&seconds, &tm))
        strftime(date, sizeof date, "%d/%b/%Y:%H:%M:%S +0000", &tm);
    text_printf(&line, "%s - - [%s] \"", c->peer, date);
    text_add_quoted(&line, first.data, first.size < 256 ? first.size : 256);
    text_printf(&line, "\" %d %lld %.1fms\n", response->status, (long long)c->sent,
                (double)(now.tv_sec - c->started.tv_sec) * 1e3 +
                    (double)(now.tv_nsec - c->started.tv_nsec) / 1e6);
    if (!line.failed)
        log_line(&c->server->log, line.data, line.size);
    text_free(&line);
}

/* ---- A connection ---- */

static void enter_idle(struct connection *c)
{
    co_scope_enter(&c->idle, c->server->patience_ms);
    c->idle_next = c->server->idle;
    c->idle_link = &c->server->idle;
    if (c->idle_next)
        c->idle_next->idle_link = &c->idle_next;
    c->server->idle = c;
}

static void leave_idle(struct connection *c)
{
    *c->idle_link = c->idle_next;
    if (c->idle_next)
        c->idle_next->idle_link = c->idle_link;
    co_scope_leave(&c->idle);
}

/* Makes room for the largest head that we take. False without memory. */
static bool make_room(struct connection *c)
{
    char *data = c->size < HTTP_HEAD_MAX ? malloc(HTTP_HEAD_MAX) : NULL;
    if (!data)
        return false;
    memcpy(data, c->data, c->used);
    c->data = data;
    c->size = HTTP_HEAD_MAX;
    return true;
}

/* When nothing is in it. */
static void give_room_back(struct connection *c)
{
    if (c->data != c->small)
        free(c->data);
    c->data = c->small;
    c->size = sizeof c->small;
}

/* Waits for the first bytes of a request. False: there is none. A server that is stopping does not
 * wait, but what has already come is still answered. */
static bool await_request(struct connection *c)
{
    ssize_t n = -ECANCELED;
    if (c->used > 0)
        return true;
    give_room_back(c);
    if (!c->server->stopping) {
        enter_idle(c);
        n = co_read(c->fd, c->data, c->size);
        leave_idle(c);
    }
    if (n == -ECANCELED)
        co_timeout(0) n = co_read(c->fd, c->data, c->size);
    if (n > 0)
        c->used = (size_t)n;
    return n > 0;
}

/* Returns the length of the request's head, a status (negative) to refuse it with, or 0: the
 * client left. */
static int read_head(struct connection *c, struct http_request *request)
{
    int head = http_parse(c->data, c->used, request);
    ssize_t n = 1;
    co_timeout(c->server->patience_ms) {
        while (head == 0 && n > 0) {
            if (c->used == c->size && !make_room(c))
                return -503;
            n = co_read(c->fd, c->data + c->used, c->size - c->used);
            if (n > 0) {
                c->used += (size_t)n;
                head = http_parse(c->data, c->used, request);
            }
        }
    }
    return head == 0 && n == -ETIMEDOUT ? -408 : head;
}

/* Reads and drops the request's body, so that the next request comes to stand behind the head.
 * False if that cannot be: it is long, of unknown length, or the client waits for our consent to
 * send it. */
static bool drop_body(struct connection *c, const struct http_request *request, size_t head)
{
    size_t here = c->used - head;
    int64_t rest = request->body;
    if (rest < 0 || rest > SMALL_BODY || (rest > 0 && request->expects))
        return false;
    if ((int64_t)here > rest)
        here = (size_t)rest;
    rest -= (int64_t)here;
    c->used -= here;
    memmove(c->data + head, c->data + head + here, c->used - head);
    co_timeout(c->server->patience_ms) {
        while (rest > 0) {
            char scrap[1024];
            ssize_t n = co_read(c->fd, scrap, rest < 1024 ? (size_t)rest : sizeof scrap);
            if (n <= 0)
                return false;
            rest -= n;
        }
    }
    return true;
}

/* Answers a request, or refuses it with a status, and logs it. False: the connection is done. */
static bool respond(struct connection *c, const struct http_request *request, bool keep, int status)
{
    struct http_response response = {.keep = keep, .with_body = true, .file = -1};
    bool sent;

    c->sent = 0;
    if (status)
        response_set_status(&response, status);
    else
        response_answer(&response, c->server->folder, request);
    sent = send_response(c, &response);
    log_response(c, request, &response);
    response_free(&response);
    if (sent && !response.keep)
        linger(c);
    return sent && response.keep;
}

/* One request and its response. False: the connection is to be closed. */
static bool serve_request(struct connection *c)
{
    struct http_request request;
    bool keep;
    int head;

    if (!await_request(c))
        return false;
    clock_gettime(CLOCK_MONOTONIC, &c->started);
    head = read_head(c, &request);
    if (head <= 0)
        return head < 0 && respond(c, &request, false, -head);
    keep = drop_body(c, &request, (size_t)head) && request.keep_alive && !c->server->stopping;
    if (!respond(c, &request, keep, 0))
        return false;
    c->used -= (size_t)head;
    memmove(c->data, c->data + head, c->used);
    return true;
}

static void find_peer(int fd, char peer[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    const void *bytes = &((struct sockaddr_in *)&address)->sin_addr;
    strcpy(peer, "-");
    if (getpeername(fd, (struct sockaddr *)&address, &size) < 0)
        return;
    if (address.ss_family == AF_INET6)
        bytes = &((struct sockaddr_in6 *)&address)->sin6_addr;
    inet_ntop(address.ss_family, bytes, peer, INET6_ADDRSTRLEN);
}

/* co_serve runs this for each connection. It would leave those beyond its limit in the listening
 * queue, without a word; so it is given a somewhat higher limit than ours, and the spare ones
 * only say 503. */
static int connection(int fd, void *arg)
{
    struct server *server = arg;
    struct connection c;

    c.server = server;
    c.fd = fd;
    c.data = c.small;
    c.size = sizeof c.small;
    c.used = 0;
    c.head = (struct text){0};
    find_peer(fd, c.peer);
    if (server->active < server->limit) {
        server->active++;
        while (serve_request(&c))
            continue;
        server->active--;
    } else {
        clock_gettime(CLOCK_MONOTONIC, &c.started);
        respond(&c, &(struct http_request){.line = {"", 0}}, false, 503);
    }
    give_room_back(&c);
    text_free(&c.head);
    return 0;
}

/* ---- The server ---- */

static int serve(void *arg)
{
    struct server *server = arg;
    co_serve_options_t options = {.limit = server->limit + SPARE, .grace_ms = GRACE_MS};
    int rc = co_serve(server->listener, connection, server, &options);
    server->task = NULL;
    if (server->stopping)
        return 0;
    co_close(server->listener);
    return rc;
}

static void on_signal(void *arg)
{
    struct server *server = arg;
    if (server->stopping) {
        loop_stop(server->loop);
        return;
    }
    server->stopping = true;
    if (!server->task)
        return;
    co_task_cancel(server->task);
    co_close(server->listener); /* clients that come now are to know at once */
    for (struct connection *c = server->idle; c; c = c->idle_next)
        co_scope_cancel(&c->idle);
}

/* As many connections as there are fds for: each needs one for itself and one for a file. */
static size_t find_limit(void)
{
    struct rlimit fds;
    rlim_t limit;
    if (getrlimit(RLIMIT_NOFILE, &fds) < 0)
        return 256;
    fds.rlim_cur = fds.rlim_max;
    setrlimit(RLIMIT_NOFILE, &fds);
    getrlimit(RLIMIT_NOFILE, &fds);
    limit = fds.rlim_cur / 2;
    return limit <= 2 * SPARE ? 16 : limit > 10000 ? 10000 : (size_t)limit - SPARE;
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "httpd: %s: %s\n", what, strerror(-error));
    return 1;
}

/* Returns the exit status. */
static int run(struct server *server)
{
    co_task_t *task = loop_spawn(server->loop, serve, server);
    int rc, cut;
    server->task = task;
    loop_add_signal_handler(server->loop, SIGINT, on_signal, server);
    loop_add_signal_handler(server->loop, SIGTERM, on_signal, server);
    rc = loop_run_until(server->loop, task);
    if (rc == -EINTR) {
        co_task_release(task);
        cut = loop_close(server->loop);
        fprintf(stderr, "httpd: stopped at once, %d tasks cut off\n", cut);
        return 1;
    }
    loop_run(server->loop); /* the log may have lines left */
    loop_close(server->loop);
    return rc < 0 ? fail("serving", rc) : 0;
}

static int start(struct server *server)
{
    bool v6 = strchr(server->address, ':') != NULL;
    char place[100];
    int rc;

    signal(SIGPIPE, SIG_IGN); /* sendfile has no flag to keep it from raising one */
    server->folder = open(server->folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server->folder < 0)
        return fail(server->folder_name, -errno);
    server->loop = loop_new(NULL);
    if (!server->loop)
        return fail("starting a loop", -errno);
    server->listener = co_tcp_listen(server->address, server->port, 0);
    if (server->listener < 0) {
        snprintf(place, sizeof place, "%s, port %d", server->address, server->port);
        return fail(place, server->listener);
    }
    printf("listening on http://%s%s%s:%d/\n", v6 ? "[" : "", server->address, v6 ? "]" : "",
           co_port(server->listener));
    fflush(stdout);
    rc = run(server);
    close(server->folder);
    return rc;
}

/* A whole number from min to max, or -1. */
static int64_t number_option(const char *text, int64_t min, int64_t max)
{
    int64_t number = http_number((struct http_slice){text, strlen(text)});
    return number < min || number > max ? -1 : number;
}

static bool parse_options(int argc, char **argv, struct server *server)
{
    int64_t port = 8080, limit = (int64_t)find_limit(), seconds = 30;
    for (int option; (option = getopt(argc, argv, "a:p:c:t:q")) != -1;) {
        switch (option) {
        case 'a': server->address = optarg; break;
        case 'p': port = number_option(optarg, 0, 65535); break;
        case 'c': limit = number_option(optarg, 1, 1000000); break;
        case 't': seconds = number_option(optarg, 1, 86400); break;
        case 'q': server->quiet = true; break;
        default: return false;
        }
    }
    if (port < 0 || limit < 0 || seconds < 0 || optind != argc - 1)
        return false;
    server->port = (int)port;
    server->limit = (size_t)limit;
    server->patience_ms = seconds * 1000;
    server->folder_name = argv[optind];
    return true;
}

int main(int argc, char **argv)
{
    static struct server server = {.address = "127.0.0.1"};
    if (!parse_options(argc, argv, &server)) {
        fputs("usage: httpd [-a ADDRESS] [-p PORT] [-c CONNECTIONS] [-t SECONDS] [-q] FOLDER\n",
              stderr);
        return 2;
    }
    return start(&server);
}
