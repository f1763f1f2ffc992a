/* core.h: tasks that wait in line. */
#ifndef SYNC_CORE_H
#define SYNC_CORE_H

#include "task/core.h"

#include <coloop/chan.h>

/* A task in a co__waiters. */
struct sync_waiter {
    struct co__wait wait;
    struct coloop__link link;
    /* the object's own: */
    int kind;
    void *object;
    void (*left)(struct sync_waiter *); /* an interruption took it out of the line */
};

static inline struct list *sync_line(struct co__waiters *waiters)
{
    return list_of(&waiters->list);
}

/* Whether nobody waits; for objects that nobody may have touched yet. */
static inline bool sync_is_empty(const struct co__waiters *waiters)
{
    return !waiters->list.next || waiters->list.next == &waiters->list;
}

static inline struct sync_waiter *sync_first(struct co__waiters *waiters)
{
    struct coloop__link *link = list_first(sync_line(waiters));
    return link ? container_of(link, struct sync_waiter, link) : NULL;
}

/* Somebody unlocks what another task owns, or nobody: aborts with a line that names both. Not while
 * the loop is closed by force, where even shielded calls fail and a task's clean-up may give back a
 * lock that it did not get. */
void co__sync_unlock_by_stranger(const char *call, const co_task_t *owner);

/* Parks the running task, whose reason is noted, at the end of the line until it is woken by
 * co__sync_wake: 0 with waiter->wait.value; or the code of its interruption. */
int co__sync_park(co_task_t *task, struct co__waiters *waiters, struct sync_waiter *waiter);

/* Takes the waiter out of the line and wakes its task. */
void co__sync_wake(struct sync_waiter *waiter, int value);

/* Wakes everybody. */
void co__sync_wake_all(struct co__waiters *waiters, int value);

#endif
