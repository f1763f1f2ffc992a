/* core.h: tasks from the inside, and the one way to suspend: a task parks, and is woken.
 *
 * A suspending call looks like this:
 *
 *     co_task_t *task = co__current;
 *     int rc = co__check(task);                      outside a coroutine, interrupted
 *     if (rc < 0)
 *         return rc;
 *     ... try to do it at once: co__spend(task), for fairness, and return ...
 *     struct co__wait wait = {.task = task, .undo = ...};
 *     ... put the wait where somebody will find it and call co__wake(&wait, value) ...
 *     co__reason(task, "co_event_wait", where, CO__OBJECT)->object = event;
 *     return co__park(task, &wait);
 */
#ifndef TASK_CORE_H
#define TASK_CORE_H

#include "context/exceptions.h"
#include "context/stack.h"
#include "loop/core.h"

#include <coloop/error.h>
#include <coloop/scope.h>
#include <coloop/task.h>

#include <errno.h>

enum { CO__CALLS_MAX = 64 }; /* calls that succeed at once before a task has to give way */

/* One thing that a parked task waits for, on its stack. */
struct co__wait {
    co_task_t *task;
    void (*undo)(struct co__wait *); /* takes it away from where it waits; NULL: nothing to do */
    struct co__wait *next;           /* the task's other waits, or NULL */
    int value;                       /* as given to co__wake */
};

/* What a parked task waits for, for people. */
enum co__subject {
    CO__NOTHING,
    CO__FD, /* that of task->io */
    CO__TASK,
    CO__TASKS,
    CO__TIME,
    CO__OBJECT,
    CO__OWNED,
    CO__CASES
};
struct co__reason {
    const char *call;  /* "co_read" */
    const char *where; /* "file.c:12" */
    enum co__subject subject;
    union {
        int64_t number;     /* CO__TIME: when; CO__TASKS, CO__CASES: how many */
        const void *object; /* CO__TASK, CO__OBJECT; CO__OWNED: where the owning task is noted */
    };
};

/* The fd that a task used last, mostly the one it uses next, and its wait for it. */
struct co__io {
    int fd;                 /* -1: none so far */
    uint32_t forgotten;     /* of the entry, when the wait began */
    struct loop__fd *entry; /* stays where it is as long as the loop lives */
    struct co__wait wait;
    struct loop__fd_wait fd_wait;
};

/* Told once, when a task is done; lives in the memory of who wants to know. */
struct co__observer {
    struct coloop__link link;
    void (*done)(struct co__observer *, co_task_t *);
};

struct co__error { /* shared by the tasks it travels through */
    co_error_t public;
    unsigned references;
    char text[];
};

struct scheduler;

/* In the order of use. */
struct co_task {
    struct stack stack; /* must be first: the stack pool makes tasks by making stacks */

    /* switching */
    struct loop__ready ready; /* linked: it is ready to run */
    struct scheduler *scheduler;
    loop_t *loop;
    int interrupt;          /* what suspending calls return at once: 0, -ECANCELED, -ETIMEDOUT */
    int budget;             /* calls that may still succeed at once */
    struct co__wait *waits; /* it is parked, and what for; else NULL */
    co_scope_t *scope;      /* the innermost; the outermost is root */

    /* while parked, and after it until the next park */
    int code;                /* 0, or why it was interrupted */
    struct co__wait *winner; /* the wait that was woken; NULL if it was interrupted */
    int64_t since;
    struct co__reason reason;
    struct co__io io;

    co_scope_t root; /* what a switch looks at ends with its first field: four cache lines */
    struct co__frame *frames;
    unsigned order; /* of the last scope that was cancelled or expired */

    /* who it is */
    unsigned references;
    co_fn *fn;
    void *arg;
    const char *name, *spawned_at;
    uint64_t id, parent;
    struct coloop__link link; /* in scheduler->tasks, then in scheduler->held */

    /* its end */
    int result;
    bool done, observed;
    bool ending;  /* being ended by force */
    bool unwound; /* ended by a throw, its stack is to be born anew */
    struct co__error *error;
    struct list observers;
    struct co_group *group;    /* that it is a child of, or NULL */
    struct co__locals *locals; /* task-local values, or NULL */

    struct coloop__link sibling;
    co_task_t *awaiting;            /* what it is parked for in co_await_task */
    co_task_t *const *awaiting_all; /* and in the gathers */
    size_t awaiting_count;
    const struct co_group *awaiting_group; /* and in co_group_wait */
    uint64_t searched;                     /* number of the last search for a cycle that came by */
    unsigned gathered;                     /* gathers that have it in awaiting_all */
    unsigned notes;                        /* how often an error was noted or came from elsewhere */
    unsigned ignored; /* calls that returned a cancellation: while the loop was closing; in debug
                         mode, since `order` became what ignored_order is */
    unsigned ignored_order;
};

/* Told of all suspensions, for debug/testing.c: with the reason when a task is about to park or to
 * give way, with NULL when it has been made ready again. It may cancel tasks. */
struct co__probe {
    void (*notice)(struct co__probe *, co_task_t *, const struct co__reason *);
};

struct size_pool { /* stacks of an unusual size */
    struct stack_pool pool;
    struct size_pool *next;
};

/* A loop's tasks: its loop->client_data. */
struct scheduler {
    struct context context; /* of the loop itself, while a task runs */
    loop_t *loop;
    struct context *back; /* who gives way goes there, and not to the next that is ready, or NULL:
                             in eager runs to who spawned it, and where somebody looks on (a probe,
                             debug mode) to the loop */
    struct exceptions *exceptions; /* of the loop's thread; NULL without C++ */
    int64_t time_inside;    /* in debug mode: of tasks run eagerly inside the one that is timed */
    void (*errand)(void *); /* what a task wants done on the loop's stack */
    void *errand_arg;
    struct list tasks; /* that are not done, in the order of spawning */
    struct list held;  /* that are done, and have handles */
    struct stack_pool pool;
    struct size_pool *size_pools;
    uint64_t last_id;
    uint64_t searches; /* for cycles of waiting tasks */
    size_t peak;
    bool forcing; /* closing, and what is left has to go */
    bool told_unguarded;
    struct co__probe *probe; /* or NULL */
};

extern _Thread_local co_task_t *co__current COLOOP__FAST_TLS;
/* The loop of that task, while there is one. To look for it in the task would be the longest chain
 * of loads of a switch: which task that is depends on the switch before. */
static inline loop_t *co__loop(void)
{
    return loop__thread.inside;
}

/* --- scheduler.c ------------------------------------------------------------------------------ */

/* Makes the loop's scheduler; NULL if out of memory. */
struct scheduler *co__scheduler_new(loop_t *loop);
/* Calls fn for each pool of the scheduler. */
void co__each_pool(struct scheduler *, void (*fn)(struct stack_pool *, void *), void *arg);
/* A stack of the given size (0: the loop's usual), or NULL with errno. */
struct stack *co__stack(struct scheduler *, size_t size);
/* Sets the probe, or none, while no task runs. */
void co__set_probe(struct scheduler *scheduler, struct co__probe *probe);
extern const struct loop_client co__client;

/* --- switch.c --------------------------------------------------------------------------------- */

/* Switches stacks in the middle of a C++ exception. */
void co__switch_in_exception(struct scheduler *, struct context *from, struct context *to);
/* What every stack of a scheduler runs. */
void co__stack_main(struct stack *stack);
/* Runs a task that is ready, from the loop's stack, until it gives way: an item of the ready queue.
 */
void co__run_item(struct loop__ready *item);
/* Runs a new task from within a callback or the running task, and returns when it, and no other,
 * gives way. */
void co__run_eagerly(co_task_t *task);
/* Calls fn(arg) on the loop's stack, outside any coroutine, and returns when it has. */
void co__outside(void (*fn)(void *), void *arg);
/* Ends the running task on its own stack, with frames left there, exception handlers included. */
void co__finish_by_throw(co_task_t *task, int result) __attribute__((noreturn));

/* --- park.c ----------------------------------------------------------------------------------- */

/* What every suspending call begins with: 0, or it may not go on. That the slow path never comes
 * back to it saves registers. */
int co__check_slow(co_task_t *task);
static inline int co__check(co_task_t *task)
{
    if (__builtin_expect(task && !task->interrupt, 1))
        return 0;
    int rc = co__check_slow(task);
    if (rc >= 0)
        __builtin_unreachable();
    return rc;
}

/* And what it ends with, unless it has parked: after so many calls the task gives way. Not before
 * it looked at its fd or object, which may be another one, or gone, when the others have run. */
void co__spend_slow(co_task_t *task);
static inline void co__spend(co_task_t *task)
{
    if (__builtin_expect(--task->budget <= 0, 0))
        co__spend_slow(task);
}
ssize_t co__spent_slow(co_task_t *task, ssize_t result);
static inline ssize_t co__spent(co_task_t *task, ssize_t result)
{
    return __builtin_expect(--task->budget > 0, 1) ? result : co__spent_slow(task, result);
}

/* Notes what the running task is about to park for. */
static inline struct co__reason *co__reason(co_task_t *task, const char *call, const char *where,
                                            enum co__subject subject)
{
    task->reason.call = call;
    task->reason.where = where;
    task->reason.subject = subject;
    return &task->reason;
}

/* Parks the running task, whose reason is noted, until one of its waits is woken: 0, with
 * task->winner; or until it is interrupted: -ECANCELED, -ETIMEDOUT; all waits are undone then.
 * -ENOMEM: a deadline could not be set, likewise. */
int co__park(co_task_t *task, struct co__wait *waits);
/* Its look at all that is rare, when the waits are set: 0, or it does not park. */
int co__park_slow(co_task_t *task, struct co__wait *waits);
/* The running task goes to the end of the ready queue, and gives way. */
void co__take_a_turn(co_task_t *task, const struct co__reason *reason);
/* Wakes the task of a wait that the caller has taken away from where it waited; the others are
 * undone. */
void co__wake(struct co__wait *wait, int value);
/* What is rare about it. */
void co__wake_slow(co_task_t *task, const struct co__wait *wait);
/* Wakes a parked task with a code, undoing all its waits. */
void co__interrupt(co_task_t *task, int code);

/* --- scope.c, error.c ------------------------------------------------------------------------- */

/* Sets the timers of the scopes a parking task is in. 0 or -ENOMEM. */
int co__arm_scopes(co_task_t *task);
/* Lets cancellations and deadlines through, wherever the task is. */
void co__lift_shields(co_task_t *task);
/* The task's root scope, with nothing in it. */
void co__scopes_init(co_task_t *task);
void co__error_release(struct co__error *error);
/* Makes the error, a reference of the caller's (or NULL), the task's. */
void co__error_take(co_task_t *task, struct co__error *error);
/* Makes the error of `from` the one of `to` as well. */
void co__error_share(co_task_t *to, const co_task_t *from);
/* Leaves everything that was entered, innermost first, past every co_try, and ends the task. */
void co__unwind_all(co_task_t *task, int err) __attribute__((noreturn));

/* --- local.c ---------------------------------------------------------------------------------- */

/* The table of local values, for one more task. */
struct co__locals *co__locals_share(struct co__locals *locals);
/* Takes the task's table away. Values that nobody has any more are destroyed. */
void co__locals_drop(co_task_t *task);
/* The same, but destroys none: in a forked child, where they are the parent's. */
void co__locals_forget(co_task_t *task);

/* --- task.c, join.c, describe.c, overflow.c --------------------------------------------------- */

/* A task's end: everybody is told, and the loop's reference to it goes, and the stack with the last
 * one; on which it still runs, until it gives way. */
void co__end(co_task_t *task);
/* The task failed: other than by being cancelled as it was told. */
static inline bool co__failed(const co_task_t *task)
{
    return task->result < 0 && !(task->result == -ECANCELED && task->root.cancelled);
}
/* The task, a child of a group, is done. */
void co__group_child_done(co_task_t *task);
/* At close: reports the failures of tasks whose handles nobody has released. */
void co__report_held(struct scheduler *scheduler);
/* And what is held of them goes with the loop. */
void co__drop_held(struct scheduler *scheduler);
/* Frees an item of the ready queue, if it is a done callback that will not be called. */
void co__drop_item(struct loop__ready *item);
/* What a task waits for, in words: "co_read on fd 5". */
void co__describe(const co_task_t *task, char *text, size_t size);
void co__report_stuck(loop_t *loop);
/* The alternate signal stack and the SIGSEGV handler: a scheduler of this thread begins, and ends.
 */
void co__overflow_begin(void);
void co__overflow_end(void);

#endif
