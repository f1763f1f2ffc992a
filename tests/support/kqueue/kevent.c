/* kevent.c: changes in, events out. */
#include "shim.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { BATCH = 256, LONGEST = 100000000 /* seconds */ };

static atomic_ulong calls;

unsigned long shim_calls(void)
{
    return atomic_load(&calls);
}

/* --- Changes ---------------------------------------------------------------------------------- */

/* Returns how many answers there are, or -1 with errno set: an error for which there is no room
 * ends the call, and the changes before it stay made. */
static int change_all(struct shim_queue *q, const struct kevent *changes, int n,
                      struct kevent *answers, int room)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        int error = shim_apply(q, &changes[i]);
        if (!error && !(changes[i].flags & EV_RECEIPT))
            continue;
        if (count == room && error) {
            errno = error;
            return -1;
        }
        if (count == room)
            continue;
        answers[count] = changes[i];
        answers[count].flags |= EV_ERROR;
        answers[count++].data = error;
    }
    return count;
}

/* --- Events ----------------------------------------------------------------------------------- */

/* What is told once: removed, disabled or, for the soft kinds, calm again. */
static void after_telling(struct shim_queue *q, struct knote *note)
{
    if (note->event.filter == EVFILT_TIMER)
        note->when += ((shim_now() - note->when) / note->period + 1) * note->period;
    if (note->event.flags & EV_CLEAR) {
        note->triggered = false;
        note->told = true;
    }
    if (note->event.flags & EV_ONESHOT) {
        shim_drop(q, note);
    } else if (note->event.flags & EV_DISPATCH) {
        note->enabled = false;
        shim_arm(q, note);
    }
}

static intptr_t bytes_of(int fd, int filter)
{
    int n = 0, buffer = 0;
    socklen_t length = sizeof buffer;
    if (filter == EVFILT_READ)
        return ioctl(fd, FIONREAD, &n) < 0 ? 1 : n;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &length) < 0 || ioctl(fd, TIOCOUTQ, &n) < 0)
        return PIPE_BUF;
    return buffer - n;
}

static struct kevent event_of(const struct knote *note, uint32_t mask)
{
    struct kevent event = note->event;
    uint32_t eof = event.filter == EVFILT_READ ? EPOLLRDHUP | EPOLLHUP : EPOLLHUP | EPOLLERR;
    event.data = bytes_of((int)event.ident, event.filter);
    event.flags &= (unsigned short)~(EV_ADD | EV_ENABLE | EV_DISABLE | EV_OOBAND);
    if (mask & eof)
        event.flags |= EV_EOF;
    if (mask & EPOLLPRI)
        event.flags |= EV_OOBAND;
    return event;
}

static int take_files(struct shim_queue *q, int filter, struct kevent *events, int room)
{
    struct epoll_event got[BATCH];
    int epoll = q->filters[shim_index(filter)], count = 0;
    int n = room > 0 ? epoll_wait(epoll, got, room < BATCH ? room : BATCH, 0) : 0;
    for (int i = 0; i < n; i++) {
        struct knote *note = shim_knote(q, (uintptr_t)got[i].data.fd, filter);
        if (!note || !note->in_epoll)
            continue;
        events[count++] = event_of(note, got[i].events);
        after_telling(q, note);
    }
    return count;
}

static int take_soft(struct shim_queue *q, struct kevent *events, int room)
{
    int count = 0;
    for (struct knote *note = q->soft, *next; note && count < room; note = next) {
        next = note->next_soft;
        intptr_t data;
        if (!shim_soft_active(note, &data))
            continue;
        events[count] = note->event;
        events[count].flags &= (unsigned short)~(EV_ADD | EV_ENABLE | EV_DISABLE);
        events[count++].data = data;
        after_telling(q, note);
    }
    return count;
}

/* The filters take turns at being first, so that a small `room` leaves none out for ever. */
static int take(struct shim_queue *q, struct kevent *events, int room)
{
    int first = q->turn++ % 2 ? EVFILT_READ : EVFILT_WRITE;
    int second = first == EVFILT_READ ? EVFILT_WRITE : EVFILT_READ;
    int count = 0;
    if (room) {
        count = take_soft(q, events, room);
        count += take_files(q, first, events + count, room - count);
        count += take_files(q, second, events + count, room - count);
    }
    shim_settle(q);
    return count;
}

/* --- The call --------------------------------------------------------------------------------- */

/* What is there after the changes, without waiting; -1 with errno set. *answered: there were errors
 * or receipts, which are all that is returned then. */
static int look(int kq, const struct kevent *changes, int n, struct kevent *events, int room,
                bool *answered)
{
    sigset_t before;
    shim_lock(&before);
    struct shim_queue *q = shim_find(kq);
    int count = -1;
    errno = EBADF;
    if (q && (count = change_all(q, changes, n, events, room)) == 0)
        count = take(q, events, room);
    else if (q)
        shim_settle(q), *answered = true;
    int error = errno;
    shim_unlock(&before);
    errno = error;
    return count;
}

static bool is_valid(const struct timespec *t)
{
    return !t ||
           (t->tv_sec >= 0 && t->tv_sec <= LONGEST && t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

/* The time left until `end`, or NULL for ever. */
static struct timespec *left(struct timespec *t, int64_t end)
{
    int64_t ns = end - shim_now();
    if (end == INT64_MAX)
        return NULL;
    *t = (struct timespec){ns > 0 ? ns / 1000000000 : 0, ns > 0 ? ns % 1000000000 : 0};
    return t;
}

int kevent(int kq, const struct kevent *changes, int change_count, struct kevent *events,
           int event_count, const struct timespec *timeout)
{
    atomic_fetch_add(&calls, 1);
    if (!is_valid(timeout) || change_count < 0 || event_count < 0) {
        errno = EINVAL;
        return -1;
    }
    int64_t end =
        timeout ? shim_now() + timeout->tv_sec * 1000000000 + timeout->tv_nsec : INT64_MAX;
    bool answered = false;
    int count = look(kq, changes, change_count, events, event_count, &answered);
    while (count == 0 && event_count && !answered) {
        struct timespec t;
        struct pollfd p = {.fd = kq, .events = POLLIN};
        int ready = ppoll(&p, 1, left(&t, end), NULL);
        if (ready < 0)
            return -1;
        count = look(kq, NULL, 0, events, event_count, &answered);
        if (count == 0 && end != INT64_MAX && shim_now() >= end)
            break;
    }
    return count;
}
