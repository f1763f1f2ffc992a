/* trial.c: one run of a scenario, with something going wrong at one point of it.
 *
 * Suspensions are counted by a probe (task/park.c), and allocations by the ledger, an allocator
 * that keeps all its blocks in a list. Up to its point a trial does what all others of its scenario
 * do: the same seed, virtual time, one pass of the loop after the other.
 *
 * Invariant: between trials the ledger is empty. Blocks that a trial lost are freed after it, as
 * the library's allocator can only be changed back when none is alive. */
#include "debug/trial.h"

#include "base/alloc.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FDS_MAX = 1024, PASSES_MAX = 1000000 };
static const int64_t YEAR_MS = INT64_C(31536000000);

/* --- The ledger ------------------------------------------------------------------------------- */

struct block { /* before each block; as large as the strictest alignment wants */
    _Alignas(max_align_t) struct coloop__link link;
    size_t size;
};

static void *allocate_from_libc(void *pointer, size_t size, void *arg)
{
    (void)arg;
    if (size)
        return realloc(pointer, size);
    free(pointer);
    return NULL;
}

static bool refuses(struct ledger *ledger, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct block))
        return true;
    if (!ledger->counting)
        return false;
    size_t n = ++ledger->count;
    return ledger->failing && (n == ledger->failing || (ledger->onward && n > ledger->failing));
}

static void *move_block(struct ledger *ledger, struct block *old, size_t size)
{
    if (size && refuses(ledger, size))
        return NULL;
    if (old)
        list_remove(&old->link);
    struct block *block = ledger->allocate(old, size ? size + sizeof *block : 0, ledger->arg);
    if (block)
        block->size = size;
    else if (size)
        block = old;
    if (block)
        list_push_back(&ledger->blocks, &block->link);
    return block && block->size == size ? block + 1 : NULL;
}

static void *ledger_allocate(void *pointer, size_t size, void *arg)
{
    struct ledger *ledger = arg;
    pthread_mutex_lock(&ledger->lock);
    void *result = move_block(ledger, pointer ? (struct block *)pointer - 1 : NULL, size);
    pthread_mutex_unlock(&ledger->lock);
    return result;
}

int co__debug_ledger_open(struct ledger *ledger, coloop_allocator_fn *allocate, void *arg)
{
    *ledger = (struct ledger){.lock = PTHREAD_MUTEX_INITIALIZER,
                              .allocate = allocate ? allocate : allocate_from_libc,
                              .arg = arg};
    list_init(&ledger->blocks);
    return coloop_set_allocator(ledger_allocate, ledger);
}

void co__debug_ledger_close(struct ledger *ledger, coloop_allocator_fn *allocate, void *arg)
{
    coloop_set_allocator(allocate, arg);
    pthread_mutex_destroy(&ledger->lock);
}

/* --- Open fds --------------------------------------------------------------------------------- */

struct fds {
    bool open[FDS_MAX];
};

/* One call of poll tells of all: it marks those that are not open. */
static void look_at_fds(struct fds *fds)
{
    struct pollfd polled[FDS_MAX];
    struct rlimit limit;
    int n = FDS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FDS_MAX)
        n = (int)limit.rlim_cur;
    for (int fd = 0; fd < FDS_MAX; fd++)
        polled[fd] = (struct pollfd){.fd = fd, .revents = fd < n ? 0 : POLLNVAL};
    while (poll(polled, (nfds_t)n, 0) < 0 && errno == EINTR)
        ;
    for (int fd = 0; fd < FDS_MAX; fd++)
        fds->open[fd] = !(polled[fd].revents & POLLNVAL);
}

/* --- A trial ---------------------------------------------------------------------------------- */

const char *const co__debug_mode_names[MODES] = {"undisturbed", "before", "parked", "woken",
                                                 "once",        "onward", "random"};

static void complain(struct trial *trial, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void complain(struct trial *trial, const char *format, ...)
{
    size_t used = strlen(trial->losses);
    va_list args;
    if (used && used + 2 < sizeof trial->losses)
        used += (size_t)snprintf(trial->losses + used, sizeof trial->losses - used, "; ");
    va_start(args, format);
    vsnprintf(trial->losses + used, sizeof trial->losses - used, format, args);
    va_end(args);
}

static struct list *tasks_of(loop_t *loop)
{
    return &((struct scheduler *)loop->client_data)->tasks;
}

static void cancel_target(void *arg)
{
    struct trial *trial = arg;
    list_for_each (link, tasks_of(trial->loop)) {
        co_task_t *task = container_of(link, co_task_t, link);
        if (task->id == trial->target) {
            co_task_cancel(task);
            return;
        }
    }
}

static void disturb(struct trial *trial, co_task_t *task, const struct co__reason *reason)
{
    const char *where = reason->where ? reason->where : task->spawned_at;
    snprintf(trial->place, sizeof trial->place, " (%s in task '%s' at %s)", reason->call,
             task->name, where);
    trial->target = task->id;
    if (trial->mode == BEFORE)
        co_task_cancel(task);
    else if (trial->mode == PARKED)
        loop_call_soon(trial->loop, cancel_target, trial, &trial->handle);
    else
        trial->waits = true;
}

static void notice(struct co__probe *probe, co_task_t *task, const struct co__reason *reason)
{
    struct trial *trial = container_of(probe, struct trial, probe);
    bool cancels = trial->mode == BEFORE || trial->mode == PARKED || trial->mode == WOKEN;
    if (reason && ++trial->points == trial->point && cancels)
        disturb(trial, task, reason);
    else if (!reason && trial->waits && task->id == trial->target) {
        trial->waits = false;
        co_task_cancel(task);
    }
}

/* --- What is left ----------------------------------------------------------------------------- */

static void find_tasks(struct trial *trial)
{
    enum { TOLD_MAX = 3 };
    size_t told = 0;
    list_for_each (link, tasks_of(trial->loop)) {
        co_task_t *task = container_of(link, co_task_t, link);
        char text[256];
        if (told++ == TOLD_MAX)
            break;
        co__describe(task, text, sizeof text);
        complain(trial, "task '%s' never ends: %s at %s", task->name, text,
                 task->reason.where ? task->reason.where : task->spawned_at);
    }
}

static void find_handles(struct trial *trial)
{
    const struct scheduler *scheduler = trial->loop->client_data;
    list_for_each (link, &scheduler->held)
        complain(trial, "a handle of task '%s' was not released",
                 container_of(link, co_task_t, link)->name);
}

static void find_fds(struct trial *trial, const struct fds *before)
{
    struct fds now;
    look_at_fds(&now);
    for (int fd = 0; fd < FDS_MAX; fd++)
        if (now.open[fd] != before->open[fd])
            complain(trial, now.open[fd] ? "fd %d is left open" : "fd %d, not its own, was closed",
                     fd);
}

static void find_blocks(struct trial *trial)
{
    struct coloop__link *link;
    while ((link = list_first(&trial->ledger->blocks))) {
        struct block *block = container_of(link, struct block, link);
        complain(trial, "a block of %zu bytes is not freed", block->size);
        coloop__free(block + 1);
    }
}

static bool find_work(struct trial *trial, bool has_work)
{
    if (trial->loop->client_work)
        find_tasks(trial);
    else if (has_work)
        complain(trial, "work is left: a watcher, a hold, or a call that comes back for ever");
    return has_work;
}

/* --- One run ---------------------------------------------------------------------------------- */

static void say_nothing(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)exception, (void)arg;
}

/* Pass by pass, as loop_run would wait for ever for an fd that nobody writes to. Returns whether
 * there was work left in the end. */
static bool drive(struct trial *trial)
{
    int64_t end = loop_time(trial->loop) + YEAR_MS * NS_PER_MS;
    int rc = 1;
    for (uint64_t passes = 0; rc == 1 && loop_time(trial->loop) < end; passes++) {
        if (passes == PASSES_MAX + trial->more_passes)
            break;
        rc = loop_run_once(trial->loop, YEAR_MS);
    }
    return rc != 0;
}

/* From here to the end of the last task things go wrong. */
static bool run_disturbed(struct trial *trial)
{
    struct scheduler *scheduler = trial->loop->client_data;
    struct ledger *ledger = trial->ledger;
    bool memory = trial->mode == ONCE || trial->mode == ONWARD;
    co__set_probe(scheduler, &trial->probe);
    ledger->count = 0;
    ledger->failing = memory ? trial->point : 0;
    ledger->onward = trial->mode == ONWARD;
    ledger->counting = true;
    bool has_work = drive(trial);
    ledger->counting = false;
    co__set_probe(scheduler, NULL);
    return has_work;
}

static void run_first_task(struct trial *trial)
{
    const co_test_scenario_t *scenario = trial->scenario;
    co_task_t *task = co_spawn_here(trial->loop, NULL, scenario->name, scenario->run, scenario->arg,
                                    scenario->name);
    if (!task) {
        complain(trial, "no memory for the first task");
        return;
    }
    bool has_work = find_work(trial, run_disturbed(trial));
    int result = co_task_result(task);
    co_task_release(task);
    if (has_work)
        return;
    const char *lost = scenario->check ? scenario->check(scenario->arg) : NULL;
    if (lost)
        complain(trial, "%s", lost);
    if (result < 0 && !trial->point)
        complain(trial, "the first task returned %d", result);
    find_handles(trial);
}

static void run_in_loop(struct trial *trial)
{
    const co_test_scenario_t *scenario = trial->scenario;
    loop_set_exception_handler(trial->loop, say_nothing, NULL);
    int rc = scenario->setup ? scenario->setup(scenario->arg) : 0;
    if (rc < 0)
        complain(trial, "setup returned %d", rc);
    else
        run_first_task(trial);
    loop_close(trial->loop);
    if (rc >= 0 && scenario->teardown)
        scenario->teardown(scenario->arg);
}

void co__debug_trial_name(const struct trial *trial, char *text, size_t size)
{
    snprintf(text, size, "%s/%s/%zu", trial->scenario->name, co__debug_mode_names[trial->mode],
             trial->point);
}

static void announce(const struct trial *trial)
{
    const char *wanted = getenv("COLOOP_TEST_TRACE");
    if (!wanted || !*wanted || strcmp(wanted, "0") == 0)
        return;
    char name[256];
    co__debug_trial_name(trial, name, sizeof name);
    fprintf(stderr, "%s, seed %llu\n", name, (unsigned long long)trial->seed);
}

void co__debug_trial_run(struct trial *trial)
{
    loop_options_t options = {.virtual_time = true, .seed = trial->seed};
    struct fds before;
    announce(trial);
    look_at_fds(&before);
    trial->probe.notice = notice;
    trial->points = 0;
    trial->losses[0] = trial->place[0] = '\0';
    trial->loop = loop_new(&options);
    if (trial->loop)
        run_in_loop(trial);
    else
        complain(trial, "no loop: %s", strerror(errno));
    find_fds(trial, &before);
    find_blocks(trial);
}

/* --- Reports ---------------------------------------------------------------------------------- */

void co__debug_trial_count(const struct trial *trial, const char *replay, co_test_report_t *report)
{
    size_t used = strlen(report->text);
    report->runs++;
    if (!trial->losses[0])
        return;
    report->failures++;
    char name[256];
    co__debug_trial_name(trial, name, sizeof name);
    snprintf(report->text + used, sizeof report->text - used, "%s%s: %s%s%s\n", name, trial->place,
             trial->losses, *replay ? "; replay with " : "", replay);
}
