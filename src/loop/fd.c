/* fd.c owns the fd table: what the loop knows of each fd number, and who waits for it.
 *
 * There are two kinds of registration:
 *
 * - Own fds: SELECT_EDGE for both directions, made when one is first waited for, kept until
 *   loop__fd_forget. `ready` says which directions are worth a try; only the code that tries takes
 *   bits away (io layer). Without edges in the selector, or while callbacks watch the fd, it is
 *   treated as the other kind.
 *
 * - Foreign fds: SELECT_ONCE for what the waiters want, armed at each wait; or for good
 *   (level-triggered) while callbacks watch it.
 *
 * Invariants:
 * 1. A linked wait has been armed: registered && (armed covers its events).
 * 2. Nobody but the selector's events and loop__fd_forget ends a wait, except its owner.
 * 3. generation changes with every registration, so that an event of a file which is gone, but kept
 *    registered by a duplicate somewhere, is recognised. Such a ghost cannot be removed one by one.
 */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>
#include <fcntl.h>

enum { BOTH = SELECT_READ | SELECT_WRITE };

struct loop__fd loop__fd_none;

static int grow_table(loop_t *loop, unsigned chunk)
{
    unsigned count = loop->fd_chunk_count ? loop->fd_chunk_count : 4;
    while (count <= chunk)
        count *= 2;
    struct loop__fd **chunks = coloop__realloc(loop->fd_chunks, count * sizeof *chunks);
    if (!chunks)
        return -ENOMEM;
    for (unsigned i = loop->fd_chunk_count; i < count; i++)
        chunks[i] = NULL;
    loop->fd_chunks = chunks;
    loop->fd_chunk_count = count;
    return 0;
}

/* The table only grows for fds that exist, and not for any number. */
static int make_chunk(loop_t *loop, int fd)
{
    unsigned chunk = (unsigned)fd / FD_CHUNK;
    if (fcntl(fd, F_GETFD) < 0)
        return -EBADF;
    if (chunk >= loop->fd_chunk_count && grow_table(loop, chunk) < 0)
        return -ENOMEM;
    loop->fd_chunks[chunk] = coloop__zalloc_aligned(FD_CHUNK * sizeof **loop->fd_chunks);
    return loop->fd_chunks[chunk] ? 0 : -ENOMEM;
}

int loop__fd_get(loop_t *loop, int fd, struct loop__fd **entry)
{
    int rc = 0;
    if (fd < 0)
        return -EBADF;
    if (!(*entry = loop__fd_find(loop, fd)) && (rc = make_chunk(loop, fd)) == 0)
        *entry = loop__fd_find(loop, fd);
    return rc;
}

static struct list *waits_of(struct loop__fd *entry)
{
    return list_of(&entry->waits.head);
}

static inline void end_wait(loop_t *loop, struct loop__fd_wait *wait, int ready)
{
    loop->fd_waits--;
    wait->wake(wait, ready);
}

/* Waking one may undo another: those to be woken wait in a list of their own meanwhile. */
static __attribute__((noinline)) void wake_several(loop_t *loop, struct list *waits,
                                                   unsigned events, int error)
{
    struct list woken;
    list_init(&woken);
    for (struct coloop__link *link = waits->head.next, *next; link != &waits->head; link = next) {
        next = link->next;
        if (!(container_of(link, struct loop__fd_wait, link)->events & events))
            continue;
        list_remove(link);
        list_push_back(&woken, link);
    }
    for (struct coloop__link *link; (link = list_pop_front(&woken));) {
        struct loop__fd_wait *wait = container_of(link, struct loop__fd_wait, link);
        end_wait(loop, wait, error ? error : (int)(wait->events & events));
    }
}

/* Ends every wait for some of `events`, telling each which of its events are ready, or the error.
 */
static inline void wake_waits(loop_t *loop, struct loop__fd *entry, unsigned events, int error)
{
    struct coloop__link *first = entry->waits.head.next;
    if (!first || first == &entry->waits.head)
        return;
    struct loop__fd_wait *wait = container_of(first, struct loop__fd_wait, link);
    if (first->next != &entry->waits.head) {
        wake_several(loop, &entry->waits, events, error);
    } else if (wait->events & events) {
        list_remove(first);
        end_wait(loop, wait, error ? error : (int)(wait->events & events));
    }
}

static unsigned watched(const struct loop__fd *entry)
{
    return (entry->watchers[0] && entry->watchers[0]->fn ? SELECT_READ : 0) |
           (entry->watchers[1] && entry->watchers[1]->fn ? SELECT_WRITE : 0);
}

static unsigned waited_for(struct loop__fd *entry)
{
    unsigned events = 0;
    list_for_each (link, waits_of(entry))
        events |= container_of(link, struct loop__fd_wait, link)->events;
    return events;
}

static unsigned wanted_interest(loop_t *loop, struct loop__fd *entry)
{
    unsigned watching = watched(entry);
    if (entry->own && !watching && loop->ops->edge)
        return BOTH | SELECT_EDGE;
    unsigned waiting = waited_for(entry);
    if (watching)
        return watching | waiting;
    return waiting ? waiting | SELECT_ONCE : 0;
}

/* Registers an fd the selector should not know. If it does, it is a registration of ours that was
 * forgotten with the number while its file lived on. */
static int register_fd(loop_t *loop, int fd, struct loop__fd *entry, unsigned interest)
{
    entry->generation++;
    int rc = loop->ops->add(loop->selector, fd, interest, entry->generation);
    if (rc == -EEXIST)
        rc = loop->ops->modify(loop->selector, fd, interest, entry->generation);
    entry->registered = rc == 0;
    return rc;
}

int loop__fd_update(loop_t *loop, int fd, struct loop__fd *entry)
{
    unsigned interest = wanted_interest(loop, entry);
    if (interest == entry->armed || (!interest && !entry->registered))
        return 0;
    if (loop__forked(loop))
        return -ECHILD; /* the selector is the parent's */
    int rc = -ENOENT;
    if (!interest) {
        loop->ops->remove(loop->selector, fd); /* or the file is gone, which is as good */
        entry->registered = false;
        entry->armed = 0;
        return 0;
    }
    if (entry->registered)
        rc = loop->ops->modify(loop->selector, fd, interest, entry->generation);
    if (rc == -ENOENT)
        rc = register_fd(loop, fd, entry, interest);
    entry->armed = rc == 0 ? interest : 0;
    entry->always = rc == -EPERM && entry->own;
    return rc;
}

/* A foreign fd that is registered and waited for already may be another file by now: those who wait
 * for the old one are told before the new wait begins. */
static void notice_reuse(loop_t *loop, int fd, struct loop__fd *entry)
{
    if (!entry->registered || list_empty(waits_of(entry)) || !loop->ops->check)
        return;
    int rc = loop->ops->check(loop->selector, fd, waited_for(entry));
    if (rc == 0)
        return;
    entry->registered = false;
    entry->armed = 0;
    wake_waits(loop, entry, BOTH, -EBADF);
}

int loop__fd_wait_slowly(loop_t *loop, struct loop__fd *entry, int fd, struct loop__fd_wait *wait)
{
    if (entry->always)
        return -EPERM;
    if (!entry->own && list_empty(waits_of(entry)))
        entry->armed = 0; /* for whoever waited last; the number may be another file by now */
    else if (!entry->own)
        notice_reuse(loop, fd, entry);
    list_push_back(waits_of(entry), &wait->link);
    int rc = loop__fd_update(loop, fd, entry);
    if (rc < 0)
        list_remove(&wait->link);
    else
        loop->fd_waits++;
    return rc;
}

/* The registration may stay armed for nobody: one event that wakes nobody costs less than a system
 * call now. */
void loop__fd_unwait(loop_t *loop, struct loop__fd_wait *wait)
{
    list_remove(&wait->link);
    loop->fd_waits--;
}

static void make_own(struct loop__fd *entry, enum loop__fd_kind kind)
{
    entry->own = true;
    entry->always = false;
    entry->kind = kind;
    entry->ready = BOTH;
    waits_of(entry); /* is made, so that the fd can be waited for as soon as it is armed */
}

int loop__fd_own(loop_t *loop, int fd, enum loop__fd_kind kind)
{
    struct loop__fd *entry;
    int rc = loop__fd_get(loop, fd, &entry);
    if (rc < 0)
        return rc;
    loop__fd_forget(loop, fd);
    make_own(entry, kind);
    return 0;
}

int loop__fd_adopt(loop_t *loop, int fd, enum loop__fd_kind kind)
{
    struct loop__fd *entry;
    int rc = loop__fd_get(loop, fd, &entry);
    if (rc < 0)
        return rc;
    if (entry->registered && loop->ops->check && loop->ops->check(loop->selector, fd, BOTH) < 0)
        return loop__fd_own(loop, fd, kind); /* it has become another file */
    make_own(entry, kind);
    return entry->registered ? loop__fd_update(loop, fd, entry) : 0;
}

static void drop_watchers(loop_t *loop, struct loop__fd *entry)
{
    for (int i = 0; i < 2; i++) {
        struct loop__watcher *watcher = entry->watchers[i];
        entry->watchers[i] = NULL;
        if (!watcher)
            continue;
        if (watcher->fn)
            loop->watchers--;
        if (list_linked(&watcher->ready.link))
            list_remove(&watcher->ready.link);
        coloop__free(watcher);
    }
}

void loop__fd_forget(loop_t *loop, int fd)
{
    struct loop__fd *entry = loop__fd_find(loop, fd);
    if (!entry)
        return;
    if (loop->ops->forget)
        loop->ops->forget(loop->selector, fd);
    entry->forgotten++;
    entry->own = entry->always = entry->registered = false;
    entry->armed = entry->ready = 0;
    drop_watchers(loop, entry);
    wake_waits(loop, entry, BOTH, -EBADF);
}

/* --- Events ----------------------------------------------------------------------------------- */

static void push_watchers(loop_t *loop, struct loop__fd *entry, unsigned ready)
{
    for (unsigned i = 0; i < 2; i++) {
        struct loop__watcher *watcher = entry->watchers[i];
        if (watcher && watcher->fn && ready & (SELECT_READ << i) &&
            !list_linked(&watcher->ready.link))
            loop__ready_push(loop, &watcher->ready);
    }
}

/* The selector cannot or does not watch the fd any more. */
static void lose(loop_t *loop, int fd, struct loop__fd *entry, int error)
{
    entry->registered = false;
    entry->armed = 0;
    wake_waits(loop, entry, BOTH, error);
    if (!watched(entry))
        return;
    drop_watchers(loop, entry);
    loop->check_wanted = true; /* the handler may close others */
    loop__report(loop, error, NULL, NULL,
                 "fd %d is not watched any more: it was closed before "
                 "loop_remove_reader or loop_remove_writer",
                 fd);
}

static void dispatch_one(loop_t *loop, struct loop__fd *entry, const struct selector_event *event)
{
    unsigned ready = event->ready;
    entry->ready |= ready & (BOTH | SELECT_HANGUP);
    entry->told = true;
    if (entry->armed & SELECT_ONCE)
        entry->armed = 0;
    if (ready & SELECT_INVALID) {
        lose(loop, event->fd, entry, -EBADF);
        return;
    }
    if (entry->watchers[0] || entry->watchers[1])
        push_watchers(loop, entry, ready);
    wake_waits(loop, entry, ready & BOTH, 0);
    if (!(entry->armed & SELECT_EDGE)) {
        int rc = loop__fd_update(loop, event->fd, entry);
        if (rc < 0)
            lose(loop, event->fd, entry, rc);
    }
}

/* All but the usual. True if the event is a ghost's. */
static __attribute__((noinline)) bool dispatch_slowly(loop_t *loop, struct loop__fd *entry,
                                                      const struct selector_event *event)
{
    if (event->fd == loop->wake_read)
        loop__wake_drain(loop);
    else if (entry && entry->registered && entry->generation == event->generation)
        dispatch_one(loop, entry, event);
    else
        return event->generation != 0; /* 0 is the selector's own */
    return false;
}

/* The selector reports a file that was closed here and lives on elsewhere. It can only be got rid
 * of by registering everything anew. */
static void exorcise(loop_t *loop)
{
    if (loop->ops->reset(loop->selector) < 0)
        return; /* out of fds: until the next ghost */
    if (loop->wake_read >= 0)
        loop->ops->add(loop->selector, loop->wake_read, SELECT_READ, 0);
    for (int fd = 0; fd < (int)loop->fd_chunk_count * FD_CHUNK; fd++) {
        struct loop__fd *entry = loop__fd_find(loop, fd);
        if (!entry || !entry->registered)
            continue;
        unsigned interest = entry->armed;
        int rc = interest ? register_fd(loop, fd, entry, interest) : 0;
        if (!interest)
            entry->registered = false;
        else if (rc < 0)
            lose(loop, fd, entry, rc);
    }
}

void loop__fd_dispatch(loop_t *loop, const struct selector_event *events, int n)
{
    bool ghosts = false;
    for (const struct selector_event *event = events; event < events + n; event++) {
        struct loop__fd *entry = loop__fd_find(loop, event->fd);
        if (__builtin_expect(entry && entry->generation == event->generation &&
                                 entry->armed & SELECT_EDGE && !(event->ready & SELECT_INVALID),
                             1)) {
            entry->ready |= event->ready; /* an own fd, armed for good: nobody watches it */
            entry->told = true;
            wake_waits(loop, entry, event->ready, 0);
        } else {
            ghosts |= dispatch_slowly(loop, entry, event);
        }
    }
    if (ghosts)
        exorcise(loop);
}

/* --- Fds closed behind our back --------------------------------------------------------------- */

/* Whoever hears of events need not ask, but now and then: a file that was closed here and lives on
 * elsewhere may have events without end. And those that came may have been the last. */
static bool is_told(loop_t *loop, struct loop__fd *entry)
{
    enum { SKIPS_MAX = 3 };
    if (!entry->told || entry->skipped == SKIPS_MAX || loop->clock.is_virtual) {
        entry->told = false;
        entry->skipped = 0;
        return false;
    }
    entry->told = false;
    entry->skipped++;
    loop->check_wanted = true;
    return true;
}

static void check_entry(loop_t *loop, int fd, struct loop__fd *entry)
{
    unsigned events = waited_for(entry) | watched(entry);
    if (!events || loop->ops->check(loop->selector, fd, events) == 0)
        return;
    entry->own = false;
    lose(loop, fd, entry, -EBADF);
}

static void check_next_chunk(loop_t *loop)
{
    struct loop__fd *chunk = loop->fd_chunks[loop->check_next];
    if (loop->check_next == 0)
        loop->check_wanted = false;
    for (int i = 0; chunk && i < FD_CHUNK; i++)
        if (chunk[i].registered && !is_told(loop, &chunk[i]))
            check_entry(loop, (int)loop->check_next * FD_CHUNK + i, &chunk[i]);
    do
        loop->check_next++;
    while (loop->check_next < loop->fd_chunk_count && !loop->fd_chunks[loop->check_next]);
    if (loop->check_next >= loop->fd_chunk_count)
        loop->check_next = 0;
}

/* Costs a system call for each fd that waits in silence: so a chunk at a time, or a few that are
 * nearly empty, and at most a two-hundredth of the time. A look that took long only because another
 * process ran does not put off the next for long. In virtual time there is nothing to spread it
 * over. */
void loop__fd_check(loop_t *loop)
{
    const int64_t enough_ns = 20000, pause_max = 100 * NS_PER_MS;
    enum { SHARE = 200 };
    int64_t start = clock_real_now(), end;
    bool more;
    do {
        check_next_chunk(loop);
        end = clock_real_now();
        more = loop->clock.is_virtual ? loop->check_next > 0 || loop->check_wanted
                                      : loop->check_next > 0 && end - start < enough_ns;
    } while (more);
    int64_t pause = (end - start) * SHARE;
    loop->check_at = end + (loop->check_next > 0 && pause < pause_max ? pause : pause_max);
}

void loop__watchers_drop(loop_t *loop)
{
    for (int fd = 0; fd < (int)loop->fd_chunk_count * FD_CHUNK; fd++) {
        struct loop__fd *entry = loop__fd_find(loop, fd);
        if (!entry || !watched(entry))
            continue;
        drop_watchers(loop, entry);
        loop__fd_update(loop, fd, entry);
    }
}

/* The selector is left alone: in a forked child it is the parent's. */
void loop__fd_free(loop_t *loop)
{
    for (unsigned chunk = 0; chunk < loop->fd_chunk_count; chunk++) {
        for (int i = 0; loop->fd_chunks[chunk] && i < FD_CHUNK; i++)
            drop_watchers(loop, &loop->fd_chunks[chunk][i]);
        coloop__free_aligned(loop->fd_chunks[chunk]);
    }
    coloop__free(loop->fd_chunks);
}
