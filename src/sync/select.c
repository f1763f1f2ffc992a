/* select.c: waiting for one of several things.
 *
 * First every case is tried once, from a random one on; the first that can happen does. Otherwise
 * the task parks on a wait for each case; whoever wakes one of them undoes the others, so that
 * exactly one case has happened. Trying and parking as a peer of a channel are the channel's own.
 */
#include "base/alloc.h"
#include "sync/chan.h"

#include <poll.h>

struct select_wait {
    union { /* the first member of each is its co__wait */
        struct co__wait wait;
        struct chan_waiter chan;
        struct sync_waiter line;
        struct {
            struct co__wait wait;
            struct loop__fd_wait fd;
        } fd;
        struct {
            struct co__wait wait;
            struct co__observer observer;
        } task;
        struct {
            struct co__wait wait;
            struct loop__signal_wait signal;
        } signal;
        struct {
            struct co__wait wait;
            struct loop__timer timer;
        } after;
    };
};

/* --- Trying ----------------------------------------------------------------------------------- */

static bool happens(co_case_t *c, bool can, int result)
{
    if (can)
        c->result = result;
    return can;
}

static bool fd_is_ready(co_case_t *c)
{
    struct pollfd p = {.fd = (int)c->number};
    p.events =
        (short)((c->events & SELECT_READ ? POLLIN : 0) | (c->events & SELECT_WRITE ? POLLOUT : 0));
    if (poll(&p, 1, 0) <= 0 || p.revents & POLLNVAL)
        return false;
    if (!(p.revents & (POLLHUP | POLLERR)))
        c->events =
            (p.revents & POLLIN ? SELECT_READ : 0) | (p.revents & POLLOUT ? SELECT_WRITE : 0);
    return true;
}

static bool try_case(co_case_t *c)
{
    const co_task_t *task = c->object;
    int rc;
    switch (c->kind) {
    case CO__CASE_RECV:
        rc = co_chan_try_recv(c->object, c->item);
        return happens(c, rc != -EAGAIN, rc);
    case CO__CASE_SEND:
        rc = co_chan_try_send(c->object, c->item);
        return happens(c, rc != -EAGAIN, rc);
    case CO__CASE_FD:
        return happens(c, fd_is_ready(c), 0);
    case CO__CASE_TASK: /* NULL is a task that could not be spawned */
        return happens(c, !task || task->done, task ? 0 : -ENOMEM);
    case CO__CASE_FUTURE:
        return happens(c, co_future_done(c->object), 0);
    case CO__CASE_EVENT:
        return happens(c, co_event_is_set(c->object), 0);
    case CO__CASE_SIGNAL:
        return happens(c, loop__signal_take(co__current->loop, (int)c->number), 0);
    default:
        return false;
    }
}

static int try_all(co_task_t *self, co_case_t cases[], size_t n)
{
    size_t start = n > 1 ? (size_t)(loop__random(self->loop) % n) : 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = (start + k) % n;
        if (try_case(&cases[i]))
            return (int)i;
    }
    return -EAGAIN;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static void fd_wake(struct loop__fd_wait *fd, int ready)
{
    co__wake(&container_of(fd, struct select_wait, fd.fd)->wait, ready);
}

static void fd_undo(struct co__wait *wait)
{
    loop__fd_unwait(wait->task->loop, &container_of(wait, struct select_wait, wait)->fd.fd);
}

/* What became ready from before now on must be told: the bits of an own fd are stale if we have not
 * parked yet. */
static int wait_for_fd(co_task_t *self, const co_case_t *c, struct select_wait *w)
{
    struct loop__fd *entry;
    int fd = (int)c->number, rc = loop__fd_get(self->loop, fd, &entry);
    if (rc < 0)
        return rc;
    if (entry->own)
        entry->ready &= ~(unsigned)c->events;
    w->fd.fd = (struct loop__fd_wait){.events = (unsigned)c->events, .wake = fd_wake};
    w->wait.undo = fd_undo;
    return loop__fd_wait(self->loop, entry, fd, &w->fd.fd);
}

static void task_done(struct co__observer *observer, co_task_t *task)
{
    (void)task;
    co__wake(&container_of(observer, struct select_wait, task.observer)->wait, 0);
}

static void task_undo(struct co__wait *wait)
{
    list_remove(&container_of(wait, struct select_wait, wait)->task.observer.link);
}

static int wait_for_task(co_task_t *self, co_task_t *task, struct select_wait *w)
{
    if (task == self)
        return -EDEADLK;
    w->task.observer.done = task_done;
    w->wait.undo = task_undo;
    list_push_back(&task->observers, &w->task.observer.link);
    return 0;
}

static void line_undo(struct co__wait *wait)
{
    list_remove(&container_of(wait, struct select_wait, wait)->line.link);
}

static int wait_in_line(struct coloop__link *line, struct select_wait *w)
{
    w->wait.undo = line_undo;
    list_push_back(list_of(line), &w->line.link);
    return 0;
}

static void signal_wake(struct loop__signal_wait *signal)
{
    co__wake(&container_of(signal, struct select_wait, signal.signal)->wait, 0);
}

static void signal_undo(struct co__wait *wait)
{
    loop__signal_unwait(wait->task->loop,
                        &container_of(wait, struct select_wait, wait)->signal.signal);
}

static int wait_for_signal(co_task_t *self, int signo, struct select_wait *w)
{
    w->signal.signal = (struct loop__signal_wait){.signo = signo, .wake = signal_wake};
    w->wait.undo = signal_undo;
    loop__signal_wait(self->loop, &w->signal.signal);
    return 0;
}

static void after_expire(struct loop__timer *timer)
{
    co__wake(&container_of(timer, struct select_wait, after.timer)->wait, 0);
}

static void after_undo(struct co__wait *wait)
{
    loop__timer_cancel(wait->task->loop,
                       &container_of(wait, struct select_wait, wait)->after.timer);
}

static int wait_after(co_task_t *self, int64_t ms, struct select_wait *w)
{
    w->after.timer = (struct loop__timer){.expire = after_expire};
    w->wait.undo = after_undo;
    int64_t when = time_after(loop__clock(self->loop), ms_to_ns(ms));
    return when == TIME_NEVER ? 0 : loop__timer_set(self->loop, &w->after.timer, when);
}

static int wait_for_chan(co_chan_t *chan, const co_case_t *c, struct select_wait *w)
{
    w->chan.item = c->item;
    co__sync_chan_enqueue(c->kind == CO__CASE_SEND ? &chan->senders : &chan->receivers, &w->chan);
    return 0;
}

static int wait_for_case(co_task_t *self, const co_case_t *c, struct select_wait *w)
{
    w->wait = (struct co__wait){.task = self};
    switch (c->kind) {
    case CO__CASE_RECV:
    case CO__CASE_SEND:
        return wait_for_chan(c->object, c, w);
    case CO__CASE_FD:
        return wait_for_fd(self, c, w);
    case CO__CASE_TASK:
        return wait_for_task(self, c->object, w);
    case CO__CASE_FUTURE:
        return wait_in_line(&((co_future_t *)c->object)->waiters, w);
    case CO__CASE_EVENT:
        return wait_in_line(&((co_event_t *)c->object)->waiters.list, w);
    case CO__CASE_SIGNAL:
        return wait_for_signal(self, (int)c->number, w);
    default:
        return wait_after(self, c->number, w);
    }
}

/* Parks on every case. The index of the one that happened, or a negative errno and none has. */
static int park_on_all(co_task_t *self, co_case_t cases[], size_t n, struct select_wait *waits,
                       const char *where)
{
    struct co__wait *first = NULL;
    int rc = 0;
    for (size_t i = n; i-- > 0 && rc == 0;) {
        rc = wait_for_case(self, &cases[i], &waits[i]);
        waits[i].wait.next = first;
        first = rc == 0 ? &waits[i].wait : first;
    }
    if (rc == 0) {
        co__reason(self, "co_select", where, CO__CASES)->number = (int64_t)n;
        rc = co__park(self, first);
    } else {
        for (struct co__wait *wait = first; wait; wait = wait->next)
            wait->undo(wait);
    }
    return rc < 0 ? rc : (int)(container_of(self->winner, struct select_wait, wait) - waits);
}

static void take_value(co_case_t *c, int value)
{
    bool is_fd = c->kind == CO__CASE_FD && value >= 0;
    c->events = is_fd ? value : c->events;
    c->result = is_fd ? 0 : value;
}

static bool is_valid(const co_case_t *c)
{
    return c->kind <= CO__CASE_AFTER &&
           (c->kind != CO__CASE_FD || (c->events && !(c->events & ~3)));
}

/* From here on no signal among the cases is lost, whichever happens. */
static int check_cases(co_task_t *self, const co_case_t cases[], size_t n)
{
    int rc = n > 0 ? 0 : -EINVAL;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (!is_valid(&cases[i]))
            rc = -EINVAL;
        else if (cases[i].kind == CO__CASE_SIGNAL)
            rc = loop__signal_keep(self->loop, (int)cases[i].number);
    return rc;
}

int co_select_here(co_case_t cases[], size_t n, const char *where)
{
    enum { FEW = 8 };
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    rc = check_cases(self, cases, n);
    if (rc < 0)
        return co__spent(self, rc);
    rc = try_all(self, cases, n);
    if (rc != -EAGAIN)
        return co__spent(self, rc);
    struct select_wait few[FEW], *waits = n <= FEW ? few : coloop__alloc(n * sizeof *waits);
    if (!waits)
        return -ENOMEM;
    rc = park_on_all(self, cases, n, waits, where);
    if (rc >= 0)
        take_value(&cases[rc], waits[rc].wait.value);
    if (waits != few)
        coloop__free(waits);
    return rc;
}
