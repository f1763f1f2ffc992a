/* rwlock.c: a lock for many readers or one writer.
 *
 * Invariant: the first waiter, if there is one, cannot have the lock now. So whatever changes
 * readers, writer or the front of the line lets in who can be let in. */
#include "sync/core.h"

enum { READER, WRITER };

static void let_in(co_rwlock_t *lock)
{
    struct sync_waiter *first;
    while ((first = sync_first(&lock->waiters)) && !lock->writer &&
           (first->kind == READER || !lock->readers)) {
        if (first->kind == READER)
            lock->readers++;
        else
            lock->writer = co_task_retain(first->wait.task);
        co__sync_wake(first, 0);
    }
}

/* A writer that gave up may have held up readers behind it. */
static void leave(struct sync_waiter *waiter)
{
    let_in(waiter->object);
}

static int wait_in_line(co_task_t *self, co_rwlock_t *lock, int kind, const char *where)
{
    struct sync_waiter waiter = {.kind = kind, .object = lock, .left = leave};
    const char *call = kind == READER ? "co_rwlock_rdlock" : "co_rwlock_wrlock";
    co__reason(self, call, where, CO__OWNED)->object = &lock->writer;
    return co__sync_park(self, &lock->waiters, &waiter);
}

static bool must_wait(const co_rwlock_t *lock, int kind)
{
    return lock->writer || (kind == WRITER && lock->readers) || !sync_is_empty(&lock->waiters);
}

static int lock_for(co_rwlock_t *lock, int kind, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (lock->writer == self)
        rc = -EDEADLK;
    else if (must_wait(lock, kind))
        return wait_in_line(self, lock, kind, where);
    else if (kind == READER)
        lock->readers++;
    else
        lock->writer = co_task_retain(self);
    return co__spent(self, rc);
}

int co_rwlock_rdlock_here(co_rwlock_t *lock, const char *where)
{
    return lock_for(lock, READER, where);
}

int co_rwlock_wrlock_here(co_rwlock_t *lock, const char *where)
{
    return lock_for(lock, WRITER, where);
}

void co_rwlock_unlock(co_rwlock_t *lock)
{
    if (lock->writer ? lock->writer != co__current : !lock->readers) {
        co__sync_unlock_by_stranger("co_rwlock_unlock", lock->writer);
        return;
    }
    co_task_t *writer = lock->writer;
    if (writer)
        lock->writer = NULL;
    else
        lock->readers--;
    let_in(lock);
    co_task_release(writer);
}
