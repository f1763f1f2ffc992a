/* shim.h: kqueue on Linux from the inside.
 *
 * A kqueue is an epoll, whose fd is the kqueue's, so that it can be polled itself. It holds two
 * more epolls, one for each of EVFILT_READ and EVFILT_WRITE, as a knote of one filter knows nothing
 * of the other's, while an epoll has one entry an fd; and, made when needed, an eventfd that is
 * readable while a knote of another kind is active, and a timerfd for the timers.
 *
 * Invariants, whenever the lock is free:
 * 1. An fd's knote is in the epoll of its filter (in_epoll) exactly while it is enabled, with
 *    EPOLLET for EV_CLEAR; epoll decides when it is active. Regular files, which epoll does not
 *    take, are `soft`, and so are user events and timers.
 * 2. watched[fd] counts the knotes of the number in all kqueues: close() looks there first.
 *
 * Where the systems differ, this one is the strictest of them: the flags of EV_ADD count when the
 * knote is made and not when it is added again, udata is replaced by every change, times of more
 * than three years are refused, and a fork leaves the child without any kqueue.
 *
 * Limits: a file closed by other means than close, dup2 and dup3 (fclose, a system call) is noticed
 * only by the next change; a waiting kevent does not notice that a regular file grows; fflags of
 * EV_EOF are 0, as Linux cannot tell a socket's error without taking it away. */
#ifndef TESTS_KQUEUE_SHIM_H
#define TESTS_KQUEUE_SHIM_H

#include <signal.h>
#include <stdbool.h>
#include <sys/event.h>

enum { SHIM_FDS = 65536, SHIM_BUCKETS = 256 };

/* The parts of the header that KQUEUE_OLD hides are here all the same. */
#ifndef EVFILT_USER
#define EVFILT_USER (-4)
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_OOBAND 0x2000
#define NOTE_TRIGGER 0x01000000
#define NOTE_FFAND 0x40000000
#define NOTE_FFOR 0x80000000
#define NOTE_FFCOPY 0xc0000000
#define NOTE_FFCTRLMASK 0xc0000000
#define NOTE_FFLAGSMASK 0x00ffffff
#endif

struct knote {
    struct knote *next;      /* of its bucket */
    struct knote *next_soft; /* of the kqueue's soft ones */
    struct kevent event;     /* ident, filter, flags when made; the latest fflags, data and udata */
    bool enabled, in_epoll, soft;
    bool triggered; /* EVFILT_USER */
    bool told;      /* EV_CLEAR of a regular file: nothing new since */
    int64_t when, period;
};

struct shim_queue {
    int fd;
    int filters[2]; /* the epolls of EVFILT_READ and EVFILT_WRITE */
    int active;     /* eventfd, or -1 */
    int alarm;      /* timerfd, or -1 */
    bool is_active; /* the eventfd is readable */
    unsigned turn;  /* which filter is looked at first */
    struct knote *buckets[SHIM_BUCKETS];
    struct knote *soft;
};

/* --- memory.c --- */

enum shim_kind { SHIM_KNOTE, SHIM_QUEUE };

void *shim_allocate(enum shim_kind kind);
void shim_free(enum shim_kind kind, void *memory);

/* --- kqueue.c --- */

/* Everything below happens under one lock, with all signals held back: kevent may be called by a
 * signal's handler. */
void shim_lock(sigset_t *before);
void shim_unlock(const sigset_t *before);
struct shim_queue *shim_find(int kq); /* NULL: no kqueue */
void shim_count_knote(int fd, int change);
int shim_make_inside(int (*make)(void)); /* an fd of a kqueue's own */

/* --- knote.c --- */

struct knote *shim_knote(struct shim_queue *q, uintptr_t ident, int filter);
/* Does what the change says: 0 or an errno. */
int shim_apply(struct shim_queue *q, const struct kevent *change);
void shim_drop(struct shim_queue *q, struct knote *note);
/* Brings epoll in line with the knote: 0 or an errno. */
int shim_arm(struct shim_queue *q, struct knote *note);
/* Lets the kqueue's fd be readable if a soft knote is active, or when a timer will be. */
int shim_settle(struct shim_queue *q);
bool shim_soft_active(struct knote *note, intptr_t *data);
int64_t shim_now(void);

static inline bool shim_is_fd(int filter)
{
    return filter == EVFILT_READ || filter == EVFILT_WRITE;
}
static inline int shim_index(int filter)
{
    return filter == EVFILT_WRITE;
}

/* --- for tests: calls of kevent so far, by all threads --- */

unsigned long shim_calls(void);

#endif
