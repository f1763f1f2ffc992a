/* kqueue.c: what a kqueue is asked to watch. See kqueue.h. */
#include "selector/selector.h"

#if COLOOP_HAVE_KQUEUE
#include "selector/kqueue.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Changes ---------------------------------------------------------------------------------- */

void coloop__kqueue_note_change(struct selector *s, int fd, struct entry *entry, unsigned why)
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
        changes[n++] = change_of((uintptr_t)fd, filter, EV_DELETE);
        note = 0;
    }
    if (wanted && !note)
        flags = flags_of(kind, direction);
    else if (wanted && (!(note & ENABLED) || entry->state & AGAIN))
        flags = ONCE_FLAG == EV_ONESHOT ? flags_of(kind, direction) : EV_ENABLE;
    if (flags) {
        changes[n++] = change_of((uintptr_t)fd, filter, flags);
        note = MADE | ENABLED | kind;
    }
    entry->knotes[direction] = (uint8_t)note;
    return n;
}

int coloop__kqueue_plan(struct entry *entry, int fd, struct kevent *changes)
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
    struct kevent change = change_of((uintptr_t)fd, filter_of(direction), EV_DELETE);
    s->entries[fd].knotes[direction] = 0;
    return submit(s, &change);
}

int coloop__kqueue_submit_entry(struct selector *s, int fd, struct entry *entry)
{
    struct kevent changes[CHANGES_OF_ONE];
    int n = coloop__kqueue_plan(entry, fd, changes), error = 0;
    for (int i = 0; i < n && !error; i++) {
        error = submit(s, &changes[i]);
        if (changes[i].flags & EV_DELETE && error != EBADF)
            error = 0;
    }
    if (!error)
        return 0;
    for (int i = 0; i < 2; i++)
        delete_knote(s, fd, i);
    entry->state |= RENEWED;
    if (error == EPIPE)
        coloop__kqueue_note_change(s, fd, entry, 0);
    return error == EPIPE ? 0 : cannot_be_watched(error) ? -EPERM : -error;
}

/* --- Registrations ---------------------------------------------------------------------------- */

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

int coloop__kqueue_look_at(int fd)
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
    int file = coloop__kqueue_look_at(fd), rc = 0;
    if (file <= FILE_ALWAYS_READY)
        return file < 0 ? file : -EPERM;
    if ((rc = reserve(s, fd)) < 0)
        return rc;
    struct entry *entry = find(s, fd);
    entry->generation = generation;
    entry->wanted = (uint8_t)interest;
    entry->knotes[0] = entry->knotes[1] = 0;
    if (interest & SELECT_EDGE && file == FILE_PLAIN && !s->exported)
        coloop__kqueue_note_change(s, fd, entry, 0);
    else
        rc = coloop__kqueue_submit_entry(s, fd, entry);
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
            struct kevent change = change_of((uintptr_t)fd, filter_of(i), flags);
            rc = -submit(s, &change);
        }
    return rc;
}

static bool lacks_knote(const struct entry *entry)
{
    for (int i = 0; i < 2; i++)
        if (entry->wanted & (SELECT_READ << i) && !(entry->knotes[i] & MADE))
            return true;
    return false;
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
    entry->wanted = (uint8_t)interest;
    unsigned why = interest & SELECT_EDGE ? 0 : AGAIN;
    if (lacks_knote(entry)) /* that could be asked whether it is another file */
        why |= RENEWED;
    coloop__kqueue_note_change(s, fd, entry, why);
    if (interest & KIND && !s->exported)
        return 0;
    int file = why & RENEWED ? coloop__kqueue_look_at(fd) : FILE_PLAIN;
    int rc = file < 0 ? file : file == FILE_ALWAYS_READY ? -ENOENT : 0;
    if (rc == 0)
        rc = coloop__kqueue_submit_entry(s, fd, entry);
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
    struct kevent change = change_of(IDENT_WAKE, EVFILT_USER, EV_ADD | EV_CLEAR);
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
    .wait = coloop__kqueue_wait,
#ifdef EVFILT_USER
    .wake = coloop__kqueue_wake,
#endif
    .reset = kqueue_reset,
    .fd = coloop__kqueue_fd,
    .alarm = coloop__kqueue_alarm,
};

#endif
