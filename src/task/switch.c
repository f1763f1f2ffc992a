/* switch.c: who runs.
 *
 *     loop's stack:  co__resume --switch--> task ... co__give_way --switch--> the next ready task, or back
 *                                           task ... co__finish   --switch--> back, to be reaped
 *
 * A task that gives way goes on straight in the next task of the pass, if that is what comes next, and not
 * through the loop's stack: half the switches. Only the loop's stack reaps, as nothing runs on a stack that
 * is being given away. */
#include "task/core.h"

static inline void enter(co_task_t *task)
{
    co__current = task;
    task->state = CO__RUNNING;
    task->budget = CO__CALLS_MAX;
    task->loop->runs++;
}

static void run(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    enter(task);
    context_switch(&scheduler->context, &task->stack.context, false);
    co__current = NULL;
}

static void reap(struct scheduler *scheduler)
{
    co_task_t *finished = scheduler->finished;
    if (!finished)
        return;
    scheduler->finished = NULL;
    co__reap(finished);
}

static void run_timed(co_task_t *task)
{
    loop_t *loop = task->loop;
    const char *call = task->reason.call, *where = task->reason.where;
    int64_t start = clock_real_now();
    run(task);
    int64_t took = clock_real_now() - start;
    if (took <= loop->slow_ns)
        return;
    loop->slow_reported++;
    loop__report(loop, 0, where ? where : task->spawned_at, task,
                 "slow: task '%s' (#%llu) ran for %lld ms without a pause, after %s", task->name,
                 (unsigned long long)task->id, (long long)(took / NS_PER_MS), call ? call : "its start");
}

void co__resume(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    if (__builtin_expect(task->loop->debug, 0))
        run_timed(task);
    else
        run(task);
    reap(scheduler);
}

void co__run_item(struct loop__ready *item)
{
    co__resume(container_of(item, co_task_t, ready));
}

void co__make_ready(co_task_t *task)
{
    task->state = CO__READY;
    loop__ready_push(task->loop, &task->ready);
}

/* The task that is next in the pass at hand, taken from it; NULL if something else is, or in debug mode, where
 * the loop times each item. */
static inline co_task_t *take_next(loop_t *loop)
{
    struct coloop__link *link = list_first(&loop->batch);
    if (!link || loop->debug || container_of(link, struct loop__ready, link)->run != co__run_item)
        return NULL;
    list_remove(link);
    loop->ran_in_turn++;
    return container_of(link, co_task_t, ready.link);
}

void co__give_way(co_task_t *task)
{
    co_task_t *next = take_next(task->loop);
    if (next)
        enter(next);
    context_switch(&task->stack.context, next ? &next->stack.context : &task->scheduler->context, false);
}

void co__finish(co_task_t *task, int result, bool unwound)
{
    if (task->scope != &task->root)
        loop__abort("task '%s' (#%llu) returned inside a scope: co_scope_enter without co_scope_leave",
                    task->name, (unsigned long long)task->id);
    task->result = result;
    task->unwound = unwound;
    task->scheduler->finished = task;
    context_switch(&task->stack.context, &task->scheduler->context, true);
}

void co__finish_by_throw(co_task_t *task, int result)
{
    co__finish(task, result, true);
    __builtin_trap(); /* the stack was born anew, nobody comes back to here */
}

void co__stack_main(struct stack *stack)
{
    co_task_t *task = (co_task_t *)stack;
    for (;;) {
        int result = task->fn(task->arg);
        co__finish(task, result, false);
    }
}
