/* mutex.c: a mutex that is handed over.
 *
 * The owner is held by a reference: it stays a task, and no other one takes its place, even if it
 * ends without unlocking (as the writer of a read-write lock is).
 *
 * Invariant: if tasks wait, it has an owner; unlock makes the first waiter the owner before that
 * runs. */
#include "sync/core.h"

static inline void set_owner(co_mutex_t *mutex, co_task_t *task)
{
    mutex->owner = task;
    task->references++;
}

static __attribute__((noinline)) int lock_slowly(co_mutex_t *mutex, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (mutex->owner == self)
        return co__spent(self, -EDEADLK);
    if (!mutex->owner) {
        set_owner(mutex, self);
        return co__spent(self, 0);
    }
    struct sync_waiter waiter = {0};
    co__reason(self, "co_mutex_lock", where, CO__OWNED)->object = &mutex->owner;
    return co__sync_park(self, &mutex->waiters, &waiter);
}

int co_mutex_lock_here(co_mutex_t *mutex, const char *where)
{
    co_task_t *self = co__current;
    if (__builtin_expect(!self || self->interrupt || mutex->owner, 0))
        return lock_slowly(mutex, where);
    set_owner(mutex, self);
    return co__spent(self, 0);
}

int co_mutex_trylock(co_mutex_t *mutex)
{
    if (!co__current)
        return -EPERM;
    if (mutex->owner)
        return -EBUSY;
    set_owner(mutex, co__current);
    return 0;
}

static __attribute__((noinline)) void hand_over(co_mutex_t *mutex)
{
    struct sync_waiter *first = sync_first(&mutex->waiters);
    set_owner(mutex, first->wait.task);
    co__sync_wake(first, 0);
}

/* The reference that is given back is not the last one, as the loop has one while the task runs. */
void co_mutex_unlock(co_mutex_t *mutex)
{
    co_task_t *self = co__current;
    if (__builtin_expect(!self || mutex->owner != self, 0)) {
        co__sync_unlock_by_stranger("co_mutex_unlock", mutex->owner);
        return;
    }
    self->references--;
    mutex->owner = NULL;
    if (!sync_is_empty(&mutex->waiters))
        hand_over(mutex);
}
