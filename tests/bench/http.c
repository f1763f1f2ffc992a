/* http.c: the hand-written server of files, for tests/bench/run.sh, which runs it beside
 * examples/httpd and nginx: GET requests for the files of a folder, one after the other, and
 * nothing else of HTTP.
 *
 *     http PORT          serves the current folder for ever */
#include "limit_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum { REQUEST_MAX = 4096 };

static int folder;

static bool send_file(int fd, struct limit_connection *c)
{
    while (c->offset < c->end)
        if (sendfile(fd, c->file, &c->offset, (size_t)(c->end - c->offset)) <= 0)
            return errno == EAGAIN;
    close(c->file);
    c->file = 0;
    return true;
}

static bool respond(int fd, struct limit_connection *c, const char *path)
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

static bool answer(int fd, struct limit_connection *c)
{
    if (c->file)
        return send_file(fd, c);
    if (!c->kept.data)
        c->kept.data = malloc(REQUEST_MAX);
    MUST(c->kept.data != NULL);
    ssize_t n = read(fd, c->kept.data + c->kept.size, REQUEST_MAX - 1 - c->kept.size);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    c->kept.size += (size_t)n;
    c->kept.data[c->kept.size] = '\0';
    if (!strstr(c->kept.data, "\r\n\r\n"))
        return c->kept.size < REQUEST_MAX - 1;
    char *path = strchr(c->kept.data, '/');
    char *space = path ? strchr(path, ' ') : NULL;
    if (!space)
        return false;
    *space = '\0';
    c->kept.size = 0;
    return respond(fd, c, path + 1);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    bench_pin(0);
    bench_raise_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    MUST((folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    limit_serve(atol(argv[1]), answer, true);
}
