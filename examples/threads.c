/* threads: work that blocks is done by threads, and tasks wait for it.
 *
 * on_thread(fn, arg) is what asyncio calls to_thread: the thread has a future settled by a call that
 * it posts to the loop. The loop knows nothing of the thread, so it is held meanwhile; else it would
 * take the waiting task for a deadlock. A thread cannot be cancelled and works with the task's
 * memory, so the wait is shielded: a deadline or a cancellation takes effect after it. Here three
 * threads count primes; it could as well be a look-up of names. It prints:
 *
 *     1229 primes below 10000
 *     9592 primes below 100000
 *     17984 primes below 200000 */
#include <coloop.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>

/* --- Any work on a thread --------------------------------------------------------------------- */

struct work {
    int (*fn)(void *arg);
    void *arg;
    int result;
    loop_t *loop;
    co_future_t done;
};

static void settle(void *arg) /* in the loop's thread */
{
    struct work *work = arg;
    loop_release(work->loop);
    co_future_resolve(&work->done, work->result, NULL);
}

static void *run(void *arg)
{
    struct work *work = arg;
    work->result = work->fn(work->arg);
    while (loop_call_soon_threadsafe(work->loop, settle, work) == -ENOMEM)
        sched_yield(); /* somebody waits, so it must get through */
    return NULL;
}

static int on_thread(int (*fn)(void *arg), void *arg)
{
    struct work work = {.fn = fn, .arg = arg, .loop = loop_current()};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, &work);
    if (rc != 0)
        return -rc;
    loop_hold(work.loop);
    co_shield() rc = co_await_future(&work.done, NULL);
    pthread_join(thread, NULL); /* it is at its end */
    return rc;
}

/* --- Primes ----------------------------------------------------------------------------------- */

struct count {
    int below, primes;
};

static bool is_prime(int n)
{
    for (int i = 2; i <= n / i; i++)
        if (n % i == 0)
            return false;
    return n > 1;
}

static int count_primes(void *arg)
{
    struct count *count = arg;
    for (int n = 2; n < count->below; n++)
        count->primes += is_prime(n);
    return 0;
}

static int count_on_thread(void *count)
{
    return on_thread(count_primes, count);
}

static int count_all(void *unused)
{
    struct count counts[] = {{10000, 0}, {100000, 0}, {200000, 0}};
    int rc, spawned = 0;
    (void)unused;
    co_group(group, &rc)
    {
        for (int i = 0; i < 3 && spawned == 0; i++)
            spawned = co_group_spawn(group, count_on_thread, &counts[i]);
    }
    rc = spawned < 0 ? spawned : rc;
    for (int i = 0; i < 3 && rc == 0; i++)
        printf("%d primes below %d\n", counts[i].primes, counts[i].below);
    return rc;
}

int main(void)
{
    return co_run(count_all, NULL) < 0;
}
