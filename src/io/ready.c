/* ready.c: waiting for readiness, and whose an fd is. */
#include "io/core.h"
#include "io/sigpipe.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

/* Many are woken before the first of them runs, each with a stack on a page of its own: their
 * cache misses pass together while that is done, and not one by one when they run. */
static void on_ready(struct loop__fd_wait *wait, int ready)
{
    struct co__wait *its = &container_of(wait, struct co__io, fd_wait)->wait;
    context_prefetch(&its->task->stack.context);
    task_wake(its, ready, true);
}

static void undo(struct co__wait *wait)
{
    loop__fd_unwait(wait->task->loop, &container_of(wait, struct co__io, wait)->fd_wait);
}

static struct loop__fd *use(co_task_t *task, int fd, struct loop__fd *entry)
{
    task->io = (struct co__io){.fd = fd, .entry = entry, .wait = {.task = task, .undo = undo}};
    task->io.fd_wait.wake = on_ready;
    return entry;
}

struct loop__fd *co__io_use(co_task_t *task, int fd)
{
    struct loop__fd *entry = loop__fd_find(task->loop, fd);
    return entry ? use(task, fd, entry) : NULL;
}

int co__io_park(co_task_t *task, int fd, unsigned events, const char *call, const char *where)
{
    if (task->io.fd != fd || fd < 0) {
        struct loop__fd *entry;
        int rc = loop__fd_get(task->loop, fd, &entry);
        if (rc < 0)
            return rc;
        use(task, fd, entry);
    }
    return io_wait(task, events, call, where);
}

/* What poll(2) says now. */
static unsigned poll_now(int fd, unsigned events)
{
    struct pollfd p = {.fd = fd};
    p.events = (short)((events & CO_READ ? POLLIN : 0) | (events & CO_WRITE ? POLLOUT : 0));
    if (poll(&p, 1, 0) <= 0)
        return 0;
    if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
        return events;
    return (p.revents & POLLIN ? CO_READ : 0) | (p.revents & POLLOUT ? CO_WRITE : 0);
}

/* The ready bits of an own fd say what is worth a try. The caller has tried and does not tell us
 * the outcome, so the system is asked, after taking the bits away: what becomes ready from then on
 * sets them again. */
static int await_own(co_task_t *task, struct loop__fd *entry, int fd, unsigned events,
                     const char *where)
{
    for (;;) {
        if (entry->ready & events || !entry->registered) {
            entry->ready &= ~events;
            unsigned ready = poll_now(fd, events);
            entry->ready |= ready;
            if (ready)
                return (int)ready;
        }
        int rc = co__io_park(task, fd, events, "co_await_fd", where);
        if (rc < 0 || !entry->own)
            return rc;
    }
}

int co_await_fd_here(int fd, int events, const char *where)
{
    co_task_t *task = co__current;
    unsigned wanted = (unsigned)events & (CO_READ | CO_WRITE);
    int rc = co__check(task);
    if (rc < 0)
        return rc;
    struct loop__fd *entry = co__io_own(task, fd);
    rc = !wanted ? -EINVAL
         : entry ? await_own(task, entry, fd, wanted, where)
                 : co__io_park(task, fd, wanted, "co_await_fd", where);
    return co__spent(task, rc);
}

/* --- Whose an fd is --------------------------------------------------------------------------- */

/* A short read says something of TCP without further ado, not of datagrams, nor of UNIX sockets,
 * which stop at passed fds. */
static enum loop__fd_kind kind_of(int fd)
{
    int type = 0, family = 0;
    socklen_t length = sizeof type;
    struct sockaddr_storage address = {0};
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return FD_FILE;
    length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        family = address.ss_family;
    return type == SOCK_STREAM && (family == AF_INET || family == AF_INET6) ? FD_TCP : FD_SOCKET;
}

int co_adopt(int fd)
{
    loop_t *loop = loop_current();
    if (!loop)
        return -EPERM;
    int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fd_flags < 0)
        return -errno;
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, fd_flags | FD_CLOEXEC) < 0)
        return -errno;
    sigpipe_never(fd);
    return loop__fd_adopt(loop, fd, kind_of(fd));
}

int co__io_adopt_new(int fd, enum loop__fd_kind kind)
{
    loop_t *loop = loop_current();
    int rc = loop ? loop__fd_own(loop, fd, kind) : 0;
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

int co_close(int fd)
{
    loop_t *loop = loop_current();
    if (loop)
        loop__fd_forget(loop, fd);
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

int co__io_socket(int family, int type)
{
#ifdef SOCK_NONBLOCK
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
#else
    int fd = socket(family, type, 0);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    sigpipe_never(fd);
    return fd;
#endif
}
