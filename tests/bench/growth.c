/* growth.c: how libcoloop's costs grow with the number of things: tasks that go through one phase
 * after the other together, timers and callbacks. Nothing here should grow by more than the
 * caches, and the heap's logarithm, account for. */
#include "bench.h"

#include <coloop.h>

#include <stdlib.h>

static loop_t *loop;
static long count, arrived;
static int64_t start;

static void begin_phase(void)
{
    arrived = 0;
    start = bench_now();
}

static void end_phase(const char *name)
{
    bench_each(name, bench_now() - start, count);
}

/* --- Tasks ------------------------------------------------------------------------------------ */

enum phase { SPAWN, WAKE, YIELD, CHANNEL, MUTEX, PHASES };
static const char *const names[PHASES] = {"spawn", "wake", "yield", "channel", "mutex"};
static co_event_t gates[PHASES], all_here;
static co_chan_t *chan;
static co_mutex_t mutex;

static void do_phase(enum phase phase)
{
    long item;
    if (phase != SPAWN)
        co_event_wait(&gates[phase]);
    if (phase == YIELD)
        co_yield_now();
    if (phase == CHANNEL)
        co_chan_recv(chan, &item);
    if (phase == MUTEX && co_mutex_lock(&mutex) == 0)
        co_mutex_unlock(&mutex);
}

/* Every task goes from one gate to the next; the last one to arrive wakes the conductor. */
static int go_along(void *arg)
{
    (void)arg;
    for (int phase = SPAWN; phase < PHASES; phase++) {
        do_phase((enum phase)phase);
        if (++arrived == count)
            co_event_set(&all_here);
    }
    return co_sleep(-1);
}

static void conduct_phase(enum phase phase)
{
    begin_phase();
    if (phase == MUTEX)
        co_mutex_lock(&mutex);
    co_event_set(&gates[phase]);
    if (phase == MUTEX) {
        co_yield_now(); /* now all are in line */
        co_mutex_unlock(&mutex);
    }
    for (long i = 0; i < count && phase == CHANNEL; i++)
        co_chan_send(chan, &i);
    co_event_wait(&all_here);
    co_event_clear(&all_here);
    end_phase(names[phase]);
}

static int conduct(void *arg)
{
    co_task_t **tasks = calloc((size_t)count, sizeof(co_task_t *));
    (void)arg;
    MUST(tasks != NULL);
    begin_phase();
    for (long i = 0; i < count; i++)
        MUST((tasks[i] = co_spawn(go_along, NULL)) != NULL);
    co_event_wait(&all_here);
    co_event_clear(&all_here);
    end_phase(names[SPAWN]);
    for (int phase = WAKE; phase < PHASES; phase++)
        conduct_phase((enum phase)phase);
    begin_phase();
    for (long i = 0; i < count; i++)
        co_task_cancel(tasks[i]);
    co_gather_all(tasks, (size_t)count, NULL);
    end_phase("cancel");
    free(tasks);
    return 0;
}

static void run_tasks(long n)
{
    count = n;
    chan = co_chan_new(sizeof(long), 0);
    MUST(co_run(conduct, NULL) == 0);
    co_chan_free(chan);
}

/* --- Timers and callbacks --------------------------------------------------------------------- */

enum { CALLS_OF_ONE = 4 };

static void nothing(void *arg)
{
    (void)arg;
}

static void call_again(void *handle)
{
    if (++arrived <= (CALLS_OF_ONE - 1) * count)
        loop_call_soon(loop, call_again, handle, handle);
}

static void run_calls(long n)
{
    loop_handle_t *handles = bench_alloc((size_t)n, sizeof *handles);
    MUST(handles && (loop = loop_new(NULL)));
    count = n;
    begin_phase();
    for (long i = 0; i < n; i++)
        loop_call_at(loop, bench_random(1000000000), nothing, NULL, &handles[i]);
    end_phase("timer");
    begin_phase();
    for (long i = 0; i < n; i++)
        loop_call_at(loop, bench_random(1000000000), nothing, NULL,
                     &handles[bench_random((uint32_t)n)]);
    end_phase("move");
    for (long i = 0; i < n; i++)
        loop_call_soon(loop, call_again, &handles[i], &handles[i]);
    begin_phase();
    loop_run(loop);
    MUST(arrived == CALLS_OF_ONE * count);
    bench_each("call", bench_now() - start, arrived);
}

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {.name = "growth-task", .rounds = 3, .parameters = {1000, 10000, 100000, 1000000}},
        {.name = "growth", .rounds = 3, .parameters = {1000, 10000, 100000, 1000000}},
        {0},
    };
    static const struct bench_contender contenders[] = {
        {"libcoloop", {run_tasks, run_calls}},
        {0},
    };
    return bench_main(argc, argv, works, contenders);
}
