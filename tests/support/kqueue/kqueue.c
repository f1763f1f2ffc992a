/* kqueue.c: kqueues by their fd; what becomes of them when fds are closed and when processes fork.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct shim_queue *) queues[SHIM_FDS];
static _Atomic(unsigned short) watched[SHIM_FDS];

void shim_lock(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, before);
    pthread_mutex_lock(&lock);
}

void shim_unlock(const sigset_t *before)
{
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

struct shim_queue *shim_find(int kq)
{
    return kq >= 0 && kq < SHIM_FDS ? atomic_load(&queues[kq]) : NULL;
}

void shim_count_knote(int fd, int change)
{
    atomic_fetch_add(&watched[fd], (unsigned short)change);
}

/* With all six arguments, for tests that put a syscall() of their own in between. */
static int close_now(int fd)
{
    return (int)syscall(SYS_close, (long)fd, 0L, 0L, 0L, 0L, 0L);
}

/* --- A kqueue's life -------------------------------------------------------------------------- */

static void free_queue(struct shim_queue *q)
{
    for (int i = 0; i < SHIM_BUCKETS; i++)
        while (q->buckets[i])
            shim_drop(q, q->buckets[i]);
    for (int i = 0; i < 2; i++)
        if (q->filters[i] >= 0)
            close_now(q->filters[i]);
    if (q->active >= 0)
        close_now(q->active);
    if (q->alarm >= 0)
        close_now(q->alarm);
    shim_free(SHIM_QUEUE, q);
}

/* The fds inside keep out of the way: a kqueue takes one number and counts as one fd, whatever the
 * limit. */
int shim_make_inside(int (*make)(void))
{
    struct rlimit limit, most;
    getrlimit(RLIMIT_NOFILE, &limit);
    most = (struct rlimit){limit.rlim_max, limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &most);
    int from = (int)(most.rlim_cur < SHIM_FDS ? most.rlim_cur : SHIM_FDS) / 4 * 3;
    int fd = make(), high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, from), error = errno;
    if (high >= 0)
        close_now(fd);
    setrlimit(RLIMIT_NOFILE, &limit);
    errno = error;
    return high < 0 ? fd : high;
}

static int make_epoll(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static int hold(struct shim_queue *q, int i)
{
    struct epoll_event event = {.events = EPOLLIN};
    q->filters[i] = shim_make_inside(make_epoll);
    return q->filters[i] < 0 ? -1 : epoll_ctl(q->fd, EPOLL_CTL_ADD, q->filters[i], &event);
}

/* No child has its parent's kqueues: their fds are closed, and what they knew is gone. */
static void leave_parent(void)
{
    for (int fd = 0; fd < SHIM_FDS; fd++) {
        struct shim_queue *q = atomic_exchange(&queues[fd], NULL);
        if (!q)
            continue;
        for (int i = 0; i < 2; i++) /* first, so that the parent's entries stay */
            close_now(q->filters[i]), q->filters[i] = -1;
        free_queue(q);
        close_now(fd);
    }
}

static sigset_t before_fork;

static void prepare_fork(void)
{
    sigset_t before;
    shim_lock(&before);
    before_fork = before;
}

static void after_fork_in_parent(void)
{
    sigset_t before = before_fork;
    shim_unlock(&before);
}

static void after_fork_in_child(void)
{
    sigset_t before = before_fork;
    leave_parent();
    shim_unlock(&before);
}

static void watch_forks(void)
{
    pthread_atfork(prepare_fork, after_fork_in_parent, after_fork_in_child);
}

static int make_queue(void)
{
    struct shim_queue *q = shim_allocate(SHIM_QUEUE);
    if (!q) {
        errno = ENOMEM;
        return -1;
    }
    q->filters[0] = q->filters[1] = q->active = q->alarm = -1;
    q->fd = epoll_create1(0);
    if (q->fd >= 0 && q->fd < SHIM_FDS && hold(q, 0) == 0 && hold(q, 1) == 0) {
        atomic_store(&queues[q->fd], q);
        return q->fd;
    }
    int error = q->fd < SHIM_FDS ? errno : EMFILE;
    if (q->fd >= 0)
        close_now(q->fd);
    free_queue(q);
    errno = error;
    return -1;
}

int kqueue(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    sigset_t before;
    shim_lock(&before);
    int fd = make_queue(), error = errno;
    shim_unlock(&before);
    errno = error;
    return fd;
}

/* --- Closing ---------------------------------------------------------------------------------- */

static void drop_knotes_of(int fd)
{
    for (int i = 0; i < SHIM_FDS && atomic_load(&watched[fd]); i++) {
        struct shim_queue *q = atomic_load(&queues[i]);
        for (int filter = EVFILT_WRITE; q && filter <= EVFILT_READ; filter++) {
            struct knote *note = shim_knote(q, (uintptr_t)fd, filter);
            if (note)
                shim_drop(q, note);
        }
    }
}

/* The number stands for another file, or none, from now on: the knotes of the number go, whether
 * the file lives on under another number or not. */
static void forget(int fd)
{
    sigset_t before;
    if (fd < 0 || fd >= SHIM_FDS || (!atomic_load(&watched[fd]) && !atomic_load(&queues[fd])))
        return;
    shim_lock(&before);
    drop_knotes_of(fd);
    struct shim_queue *q = atomic_exchange(&queues[fd], NULL);
    if (q)
        free_queue(q);
    shim_unlock(&before);
}

int close(int fd)
{
    forget(fd);
    return close_now(fd);
}

int dup3(int from, int to, int flags)
{
    if (from != to && fcntl(from, F_GETFD) >= 0)
        forget(to);
    return (int)syscall(SYS_dup3, (long)from, (long)to, (long)flags, 0L, 0L, 0L);
}

int dup2(int from, int to)
{
    if (from == to)
        return fcntl(from, F_GETFD) < 0 ? -1 : to;
    return dup3(from, to, 0);
}
