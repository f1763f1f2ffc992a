/* knote.c: what a kqueue knows of one pair of identifier and filter, and how changes alter it. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { NS_PER_S = 1000000000 };

int64_t shim_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

static struct knote **bucket_of(struct shim_queue *q, uintptr_t ident)
{
    return &q->buckets[ident % SHIM_BUCKETS];
}

struct knote *shim_knote(struct shim_queue *q, uintptr_t ident, int filter)
{
    struct knote *note = *bucket_of(q, ident);
    while (note && (note->event.ident != ident || note->event.filter != filter))
        note = note->next;
    return note;
}

/* --- Files ------------------------------------------------------------------------------------ */

static uint32_t mask_of(const struct knote *note)
{
    uint32_t mask = note->event.filter == EVFILT_WRITE ? EPOLLOUT : EPOLLIN | EPOLLRDHUP;
    if (note->event.filter == EVFILT_READ && note->event.flags & EV_OOBAND)
        mask |= EPOLLPRI;
    return note->event.flags & EV_CLEAR ? mask | EPOLLET : mask;
}

/* What epoll refuses: kqueue takes regular files and directories, but not every device. */
static int arm_soft(struct shim_queue *q, struct knote *note)
{
    struct stat st;
    if (fstat((int)note->event.ident, &st) < 0)
        return errno;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return ENODEV;
    if (!note->soft) {
        note->soft = true;
        note->next_soft = q->soft;
        q->soft = note;
    }
    return 0;
}

int shim_arm(struct shim_queue *q, struct knote *note)
{
    if (!shim_is_fd(note->event.filter) || note->soft)
        return 0;
    int fd = (int)note->event.ident, epoll = q->filters[shim_index(note->event.filter)];
    struct epoll_event event = {.events = mask_of(note), .data.fd = fd};
    if (!note->enabled) {
        if (note->in_epoll)
            epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
        note->in_epoll = false;
        return 0;
    }
    int op = note->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int error = epoll_ctl(epoll, op, fd, &event) < 0 ? errno : 0;
    note->in_epoll = error == 0;
    return error == EPERM ? arm_soft(q, note) : error;
}

/* --- Timers, user events and regular files ---------------------------------------------------- */

static void set_timer(struct knote *note)
{
    static const int64_t units[] = {NS_PER_S / 1000, NS_PER_S, 1000, 0, 1};
    unsigned unit = note->event.fflags & (NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS);
    note->period = note->event.data * units[unit];
    if (note->period < 1)
        note->period = 1;
    note->when = shim_now() + note->period;
}

/* Readable is a regular file whose position is not its end; `data` says how far away that is. */
static bool file_active(struct knote *note, intptr_t *data)
{
    struct stat st;
    if (note->event.filter == EVFILT_WRITE)
        return true;
    if (fstat((int)note->event.ident, &st) < 0)
        return false;
    *data = (intptr_t)(st.st_size - lseek((int)note->event.ident, 0, SEEK_CUR));
    return *data != 0;
}

bool shim_soft_active(struct knote *note, intptr_t *data)
{
    *data = 0;
    if (!note->enabled)
        return false;
    if (note->event.filter == EVFILT_USER)
        return note->triggered;
    if (note->event.filter != EVFILT_TIMER)
        return !note->told && file_active(note, data);
    int64_t now = shim_now();
    if (now < note->when)
        return false;
    *data = (intptr_t)((now - note->when) / note->period + 1);
    return true;
}

static int make_eventfd(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static int make_timerfd(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

static int hold(struct shim_queue *q, int *fd, int (*make)(void))
{
    struct epoll_event event = {.events = EPOLLIN};
    *fd = shim_make_inside(make);
    return *fd < 0 || epoll_ctl(q->fd, EPOLL_CTL_ADD, *fd, &event) < 0 ? errno : 0;
}

static int set_active(struct shim_queue *q, bool active)
{
    uint64_t n = 1;
    int error = 0;
    if (q->active < 0 && active)
        error = hold(q, &q->active, make_eventfd);
    if (error || active == q->is_active)
        return error;
    ssize_t done = active ? write(q->active, &n, sizeof n) : read(q->active, &n, sizeof n);
    q->is_active = active;
    return done == sizeof n ? 0 : errno;
}

static int set_alarm(struct shim_queue *q, int64_t when)
{
    struct itimerspec t = {0};
    int error = 0;
    if (q->alarm < 0 && when != INT64_MAX)
        error = hold(q, &q->alarm, make_timerfd);
    if (error || q->alarm < 0)
        return error;
    if (when != INT64_MAX) {
        t.it_value.tv_sec = when / NS_PER_S;
        t.it_value.tv_nsec = when % NS_PER_S;
    }
    return timerfd_settime(q->alarm, TFD_TIMER_ABSTIME, &t, NULL) < 0 ? errno : 0;
}

int shim_settle(struct shim_queue *q)
{
    int64_t when = INT64_MAX;
    bool active = false;
    for (struct knote *note = q->soft; note; note = note->next_soft) {
        intptr_t data;
        if (shim_soft_active(note, &data))
            active = true;
        else if (note->event.filter == EVFILT_TIMER && note->enabled && note->when < when)
            when = note->when;
    }
    int error = set_active(q, active), alarm_error = set_alarm(q, when);
    return error ? error : alarm_error;
}

/* --- Changes ---------------------------------------------------------------------------------- */

void shim_drop(struct shim_queue *q, struct knote *note)
{
    struct knote **at = bucket_of(q, note->event.ident);
    while (*at != note)
        at = &(*at)->next;
    *at = note->next;
    for (at = &q->soft; *at; at = &(*at)->next_soft)
        if (*at == note) {
            *at = note->next_soft;
            break;
        }
    if (shim_is_fd(note->event.filter)) {
        note->enabled = false;
        if (q->filters[0] >= 0)
            shim_arm(q, note);
        shim_count_knote((int)note->event.ident, -1);
    }
    shim_free(SHIM_KNOTE, note);
}

static struct knote *make_knote(struct shim_queue *q, const struct kevent *change)
{
    struct knote *note = shim_allocate(SHIM_KNOTE), **bucket = bucket_of(q, change->ident);
    if (!note)
        return NULL;
    note->event = *change;
    note->event.fflags = 0;
    note->enabled = true;
    note->next = *bucket;
    *bucket = note;
    if (shim_is_fd(change->filter)) {
        shim_count_knote((int)change->ident, 1);
    } else {
        note->soft = true;
        note->next_soft = q->soft;
        q->soft = note;
    }
    return note;
}

static void touch_user(struct knote *note, const struct kevent *change)
{
    unsigned flags = change->fflags & NOTE_FFLAGSMASK, *own = &note->event.fflags;
    switch (change->fflags & NOTE_FFCTRLMASK) {
    case NOTE_FFAND:
        *own &= flags;
        break;
    case NOTE_FFOR:
        *own |= flags;
        break;
    case NOTE_FFCOPY:
        *own = flags;
        break;
    default:
        break;
    }
    if (change->fflags & NOTE_TRIGGER)
        note->triggered = true;
}

static void touch(struct knote *note, const struct kevent *change)
{
    note->event.udata = change->udata;
    note->told = false;
    if (change->flags & EV_DISABLE)
        note->enabled = false;
    else if (change->flags & (EV_ENABLE | EV_ADD))
        note->enabled = true;
    if (note->event.filter == EVFILT_USER)
        touch_user(note, change);
    else
        note->event.fflags = change->fflags;
    if (note->event.filter == EVFILT_TIMER && change->flags & EV_ADD) {
        note->event.data = change->data;
        set_timer(note);
    }
}

/* Closed in a way we did not see: epoll knows. */
static bool is_stale(struct shim_queue *q, struct knote *note)
{
    return note->in_epoll && shim_arm(q, note) == ENOENT;
}

static int check(const struct kevent *change)
{
    if (change->filter > EVFILT_READ || change->filter < EVFILT_USER)
        return EINVAL;
    if (!shim_is_fd(change->filter))
        return 0;
    return change->ident >= SHIM_FDS || fcntl((int)change->ident, F_GETFD) < 0 ? EBADF : 0;
}

/* A pipe whose reader is gone takes no knote for writing, on some systems. */
static bool has_no_reader(const struct kevent *change)
{
    struct stat st;
    struct pollfd p = {.fd = (int)change->ident, .events = POLLOUT};
    return change->filter == EVFILT_WRITE && fstat(p.fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
           poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

int shim_apply(struct shim_queue *q, const struct kevent *change)
{
    int error = check(change);
    if (error)
        return error;
    struct knote *note = shim_knote(q, change->ident, change->filter);
    if (note && is_stale(q, note)) {
        shim_drop(q, note);
        note = NULL;
    }
    if (!note && !(change->flags & EV_ADD))
        return ENOENT;
    if (change->flags & EV_DELETE) {
        if (note)
            shim_drop(q, note);
        return 0;
    }
    bool made = !note;
    if (made && has_no_reader(change))
        return EPIPE;
    if (made && !(note = make_knote(q, change)))
        return ENOMEM;
    touch(note, change);
    error = shim_arm(q, note);
    if (error && made)
        shim_drop(q, note);
    return error;
}
