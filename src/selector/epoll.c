/* epoll.c: the selector of Linux. */
#include "selector/selector.h"

#ifdef __linux__
#include "base/alloc.h"
#include "base/clock.h"
#include "context/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#if !defined(SYS_epoll_pwait2) && defined(__NR_epoll_pwait2)
#define SYS_epoll_pwait2 __NR_epoll_pwait2
#endif

enum { BATCH_MAX = 128 }; /* as many as the loop asks for */

struct selector {
    int fd;
    int outer_fd,
        alarm_fd;   /* for fd(): an epoll that holds `fd` and a timerfd; -1 until asked for */
    bool no_pwait2; /* the kernel has no epoll_pwait2, or forbids it */
    struct epoll_event events[BATCH_MAX];
};

static struct selector *epoll_open(void)
{
    struct selector *s = coloop__zalloc(sizeof *s);
    if (!s) {
        errno = ENOMEM;
        return NULL;
    }
    s->outer_fd = s->alarm_fd = -1;
    /* Many versions of valgrind do not know the call; ThreadSanitizer puts signal handlers off to
     * the next call that it knows, and does not know this one. */
    s->no_pwait2 = valgrind_runs() || CONTEXT_TSAN;
    s->fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->fd < 0) {
        coloop__free(s);
        return NULL;
    }
    return s;
}

static void epoll_shut(struct selector *s)
{
    if (s->outer_fd >= 0) {
        close(s->outer_fd);
        close(s->alarm_fd);
    }
    close(s->fd);
    coloop__free(s);
}

/* The end of what the peer sends is asked for as well: it tells a reader to look again even after a
 * short read; urgent data likewise, as a read stops short at it, but only where that is told once.
 */
static uint32_t mask_of(unsigned interest)
{
    uint32_t mask = 0;
    if (interest & SELECT_READ)
        mask |= EPOLLIN | EPOLLRDHUP;
    if (interest & SELECT_WRITE)
        mask |= EPOLLOUT;
    if (interest & SELECT_EDGE)
        mask |= EPOLLET | EPOLLPRI;
    if (interest & SELECT_ONCE)
        mask |= EPOLLONESHOT;
    return mask;
}

static unsigned ready_of(uint32_t mask)
{
    unsigned ready = 0;
    if (mask == (EPOLLIN | EPOLLOUT))
        return SELECT_READ | SELECT_WRITE;
    if (mask == EPOLLIN)
        return SELECT_READ;
    if (mask & (EPOLLIN | EPOLLRDHUP | EPOLLPRI))
        ready |= SELECT_READ;
    if (mask & EPOLLOUT)
        ready |= SELECT_WRITE;
    if (mask & (EPOLLRDHUP | EPOLLPRI))
        ready |= SELECT_HANGUP;
    if (mask & (EPOLLHUP | EPOLLERR))
        ready |= SELECT_HANGUP | SELECT_READ | SELECT_WRITE;
    return ready;
}

static int control(struct selector *s, int op, int fd, unsigned interest, uint32_t generation)
{
    struct epoll_event event = {.events = mask_of(interest)};
    event.data.u64 = (uint64_t)generation << 32 | (uint32_t)fd;
    return epoll_ctl(s->fd, op, fd, &event) < 0 ? -errno : 0;
}

static int epoll_add(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    return control(s, EPOLL_CTL_ADD, fd, interest, generation);
}

static int epoll_modify(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    return control(s, EPOLL_CTL_MOD, fd, interest, generation);
}

static int epoll_remove(struct selector *s, int fd)
{
    return control(s, EPOLL_CTL_DEL, fd, 0, 0);
}

static int epoll_check(struct selector *s, int fd, unsigned events)
{
    (void)events;
    int rc = control(s, EPOLL_CTL_ADD, fd, SELECT_ONCE, 0);
    if (rc == 0) {
        epoll_remove(s, fd);
        return -ENOENT;
    }
    return rc == -EEXIST ? 0 : rc == -EPERM ? -ENOENT : rc;
}

/* The raw call: libc's came late (glibc 2.35). The kernel wants 64-bit times here on every machine.
 */
static int wait_ns(struct selector *s, int64_t timeout, int n)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t s, ns;
    } t = {timeout / NS_PER_S, timeout % NS_PER_S};
    return (int)syscall(SYS_epoll_pwait2, s->fd, s->events, n, timeout < 0 ? NULL : &t, NULL,
                        (size_t)0);
#else
    (void)s, (void)timeout, (void)n;
    errno = ENOSYS;
    return -1;
#endif
}

/* Whole milliseconds, rounded up: early would be wrong, and rounded down would spin. */
static int wait_ms(struct selector *s, int64_t timeout, int n)
{
    int64_t ms = timeout < 0 ? -1 : timeout / NS_PER_MS + (timeout % NS_PER_MS != 0);
    return epoll_wait(s->fd, s->events, n, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int epoll_wait_for(struct selector *s, int64_t timeout, struct selector_event *events, int n)
{
    int got = -1;
    n = n < BATCH_MAX ? n : BATCH_MAX;
    if (timeout > 0 && !s->no_pwait2) {
        got = wait_ns(s, timeout, n);
        s->no_pwait2 = got < 0 && (errno == ENOSYS || errno == EPERM);
    }
    if (timeout <= 0 || s->no_pwait2)
        got = wait_ms(s, timeout, n);
    for (int i = 0; i < got; i++) {
        uint64_t data = s->events[i].data.u64;
        events[i] = (struct selector_event){(int)(uint32_t)data, (uint32_t)(data >> 32),
                                            ready_of(s->events[i].events)};
    }
    return got < 0 ? 0 : got;
}

static int watch_in(int outer, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* All or nothing: the new set is in the outer one before it takes the old one's number. The foreign
 * loops that poll the outer one know its file, so that must never be replaced. */
static int epoll_reset(struct selector *s)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = s->outer_fd < 0 ? 0 : watch_in(s->outer_fd, fd);
    if (rc == 0 && dup3(fd, s->fd, O_CLOEXEC) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

static int epoll_fd(struct selector *s)
{
    if (s->outer_fd >= 0)
        return s->outer_fd;
    int outer = epoll_create1(EPOLL_CLOEXEC),
        alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int rc = outer < 0 || alarm < 0 ? -errno : 0;
    if (rc == 0 && (rc = watch_in(outer, s->fd)) == 0 && (rc = watch_in(outer, alarm)) == 0) {
        s->outer_fd = outer;
        s->alarm_fd = alarm;
        return outer;
    }
    if (outer >= 0)
        close(outer);
    if (alarm >= 0)
        close(alarm);
    return rc;
}

static void epoll_alarm(struct selector *s, int64_t when)
{
    struct itimerspec t = {0}; /* all zero would disarm: "at once" is one nanosecond after boot */
    when = when < 1 ? 1 : when;
    if (when != TIME_NEVER) {
        t.it_value.tv_sec = when / NS_PER_S;
        t.it_value.tv_nsec = when % NS_PER_S;
    }
    timerfd_settime(s->alarm_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

const struct selector_ops coloop__selector_epoll = {
    .name = "epoll",
    .edge = true,
    .open = epoll_open,
    .close = epoll_shut,
    .add = epoll_add,
    .modify = epoll_modify,
    .remove = epoll_remove,
    .forget = NULL,
    .check = epoll_check,
    .wait = epoll_wait_for,
    .wake = NULL,
    .reset = epoll_reset,
    .fd = epoll_fd,
    .alarm = epoll_alarm,
};

#endif
