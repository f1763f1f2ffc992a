/* wake.c: how other threads and signal handlers reach the loop.
 *
 * Posted calls lie in an array under a lock. The loop takes it whole and leaves an empty one there,
 * so that nobody holds the lock for long, and neither side allocates for each call. Whoever puts
 * the first one there wakes the loop: once for a burst. That is done under the lock: as the loop
 * runs no call before its poster has let go of the loop, the last one may close it. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#if defined __linux__ && !COLOOP_WAKE_PIPE /* to be defined where a pipe is to be tried */
#define HAVE_EVENTFD 1
#include <sys/eventfd.h>
#endif

enum { CALLS_MIN = 64, CALLS_KEPT = 4096 };

struct loop__call {
    loop_fn *fn;
    void *arg;
};

static int open_wake_fds(loop_t *loop)
{
#if HAVE_EVENTFD
    loop->wake_read = loop->wake_write = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return loop->wake_read < 0 ? -errno : 0;
#else
    int fds[2];
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    loop->wake_read = fds[0];
    loop->wake_write = fds[1];
    return 0;
#endif
}

int loop__wake_open(loop_t *loop)
{
    loop->wake_read = loop->wake_write = -1;
    int rc = loop->ops->wake ? 0 : open_wake_fds(loop);
    if (rc < 0 || loop->ops->wake)
        return rc;
    rc = loop->ops->add(loop->selector, loop->wake_read, SELECT_READ, 0);
    if (rc < 0)
        loop__wake_close(loop);
    return rc;
}

void loop__wake_close(loop_t *loop)
{
    if (loop->wake_write != loop->wake_read)
        close(loop->wake_write);
    if (loop->wake_read >= 0)
        close(loop->wake_read);
}

/* A thread that was cancelled would end in `write`, between what it did and telling of it, and keep
 * its lock. */
void loop__wake(loop_t *loop)
{
    static const uint64_t one = 1;
    int saved = errno, cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    if (loop->ops->wake) {
        loop->ops->wake(loop->selector);
    } else {
        while (write(loop->wake_write, &one, sizeof one) < 0 && errno == EINTR)
            ; /* EAGAIN is fine: it is readable already */
    }
    pthread_setcancelstate(cancel_state, &cancel_state);
    errno = saved;
}

void loop__wake_drain(loop_t *loop)
{
    if (loop->wake_read < 0)
        return; /* the selector's own event is spent by being told */
    uint64_t drain[16];
    size_t size = loop->wake_read == loop->wake_write ? sizeof drain[0] : sizeof drain;
    while (read(loop->wake_read, drain, size) == (ssize_t)sizeof drain)
        ;
}

/* --- Calls ------------------------------------------------------------------------------------ */

/* Nobody holds the lock for longer than a sleep would take, so where it can be had, one that tries
 * for a moment before it sleeps. */
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#define LOCK_INITIALIZER PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#else
#define LOCK_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#endif

void loop__posts_init(loop_t *loop)
{
    loop->posts.lock = (pthread_mutex_t)LOCK_INITIALIZER;
}

static int append(struct loop__calls *calls, loop_fn *fn, void *arg)
{
    if (calls->count == calls->capacity) {
        size_t capacity = calls->capacity ? 2 * calls->capacity : CALLS_MIN;
        struct loop__call *larger = coloop__realloc(calls->calls, capacity * sizeof *calls->calls);
        if (!larger)
            return -ENOMEM;
        calls->calls = larger;
        calls->capacity = capacity;
    }
    calls->calls[calls->count++] = (struct loop__call){fn, arg};
    return 0;
}

int loop_call_soon_threadsafe(loop_t *loop, loop_fn *fn, void *arg)
{
    struct loop__posts *posts = &loop->posts;
    if (!fn)
        return -EINVAL;
    pthread_mutex_lock(&posts->lock);
    int rc = append(&posts->arrived, fn, arg);
    if (rc == 0 && posts->arrived.count == 1) {
        atomic_store_explicit(&posts->any, true, memory_order_relaxed);
        loop__wake(loop);
    }
    pthread_mutex_unlock(&posts->lock);
    return rc;
}

/* After a burst most of the room is given back. */
static void empty(struct loop__calls *calls)
{
    calls->count = 0;
    if (calls->capacity > CALLS_KEPT) {
        coloop__free(calls->calls);
        *calls = (struct loop__calls){0};
    }
}

static void run_taken(struct loop__ready *item)
{
    loop_t *loop = container_of(item, struct loop, posts.item);
    struct loop__calls *taken = &loop->posts.taken;
    loop->slow_reported++;
    loop->runs += taken->count - 1; /* each of them counts */
    for (struct loop__call *call = taken->calls; call < taken->calls + taken->count; call++) {
        if (__builtin_expect(loop->debug, 0))
            loop__run_timed(loop, call->fn, call->arg);
        else
            call->fn(call->arg);
    }
    empty(taken);
}

/* What was taken before has run: a pass follows every turn. */
void loop__posts_run(loop_t *loop)
{
    struct loop__posts *posts = &loop->posts;
    struct loop__calls emptied = posts->taken;
    pthread_mutex_lock(&posts->lock);
    posts->taken = posts->arrived;
    posts->arrived = emptied;
    atomic_store_explicit(&posts->any, false, memory_order_relaxed);
    pthread_mutex_unlock(&posts->lock);
    posts->item.run = run_taken;
    loop__ready_push(loop, &posts->item);
}

/* Outside of passes none are taken. In a forked child the lock may be a thread's that is not there.
 */
void loop__posts_drop(loop_t *loop)
{
    struct loop__posts *posts = &loop->posts;
    if (!loop__forked(loop)) {
        pthread_mutex_lock(&posts->lock); /* until the last poster has let go */
        pthread_mutex_unlock(&posts->lock);
        pthread_mutex_destroy(&posts->lock);
    }
    coloop__free(posts->arrived.calls);
    coloop__free(posts->taken.calls);
}
