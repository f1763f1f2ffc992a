/* wake.c: how other threads and signal handlers reach the loop.
 *
 * Posted calls are a lock-free stack (Treiber 1986), newest first, which the loop takes whole and
 * reverses. Whoever pushes onto an empty stack writes to the wake fd: one write for a burst. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#if defined __linux__ && !COLOOP_WAKE_PIPE /* to be defined where a pipe is to be tried */
#define HAVE_EVENTFD 1
#include <sys/eventfd.h>
#endif

struct loop__post {
    struct loop__ready ready;
    struct loop__post *next;
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

/* A thread that was cancelled would end in `write`, between what it did and telling of it. */
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

int loop_call_soon_threadsafe(loop_t *loop, loop_fn *fn, void *arg)
{
    if (!fn)
        return -EINVAL;
    struct loop__post *post = coloop__alloc_uncounted(sizeof *post);
    if (!post)
        return -ENOMEM;
    post->ready.link.next = NULL;
    post->fn = fn;
    post->arg = arg;
    struct loop__post *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do
        post->next = head;
    while (!atomic_compare_exchange_weak(&loop->posted, &head, post));
    if (!head)
        loop__wake(loop);
    return 0;
}

static void post_run(struct loop__ready *item)
{
    struct loop__post *post = container_of(item, struct loop__post, ready);
    loop_fn *fn = post->fn;
    void *arg = post->arg;
    coloop__free_uncounted(post);
    fn(arg);
}

loop_fn *loop__post_fn(const struct loop__ready *item)
{
    return item->run == post_run ? container_of(item, const struct loop__post, ready)->fn : NULL;
}

static struct loop__post *take_in_order(loop_t *loop)
{
    struct loop__post *post = atomic_exchange(&loop->posted, NULL), *first = NULL;
    while (post) {
        struct loop__post *next = post->next;
        post->next = first;
        first = post;
        post = next;
    }
    return first;
}

void loop__posts_run(loop_t *loop)
{
    for (struct loop__post *post = take_in_order(loop); post; post = post->next) {
        post->ready.run = post_run;
        loop__ready_push(loop, &post->ready);
    }
}

/* Posted calls and those already made ready. */
void loop__posts_drop(loop_t *loop)
{
    loop__posts_run(loop);
    for (struct coloop__link *link = loop->ready.head.next, *next; link != &loop->ready.head;
         link = next) {
        struct loop__ready *item = container_of(link, struct loop__ready, link);
        next = link->next;
        if (item->run != post_run)
            continue;
        list_remove(link);
        coloop__free_uncounted(container_of(item, struct loop__post, ready));
    }
}
