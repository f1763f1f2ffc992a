/* cond.c: a condition variable. */
#include "sync/core.h"

int co_cond_wait_here(co_cond_t *cond, co_mutex_t *mutex, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (mutex->owner != self)
        return co__spent(self, -EPERM);
    struct sync_waiter waiter = {0};
    co__reason(self, "co_cond_wait", where, CO__OBJECT)->object = cond;
    co_mutex_unlock(mutex);
    rc = co__sync_park(self, &cond->waiters, &waiter);
    co_shield() while (mutex->owner != self)
        co_mutex_lock_here(mutex, where); /* fails only while the loop is closed by force */
    return rc;
}

void co_cond_signal(co_cond_t *cond)
{
    struct sync_waiter *first = sync_first(&cond->waiters);
    if (first)
        co__sync_wake(first, 0);
}

void co_cond_broadcast(co_cond_t *cond)
{
    co__sync_wake_all(&cond->waiters, 0);
}
