/* core.h: waiting for fds, for the files of this layer. */
#ifndef IO_CORE_H
#define IO_CORE_H

#include "task/core.h"

#include <coloop/io.h>

/* The running task's loop knows this fd as its own. */
static inline struct loop__fd *io__own(const co_task_t *task, int fd)
{
    struct loop__fd *entry = loop__fd_find(task->loop, fd);
    return entry && entry->own ? entry : NULL;
}

/* Parks until some of events are ready on fd, and returns those; at once with all of them for an fd
 * that is always ready. -EBADF, -ENOMEM, -ENOSPC, -ECANCELED, -ETIMEDOUT. */
int io__park(co_task_t *task, int fd, unsigned events, const char *call, const char *where);

/* Makes a new non-blocking fd the loop's own, or closes it: returns fd or -ENOMEM. */
int io__adopt_new(int fd, bool tcp);

/* A new socket, non-blocking and close-on-exec; or a negative errno. */
int io__socket(int family, int type);

#endif
