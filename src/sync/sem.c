/* sem.c: a counting semaphore.
 *
 * Invariant: if tasks wait, there is no permit; release hands its permit to the first waiter. */
#include "sync/core.h"

void co_sem_init(co_sem_t *sem, size_t permits)
{
    *sem = (co_sem_t){.permits = permits};
}

int co_sem_acquire_here(co_sem_t *sem, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (co_sem_tryacquire(sem) == 0)
        return co__spent(self, 0);
    struct sync_waiter waiter = {0};
    co__reason(self, "co_sem_acquire", where, CO__OBJECT)->object = sem;
    return co__sync_park(self, &sem->waiters, &waiter);
}

int co_sem_tryacquire(co_sem_t *sem)
{
    if (!sem->permits)
        return -EAGAIN;
    sem->permits--;
    return 0;
}

void co_sem_release(co_sem_t *sem)
{
    struct sync_waiter *first = sync_first(&sem->waiters);
    if (first)
        co__sync_wake(first, 0);
    else
        sem->permits++;
}
