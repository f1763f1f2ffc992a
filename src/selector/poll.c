/* poll.c: the selector of POSIX. Each wait costs time for every armed fd.
 *
 * Invariants: polled[0..count) are the armed fds, and slots[fd] tells where fd stands there, plus
 * 1, or 0. A disarmed fd is not in the array at all. poll knows numbers and not files, so a file
 * closed and replaced behind our back is not noticed, but a closed number is (POLLNVAL). */
#include "selector/selector.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

enum { CAPACITY_MIN = 64 };

struct poll_fd {
    unsigned interest;
    uint32_t generation;
};

struct selector {
    struct pollfd *polled;
    struct poll_fd *info; /* of each in polled */
    int count, capacity;
    int *slots;
    int slot_count;
    int next; /* where the last wait stopped reporting, so that none is passed over for ever */
};

static struct selector *poll_open(void)
{
    struct selector *s = coloop__zalloc(sizeof *s);
    if (!s)
        errno = ENOMEM;
    return s;
}

static void poll_close(struct selector *s)
{
    coloop__free(s->polled);
    coloop__free(s->info);
    coloop__free(s->slots);
    coloop__free(s);
}

static int reserve_slot(struct selector *s, int fd)
{
    if (fd < s->slot_count)
        return 0;
    int count = s->slot_count ? s->slot_count : CAPACITY_MIN;
    while (count <= fd)
        count *= 2;
    int *slots = coloop__realloc(s->slots, (size_t)count * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    memset(slots + s->slot_count, 0, (size_t)(count - s->slot_count) * sizeof *slots);
    s->slots = slots;
    s->slot_count = count;
    return 0;
}

static int reserve_polled(struct selector *s)
{
    if (s->count < s->capacity)
        return 0;
    int capacity = s->capacity ? s->capacity * 2 : CAPACITY_MIN;
    struct pollfd *polled = coloop__realloc(s->polled, (size_t)capacity * sizeof *polled);
    if (polled)
        s->polled = polled;
    struct poll_fd *info = coloop__realloc(s->info, (size_t)capacity * sizeof *info);
    if (info)
        s->info = info;
    if (!polled || !info)
        return -ENOMEM;
    s->capacity = capacity;
    return 0;
}

static void disarm(struct selector *s, int fd)
{
    int i = fd < s->slot_count ? s->slots[fd] - 1 : -1;
    if (i < 0)
        return;
    s->slots[fd] = 0;
    if (i != --s->count) {
        s->polled[i] = s->polled[s->count];
        s->info[i] = s->info[s->count];
        s->slots[s->polled[i].fd] = i + 1;
    }
}

static int poll_modify(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    int rc;
    if ((rc = reserve_slot(s, fd)) < 0 || (rc = reserve_polled(s)) < 0)
        return rc;
    if (!(interest & (SELECT_READ | SELECT_WRITE))) {
        disarm(s, fd);
        return 0;
    }
    int i = s->slots[fd] ? s->slots[fd] - 1 : s->count++;
    s->slots[fd] = i + 1;
    short events =
        (short)((interest & SELECT_READ ? POLLIN : 0) | (interest & SELECT_WRITE ? POLLOUT : 0));
    s->polled[i] = (struct pollfd){.fd = fd, .events = events};
    s->info[i] = (struct poll_fd){interest, generation};
    return 0;
}

/* poll takes a regular file and says it is ready; refused as epoll does, so that callers see one
 * behaviour. */
static int poll_add(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return -EPERM;
    return poll_modify(s, fd, interest, generation);
}

static int poll_remove(struct selector *s, int fd)
{
    disarm(s, fd);
    return 0;
}

static void poll_forget(struct selector *s, int fd)
{
    disarm(s, fd);
}

static unsigned ready_of(short mask)
{
    unsigned ready = 0;
    if (mask & POLLIN)
        ready |= SELECT_READ;
    if (mask & POLLOUT)
        ready |= SELECT_WRITE;
    if (mask & (POLLHUP | POLLERR | POLLNVAL))
        ready |= SELECT_HANGUP | SELECT_READ | SELECT_WRITE;
    if (mask & POLLNVAL)
        ready |= SELECT_INVALID;
    return ready;
}

/* Collects events, beginning behind the last one reported the time before. */
static int collect(struct selector *s, struct selector_event *events, int n)
{
    int got = 0, count = s->count, start = s->next < count ? s->next : 0;
    for (int k = 0; k < count && got < n; k++) {
        int i = (start + k) % count;
        s->next = i + 1;
        if (s->polled[i].revents)
            events[got++] = (struct selector_event){s->polled[i].fd, s->info[i].generation,
                                                    ready_of(s->polled[i].revents)};
    }
    for (int k = 0; k < got; k++)
        if (s->info[s->slots[events[k].fd] - 1].interest & SELECT_ONCE)
            disarm(s, events[k].fd);
    return got;
}

static int poll_wait(struct selector *s, int64_t timeout, struct selector_event *events, int n)
{
    int64_t ms = timeout < 0 ? -1 : timeout / NS_PER_MS + (timeout % NS_PER_MS != 0);
    int got = poll(s->polled, (nfds_t)s->count, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return got > 0 ? collect(s, events, n) : 0;
}

static int poll_reset(struct selector *s)
{
    while (s->count)
        disarm(s, s->polled[0].fd);
    return 0;
}

static int poll_fd(struct selector *s)
{
    (void)s;
    return -ENOTSUP;
}

static void poll_alarm(struct selector *s, int64_t when)
{
    (void)s, (void)when;
}

const struct selector_ops coloop__selector_poll = {
    .name = "poll",
    .edge = false,
    .open = poll_open,
    .close = poll_close,
    .add = poll_add,
    .modify = poll_modify,
    .remove = poll_remove,
    .forget = poll_forget,
    .check = NULL,
    .wait = poll_wait,
    .wake = NULL,
    .reset = poll_reset,
    .fd = poll_fd,
    .alarm = poll_alarm,
};
