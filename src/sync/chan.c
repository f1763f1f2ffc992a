/* chan.c: channels.
 *
 * There is one implementation of finding a peer: try_send and try_recv. The suspending calls and
 * select try with them, and then park as a peer that a later try will find. */
#include "sync/chan.h"

#include "base/alloc.h"
#include "task/switch.h"

#include <string.h>

co_chan_t *co_chan_new_with(size_t item_size, size_t capacity, const co_chan_options_t *options)
{
    static const co_chan_options_t defaults;
    options = options ? options : &defaults;
    bool known = options->order >= CO_FIFO && options->order <= CO_PRIORITY;
    if (!known || item_size > SIZE_MAX / 64 ||
        (options->order == CO_PRIORITY && !options->compare)) {
        errno = EINVAL;
        return NULL;
    }
    co_chan_t *chan = coloop__zalloc(sizeof *chan);
    if (!chan) {
        errno = ENOMEM;
        return NULL;
    }
    chan->buffer.item_size = item_size;
    chan->buffer.options = *options;
    chan->capacity = capacity;
    list_init(&chan->senders);
    list_init(&chan->receivers);
    return chan;
}

/* Most items are a pointer or a number. */
static inline void copy_item(const co_chan_t *chan, void *to, const void *from)
{
    size_t size = chan->buffer.item_size;
    if (!size || !to)
        return;
    if (size == sizeof(void *))
        memcpy(to, from, sizeof(void *));
    else
        memcpy(to, from, size);
}

/* Takes out the first in line, who is there and is to be woken. */
static inline struct chan_waiter *take_first(struct list *line)
{
    struct coloop__link *link = line->head.next;
    list_remove_first(line);
    return container_of(link, struct chan_waiter, link);
}

/* --- Finding a peer --------------------------------------------------------------------------- */

static inline int try_send(co_chan_t *chan, const void *item)
{
    if (chan->closed)
        return -EPIPE;
    if (!list_empty(&chan->receivers)) {
        struct chan_waiter *receiver = take_first(&chan->receivers);
        copy_item(chan, receiver->item, item);
        task_wake(&receiver->wait, 0, false);
        return 0;
    }
    return chan->buffer.count < chan->capacity ? co__sync_buffer_push(&chan->buffer, item)
                                               : -EAGAIN;
}

/* A sender that is parked has its item moved to the place that becomes free. */
static int recv_buffered(co_chan_t *chan, void *item)
{
    co__sync_buffer_pop(&chan->buffer, item);
    if (list_empty(&chan->senders))
        return 0;
    struct chan_waiter *sender = take_first(&chan->senders);
    co__sync_buffer_push(&chan->buffer, sender->item);
    task_wake(&sender->wait, 0, false);
    return 0;
}

static inline int try_recv(co_chan_t *chan, void *item)
{
    if (chan->buffer.count)
        return recv_buffered(chan, item);
    if (list_empty(&chan->senders))
        return chan->closed ? -EPIPE : -EAGAIN;
    struct chan_waiter *sender = take_first(&chan->senders);
    copy_item(chan, item, sender->item);
    task_wake(&sender->wait, 0, false);
    return 0;
}

int co_chan_try_send(co_chan_t *chan, const void *item)
{
    return try_send(chan, item);
}

int co_chan_try_recv(co_chan_t *chan, void *item)
{
    return try_recv(chan, item);
}

/* --- Waiting for one -------------------------------------------------------------------------- */

static void undo(struct co__wait *wait)
{
    list_remove(&container_of(wait, struct chan_waiter, wait)->link);
}

void co__sync_chan_enqueue(struct list *line, struct chan_waiter *waiter)
{
    waiter->wait.undo = undo;
    list_push_back(line, &waiter->link);
}

/* Not inlined, as the registers that the switch takes need not be saved by calls that succeed at
 * once. */
static __attribute__((noinline)) int park(co_task_t *self, struct list *line, void *item)
{
    struct chan_waiter waiter;
    waiter.wait.task = self;
    waiter.wait.next = NULL;
    waiter.item = item;
    co__sync_chan_enqueue(line, &waiter);
    int rc = task_park(self, &waiter.wait);
    return rc < 0 ? rc : waiter.wait.value;
}

int co_chan_send_here(co_chan_t *chan, const void *item, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if ((rc = try_send(chan, item)) != -EAGAIN)
        return co__spent(self, rc);
    co__reason(self, "co_chan_send", where, CO__OBJECT)->object = chan;
    return park(self, &chan->senders, (void *)item);
}

int co_chan_recv_here(co_chan_t *chan, void *item, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if ((rc = try_recv(chan, item)) != -EAGAIN)
        return co__spent(self, rc);
    co__reason(self, "co_chan_recv", where, CO__OBJECT)->object = chan;
    return park(self, &chan->receivers, item);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void wake_all(struct list *line)
{
    while (!list_empty(line))
        task_wake(&take_first(line)->wait, -EPIPE, false);
}

/* Receivers are only parked when nothing is left for them. */
void co_chan_close(co_chan_t *chan)
{
    chan->closed = true;
    wake_all(&chan->senders);
    wake_all(&chan->receivers);
}

size_t co_chan_len(const co_chan_t *chan)
{
    return chan->buffer.count;
}

void co_chan_free(co_chan_t *chan)
{
    if (!chan)
        return;
    struct coloop__link *link = list_first(&chan->senders);
    link = link ? link : list_first(&chan->receivers);
    if (link) {
        const struct chan_waiter *waiter = container_of(link, struct chan_waiter, link);
        const co_task_t *task = waiter->wait.task;
        loop__report(task->loop, -EBUSY, task->reason.where, waiter->wait.task,
                     "co_chan_free: task '%s' (#%llu) still waits for the channel in %s",
                     task->name, (unsigned long long)task->id, task->reason.call);
    }
    co_chan_close(chan);
    co__sync_buffer_free(&chan->buffer);
    coloop__free(chan);
}
