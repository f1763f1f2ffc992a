/* A loop that is closed in the middle of everything: tasks which lock, wait, gather and group by
 * chance, shielded or not, with all their clean-up, some of them for ever. Whatever they are at,
 * the close ends, every clean-up is made once, and nothing is left. */
#include "test_forked.h"

enum { TASKS = 6, DEPTH = 3, RUNS = 150 };

static struct {
    co_test_random_t random;
    co_mutex_t mutexes[2];
    co_cond_t cond;
    co_rwlock_t rwlock;
    co_sem_t sem;
    co_event_t event;
    co_barrier_t barrier;
    co_future_t future;
    co_chan_t *chan;
    int entered, left; /* what was begun, and cleaned up */
} w;

static size_t below(size_t n)
{
    return co_test_below(&w.random, n);
}

static void clean_up(void *arg)
{
    (void)arg;
    w.left++;
    if (below(4) == 0)
        co_shield() co_sleep((int64_t)below(3));
}

static void unlock(void *mutex)
{
    co_mutex_unlock(mutex);
}

static void unlock_rwlock(void *lock)
{
    co_rwlock_unlock(lock);
}

static void release(void *sem)
{
    co_sem_release(sem);
}

static int do_something(int depth);

/* --- Waiting ---------------------------------------------------------------------------------- */

static int wait_for_something(void)
{
    int item = 0;
    co_case_t cases[] = {CO_RECV(w.chan, &item), CO_EVENT(&w.event), CO_FUTURE(&w.future)};
    switch (below(9)) {
    case 0:
        return co_sleep(-1);
    case 1:
        return co_event_wait(&w.event);
    case 2:
        return co_barrier_wait(&w.barrier);
    case 3:
        return co_chan_send(w.chan, &item);
    case 4:
        return co_chan_recv(w.chan, &item);
    case 5:
        return co_await_future(&w.future, NULL);
    case 6:
        return co_select(cases, 3);
    case 7:
        return co_yield_now();
    default:
        return co_sleep((int64_t)below(5));
    }
}

/* --- Locks ------------------------------------------------------------------------------------ */

static int hold_mutex(int depth)
{
    co_mutex_t *mutex = &w.mutexes[below(2)];
    int rc = co_mutex_lock(mutex);
    if (rc < 0)
        return rc;
    co_defer(unlock, mutex);
    rc = below(2) ? co_cond_wait(&w.cond, mutex) : 0;
    return rc < 0 ? rc : do_something(depth - 1);
}

static int hold_rwlock(int depth)
{
    int rc = below(2) ? co_rwlock_rdlock(&w.rwlock) : co_rwlock_wrlock(&w.rwlock);
    if (rc < 0)
        return rc;
    co_defer(unlock_rwlock, &w.rwlock);
    return do_something(depth - 1);
}

static int hold_permit(int depth)
{
    int rc = co_sem_acquire(&w.sem);
    if (rc < 0)
        return rc;
    co_defer(release, &w.sem);
    return do_something(depth - 1);
}

/* Shielded, and so without a look at what cannot fail. */
static int hold_shielded(int depth)
{
    co_mutex_t *mutex = &w.mutexes[below(2)];
    if (mutex->owner == co_self())
        return 0;
    co_shield()
    {
        co_mutex_lock(mutex);
        if (below(2))
            co_cond_wait(&w.cond, mutex);
        do_something(depth - 1);
        co_mutex_unlock(mutex);
    }
    return 0;
}

/* --- Tasks ------------------------------------------------------------------------------------ */

static int work(void *depth)
{
    w.entered++;
    co_defer(clean_up, NULL);
    return do_something((int)(intptr_t)depth);
}

static void *less(int depth)
{
    return (void *)(intptr_t)(depth - 1);
}

static int use_group(int depth)
{
    int rc = 0;
    co_group(g, &rc)
    {
        co_group_spawn(g, work, less(depth));
        co_group_spawn(g, work, less(depth));
        rc = do_something(depth - 1);
        switch (below(4)) {
        case 0:
            return co_fail(-EIO, "left by return");
        case 1:
            co_throw(-EIO, "left by a throw");
        case 2:
            co_group_cancel(g);
        }
    }
    return rc;
}

static int use_tasks(int depth)
{
    co_task_t *tasks[] = {co_spawn(work, less(depth)), co_spawn(work, less(depth))};
    if (below(2))
        return co_gather_tasks(tasks, 2);
    int rc = co_await_task(tasks[0]);
    return rc < 0 ? co_task_release(tasks[1]), rc : co_wait_for(tasks[1], (int64_t)below(4));
}

static int throw_by_chance(void *depth)
{
    int rc = do_something((int)(intptr_t)depth);
    if (below(2))
        co_throw(-EIO, "after %d", rc);
    return rc;
}

static int do_at(int depth)
{
    if (depth <= 0)
        return wait_for_something();
    switch (below(8)) {
    case 0:
        return hold_mutex(depth);
    case 1:
        return hold_rwlock(depth);
    case 2:
        return hold_permit(depth);
    case 3:
        return hold_shielded(depth);
    case 4:
        return use_group(depth);
    case 5:
        return use_tasks(depth);
    case 6:
        return co_try(throw_by_chance, less(depth));
    default:
        return wait_for_something();
    }
}

static int do_something(int depth)
{
    int rc = 0;
    w.entered++;
    co_defer(clean_up, NULL);
    switch (below(4)) {
    case 0:
        co_shield() rc = do_at(depth);
        return rc;
    case 1:
        co_timeout((int64_t)below(6)) rc = do_at(depth);
        return rc;
    default:
        return do_at(depth);
    }
}

/* Moves things a little, so that not everybody waits for ever. */
static void stir(void *loop)
{
    co_cond_signal(&w.cond);
    if (below(4) == 0)
        co_event_set(&w.event);
    if (below(8) == 0)
        co_future_resolve(&w.future, 0, NULL);
    loop_call_later(loop, 1 + (int64_t)below(3), stir, loop, NULL);
}

/* --- Closing ---------------------------------------------------------------------------------- */

static void close_in_the_middle(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.random.state = seed;
    loop_t *loop = open_loop();
    w.chan = co_chan_new(sizeof(int), below(3));
    co_sem_init(&w.sem, 1);
    co_barrier_init(&w.barrier, 3);
    for (int i = 0; i < TASKS; i++)
        co_task_release(co_spawn(work, (void *)(intptr_t)DEPTH));
    stir(loop);
    for (size_t passes = below(60); passes > 0; passes--)
        loop_run_once(loop, 0);
    if (below(2))
        loop_run_once(loop, (int64_t)below(20));
    loop_close(loop);
    co_chan_free(w.chan);
    if (w.entered != w.left || blocks()) {
        fprintf(stderr, "seed %d: %d begun, %d cleaned up, %d blocks left\n", (int)seed, w.entered,
                w.left, (int)blocks());
        _exit(1);
    }
}

static void close_many(void *first)
{
    uint64_t seed = *(uint64_t *)first, most = under_valgrind() ? RUNS / 10 : RUNS;
    for (uint64_t i = 0; i < most; i++)
        close_in_the_middle(seed + i);
}

static void whatever_tasks_are_at_the_close_ends_and_all_is_cleaned_up(void **state)
{
    (void)state;
    for (uint64_t seed = 501; seed < 501 + 4 * RUNS; seed += RUNS)
        expect_end(close_many, &seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_tasks_are_at_the_close_ends_and_all_is_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
