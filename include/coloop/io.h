/* io.h: readiness and bytes.
 *
 * Two kinds of fds. Those made by libcoloop (co_accept, co_tcp_connect, ...) and those given to it
 * by co_adopt are the loop's own: non-blocking, close-on-exec, registered once; a read or write is
 * tried first and costs no further system call when it has to wait. They are closed with co_close.
 * All other fds are foreign: any fd of any library, blocking or not, which may be closed and its
 * number reused at any time; a wait on one costs an extra system call.
 *
 * Every call here suspends when it has to wait, and returns -EPERM outside a coroutine, -ECANCELED
 * or -ETIMEDOUT when the task or a scope around it is cancelled or expired, without having moved a
 * byte then; -EBADF when the fd is not open, not open for that direction, or closed meanwhile;
 * -ENOMEM, -ENOSPC when it cannot be registered. Other errors are those of the system call. A fd of
 * the loop's that was closed by a plain close(), or any waited-for fd that code on the loop's
 * thread closed behind the loop's back, is noticed by a check the loop makes now and then (some
 * tenths of a second; a second or two where twenty thousand fds are waited for), and its waiters
 * get -EBADF. Several tasks may read or write one fd; all of them are woken and those that come too
 * late wait again. */
#ifndef COLOOP_IO_H
#define COLOOP_IO_H

#include <coloop/task.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CO_READ = 1, CO_WRITE = 2 };

/* Waits until fd is readable (CO_READ), writable (CO_WRITE) or either, and returns the ready ones
 * of those asked for. Hang-up and error count as both. A regular file is always ready. A direction
 * fd was not opened for is no error here, but waited for: the write end of a pipe is readable when
 * its last reader is gone. A pidfd (pidfd_open(2), Linux) is readable when the child has ended, so
 * that waitpid(2) does not block. -EINVAL: no event asked for. */
#define co_await_fd(fd, events) co_await_fd_here((fd), (events), CO_HERE)
COLOOP_API int co_await_fd_here(int fd, int events, const char *where);

/* Reads what there is, at most size bytes, as read(2): the number of bytes, 0 at the end. The flags
 * are those of recv(2), but for two. MSG_WAITALL does not make a call wait for more once it has
 * some: loop over co_read for a message of known length. MSG_DONTWAIT, here and in the calls that
 * send, is ignored, and the call waits. A mere try, -ETIMEDOUT if there is nothing yet, is
 *
 *     co_timeout(0) n = co_recv(fd, data, size, 0);
 */
#define co_read(fd, data, size) co_read_here((fd), (data), (size), CO_HERE)
#define co_readv(fd, iov, n) co_readv_here((fd), (iov), (n), CO_HERE)
#define co_recv(fd, data, size, flags) co_recv_here((fd), (data), (size), (flags), CO_HERE)
#define co_recvfrom(fd, data, size, flags, address, length)                                        \
    co_recvfrom_here((fd), (data), (size), (flags), (address), (length), CO_HERE)
#define co_recvmsg(fd, message, flags) co_recvmsg_here((fd), (message), (flags), CO_HERE)
COLOOP_API ssize_t co_read_here(int fd, void *data, size_t size, const char *where);
COLOOP_API ssize_t co_readv_here(int fd, const struct iovec *iov, int n, const char *where);
COLOOP_API ssize_t co_recv_here(int fd, void *data, size_t size, int flags, const char *where);
COLOOP_API ssize_t co_recvfrom_here(int fd, void *data, size_t size, int flags,
                                    struct sockaddr *address, socklen_t *length, const char *where);
COLOOP_API ssize_t co_recvmsg_here(int fd, struct msghdr *message, int flags, const char *where);

/* Writes all of it, waiting as often as needed, and returns size. When an error, a cancellation or
 * a deadline comes after some bytes were written, their number is returned, and the next call tells
 * the code. A closed peer is -EPIPE, never a SIGPIPE. Datagrams are sent whole or not at all. */
#define co_write(fd, data, size) co_write_here((fd), (data), (size), CO_HERE)
#define co_writev(fd, iov, n) co_writev_here((fd), (iov), (n), CO_HERE)
#define co_send(fd, data, size, flags) co_send_here((fd), (data), (size), (flags), CO_HERE)
#define co_sendto(fd, data, size, flags, address, length)                                          \
    co_sendto_here((fd), (data), (size), (flags), (address), (length), CO_HERE)
#define co_sendmsg(fd, message, flags) co_sendmsg_here((fd), (message), (flags), CO_HERE)
COLOOP_API ssize_t co_write_here(int fd, const void *data, size_t size, const char *where);
COLOOP_API ssize_t co_writev_here(int fd, const struct iovec *iov, int n, const char *where);
COLOOP_API ssize_t co_send_here(int fd, const void *data, size_t size, int flags,
                                const char *where);
COLOOP_API ssize_t co_sendto_here(int fd, const void *data, size_t size, int flags,
                                  const struct sockaddr *address, socklen_t length,
                                  const char *where);
COLOOP_API ssize_t co_sendmsg_here(int fd, const struct msghdr *message, int flags,
                                   const char *where);

/* Takes a connection from a listening socket and returns its fd, the loop's own. Address and length
 * as for accept(2), both may be NULL. Connections that were gone before they were taken are passed
 * over. -EMFILE, -ENFILE: out of fds, the connection stays in the queue. */
#define co_accept(fd, address, length) co_accept_here((fd), (address), (length), CO_HERE)
COLOOP_API int co_accept_here(int fd, struct sockaddr *address, socklen_t *length,
                              const char *where);

/* Connects a socket. 0, or what the connection attempt ended with, such as -ECONNREFUSED. After an
 * interrupted wait the socket is of no use but to be closed. */
#define co_connect(fd, address, length) co_connect_here((fd), (address), (length), CO_HERE)
COLOOP_API int co_connect_here(int fd, const struct sockaddr *address, socklen_t length,
                               const char *where);

/* Closes fd, whatever its kind; whoever waits on it in this loop gets -EBADF. Does not suspend.
 * Also outside coroutines. The file of a unix socket that listened stays: unlink it. 0, or -EBADF.
 */
COLOOP_API int co_close(int fd);

/* Makes a foreign fd the loop's own: sets O_NONBLOCK (on the open file, which a dup or another
 * process may share) and close-on-exec; from now on it is closed with co_close. Does not suspend;
 * also outside coroutines. 0, -EBADF, -ENOMEM, -EPERM without a loop. */
COLOOP_API int co_adopt(int fd);

#ifdef __cplusplus
}
#endif
#endif
