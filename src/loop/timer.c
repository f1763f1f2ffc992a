/* timer.c: timers, in a heap by deadline; those of one deadline expire in the order they were set.
 */
#include "loop/core.h"

#include <errno.h>

int loop__timer_set(loop_t *loop, struct loop__timer *timer, int64_t when)
{
    if (!heap_has_room(&loop->timers) && coloop__heap_reserve(&loop->timers) < 0)
        return -ENOMEM;
    heap_insert(&loop->timers, &timer->node, when, LOOP__TIMER);
    if (loop->exported)
        loop__ready_slow(loop);
    return 0;
}

/* A million at once would be out of the cache again when they run, and would keep events waiting:
 * there are turns between them. Where other work makes turns rare, as many expire as that ran. */
void loop__expire_timers(loop_t *loop)
{
    uint64_t most = loop->ran_before > EXPIRED_AT_ONCE ? loop->ran_before : EXPIRED_AT_ONCE;
    for (; most > 0 && loop__timers_due(loop); most--) {
        struct coloop__heap_node *node = heap_first(&loop->timers);
        heap_remove(&loop->timers, node);
        if (heap_tag(node) == LOOP__TIMER) {
            struct loop__timer *timer = container_of(node, struct loop__timer, node);
            timer->expire(timer);
        } else {
            loop__call_expire(node);
        }
    }
}
