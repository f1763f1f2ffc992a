/* kqueue.h: the selector of macOS and the BSDs, for its own files.
 *
 * A knote is what the system knows of one fd and direction. It belongs to the number: it goes when
 * the number is closed, whatever other numbers the file has. So there are no ghosts, but the system
 * does not say that a number is another file by now, unless asked to change a knote that is gone.
 *
 * The table remembers, for each number, what is wanted and which knotes there should be. Where the
 * two differ, the entry is in the list of changes, and these go to the system with the next wait:
 * for the loop's own fds always, for others when a knote is armed again. That is done by EV_ENABLE,
 * which fails where the knote is gone; the number is another file then and registered anew. What
 * must be answered now is submitted at once: the first registration of a foreign fd, watchers, and
 * everything once the kqueue is polled by somebody else.
 *
 * Invariants, between calls:
 * 1. An entry is in the list exactly while CHANGED is set.
 * 2. A knote without `wanted` may be left over, if it tells once at most; its event is passed over.
 * 3. Knotes of one number are of one kind, or the list has the change that makes them so.
 *
 * The systems agree on little more than the manual page of 2001. Changing a knote's kind means
 * deleting it, as its flags are kept by some; udata is not used, as its type differs and some
 * replace it with every change; an error comes back as an event without the flags of the change. */
#ifndef SELECTOR_KQUEUE_H
#define SELECTOR_KQUEUE_H

#include "selector/selector.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/time.h>

enum {
    BATCH_MAX = 256,
    CHANGES_OF_ONE = 4, /* two directions, each deleted and added */
    TABLE_MIN = 64,
    LONGEST_S = 100000000, /* some refuse longer times */
};

/* Kinds of knotes, as the bits of an interest say, and their states. */
enum {
    KIND = SELECT_EDGE | SELECT_ONCE,
    BOTH = SELECT_READ | SELECT_WRITE,
    MADE = 1,
    ENABLED = 2,
};

/* State of an entry. */
enum {
    KNOWN = 1,   /* registered, as far as the caller knows */
    CHANGED = 2, /* in the list */
    AGAIN = 4,   /* knotes that should be enabled are enabled again: they may be gone */
    RENEWED = 8, /* another file: to be looked at before it is registered */
};

enum { IDENT_WAKE, IDENT_ALARM }; /* of user events and timers */

struct entry {
    uint32_t generation;
    int next;          /* in the list of changes */
    uint16_t told;     /* place among the events of the wait at hand */
    uint8_t wanted;    /* the interest; 0 once SELECT_ONCE is spent */
    uint8_t state;     /* KNOWN, ... */
    uint8_t knotes[2]; /* for reading and writing: MADE, ENABLED and the kind */
};

struct selector {
    int fd;
    pid_t owner; /* the process whose kqueue it is: no child has its parent's */
    bool exported;
    bool alarm_set, timer_set; /* the user event and the timer of the alarm */
    struct entry *entries;     /* by fd */
    int entry_count;
    int changed; /* first of the list; -1: empty */
    struct selector_event *told;
    int told_count, told_max; /* of the wait at hand */
    struct kevent changes[BATCH_MAX], events[BATCH_MAX];
};

#if defined EV_DISPATCH
#define ONCE_FLAG EV_DISPATCH
#else
#define ONCE_FLAG EV_ONESHOT
#endif
#ifndef EV_OOBAND
#define EV_OOBAND 0
#endif

/* --- Talking to the system -------------------------------------------------------------------- */

static inline struct kevent change_of(uintptr_t ident, int filter, unsigned flags)
{
    struct kevent change;
    memset(&change, 0, sizeof change);
    change.ident = ident;
    change.filter = (__typeof__(change.filter))filter;
    change.flags = (__typeof__(change.flags))flags;
    return change;
}

/* Makes one change now: 0 or an errno. */
static inline int submit(struct selector *s, const struct kevent *change)
{
    static const struct timespec zero;
    return kevent(s->fd, change, 1, NULL, 0, &zero) < 0 ? errno : 0;
}

static inline int filter_of(int direction)
{
    return direction ? EVFILT_WRITE : EVFILT_READ;
}

static inline struct entry *find(const struct selector *s, int fd)
{
    return fd >= 0 && fd < s->entry_count ? &s->entries[fd] : NULL;
}

static inline struct entry *find_known(const struct selector *s, int fd)
{
    struct entry *entry = find(s, fd);
    return entry && entry->state & KNOWN ? entry : NULL;
}

/* --- kqueue.c --------------------------------------------------------------------------------- */

/* Puts an entry in the list of changes, for why's reasons. */
void coloop__kqueue_note_change(struct selector *s, int fd, struct entry *entry, unsigned why);

/* The changes by which the system's knotes of fd become what is wanted: how many, at most
 * CHANGES_OF_ONE. The entry is as if they had been made. */
int coloop__kqueue_plan(struct entry *entry, int fd, struct kevent *changes);

/* Makes the changes of one entry now; if it is in the list, there is nothing left to do for it.
 * That there is nothing to delete is no error, nor is a pipe without a reader, where some systems
 * refuse the knote: whoever waits for that hears of it by the next wait. */
int coloop__kqueue_submit_entry(struct selector *s, int fd, struct entry *entry);

/* kqueue takes regular files, and says of them whether there is more to read; refused as epoll
 * does, so that callers see one behaviour. Only of sockets and pipes is it known that a kqueue
 * takes them. A negative errno if there is no such fd. */
enum file { FILE_ALWAYS_READY, FILE_PLAIN, FILE_OTHER };
int coloop__kqueue_look_at(int fd);

/* --- kqueue_wait.c ---------------------------------------------------------------------------- */

int coloop__kqueue_wait(struct selector *s, int64_t timeout, struct selector_event *events, int n);
int coloop__kqueue_wake(struct selector *s);
int coloop__kqueue_fd(struct selector *s);
void coloop__kqueue_alarm(struct selector *s, int64_t when);

#endif
