/* bench.c: see bench.h. */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
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
    const char *contender;
    const struct bench_work *work;
    long parameter;
} now;

int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void bench_name(const char *name)
{
    now.contender = name;
}

static const char *contender(void)
{
    static char name[128];
    const char *variant = now.work ? now.work->variant : NULL;
    snprintf(name, sizeof name, "%s%s%s", now.contender, variant ? ", " : "",
             variant ? variant : "");
    return name;
}

void bench_must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s %ld: failed: %s (errno: %s)\n", contender(),
            now.work ? now.work->name : "", now.parameter, what, strerror(errno));
    exit(1);
}

void bench_result(const char *part, const char *unit, double value)
{
    printf("%s%s%s\t%s\t%ld\t%s\t%.6g\n", now.work->name, part ? "-" : "", part ? part : "",
           contender(), now.parameter, unit, value);
}

void bench_each(const char *part, int64_t ns, long n)
{
    bench_result(part, "ns", (double)ns / (double)n);
}

void bench_pin(int n)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
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

double bench_memory(const char *name)
{
    char line[256];
    double kib = 0;
    size_t length = strlen(name);
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            kib = atof(line + length + 1);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* --- Running works ---------------------------------------------------------------------------- */

/* In a process of its own: memory and caches are fresh, and a crash or a hang costs one result. */
static bool run_one(const struct bench_work *work, long parameter)
{
    int status;
    now.work = work;
    now.parameter = parameter;
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        alarm(SECONDS_MAX);
        work->run(parameter);
        exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: %s %ld: ended by signal %d\n", contender(), work->name, parameter,
                WTERMSIG(status));
    return status == 0;
}

/* BENCH_LARGEST in the environment leaves out larger parameters. */
static bool run_all(const struct bench_work *work)
{
    const char *text = getenv("BENCH_LARGEST");
    long largest = text ? atol(text) : LONG_MAX;
    bool ok = true;
    for (int i = 0; i < 5 && (i == 0 || work->parameters[i]); i++)
        if (work->parameters[i] <= largest)
            ok = run_one(work, work->parameters[i]) && ok;
    return ok;
}

int bench_main(int argc, char **argv, const char *name, const struct bench_work *works, size_t n)
{
    bool ok = true;
    bench_name(name);
    setvbuf(stdout, NULL, _IOLBF, 0);
    bench_pin(0);
    bench_raise_fd_limit();
    for (size_t i = 0; i < n; i++) {
        bool server = works[i].parameters[0] < 0;
        if (argc < 2 ? server : strcmp(argv[1], works[i].name) != 0)
            continue;
        if (server)
            works[i].run(argc > 2 ? atol(argv[2]) : 0);
        else
            ok = (argc > 2 ? run_one(&works[i], atol(argv[2])) : run_all(&works[i])) && ok;
    }
    return !ok;
}

/* --- Timers ----------------------------------------------------------------------------------- */

static void set_all(const struct bench_timers *ops, long n, int64_t span)
{
    for (long i = 0; i < n; i++)
        ops->set(i, bench_random((uint32_t)span));
}

static void churn(const struct bench_timers *ops, long n, int64_t span)
{
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_CHURN; i++) {
        long which = bench_random((uint32_t)n);
        ops->cancel(which);
        ops->set(which, bench_random((uint32_t)span));
    }
    bench_each("churn", bench_now() - start, BENCH_CHURN);

    start = bench_now();
    for (long i = 0; i < BENCH_CHURN; i++) {
        ops->set(n, BENCH_FAR_NS);
        ops->cancel(n);
    }
    bench_each("far", bench_now() - start, BENCH_CHURN);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void report_median(const char *part, int64_t *ns, int rounds, long n)
{
    qsort(ns, (size_t)rounds, sizeof *ns, compare);
    bench_each(part, ns[rounds / 2], n);
}

/* Few timers are set, and expire, too fast to be measured in one round. While they become due
 * nobody sleeps, which would leave the caches to others. */
void bench_timers(const struct bench_timers *ops, long n)
{
    int64_t insert[BENCH_ROUNDS], expire[BENCH_ROUNDS];
    int rounds = n < BENCH_CHURN ? BENCH_ROUNDS : 1;
    int64_t span = BENCH_SPAN_NS / rounds;
    for (int round = 0; round < rounds; round++) {
        int64_t start = bench_now();
        set_all(ops, n, span);
        insert[round] = bench_now() - start;
        if (round == rounds - 1) {
            report_median("insert", insert, rounds, n);
            churn(ops, n, span);
        }
        for (int64_t due = bench_now() + span + span / 10; bench_now() < due;)
            ;
        start = bench_now();
        ops->run();
        expire[round] = bench_now() - start;
        MUST(*ops->expired == n * (round + 1));
    }
    report_median("expire", expire, rounds, n);
}

/* --- Threads ---------------------------------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *call_often(void *post)
{
    void (*call)(void) = *(void (**)(void))post;
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < BENCH_POSTS; i++)
        call();
    return NULL;
}

/* The loop has the first core, the threads share the others. */
void bench_threads(void (*post)(void), void (*run)(void))
{
    pthread_t threads[BENCH_THREADS];
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_barrier_init(&barrier, NULL, BENCH_THREADS + 1);
    for (int i = 0; i < BENCH_THREADS; i++) {
        cpu_set_t other;
        CPU_ZERO(&other);
        CPU_SET(cores < 2 ? 0 : 1 + i % (cores - 1), &other);
        MUST(pthread_create(&threads[i], NULL, call_often, &post) == 0);
        pthread_setaffinity_np(threads[i], sizeof other, &other);
    }
    pthread_barrier_wait(&barrier);
    int64_t start = bench_now();
    run();
    bench_each(NULL, bench_now() - start, (long)BENCH_THREADS * BENCH_POSTS);
    for (int i = 0; i < BENCH_THREADS; i++)
        pthread_join(threads[i], NULL);
}

struct call {
    struct call *next;
    void (*fn)(void *);
    void *arg;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct call *first, **last = &first;

static void arrive(void *arrived)
{
    ++*(long *)arrived;
}

void bench_queue_push(void)
{
    static long arrived;
    struct call *call = malloc(sizeof *call);
    MUST(call != NULL);
    *call = (struct call){NULL, arrive, &arrived};
    pthread_mutex_lock(&mutex);
    *last = call;
    last = &call->next;
    pthread_mutex_unlock(&mutex);
}

bool bench_queue_run(void)
{
    static long ran;
    pthread_mutex_lock(&mutex);
    struct call *call = first;
    first = NULL;
    last = &first;
    pthread_mutex_unlock(&mutex);
    for (struct call *next; call; call = next) {
        next = call->next;
        call->fn(call->arg);
        free(call);
        ran++;
    }
    return ran == (long)BENCH_THREADS * BENCH_POSTS;
}

/* --- Socketpairs ------------------------------------------------------------------------------ */

int bench_readers[BENCH_PAIRS_MAX], bench_writers[BENCH_PAIRS_MAX];
static long pairs, hops, sent;

void bench_pairs_open(long n)
{
    pairs = n;
    for (long i = 0; i < n; i++) {
        int fds[2];
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
        bench_readers[i] = fds[0];
        bench_writers[i] = fds[1];
    }
}

static void send_to(long i)
{
    MUST(write(bench_writers[i], "x", 1) == 1);
    sent++;
}

void bench_pairs_start(void)
{
    for (long i = 0; i < BENCH_ACTIVE; i++)
        send_to(i * (pairs / BENCH_ACTIVE));
}

bool bench_hop(long i)
{
    char byte;
    MUST(read(bench_readers[i], &byte, 1) == 1);
    if (sent < BENCH_EVENTS)
        send_to((i + 1) % pairs);
    return ++hops < BENCH_EVENTS;
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
