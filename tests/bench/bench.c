/* bench.c: see bench.h. */
#include "bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_MAX = 60 };

uint32_t bench_seed = 1;

static struct {
    const struct bench_work *work;
    const char *contender, *command; /* the command of one in another language, or NULL */
    void (*run)(long parameter);
    long parameter;
} now;

int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Begins a line that says what went wrong. */
static void name_it(void)
{
    fprintf(stderr, "%s: %s %ld: ", now.contender ? now.contender : "bench",
            now.work ? now.work->name : "", now.parameter);
}

void bench_must(bool ok, const char *what)
{
    if (ok)
        return;
    const char *error = strerror(errno);
    name_it();
    fprintf(stderr, "failed: %s (errno: %s)\n", what, error);
    exit(1);
}

void bench_result(const char *part, const char *unit, double value)
{
    printf("%s%s%s\t%s\t%ld\t%s\t%.6g\n", now.work->name, part ? "-" : "", part ? part : "",
           now.contender, now.parameter, unit, value);
}

void bench_each(const char *part, int64_t ns, long n)
{
    bench_result(part, "ns", (double)ns / (double)n);
}

void bench_pin(int n)
{
    static cpu_set_t allowed; /* at the first call */
    cpu_set_t one;
    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return;
    n %= CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

void bench_raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void *bench_alloc(size_t n, size_t size)
{
    void *memory = malloc(n * size);
    MUST(memory != NULL);
    for (size_t at = 0; at < n * size; at += 1024)
        ((volatile char *)memory)[at] = 1;
    return memset(memory, 0, n * size);
}

/* --- In turn ---------------------------------------------------------------------------------- */

static const struct bench_work *works;
static const struct bench_contender *contenders;
static const char *wanted; /* the only contender, or NULL */
static char **others;      /* names, with their commands behind the 0 */
static pid_t measuring;

static void give_up(int signal)
{
    (void)signal;
    kill(measuring, SIGKILL);
}

void bench_contend(long parameter)
{
    char line[1024];
    if (!now.command) {
        now.run(parameter);
        exit(0);
    }
    snprintf(line, sizeof line, "exec %s %s %ld", now.command, now.work->name, parameter);
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

/* In a process of its own: memory and caches are fresh, and a crash or a hang costs one result. */
static bool measure(void)
{
    int status;
    measuring = fork();
    if (measuring < 0)
        return false;
    if (measuring == 0) {
        if (!now.work->measure)
            bench_contend(now.parameter);
        now.work->measure(now.parameter);
        exit(0);
    }
    alarm(SECONDS_MAX);
    while (waitpid(measuring, &status, 0) < 0 && errno == EINTR)
        ;
    alarm(0);
    if (WIFSIGNALED(status)) {
        name_it();
        fprintf(stderr, "ended by signal %d\n", WTERMSIG(status));
    }
    return status == 0;
}

static bool measure_all(const struct bench_work *work, long parameter)
{
    bool ok = true;
    now.work = work;
    now.parameter = parameter;
    for (const struct bench_contender *c = contenders; c->name; c++) {
        if (wanted && strcmp(wanted, c->name) != 0)
            continue;
        now.contender = c->name;
        now.run = c->run[work - works] ? c->run[work - works] : c->run[0];
        ok = measure() && ok;
    }
    for (char **other = others; *other; other++) {
        now.contender = *other;
        now.command = *other + strlen(*other) + 1;
        ok = measure() && ok;
    }
    now.command = NULL;
    return ok;
}

static bool all_parameters(const struct bench_work *work)
{
    bool ok = true;
    for (int i = 0; i < 4 && (i == 0 || work->parameters[i]); i++)
        ok = measure_all(work, work->parameters[i]) && ok;
    return ok;
}

static bool in_turn(void)
{
    bool ok = true, more = true;
    for (int round = 0; more; round++) {
        more = false;
        for (const struct bench_work *work = works; work->name; work++) {
            if (round >= work->rounds)
                continue;
            ok = all_parameters(work) && ok;
            more = true;
        }
    }
    return ok;
}

/* Of the contender that is wanted: all, or one work, or that with one parameter. */
static bool once(const char *name, const char *parameter)
{
    bool ok = true;
    for (const struct bench_work *work = works; work->name; work++) {
        if (name && strcmp(name, work->name) != 0)
            continue;
        ok = (parameter ? measure_all(work, atol(parameter)) : all_parameters(work)) && ok;
    }
    if (!now.work || !now.run) {
        fprintf(stderr, "There is no such contender or work. The contenders are:\n");
        for (const struct bench_contender *c = contenders; c->name; c++)
            fprintf(stderr, "    %s\n", c->name);
        return false;
    }
    return ok;
}

static void split(char *other)
{
    char *equals = strchr(other, '=');
    MUST(equals && "CONTENDER=COMMAND");
    *equals = '\0';
}

int bench_main(int argc, char **argv, const struct bench_work *all_works,
               const struct bench_contender *all_contenders)
{
    bool ok;
    works = all_works;
    contenders = all_contenders;
    others = argv + argc;
    setvbuf(stdout, NULL, _IOLBF, 0);
    bench_pin(0);
    bench_raise_fd_limit();
    signal(SIGALRM, give_up);
    if (argc > 1 && !strchr(argv[1], '=')) {
        wanted = argv[1];
        ok = once(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
    } else {
        others = argv + 1;
        for (char **other = others; *other; other++)
            split(*other);
        ok = in_turn();
    }
    return !ok;
}

/* --- Sockets ---------------------------------------------------------------------------------- */

int bench_listen(long port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MUST(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    MUST(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    MUST(listen(fd, 4096) == 0);
    return fd;
}

void bench_tune(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
