/* clock.h: monotonic time in nanoseconds, and its virtual twin that only moves when told to. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define TIME_NEVER INT64_MAX

struct clock {
    bool is_virtual;
    int64_t virtual_now;
};

static inline int64_t clock_real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* A clock that costs next to nothing and moves every few milliseconds: to notice that time has
 * passed. */
static inline int64_t clock_coarse(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
#else
    return clock_real_now() / (4 * NS_PER_MS);
#endif
}

static inline int64_t clock_now(const struct clock *clock)
{
    return clock->is_virtual ? clock->virtual_now : clock_real_now();
}

/* now + ns, where what would overflow is never, and negative ns is never as well. */
static inline int64_t time_after(int64_t now, int64_t ns)
{
    int64_t when;
    return ns < 0 || __builtin_add_overflow(now, ns, &when) ? TIME_NEVER : when;
}

/* Milliseconds as nanoseconds; negative stays negative, what would overflow is never. */
static inline int64_t ms_to_ns(int64_t ms)
{
    return ms > TIME_NEVER / NS_PER_MS ? TIME_NEVER : ms < 0 ? -1 : ms * NS_PER_MS;
}

#endif
