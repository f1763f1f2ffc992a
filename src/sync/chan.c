/* chan.c: channels.
 *
 * There is one implementation of finding a peer: co_chan_try_send and co_chan_try_recv. The
 * suspending calls and select try with them, and then park as a peer that a later try will find. */
#include "sync/chan.h"

#include "base/alloc.h"

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

static struct chan_waiter *first_of(struct list *line)
{
    struct coloop__link *link = list_first(line);
    return link ? container_of(link, struct chan_waiter, link) : NULL;
}

static void wake(struct chan_waiter *waiter, int value)
{
    list_remove(&waiter->link);
    co__wake(&waiter->wait, value);
}

/* --- Finding a peer --------------------------------------------------------------------------- */

int co_chan_try_send(co_chan_t *chan, const void *item)
{
    struct chan_waiter *receiver = first_of(&chan->receivers);
    if (chan->closed)
        return -EPIPE;
    if (receiver) {
        copy_item(chan, receiver->item, item);
        wake(receiver, 0);
        return 0;
    }
    return chan->buffer.count < chan->capacity ? sync__buffer_push(&chan->buffer, item) : -EAGAIN;
}

int co_chan_try_recv(co_chan_t *chan, void *item)
{
    struct chan_waiter *sender = first_of(&chan->senders);
    if (chan->buffer.count) {
        sync__buffer_pop(&chan->buffer, item);
        if (sender)
            sync__buffer_push(&chan->buffer, sender->item);
    } else if (sender) {
        copy_item(chan, item, sender->item);
    } else {
        return chan->closed ? -EPIPE : -EAGAIN;
    }
    if (sender)
        wake(sender, 0);
    return 0;
}

/* --- Waiting for one -------------------------------------------------------------------------- */

static void undo(struct co__wait *wait)
{
    list_remove(&container_of(wait, struct chan_waiter, wait)->link);
}

void sync__chan_enqueue(struct list *line, struct chan_waiter *waiter)
{
    waiter->wait.undo = undo;
    list_push_back(line, &waiter->link);
}

static int park(co_task_t *self, struct list *line, void *item)
{
    struct chan_waiter waiter;
    waiter.wait.task = self;
    waiter.wait.next = NULL;
    waiter.item = item;
    sync__chan_enqueue(line, &waiter);
    int rc = co__park(self, &waiter.wait);
    return rc < 0 ? rc : waiter.wait.value;
}

int co_chan_send_here(co_chan_t *chan, const void *item, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if ((rc = co_chan_try_send(chan, item)) != -EAGAIN)
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
    if ((rc = co_chan_try_recv(chan, item)) != -EAGAIN)
        return co__spent(self, rc);
    co__reason(self, "co_chan_recv", where, CO__OBJECT)->object = chan;
    return park(self, &chan->receivers, item);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void wake_all(struct list *line)
{
    for (struct chan_waiter *waiter; (waiter = first_of(line));)
        wake(waiter, -EPIPE);
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
    struct chan_waiter *waiter = first_of(&chan->senders);
    waiter = waiter ? waiter : first_of(&chan->receivers);
    if (waiter) {
        const co_task_t *task = waiter->wait.task;
        loop__report(task->loop, -EBUSY, task->reason.where, waiter->wait.task,
                     "co_chan_free: task '%s' (#%llu) still waits for the channel in %s",
                     task->name, (unsigned long long)task->id, task->reason.call);
    }
    co_chan_close(chan);
    sync__buffer_free(&chan->buffer);
    coloop__free(chan);
}
