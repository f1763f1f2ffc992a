/* core.h: waiting for fds, for the files of this layer. */
#ifndef IO_CORE_H
#define IO_CORE_H

#include "task/switch.h"

#include <coloop/io.h>

/* The entry of an own fd of the running task's loop, else NULL. */
static inline struct loop__fd *io__own(co_task_t *task, int fd)
{
    if (__builtin_expect(task->fd != fd, 0)) {
        struct loop__fd *entry = loop__fd_find(task->loop, fd);
        if (!entry)
            return NULL;
        task->fd = fd;
        task->fd_entry = entry; /* which stays where it is as long as the loop lives */
    }
    return task->fd_entry->own ? task->fd_entry : NULL;
}

struct io_waiter {
    struct co__wait wait;
    struct loop__fd_wait fd;
    struct loop__fd *entry;
    uint32_t forgotten; /* of the entry, when the wait began */
};
void io__on_ready(struct loop__fd_wait *wait, int ready);
void io__undo(struct co__wait *wait);

/* What io__park does, for where it pays to have it inlined. */
static inline __attribute__((always_inline)) int io_wait(struct io_waiter *waiter, co_task_t *task,
                                                         struct loop__fd *own, int fd,
                                                         unsigned events, const char *call,
                                                         const char *where)
{
    waiter->wait.task = task;
    waiter->wait.undo = io__undo;
    waiter->wait.next = NULL;
    waiter->fd.events = events;
    waiter->fd.wake = io__on_ready;
    co__reason(task, call, where, CO__FD)->fd = fd;
    task->reason.events = events;
    waiter->entry = own;
    int rc = loop__fd_wait(task->loop, own, fd, &waiter->fd);
    if (rc < 0)
        return rc == -EPERM ? (int)events : rc;
    if (!own)
        waiter->entry = loop__fd_find(task->loop, fd);
    waiter->forgotten = waiter->entry->forgotten;
    rc = task_park(task, &waiter->wait);
    if (rc < 0)
        return rc;
    /* another task may have closed it since we were woken, and the number be another file */
    return waiter->entry->forgotten == waiter->forgotten ? waiter->wait.value : -EBADF;
}

/* Parks until some of events are ready on fd, and returns those; at once with all of them for an fd
 * that is always ready. `own` is what io__own says. -EBADF, -ENOMEM, -ENOSPC, -ECANCELED,
 * -ETIMEDOUT. */
int io__park(co_task_t *task, struct loop__fd *own, int fd, unsigned events, const char *call,
             const char *where);

/* Makes a new non-blocking fd the loop's own, or closes it: returns fd or -ENOMEM. */
int io__adopt_new(int fd, enum loop__fd_kind kind);

/* A new socket, non-blocking and close-on-exec; or a negative errno. */
int io__socket(int family, int type);

#endif
