/* connect.c: co_accept and co_connect. */
#include "io/core.h"
#include "io/sigpipe.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

/* Puts a foreign fd in non-blocking mode for the length of a call; returns its flags. */
static int unblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return flags;
}

static void restore(int fd, int flags)
{
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags);
}

static int accept_now(int fd, struct sockaddr *address, socklen_t *length)
{
#ifdef SOCK_NONBLOCK
    int at_once = accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (at_once >= 0 || (errno != ENOSYS && errno != EPERM)) /* else only this call is refused */
        return at_once < 0 ? -errno : at_once;
#endif
    int accepted = accept(fd, address, length);
    if (accepted < 0)
        return -errno;
    fcntl(accepted, F_SETFL, O_NONBLOCK);
    fcntl(accepted, F_SETFD, FD_CLOEXEC);
    sigpipe_never(accepted);
    return accepted;
}

static int try_accept(int fd, struct sockaddr *address, socklen_t *length, bool own)
{
    if (own)
        return accept_now(fd, address, length);
    int flags = unblock(fd), rc = accept_now(fd, address, length);
    restore(fd, flags);
    return rc;
}

/* Errors of a connection that was gone before it was taken; Linux passes them on from the network.
 */
static bool is_lost_connection(int error)
{
    switch (-error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
#ifdef ENONET
    case ENONET:
#endif
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static bool is_ip(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET || address->ss_family == AF_INET6;
}

static void copy_address(struct sockaddr *to, socklen_t *room, const struct sockaddr_storage *from,
                         socklen_t length)
{
    if (!to || !room)
        return;
    __builtin_memcpy(to, from, length < *room ? length : *room);
    *room = length;
}

static int await_connection(co_task_t *task, int fd, struct sockaddr *address, socklen_t *length,
                            const char *where)
{
    for (;;) {
        struct loop__fd *own = co__io_own(task, fd);
        struct sockaddr_storage peer = {0};
        socklen_t peer_length = sizeof peer;
        int rc = own && !(own->ready & CO_READ)
                     ? -EAGAIN
                     : try_accept(fd, (struct sockaddr *)&peer, &peer_length, own != NULL);
        if (rc >= 0) {
            copy_address(address, length, &peer, peer_length);
            return co__io_adopt_new(rc, is_ip(&peer) ? FD_TCP : FD_SOCKET);
        }
        if (is_lost_connection(rc))
            continue;
        if (rc != -EAGAIN && rc != -EWOULDBLOCK)
            return rc;
        if (own)
            own->ready &= ~(unsigned)CO_READ;
        if ((rc = co__io_park(task, fd, CO_READ, "co_accept", where)) < 0)
            return rc;
    }
}

int co_accept_here(int fd, struct sockaddr *address, socklen_t *length, const char *where)
{
    co_task_t *task = co__current;
    int rc = co__check(task);
    if (rc < 0)
        return rc;
    return co__spent(task, await_connection(task, fd, address, length, where));
}

/* --- Connecting ------------------------------------------------------------------------------- */

static bool writable_now(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) > 0;
}

static int pending_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return -errno;
    return -error;
}

/* Waits for the outcome of a connection attempt that is under way. */
static int await_outcome(co_task_t *task, int fd, const char *where)
{
    do {
        struct loop__fd *own = co__io_own(task, fd);
        if (own)
            own->ready &= ~(unsigned)CO_WRITE;
        int rc = co__io_park(task, fd, CO_WRITE, "co_connect", where);
        if (rc < 0)
            return rc;
    } while (!writable_now(fd)); /* an event from before the attempt */
    return pending_error(fd);
}

static int try_connect(int fd, const struct sockaddr *address, socklen_t length, bool own)
{
    int flags = own ? -1 : unblock(fd);
    int rc = connect(fd, address, length) < 0 ? -errno : 0;
    restore(fd, flags);
    return rc;
}

/* A UNIX socket whose peer's queue is full says EAGAIN and can only be tried again. */
enum { RETRY_MS = 5 };

int co_connect_here(int fd, const struct sockaddr *address, socklen_t length, const char *where)
{
    co_task_t *task = co__current;
    int rc = co__check(task);
    if (rc < 0)
        return rc;
    while ((rc = try_connect(fd, address, length, co__io_own(task, fd) != NULL)) == -EAGAIN) {
        rc = co_sleep_here(RETRY_MS, where);
        if (rc < 0)
            return rc;
    }
    if (rc == -EINPROGRESS || rc == -EINTR)
        rc = await_outcome(task, fd, where);
    return co__spent(task, rc);
}
