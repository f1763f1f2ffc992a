/* line.c: tasks that wait in line. */
#include "sync/core.h"
#include "task/switch.h"

static void undo(struct co__wait *wait)
{
    struct sync_waiter *waiter = container_of(wait, struct sync_waiter, wait);
    list_remove(&waiter->link);
    if (waiter->left)
        waiter->left(waiter);
}

int co__sync_park(co_task_t *task, struct co__waiters *waiters, struct sync_waiter *waiter)
{
    waiter->wait = (struct co__wait){.task = task, .undo = undo};
    list_push_back(sync_line(waiters), &waiter->link);
    return task_park(task, &waiter->wait);
}

void co__sync_wake(struct sync_waiter *waiter, int value)
{
    list_remove(&waiter->link);
    task_wake(&waiter->wait, value, false);
}

void co__sync_wake_all(struct co__waiters *waiters, int value)
{
    for (struct sync_waiter *waiter; (waiter = sync_first(waiters));)
        co__sync_wake(waiter, value);
}

void co__sync_unlock_by_stranger(const char *call, const co_task_t *owner)
{
    const co_task_t *self = co__current;
    if (self && self->scheduler->forcing)
        return;
    const char *quote = owner ? "'" : "";
    loop__abort("%s by %s%s%s: it is owned by %s%s%s", call, self ? "'" : "",
                self ? self->name : "no task", self ? "'" : "", quote,
                owner ? owner->name : "nobody", quote);
}
