/* sync.h: mutex, condition, event, semaphore, barrier, read-write lock, for tasks of one loop.
 *
 * All are plain structs, valid when zeroed (a semaphore without permits, a barrier that wants an
 * init first), with nothing to destroy; only the functions look into them. They are handed over in
 * the order of arrival: an unlock gives the lock to the first waiter and nobody can slip in
 * between. A waiter that was chosen has what it waited for, and its call returns 0 even if it is
 * cancelled in the same moment. No call allocates memory or makes a system call.
 *
 * Suspending calls return 0; -ECANCELED or -ETIMEDOUT without effect; -EPERM outside a coroutine;
 * and -ENOMEM without effect if they have to wait in a scope whose deadline finds no memory. The
 * others may be called from anywhere on the loop's thread. An object that tasks wait for must not
 * go away. While a loop is closed by force (loop_close), even shielded calls fail, and the unlock
 * of what a task did not get is ignored. */
#ifndef COLOOP_SYNC_H
#define COLOOP_SYNC_H

#include <coloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct co__waiters { /* tasks in the order of arrival */
    struct coloop__link list;
};

/* A mutex, owned by a task. lock suspends; -EDEADLK if the caller owns it. trylock: -EBUSY if it is
 * owned, -EPERM outside a coroutine. unlock by another task than the owner aborts with a line that
 * names both. */
typedef struct co_mutex {
    co_task_t *owner;
    struct co__waiters waiters;
} co_mutex_t;
#define co_mutex_lock(mutex) co_mutex_lock_here((mutex), CO_HERE)
COLOOP_API int co_mutex_lock_here(co_mutex_t *mutex, const char *where);
COLOOP_API int co_mutex_trylock(co_mutex_t *mutex);
COLOOP_API void co_mutex_unlock(co_mutex_t *mutex);

/* A condition. wait suspends: it unlocks the mutex, which the caller must own (-EPERM), waits for a
 * signal, and holds the mutex again when it returns, whatever it returns. signal wakes the first
 * waiter, broadcast all; both may be called with or without the mutex. A wake-up is a hint: test
 * the condition again. */
typedef struct co_cond {
    struct co__waiters waiters;
} co_cond_t;
#define co_cond_wait(cond, mutex) co_cond_wait_here((cond), (mutex), CO_HERE)
COLOOP_API int co_cond_wait_here(co_cond_t *cond, co_mutex_t *mutex, const char *where);
COLOOP_API void co_cond_signal(co_cond_t *cond);
COLOOP_API void co_cond_broadcast(co_cond_t *cond);

/* An event: wait suspends until it is set; set wakes all waiters, also if it is cleared before they
 * run. */
typedef struct co_event {
    bool is_set;
    struct co__waiters waiters;
} co_event_t;
#define co_event_wait(event) co_event_wait_here((event), CO_HERE)
COLOOP_API int co_event_wait_here(co_event_t *event, const char *where);
COLOOP_API void co_event_set(co_event_t *event);
COLOOP_API void co_event_clear(co_event_t *event);
COLOOP_API bool co_event_is_set(const co_event_t *event);

/* A semaphore with `permits`. acquire suspends; tryacquire: -EAGAIN if there is none to be had at
 * once. */
typedef struct co_sem {
    size_t permits;
    struct co__waiters waiters;
} co_sem_t;
#define co_sem_acquire(sem) co_sem_acquire_here((sem), CO_HERE)
COLOOP_API void co_sem_init(co_sem_t *sem, size_t permits);
COLOOP_API int co_sem_acquire_here(co_sem_t *sem, const char *where);
COLOOP_API int co_sem_tryacquire(co_sem_t *sem);
COLOOP_API void co_sem_release(co_sem_t *sem);

/* A barrier for `parties` tasks. wait suspends until that many wait, and returns the order of
 * arrival, 0 to parties - 1; the barrier can then be used again. A waiter that is cancelled or out
 * of time breaks it, and so does abort: all waiters and later ones get -EPIPE, until
 * co_barrier_init. -EINVAL: no parties. */
typedef struct co_barrier {
    size_t parties, arrived;
    bool broken;
    struct co__waiters waiters;
} co_barrier_t;
#define co_barrier_wait(barrier) co_barrier_wait_here((barrier), CO_HERE)
COLOOP_API void co_barrier_init(co_barrier_t *barrier, size_t parties);
COLOOP_API int co_barrier_wait_here(co_barrier_t *barrier, const char *where);
COLOOP_API void co_barrier_abort(co_barrier_t *barrier);

/* A lock for many readers or one writer, in the order of arrival: readers behind a waiting writer
 * wait, so writers do not starve. rdlock and wrlock suspend; wrlock is -EDEADLK if the caller is
 * the writer, and so is rdlock. unlock ends either; by a task that is not the writer, or without
 * any reader, it aborts. */
typedef struct co_rwlock {
    size_t readers;
    co_task_t *writer;
    struct co__waiters waiters;
} co_rwlock_t;
#define co_rwlock_rdlock(lock) co_rwlock_rdlock_here((lock), CO_HERE)
#define co_rwlock_wrlock(lock) co_rwlock_wrlock_here((lock), CO_HERE)
COLOOP_API int co_rwlock_rdlock_here(co_rwlock_t *lock, const char *where);
COLOOP_API int co_rwlock_wrlock_here(co_rwlock_t *lock, const char *where);
COLOOP_API void co_rwlock_unlock(co_rwlock_t *lock);

#ifdef __cplusplus
}
#endif
#endif
