/* selector.h: who of many fds is ready: one interface, a file for each of the system's ways.
 *
 * An fd is registered with an interest: the events, and how long it lasts. SELECT_EDGE: for good,
 * and each change to ready is told once. SELECT_ONCE: until the first event, then it stays known to
 * the selector but disarmed. Neither: for good, and told at every wait while it is ready. Hang-up
 * and error are told as SELECT_HANGUP with both directions, or with those asked for.
 *
 * With epoll a registration belongs to the open file and not to the number: the kernel forgets it
 * when the file is closed, but not while a duplicate is open. So each one carries a generation, by
 * which the caller recognises events of a file that is gone; and `modify` says -ENOENT when the
 * number is another file by now. With kqueue and poll it belongs to the number, and `forget` tells
 * them in time. */
#ifndef SELECTOR_SELECTOR_H
#define SELECTOR_SELECTOR_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SELECT_READ = 1,
    SELECT_WRITE = 2,
    SELECT_HANGUP =
        4, /* in events only: also end of file, urgent data: reading again may be needed */
    SELECT_INVALID = 8, /* in events only: the fd was closed */
    SELECT_ONCE = 16,
    SELECT_EDGE = 32,
};

struct selector_event {
    int fd;
    uint32_t generation;
    unsigned ready; /* SELECT_READ, SELECT_WRITE, SELECT_HANGUP, SELECT_INVALID */
};

struct selector; /* each backend's own */

struct selector_ops {
    const char *name;
    bool edge; /* SELECT_EDGE is known; else the caller uses SELECT_ONCE in its place */

    /* Returns NULL with errno set. */
    struct selector *(*open)(void);
    void (*close)(struct selector *);

    /* 0 or a negative errno: add says -EEXIST, modify and remove say -ENOENT, where the system
     * knows; -EPERM: the fd is always ready and cannot be registered; -EBADF, -ENOMEM, -ENOSPC. */
    int (*add)(struct selector *, int fd, unsigned interest, uint32_t generation);
    int (*modify)(struct selector *, int fd, unsigned interest, uint32_t generation);
    int (*remove)(struct selector *, int fd);

    /* The fd is about to be closed, or the number is another file: whatever the selector itself
     * remembers of it is void. May be NULL: it remembers nothing. */
    void (*forget)(struct selector *, int fd);

    /* Whether fd is still registered: 0, -ENOENT or -EBADF. There is no effect if fd is not ready
     * for any of `events`, which somebody waits for; else an edge may be told once more. May be
     * NULL: never needed. */
    int (*check)(struct selector *, int fd, unsigned events);

    /* Waits up to timeout ns (negative: for ever), never shorter unless something is ready or a
     * signal came; fills in at most n events and returns how many, 0 on a signal. */
    int (*wait)(struct selector *, int64_t timeout, struct selector_event *events, int n);

    /* Ends a wait, now or the next one, with an event of generation 0. From any thread and any
     * signal handler. May be NULL: it takes an fd. */
    int (*wake)(struct selector *);

    /* Forgets every registration, keeping the fd that `fd` returned. 0 or a negative errno. */
    int (*reset)(struct selector *);

    /* An fd that polls readable when an event is there, or at `alarm`, a time of the monotonic
     * clock (0: at once; INT64_MAX: no alarm). -ENOTSUP where there is no such thing. */
    int (*fd)(struct selector *);
    void (*alarm)(struct selector *, int64_t when);
};

/* The backend of that name, or the best for NULL; NULL if it is not available here. */
const struct selector_ops *coloop__selector_find(const char *name);

extern const struct selector_ops coloop__selector_epoll, coloop__selector_kqueue,
    coloop__selector_poll;

#endif
