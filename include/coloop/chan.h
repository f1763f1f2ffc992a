/* chan.h: channels between tasks of one loop, and select.
 *
 * A channel carries items of one size, by copy. An item for which a receiver is parked goes
 * straight to it. Suspending calls return -ECANCELED or -ETIMEDOUT without effect, -EPERM outside a
 * coroutine. */
#ifndef COLOOP_CHAN_H
#define COLOOP_CHAN_H

#include <coloop/future.h>
#include <coloop/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct co_chan co_chan_t;

#define CO_UNBOUNDED SIZE_MAX

enum { CO_FIFO, CO_LIFO, CO_PRIORITY };
typedef struct co_chan_options {
    int order; /* CO_FIFO, CO_LIFO, or CO_PRIORITY: the least item first, those alike in the order
                  of sending */
    int (*compare)(const void *a, const void *b); /* for CO_PRIORITY, as for qsort */
} co_chan_options_t;

/* A channel for items of item_size bytes (0: mere signals) that holds up to `capacity` of them: 0
 * is a rendezvous, where a sender waits for its receiver; CO_UNBOUNDED never makes a sender wait,
 * though it gives way now and then (task.h). options may be NULL. Buffers grow as they fill. The
 * order is that of the buffered items: those of parked senders enter the buffer in the order of
 * arrival. NULL with errno ENOMEM or EINVAL. The caller frees it with co_chan_free. */
#define co_chan_new(item_size, capacity) co_chan_new_with((item_size), (capacity), NULL)
COLOOP_API co_chan_t *co_chan_new_with(size_t item_size, size_t capacity,
                                       const co_chan_options_t *options);

/* Sends a copy of the item; takes one into item. Suspend while the channel is full (empty). 0;
 * -EPIPE: the channel is closed (and, for recv, empty); -ENOMEM: send had no memory to buffer it.
 * The try forms do not suspend, may be called from anywhere on the loop's thread, and return
 * -EAGAIN where they would have to wait. item may be NULL if items have no size; recv and try_recv
 * take NULL for "drop it". */
#define co_chan_send(chan, item) co_chan_send_here((chan), (item), CO_HERE)
#define co_chan_recv(chan, item) co_chan_recv_here((chan), (item), CO_HERE)
COLOOP_API int co_chan_send_here(co_chan_t *chan, const void *item, const char *where);
COLOOP_API int co_chan_recv_here(co_chan_t *chan, void *item, const char *where);
COLOOP_API int co_chan_try_send(co_chan_t *chan, const void *item);
COLOOP_API int co_chan_try_recv(co_chan_t *chan, void *item);

/* Closes the channel: parked senders, and later sends, get -EPIPE and keep their items; receivers
 * get what is left, then -EPIPE. Closing twice is allowed. */
COLOOP_API void co_chan_close(co_chan_t *chan);

/* Items buffered now. */
COLOOP_API size_t co_chan_len(const co_chan_t *chan);

/* Frees the channel and what it holds; NULL is ignored. With tasks parked on it, which is a bug of
 * the caller's, it is reported to the exception handler, and they get -EPIPE. */
COLOOP_API void co_chan_free(co_chan_t *chan);

/* One thing to wait for, made by one of the macros below. */
enum co__case_kind {
    CO__CASE_RECV,
    CO__CASE_SEND,
    CO__CASE_FD,
    CO__CASE_TASK,
    CO__CASE_FUTURE,
    CO__CASE_EVENT,
    CO__CASE_SIGNAL,
    CO__CASE_AFTER
};
typedef struct co_case {
    enum co__case_kind kind;
    void *object;   /* channel, task, future, event */
    void *item;     /* to send, or room for the one received */
    int64_t number; /* fd, signal, milliseconds */
    int events;     /* of an fd; the ready ones once it happened */
    int result;     /* of the case that happened: 0, or a negative errno such as -EPIPE of a closed
                       channel */
} co_case_t;
#define CO_RECV(chan, item) CO__CASE(CO__CASE_RECV, (chan), (item), 0, 0)
#define CO_SEND(chan, item) CO__CASE(CO__CASE_SEND, (chan), (void *)(item), 0, 0)
#define CO_FD(fd, events) CO__CASE(CO__CASE_FD, NULL, NULL, (fd), (events))
#define CO_TASK(task) CO__CASE(CO__CASE_TASK, (task), NULL, 0, 0)
#define CO_FUTURE(future) CO__CASE(CO__CASE_FUTURE, (future), NULL, 0, 0)
#define CO_EVENT(event) CO__CASE(CO__CASE_EVENT, (event), NULL, 0, 0)
#define CO_SIGNAL(signo) CO__CASE(CO__CASE_SIGNAL, NULL, NULL, (signo), 0)
#define CO_AFTER(ms) CO__CASE(CO__CASE_AFTER, NULL, NULL, (ms), 0)
#ifdef __cplusplus
#define CO__CASE(kind, object, item, number, events)                                               \
    co_case_t                                                                                      \
    {                                                                                              \
        kind, object, item, number, events, 0                                                      \
    }
#else
#define CO__CASE(kind, object, item, number, events)                                               \
    ((co_case_t){kind, object, item, number, events, 0})
#endif

/* Waits until one of the cases can happen, lets that one happen and no other, and returns its
 * index; its `result` tells how. Suspends. Among those that can happen at once it chooses by chance
 * (loop_options_t.seed), so that none starves (the odds are not even: the choice begins at a random
 * case and takes the next that can happen). A task, future or event case only says that it is done
 * or set; nothing is consumed. CO_TASK(NULL), a task that could not be spawned, happens at once
 * with the result -ENOMEM. CO_AFTER(0) happens when no other case can. -ECANCELED, -ETIMEDOUT: none
 * happened; -EINVAL: n is 0 or a case is none; -ENOMEM, -EBADF and the like: a case could not be
 * waited for, and none happened: -EDEADLK for CO_TASK(co_self()).
 *
 *     co_case_t cases[] = {CO_RECV(jobs, &job), CO_SIGNAL(SIGTERM), CO_AFTER(1000)};
 *     switch (rc = co_select(cases, 3)) {
 *     case 0:
 *         return cases[0].result < 0 ? cases[0].result : work_on(&job);
 *     case 1:
 *         return finish();
 *     case 2:
 *         return report_idle();
 *     default:
 *         return rc;
 *     }
 *
 * No signal is lost between two selects, nor does it kill the process: from the first co_select
 * with CO_SIGNAL(signo) on, whichever case happens there, the loop handles the signal until
 * loop_close. It is told to all selects that wait for it when it comes; if none does, to the next
 * one, once however often it came. (A forked child handles it too, to no effect, until it closes
 * the loop or calls exec.) */
#define co_select(cases, n) co_select_here((cases), (n), CO_HERE)
COLOOP_API int co_select_here(co_case_t cases[], size_t n, const char *where);

#ifdef __cplusplus
}
#endif
#endif
