/* tasks.h: how tasks are started, by those contenders that have any. */
#ifndef BENCH_TASKS_H
#define BENCH_TASKS_H

#include "limit.h"

#include <coloop.h>

static loop_t *coloop_loop;

static inline void coloop_open(void)
{
    MUST((coloop_loop = loop_new(NULL)) != NULL);
}

static inline void coloop_start(co_fn *fn, void *arg)
{
    co_task_t *task = loop_spawn(coloop_loop, fn, arg);
    MUST(task != NULL);
    co_task_release(task);
}

static inline void coloop_run(void)
{
    MUST(loop_run(coloop_loop) == 0);
}

#ifdef BENCH_ST
#include <st.h>
#include <string.h>

/* epoll, if it was built with it (Debian's was not), else poll: select does not know many fds. */
static inline void statethreads_begin(void)
{
    st_set_eventsys(ST_EVENTSYS_ALT);
    if (strcmp(st_get_eventsys_name(), "epoll") != 0)
        st_set_eventsys(ST_EVENTSYS_POLL);
    MUST(st_init() == 0);
}

static inline st_thread_t statethreads_start(void *(*fn)(void *), void *arg, bool joinable)
{
    st_thread_t thread = st_thread_create(fn, arg, joinable, 65536);
    MUST(thread != NULL);
    return thread;
}
#endif

#endif
