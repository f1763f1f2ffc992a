/* instructions: the hot paths, each run n and 2n times, for callgrind to count their instructions.
 *     instructions [NAME...]      all of them by default
 *
 * After each run a client request makes callgrind write a file of what it counted, named "NAME 1"
 * and "NAME 2": their difference, divided by n, is free of all that happens once. Time is virtual
 * where no fd is involved, so that each run is the same; the loop then looks at the selector after
 * every 64 items, which is part of what is counted. tests/check_instructions.sh compares the counts
 * with tests/bench/instructions.txt. */
#include "context/context.h"

#include <coloop.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLLECT_TOGGLE = 0x43540002, DUMP_AT = 0x43540003, ZERO = 0x43540001 };

static loop_t *loop;
static long operations, left, finished;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "instructions: %s\n", what);
    exit(1);
}
#define MUST(expression) must((expression), #expression)

/* --- Switching and tasks ---------------------------------------------------------------------- */

static struct context home, away;

static void come_back(void *arg)
{
    (void)arg;
    for (;;)
        context_switch(&away, &home, false);
}

static void run_switch(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    coloop__context_birth(&away, stack, stack + sizeof stack, come_back, NULL);
    for (left = operations; left > 0; left -= 2)
        context_switch(&home, &away, false);
}

static void run_task(co_fn *fn)
{
    co_task_t *task = loop_spawn(loop, fn, NULL);
    MUST(loop_run_until(loop, task) == 0);
}

static int yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < operations / 10; i++)
        co_yield_now();
    return 0;
}

static void run_yield(void)
{
    for (int i = 0; i < 10; i++)
        co_task_release(loop_spawn(loop, yield_often, NULL));
    MUST(loop_run(loop) == 0);
}

static int end_at_once(void *arg)
{
    (void)arg;
    finished++;
    return 0;
}

static int spawn_hundreds(void *arg)
{
    (void)arg;
    while (finished < operations) {
        for (int i = 0; i < 100; i++)
            co_go(end_at_once, NULL);
        co_yield_now();
    }
    return 0;
}

static int spawn_and_await(void *arg)
{
    (void)arg;
    for (long i = 0; i < operations; i++)
        co_await_task(co_spawn(end_at_once, NULL));
    return finished == operations ? 0 : -1;
}

static int yield_within_deadline(void *arg)
{
    (void)arg;
    for (long i = 0; i < operations; i++)
        co_timeout(1000) co_yield_now();
    return 0;
}

/* --- Callbacks and timers --------------------------------------------------------------------- */

enum { CALLS = 100 }; /* in the ready queue at a time */
static loop_handle_t handles[CALLS], handle;

static void call_again(void *handle_or_null)
{
    if (--left >= CALLS)
        loop_call_soon(loop, call_again, handle_or_null, handle_or_null);
}

static void run_calls(bool with_handles)
{
    left = operations;
    for (int i = 0; i < CALLS; i++) {
        loop_handle_t *own = with_handles ? &handles[i] : NULL;
        loop_call_soon(loop, call_again, own, own);
    }
    MUST(loop_run(loop) == 0 && left == 0);
}

static void run_call(void)
{
    run_calls(true);
}

static void run_call_record(void)
{
    run_calls(false);
}

static void count_one(void *arg)
{
    (void)arg;
    finished++;
}

static void post_hundred(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        loop_call_soon_threadsafe(loop, count_one, NULL);
    if (finished + 100 < operations)
        loop_call_later(loop, 1, post_hundred, NULL, &handle);
}

static void run_post(void)
{
    loop_call_soon(loop, post_hundred, NULL, NULL);
    MUST(loop_run(loop) == 0 && finished == operations);
}

enum { TIMERS = 1000 };
static loop_handle_t timers[TIMERS];

/* The same pseudo-random delays in every run. */
static void set_timers(void)
{
    uint32_t random = 1;
    for (int i = 0; i < TIMERS; i++) {
        random = random * 1664525 + 1013904223;
        loop_call_later(loop, 1 + (random >> 8) % 100000, count_one, NULL, &timers[i]);
    }
}

static void run_timer_cancel(void)
{
    set_timers();
    for (long i = 0; i < operations; i++) {
        loop_call_later(loop, 200000, count_one, NULL, &handle);
        loop_cancel(&handle);
    }
    for (int i = 0; i < TIMERS; i++)
        loop_cancel(&timers[i]);
}

static void run_timer_expire(void)
{
    while (finished < operations) {
        set_timers();
        MUST(loop_run(loop) == 0);
    }
}

/* --- Handing over between tasks --------------------------------------------------------------- */

static co_chan_t *chan;

static int send_all(void *arg)
{
    (void)arg;
    for (long i = 0; i < operations; i++)
        co_chan_send(chan, &i);
    return 0;
}

static int receive_all(void *arg)
{
    (void)arg;
    co_go(send_all, NULL);
    for (long i = 0, got; i < operations; i++)
        MUST(co_chan_recv(chan, &got) == 0 && got == i);
    return 0;
}

static void run_rendezvous(void)
{
    chan = co_chan_new(sizeof(long), 0);
    run_task(receive_all);
    co_chan_free(chan);
}

static int lock_and_unlock(void *arg)
{
    static co_mutex_t mutex;
    (void)arg;
    for (long i = 0; i < operations; i++) {
        co_mutex_lock(&mutex);
        co_mutex_unlock(&mutex);
    }
    return 0;
}

/* --- Crowds: as many tasks as operations, so that a cost that grows with them shows ----------- */

enum { CROWD = 2000 };
static co_task_t *crowd[2 * CROWD];

static int yield_once(void *arg)
{
    (void)arg;
    return co_yield_now();
}

/* The first fails, the others wait for ever. */
static int fail_first(void *arg)
{
    return arg ? co_sleep(-1) : -1;
}

static int await_it(void *task)
{
    return co_await_task((co_task_t *)task);
}

static void spawn_crowd(co_fn *fn)
{
    for (long i = 0; i < operations; i++)
        MUST((crowd[i] = co_spawn(fn, i ? crowd : NULL)) != NULL);
}

static int wait_for_crowd(void *arg)
{
    (void)arg;
    spawn_crowd(yield_once);
    MUST(co_wait(crowd, (size_t)operations, CO_ALL) == operations);
    for (long i = 0; i < operations; i++)
        co_task_release(crowd[i]);
    return 0;
}

static int gather_crowd(void *arg)
{
    (void)arg;
    spawn_crowd(yield_once);
    return co_gather_tasks(crowd, (size_t)operations);
}

static int gather_failing_crowd(void *arg)
{
    (void)arg;
    spawn_crowd(fail_first);
    MUST(co_gather_tasks(crowd, (size_t)operations) == -1);
    return 0;
}

static int gather_all_of_crowd(void *arg)
{
    int rc = 0;
    (void)arg;
    spawn_crowd(fail_first);
    co_timeout(10) rc = co_gather_all(crowd, (size_t)operations, NULL);
    MUST(rc == -ETIMEDOUT);
    return 0;
}

static int cancel_group(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    for (long i = 0; i < operations; i++)
        MUST(co_group_spawn(&group, fail_first, crowd) == 0);
    co_yield_now();
    co_group_cancel(&group);
    return co_group_wait(&group);
}

static int await_the_same(void *arg)
{
    co_task_t *one = co_spawn(fail_first, crowd);
    (void)arg;
    for (long i = 0; i < operations; i++)
        crowd[i] = co_spawn(await_it, co_task_retain(one));
    co_yield_now();
    co_task_cancel(one);
    co_task_release(one);
    MUST(co_gather_all(crowd, (size_t)operations, NULL) == operations);
    return 0;
}

/* Each awaits the one before it. */
static int await_in_turn(void *arg)
{
    co_task_t *last = co_spawn(yield_once, NULL);
    (void)arg;
    for (long i = 1; i < operations; i++)
        last = co_spawn(await_it, last);
    return co_await_task(last);
}

/* --- Fds -------------------------------------------------------------------------------------- */

static int pair[2];

/* Always readable: no call here has to wait. */
static int read_zeros(void *arg)
{
    char byte;
    int fd = open("/dev/zero", O_RDONLY);
    (void)arg;
    MUST(co_adopt(fd) == 0);
    for (long i = 0; i < operations; i++)
        MUST(co_read(fd, &byte, 1) == 1);
    return co_close(fd);
}

/* Two tasks that wake each other: every wait parks, and has the loop look at the selector. */
static char receive(int fd, bool own)
{
    char byte = 0;
    MUST(own || co_await_fd(fd, CO_READ) == CO_READ);
    MUST((own ? co_read(fd, &byte, 1) : read(fd, &byte, 1)) == 1);
    return byte;
}

static void send_one(int fd)
{
    MUST(write(fd, "x", 1) == 1);
}

static int ping(void *own)
{
    for (long i = 0; i < operations / 2; i++) {
        send_one(pair[0]);
        receive(pair[0], own != NULL);
    }
    return 0;
}

static int pong(void *own)
{
    for (long i = 0; i < operations / 2; i++) {
        receive(pair[1], own != NULL);
        send_one(pair[1]);
    }
    return 0;
}

static void play(void *own)
{
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    if (own)
        MUST(co_adopt(pair[0]) == 0 && co_adopt(pair[1]) == 0);
    co_task_release(loop_spawn(loop, ping, own));
    co_task_release(loop_spawn(loop, pong, own));
    MUST(loop_run(loop) == 0);
    co_close(pair[0]);
    co_close(pair[1]);
}

static void run_park_own(void)
{
    play(pair);
}

static void run_park_foreign(void)
{
    play(NULL);
}

enum { CONNECTIONS = 100, MESSAGE = 64 };
static int clients[CONNECTIONS];
static long echoed;

static int echo(int fd, void *arg)
{
    char data[4096];
    ssize_t n;
    (void)arg;
    while ((n = co_read(fd, data, sizeof data)) > 0 && (n = co_write(fd, data, (size_t)n)) > 0)
        echoed++;
    return (int)n;
}

static int serve(void *arg)
{
    co_serve(*(int *)arg, echo, NULL, NULL);
    return 0;
}

static void connect_clients(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < CONNECTIONS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        MUST(connect(clients[i], (struct sockaddr *)&address, sizeof address) == 0);
    }
}

/* What the clients do is no part of the request. */
static void exchange(ssize_t (*transfer)(int fd, char *data))
{
    char data[MESSAGE] = "";
    valgrind_request(COLLECT_TOGGLE, 0, 0);
    for (int i = 0; i < CONNECTIONS; i++)
        MUST(transfer(clients[i], data) == MESSAGE);
    valgrind_request(COLLECT_TOGGLE, 0, 0);
}

static ssize_t send_request(int fd, char *data)
{
    return write(fd, data, MESSAGE);
}

static ssize_t take_reply(int fd, char *data)
{
    return recv(fd, data, MESSAGE, MSG_WAITALL);
}

/* Each connection sends one request a round. */
static void run_echo(void)
{
    int listener = co_tcp_listen("127.0.0.1", 0, 0);
    co_task_t *server = loop_spawn(loop, serve, &listener);
    connect_clients(co_port(listener));
    echoed = 0;
    for (long wanted = CONNECTIONS; wanted <= operations; wanted += CONNECTIONS) {
        exchange(send_request);
        while (echoed < wanted)
            loop_run_once(loop, -1);
        exchange(take_reply);
    }
    for (int i = 0; i < CONNECTIONS; i++)
        close(clients[i]);
    co_task_cancel(server);
    MUST(loop_run_until(loop, server) == 0);
    co_close(listener);
}

/* --- Counting --------------------------------------------------------------------------------- */

static const struct measured {
    const char *name; /* as in the table */
    void (*run)(void);
    co_fn *task; /* instead: run as a task */
    long n;
    bool real_time;
} all[] = {
    {"switch", run_switch, NULL, 10000, false},              /* between two contexts */
    {"yield", run_yield, NULL, 10000, false},                /* ten tasks in turn */
    {"spawn", NULL, spawn_hundreds, 10000, false},           /* co_go, run, finish, reap; warm */
    {"await", NULL, spawn_and_await, 10000, false},          /* co_await_task(co_spawn()) */
    {"deadline", NULL, yield_within_deadline, 10000, false}, /* co_timeout around a yield */
    {"call", run_call, NULL, 10000, false},                  /* loop_call_soon and its call */
    {"call-record", run_call_record, NULL, 10000, false},    /* the same without a handle */
    {"post", run_post, NULL, 10000, false}, /* loop_call_soon_threadsafe, in bursts */
    {"timer-cancel", run_timer_cancel, NULL, 10000, false}, /* set and cancel, among 1,000 */
    {"timer-expire", run_timer_expire, NULL, 10000, false}, /* set and expire, 1,000 at random */
    {"rendezvous", run_rendezvous, NULL, 10000, false},     /* a send and its receive */
    {"lock", NULL, lock_and_unlock, 10000, false},          /* lock and unlock without contention */
    {"crowd-wait", NULL, wait_for_crowd, CROWD, false},
    {"crowd-gather", NULL, gather_crowd, CROWD, false},
    {"crowd-failing", NULL, gather_failing_crowd, CROWD,
     false}, /* the first, which ends them all */
    {"crowd-gather-all", NULL, gather_all_of_crowd, CROWD, false}, /* out of time */
    {"crowd-group", NULL, cancel_group, CROWD, false},
    {"crowd-same", NULL, await_the_same, CROWD, false},   /* all await one */
    {"crowd-in-turn", NULL, await_in_turn, CROWD, false}, /* each awaits the one before it */
    {"read", NULL, read_zeros, 10000, false},             /* of an own fd, that succeeds at once */
    {"park-own", run_park_own, NULL, 4000, true}, /* write, read, and wait for it in between */
    {"park-foreign", run_park_foreign, NULL, 4000, true}, /* write, await_fd, read */
    {"echo", run_echo, NULL, 4000, true},                 /* a request of one of 100 connections */
};

static void run(const struct measured *what, long n)
{
    loop_options_t options = {.selector = "epoll", .virtual_time = !what->real_time, .seed = 1};
    loop = loop_new(&options);
    MUST(loop != NULL);
    operations = n;
    finished = 0;
    if (what->task)
        run_task(what->task);
    else
        what->run();
    loop_close(loop);
}

static void count(const struct measured *what)
{
    char name[64];
    run(what, what->n); /* what happens once a process is not counted */
    valgrind_request(ZERO, 0, 0);
    for (int times = 1; times <= 2; times++) {
        run(what, times * what->n);
        snprintf(name, sizeof name, "%s %d %ld", what->name, times, what->n);
        valgrind_request(DUMP_AT, (uintptr_t)name, 0);
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool wanted = argc == 1;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], all[i].name) == 0;
        if (wanted)
            count(&all[i]);
    }
    return 0;
}
