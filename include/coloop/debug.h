/* debug.h: what is going on. Nothing here suspends or changes anything.
 *
 * With loop_options_t.debug, or COLOOP_DEBUG=1 in the environment, the loop also reports every
 * callback or task that ran longer than slow_ms without a pause, and every task that makes a
 * thousand suspending calls in spite of one and the same cancellation or timeout: through the
 * exception handler, with error 0. A callback is told by the address of its function: in gdb, info
 * symbol ADDRESS names it. */
#ifndef COLOOP_DEBUG_H
#define COLOOP_DEBUG_H

#include <coloop/loop.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes every task to file as a tree, children under the task that spawned them: name, id, state,
 * what it waits for and where, how long it has been waiting, bytes of stack used and its size. Also
 * from gdb, in every program with tasks: call loop_dump(loop_current(), 0) A NULL file is stderr, a
 * NULL loop is said to be none. */
COLOOP_API void loop_dump(loop_t *loop, FILE *file);

typedef struct loop_statistics {
    size_t tasks;         /* alive now */
    size_t tasks_peak;    /* the most that were alive at a time */
    uint64_t tasks_total; /* spawned since loop_new */
    size_t ready;         /* calls and tasks in the ready queue */
    size_t timers;        /* timers set, of calls, sleeps and deadlines */
    size_t watchers;      /* readers and writers added */
    size_t fd_waiters;    /* tasks parked on an fd */
    size_t stacks;        /* stacks that exist, in use and idle */
    size_t stacks_idle;   /* of these, idle, for the next tasks */
    size_t stack_bytes; /* address space of all stacks; memory is only used where it was touched */
    size_t stacks_unguarded; /* stacks without a guard page, see README */
    uint64_t passes;         /* of the loop */
    uint64_t polls;          /* calls of the selector */
    uint64_t events;         /* it reported */
    uint64_t runs;           /* calls and tasks run or resumed */
} loop_stats_t;

COLOOP_API void loop_stats(loop_t *loop, loop_stats_t *stats);

#ifdef __cplusplus
}
#endif
#endif
