/* bench.h: what the benchmark programs share.
 *
 * There is a program for each kind of work. Its contenders, the hand-written limit, libcoloop and
 * those peers that are installed (BENCH_LIBUV and so on say which), stand next to each other in it
 * and do the same. Every measurement is made in a process of its own on the first core, forked from
 * one that has done nothing yet, so that none changes the figures of another.
 *
 *     NAME [CONTENDER=COMMAND...]          all contenders in turn, in as many rounds as need be
 *     NAME CONTENDER [WORK [PARAMETER]]    one of them, once
 *
 * A COMMAND is a contender in another language. The work's name and the parameter are appended; if
 * it does not know them, it does nothing. Each result is a line, of which tests/bench/run.sh takes
 * the medians:
 *
 *     work <TAB> contender <TAB> parameter <TAB> unit <TAB> value
 *
 * A file has libev before libevent, as the names of ev.h's enumerators are macros in
 * event2/event.h. Linked, they are the other way round: see tests/CMakeLists.txt. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_work {
    const char *name;
    int rounds;
    long parameters[4];              /* up to the first 0; all 0: one run with 0 */
    void (*measure)(long parameter); /* NULL: the contender does, when it runs */
};

struct bench_contender {
    const char *name;               /* "libev"; of a variant "libcoloop, tasks" */
    void (*run[3])(long parameter); /* for each of the works; NULL: the same as for the first */
};

/* Both arrays end with an entry of zeros. */
int bench_main(int argc, char **argv, const struct bench_work *works,
               const struct bench_contender *contenders);

/* Runs the contender that is measured, and exits: for a work's measure(), in a child. */
void bench_contend(long parameter) __attribute__((noreturn));

/* A result of the work that runs, or of a part of it: "timers" and "insert" make "timers-insert".
 * The part may be NULL. bench_each: from the nanoseconds it took, of each of n operations. */
void bench_result(const char *part, const char *unit, double value);
void bench_each(const char *part, int64_t ns, long n);

int64_t bench_now(void); /* ns */

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

/* A listening socket, not blocking, and the options of a connection. */
int bench_listen(long port);
void bench_tune(int fd);

#endif
