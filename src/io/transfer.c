/* transfer.c: reads and writes.
 *
 * Every call is an attempt that does not block, and a wait when the attempt says -EAGAIN. For an
 * own fd it is made while the fd's ready bit is set; the bit goes with -EAGAIN, or with a read from
 * a TCP socket that came short and so has emptied it (unless the peer has hung up, or urgent data
 * is about: then there may be more to see). A foreign fd may be in blocking mode, so attempts on it
 * are made in ways that cannot block. */
#include "io/core.h"
#include "io/sigpipe.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#ifndef MSG_ERRQUEUE
#define MSG_ERRQUEUE 0
#endif

struct transfer {
    int fd, flags;
    union {
        void *data;
        const void *const_data;
        struct iovec *iov;
        struct msghdr *message;
    };
    size_t size; /* bytes, or number of iovecs */
    bool empty;  /* no bytes: there is nothing to wait for */
    struct sockaddr *address;
    socklen_t *length;
};

/* One try: bytes, or a negative errno; -EAGAIN if it would have to wait. `own` is the entry of an
 * own fd, or NULL. */
typedef ssize_t attempt_fn(struct transfer *t, const struct loop__fd *own);

static inline ssize_t result_of(ssize_t n)
{
    return n >= 0 ? n : errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
}

/* Urgent data and the error queue: of what the ready bits know nothing. */
static inline bool is_aside(const struct transfer *t)
{
    return t->flags & (MSG_OOB | MSG_ERRQUEUE);
}

/* What the outcome of an attempt on an own fd tells about it. A read that fills less than `full`
 * has taken all there was. A short write says nothing: it may have come to memory that is not there
 * (a mapped file that has become shorter), and no event would tell that there is room. */
static inline ssize_t note_outcome(struct loop__fd *own, unsigned events, ssize_t n, size_t full)
{
    if (n == -EAGAIN ||
        (n >= 0 && (size_t)n < full && own->kind == FD_TCP && !(own->ready & SELECT_HANGUP)))
        own->ready &= ~events;
    return n;
}

static ssize_t try_foreign(struct transfer *t, unsigned events, attempt_fn *attempt)
{
    bool held = events == CO_WRITE && sigpipe_hold(t->fd);
    ssize_t n = attempt(t, NULL);
    sigpipe_release(t->fd, held);
    return n;
}

/* Attempts and waits in turn, as all calls do. An own fd that was foreign may have been adopted
 * meanwhile. */
static __attribute__((noinline)) ssize_t carry_on(struct transfer t, unsigned events,
                                                  attempt_fn *attempt, size_t full,
                                                  const char *call, const char *where)
{
    co_task_t *task = co__current;
    for (bool woken = false;; woken = true) {
        struct loop__fd *own = co__io_own(task, t.fd);
        ssize_t n = -EAGAIN;
        if (!own)
            n = try_foreign(&t, events, attempt);
        else if (is_aside(&t))
            n = attempt(&t, own);
        else if (woken || own->ready & events || t.empty)
            n = note_outcome(own, events, attempt(&t, own), full);
        if (n != -EAGAIN)
            return n;
        int rc = co__io_park(task, t.fd, events, call, where);
        if (rc < 0)
            return rc;
    }
}

static ssize_t perform(struct transfer t, unsigned events, attempt_fn *attempt, size_t full,
                       const char *call, const char *where)
{
    int rc = co__check(co__current);
    return rc < 0 ? rc : co__spent(co__current, carry_on(t, events, attempt, full, call, where));
}

/* --- Fds that may block ----------------------------------------------------------------------- */

static bool ready_now(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, 0) > 0;
}

/* What to do with an fd that is not ready: it is waited for, unless it was not opened for reading
 * and so never will be. */
static ssize_t not_readable(int fd)
{
    return (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY ? -EBADF : -EAGAIN;
}

/* A blocking pipe that polls writable takes PIPE_BUF bytes without blocking, and not more for sure.
 */
static ssize_t write_file(int fd, const void *data, size_t size, const struct loop__fd *own)
{
    int flags = own || !size ? O_NONBLOCK : fcntl(fd, F_GETFL);
    if (!(flags & O_NONBLOCK)) {
        if ((flags & O_ACCMODE) == O_RDONLY)
            return -EBADF;
        if (!ready_now(fd, POLLOUT))
            return -EAGAIN;
        size = size > PIPE_BUF ? PIPE_BUF : size;
    }
    return result_of(sigpipe_write(fd, data, size));
}

/* --- Reading ---------------------------------------------------------------------------------- */

static ssize_t read_foreign(int fd, void *data, size_t size)
{
    if (size == 0)
        return result_of(read(fd, data, 0));
    ssize_t n = result_of(recv(fd, data, size, MSG_DONTWAIT));
    if (n != -ENOTSOCK)
        return n;
    return ready_now(fd, POLLIN) ? result_of(read(fd, data, size)) : not_readable(fd);
}

static ssize_t try_read(struct transfer *t, const struct loop__fd *own)
{
    return own ? result_of(read(t->fd, t->data, t->size)) : read_foreign(t->fd, t->data, t->size);
}

static inline __attribute__((always_inline)) ssize_t read_own(struct loop__fd *own, int fd,
                                                              void *data, size_t size)
{
    return note_outcome(own, CO_READ, result_of(read(fd, data, size)), size);
}

/* What is rare: a foreign fd, an interruption, readiness told in vain. */
static __attribute__((noinline)) ssize_t read_slowly(int fd, void *data, size_t size,
                                                     const char *where)
{
    struct transfer t = {.fd = fd, .data = data, .size = size, .empty = size == 0};
    return perform(t, CO_READ, try_read, size, "co_read", where);
}

/* On an own fd one wait is all it takes, unless it was woken in vain. */
ssize_t co_read_here(int fd, void *data, size_t size, const char *where)
{
    co_task_t *task = co__current;
    struct loop__fd *own = task && !task->interrupt ? co__io_own(task, fd) : NULL;
    if (!own || size == 0)
        return read_slowly(fd, data, size, where);
    ssize_t n = -EAGAIN;
    if (own->ready & CO_READ)
        n = read_own(own, fd, data, size);
    if (n == -EAGAIN && (n = io_wait(task, CO_READ, "co_read", where)) >= 0 &&
        (n = read_own(task->io.entry, fd, data, size)) == -EAGAIN)
        return read_slowly(fd, data, size, where);
    return co__spent(task, n);
}

static size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static ssize_t try_readv(struct transfer *t, const struct loop__fd *own)
{
    if (!own && iov_bytes(t->iov, (int)t->size) && !ready_now(t->fd, POLLIN))
        return not_readable(t->fd);
    return result_of(readv(t->fd, t->iov, (int)t->size));
}

ssize_t co_readv_here(int fd, const struct iovec *iov, int n, const char *where)
{
    size_t bytes = n > 0 ? iov_bytes(iov, n) : 0;
    struct transfer t = {.fd = fd, .iov = (struct iovec *)iov, .size = (size_t)n};
    t.empty = bytes == 0;
    return perform(t, CO_READ, try_readv, bytes, "co_readv", where);
}

static ssize_t try_recvfrom(struct transfer *t, const struct loop__fd *own)
{
    (void)own;
    return result_of(
        recvfrom(t->fd, t->data, t->size, t->flags | MSG_DONTWAIT, t->address, t->length));
}

ssize_t co_recv_here(int fd, void *data, size_t size, int flags, const char *where)
{
    struct transfer t = {.fd = fd, .data = data, .size = size, .flags = flags};
    return perform(t, CO_READ, try_recvfrom, flags ? 0 : size, "co_recv", where);
}

ssize_t co_recvfrom_here(int fd, void *data, size_t size, int flags, struct sockaddr *address,
                         socklen_t *length, const char *where)
{
    struct transfer t = {.fd = fd, .data = data, .size = size, .flags = flags};
    t.address = address;
    t.length = length;
    return perform(t, CO_READ, try_recvfrom, flags ? 0 : size, "co_recvfrom", where);
}

static ssize_t try_recvmsg(struct transfer *t, const struct loop__fd *own)
{
    (void)own;
    return result_of(recvmsg(t->fd, t->message, t->flags | MSG_DONTWAIT));
}

ssize_t co_recvmsg_here(int fd, struct msghdr *message, int flags, const char *where)
{
    struct transfer t = {.fd = fd, .message = message, .flags = flags};
    return perform(t, CO_READ, try_recvmsg, 0, "co_recvmsg", where);
}

/* --- Writing ---------------------------------------------------------------------------------- */

static inline ssize_t send_now(int fd, const void *data, size_t size, int flags)
{
    return result_of(send(fd, data, size, flags | MSG_NOSIGNAL | MSG_DONTWAIT));
}

static ssize_t try_write(struct transfer *t, const struct loop__fd *own)
{
    ssize_t n = -ENOTSOCK;
    if (!own || own->kind != FD_FILE)
        n = send_now(t->fd, t->const_data, t->size, 0);
    return n == -ENOTSOCK ? write_file(t->fd, t->const_data, t->size, own) : n;
}

static ssize_t try_send(struct transfer *t, const struct loop__fd *own)
{
    (void)own;
    return send_now(t->fd, t->const_data, t->size, t->flags);
}

/* Attempts until all is written, after a check, where `done` bytes are written already; what was
 * written before an error counts more than the error. */
static ssize_t write_on(struct transfer t, size_t done, attempt_fn *attempt, const char *call,
                        const char *where)
{
    const char *data = t.const_data;
    size_t size = t.size;
    do {
        t.const_data = data + done;
        t.size = size - done;
        t.empty = size == 0;
        ssize_t n = carry_on(t, CO_WRITE, attempt, 0, call, where);
        if (n < 0)
            return done ? (ssize_t)done : n;
        done += (size_t)n;
    } while (done < size);
    return (ssize_t)done;
}

/* What is rare: a foreign fd, an interruption, no room; `done` bytes are written. */
static __attribute__((noinline)) ssize_t write_slowly(int fd, const void *data, size_t size,
                                                      size_t done, const char *where)
{
    struct transfer t = {.fd = fd, .const_data = data, .size = size};
    int rc = done ? 0 : co__check(co__current);
    return rc < 0 ? rc : co__spent(co__current, write_on(t, done, try_write, "co_write", where));
}

/* An own socket usually takes it all at once. */
ssize_t co_write_here(int fd, const void *data, size_t size, const char *where)
{
    co_task_t *task = co__current;
    struct loop__fd *own = task && !task->interrupt ? co__io_own(task, fd) : NULL;
    if (!own || !(own->ready & CO_WRITE) || own->kind == FD_FILE)
        return write_slowly(fd, data, size, 0, where);
    ssize_t n = note_outcome(own, CO_WRITE, send_now(fd, data, size, 0), 0);
    if (n == -EAGAIN || (n >= 0 && (size_t)n < size))
        return write_slowly(fd, data, size, n > 0 ? (size_t)n : 0, where);
    return co__spent(task, n);
}

ssize_t co_send_here(int fd, const void *data, size_t size, int flags, const char *where)
{
    struct transfer t = {.fd = fd, .const_data = data, .size = size, .flags = flags};
    int rc = co__check(co__current);
    return rc < 0 ? rc : co__spent(co__current, write_on(t, 0, try_send, "co_send", where));
}

static ssize_t try_sendto(struct transfer *t, const struct loop__fd *own)
{
    (void)own;
    return result_of(sendto(t->fd, t->const_data, t->size, t->flags | MSG_NOSIGNAL | MSG_DONTWAIT,
                            t->address, t->length ? *t->length : 0));
}

ssize_t co_sendto_here(int fd, const void *data, size_t size, int flags,
                       const struct sockaddr *address, socklen_t length, const char *where)
{
    struct transfer t = {.fd = fd, .const_data = data, .size = size, .flags = flags};
    t.address = (struct sockaddr *)address;
    t.length = &length;
    int rc = co__check(co__current);
    return rc < 0 ? rc : co__spent(co__current, write_on(t, 0, try_sendto, "co_sendto", where));
}

static ssize_t try_sendmsg(struct transfer *t, const struct loop__fd *own)
{
    (void)own;
    return result_of(sendmsg(t->fd, t->message, t->flags | MSG_NOSIGNAL | MSG_DONTWAIT));
}

/* Writes what a first gathering attempt left over, piece by piece. */
static ssize_t write_rest(int fd, const struct iovec *iov, size_t n, size_t done, int flags,
                          attempt_fn *attempt, const char *call, const char *where)
{
    size_t skip = done;
    for (size_t i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        struct transfer t = {.fd = fd, .flags = flags};
        t.const_data = (const char *)iov[i].iov_base + skip;
        t.size = iov[i].iov_len - skip;
        skip = 0;
        size_t size = t.size;
        ssize_t more = write_on(t, 0, attempt, call, where);
        if (more < 0)
            return done ? (ssize_t)done : more;
        done += (size_t)more;
        if ((size_t)more < size)
            break;
    }
    return (ssize_t)done;
}

ssize_t co_sendmsg_here(int fd, const struct msghdr *message, int flags, const char *where)
{
    struct transfer t = {.fd = fd, .message = (struct msghdr *)message, .flags = flags};
    int rc = co__check(co__current);
    if (rc < 0)
        return rc;
    ssize_t n = carry_on(t, CO_WRITE, try_sendmsg, 0, "co_sendmsg", where);
    if (n >= 0)
        n = write_rest(fd, message->msg_iov, message->msg_iovlen, (size_t)n, flags, try_send,
                       "co_sendmsg", where);
    return co__spent(co__current, n);
}

static ssize_t try_writev(struct transfer *t, const struct loop__fd *own)
{
    struct msghdr message = {.msg_iov = t->iov, .msg_iovlen = t->size};
    ssize_t n = result_of(sendmsg(t->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n != -ENOTSOCK)
        return n;
    return t->size ? write_file(t->fd, t->iov[0].iov_base, t->iov[0].iov_len, own) : 0;
}

ssize_t co_writev_here(int fd, const struct iovec *iov, int n, const char *where)
{
    if (n < 0)
        return -EINVAL;
    for (; n > 1 && iov->iov_len == 0; n--)
        iov++;
    struct transfer t = {.fd = fd, .iov = (struct iovec *)iov, .size = (size_t)n};
    t.empty = n == 0 || iov->iov_len == 0;
    int rc = co__check(co__current);
    if (rc < 0)
        return rc;
    ssize_t done = carry_on(t, CO_WRITE, try_writev, 0, "co_writev", where);
    if (done >= 0)
        done = write_rest(fd, iov, (size_t)n, (size_t)done, 0, try_write, "co_writev", where);
    return co__spent(co__current, done);
}
