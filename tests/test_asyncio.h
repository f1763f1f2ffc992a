/* test_asyncio.h: small tasks for the tests that follow those of Python's asyncio. */
#ifndef TESTS_TEST_ASYNCIO_H
#define TESTS_TEST_ASYNCIO_H

#include "support.h"

struct job {
    const char *name;
    int64_t ms; /* below 0: until it is cancelled */
    int result;
};

/* Sleeps, traces how that ended, "a" or "a-", and returns its result or the code. */
static inline int work(void *arg)
{
    const struct job *job = arg;
    int rc = job->ms ? co_sleep(job->ms) : 0;
    trace(rc < 0 ? "%s-" : "%s", job->name);
    return rc < 0 ? rc : job->result;
}

/* Sleeps until it is cancelled, cleans up for its time, and returns its result all the same. */
static inline int linger(void *arg)
{
    const struct job *job = arg;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    co_shield() CHECK_INT(co_sleep(job->ms), 0);
    trace("%s!", job->name);
    return job->result;
}

static inline int64_t now_ms(void)
{
    return loop_time(loop_current()) / MS;
}

static inline void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

/* Runs fn as a task that may leave failures to the exception handler, and returns its result. */
static inline int run_reporting(co_fn *fn, void *arg)
{
    loop_t *loop = open_loop();
    int rc = loop_run_until(loop, loop_spawn(loop, fn, arg));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
    return rc;
}

#endif
