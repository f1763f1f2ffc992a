/* loop.c: a loop's life: made, found by its thread, closed.
 *
 * States: idle <-> running (run.c); idle -> closing -> gone (loop_close). What a loop owns is freed
 * in the reverse order of its making; a forked child frees memory and fds, and lets the parent's
 * work be. */
#include "base/alloc.h"
#include "context/stack.h"
#include "loop/core.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local struct loop_thread loop__thread;

/* --- Forks ------------------------------------------------------------------------------------ */

unsigned loop__forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;

static void after_fork_in_parent(void)
{
    loop__signals_after_fork(false);
}

static void after_fork_in_child(void)
{
    loop__signals_after_fork(true);
    loop__forks++;
    loop__thread.running = NULL;
}

static void watch_forks(void)
{
    pthread_atfork(loop__signals_before_fork, after_fork_in_parent, after_fork_in_child);
}

/* --- Making ----------------------------------------------------------------------------------- */

uint64_t loop__random(loop_t *loop)
{
    uint64_t x = loop->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    loop->random = x;
    return x * UINT64_C(2685821657736338717);
}

static void configure(loop_t *loop, const loop_options_t *options)
{
    const char *debug = getenv("COLOOP_DEBUG");
    list_init(&loop->ready);
    list_init(&loop->batch);
    list_init(&loop->pending);
    loop__posts_init(loop);
    loop->clock.is_virtual = options->virtual_time;
    loop->now = loop__clock(loop);
    loop->turn_limit = 1;
    loop->debug = options->debug || (debug && *debug && strcmp(debug, "0") != 0);
    loop->slow_ns = ms_to_ns(options->slow_ms > 0 ? options->slow_ms : 100);
    loop->stack_size = options->stack_size ? options->stack_size : (size_t)64 * 1024;
    loop->random = options->seed ? options->seed : (uint64_t)clock_real_now() | 1;
    loop->forks = loop__forks;
}

static const struct selector_ops *choose_selector(const loop_options_t *options)
{
    const char *name = options->selector ? options->selector : getenv("COLOOP_SELECTOR");
#ifdef COLOOP_DEFAULT_SELECTOR
    if (!name || !*name)
        name = COLOOP_DEFAULT_SELECTOR;
#endif
    return coloop__selector_find(name && *name ? name : NULL);
}

static int open_selector(loop_t *loop, const loop_options_t *options)
{
    loop->ops = choose_selector(options);
    if (!loop->ops)
        return EINVAL;
    loop->selector = loop->ops->open();
    if (!loop->selector)
        return errno;
    int rc = loop__wake_open(loop);
    if (rc < 0)
        loop->ops->close(loop->selector);
    return -rc;
}

/* The first switch would be the end. */
static bool is_shadowed(void)
{
    if (!coloop__context_shadow_stack())
        return false;
    fputs("coloop: hardware shadow stacks are on, which this build of the library cannot switch; "
          "build it with -DCOLOOP_CONTEXT=ucontext, or run the program without them\n",
          stderr);
    return true;
}

loop_t *loop_new(const loop_options_t *options)
{
    static const loop_options_t defaults;
    options = options ? options : &defaults;
    pthread_once(&forks_once, watch_forks);
    if (options->stack_size && !coloop__stack_round_size(options->stack_size)) {
        errno = EINVAL;
        return NULL;
    }
    if (is_shadowed()) {
        errno = ENOTSUP;
        return NULL;
    }
    loop_t *loop = coloop__zalloc(sizeof *loop);
    int error = loop ? open_selector(loop, options) : ENOMEM;
    if (error) {
        coloop__free(loop);
        errno = error;
        return NULL;
    }
    configure(loop, options);
    loop->older = loop__thread.newest;
    loop__thread.newest = loop;
    return loop;
}

loop_t *loop_current(void)
{
    return loop__current();
}

int64_t loop_time(loop_t *loop)
{
    return loop->now;
}

void loop_hold(loop_t *loop)
{
    loop->holds++;
}

void loop_release(loop_t *loop)
{
    if (!loop->holds)
        loop__abort("loop_release without a loop_hold");
    loop->holds--;
}

/* --- Closing ---------------------------------------------------------------------------------- */

/* Lets the client's work end. Nothing of the user's can hold it up any longer but a loop_hold, as a
 * thread may be at work on a task's behalf. What is left when nothing can wake it any more is ended
 * by force. */
static int cancel_work(loop_t *loop)
{
    if (!loop->client || loop__forked(loop))
        return 0;
    loop->closing = true;
    loop__drop_calls(loop);
    loop__watchers_drop(loop);
    loop__signals_drop(loop);
    loop->client->cancel_all(loop);
    do {
        while (loop->client_work)
            if (loop__run_while(loop, &loop->no_work) == -EDEADLK)
                loop->client->force_all(loop);
        if (loop->cancelled)
            loop_run_once(loop, 0); /* for the done callbacks of the last ones */
        loop->client->settle(loop);
    } while (loop->client_work);
    return loop->cancelled;
}

static void forget_on_thread(loop_t *loop)
{
    for (loop_t **at = &loop__thread.newest; *at; at = &(*at)->older)
        if (*at == loop) {
            *at = loop->older;
            return;
        }
}

int loop_close(loop_t *loop)
{
    if (!loop)
        return 0;
    if (loop->running || loop__thread.running)
        return -EBUSY;
    int cancelled = cancel_work(loop);
    loop__signals_free(loop);
    loop__posts_drop(loop);
    loop__drop_calls(loop);
    loop__drop_items(loop);
    if (loop->client)
        loop->client->free(loop);
    loop__fd_free(loop);
    coloop__heap_free(&loop->timers);
    loop__wake_close(loop);
    loop->ops->close(loop->selector);
    forget_on_thread(loop);
    coloop__free(loop);
    return cancelled;
}
