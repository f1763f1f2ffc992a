/* echo_client.c: starts an echo server, loads it from another core, and measures: the server's time
 * on the CPU for a request, how many it answers, and how long they take. A connection has one
 * message on its way at a time, and at most ACTIVE_MAX of them have any. For counting, the same
 * with a server that is started by a command, to which the port is appended:
 *
 *     --count N CONNECTIONS SERVER...    sends N messages of 64 bytes
 *     --spans N CONNECTIONS SERVER...    sends N of each size, and prints for each the size, how
 *                                        many there were, and when they began and ended (seconds
 *                                        since 1970) */
#include "echo.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WARM_MS = 50,
    MEASURE_MS = 200,
    MAX_MS = 1500,
    ACTIVE_MAX = 1000,  /* requests on their way at a time, by the connections in turn */
    PER_ADDRESS = 5000, /* connections from one of 127.0.0.2 and up, which have so many ports */
    START_MS = 20000,
    EVENTS = 256,
    BITS = 5, /* of a latency that are kept */
    BUCKETS = 64 << BITS,
};

enum { SIZES = 3 };
static const size_t sizes[SIZES] = {64, 4096, 65536};

struct connection {
    int fd;
    bool busy;
    size_t sent, received;
    int64_t began;
};

static struct connection *connections;
static long count, requests;
static int epoll;
static size_t size;
static bool stopping;
static long on_their_way;
static long buckets[BUCKETS];
static char data[ECHO_MAX];

/* --- Latencies: a histogram with buckets of equal relative width ------------------------------ */

static int bucket_of(int64_t ns)
{
    int shift = 0;
    while (ns >> shift >= 2 << BITS)
        shift++;
    return (shift << BITS) + (int)(ns >> shift);
}

static double value_of(int bucket)
{
    int shift = bucket < 2 << BITS ? 0 : (bucket >> BITS) - 1;
    return (double)((int64_t)(bucket - (shift << BITS)) << shift);
}

static double percentile(double part)
{
    long seen = 0, wanted = (long)((double)requests * part);
    int bucket = 0;
    while (bucket < BUCKETS - 1 && (seen += buckets[bucket]) <= wanted)
        bucket++;
    return value_of(bucket);
}

/* --- Connections ------------------------------------------------------------------------------ */

static struct sockaddr_in loopback(uint32_t host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(0x7f000000u + host);
    return address;
}

static int connect_from(uint32_t host, int port)
{
    struct sockaddr_in from = loopback(host, 0), to = loopback(1, port);
    struct linger at_once = {1, 0}; /* no port stays in TIME_WAIT */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    bench_tune(fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* The server may need a while to listen, and the first connection keeps it running. */
static void connect_all(int port, pid_t server)
{
    int64_t give_up = bench_now() + START_MS * INT64_C(1000000);
    for (long i = 0; i < count; i++) {
        int fd;
        while ((fd = connect_from(2 + (uint32_t)(i / PER_ADDRESS), port)) < 0) {
            struct timespec moment = {0, 2000000};
            MUST(i == 0 && bench_now() < give_up && waitpid(server, NULL, WNOHANG) == 0);
            nanosleep(&moment, NULL);
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
        event.data.ptr = &connections[i];
        connections[i] = (struct connection){.fd = fd, .sent = size};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    }
}

static void send_more(struct connection *c)
{
    while (c->sent < size) {
        ssize_t n = send(c->fd, data + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            MUST(errno == EAGAIN);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void begin(struct connection *c, int64_t now)
{
    c->busy = true;
    c->sent = c->received = 0;
    c->began = now;
    on_their_way++;
    send_more(c);
}

static struct connection *next_idle(void)
{
    static long cursor;
    do
        cursor = (cursor + 1) % count;
    while (connections[cursor].busy);
    return &connections[cursor];
}

/* The next request begins where the last one ended: the clock is read once for both. */
static void finish(struct connection *c)
{
    int64_t now = bench_now();
    buckets[bucket_of(now - c->began)]++;
    requests++;
    on_their_way--;
    c->busy = false;
    if (!stopping)
        begin(count > ACTIVE_MAX ? next_idle() : c, now);
}

static void receive(struct connection *c)
{
    static char reply[ECHO_MAX];
    while (c->received < size) {
        size_t left = size - c->received;
        ssize_t n = read(c->fd, reply, left);
        MUST(n > 0 || (n < 0 && errno == EAGAIN));
        if (n < 0)
            return;
        MUST(memcmp(reply, data + c->received, (size_t)n) == 0);
        c->received += (size_t)n;
        if (c->received < size && (size_t)n < left)
            return;
    }
    finish(c);
}

static void turn(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 1000);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->busy && c->sent < size)
            send_more(c);
        if (c->busy && events[i].events & EPOLLIN)
            receive(c);
    }
}

/* --- Measuring -------------------------------------------------------------------------------- */

static void begin_all(size_t bytes)
{
    size = bytes;
    stopping = false;
    int64_t now = bench_now();
    for (long i = 0; i < count && i < ACTIVE_MAX; i++)
        begin(&connections[i], now);
}

static void end_all(void)
{
    stopping = true;
    while (on_their_way)
        turn();
}

/* For so long, but until every connection has had at least so many requests on average. */
static void run_for(int ms, long each)
{
    int64_t start = bench_now(), end = start + ms * INT64_C(1000000);
    requests = 0;
    memset(buckets, 0, sizeof buckets);
    while (bench_now() < end ||
           (requests < each * count && bench_now() < start + MAX_MS * INT64_C(1000000)))
        turn();
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void result(const char *what, const char *unit, double value)
{
    char part[32];
    snprintf(part, sizeof part, "%s-%zu", what, size);
    bench_result(part, unit, value);
}

static void measure(pid_t server, size_t bytes)
{
    clockid_t clock;
    MUST(clock_getcpuclockid(server, &clock) == 0);
    begin_all(bytes);
    run_for(WARM_MS, 1);
    int64_t cpu = read_clock(clock), start = bench_now();
    run_for(MEASURE_MS, 2);
    int64_t took = bench_now() - start;
    cpu = read_clock(clock) - cpu;
    double n = (double)requests;
    MUST(requests > 0);
    result("cpu", "us", (double)cpu / 1e3 / n);
    result("rate", "1/s", n * 1e9 / (double)took);
    result("p50", "us", percentile(0.5) / 1e3);
    result("p99", "us", percentile(0.99) / 1e3);
    result("p999", "us", percentile(0.999) / 1e3);
    end_all();
}

static void count_out(size_t bytes, long n)
{
    requests = 0;
    begin_all(bytes);
    while (requests < n)
        turn();
    end_all();
}

/* What a connection does once is over then. */
static void warm_up(void)
{
    size = sizes[0];
    stopping = true;
    for (long i = 0; i < 2 * count; i++) {
        begin(&connections[i % count], bench_now());
        while (on_their_way == ACTIVE_MAX || (on_their_way && i == count - 1))
            turn();
    }
    end_all();
}

static double wall_time(void)
{
    return (double)read_clock(CLOCK_REALTIME) / 1e9;
}

static void span(size_t bytes, long n)
{
    double from = wall_time();
    count_out(bytes, n);
    printf("%zu\t%ld\t%.6f\t%.6f\n", bytes, requests, from, wall_time());
}

/* --- The server ------------------------------------------------------------------------------- */

static int free_port(void)
{
    struct sockaddr_in address = loopback(1, 0);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void execute(char **command, int port)
{
    size_t n = 0;
    char number[16];
    while (command[n])
        n++;
    char **with_port = calloc(n + 2, sizeof *with_port);
    MUST(with_port != NULL);
    memcpy(with_port, command, n * sizeof *command);
    snprintf(number, sizeof number, "%d", port);
    with_port[n] = number;
    execvp(with_port[0], with_port);
    perror(with_port[0]);
    _exit(127);
}

/* Before there is anything in the process that a server could find. No command: the contender. */
static pid_t start_server(char **command, int port)
{
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin(0);
    if (command)
        execute(command, port);
    bench_contend(port);
}

static pid_t open_all(long n, char **command)
{
    int port = free_port();
    pid_t server = start_server(command, port);
    bench_pin(1);
    count = n;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    connections = calloc((size_t)count, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    MUST(connections && epoll >= 0);
    connect_all(port, server);
    return server;
}

static void close_all(pid_t server)
{
    int status;
    for (long i = 0; i < count; i++)
        close(connections[i].fd);
    MUST(waitpid(server, &status, 0) == server);
    MUST(status == 0);
}

/* --- What echo.c calls ------------------------------------------------------------------------ */

void echo_measure(long n)
{
    pid_t server = open_all(n, NULL);
    for (size_t i = 0; i < SIZES; i++)
        measure(server, sizes[i]);
    close_all(server);
}

void echo_measure_small(long n)
{
    pid_t server = open_all(n, NULL);
    measure(server, sizes[0]);
    close_all(server);
}

int echo_count(char **arguments)
{
    bool spans = strcmp(arguments[0], "--spans") == 0;
    long n = atol(arguments[1]);
    bench_raise_fd_limit();
    pid_t server = open_all(atol(arguments[2]), arguments + 3);
    if (spans)
        warm_up();
    else
        count_out(sizes[0], n);
    for (size_t i = 0; spans && i < SIZES; i++)
        span(sizes[i], n);
    close_all(server);
    return 0;
}
