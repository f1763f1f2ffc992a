/* test_chan.h: one channel of ints, and tasks that use it and trace how it went. */
#ifndef TESTS_TEST_CHAN_H
#define TESTS_TEST_CHAN_H

#include "support.h"

static co_chan_t *chan;

static inline const char *word(int rc)
{
    switch (rc) {
    case 0:
        return "ok";
    case -EPIPE:
        return "closed";
    case -EAGAIN:
        return "again";
    case -ECANCELED:
        return "cancelled";
    case -ETIMEDOUT:
        return "late";
    default:
        return strerror(-rc);
    }
}

/* A task that sends the number arg, or receives one, and traces how it went: "send1:ok". */
static inline int send_one(void *arg)
{
    int number = (int)(intptr_t)arg;
    int rc = co_chan_send(chan, &number);
    trace("send%d:%s", number, word(rc));
    return 0;
}

static inline int recv_one(void *arg)
{
    int number = -1, rc = co_chan_recv(chan, &number);
    trace(rc == 0 ? "recv%d:%d" : "recv%d=%d:%s", (int)(intptr_t)arg, number, word(rc));
    return 0;
}

static inline void *number(int n)
{
    return (void *)(intptr_t)n;
}

static inline void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

static inline int received(void)
{
    int n = -1;
    CHECK_INT(co_chan_recv(chan, &n), 0);
    return n;
}

static inline int try_number(int n)
{
    return co_chan_try_send(chan, &n);
}

static inline void open_chan(size_t capacity)
{
    chan = co_chan_new(sizeof(int), capacity);
    CHECK(chan != NULL);
}

#endif
