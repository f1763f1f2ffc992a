/* gather: waiting for several coroutines at once, and what becomes of the others when one fails.
 *
 * The tasks run at the same time; the whole takes as long as the slowest. It prints:
 *
 *     all went well: 0 after 60 ms
 *     one failed: Connection refused after 20 ms, and 2 were cancelled
 *     each of them: 20, Connection refused, 60
 *     the first of three to be done: number 0 */
#include <coloop.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int cancelled;

/* Takes that many milliseconds and returns them; a negative number fails after so many. */
static int fetch(void *arg)
{
    int ms = *(int *)arg;
    int rc = co_sleep(ms < 0 ? -ms : ms);
    if (rc == -ECANCELED)
        cancelled++; /* here a fetch that is no longer needed would clean up */
    if (rc < 0)
        return rc;
    return ms < 0 ? -ECONNREFUSED : ms;
}

static long long since(int64_t start)
{
    return (long long)(loop_time(loop_current()) - start) / 1000000;
}

static int show(void *arg)
{
    int a = 20, b = 40, c = 60, bad = -20, results[3], rc;
    int64_t start = loop_time(loop_current());
    (void)arg;

    rc = co_gather(co_spawn(fetch, &a), co_spawn(fetch, &b), co_spawn(fetch, &c));
    printf("all went well: %d after %lld ms\n", rc, since(start));

    start = loop_time(loop_current());
    rc = co_gather(co_spawn(fetch, &b), co_spawn(fetch, &bad), co_spawn(fetch, &c));
    printf("one failed: %s after %lld ms, and %d were cancelled\n", strerror(-rc), since(start),
           cancelled);

    co_task_t *all[] = {co_spawn(fetch, &a), co_spawn(fetch, &bad), co_spawn(fetch, &c)};
    co_gather_all(all, 3, results);
    printf("each of them: %d, %s, %d\n", results[0], strerror(-results[1]), results[2]);

    co_task_t *race[] = {co_spawn(fetch, &a), co_spawn(fetch, &b), co_spawn(fetch, &c)};
    co_wait(race, 3, CO_FIRST_COMPLETED); /* consumes nothing: the handles are still ours */
    for (int i = 0; i < 3; i++) {
        if (co_task_done(race[i]))
            printf("the first of three to be done: number %d\n", i);
        co_task_cancel(race[i]);
        co_task_release(race[i]);
    }
    return 0;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
