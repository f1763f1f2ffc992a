/* core.h: the loop from the inside, for its own files and the layers built on it. */
#ifndef LOOP_CORE_H
#define LOOP_CORE_H

#include "base/alloc.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "selector/selector.h"

#include <coloop/loop.h>

#include <pthread.h>
#include <stdatomic.h>

enum {
    EVENTS_MAX = 128, /* events taken from the selector at a time: what they need fits the caches */
    EXPIRED_AT_ONCE = 256, /* timers */
};

/* A layer above that keeps work in the loop. The loop knows it only by these calls. */
struct loop_client {
    void (*report_stuck)(loop_t *); /* work is left that nothing can wake: tell who */
    void (*cancel_all)(loop_t *);   /* at close: asks all work to end, and new work as well */
    void (*outside)(void (*)(void *), void *); /* makes a call on the running loop's own stack */
    void (*force_all)(loop_t *); /* at close: what is left did not end though nothing can wake it */
    void (*settle)(loop_t *); /* at close, when all work has ended: what is left to be reported */
    void (*drop)(struct loop__ready *); /* at close: an item of the client's that will not run */
    bool (*idle)(loop_t *); /* before waiting: house-keeping; true if some is left for later */
    void (*free)(loop_t *);
};

struct loop__fd; /* fd.c */

struct loop__calls {
    struct loop__call *calls;
    size_t count, capacity;
};

/* Calls from other threads. */
struct loop__posts {
    pthread_mutex_t lock;
    struct loop__calls arrived; /* under the lock */
    atomic_bool any;            /* have arrived; written under the lock */
    struct loop__calls taken;   /* the loop's own: they run with the item, in the next pass */
    struct loop__ready item;
};

struct loop {
    /* the pass: ready is what runs in the next one, batch what is left of the one at hand */
    struct list ready, batch;
    int64_t now;
    uint64_t runs;       /* items that have run */
    uint64_t turn_began; /* that many at the last turn */
    uint64_t ran_before; /* items in the turn before */
    uint64_t look_at;    /* that many make a turn due, or a glance at the coarse clock */
    unsigned turn_limit; /* that many since the last turn make the next one due */
    int64_t coarse_turn; /* the coarse clock at the last turn */
    bool running, debug, closing;
    bool passes_chain; /* the next pass may begin where the one at hand ends; no more once a task
                          has ended for which the loop is run */
    const bool *until; /* what loop__run_while waits for, or NULL */
    bool exported;     /* loop_fd was called */
    struct heap timers;
    struct clock clock;

    /* fds */
    const struct selector_ops *ops;
    struct selector *selector;
    struct loop__fd **fd_chunks; /* fd_chunks[fd / FD_CHUNK][fd % FD_CHUNK], or NULL */
    unsigned fd_chunk_count;
    size_t fd_waits;     /* waits parked on fds */
    size_t watchers;     /* readers and writers */
    int64_t check_at;    /* when fds closed behind our back are looked for again */
    bool check_wanted;   /* something ran since the last look began */
    unsigned check_next; /* the chunk that is looked at next; 0: a new look begins */

    /* what else keeps it running */
    const struct loop_client *client;
    void *client_data;
    size_t client_work;     /* tasks alive */
    int cancelled;          /* tasks that loop_close cancelled */
    bool no_work;           /* client_work is 0, kept by the client: what loop_close waits for */
    uint64_t slow_reported; /* in debug mode: items whose runners report themselves what is slow */
    size_t holds;

    /* from other threads and signal handlers */
    atomic_bool stop;
    int wake_read, wake_write; /* an eventfd, twice, or a pipe; -1: the selector wakes itself */
    struct loop__signals *signals;
    size_t signal_users; /* callbacks and waits, which a signal may wake */

    loop_exception_fn *exception_fn;
    void *exception_arg;

    struct list pending;          /* of struct loop__pending */
    struct coloop__link *records; /* idle loop_handle_t of calls without a handle, by next */
    size_t record_count;

    int64_t slow_ns;
    uint64_t random; /* state of loop__random */
    size_t stack_size;
    loop_t *older;  /* the thread's loop made before this one */
    loop_t *around; /* that this one is run in: a parent's, else NULL */
    unsigned forks; /* the process's forks when it was made */
    uint64_t passes, polls, events;
    struct selector_event event_buffer[EVENTS_MAX];

    struct loop__posts posts; /* apart from what the loop itself uses all the time */
};

/* --- run.c: passes ---------------------------------------------------------------------------- */

/* Puts an item that is in no list at the end of the ready queue. */
void loop__ready_slow(loop_t *loop);
static inline void loop__ready_push(loop_t *loop, struct loop__ready *item)
{
    list_push_back(&loop->ready, &item->link);
    if (__builtin_expect(loop->exported, 0))
        loop__ready_slow(loop);
}

/* Whether the selector is to be asked before the next pass, though work is ready. */
bool loop__look(loop_t *loop);
static inline bool loop__turn_is_due(loop_t *loop)
{
    return loop->runs >= loop->look_at && loop__look(loop);
}

/* Begins the next pass, the one at hand being at its end, in the task that runs: two tasks that
 * hand over to each other need not go through the loop, unless it has to have a look. */
static inline bool loop__begin_pass_early(loop_t *loop)
{
    if (!loop->passes_chain || list_empty(&loop->ready) ||
        atomic_load_explicit(&loop->stop, memory_order_relaxed) || loop__turn_is_due(loop))
        return false;
    list_move(&loop->batch, &loop->ready);
    loop->passes++;
    return true;
}

/* Runs passes until stop, or no work is left, or *done (may be NULL) becomes true: 0, 1, -EDEADLK,
 * ... */
int loop__run_while(loop_t *loop, const bool *done);

/* In debug mode: makes a call, and reports it if it is slow, for an item of many calls. */
void loop__run_timed(loop_t *loop, loop_fn *fn, void *arg);

/* For debug mode: the user's function that an item will call; NULL: another file knows. */
loop_fn *loop__call_fn(const struct loop__ready *item);
loop_fn *loop__watcher_fn(const struct loop__ready *item);
loop_fn *loop__signal_fn(const struct loop__ready *item);

/* --- call.c ----------------------------------------------------------------------------------- */

/* What a node of the loop's heap is part of: the heap's tag. */
enum loop__timer_kind { LOOP__TIMER, LOOP__HANDLE, LOOP__RECORD };

/* Makes the call of a handle or record ready, whose deadline was reached. */
void loop__call_expire(struct coloop__heap_node *node);

/* --- timer.c ---------------------------------------------------------------------------------- */

/* Sets a timer that is not set. expire(timer) is called from a pass once the clock has reached
 * `when`; the timer is not set any more then. 0 or -ENOMEM. */
int loop__timer_set(loop_t *loop, struct loop__timer *timer, int64_t when);
static inline bool loop__timer_is_set(const struct loop__timer *timer)
{
    return heap_contains(&timer->node);
}
static inline void loop__timer_cancel(loop_t *loop, struct loop__timer *timer)
{
    if (loop__timer_is_set(timer))
        heap_remove(&loop->timers, &timer->node);
}
/* The clock read now, for deadlines: counting from the pass's beginning would make them early. */
static inline int64_t loop__clock(const loop_t *loop)
{
    return clock_now(&loop->clock);
}
/* The next deadline; TIME_NEVER if there is none. */
static inline int64_t loop__next_deadline(const loop_t *loop)
{
    return loop->timers.count ? loop->timers.entries[1].key : TIME_NEVER;
}
static inline bool loop__timers_due(const loop_t *loop)
{
    return loop->timers.count && loop->timers.entries[1].key <= loop->now;
}
void loop__expire_timers(loop_t *loop);

/* A record whose call waits for something that the loop does not know of; in loop->pending until it
 * has run. If it has not when the loop is closed, drop(pending) frees it. */
struct loop__pending {
    struct coloop__link link;
    void (*drop)(struct loop__pending *);
};

/* --- call.c ----------------------------------------------------------------------------------- */

void loop__drop_calls(loop_t *loop); /* at close: the user's calls */
void loop__drop_items(loop_t *loop); /* and all that is left in the end */

/* --- fd.c: the fd table ----------------------------------------------------------------------- */

enum { FD_CHUNK = 256 };

struct loop__watcher { /* a callback for one direction; alive while fn is set */
    struct loop__ready ready;
    loop_fn *fn;
    void *arg;
};

enum loop__fd_kind {
    FD_FILE, /* or unknown */
    FD_SOCKET,
    FD_TCP, /* a short read means that there is no more */
};

/* What the loop knows of one fd number. Zeroed: nothing. */
struct loop__fd {
    bool own; /* the loop's own: edge-triggered where that exists, with ready bits that can be
                 trusted */
    bool registered;     /* the selector knows it */
    bool always;         /* own, but the selector refuses it: always ready */
    uint8_t kind;        /* of an own fd: an enum loop__fd_kind */
    unsigned armed;      /* the interest the selector has now; 0 after SELECT_ONCE has fired */
    unsigned ready;      /* own: directions worth a try, and SELECT_HANGUP */
    uint32_t generation; /* of the registration */
    uint32_t forgotten;  /* how often the number became another file, as far as we were told */
    struct list waits;   /* of struct loop__fd_wait; made at first use, and of own fds at once */
    struct loop__watcher *watchers[2]; /* reader, writer; allocated with the first */
    bool told;       /* an event has come since loop__fd_check was here: its file was open then */
    uint8_t skipped; /* looks in a row that left it out because of that */
} __attribute__((aligned(CACHE_LINE)));

/* One waiter, in the waiter's memory. wake(wait, ready) is called once, when some of `events` are
 * ready or with -EBADF; the wait is over then. */
struct loop__fd_wait {
    struct coloop__link link;
    unsigned events;
    void (*wake)(struct loop__fd_wait *, int ready);
};

/* The entry of no fd. Nothing is ever written to it. */
extern struct loop__fd loop__fd_none;
/* The entry of fd, made if need be: 0, -EBADF, -ENOMEM. */
int loop__fd_get(loop_t *loop, int fd, struct loop__fd **entry);
/* The entry if there is one. */
static inline struct loop__fd *loop__fd_find(const loop_t *loop, int fd)
{
    unsigned number = (unsigned)fd, chunk = number / FD_CHUNK; /* below 0 is above every chunk */
    if (chunk >= loop->fd_chunk_count || !loop->fd_chunks[chunk])
        return NULL;
    return &loop->fd_chunks[chunk][number % FD_CHUNK];
}

/* Begins to wait for the fd of an entry. 0; -EPERM: it is always ready; -EBADF, -ENOMEM, -ENOSPC.
 */
int loop__fd_wait_slowly(loop_t *loop, struct loop__fd *entry, int fd, struct loop__fd_wait *wait);
static inline int loop__fd_wait(loop_t *loop, struct loop__fd *entry, int fd,
                                struct loop__fd_wait *wait)
{
    if (!(entry->armed & SELECT_EDGE))
        return loop__fd_wait_slowly(loop, entry, fd, wait);
    list_push_back(&entry->waits, &wait->link); /* its own, registered for good */
    loop->fd_waits++;
    return 0;
}
void loop__fd_unwait(loop_t *loop, struct loop__fd_wait *wait);

/* Makes a non-blocking fd the loop's own. Whoever waited for the number waited for another file:
 * -EBADF. */
int loop__fd_own(loop_t *loop, int fd, enum loop__fd_kind kind);
/* The same for an fd that may be in use already: who waits for it, or watches it, goes on. */
int loop__fd_adopt(loop_t *loop, int fd, enum loop__fd_kind kind);
/* The fd is about to be closed: forgets it, and wakes its waiters with -EBADF. */
void loop__fd_forget(loop_t *loop, int fd);
/* Makes the selector's interest fit what is wanted of the fd. */
int loop__fd_update(loop_t *loop, int fd, struct loop__fd *entry);

void loop__fd_dispatch(loop_t *loop, const struct selector_event *events, int n);
/* Looks for waited-for fds that were closed behind our back, and says when to go on with it. The
 * selector has to have a check, and fds are waited for. */
void loop__fd_check(loop_t *loop);
void loop__watchers_drop(loop_t *loop);
void loop__fd_free(loop_t *loop);

/* --- wake.c, signal.c ------------------------------------------------------------------------- */

int loop__wake_open(loop_t *loop);
void loop__wake_close(loop_t *loop);
void loop__wake(loop_t *loop); /* any thread, any signal handler */
void loop__wake_drain(loop_t *loop);
void loop__posts_init(loop_t *loop);
void loop__posts_run(loop_t *loop); /* makes posted calls ready, for the pass that follows */
void loop__posts_drop(loop_t *loop);
static inline bool loop__has_posts(loop_t *loop)
{
    return atomic_load_explicit(&loop->posts.any, memory_order_relaxed);
}
void loop__signals_dispatch(loop_t *loop);
/* Listens for the signal until the loop is closed, and looks whether it has come: to be called
 * before the other three. 0 or an error of loop_add_signal_handler. */
int loop__signal_keep(loop_t *loop, int signo);
/* Whether it came while nobody waited; it is told once. */
bool loop__signal_take(loop_t *loop, int signo);
/* One waiter for a signal, in the waiter's memory: wake(wait) is called once, after the next
 * arrival. */
struct loop__signal_wait {
    struct coloop__link link;
    int signo;
    void (*wake)(struct loop__signal_wait *);
};
void loop__signal_wait(loop_t *loop, struct loop__signal_wait *wait); /* nothing is to be taken */
void loop__signal_unwait(loop_t *loop, struct loop__signal_wait *wait);
void loop__signals_drop(loop_t *loop); /* the user's handlers */
void loop__signals_free(loop_t *loop);
void loop__signals_before_fork(void);
void loop__signals_after_fork(bool in_child);

/* --- loop.c, exception.c ---------------------------------------------------------------------- */

/* The thread's loops: the one that runs, and the newest one; and the one whose tasks and callbacks
 * we are in: that which runs, or, in a child that was forked in there, still the parent's. */
struct loop_thread {
    loop_t *running, *newest, *inside;
};
extern _Thread_local struct loop_thread loop__thread COLOOP__FAST_TLS;
static inline loop_t *loop__current(void)
{
    return loop__thread.running ? loop__thread.running : loop__thread.newest;
}

extern unsigned loop__forks; /* of this process, since the first loop */
static inline bool loop__forked(const loop_t *loop)
{
    return loop->forks != loop__forks;
}

/* Hands a printf-like message to the exception handler. */
void loop__report(loop_t *loop, int error, const char *where, co_task_t *task, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));

/* A caller's bug: says so on stderr and aborts. */
void loop__abort(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The next pseudo-random number (xorshift64*, Vigna 2016). */
uint64_t loop__random(loop_t *loop);

#endif
