/* switch.c: who runs.
 *
 *     loop's stack:  co__run_item --> task ... co__give_way --> the next ready task, or back
 *                                     task ... finish       --> back, to be reaped
 *     a task:        co__run_eagerly --> new task ... gives way or finishes --> back
 *
 * A task that gives way goes on straight in the next task of the pass, if that is what comes next,
 * and not through the loop's stack: half the switches. A finished task is reaped on another stack,
 * as nothing may run on one that is being given away.
 *
 * The state that a C++ runtime keeps for the thread is empty whenever a stack is arrived at: who
 * leaves in the middle of an exception takes its own along and puts it back on its return. */
#include "task/core.h"

static __attribute__((noinline)) void switch_in_exception(struct scheduler *scheduler,
                                                          struct context *from, struct context *to)
{
    const struct exceptions mine = *scheduler->exceptions;
    *scheduler->exceptions = (struct exceptions){0};
    context_switch(from, to, false);
    *scheduler->exceptions = mine;
}

static inline __attribute__((always_inline)) void switch_to(struct scheduler *scheduler,
                                                            struct context *from,
                                                            struct context *to)
{
    if (__builtin_expect(scheduler->exceptions && exceptions_any(scheduler->exceptions), 0))
        switch_in_exception(scheduler, from, to);
    else
        context_switch(from, to, false);
}

static inline void enter(co_task_t *task)
{
    co__current = task;
    task->state = CO__RUNNING;
    task->budget = CO__CALLS_MAX;
    task->loop->runs++;
}

/* A task has come back only to have something done for it. */
static void run_errand(struct scheduler *scheduler)
{
    co_task_t *task = co__current;
    void (*errand)(void *) = scheduler->errand;
    co__current = NULL;
    scheduler->errand = NULL;
    errand(scheduler->errand_arg);
    co__current = task;
    switch_to(scheduler, &scheduler->context, &task->stack.context);
}

static void run(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    enter(task);
    switch_to(scheduler, &scheduler->context, &task->stack.context);
    while (__builtin_expect(scheduler->errand != NULL, 0))
        run_errand(scheduler);
    co__current = NULL;
}

void co__outside(loop_t *loop, void (*fn)(void *), void *arg)
{
    co_task_t *task = co__current;
    if (!task || task->loop != loop) {
        fn(arg);
        return;
    }
    task->scheduler->errand = fn;
    task->scheduler->errand_arg = arg;
    switch_to(task->scheduler, &task->stack.context, &task->scheduler->context);
}

static void reap(struct scheduler *scheduler)
{
    co_task_t *finished = scheduler->finished;
    if (!finished)
        return;
    scheduler->finished = NULL;
    co__reap(finished);
}

static void report_slow(co_task_t *task, const struct co__reason *before, int64_t took)
{
    task->loop->slow_reported++;
    loop__report(task->loop, 0, before->where ? before->where : task->spawned_at, task,
                 "slow: task '%s' (#%llu) ran for %lld ms without a pause, after %s", task->name,
                 (unsigned long long)task->id, (long long)(took / NS_PER_MS),
                 before->call ? before->call : "its start");
}

/* In debug mode. The time of tasks that are run eagerly inside this one is theirs. */
static void run_timed(co_task_t *task, void (*run_it)(co_task_t *))
{
    struct scheduler *scheduler = task->scheduler;
    const struct co__reason before = task->reason;
    int64_t outer = scheduler->time_inside, start = clock_real_now();
    scheduler->time_inside = 0;
    run_it(task);
    int64_t total = clock_real_now() - start, took = total - scheduler->time_inside;
    scheduler->time_inside = outer + total;
    if (took > task->loop->slow_ns)
        report_slow(task, &before, took);
}

static void resume(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    if (__builtin_expect(task->loop->debug, 0))
        run_timed(task, run);
    else
        run(task);
    reap(scheduler);
}

void co__run_item(struct loop__ready *item)
{
    resume(container_of(item, co_task_t, ready));
}

void co__make_ready(co_task_t *task)
{
    task->state = CO__READY;
    loop__ready_push(task->loop, &task->ready);
}

/* In the running task this is much like a call. */
static void run_inside(co_task_t *task)
{
    co_task_t *self = task->resumer = co__current;
    enter(task);
    switch_to(task->scheduler, &self->stack.context, &task->stack.context);
    co__current = self;
}

void co__run_eagerly(co_task_t *task)
{
    if (co__current) {
        if (task->loop->debug)
            run_timed(task, run_inside);
        else
            run_inside(task);
        reap(co__current->scheduler);
        return;
    }
    task->scheduler->indirect++;
    resume(task);
    task->scheduler->indirect--;
}

/* The task that is next in the pass at hand, taken from it; NULL if something else is, or in debug
 * mode, where the loop times each item. */
static inline co_task_t *take_next(loop_t *loop, const struct scheduler *scheduler)
{
    struct coloop__link *link = list_first(&loop->batch);
    if (!link || scheduler->indirect ||
        container_of(link, struct loop__ready, link)->run != co__run_item)
        return NULL;
    list_remove(link);
    loop->ran_in_turn++;
    return container_of(link, co_task_t, ready.link);
}

void co__give_way(co_task_t *task)
{
    co_task_t *next = task->resumer;
    if (next)
        task->resumer = NULL;
    else if ((next = take_next(task->loop, task->scheduler)))
        enter(next);
    switch_to(task->scheduler, &task->stack.context,
              next ? &next->stack.context : &task->scheduler->context);
}

/* With unwound, frames are left on the stack, which is to be born anew: it does not return then. */
static void finish(co_task_t *task, int result, bool unwound)
{
    if (task->scope != &task->root)
        loop__abort(
            "task '%s' (#%llu) returned inside a scope: co_scope_enter without co_scope_leave",
            task->name, (unsigned long long)task->id);
    task->result = result;
    task->unwound = unwound;
    task->scheduler->finished = task;
    struct context *back =
        task->resumer ? &task->resumer->stack.context : &task->scheduler->context;
    context_switch(&task->stack.context, back, true);
}

void co__finish_by_throw(co_task_t *task, int result)
{
    if (task->scheduler->exceptions)
        coloop__exceptions_restore(task->scheduler->exceptions, (struct exceptions){0});
    finish(task, result, true);
    __builtin_trap(); /* the stack was born anew, nobody comes back to here */
}

void co__stack_main(struct stack *stack)
{
    co_task_t *task = (co_task_t *)stack;
    for (;;) {
        int result = task->fn(task->arg);
        finish(task, result, false);
    }
}
