/* limit_tasks.c: the hand-written limits of switches, tasks and hand-overs. */
#include "limit.h"

#include <string.h>
#include <sys/mman.h>

enum { SLOT = 65536, PAGE = 4096, LINE = 64 };

struct co limit_main, *limit_current = &limit_main, *limit_head, *limit_tail;
static struct co *pool;

/* Lives on through one function after the other. */
static void live(void)
{
    for (;;) {
        struct co *self = limit_current;
        self->fn(self->arg);
        self->next = pool;
        pool = self;
        limit_park();
    }
}

/* The struct lies at the top of its stack, at a different cache line in neighbours. */
static void make(char *slot, long i)
{
    struct co *co = (struct co *)(void *)(slot + SLOT - PAGE / 2 + i % 16 * LINE);
    co->ip = live;
    co->sp = (void *)(((uintptr_t)co & ~(uintptr_t)15) - 8);
    co->next = pool;
    pool = co;
}

static char *map(long n)
{
    char *memory = mmap(NULL, (size_t)n * SLOT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(memory != MAP_FAILED);
    madvise(memory, (size_t)n * SLOT, MADV_NOHUGEPAGE);
    return memory;
}

static char *fresh;
static long fresh_left, fresh_index;

void limit_reserve(long n)
{
    fresh = map(n);
    fresh_left = n;
}

struct co *limit_new(void)
{
    if (!pool) {
        MUST(fresh_left-- > 0);
        make(fresh, fresh_index++);
        fresh += SLOT;
    }
    struct co *co = pool;
    pool = co->next;
    return co;
}

/* --- Switch and yield ------------------------------------------------------------------------- */

static struct co away;

static void enter(void (*fn)(void))
{
    static char stack[SLOT] __attribute__((aligned(16)));
    away.ip = fn;
    away.sp = stack + sizeof stack - 8;
}

static void come_back(void)
{
    for (;;)
        jump(&away, &limit_main);
}

static void run_switch(long unused)
{
    (void)unused;
    enter(come_back);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SWITCHES; i += 2)
        jump(&limit_main, &away);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES);
}

#ifdef __x86_64__
static inline __attribute__((always_inline)) void jump_with_fpu(struct co *from, struct co *to)
{
    uint32_t sse;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
    jump(from, to);
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(sse), "m"(x87));
}

static void come_back_with_fpu(void)
{
    for (;;)
        jump_with_fpu(&away, &limit_main);
}

static void run_switch_fpu(long unused)
{
    (void)unused;
    enter(come_back_with_fpu);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SWITCHES; i += 2)
        jump_with_fpu(&limit_main, &away);
    bench_each(NULL, bench_now() - start, BENCH_SWITCHES);
}
#endif

static long times;

static void yield_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++)
        limit_yield();
}

static void run_yield(long tasks)
{
    times = BENCH_YIELDS / tasks;
    limit_reserve(tasks);
    for (long i = 0; i < tasks; i++)
        limit_spawn(yield_often, NULL);
    limit_yield(); /* everybody once, so that the stacks are warm */
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, times * tasks);
}

/* --- Spawn ------------------------------------------------------------------------------------ */

static long finished;

static void end_at_once(void *arg)
{
    (void)arg;
    finished++;
}

static void spawn(long n)
{
    for (long i = 0; i < n; i++)
        limit_spawn(end_at_once, NULL);
    while (limit_head)
        limit_park();
}

static void run_spawn(long unused)
{
    (void)unused;
    limit_reserve(BENCH_BATCH);
    spawn(BENCH_BATCH);
    int64_t start = bench_now();
    for (long done = 0; done < BENCH_SPAWNS; done += BENCH_BATCH)
        spawn(BENCH_BATCH);
    bench_each(NULL, bench_now() - start, BENCH_SPAWNS);
}

static void run_spawn_cold(long unused)
{
    (void)unused;
    int64_t start = bench_now();
    limit_reserve(BENCH_COLD);
    spawn(BENCH_COLD);
    bench_each(NULL, bench_now() - start, BENCH_COLD);
}

static void run_await(long unused)
{
    (void)unused;
    limit_reserve(1);
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_SPAWNS; i++)
        spawn(1);
    bench_each(NULL, bench_now() - start, BENCH_SPAWNS);
}

/* --- Parked ----------------------------------------------------------------------------------- */

static struct co *parked;

static void park(void *arg)
{
    (void)arg;
    limit_current->arg = parked;
    parked = limit_current;
    limit_park();
    finished++;
}

static void run_parked(long n)
{
    double memory = bench_memory("VmRSS"), tables = bench_memory("VmPTE");
    int64_t start = bench_now();
    limit_reserve(n);
    for (long i = 0; i < n; i++)
        limit_spawn(park, NULL);
    while (limit_head)
        limit_park();
    bench_each("start", bench_now() - start, n);
    bench_result("memory", "bytes", (bench_memory("VmRSS") - memory) / (double)n);
    bench_result("tables", "bytes", (bench_memory("VmPTE") - tables) / (double)n);
    start = bench_now();
    for (struct co *next; parked; parked = next) {
        next = parked->arg;
        limit_ready(parked);
    }
    while (limit_head)
        limit_park();
    bench_each("wake", bench_now() - start, n);
    MUST(finished == n);
}

/* --- Hand-over -------------------------------------------------------------------------------- */

static struct {
    struct co *sender, *receiver;
    long *place;
    const long *item;
} chan;

static void send_item(const long *item)
{
    if (chan.receiver) {
        *chan.place = *item;
        limit_ready(chan.receiver);
        chan.receiver = NULL;
        return;
    }
    chan.sender = limit_current;
    chan.item = item;
    limit_park();
}

static void receive_item(long *place)
{
    if (chan.sender) {
        *place = *chan.item;
        limit_ready(chan.sender);
        chan.sender = NULL;
        return;
    }
    chan.receiver = limit_current;
    chan.place = place;
    limit_park();
}

static void send_all(void *arg)
{
    (void)arg;
    for (long i = 0; i < BENCH_ITEMS; i++)
        send_item(&i);
}

static void receive_all(void *arg)
{
    (void)arg;
    for (long i = 0, got; i < BENCH_ITEMS; i++) {
        receive_item(&got);
        MUST(got == i);
    }
}

static void run_rendezvous(long unused)
{
    (void)unused;
    limit_reserve(2);
    limit_spawn(send_all, NULL);
    limit_spawn(receive_all, NULL);
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, BENCH_ITEMS);
}

static struct co *volatile owner;

static void run_lock(long unused)
{
    (void)unused;
    int64_t start = bench_now();
    for (long i = 0; i < BENCH_ITEMS; i++) {
        MUST(!owner);
        owner = limit_current;
        MUST(owner == limit_current);
        owner = NULL;
    }
    bench_each(NULL, bench_now() - start, BENCH_ITEMS);
}

/* Whoever unlocks hands over to the one that has waited longest. */
static struct {
    struct co *owner, *first, *last;
} mutex;

static void lock_mutex(void)
{
    struct co *self = limit_current;
    if (!mutex.owner) {
        mutex.owner = self;
        return;
    }
    self->next = NULL;
    if (mutex.first)
        mutex.last->next = self;
    else
        mutex.first = self;
    mutex.last = self;
    limit_park();
}

static void unlock_mutex(void)
{
    struct co *next = mutex.first;
    mutex.owner = next;
    if (next) {
        mutex.first = next->next;
        limit_ready(next);
    }
}

static void pass_often(void *arg)
{
    (void)arg;
    for (long i = 0; i < times; i++) {
        lock_mutex();
        limit_yield();
        unlock_mutex();
    }
}

static void run_mutex(long tasks)
{
    times = BENCH_ITEMS / tasks;
    limit_reserve(tasks);
    for (long i = 0; i < tasks; i++)
        limit_spawn(pass_often, NULL);
    int64_t start = bench_now();
    while (limit_head)
        limit_park();
    bench_each(NULL, bench_now() - start, times * tasks);
}

void limit_ready_calls(long n), limit_timers(long n), limit_pairs(long n), limit_post(long n);
void limit_echo(long port), limit_echo_apart(long port), limit_http(long port);

int main(int argc, char **argv)
{
    static const struct bench_work works[] = {
        {"switch", NULL, run_switch, {0}},
#ifdef __x86_64__
        {"switch", "with FPU words", run_switch_fpu, {0}},
#endif
        {"yield", NULL, run_yield, BENCH_YIELD_TASKS},
        {"spawn", NULL, run_spawn, {0}},
        {"spawn-cold", NULL, run_spawn_cold, {0}},
        {"await", NULL, run_await, {0}},
        {"parked", NULL, run_parked, BENCH_PARKED},
        {"rendezvous", NULL, run_rendezvous, {0}},
        {"lock", NULL, run_lock, {0}},
        {"mutex", NULL, run_mutex, BENCH_MUTEX_TASKS},
        {"ready", NULL, limit_ready_calls, BENCH_READY},
        {"timers", NULL, limit_timers, BENCH_TIMERS},
        {"pairs", NULL, limit_pairs, BENCH_PAIRS},
        {"post", NULL, limit_post, {0}},
        {"echo", NULL, limit_echo, {-1}},
        {"echo-apart", "own buffers", limit_echo_apart, {-1}},
        {"http", NULL, limit_http, {-1}},
    };
    return bench_main(argc, argv, "limit", works, sizeof works / sizeof *works);
}
