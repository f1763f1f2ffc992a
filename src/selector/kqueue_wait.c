/* kqueue_wait.c: what a kqueue tells, and how a wait begins and ends. See kqueue.h. */
#include "selector/selector.h"

#if COLOOP_HAVE_KQUEUE
#include "selector/kqueue.h"

#include "base/clock.h"

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
        coloop__kqueue_note_change(s, fd, entry, RENEWED);
    } else if (error == EBADF) {
        tell(s, fd, entry, BOTH | SELECT_HANGUP | SELECT_INVALID);
        entry->state &= CHANGED;
        entry->wanted = 0;
    } else {
        tell(s, fd, entry, (unsigned)(SELECT_READ << direction) | SELECT_HANGUP);
        if (!(entry->wanted & KIND) || (entry->wanted & SELECT_EDGE && error != EPIPE))
            coloop__kqueue_note_change(s, fd, entry, 0);
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
    if (!(entry->wanted & ready))
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
    int file = coloop__kqueue_look_at(fd);
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
            n += coloop__kqueue_plan(entry, fd, s->changes + n);
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
    int n = take_changes(s), taken = n, room = s->told_max - s->told_count;
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
    return take_events(s, got) ? !s->told_count : taken && s->changed >= 0;
}

int coloop__kqueue_wait(struct selector *s, int64_t timeout, struct selector_event *events, int n)
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

/* --- Waking ----------------------------------------------------------------------------------- */

#ifdef EVFILT_USER
static int trigger(struct selector *s, uintptr_t ident)
{
    struct kevent change = change_of(ident, EVFILT_USER, 0);
    change.fflags = NOTE_TRIGGER;
    return -submit(s, &change);
}

int coloop__kqueue_wake(struct selector *s)
{
    return trigger(s, IDENT_WAKE);
}
#endif

/* --- The exported fd -------------------------------------------------------------------------- */

/* A kqueue polls readable while it has an event. Somebody else polls it from now on, and sees only
 * what was submitted. */
int coloop__kqueue_fd(struct selector *s)
{
    s->exported = true;
    for (int fd = s->changed; fd >= 0; fd = find(s, fd)->next)
        coloop__kqueue_submit_entry(s, fd, find(s, fd)); /* if it fails, the next wait tells */
    return s->fd;
}

static void delete_own(struct selector *s, int filter, bool *set)
{
    struct kevent change = change_of(IDENT_ALARM, filter, EV_DELETE);
    if (*set)
        submit(s, &change);
    *set = false;
}

static void set_timer(struct selector *s, int64_t ns)
{
    struct kevent change = change_of(IDENT_ALARM, EVFILT_TIMER, EV_ADD | EV_ONESHOT);
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
    struct kevent change = change_of(IDENT_ALARM, EVFILT_USER, EV_ADD | EV_CLEAR);
    s->alarm_set = submit(s, &change) == 0 && trigger(s, IDENT_ALARM) == 0;
    return s->alarm_set;
#else
    (void)s;
    return false;
#endif
}

void coloop__kqueue_alarm(struct selector *s, int64_t when)
{
    int64_t now = when == TIME_NEVER ? 0 : clock_real_now();
    delete_own(s, EVFILT_TIMER, &s->timer_set);
#ifdef EVFILT_USER
    delete_own(s, EVFILT_USER, &s->alarm_set);
#endif
    if (when != TIME_NEVER && (when > now || !set_now(s)))
        set_timer(s, when > now ? when - now : 1);
}

#endif
