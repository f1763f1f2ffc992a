/* rate_limiter: a bucket of tokens, refilled by the clock, that requests take from.
 *
 * The bucket is a channel of items without size: its capacity is the burst that is allowed, and a
 * task puts a token in every 20 ms. Three requests pass at once, the others in step. It prints:
 *
 *     request 1 after 0 ms
 *     request 2 after 0 ms
 *     request 3 after 0 ms
 *     request 4 after 20 ms
 *     request 5 after 40 ms
 *     request 6 after 60 ms */
#include <coloop.h>
#include <stdio.h>

enum { BURST = 3, EVERY_MS = 20, REQUESTS = 6 };

/* A token that finds the bucket full is lost: that is what try is for. */
static int refill(void *arg)
{
    int rc;
    while ((rc = co_sleep(EVERY_MS)) == 0)
        co_chan_try_send(arg, NULL);
    return rc;
}

static int show(void *arg)
{
    co_chan_t *bucket = co_chan_new(0, BURST);
    int64_t start = loop_time(loop_current());
    (void)arg;
    if (!bucket)
        return -ENOMEM;
    while (co_chan_try_send(bucket, NULL) == 0)
        ; /* full at the start */
    co_task_t *clock = co_spawn(refill, bucket);
    for (int i = 1; i <= REQUESTS; i++) {
        int rc = co_chan_recv(bucket, NULL);
        if (rc < 0)
            return rc;
        int64_t ms = (loop_time(loop_current()) - start) / 1000000;
        printf("request %d after %lld ms\n", i, (long long)(ms / EVERY_MS * EVERY_MS));
    }
    co_task_cancel(clock);
    co_await_task(clock);
    co_chan_free(bucket);
    return 0;
}

int main(void)
{
    loop_t *loop = loop_new(&(loop_options_t){.virtual_time = true}); /* no need to wait for it */
    if (!loop)
        return 1;
    int rc = loop_run_until(loop, loop_spawn(loop, show, NULL));
    loop_close(loop);
    return rc != 0;
}
