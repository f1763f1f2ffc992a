/* timer.c: timers, in a heap by deadline; those of one deadline expire in the order they were set.
 */
#include "loop/core.h"

int loop__timer_set(loop_t *loop, struct loop__timer *timer, int64_t when)
{
    int rc = coloop__heap_insert(&loop->timers, &timer->node, when);
    if (rc == 0 && loop->exported)
        loop__ready_slow(loop);
    return rc;
}

void loop__timer_cancel(loop_t *loop, struct loop__timer *timer)
{
    if (loop__timer_is_set(timer))
        coloop__heap_remove(&loop->timers, &timer->node);
}

void loop__expire_timers(loop_t *loop)
{
    while (loop->timers.count && loop__next_deadline(loop) <= loop->now) {
        struct coloop__heap_node *node = heap_first(&loop->timers);
        coloop__heap_remove(&loop->timers, node);
        struct loop__timer *timer = container_of(node, struct loop__timer, node);
        timer->expire(timer);
    }
}
