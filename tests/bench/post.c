/* post.c: four threads hand calls to a loop, 200,000 each, as fast as they can.
 *
 * The loop has the first core, the threads share the others. The limit, libuv, libev and libevent,
 * whose loops can only be woken by another thread, have the same queue: an array under a mutex, as
 * libcoloop's is, and wake the loop once for a burst. Go's nearest is a channel of functions, with
 * one core for all, and asyncio's threads share the interpreter's lock and its core. */
#include "bench.h"

#include <coloop.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { THREADS = 4, POSTS = 200000 /* of each */ };

/* --- The threads ------------------------------------------------------------------------------ */

static pthread_barrier_t barrier;

static void *call_often(void *post)
{
    void (*call)(void) = *(void (**)(void))post;
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < POSTS; i++)
        call();
    return NULL;
}

/* Each thread calls post() so often; run() returns when all calls have arrived. The loop has the
 * first core, the threads share the others. */
static void run_threads(void (*post)(void), void (*run)(void))
{
    pthread_t threads[THREADS];
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        cpu_set_t other;
        CPU_ZERO(&other);
        CPU_SET(cores < 2 ? 0 : 1 + i % (cores - 1), &other);
        MUST(pthread_create(&threads[i], NULL, call_often, &post) == 0);
        pthread_setaffinity_np(threads[i], sizeof other, &other);
    }
    pthread_barrier_wait(&barrier);
    int64_t start = bench_now();
    run();
    bench_each(NULL, bench_now() - start, (long)THREADS * POSTS);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* --- A queue of calls ------------------------------------------------------------------------- */

struct call {
    void (*fn)(void *);
    void *arg;
};

struct calls {
    struct call *calls;
    size_t count, capacity;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct calls arrived, taken;
static long ran;

static void count_it(void *number)
{
    ++*(long *)number;
}

/* True for the first one of a burst: the loop has to be woken. */
static bool push_call(void)
{
    pthread_mutex_lock(&mutex);
    if (arrived.count == arrived.capacity) {
        arrived.capacity = arrived.capacity ? 2 * arrived.capacity : 64;
        arrived.calls = realloc(arrived.calls, arrived.capacity * sizeof *arrived.calls);
        MUST(arrived.calls != NULL);
    }
    arrived.calls[arrived.count] = (struct call){count_it, &ran};
    bool first = arrived.count++ == 0;
    pthread_mutex_unlock(&mutex);
    return first;
}

/* Calls what is there; true once that was the last of all. */
static bool run_calls(void)
{
    pthread_mutex_lock(&mutex);
    struct calls empty = {taken.calls, 0, taken.capacity};
    taken = arrived;
    arrived = empty;
    pthread_mutex_unlock(&mutex);
    for (size_t i = 0; i < taken.count; i++)
        taken.calls[i].fn(taken.calls[i].arg);
    return ran == (long)THREADS * POSTS;
}

/* --- Limit ------------------------------------------------------------------------------------ */

static int limit_wake;

static void limit_post(void)
{
    if (push_call())
        MUST(eventfd_write(limit_wake, 1) == 0);
}

static void limit_run(void)
{
    eventfd_t value;
    do
        MUST(eventfd_read(limit_wake, &value) == 0);
    while (!run_calls());
}

static void limit_threads(long unused)
{
    (void)unused;
    MUST((limit_wake = eventfd(0, EFD_CLOEXEC)) >= 0);
    run_threads(limit_post, limit_run);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static loop_t *coloop_loop;
static long coloop_arrived;

static void coloop_arrive(void *arg)
{
    (void)arg;
    if (++coloop_arrived == (long)THREADS * POSTS)
        loop_release(coloop_loop);
}

static void coloop_post(void)
{
    MUST(loop_call_soon_threadsafe(coloop_loop, coloop_arrive, NULL) == 0);
}

static void coloop_run(void)
{
    MUST(loop_run(coloop_loop) == 0);
}

static void coloop_threads(long unused)
{
    (void)unused;
    MUST((coloop_loop = loop_new(NULL)) != NULL);
    loop_hold(coloop_loop);
    run_threads(coloop_post, coloop_run);
    MUST(coloop_arrived == (long)THREADS * POSTS);
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBUV
#include <uv.h>

static uv_loop_t *libuv_loop;
static uv_async_t libuv_async;

static void libuv_post(void)
{
    if (push_call())
        uv_async_send(&libuv_async);
}

static void libuv_on_async(uv_async_t *handle)
{
    (void)handle;
    if (run_calls())
        uv_stop(libuv_loop);
}

static void libuv_run(void)
{
    uv_run(libuv_loop, UV_RUN_DEFAULT);
}

static void libuv_threads(long unused)
{
    (void)unused;
    MUST((libuv_loop = uv_default_loop()) != NULL);
    uv_async_init(libuv_loop, &libuv_async, libuv_on_async);
    run_threads(libuv_post, libuv_run);
}
#endif

/* --- libev ------------------------------------------------------------------------------------ */

#ifdef BENCH_LIBEV
#include <ev.h>

static struct ev_loop *libev_loop;
static ev_async libev_async;

static void libev_post(void)
{
    if (push_call())
        ev_async_send(libev_loop, &libev_async);
}

static void libev_on_async(struct ev_loop *l, ev_async *watcher, int events)
{
    (void)watcher, (void)events;
    if (run_calls())
        ev_break(l, EVBREAK_ALL);
}

static void libev_run(void)
{
    ev_run(libev_loop, 0);
}

static void libev_threads(long unused)
{
    (void)unused;
    MUST((libev_loop = ev_loop_new(EVBACKEND_EPOLL)) != NULL);
    ev_async_init(&libev_async, libev_on_async);
    ev_async_start(libev_loop, &libev_async);
    run_threads(libev_post, libev_run);
}
#endif

/* --- libevent --------------------------------------------------------------------------------- */

#ifdef BENCH_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

static struct event_base *libevent_base;
static struct event libevent_wake;

static void libevent_post(void)
{
    if (push_call())
        event_active(&libevent_wake, EV_TIMEOUT, 1);
}

static void libevent_on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (run_calls())
        event_base_loopbreak(libevent_base);
}

static void libevent_run(void)
{
    event_base_loop(libevent_base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static void libevent_threads(long unused)
{
    (void)unused;
    MUST(evthread_use_pthreads() == 0);
    MUST((libevent_base = event_base_new()) != NULL);
    event_assign(&libevent_wake, libevent_base, -1, 0, libevent_on_wake, NULL);
    run_threads(libevent_post, libevent_run);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {{.name = "post", .rounds = 5}, {0}};
    static const struct bench_contender contenders[] = {
        {"limit", {limit_threads}},
        {"libcoloop", {coloop_threads}},
#ifdef BENCH_LIBUV
        {"libuv", {libuv_threads}},
#endif
#ifdef BENCH_LIBEV
        {"libev", {libev_threads}},
#endif
#ifdef BENCH_LIBEVENT
        {"libevent", {libevent_threads}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
