/* chan.h: channels from the inside, for select. */
#ifndef SYNC_CHAN_H
#define SYNC_CHAN_H

#include "sync/buffer.h"
#include "sync/core.h"

/* One end of a transfer: a parked sender or receiver, or one case of a select. */
struct chan_waiter {
    struct co__wait wait; /* woken with 0: the item has moved; -EPIPE: closed */
    struct coloop__link link;
    void *item;
};

/* States: open -> closed. Invariants: a parked receiver means that nothing is buffered; a parked
 * sender, that the buffer is full. (Both at a time are cases of one and the same select.) */
struct co_chan {
    struct buffer buffer;
    size_t capacity;
    bool closed;
    struct list senders, receivers; /* of struct chan_waiter */
};

/* Puts the waiter, whose wait is set but for undo, in the line of senders or receivers. */
void co__sync_chan_enqueue(struct list *line, struct chan_waiter *waiter);

#endif
