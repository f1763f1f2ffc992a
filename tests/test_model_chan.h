/* test_model_chan.h: a channel, and an array that says what it holds. */
#ifndef TESTS_MODEL_CHAN_H
#define TESTS_MODEL_CHAN_H

#include "test_model.h"

enum { SEND, RECV, HELD_MAX = 400, SIZE_MAX_ITEM = 40 };

struct model_chan {
    co_chan_t *chan;
    size_t item_size, capacity;
    int order; /* CO_FIFO, CO_LIFO, CO_PRIORITY */
    bool closed;
    int held[HELD_MAX]; /* in the order of sending */
    size_t count;
    int taken; /* the item a call took last */
};

/* --- Items ------------------------------------------------------------------------------------ */

struct item {
    unsigned char bytes[SIZE_MAX_ITEM];
};

/* Each byte of an item depends on its number; those of no item are all alike. */
static inline struct item item_of(int value)
{
    struct item item;
    memset(&item, 0xee, sizeof item);
    memcpy(item.bytes, &value, sizeof value);
    for (size_t i = sizeof value; value && i < sizeof item.bytes; i++)
        item.bytes[i] = (unsigned char)((unsigned)value * 7 + i);
    return item;
}

static inline int priority(int value)
{
    return value % 5;
}

static inline int compare_items(const void *a, const void *b)
{
    int x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return priority(x) - priority(y);
}

/* Room for an item has to hold this one now, and nothing behind it; 0: untouched. */
static inline void expect_item(size_t size, const struct item *room, int value)
{
    struct item expected = item_of(0), full = item_of(value);
    int found;
    if (value)
        memcpy(expected.bytes, full.bytes, size);
    memcpy(&found, room->bytes, sizeof found);
    if (memcmp(room, &expected, sizeof expected) != 0)
        differ("received %d, not %d", found, value);
}

/* --- What the channel does -------------------------------------------------------------------- */

static inline size_t next_held(const struct model_chan *chan)
{
    size_t next = chan->order == CO_LIFO ? chan->count - 1 : 0;
    for (size_t i = 0; chan->order == CO_PRIORITY && i < chan->count; i++)
        if (priority(chan->held[i]) < priority(chan->held[next]))
            next = i;
    return next;
}

static inline int take_held(struct model_chan *chan)
{
    size_t next = next_held(chan);
    int value = chan->held[next];
    chan->count--;
    memmove(chan->held + next, chan->held + next + 1, (chan->count - next) * sizeof(int));
    return value;
}

static inline int model_send(struct model_chan *chan, int value)
{
    if (chan->closed)
        return -EPIPE;
    struct op *op = first(chan, RECV);
    if (op) {
        struct want *want = want_of(op, chan, RECV);
        want->value = value;
        serve(op, want, 0);
    } else if (chan->count < chan->capacity) {
        chan->held[chan->count++] = value;
    } else {
        return -EAGAIN;
    }
    return 0;
}

static inline int model_recv(struct model_chan *chan)
{
    struct op *op = first(chan, SEND);
    int sent = op ? want_of(op, chan, SEND)->value : 0;
    if (chan->count) {
        chan->taken = take_held(chan);
        if (op)
            chan->held[chan->count++] = sent;
    } else if (op) {
        chan->taken = sent;
    } else {
        return chan->closed ? -EPIPE : -EAGAIN;
    }
    if (op)
        serve(op, want_of(op, chan, SEND), 0);
    return 0;
}

static inline void model_close(struct model_chan *chan)
{
    chan->closed = true;
    serve_all(chan, SEND, -EPIPE);
    serve_all(chan, RECV, -EPIPE);
}

/* --- Both ------------------------------------------------------------------------------------- */

static inline void open_chan(struct model_chan *chan, co_test_random_t *random)
{
    static const size_t sizes[] = {4, 8, 16, 24, SIZE_MAX_ITEM}, capacities[] = {0, 1, 2, 3, 9};
    memset(chan, 0, sizeof *chan);
    chan->item_size = sizes[co_test_below(random, 5)];
    chan->order = (int)co_test_below(random, 3);
    chan->capacity = by_chance(random, 6) ? CO_UNBOUNDED : capacities[co_test_below(random, 5)];
    co_chan_options_t options = {chan->order, compare_items};
    chan->chan = co_chan_new_with(chan->item_size, chan->capacity, &options);
    HOLDS(chan->chan);
}

static inline void close_chan(struct model_chan *chan)
{
    settle();
    model_close(chan);
    co_chan_close(chan->chan);
}

/* Frees it if nobody waits for it. */
static inline bool free_chan(struct model_chan *chan)
{
    settle();
    if (first(chan, -1))
        return false;
    co_chan_free(chan->chan);
    chan->chan = NULL;
    return true;
}

static inline void try_send(struct model_chan *chan, int value)
{
    struct item item = item_of(value);
    settle();
    int expected = model_send(chan, value), rc = co_chan_try_send(chan->chan, &item);
    if (rc != expected)
        differ("co_chan_try_send returned %d, not %d", rc, expected);
}

static inline void try_recv(struct model_chan *chan)
{
    struct item room = item_of(0);
    settle();
    int expected = model_recv(chan), rc = co_chan_try_recv(chan->chan, &room);
    if (rc != expected)
        differ("co_chan_try_recv returned %d, not %d", rc, expected);
    expect_item(chan->item_size, &room, expected == 0 ? chan->taken : 0);
}

static inline void send_item(struct model_chan *chan, co_test_random_t *random, int value)
{
    struct item item = item_of(value);
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        op.result = model_send(chan, value);
        if (op.result == -EAGAIN) {
            want(&op, chan, SEND, value);
            op.waits = true;
        }
    }
    end(&op, co_chan_send(chan->chan, &item));
}

static inline void receive_item(struct model_chan *chan, co_test_random_t *random)
{
    struct item room = item_of(0);
    struct op op;
    size_t size = chan->item_size; /* it may be another channel when we return */
    int taken = 0;
    begin(&op, random);
    if (!refused(&op)) {
        op.result = model_recv(chan);
        if (op.result == -EAGAIN)
            wait_for(&op, chan, RECV);
        else if (op.result == 0)
            taken = chan->taken;
    }
    int rc = end(&op, co_chan_recv(chan->chan, &room));
    if (op.got && rc == 0)
        taken = op.got->value;
    expect_item(size, &room, rc == 0 ? taken : 0);
}

static inline void compare_length(const struct model_chan *chan)
{
    size_t length = co_chan_len(chan->chan);
    if (length != chan->count)
        differ("co_chan_len is %zu, not %zu", length, chan->count);
}

#endif
