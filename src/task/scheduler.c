/* scheduler.c: a loop's tasks as a whole: made with the loop's first task, ended at its close. */
#include "base/alloc.h"
#include "task/core.h"

#include <stdio.h>

_Thread_local co_task_t *co__current;

/* For debuggers, which can call only what has been linked, the tasks' dump comes along with the
 * tasks. It is not for our use: the layer of debugging is above this one. */
COLOOP_API void loop_dump(loop_t *loop, FILE *file);
static void (*const for_debuggers)(loop_t *, FILE *) __attribute__((used)) = loop_dump;

static void init_pool(struct stack_pool *pool, size_t size)
{
    pool->size = size;
    pool->header = sizeof(co_task_t);
    pool->entry = co__stack_main;
}

struct scheduler *co__scheduler_new(loop_t *loop)
{
    struct scheduler *scheduler = coloop__zalloc(sizeof *scheduler);
    if (!scheduler)
        return NULL;
    scheduler->loop = loop;
    co__set_probe(scheduler, NULL);
    list_init(&scheduler->tasks);
    list_init(&scheduler->held);
    init_pool(&scheduler->pool, coloop__stack_round_size(loop->stack_size));
    loop->client = &co__client;
    loop->client_data = scheduler;
    loop->no_work = true;
    scheduler->exceptions = coloop__exceptions();
    co__overflow_begin();
    return scheduler;
}

void co__set_probe(struct scheduler *scheduler, struct co__probe *probe)
{
    scheduler->probe = probe;
    scheduler->back = probe || scheduler->loop->debug ? &scheduler->context : NULL;
}

static struct stack_pool *pool_of_size(struct scheduler *scheduler, size_t size)
{
    if (size == scheduler->pool.size)
        return &scheduler->pool;
    for (struct size_pool *p = scheduler->size_pools; p; p = p->next)
        if (p->pool.size == size)
            return &p->pool;
    struct size_pool *p = coloop__zalloc(sizeof *p);
    if (!p)
        return NULL;
    init_pool(&p->pool, size);
    p->next = scheduler->size_pools;
    scheduler->size_pools = p;
    return &p->pool;
}

/* Too many mappings, or a kernel without guards: said once, as an overflow would go unnoticed now.
 */
static void tell_unguarded(struct scheduler *scheduler)
{
    scheduler->told_unguarded = true;
    loop__report(scheduler->loop, 0, NULL, NULL,
                 "stacks have no guard pages from here on: the kernel's limit of mappings is near "
                 "(vm.max_map_count), or it has none; an overflow would overwrite other memory");
}

struct stack *co__stack(struct scheduler *scheduler, size_t size)
{
    struct stack_pool *pool = &scheduler->pool;
    if (size) {
        size = coloop__stack_round_size(size);
        pool = size ? pool_of_size(scheduler, size) : NULL;
    }
    struct stack *stack = pool ? coloop__stack_get(pool) : NULL;
    if (!stack)
        errno = pool || size ? ENOMEM : EINVAL;
    else if (__builtin_expect(pool->unguarded && !scheduler->told_unguarded, 0))
        tell_unguarded(scheduler);
    return stack;
}

void co__each_pool(struct scheduler *scheduler, void (*fn)(struct stack_pool *, void *), void *arg)
{
    fn(&scheduler->pool, arg);
    for (struct size_pool *p = scheduler->size_pools; p; p = p->next)
        fn(&p->pool, arg);
}

/* --- The loop's calls ------------------------------------------------------------------------- */

/* Tasks that are spawned from now on are cancelled at birth, and counted there. */
static void cancel_all(loop_t *loop)
{
    struct scheduler *scheduler = loop->client_data;
    list_for_each (link, &scheduler->tasks) {
        co_task_t *task = container_of(link, co_task_t, link);
        task->ignored = 0; /* what debug mode counted */
        co_task_cancel(task);
        loop->cancelled++;
    }
}

static void force(co_task_t *task)
{
    char text[256];
    co__describe(task, text, sizeof text);
    loop__report(
        task->loop, -EDEADLK, task->reason.where, task,
        "closing: task '%s' (#%llu) is cancelled but waits shielded in %s, and nothing can wake it",
        task->name, (unsigned long long)task->id, text);
    co__lift_shields(task);
    if (task->waits)
        co__interrupt(task, -ECANCELED);
}

/* Interrupts every parked task, through all shields; from now on each ends at its next suspending
 * call. The reports may spawn tasks, which are none of ours. */
static void force_all(loop_t *loop)
{
    struct scheduler *scheduler = loop->client_data;
    uint64_t last = scheduler->last_id;
    scheduler->forcing = true;
    list_for_each (link, &scheduler->tasks) {
        co_task_t *task = container_of(link, co_task_t, link);
        if (task->id > last)
            break;
        if (task->waits)
            force(task);
        else
            co__lift_shields(task); /* woken by the end of one before it */
    }
}

struct trim {
    int64_t now;
    bool more;
};

static void trim_pool(struct stack_pool *pool, void *arg)
{
    struct trim *trim = arg;
    if (!stack_pool_trimmable(pool))
        return;
    coloop__stack_trim(pool, trim->now);
    trim->more |= stack_pool_trimmable(pool);
}

static bool idle(loop_t *loop)
{
    struct trim trim = {.now = loop->now};
    co__each_pool(loop->client_data, trim_pool, &trim);
    return trim.more;
}

static void settle(loop_t *loop)
{
    co__report_held(loop->client_data);
}

static void free_pool(struct stack_pool *pool, void *arg)
{
    (void)arg;
    coloop__stack_pool_free(pool);
}

/* In a forked child tasks may be left, which go on in the parent. */
static void forget_parents_tasks(struct scheduler *scheduler)
{
    list_for_each (link, &scheduler->tasks) {
        co_task_t *task = container_of(link, co_task_t, link);
        co__error_release(task->error);
        co__locals_forget(task);
    }
}

static void free_scheduler(loop_t *loop)
{
    struct scheduler *scheduler = loop->client_data;
    forget_parents_tasks(scheduler);
    co__report_held(scheduler);
    co__drop_held(scheduler);
    co__each_pool(scheduler, free_pool, NULL);
    for (struct size_pool *p = scheduler->size_pools, *next; p; p = next) {
        next = p->next;
        coloop__free(p);
    }
    coloop__free(scheduler);
    co__overflow_end();
    loop->client = NULL;
    loop->client_data = NULL;
}

const struct loop_client co__client = {
    .report_stuck = co__report_stuck,
    .cancel_all = cancel_all,
    .outside = co__outside,
    .force_all = force_all,
    .drop = co__drop_item,
    .idle = idle,
    .settle = settle,
    .free = free_scheduler,
};
