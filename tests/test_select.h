/* test_select.h: a few channels of ints, and a task that selects among cases. */
#ifndef TESTS_TEST_SELECT_H
#define TESTS_TEST_SELECT_H

#include "support.h"

enum { CHANS = 4 };

static co_chan_t *chans[CHANS];

static inline void open_chans(size_t capacity)
{
    for (int i = 0; i < CHANS; i++) {
        chans[i] = co_chan_new(sizeof(int), capacity);
        CHECK(chans[i] != NULL);
    }
}

static inline void free_chans(void)
{
    for (int i = 0; i < CHANS; i++)
        co_chan_free(chans[i]);
}

static inline int put(co_chan_t *chan, int n)
{
    return co_chan_try_send(chan, &n);
}

/* What is next in the channel, or a negative errno. */
static inline int take(co_chan_t *chan)
{
    int n = -1, rc = co_chan_try_recv(chan, &n);
    return rc < 0 ? rc : n;
}

static inline void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

static inline void check_nobody_waits(co_chan_t *chan)
{
    CHECK_INT(put(chan, 99), -EAGAIN);
    CHECK_INT(take(chan), -EAGAIN);
}

/* A select over cases of its own in a task of its own. */
struct selector {
    co_case_t cases[4];
    size_t n;
    int rc;
    co_task_t *task;
};

static inline int run_selector(void *arg)
{
    struct selector *selector = arg;
    selector->rc = co_select(selector->cases, selector->n);
    trace("%d", selector->rc);
    return 0;
}

static inline void park_selector(struct selector *selector)
{
    selector->rc = -1000;
    selector->task = co_spawn(run_selector, selector);
    CHECK(selector->task != NULL);
    settle();
}

static inline void join_selector(struct selector *selector)
{
    CHECK_INT(co_await_task(selector->task), 0);
}

#endif
