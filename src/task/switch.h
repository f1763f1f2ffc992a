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
    task->state = CO__RUNNING;
    task->budget = CO__CALLS_MAX;
    task->loop->runs++;
}

/* Each task lies on a page of its own, and with thousands of them every one is a cache miss: that
 * after the next is fetched while this one runs. Only an address is made of the link, which may not
 * be a task's. */
static inline void task_prefetch(const struct coloop__link *link)
{
    const char *at = (const char *)link - offsetof(co_task_t, ready.link);
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
}

/* The next item of the pass, if it is a task that may go on right in the one that gives way: taken
 * out. In debug mode and inside eager runs from callbacks it goes through the loop's stack. */
static inline co_task_t *task_take_next(loop_t *loop, const struct scheduler *scheduler)
{
    struct coloop__link *link = loop->batch.head.next;
    if (link == &loop->batch.head || scheduler->indirect ||
        container_of(link, struct loop__ready, link)->run != co__run_item)
        return NULL;
    task_prefetch(link->next->next);
    list_remove(link);
    loop->ran_in_turn++;
    return container_of(link, co_task_t, ready.link);
}

/* Where the running task gives way to. */
static inline __attribute__((always_inline)) struct context *task_next_context(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    co_task_t *next = task->resumer;
    if (__builtin_expect(next != NULL, 0)) {
        task->resumer = NULL;
        return &next->stack.context;
    }
    if (list_empty(&task->loop->batch) && !scheduler->indirect)
        loop__begin_pass_early(task->loop);
    if (!(next = task_take_next(task->loop, scheduler)))
        return &scheduler->context;
    task_enter(next);
    return &next->stack.context;
}

/* The task that finished in favour of the one that runs now. */
static inline void task_reap(struct scheduler *scheduler)
{
    co_task_t *finished = scheduler->finished;
    if (__builtin_expect(finished == NULL, 1))
        return;
    scheduler->finished = NULL;
    co__reap(finished);
}

/* Lets the running task, which is in the ready queue or will be woken, give way. */
static inline __attribute__((always_inline)) void task_give_way(co_task_t *task)
{
    task_switch_to(task->scheduler, &task->stack.context, task_next_context(task));
    task_reap(task->scheduler);
}

/* What co__park does, for where it pays to have it inlined. */
static inline __attribute__((always_inline)) int task_park(co_task_t *task, struct co__wait *waits)
{
    task->waits = waits;
    if (__builtin_expect(task->interrupt || !task->scope->armed || task->scheduler->probe, 0)) {
        int rc = co__park_slow(task);
        if (rc < 0)
            return rc;
    }
    task->since = task->loop->now;
    task->state = CO__PARKED;
    task_give_way(task);
    return task->code;
}

/* Puts a task at the end of the ready queue. */
static inline void task_make_ready(co_task_t *task)
{
    task->state = CO__READY;
    loop__ready_push(task->loop, &task->ready);
}

/* What co__wake does, likewise. */
static inline void task_wake(struct co__wait *wait, int value)
{
    co_task_t *task = wait->task;
    if (__builtin_expect(wait != task->waits || wait->next || task->scheduler->probe, 0)) {
        co__wake(wait, value);
        return;
    }
    wait->value = value;
    task->winner = wait;
    task->code = 0;
    task_make_ready(task);
}

#endif
