/* Holds a great many idle connections to a web server while others are served.
 *     idle PORT [CONNECTIONS [REQUESTS]]
 * Connections come from 127.0.0.2 and further addresses, as one address has too few ports. */
#include <coloop.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { PER_ADDRESS = 5000, IN_PARALLEL = 50, GUARD_MS = 10000 };

static int port, served;

static struct sockaddr_in loopback(uint32_t host, int at_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)at_port)};
    address.sin_addr.s_addr = htonl(0x7f000000u + host);
    return address;
}

static int connect_from(uint32_t host)
{
    struct sockaddr_in from = loopback(host, 0), to = loopback(1, port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), rc = -1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) < 0 || co_adopt(fd) < 0)
        return -errno;
    co_timeout(GUARD_MS) rc = co_connect(fd, (struct sockaddr *)&to, sizeof to);
    if (rc < 0)
        co_close(fd);
    return rc < 0 ? rc : fd;
}

static int fetch(void *arg)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    char reply[4096] = "";
    ssize_t n = 0;
    int fd = connect_from(1);
    (void)arg;
    if (fd < 0)
        return fd;
    co_timeout(GUARD_MS) n = co_write(fd, request, sizeof request - 1);
    if (n > 0)
        co_timeout(GUARD_MS) n = co_read(fd, reply, sizeof reply - 1);
    served += n > 12 && memcmp(reply, "HTTP/1.1 200", 12) == 0;
    co_close(fd);
    return n < 0 ? (int)n : 0;
}

static int fetch_many(int requests)
{
    int rc = 0;
    for (int done = 0; done < requests && rc == 0; done += IN_PARALLEL) {
        co_task_t *tasks[IN_PARALLEL];
        for (int i = 0; i < IN_PARALLEL; i++)
            tasks[i] = co_spawn(fetch, NULL);
        rc = co_gather_tasks(tasks, IN_PARALLEL);
    }
    return rc;
}

/* How many of the idle ones are still open: the server has sent nothing and not hung up. */
static int count_open(const int *fds, int n)
{
    int open = 0;
    for (int i = 0; i < n; i++) {
        char byte;
        open += recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    }
    return open;
}

static int run(void *arg)
{
    char **args = arg;
    int n = args[2] ? atoi(args[2]) : 10000, requests = args[2] && args[3] ? atoi(args[3]) : 1000;
    int *fds = calloc((size_t)n, sizeof *fds), made = 0, rc = 0;
    co_defer(free, fds);
    for (; made < n && rc >= 0; made += rc >= 0)
        rc = fds[made] = connect_from(2 + (uint32_t)(made / PER_ADDRESS));
    printf("%d idle connections%s%s\n", made, rc < 0 ? ", then: " : "",
           rc < 0 ? strerror(-rc) : "");
    rc = fetch_many(requests);
    int open = count_open(fds, made);
    printf("%d of %d requests served meanwhile; %d idle connections still open\n", served, requests,
           open);
    for (int i = 0; i < made; i++)
        co_close(fds[i]);
    return rc < 0 ? rc : served == requests && open == n ? 0 : -EPROTO;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    if (argc < 2)
        return 2;
    port = atoi(argv[1]);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return co_run(run, argv) < 0;
}
