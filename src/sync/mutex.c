/* mutex.c: a mutex that is handed over.
 *
 * The owner is held by a reference: it stays a task, and no other one takes its place, even if it
 * ends without unlocking (as the writer of a read-write lock is).
 *
 * Invariant: if tasks wait, it has an owner; unlock makes the first waiter the owner before that
 * runs. */
#include "sync/core.h"

int co_mutex_lock_here(co_mutex_t *mutex, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (!mutex->owner) {
        mutex->owner = co_task_retain(self);
        return 0;
    }
    if (mutex->owner == self)
        return -EDEADLK;
    struct sync_waiter waiter = {0};
    struct co__reason reason = {"co_mutex_lock", where, CO__OWNED, .object = &mutex->owner};
    return sync__park(self, &mutex->waiters, &waiter, &reason);
}

int co_mutex_trylock(co_mutex_t *mutex)
{
    if (!co__current)
        return -EPERM;
    if (mutex->owner)
        return -EBUSY;
    mutex->owner = co_task_retain(co__current);
    return 0;
}

void co_mutex_unlock(co_mutex_t *mutex)
{
    if (!mutex->owner || mutex->owner != co__current) {
        if (sync_is_forced(co__current))
            return;
        loop__abort("co_mutex_unlock by '%s': the mutex is owned by %s%s%s",
                    co__current ? co__current->name : "no task", mutex->owner ? "'" : "nobody",
                    mutex->owner ? mutex->owner->name : "", mutex->owner ? "'" : "");
    }
    struct sync_waiter *first = sync_first(&mutex->waiters);
    mutex->owner = first ? co_task_retain(first->wait.task) : NULL;
    if (first)
        sync__wake(first, 0);
    co_task_release(co__current);
}
