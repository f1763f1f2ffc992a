/* barrier.c: tasks that wait for each other. A waiter that goes away breaks the barrier, as the
 * others would wait for it in vain. */
#include "sync/core.h"

void co_barrier_init(co_barrier_t *barrier, size_t parties)
{
    *barrier = (co_barrier_t){.parties = parties};
}

static void leave(struct sync_waiter *waiter)
{
    co_barrier_abort(waiter->object);
}

int co_barrier_wait_here(co_barrier_t *barrier, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (!barrier->parties || barrier->broken)
        return co__spent(self, barrier->parties ? -EPIPE : -EINVAL);
    int place = (int)barrier->arrived++;
    if (barrier->arrived == barrier->parties) {
        barrier->arrived = 0;
        co__sync_wake_all(&barrier->waiters, 0);
        return co__spent(self, place);
    }
    struct sync_waiter waiter = {.object = barrier, .left = leave};
    co__reason(self, "co_barrier_wait", where, CO__OBJECT)->object = barrier;
    rc = co__sync_park(self, &barrier->waiters, &waiter);
    if (rc == 0)
        rc = waiter.wait.value;
    return rc < 0 ? rc : place;
}

void co_barrier_abort(co_barrier_t *barrier)
{
    barrier->broken = true;
    barrier->arrived = 0;
    co__sync_wake_all(&barrier->waiters, -EPIPE);
}
