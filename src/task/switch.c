/* switch.c: who runs.
 *
 *     loop's stack:  co__run_item --> task ... give_way --> the next ready task, or back
 *                                     task ... finish   --> likewise
 *     a task:        co__run_eagerly --> new task ... gives way or finishes --> back
 *
 * A task that gives way or finishes goes on straight in the next task of the pass, if that is what
 * comes next, and not through the loop's stack: half the switches. One that finishes puts its stack
 * back into the pool while it is on it: nobody takes it out before the switch. */
#include "task/switch.h"

void co__switch_in_exception(struct scheduler *scheduler, struct context *from, struct context *to)
{
    const struct exceptions mine = *scheduler->exceptions;
    *scheduler->exceptions = (struct exceptions){0};
    context_switch(from, to, false);
    *scheduler->exceptions = mine;
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
    task_switch_to(scheduler, &scheduler->context, &task->stack.context);
}

static void run(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    task_enter(task);
    task_switch_to(scheduler, &scheduler->context, &task->stack.context);
    while (__builtin_expect(scheduler->errand != NULL, 0))
        run_errand(scheduler);
    co__current = NULL;
}

void co__outside(void (*fn)(void *), void *arg)
{
    co_task_t *task = co__current;
    if (!task) {
        fn(arg);
        return;
    }
    task->scheduler->errand = fn;
    task->scheduler->errand_arg = arg;
    task_switch_to(task->scheduler, &task->stack.context, &task->scheduler->context);
}

static void report_slow(co_task_t *task, const struct co__reason *before, int64_t took)
{
    task->loop->slow_reported++;
    loop__report(task->loop, 0, before->where ? before->where : task->spawned_at, task,
                 "slow: task '%s' (#%llu) ran for %lld ms without a pause, after %s", task->name,
                 (unsigned long long)task->id, (long long)(took / NS_PER_MS),
                 before->call ? before->call : "its start");
}

/* In debug mode. The time of tasks that are run eagerly inside this one is theirs. The task may
 * come to its end, and is looked at after that. */
static void run_timed(co_task_t *task, void (*run_it)(co_task_t *))
{
    struct scheduler *scheduler = task->scheduler;
    const struct co__reason before = task->reason;
    int64_t outer = scheduler->time_inside, start = clock_real_now();
    scheduler->time_inside = 0;
    co_task_retain(task);
    run_it(task);
    int64_t total = clock_real_now() - start, took = total - scheduler->time_inside;
    scheduler->time_inside = outer + total;
    if (took > task->loop->slow_ns)
        report_slow(task, &before, took);
    co_task_release(task);
}

static void resume(co_task_t *task)
{
    if (__builtin_expect(task->loop->debug, 0))
        run_timed(task, run);
    else
        run(task);
}

void co__run_item(struct loop__ready *item)
{
    resume(container_of(item, co_task_t, ready));
}

/* In the running task this is much like a call. */
static void run_inside(co_task_t *task)
{
    co_task_t *self = co__current;
    task_enter(task);
    task_switch_to(self->scheduler, &self->stack.context, &task->stack.context);
    co__current = self;
}

void co__run_eagerly(co_task_t *task)
{
    struct scheduler *scheduler = task->scheduler;
    struct context *before = scheduler->back;
    scheduler->loop->runs++;
    scheduler->back = co__current ? &co__current->stack.context : &scheduler->context;
    if (!co__current)
        resume(task);
    else if (scheduler->loop->debug)
        run_timed(task, run_inside);
    else
        run_inside(task);
    scheduler->back = before;
}

static void check_scopes(const co_task_t *task)
{
    if (task->scope != &task->root)
        loop__abort(
            "task '%s' (#%llu) returned inside a scope: co_scope_enter without co_scope_leave",
            task->name, (unsigned long long)task->id);
}

/* Gives way for the last time. */
static inline __attribute__((always_inline)) void finish(co_task_t *task, int result)
{
    struct scheduler *scheduler = task->scheduler;
    task->result = result;
    co__end(task);
    context_switch(&task->stack.context, task_next_context(co__loop(), scheduler), true);
}

/* The stack with all that was left on it is born anew before its next use. */
void co__finish_by_throw(co_task_t *task, int result)
{
    check_scopes(task);
    if (task->scheduler->exceptions)
        coloop__exceptions_restore(task->scheduler->exceptions, (struct exceptions){0});
    task->unwound = true;
    task->awaiting = NULL;
    task->awaiting_count = 0;
    task->awaiting_group = NULL;
    finish(task, result);
    __builtin_trap();
}

void co__stack_main(struct stack *stack)
{
    co_task_t *task = (co_task_t *)stack;
    for (;;) {
        int result = task->fn(task->arg);
        check_scopes(task);
        finish(task, result);
    }
}
