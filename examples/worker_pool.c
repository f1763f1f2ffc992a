/* worker_pool: a few workers share the jobs of one channel.
 *
 * Whoever is free takes the next job; closing the channel ends the workers once it is empty. Three
 * workers do nine jobs of 20 ms, so it takes about as long as three. It prints:
 *
 *     9 jobs by 3 workers in 60 ms; their squares add up to 285 */
#include <coloop.h>
#include <stdio.h>

enum { WORKERS = 3, JOBS = 9 };

struct pool {
    co_chan_t *jobs;
    int sum, done;
};

static int work(void *arg)
{
    struct pool *pool = arg;
    int job, rc;
    while ((rc = co_chan_recv(pool->jobs, &job)) == 0) {
        if ((rc = co_sleep(20)) < 0)
            return rc;
        pool->sum += job * job;
        pool->done++;
    }
    return rc == -EPIPE ? 0 : rc; /* closed and empty: the day is over */
}

static int show(void *arg)
{
    struct pool pool = {.jobs = co_chan_new(sizeof(int), 0)};
    int64_t start = loop_time(loop_current());
    int rc = 0;
    (void)arg;
    if (!pool.jobs)
        return -ENOMEM;
    co_group(workers, &rc)
    {
        for (int i = 0; i < WORKERS; i++)
            co_group_spawn(workers, work, &pool);
        for (int job = 1; job <= JOBS; job++)
            co_chan_send(pool.jobs, &job);
        co_chan_close(pool.jobs);
    }
    printf("%d jobs by %d workers in %lld ms; their squares add up to %d\n", pool.done, WORKERS,
           (long long)(loop_time(loop_current()) - start) / 10000000 * 10, pool.sum);
    co_chan_free(pool.jobs);
    return rc;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
