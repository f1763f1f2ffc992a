/* signal.c: signals as calls in the loop.
 *
 * Signals belong to the process, so this is the one place with shared state: a count of arrivals a
 * signal, which the handler advances and each loop compares with what it has seen; and the wake fds
 * of the loops that listen. The handler only touches atomics and writes. A loop that stops
 * listening waits until no handler is at work, so that none writes to its fd once that is closed.
 *
 * Invariant: our handler is installed for a signal exactly while users[signo] > 0, the number of
 * loops with a callback for it or where somebody has waited for it: a signal between two waits
 * belongs to the second, and must not meet its default action, so the loop goes on listening. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

enum { SIGNALS = 65, LISTENERS = 64 };

/* A loop's interest in one signal. */
struct handler {
    struct loop__ready ready;
    loop_fn *fn; /* NULL: none */
    void *arg;
    unsigned seen;
    bool kept;                 /* until the loop is closed */
    bool pending;              /* it was kept and came while nobody waited */
    struct coloop__link waits; /* head of a list of struct loop__signal_wait; while not pending */
};

struct loop__signals {
    int listener; /* index of the loop's place */
    struct handler handlers[SIGNALS];
};

static atomic_uint arrivals[SIGNALS];
static _Atomic(loop_t *) listeners[LISTENERS];
static atomic_int at_work; /* handlers running, on whatever thread */

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* for the next two, and taking a listener's place */
static unsigned users[SIGNALS];
static struct sigaction before[SIGNALS];

static void on_signal(int signo)
{
    atomic_fetch_add(&at_work, 1);
    atomic_fetch_add(&arrivals[signo], 1);
    for (int i = 0; i < LISTENERS; i++) {
        loop_t *loop = atomic_load(&listeners[i]);
        if (loop)
            loop__wake(loop);
    }
    atomic_fetch_sub(&at_work, 1);
}

/* A child is without the threads that were in the middle of it: no handler is at work there. */
void loop__signals_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void loop__signals_after_fork(bool in_child)
{
    if (in_child)
        atomic_store(&at_work, 0);
    pthread_mutex_unlock(&lock);
}

static int install(int signo)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    int rc = users[signo] || sigaction(signo, &action, &before[signo]) == 0 ? 0 : -errno;
    users[signo] += rc == 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

static void uninstall(int signo)
{
    pthread_mutex_lock(&lock);
    if (--users[signo] == 0)
        sigaction(signo, &before[signo], NULL);
    pthread_mutex_unlock(&lock);
}

static int listen_as(loop_t *loop)
{
    int place = -EAGAIN;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < LISTENERS && place < 0; i++)
        if (!atomic_load(&listeners[i]))
            atomic_store(&listeners[place = i], loop);
    pthread_mutex_unlock(&lock);
    return place;
}

static int open_signals(loop_t *loop)
{
    if (loop->signals)
        return 0;
    struct loop__signals *signals = coloop__zalloc(sizeof *signals);
    if (!signals)
        return -ENOMEM;
    signals->listener = listen_as(loop);
    if (signals->listener < 0) {
        coloop__free(signals);
        return -EAGAIN;
    }
    loop->signals = signals;
    return 0;
}

static bool can_be_handled(int signo)
{
    switch (signo) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
        return false;
    default:
        return signo > 0 && signo < SIGNALS;
    }
}

static void handler_run(struct loop__ready *item)
{
    struct handler *handler = container_of(item, struct handler, ready);
    handler->fn(handler->arg);
}

loop_fn *loop__signal_fn(const struct loop__ready *item)
{
    return item->run == handler_run ? container_of(item, const struct handler, ready)->fn : NULL;
}

static bool is_used(const struct handler *handler)
{
    return handler->fn || handler->kept;
}

/* Makes sure that arrivals of the signal are counted, before a callback is added or it is kept. */
static int use(loop_t *loop, int signo)
{
    if (!can_be_handled(signo))
        return -EINVAL;
    int rc = open_signals(loop);
    if (rc < 0 || is_used(&loop->signals->handlers[signo]))
        return rc;
    loop->signals->handlers[signo].seen = atomic_load(&arrivals[signo]);
    return install(signo);
}

int loop_add_signal_handler(loop_t *loop, int signo, loop_fn *fn, void *arg)
{
    int rc = fn ? use(loop, signo) : -EINVAL;
    if (rc < 0)
        return rc;
    struct handler *handler = &loop->signals->handlers[signo];
    handler->ready.run = handler_run;
    loop->signal_users += !handler->fn;
    handler->fn = fn;
    handler->arg = arg;
    return 0;
}

int loop_remove_signal_handler(loop_t *loop, int signo)
{
    if (!loop->signals || signo <= 0 || signo >= SIGNALS || !loop->signals->handlers[signo].fn)
        return 0;
    struct handler *handler = &loop->signals->handlers[signo];
    handler->fn = NULL;
    if (list_linked(&handler->ready.link))
        list_remove(&handler->ready.link);
    loop->signal_users--;
    if (!handler->kept)
        uninstall(signo);
    return 1;
}

bool loop__signal_take(loop_t *loop, int signo)
{
    struct handler *handler = &loop->signals->handlers[signo];
    bool was = handler->pending;
    handler->pending = false;
    return was;
}

void loop__signal_wait(loop_t *loop, struct loop__signal_wait *wait)
{
    list_push_back(list_of(&loop->signals->handlers[wait->signo].waits), &wait->link);
    loop->signal_users++;
}

void loop__signal_unwait(loop_t *loop, struct loop__signal_wait *wait)
{
    list_remove(&wait->link);
    loop->signal_users--;
}

/* Each that is woken may undo others. */
static void wake_waits(loop_t *loop, struct list *waits)
{
    for (struct coloop__link *link; (link = list_pop_front(waits));) {
        struct loop__signal_wait *wait = container_of(link, struct loop__signal_wait, link);
        loop->signal_users--;
        wait->wake(wait);
    }
}

/* Tells that it has come, if it has since the last look. */
static void look(loop_t *loop, int signo)
{
    struct handler *handler = &loop->signals->handlers[signo];
    unsigned now = is_used(handler) ? atomic_load(&arrivals[signo]) : handler->seen;
    if (now == handler->seen)
        return;
    handler->seen = now;
    if (handler->fn && !list_linked(&handler->ready.link))
        loop__ready_push(loop, &handler->ready);
    handler->pending = handler->kept && list_empty(list_of(&handler->waits));
    wake_waits(loop, list_of(&handler->waits));
}

void loop__signals_dispatch(loop_t *loop)
{
    for (int signo = 1; signo < SIGNALS; signo++)
        look(loop, signo);
}

int loop__signal_keep(loop_t *loop, int signo)
{
    int rc = use(loop, signo);
    if (rc < 0)
        return rc;
    look(loop, signo);
    loop->signals->handlers[signo].kept = true;
    return 0;
}

void loop__signals_drop(loop_t *loop)
{
    for (int signo = 1; signo < SIGNALS; signo++)
        loop_remove_signal_handler(loop, signo);
}

void loop__signals_free(loop_t *loop)
{
    if (!loop->signals)
        return;
    loop__signals_drop(loop);
    for (int signo = 1; signo < SIGNALS; signo++)
        if (loop->signals->handlers[signo].kept)
            uninstall(signo);
    atomic_store(&listeners[loop->signals->listener], NULL);
    while (atomic_load(&at_work))
        sched_yield();
    coloop__free(loop->signals);
}
