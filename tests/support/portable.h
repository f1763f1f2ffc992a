/* portable.h: calls of Linux and the BSDs that tests like to use and macOS does not have: fds that
 * are made non-blocking and close-on-exec by one call. The library itself does without this. */
#ifndef TESTS_PORTABLE_H
#define TESTS_PORTABLE_H

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0x1000000
#define SOCK_NONBLOCK 0x2000000

static inline int portable_flags(int fd, bool non_blocking, bool close_on_exec)
{
    if (fd >= 0 && non_blocking)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (fd >= 0 && close_on_exec)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static inline int portable_socket(int family, int type, int protocol)
{
    return portable_flags(socket(family, type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), protocol),
                          type & SOCK_NONBLOCK, type & SOCK_CLOEXEC);
}

static inline int portable_socketpair(int family, int type, int protocol, int fds[2])
{
    int rc = socketpair(family, type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), protocol, fds);
    for (int i = 0; rc == 0 && i < 2; i++)
        portable_flags(fds[i], type & SOCK_NONBLOCK, type & SOCK_CLOEXEC);
    return rc;
}

static inline int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    return portable_flags(accept(fd, address, length), flags & SOCK_NONBLOCK, flags & SOCK_CLOEXEC);
}

static inline int pipe2(int fds[2], int flags)
{
    int rc = pipe(fds);
    for (int i = 0; rc == 0 && i < 2; i++)
        portable_flags(fds[i], flags & O_NONBLOCK, flags & O_CLOEXEC);
    return rc;
}

#define socket portable_socket
#define socketpair portable_socketpair
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#endif
