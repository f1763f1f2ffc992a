/* event.c: a flag that tasks wait for. */
#include "sync/core.h"

int co_event_wait_here(co_event_t *event, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (event->is_set)
        return co__spent(self, 0);
    struct sync_waiter waiter = {0};
    co__reason(self, "co_event_wait", where, CO__OBJECT)->object = event;
    return co__sync_park(self, &event->waiters, &waiter);
}

void co_event_set(co_event_t *event)
{
    event->is_set = true;
    co__sync_wake_all(&event->waiters, 0);
}

void co_event_clear(co_event_t *event)
{
    event->is_set = false;
}

bool co_event_is_set(const co_event_t *event)
{
    return event->is_set;
}
