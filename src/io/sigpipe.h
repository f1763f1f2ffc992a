/* sigpipe.h: writing to a peer that is gone without a SIGPIPE. A call for sockets has a flag for it
 * nearly everywhere (MSG_NOSIGNAL); for pipes, the signal is held back while they are written to.
 * macOS has neither the flag nor the means to take a signal away from this thread alone, but there
 * an fd can be told to raise none. */
#ifndef IO_SIGPIPE_H
#define IO_SIGPIPE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#ifdef F_SETNOSIGPIPE

/* An fd of the loop's own never raises it. */
static inline void sigpipe_never(int fd)
{
    fcntl(fd, F_SETNOSIGPIPE, 1);
}

/* Around a write to somebody else's fd, which is left as it was. */
static inline bool sigpipe_hold(int fd)
{
    return fcntl(fd, F_GETNOSIGPIPE) == 0 && fcntl(fd, F_SETNOSIGPIPE, 1) == 0;
}

static inline void sigpipe_release(int fd, bool held)
{
    if (held)
        fcntl(fd, F_SETNOSIGPIPE, 0);
}

/* write(2). */
static inline ssize_t sigpipe_write(int fd, const void *data, size_t size)
{
    return write(fd, data, size);
}

#else

static inline void sigpipe_never(int fd)
{
    (void)fd;
}

static inline bool sigpipe_hold(int fd)
{
    (void)fd;
    return false;
}

static inline void sigpipe_release(int fd, bool held)
{
    (void)fd, (void)held;
}

/* Takes away a SIGPIPE that is pending, unless it was before; one that is ignored is not. */
static inline void sigpipe_take(const sigset_t *pipe_only, const sigset_t *before)
{
    sigset_t pending;
    int signo;
    if (!sigismember(before, SIGPIPE) && sigpending(&pending) == 0 &&
        sigismember(&pending, SIGPIPE))
        sigwait(pipe_only, &signo);
}

/* write(2); the signal is raised in this thread, and held back meanwhile. */
static inline ssize_t sigpipe_write(int fd, const void *data, size_t size)
{
    sigset_t pipe_only, mask, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &mask);
    ssize_t n = write(fd, data, size);
    int error = errno;
    if (n < 0 && error == EPIPE)
        sigpipe_take(&pipe_only, &pending);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    errno = error;
    return n;
}

#endif
#endif
