/* load: a thousand clients in one thread, against httpd in another process.
 *
 *     load [-s HTTPD] [-f FOLDER] [-n CLIENTS] [-r REQUESTS]
 *
 * It starts the server on a folder (without -f one that it makes and removes), lets CLIENTS
 * coroutines send REQUESTS requests each, all at the same time, and checks every status and every
 * byte of every file. Some requests are wrong on purpose and must be refused. While they run it
 * shows how far they are, and once, when all clients are at work, what the loop is doing
 * (loop_dump). In the end the server is told to stop.
 *
 * It exits with 0 if all was as it should be. Each client is the straight line of `client` below:
 * connect, ask, read, compare, again; each request has a deadline. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load_site.h"
#include <coloop.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    REQUEST_MS = 10000, /* a request's deadline, its connection included */
    LIMIT_MS = 12000,   /* clients begin no request after that: on a slow machine less is done */
    TICK_MS = 500,
    DUMP_LINES = 24,
};

struct load {
    struct site site;
    size_t clients, requests; /* requests of each client */
    co_task_t *task;
    int64_t start_ns, end_ns;
    size_t connected, done, refused, errors;
    uint64_t bytes;
    uint32_t *latencies_us;
    size_t memory_before, memory_peak, tasks_peak;
    bool dumped;
};

struct client {
    struct load *load;
    uint64_t random;
    int fd; /* -1: not connected */
    bool was_connected;
    size_t used;
    char data[4096];
};

/* ---- What can be seen while it runs ---- */

/* Bytes of memory that are the process's own: mapped files do not count. */
static size_t own_memory(void)
{
    unsigned long resident = 0, shared = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm) {
        if (fscanf(statm, "%*s %lu %lu", &resident, &shared) != 2)
            resident = shared = 0;
        fclose(statm);
    }
    return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

static void measure(struct load *load)
{
    loop_stats_t stats;
    size_t memory = own_memory();
    loop_stats(loop_current(), &stats);
    load->tasks_peak = stats.tasks_peak;
    if (memory > load->memory_peak)
        load->memory_peak = memory;
}

/* Prints a line, without the folders of its source file and without what comes after the stack. */
static void print_line(char *line)
{
    char *path = strstr(line, " at /"), *name = path, *c, *spawned = strstr(line, "; spawned");
    if (spawned)
        *spawned = '\0';
    for (c = path ? path + 4 : line + strlen(line); *c && *c != ' '; c++)
        name = *c == '/' ? c + 1 : name;
    if (path)
        printf("    %.*s at %s\n", (int)(path - line), line, name);
    else
        printf("    %s\n", line);
}

/* Prints the first and the last lines of a long text. */
static void print_shortened(char *text)
{
    size_t lines = 0, number = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), number++) {
        if (lines <= DUMP_LINES || number < DUMP_LINES / 2 || number >= lines - DUMP_LINES / 2)
            print_line(line);
        else if (number == DUMP_LINES / 2)
            printf("    ... and %zu more ...\n", lines - DUMP_LINES);
    }
}

static void dump(void *arg)
{
    struct load *load = arg;
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    measure(load);
    if (!memory)
        return;
    loop_dump(loop_current(), memory);
    fclose(memory);
    printf("all %zu clients are connected; what the loop is doing (loop_dump):\n", load->connected);
    print_shortened(text);
    free(text);
}

static int show_progress(void *arg)
{
    struct load *load = arg;
    size_t total = load->clients * load->requests, before = 0;
    for (int tick = 1; co_sleep(TICK_MS) == 0; tick++) {
        measure(load);
        printf("%5.1f s  %6zu of %zu requests  %6zu per second  %6.0f MB\n",
               tick * TICK_MS / 1000.0, load->done, total, (load->done - before) * 1000 / TICK_MS,
               (double)load->bytes / 1e6);
        fflush(stdout);
        before = load->done;
    }
    return 0;
}

/* ---- A client ---- */

struct probe { /* a request that is no file's, and what it must be answered with */
    const char *head;
    size_t padding;
    const char *tail;
    int status;
    bool no_body;
};

static const struct probe probes[] = {
    {"HEAD / HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 200, true},
    {"GET / HTTP/1.0\r\n\r\n", 0, "", 200, false},
    {"GET /%zz HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 400, false},
    {"GET / HTTP/1.1\r\n\r\n", 0, "", 400, false},
    {"GET /../../etc/passwd HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 403, false},
    {"GET /%2e%2e/%2E%2E/etc/passwd HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 403, false},
    {"GET /no/such/file HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 404, false},
    {"DELETE / HTTP/1.1\r\nHost: load\r\n\r\n", 0, "", 405, false},
    {"GET /", 9000, " HTTP/1.1\r\nHost: load\r\n\r\n", 414, false},
    {"GET / HTTP/1.1\r\nHost: load\r\nX-Long: ", 17000, "\r\n\r\n", 431, false},
    {"GET / HTTP/3.0\r\nHost: load\r\n\r\n", 0, "", 505, false},
};

static unsigned pick(struct client *client, size_t n)
{
    client->random = client->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((client->random >> 33) % n);
}

/* A dropped connection is an error of ours to report with what it was about. */
static int broken(ssize_t n, const char *what)
{
    return n < 0 ? co_fail((int)n, "%s", what) : co_fail(-ECONNRESET, "%s: cut off", what);
}

struct reply {
    int status;
    size_t length;
    bool close;
};

/* Reads the head of a reply; what follows it stays in the buffer. */
static int read_reply(struct client *client, struct reply *reply)
{
    char *end = NULL, *field;
    while (!end) {
        size_t room = sizeof client->data - 1 - client->used;
        ssize_t n = co_read(client->fd, client->data + client->used, room);
        if (n <= 0)
            return broken(n, "reading a head");
        client->used += (size_t)n;
        client->data[client->used] = '\0';
        end = strstr(client->data, "\r\n\r\n");
    }
    end[2] = '\0';
    field = strstr(client->data, "\r\nContent-Length: ");
    reply->length = field ? strtoul(field + 18, NULL, 10) : 0;
    reply->close = strstr(client->data, "\r\nConnection: close\r\n") != NULL;
    if (sscanf(client->data, "HTTP/1.1 %d ", &reply->status) != 1)
        return co_fail(-EPROTO, "not a reply: %.40s", client->data);
    client->used -= (size_t)(end + 4 - client->data);
    memmove(client->data, end + 4, client->used);
    return 0;
}

/* Takes `length` bytes of body, first those in the buffer, and compares them with `expected`. */
static int read_body(struct client *client, const char *expected, size_t length, char *buffer,
                     size_t size)
{
    size_t at = client->used < length ? client->used : length;
    if (expected && memcmp(client->data, expected, at) != 0)
        return co_fail(-EBADMSG, "the first bytes differ");
    client->used -= at;
    memmove(client->data, client->data + at, client->used);
    while (at < length) {
        ssize_t n = co_read(client->fd, buffer, length - at < size ? length - at : size);
        if (n <= 0)
            return broken(n, "reading a body");
        if (expected && memcmp(buffer, expected + at, (size_t)n) != 0)
            return co_fail(-EBADMSG, "bytes %zu to %zu differ", at, at + (size_t)n);
        at += (size_t)n;
    }
    client->load->bytes += length;
    return 0;
}

/* A long body gets a large buffer while it is read: a client that waits should be small. */
static int take_body(struct client *client, const char *expected, size_t length)
{
    enum { LARGE = 64 * 1024 };
    char *large;
    int rc;
    if (length <= 2 * sizeof client->data)
        return read_body(client, expected, length, client->data, sizeof client->data);
    large = malloc(LARGE);
    if (!large)
        return co_fail(-ENOMEM, "no buffer");
    rc = read_body(client, expected, length, large, LARGE);
    free(large);
    return rc;
}

struct question { /* a request, and what must come back */
    const char *text;
    size_t size;
    int status;
    bool no_body;
    const char *expected; /* the body; NULL: any */
    size_t length;
};

/* Asks and checks the answer. *close tells whether the server is about to close the connection. */
static int ask(struct client *client, const struct question *question, bool *close)
{
    struct reply reply = {0};
    ssize_t n = co_write(client->fd, question->text, question->size);
    int rc;
    if (n < (ssize_t)question->size)
        return broken(n, "writing a request");
    rc = read_reply(client, &reply);
    if (rc < 0)
        return rc;
    *close = reply.close;
    if (reply.status != question->status)
        return co_fail(-EBADMSG, "status %d instead of %d for %.60s", reply.status,
                       question->status, question->text);
    if (question->expected && reply.length != question->length)
        return co_fail(-EBADMSG, "%zu bytes instead of %zu", reply.length, question->length);
    return question->no_body ? 0 : take_body(client, question->expected, reply.length);
}

/* Asks for a file, or now and then a part of it; for large files less often than for small ones. */
static int ask_file(struct client *client, bool *close)
{
    const struct site *site = &client->load->site;
    const struct file *file = &site->files[pick(client, site->count)];
    struct question question = {.status = 200};
    char text[MAX_URL + 100], range[64] = "";
    size_t first = 0;
    for (int again = 0; file->size > 1000000 && again < 32 && pick(client, 16) > 0; again++)
        file = &site->files[pick(client, site->count)];
    question.length = file->size;
    if (file->size > 0 && pick(client, 8) == 0) {
        first = pick(client, file->size);
        question.length = 1 + pick(client, file->size - first);
        question.status = 206;
        snprintf(range, sizeof range, "Range: bytes=%zu-%zu\r\n", first,
                 first + question.length - 1);
    }
    question.expected = file->data ? file->data + first : "";
    question.text = text;
    question.size = (size_t)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: load\r\n%s\r\n",
                                     file->url, range);
    return ask(client, &question, close);
}

static int ask_probe(struct client *client, bool *close)
{
    const struct probe *probe = &probes[pick(client, sizeof probes / sizeof probes[0])];
    size_t head = strlen(probe->head), tail = strlen(probe->tail);
    struct question question = {.status = probe->status, .no_body = probe->no_body};
    char *text = malloc(head + probe->padding + tail + 1);
    int rc;
    if (!text)
        return co_fail(-ENOMEM, "no memory for a request");
    memcpy(text, probe->head, head);
    memset(text + head, 'a', probe->padding);
    memcpy(text + head + probe->padding, probe->tail, tail + 1);
    question.text = text;
    question.size = head + probe->padding + tail;
    rc = ask(client, &question, close);
    free(text);
    client->load->refused += rc == 0 && probe->status >= 400;
    return rc;
}

static int connect_client(struct client *client)
{
    struct load *load = client->load;
    int fd = co_tcp_connect("127.0.0.1", load->site.port);
    if (fd < 0)
        return co_fail(fd, "connecting");
    client->fd = fd;
    client->used = 0;
    if (!client->was_connected && ++load->connected == load->clients)
        loop_call_soon(loop_current(), dump, load, NULL);
    client->was_connected = true;
    return 0;
}

static void disconnect(struct client *client)
{
    if (client->fd >= 0)
        co_close(client->fd);
    client->fd = -1;
}

static int send_request(struct client *client)
{
    bool close = false;
    int rc = client->fd < 0 ? connect_client(client) : 0;
    if (rc == 0)
        rc = pick(client, 25) == 0 ? ask_probe(client, &close) : ask_file(client, &close);
    if (rc < 0 || close)
        disconnect(client);
    return rc;
}

/* Prints what is known of the running task's failure, for the first of them. */
static void report_error(struct load *load, int rc)
{
    const co_error_t *error = co_task_error(co_self());
    if (load->errors++ < 10)
        printf("error: %s: %s\n", strerror(-rc), error && error->code == rc ? error->message : "");
}

static int run_client(void *arg)
{
    struct load *load = arg;
    uint64_t seed = co_task_id(co_self()) * UINT64_C(0x9e3779b97f4a7c15);
    struct client client = {.load = load, .random = seed ^ seed >> 29, .fd = -1};
    for (size_t i = 0; i < load->requests && now_ns() < load->end_ns; i++) {
        int64_t start = now_ns();
        int rc = -ETIMEDOUT;
        co_timeout(REQUEST_MS) rc = send_request(&client);
        if (rc < 0) {
            if (rc != -ECANCELED)
                report_error(load, rc);
            break;
        }
        load->latencies_us[load->done++] = (uint32_t)((now_ns() - start) / 1000);
    }
    disconnect(&client);
    return 0;
}

/* ---- The whole ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct load *load, int percent)
{
    return load->done ? load->latencies_us[(load->done - 1) * (size_t)percent / 100] / 1000.0 : 0;
}

static void print_summary(struct load *load)
{
    double seconds = (double)(now_ns() - load->start_ns) / 1e9;
    size_t memory = load->memory_peak - load->memory_before;
    qsort(load->latencies_us, load->done, sizeof *load->latencies_us, compare);
    printf("\nrequests  %zu in %.2f s, %.0f per second; %zu of them wrong, and refused\n",
           load->done, seconds, (double)load->done / seconds, load->refused);
    printf("errors    %zu\n", load->errors);
    printf("bytes     %.0f MB, %.0f MB per second, all compared with the files\n",
           (double)load->bytes / 1e6, (double)load->bytes / 1e6 / seconds);
    printf("latency   p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms\n", percentile(load, 50),
           percentile(load, 90), percentile(load, 99), percentile(load, 100));
    printf("memory    %.1f KB per coroutine, its buffers included (%.1f MB for %zu)\n",
           (double)memory / 1024 / (double)load->tasks_peak, (double)memory / 1e6,
           load->tasks_peak);
}

/* Runs all clients. Returns 0 if there was no error. */
static int run_clients(struct load *load)
{
    co_task_t **tasks = malloc(load->clients * sizeof *tasks), *progress;
    int rc;
    if (!tasks)
        return co_fail(-ENOMEM, "no memory for %zu handles", load->clients);
    load->memory_before = own_memory();
    load->start_ns = now_ns();
    load->end_ns = load->start_ns + LIMIT_MS * INT64_C(1000000);
    for (size_t i = 0; i < load->clients; i++)
        tasks[i] = co_spawn(run_client, load);
    progress = co_spawn(show_progress, load);
    rc = co_gather_tasks(tasks, load->clients);
    if (progress)
        co_task_cancel(progress);
    co_await_task(progress);
    free(tasks);
    if (rc < 0)
        return rc;
    print_summary(load);
    if (load->errors == 0 && load->done < load->clients * load->requests)
        printf("          (after %d s no more requests were sent)\n", LIMIT_MS / 1000);
    return load->errors ? co_fail(-EPROTO, "there were errors") : 0;
}

static int run(void *arg)
{
    struct load *load = arg;
    int rc = site_start(&load->site), stopped = 0;
    if (rc == 0)
        rc = run_clients(load);
    if (rc < 0)
        report_error(load, rc);
    co_shield() stopped = site_stop(&load->site); /* also when we were interrupted */
    if (stopped < 0)
        report_error(load, stopped);
    return rc < 0 ? rc : stopped;
}

static void on_signal(void *arg)
{
    struct load *load = arg;
    co_task_cancel(load->task);
}

static int run_loop(struct load *load)
{
    loop_t *loop = loop_new(NULL);
    int rc = -ENOMEM;
    if (!loop)
        return -errno;
    load->task = loop_spawn(loop, run, load);
    if (load->task) {
        loop_add_signal_handler(loop, SIGINT, on_signal, load);
        loop_add_signal_handler(loop, SIGTERM, on_signal, load);
        rc = loop_run_until(loop, load->task);
    }
    loop_close(loop);
    return rc;
}

/* A client needs a fd here and two in the server, which has the same limit. */
static void fit_clients(struct load *load)
{
    struct rlimit fds = {0};
    size_t most;
    getrlimit(RLIMIT_NOFILE, &fds);
    fds.rlim_cur = fds.rlim_max;
    setrlimit(RLIMIT_NOFILE, &fds);
    getrlimit(RLIMIT_NOFILE, &fds);
    most = fds.rlim_cur < 512 ? 16 : fds.rlim_cur > 20000 ? 9800 : (size_t)fds.rlim_cur / 2 - 200;
    if (load->clients > most) {
        printf("%zu clients instead of %zu: a process may have no more than %llu fds here\n", most,
               load->clients, (unsigned long long)fds.rlim_cur);
        load->clients = most;
    }
}

static bool parse_options(int argc, char **argv, struct load *load)
{
    for (int option; (option = getopt(argc, argv, "s:f:n:r:")) != -1;) {
        switch (option) {
        case 's': load->site.httpd = optarg; break;
        case 'f': load->site.folder = optarg; break;
        case 'n': load->clients = strtoul(optarg, NULL, 10); break;
        case 'r': load->requests = strtoul(optarg, NULL, 10); break;
        default: return false;
        }
    }
    return optind == argc && load->clients - 1 < 1000000 && load->requests - 1 < 1000000;
}

/* Without -s the server is expected beside this program. */
static const char *find_httpd(const char *self, char *path, size_t size)
{
    const char *slash = strrchr(self, '/');
    snprintf(path, size, "%.*s/httpd", slash ? (int)(slash - self) : 1, slash ? self : ".");
    return path;
}

int main(int argc, char **argv)
{
    static struct load load = {.clients = 1000, .requests = 120};
    char httpd[PATH_MAX];
    size_t size;
    int rc;
    if (!parse_options(argc, argv, &load)) {
        fputs("usage: load [-s HTTPD] [-f FOLDER] [-n CLIENTS] [-r REQUESTS]\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    fit_clients(&load);
    size = load.clients * load.requests * sizeof *load.latencies_us;
    load.latencies_us = malloc(size);
    if (!load.latencies_us)
        return 1;
    memset(load.latencies_us, 0xff, size); /* touched now: it is not the clients' memory */
    if (!load.site.httpd)
        load.site.httpd = find_httpd(argv[0], httpd, sizeof httpd);
    rc = site_prepare(&load.site);
    if (rc == 0)
        rc = run_loop(&load);
    site_remove(&load.site);
    free(load.latencies_us);
    printf("%s\n", rc ? strerror(-rc) : "everything was as expected");
    return rc != 0;
}
