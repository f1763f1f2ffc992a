/* switch.h: giving way, inlined where tasks do so: the switch clobbers every register, which are
 * saved once then. */
#ifndef TASK_SWITCH_H
#define TASK_SWITCH_H

#include "task/core.h"

static inline void enter(co_task_t *task)
{
    co__current = task;
    task->state = CO__RUNNING;
    task->budget = CO__CALLS_MAX;
    task->loop->runs++;
}

/* The next item, if it is a task that may go on right in the one that gives way: taken out of its
 * pass. In debug mode and inside eager runs from callbacks it goes through the loop's stack. */
static inline co_task_t *take_next(loop_t *loop, const struct scheduler *scheduler)
{
    if (scheduler->indirect)
        return NULL;
    struct coloop__link *link = loop->batch.head.next;
    if (link == &loop->batch.head) {
        if (!loop__begin_pass_early(loop))
            return NULL;
        link = loop->batch.head.next;
    }
    if (container_of(link, struct loop__ready, link)->run != co__run_item)
        return NULL;
    list_remove(link);
    loop->ran_in_turn++;
    return container_of(link, co_task_t, ready.link);
}

/* Lets the running task, which is in the ready queue or will be woken, give way. */
static inline __attribute__((always_inline)) void give_way(co_task_t *task)
{
    co_task_t *next = task->resumer;
    if (__builtin_expect(next != NULL, 0))
        task->resumer = NULL;
    else if ((next = take_next(task->loop, task->scheduler)))
        enter(next);
    context_switch(&task->stack.context, next ? &next->stack.context : &task->scheduler->context,
                   false);
}

#endif
