/* switch.h: giving way, inlined where tasks do so: the switch clobbers every register, which are
 * saved once then. */
#ifndef TASK_SWITCH_H
#define TASK_SWITCH_H

#include "task/core.h"

/* What a C++ runtime keeps for the thread is empty whenever a stack is arrived at: who leaves in
 * the middle of an exception takes that along and puts it back on its return. */
static inline __attribute__((always_inline)) void task_switch_to(struct scheduler *scheduler,
                                                                 struct context *from,
                                                                 struct context *to)
{
    if (__builtin_expect(scheduler->exceptions && exceptions_any(scheduler->exceptions), 0))
        co__switch_in_exception(scheduler, from, to);
    else
        context_switch(from, to, false);
}

static inline void task_enter(co_task_t *task)
{
    co__current = task;
    task->budget = CO__CALLS_MAX;
}

/* Where the running task gives way to: the next item of the pass, if that is a task, which is taken
 * out then; else the loop. */
static inline __attribute__((always_inline)) struct context *task_next_context(
    loop_t *loop, struct scheduler *scheduler)
{
    if (__builtin_expect(scheduler->back != NULL, 0))
        return scheduler->back;
    if (list_empty(&loop->batch) && !loop__begin_pass_early(loop))
        return &scheduler->context;
    struct coloop__link *link = loop->batch.head.next;
    if (__builtin_expect(container_of(link, struct loop__ready, link)->run != co__run_item, 0))
        return &scheduler->context;
    list_remove_first(&loop->batch);
    loop->runs++;
    co_task_t *next = container_of(link, co_task_t, ready.link);
    task_enter(next);
    return &next->stack.context;
}

/* Lets the running task, which is in the ready queue or will be woken, give way. */
static inline __attribute__((always_inline)) void task_give_way(co_task_t *task)
{
    loop_t *loop = co__loop();
    struct scheduler *scheduler = loop->client_data;
    task_switch_to(scheduler, &task->stack.context, task_next_context(loop, scheduler));
}

/* What co__park does, for where it pays to have it inlined. */
static inline __attribute__((always_inline)) int task_park(co_task_t *task, struct co__wait *waits)
{
    struct scheduler *scheduler = co__loop()->client_data;
    if (__builtin_expect(task->interrupt || !task->scope->armed || scheduler->back, 0)) {
        int rc = co__park_slow(task, waits);
        if (rc < 0)
            return rc;
    }
    task->since = co__loop()->now;
    task->waits = waits;
    task_give_way(task);
    return task->code;
}

/* Puts a task at the end of the ready queue. */
static inline void task_make_ready(co_task_t *task)
{
    task->waits = NULL;
    loop__ready_push(task->loop, &task->ready);
}

/* What co__wake does, likewise. `alone`: the wait is known to be all that the task waits for. */
static inline __attribute__((always_inline)) void task_wake(struct co__wait *wait, int value,
                                                            bool alone)
{
    co_task_t *task = wait->task;
    wait->value = value;
    task->winner = wait;
    task->code = 0;
    if (__builtin_expect((!alone && (wait != task->waits || wait->next)) || task->scheduler->back,
                         0))
        co__wake_slow(task, wait);
    else
        task_make_ready(task);
}

#endif
