/* stats.c: the loop in numbers. */
#include "task/core.h"

#include <coloop/debug.h>

static void add_pool(struct stack_pool *pool, void *arg)
{
    loop_stats_t *stats = arg;
    stats->stacks += pool->total;
    stats->stacks_idle += pool->idle_count;
    stats->stacks_unguarded += pool->unguarded;
    stats->stack_bytes += coloop__stack_pool_bytes(pool);
}

void loop_stats(loop_t *loop, loop_stats_t *stats)
{
    struct scheduler *scheduler = loop->client_data;
    *stats = (loop_stats_t){
        .tasks = loop->client_work,
        .ready = list_count(&loop->ready) + list_count(&loop->batch),
        .timers = loop->timers.count,
        .watchers = loop->watchers,
        .fd_waiters = loop->fd_waits,
        .passes = loop->passes,
        .polls = loop->polls,
        .events = loop->events,
        .runs = loop->runs,
    };
    if (!scheduler)
        return;
    stats->tasks_peak = scheduler->peak;
    stats->tasks_total = scheduler->last_id;
    co__each_pool(scheduler, add_pool, stats);
}
