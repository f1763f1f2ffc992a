/* switch.c: who runs.
 *
 *     loop's stack:  co__run_item --> task ... co__give_way --> the next ready task, or back
 *                                     task ... finish       --> back, to be reaped
 *     a task:        co__run_eagerly --> new task ... gives way or finishes --> back
 *
 * A task that gives way goes on straight in the next task of the pass, if that is what comes next,
 * and not through the loop's stack: half the switches. A finished task is reaped on another stack,
 * as nothing may run on one that is being given away. */
#include "task/switch.h"

/* A task has come back only to have something done for it. */
static void run_errand(struct scheduler *scheduler)
{
    co_task_t *task = co__current;
    void (*errand)(void *) = scheduler->errand;
    co__current = NULL;
    scheduler->errand = NULL;
    errand(scheduler->errand_arg);
    co__current = task;
    context_switch(&scheduler->context, &task->stack.context, false);
}

static void run(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    enter(task);
    context_switch(&scheduler->context, &task->stack.context, false);
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
    context_switch(&task->stack.context, &task->scheduler->context, false);
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
    context_switch(&self->stack.context, &task->stack.context, false);
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
