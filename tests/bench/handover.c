/* handover.c: tasks that hand something to each other.
 *
 *     rendezvous   1,000,000 numbers over a channel without a buffer, from one task to another
 *     lock         a free lock is taken and given back, 1,000,000 times
 *     mutex        so many tasks pass a lock round, each of which yields while it has it
 *
 * The limits know of one waiter of a kind, or a queue of them, and of nothing else. State Threads
 * have no channels: theirs is made of two conditions, and as their yields are slow, they pass the
 * mutex a quarter as often. Go's and asyncio's come with them, but asyncio's queue has a place for
 * one, as it has none without. */
#include "tasks.h"

#define ITEMS 1000000 /* handed over, and locks taken */

static long times;

/* --- Limit ------------------------------------------------------------------------------------ */

static struct {
    struct co *sender, *receiver;
    long *place;
    const long *item;
} limit_chan;

static void limit_send(const long *item)
{
    if (limit_chan.receiver) {
        *limit_chan.place = *item;
        limit_ready(limit_chan.receiver);
        limit_chan.receiver = NULL;
        return;
    }
    limit_chan.sender = limit_current;
    limit_chan.item = item;
    limit_park();
}

static void limit_receive(long *place)
{
    if (limit_chan.sender) {
        *place = *limit_chan.item;
        limit_ready(limit_chan.sender);
        limit_chan.sender = NULL;
        return;
    }
    limit_chan.receiver = limit_current;
    limit_chan.place = place;
    limit_park();
}

static void limit_send_all(void *arg)
{
    (void)arg;
    for (long i = 0; i < ITEMS; i++)
        limit_send(&i);
}

static void limit_receive_all(void *arg)
{
    (void)arg;
    for (long i = 0, got; i < ITEMS; i++) {
        limit_receive(&got);
        MUST(got == i);
    }
}

static void limit_rendezvous(long unused)
{
    (void)unused;
    limit_reserve(2);
    limit_spawn(limit_send_all, NULL);
    limit_spawn(limit_receive_all, NULL);
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, ITEMS);
}

static struct co *volatile limit_owner;

static void limit_lock(long unused)
{
    (void)unused;
    int64_t start = bench_now();
    for (long i = 0; i < ITEMS; i++) {
        MUST(!limit_owner);
        limit_owner = limit_current;
        MUST(limit_owner == limit_current);
        limit_owner = NULL;
    }
    bench_each(NULL, bench_now() - start, ITEMS);
}

/* Whoever unlocks hands over to the one that has waited longest. */
static struct {
    struct co *owner, *first, *last;
} limit_mutex;

static void limit_lock_mutex(void)
{
    struct co *self = limit_current;
    if (!limit_mutex.owner) {
        limit_mutex.owner = self;
        return;
    }
    self->next = NULL;
    if (limit_mutex.first)
        limit_mutex.last->next = self;
    else
        limit_mutex.first = self;
    limit_mutex.last = self;
    limit_park();
}

static void limit_unlock_mutex(void)
{
    struct co *next = limit_mutex.first;
    limit_mutex.owner = next;
    if (next) {
        limit_mutex.first = next->next;
        limit_ready(next);
    }
}

static void limit_pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        limit_lock_mutex();
        limit_yield();
        limit_unlock_mutex();
    }
}

static void limit_pass(long tasks)
{
    times = ITEMS / tasks;
    limit_reserve(tasks);
    for (long i = 0; i < tasks; i++)
        limit_spawn(limit_pass_often, NULL);
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- libcoloop -------------------------------------------------------------------------------- */

static int coloop_send_all(void *chan)
{
    for (long i = 0; i < ITEMS; i++)
        co_chan_send(chan, &i);
    return 0;
}

static int coloop_receive_all(void *chan)
{
    for (long i = 0, got; i < ITEMS; i++)
        MUST(co_chan_recv(chan, &got) == 0 && got == i);
    return 0;
}

static void coloop_rendezvous(long unused)
{
    co_chan_t *chan = co_chan_new(sizeof(long), 0);
    (void)unused;
    coloop_open();
    coloop_start(coloop_send_all, chan);
    coloop_start(coloop_receive_all, chan);
    int64_t start = bench_now();
    coloop_run();
    bench_each(NULL, bench_now() - start, ITEMS);
    co_chan_free(chan);
}

static int coloop_lock_often(void *arg)
{
    static co_mutex_t mutex;
    int rc = 0;
    (void)arg;
    int64_t start = bench_now();
    for (long i = 0; i < ITEMS; i++) {
        rc |= co_mutex_lock(&mutex);
        co_mutex_unlock(&mutex);
    }
    bench_each(NULL, bench_now() - start, ITEMS);
    return rc;
}

static void coloop_lock(long unused)
{
    (void)unused;
    MUST(co_run(coloop_lock_often, NULL) == 0);
}

static co_mutex_t coloop_passed;

static int coloop_pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        MUST(co_mutex_lock(&coloop_passed) == 0);
        co_yield_now();
        co_mutex_unlock(&coloop_passed);
    }
    return 0;
}

static void coloop_pass(long tasks)
{
    coloop_open();
    times = ITEMS / tasks;
    for (long i = 0; i < tasks; i++)
        coloop_start(coloop_pass_often, NULL);
    int64_t start = bench_now();
    coloop_run();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- State Threads ---------------------------------------------------------------------------- */

#ifdef BENCH_ST
static long statethreads_finished;
static st_cond_t statethreads_sent, statethreads_taken;
static const long *statethreads_item;

static void *statethreads_send_all(void *arg)
{
    (void)arg;
    for (long i = 0; i < ITEMS; i++) {
        statethreads_item = &i;
        st_cond_signal(statethreads_sent);
        while (statethreads_item)
            st_cond_wait(statethreads_taken);
    }
    return NULL;
}

static void statethreads_rendezvous(long unused)
{
    (void)unused;
    statethreads_begin();
    statethreads_sent = st_cond_new();
    statethreads_taken = st_cond_new();
    statethreads_start(statethreads_send_all, NULL, false);
    int64_t began = bench_now();
    for (long i = 0; i < ITEMS; i++) {
        while (!statethreads_item)
            st_cond_wait(statethreads_sent);
        MUST(*statethreads_item == i);
        statethreads_item = NULL;
        st_cond_signal(statethreads_taken);
    }
    bench_each(NULL, bench_now() - began, ITEMS);
}

static void statethreads_lock(long unused)
{
    (void)unused;
    statethreads_begin();
    st_mutex_t mutex = st_mutex_new();
    int64_t began = bench_now();
    for (long i = 0; i < ITEMS; i++) {
        st_mutex_lock(mutex);
        st_mutex_unlock(mutex);
    }
    bench_each(NULL, bench_now() - began, ITEMS);
}

static st_mutex_t statethreads_passed;

static void *statethreads_pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        st_mutex_lock(statethreads_passed);
        st_usleep(0);
        st_mutex_unlock(statethreads_passed);
    }
    statethreads_finished++;
    return NULL;
}

static void statethreads_pass(long tasks)
{
    statethreads_begin();
    statethreads_passed = st_mutex_new();
    times = ITEMS / 4 / tasks;
    for (long i = 0; i < tasks; i++)
        statethreads_start(statethreads_pass_often, NULL, false);
    int64_t began = bench_now();
    while (statethreads_finished < tasks)
        st_usleep(1000);
    bench_each(NULL, bench_now() - began, times * tasks);
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "rendezvous", .rounds = 5},
        {.name = "lock", .rounds = 5},
        {.name = "mutex", .rounds = 5, .parameters = {10, 1000}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"limit", {limit_rendezvous, limit_lock, limit_pass}},
        {"libcoloop", {coloop_rendezvous, coloop_lock, coloop_pass}},
#ifdef BENCH_ST
        {"State Threads", {statethreads_rendezvous, statethreads_lock, statethreads_pass}},
#endif
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
