/* kqueue.c: the selector of macOS and the BSDs.
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
 * deleting it, as its flags are kept by some; udata is given with every change, as some replace it;
 * an error in the list of changes comes back as an event without the flags of the change. */
#if COLOOP_HAVE_KQUEUE
#include "selector/selector.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

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

static struct kevent change_of(uintptr_t ident, int filter, unsigned flags, uint32_t generation)
{
    struct kevent change;
    memset(&change, 0, sizeof change);
    change.ident = ident;
    change.filter = (__typeof__(change.filter))filter;
    change.flags = (__typeof__(change.flags))flags;
    change.udata = (__typeof__(change.udata))(uintptr_t)generation; /* no pointer on some systems */
    return change;
}

/* Makes one change now: 0 or an errno. */
static int submit(struct selector *s, const struct kevent *change)
{
    static const struct timespec zero;
    return kevent(s->fd, change, 1, NULL, 0, &zero) < 0 ? errno : 0;
}

static int filter_of(int direction)
{
    return direction ? EVFILT_WRITE : EVFILT_READ;
}

static struct entry *find(const struct selector *s, int fd)
{
    return fd >= 0 && fd < s->entry_count ? &s->entries[fd] : NULL;
}

static struct entry *find_known(const struct selector *s, int fd)
{
    struct entry *entry = find(s, fd);
    return entry && entry->state & KNOWN ? entry : NULL;
}

static int reserve(struct selector *s, int fd)
{
    int count = s->entry_count ? s->entry_count : TABLE_MIN;
    if (fd < s->entry_count)
        return 0;
    while (count <= fd)
        count *= 2;
    struct entry *entries = coloop__realloc(s->entries, (size_t)count * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    memset(entries + s->entry_count, 0, (size_t)(count - s->entry_count) * sizeof *entries);
    s->entries = entries;
    s->entry_count = count;
    return 0;
}

/* --- Changes ---------------------------------------------------------------------------------- */

static void note_change(struct selector *s, int fd, struct entry *entry, unsigned why)
{
    if (!(entry->state & CHANGED)) {
        entry->next = s->changed;
        s->changed = fd;
    }
    entry->state |= (uint8_t)(CHANGED | why);
}

static unsigned flags_of(unsigned kind, int direction)
{
    unsigned flags = EV_ADD;
    if (kind & SELECT_EDGE)
        flags |= EV_CLEAR;
    if (kind & SELECT_EDGE && direction == 0)
        flags |= EV_OOBAND;
    if (kind & SELECT_ONCE)
        flags |= ONCE_FLAG;
    return flags;
}

/* The changes for one direction, and the knote as it will be: how many, at most two. */
static int plan_direction(struct entry *entry, int fd, int direction, struct kevent *changes)
{
    unsigned note = entry->knotes[direction], kind = entry->wanted & KIND, flags = 0;
    int filter = filter_of(direction), n = 0;
    bool wanted = entry->wanted & (SELECT_READ << direction);
    if (note && ((wanted && (note & KIND) != kind) || (!wanted && !(note & SELECT_ONCE)))) {
        changes[n++] = change_of((uintptr_t)fd, filter, EV_DELETE, entry->generation);
        note = 0;
    }
    if (wanted && !note)
        flags = flags_of(kind, direction);
    else if (wanted && (!(note & ENABLED) || entry->state & AGAIN))
        flags = ONCE_FLAG == EV_ONESHOT ? flags_of(kind, direction) : EV_ENABLE;
    if (flags) {
        changes[n++] = change_of((uintptr_t)fd, filter, flags, entry->generation);
        note = MADE | ENABLED | kind;
    }
    entry->knotes[direction] = (uint8_t)note;
    return n;
}

static int plan(struct entry *entry, int fd, struct kevent *changes)
{
    int n = plan_direction(entry, fd, 0, changes);
    n += plan_direction(entry, fd, 1, changes + n);
    entry->state &= (uint8_t) ~(AGAIN | RENEWED);
    return n;
}

/* The system has no kqueue for such files, which are always ready. */
static bool cannot_be_watched(int error)
{
    return error == EPERM || error == ENODEV || error == EINVAL || error == EOPNOTSUPP ||
           error == ENOTSUP || error == ENXIO || error == EACCES;
}

static int delete_knote(struct selector *s, int fd, int direction)
{
    struct kevent change = change_of((uintptr_t)fd, filter_of(direction), EV_DELETE, 0);
    s->entries[fd].knotes[direction] = 0;
    return submit(s, &change);
}

/* Makes the changes of one entry now; if it is in the list, there is nothing left to do for it.
 * That there is nothing to delete is no error, nor is a pipe without a reader, where some systems
 * refuse the knote: whoever waits for that hears of it by the next wait. */
static int submit_entry(struct selector *s, int fd, struct entry *entry)
{
    struct kevent changes[CHANGES_OF_ONE];
    int n = plan(entry, fd, changes), error = 0;
    for (int i = 0; i < n && !error; i++) {
        error = submit(s, &changes[i]);
        if (changes[i].flags & EV_DELETE && error != EBADF)
            error = 0;
    }
    if (!error)
        return 0;
    for (int i = 0; i < 2; i++)
        delete_knote(s, fd, i);
    if (error == EPIPE)
        note_change(s, fd, entry, 0);
    return error == EPIPE ? 0 : cannot_be_watched(error) ? -EPERM : -error;
}

/* --- Registrations ---------------------------------------------------------------------------- */

enum file { FILE_ALWAYS_READY, FILE_PLAIN, FILE_OTHER };

/* kqueue takes regular files, and says of them whether there is more to read; refused as epoll
 * does, so that callers see one behaviour. Only of sockets and pipes is it known that a kqueue
 * takes them. A negative errno if there is no such fd. */
static int look_at(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return FILE_ALWAYS_READY;
    return S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) ? FILE_PLAIN : FILE_OTHER;
}

/* What was planned for the number is void: it is closed, or another file. */
static void kqueue_forget(struct selector *s, int fd)
{
    struct entry *entry = find(s, fd);
    if (entry)
        *entry = (struct entry){.next = entry->next, .state = entry->state & CHANGED};
}

static int kqueue_add(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    int file = look_at(fd), rc = 0;
    if (file <= FILE_ALWAYS_READY)
        return file < 0 ? file : -EPERM;
    if ((rc = reserve(s, fd)) < 0)
        return rc;
    struct entry *entry = find(s, fd);
    entry->generation = generation;
    entry->wanted = (uint8_t)interest;
    entry->knotes[0] = entry->knotes[1] = 0;
    if (interest & SELECT_EDGE && file == FILE_PLAIN && !s->exported)
        note_change(s, fd, entry, 0);
    else
        rc = submit_entry(s, fd, entry);
    if (rc == 0)
        entry->state |= KNOWN;
    else
        kqueue_forget(s, fd);
    return rc;
}

/* A change that changes nothing, to hear whether there is a knote; but it lets an EV_CLEAR one tell
 * once more if it is ready, so only the awaited ones are asked. Of a knote that was spent and is
 * gone, nothing can be known but whether the number is in use. */
static int kqueue_check(struct selector *s, int fd, unsigned events)
{
    struct entry *entry = find_known(s, fd);
    int rc = fcntl(fd, F_GETFD) < 0 ? -EBADF : entry ? 0 : -ENOENT;
    if (rc == 0 && entry->state & CHANGED)
        return 0; /* the next wait will find out */
    for (int i = 0; rc == 0 && i < 2; i++)
        if (entry->knotes[i] && events & (SELECT_READ << i)) {
            unsigned flags = entry->knotes[i] & ENABLED ? EV_ENABLE : EV_DISABLE;
            struct kevent change = change_of((uintptr_t)fd, filter_of(i), flags, entry->generation);
            rc = -submit(s, &change);
        }
    return rc;
}

static int kqueue_modify(struct selector *s, int fd, unsigned interest, uint32_t generation)
{
    struct entry *entry = find_known(s, fd);
    if (!entry)
        return fcntl(fd, F_GETFD) < 0 ? -EBADF : -ENOENT;
    if (generation != entry->generation) {
        int rc = kqueue_check(s, fd, BOTH);
        return rc < 0 ? rc : kqueue_add(s, fd, interest, generation);
    }
    unsigned why = interest & SELECT_EDGE ? 0 : AGAIN;
    if (ONCE_FLAG == EV_ONESHOT && why) /* no knote to ask: it may be another file */
        why |= RENEWED;
    entry->wanted = (uint8_t)interest;
    note_change(s, fd, entry, why);
    if (interest & KIND && !s->exported)
        return 0;
    if (why & RENEWED && look_at(fd) <= FILE_ALWAYS_READY)
        return -ENOENT;
    int rc = submit_entry(s, fd, entry);
    if (rc < 0)
        kqueue_forget(s, fd);
    return rc;
}

static int kqueue_remove(struct selector *s, int fd)
{
    struct entry *entry = find_known(s, fd);
    int error = entry ? 0 : ENOENT;
    for (int i = 0; entry && i < 2; i++)
        if (entry->knotes[i]) {
            int failed = delete_knote(s, fd, i);
            error = error ? error : failed;
        }
    kqueue_forget(s, fd);
    if (error == ENOENT && fcntl(fd, F_GETFD) < 0)
        error = EBADF;
    return -error;
}

/* --- Events ----------------------------------------------------------------------------------- */

/* Adds to the events of this wait; what is ready of one fd is told in one. */
static void tell(struct selector *s, int fd, struct entry *entry, unsigned ready)
{
    if (entry && entry->told < s->told_count && s->told[entry->told].fd == fd) {
        s->told[entry->told].ready |= ready;
        return;
    }
    if (s->told_count == s->told_max)
        return; /* cannot be: there are no more events than that, and each comes from one of them */
    if (entry)
        entry->told = (uint16_t)s->told_count;
    s->told[s->told_count++] = (struct selector_event){fd, entry ? entry->generation : 0, ready};
}

/* A change was refused. Whoever waits is told that it is ready, as the try will tell more; short of
 * memory, the change is tried again. */
static void take_error(struct selector *s, int fd, int direction, int error)
{
    struct entry *entry = find_known(s, fd);
    if (!entry)
        return;
    entry->knotes[direction] = 0;
    if (!(entry->wanted & (SELECT_READ << direction)))
        return;
    if (error == ENOENT) {
        note_change(s, fd, entry, RENEWED);
    } else if (error == EBADF) {
        tell(s, fd, entry, BOTH | SELECT_HANGUP | SELECT_INVALID);
        entry->state &= CHANGED;
        entry->wanted = 0;
    } else {
        tell(s, fd, entry, (unsigned)(SELECT_READ << direction) | SELECT_HANGUP);
        if (!(entry->wanted & KIND) || (entry->wanted & SELECT_EDGE && error != EPIPE))
            note_change(s, fd, entry, 0);
    }
}

static void take_readiness(struct selector *s, const struct kevent *event)
{
    int fd = (int)event->ident, direction = event->filter == EVFILT_WRITE;
    struct entry *entry = find(s, fd);
    unsigned ready = SELECT_READ << direction;
    if (!entry)
        return;
    unsigned note = entry->knotes[direction];
    if (note & SELECT_ONCE)
        entry->knotes[direction] = (uint8_t)(ONCE_FLAG == EV_ONESHOT ? 0 : note & ~ENABLED);
    if (!(entry->wanted & ready) || (uint32_t)(uintptr_t)event->udata != entry->generation)
        return;
    if (event->flags & (EV_EOF | EV_OOBAND))
        ready |= SELECT_HANGUP;
    tell(s, fd, entry, ready);
}

/* The selector's own: they end a wait, and are told with generation 0. */
static void take_own(struct selector *s, const struct kevent *event)
{
    if (event->ident == IDENT_ALARM && event->filter == EVFILT_TIMER)
        s->timer_set = false;
    else if (event->ident == IDENT_ALARM)
        s->alarm_set = false;
    tell(s, -1, NULL, 0);
}

/* Returns whether the events were errors, with which kevent returns without waiting. */
static bool take_events(struct selector *s, int n)
{
    bool errors = false;
    for (int i = 0; i < n; i++) {
        const struct kevent *event = &s->events[i];
        bool is_fd = event->filter == EVFILT_READ || event->filter == EVFILT_WRITE;
        if (event->flags & EV_ERROR) {
            errors = true;
            if (is_fd)
                take_error(s, (int)event->ident, event->filter == EVFILT_WRITE, (int)event->data);
        } else if (is_fd) {
            take_readiness(s, event);
        } else {
            take_own(s, event);
        }
    }
    return errors;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* A number that was another file when it was armed: looked at as a new one is. */
static bool renew(struct selector *s, int fd, struct entry *entry)
{
    int file = look_at(fd);
    if (file > FILE_ALWAYS_READY)
        return true;
    if (file < 0)
        take_error(s, fd, entry->wanted & SELECT_READ ? 0 : 1, -file);
    else
        tell(s, fd, entry, (entry->wanted & BOTH) | SELECT_HANGUP);
    return false;
}

/* Takes changes off the list, as many as there may be events. */
static int take_changes(struct selector *s)
{
    int n = 0;
    while (s->changed >= 0 && n + s->told_count <= BATCH_MAX - CHANGES_OF_ONE) {
        int fd = s->changed;
        struct entry *entry = find(s, fd);
        s->changed = entry->next;
        entry->state &= (uint8_t)~CHANGED;
        if (!(entry->state & RENEWED) || renew(s, fd, entry))
            n += plan(entry, fd, s->changes + n);
    }
    return n;
}

/* Where the caller has less room than there might be errors, the changes go first and each alone.
 * Returns whether there were errors. */
static bool submit_singly(struct selector *s, int n)
{
    bool errors = false;
    for (int i = 0; i < n; i++) {
        int error = submit(s, &s->changes[i]);
        if (!error)
            continue;
        errors = true;
        take_error(s, (int)s->changes[i].ident, s->changes[i].filter == EVFILT_WRITE, error);
    }
    return errors;
}

/* One kevent: the changes and, if nothing is known to be ready, the wait. Returns whether there is
 * reason for another. */
static bool wait_once(struct selector *s, int64_t timeout)
{
    struct timespec t = {0}, *limit = &t;
    int n = take_changes(s), room = s->told_max - s->told_count;
    bool errors = n > room && submit_singly(s, n);
    n = n > room ? 0 : n;
    room = s->told_max - s->told_count;
    if (errors || room <= 0)
        return errors && !s->told_count;
    if (s->changed < 0 && !s->told_count && timeout) {
        t.tv_sec = (time_t)(timeout / NS_PER_S < LONGEST_S ? timeout / NS_PER_S : LONGEST_S);
        t.tv_nsec = (long)(timeout % NS_PER_S);
        limit = timeout < 0 ? NULL : &t;
    }
    int got = kevent(s->fd, s->changes, n, s->events, room, limit);
    return take_events(s, got) ? !s->told_count : s->changed >= 0;
}

static int kqueue_wait(struct selector *s, int64_t timeout, struct selector_event *events, int n)
{
    s->told = events;
    s->told_count = 0;
    s->told_max = n < BATCH_MAX ? n : BATCH_MAX;
    while (wait_once(s, timeout))
        ;
    for (int i = 0; i < s->told_count; i++) {
        struct entry *entry = find(s, events[i].fd);
        if (entry && entry->wanted & SELECT_ONCE)
            entry->wanted = 0;
    }
    return s->told_count;
}

#ifdef EVFILT_USER
static int trigger(struct selector *s, uintptr_t ident)
{
    struct kevent change = change_of(ident, EVFILT_USER, 0, 0);
    change.fflags = NOTE_TRIGGER;
    return -submit(s, &change);
}

static int kqueue_wake(struct selector *s)
{
    return trigger(s, IDENT_WAKE);
}
#endif

/* --- The exported fd -------------------------------------------------------------------------- */

/* A kqueue polls readable while it has an event. Somebody else polls it from now on, and sees only
 * what was submitted. */
static int kqueue_fd(struct selector *s)
{
    s->exported = true;
    for (int fd = s->changed, next; fd >= 0; fd = next) {
        struct entry *entry = find(s, fd);
        next = entry->next;
        if (submit_entry(s, fd, entry) < 0)
            note_change(s, fd, entry, RENEWED); /* the next wait tells */
    }
    return s->fd;
}

static void delete_own(struct selector *s, int filter, bool *set)
{
    struct kevent change = change_of(IDENT_ALARM, filter, EV_DELETE, 0);
    if (*set)
        submit(s, &change);
    *set = false;
}

static void set_timer(struct selector *s, int64_t ns)
{
    struct kevent change = change_of(IDENT_ALARM, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0);
    ns = ns < 1 ? 1 : ns > LONGEST_S * NS_PER_S ? LONGEST_S * NS_PER_S : ns;
#ifdef NOTE_NSECONDS
    change.fflags = NOTE_NSECONDS;
#else
    ns = (ns + NS_PER_MS - 1) / NS_PER_MS;
#endif
    change.data = ns > INTPTR_MAX ? INTPTR_MAX : (intptr_t)ns;
    s->timer_set = submit(s, &change) == 0;
}

/* A timer of no length at all might come a little later; a user event is there at once. */
static bool set_now(struct selector *s)
{
#ifdef EVFILT_USER
    struct kevent change = change_of(IDENT_ALARM, EVFILT_USER, EV_ADD | EV_CLEAR, 0);
    s->alarm_set = submit(s, &change) == 0 && trigger(s, IDENT_ALARM) == 0;
    return s->alarm_set;
#else
    (void)s;
    return false;
#endif
}

static void kqueue_alarm(struct selector *s, int64_t when)
{
    int64_t now = when == TIME_NEVER ? 0 : clock_real_now();
    delete_own(s, EVFILT_TIMER, &s->timer_set);
#ifdef EVFILT_USER
    delete_own(s, EVFILT_USER, &s->alarm_set);
#endif
    if (when != TIME_NEVER && (when > now || !set_now(s)))
        set_timer(s, when > now ? when - now : 1);
}

/* --- Its life --------------------------------------------------------------------------------- */

static int kqueue_reset(struct selector *s)
{
    for (int fd = 0; fd < s->entry_count; fd++)
        if (s->entries[fd].state)
            kqueue_remove(s, fd);
    return 0;
}

static int prepare(struct selector *s)
{
    s->fd = kqueue();
    if (s->fd < 0)
        return errno;
    fcntl(s->fd, F_SETFD, FD_CLOEXEC); /* no race: a forked child does not have it anyway */
#ifdef EVFILT_USER
    struct kevent change = change_of(IDENT_WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0);
    return submit(s, &change);
#else
    return 0;
#endif
}

static void kqueue_close(struct selector *s)
{
    if (s->fd >= 0 && s->owner == getpid()) /* in a child the number may be another file */
        close(s->fd);
    coloop__free(s->entries);
    coloop__free(s);
}

static struct selector *kqueue_open(void)
{
    struct selector *s = coloop__zalloc(sizeof *s);
    if (!s) {
        errno = ENOMEM;
        return NULL;
    }
    s->changed = -1;
    s->owner = getpid();
    int error = prepare(s);
    if (!error)
        return s;
    kqueue_close(s);
    errno = error;
    return NULL;
}

const struct selector_ops coloop__selector_kqueue = {
    .name = "kqueue",
    .edge = true,
    .open = kqueue_open,
    .close = kqueue_close,
    .add = kqueue_add,
    .modify = kqueue_modify,
    .remove = kqueue_remove,
    .forget = kqueue_forget,
    .check = kqueue_check,
    .wait = kqueue_wait,
#ifdef EVFILT_USER
    .wake = kqueue_wake,
#endif
    .reset = kqueue_reset,
    .fd = kqueue_fd,
    .alarm = kqueue_alarm,
};

#endif
