/* core.h: waiting for fds, for the files of this layer. */
#ifndef IO_CORE_H
#define IO_CORE_H

#include "task/switch.h"

#include <coloop/io.h>

/* Makes fd the one that task->io is about. NULL if the loop has no entry for it. */
struct loop__fd *co__io_use(co_task_t *task, int fd);

/* The entry of an own fd of the running task's loop, else NULL. task->io is about it. */
static inline struct loop__fd *co__io_own(co_task_t *task, int fd)
{
    struct loop__fd *entry = task->io.entry;
    if (__builtin_expect(task->io.fd != fd, 0) && !(entry = co__io_use(task, fd)))
        return NULL;
    return entry->own ? entry : NULL;
}

/* What co__io_park does, for the fd that task->io is about, and where it pays to have it inlined.
 */
static inline __attribute__((always_inline)) int io_wait(co_task_t *task, unsigned events,
                                                         const char *call, const char *where)
{
    struct co__io *io = &task->io;
    io->fd_wait.events = events;
    int rc = loop__fd_wait(task->loop, io->entry, io->fd, &io->fd_wait);
    if (rc < 0)
        return rc == -EPERM ? (int)events : rc;
    co__reason(task, call, where, CO__FD);
    io->forgotten = io->entry->forgotten;
    rc = task_park(task, &io->wait);
    if (rc < 0)
        return rc;
    /* another task may have closed it since we were woken, and the number be another file */
    return io->entry->forgotten == io->forgotten ? io->wait.value : -EBADF;
}

/* Parks until some of events are ready on fd, and returns those; at once with all of them for an fd
 * that is always ready. -EBADF, -ENOMEM, -ENOSPC, -ECANCELED, -ETIMEDOUT. */
int co__io_park(co_task_t *task, int fd, unsigned events, const char *call, const char *where);

/* Makes a new non-blocking fd the loop's own, or closes it: returns fd or -ENOMEM. */
int co__io_adopt_new(int fd, enum loop__fd_kind kind);

/* A new socket, non-blocking and close-on-exec; or a negative errno. */
int co__io_socket(int family, int type);

#endif
