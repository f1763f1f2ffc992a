/* bench.h: what the benchmark programs share.
 *
 * Each contender, the hand-written limit, libcoloop or a peer, is a program, as they do not go
 * together in one: libev defines libevent's names too, State Threads and Go are worlds of their
 * own, and one's heap and threads would change another's figures.
 *
 * `PROGRAM` runs all its works once, `PROGRAM WORK` one of them, each in a process of its own on
 * the first core, and writes a line for each result:
 *
 *     work <TAB> contender <TAB> parameter <TAB> unit <TAB> value
 *
 * tests/bench/run.sh runs the contenders in turn, several times, and takes medians. The sizes of
 * the works are here, so that all contenders do the same. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_work {
    const char *name;
    const char *variant; /* of the contender, or NULL */
    void (*run)(long parameter);
    long parameters[5]; /* up to the first 0; all 0: one run with 0. Servers have -1: they are only
                           run by name */
};

int bench_main(int argc, char **argv, const char *contender, const struct bench_work *works,
               size_t n);

/* A result of the work that runs, or of a part of it: "timers" and "insert" make "timers-insert".
 * The part may be NULL. bench_each: from the nanoseconds it took, of each of n operations. */
void bench_result(const char *part, const char *unit, double value);
void bench_each(const char *part, int64_t ns, long n);

int64_t bench_now(void); /* ns */

/* Says who is meant, where there is no bench_main, when something fails. */
void bench_name(const char *contender);
void bench_must(bool ok, const char *what);
#define MUST(expression) bench_must((expression), #expression)

/* Keeps the calling thread to the n-th of the cores that the process may use. */
void bench_pin(int n);
void bench_raise_fd_limit(void);

/* The same random numbers in every run. */
extern uint32_t bench_seed;
static inline uint32_t bench_random(uint32_t below)
{
    bench_seed = bench_seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)bench_seed * below) >> 32);
}

/* Zeroed memory that has been touched, so that the first use costs no page fault. */
void *bench_alloc(size_t n, size_t size);

/* What the process has now, in bytes: "VmRSS" or "VmPTE" of /proc/self/status. */
double bench_memory(const char *name);

/* --- The works -------------------------------------------------------------------------------- */

#define BENCH_SWITCHES 10000000
#define BENCH_YIELDS 2000000
#define BENCH_YIELD_TASKS                                                                          \
    {                                                                                              \
        10, 1000, 100000                                                                           \
    }
#define BENCH_SPAWNS 1000000
#define BENCH_BATCH 100  /* tasks that are spawned before they run */
#define BENCH_COLD 10000 /* tasks that are spawned in a fresh process, all alive at once */
#define BENCH_PARKED                                                                               \
    {                                                                                              \
        1000, 10000, 100000, 1000000                                                               \
    }
#define BENCH_CALLS 5000000
#define BENCH_READY                                                                                \
    {                                                                                              \
        1000                                                                                       \
    } /* callbacks in the queue, each of which puts itself there again */
#define BENCH_TIMERS                                                                               \
    {                                                                                              \
        1000, 1000000                                                                              \
    }
#define BENCH_CHURN 1000000 /* timers moved; and set and cancelled */
#define BENCH_SPAN_NS                                                                              \
    200000000           /* the deadlines are up to that far away, in all rounds together           \
                         */
#define BENCH_ROUNDS 10 /* of insertion and expiry, where there are few timers */
#define BENCH_FAR_NS INT64_C(3600000000000)
#define BENCH_PAIRS                                                                                \
    {                                                                                              \
        1000, 9000                                                                                 \
    } /* socketpairs, of which some are active at a time: */
#define BENCH_PAIRS_MAX 9000
#define BENCH_ACTIVE 100
#define BENCH_EVENTS 100000
#define BENCH_ITEMS 1000000 /* handed over, and locks taken */
#define BENCH_MUTEX_TASKS                                                                          \
    {                                                                                              \
        10, 1000                                                                                   \
    } /* that pass a mutex round, each of which yields while it has it */
#define BENCH_THREADS 4
#define BENCH_POSTS 200000 /* of each thread */

/* --- Timers: the phases, the same for each contender ------------------------------------------ */

struct bench_timers {
    void (*set)(long i, int64_t ns); /* the i-th, which is not set; some know only milliseconds */
    void (*cancel)(long i);
    void (*run)(void); /* until all have expired; they may be set again */
    long *expired;     /* counted by the callbacks */
};
void bench_timers(const struct bench_timers *ops, long n);

/* --- Calls from other threads ----------------------------------------------------------------- */

/* Starts BENCH_THREADS threads, each of which calls post() BENCH_POSTS times; run() has to return
 * when all calls have arrived. */
void bench_threads(void (*post)(void), void (*run)(void));

/* For peers whose loops can only be woken: a queue of calls under a mutex. The push is made by the
 * threads; the run calls what is there, and returns true once that was the last of all. */
void bench_queue_push(void);
bool bench_queue_run(void);

/* --- Socketpairs ------------------------------------------------------------------------------ */

/* When a reader's fd is readable, bench_hop(i) takes the byte and sends it on to
 * the next reader. False once that was the last event. */
extern int bench_readers[BENCH_PAIRS_MAX], bench_writers[BENCH_PAIRS_MAX];
void bench_pairs_open(long n);
void bench_pairs_start(void);
bool bench_hop(long i);

/* --- Echo ------------------------------------------------------------------------------------- */

#define BENCH_ECHO_MAX 65536 /* bytes of a message */

/* A listening socket, not blocking, for the server of the work "echo", which ends when the last of
 * its connections has. And the options of a connection. */
int bench_listen(long port);
void bench_tune(int fd);

#endif
