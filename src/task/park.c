/* park.c: the one place where a task is suspended.
 *
 *     running --co__park--> parked --co__wake, co__interrupt--> ready --co__run_item--> running
 *
 * Invariants:
 * 1. While a task is parked each of its waits is where somebody will find it; when it is woken none
 * is.
 * 2. What wakes a task first decides: co__park returns that and nothing else, however much happens
 * before the task runs. So a call has had its effect or was interrupted, never both. */
#include "task/switch.h"

enum { IGNORED_MAX = 1000 };

/* While the loop closes, a task that goes on and on in spite of its cancellation has to be stopped;
 * and so has a deferred call that does so while the task is being ended. Each round unwinds at
 * least one frame more. */
static void end_if_deaf(co_task_t *task)
{
    bool forcing = task->scheduler->forcing;
    if (++task->ignored <= (forcing && !task->ending ? 0 : IGNORED_MAX))
        return;
    if (!forcing && !task->ending)
        loop__report(task->loop, -ECANCELED, task->reason.where, task,
                     "closing: task '%s' (#%llu) goes on in spite of being cancelled, and is ended",
                     task->name, (unsigned long long)task->id);
    task->ending = true;
    task->ignored = 0;
    co__unwind_all(task, -ECANCELED);
}

/* In debug mode one that does so at other times is told of, once for each cancellation: it spins,
 * in the company of others that run. */
static void tell_if_deaf(co_task_t *task)
{
    const struct co__reason *last = &task->reason;
    if (task->ignored_order != task->order)
        task->ignored = 0;
    task->ignored_order = task->order;
    if (++task->ignored != IGNORED_MAX)
        return;
    loop__report(task->loop, 0, last->where ? last->where : task->spawned_at, task,
                 "deaf: task '%s' (#%llu) goes on in spite of being %s: %d calls returned at once, "
                 "after %s",
                 task->name, (unsigned long long)task->id,
                 task->interrupt == -ETIMEDOUT ? "out of time" : "cancelled", IGNORED_MAX,
                 last->call ? last->call : "its start");
}

static void tell_probe(co_task_t *task, const struct co__reason *reason)
{
    struct co__probe *probe = task->scheduler->probe;
    if (probe)
        probe->notice(probe, task, reason);
}

/* As the loop runs, its exported fd need not be told. */
static inline __attribute__((always_inline)) void take_a_turn(co_task_t *task,
                                                              const struct co__reason *reason)
{
    loop_t *loop = co__loop();
    struct scheduler *scheduler = loop->client_data;
    if (__builtin_expect(scheduler->back != NULL, 0))
        tell_probe(task, reason);
    list_push_back(&loop->ready, &task->ready.link);
    if (__builtin_expect(scheduler->back != NULL, 0))
        tell_probe(task, NULL);
    task_give_way(task);
}

void co__take_a_turn(co_task_t *task, const struct co__reason *reason)
{
    take_a_turn(task, reason);
}

/* Without memory a deadline is noticed later, at a park that reports it. */
void co__spend_slow(co_task_t *task)
{
    static const struct co__reason fairness = {.call = "a call that gives way to others"};
    co__arm_scopes(task);
    co__take_a_turn(task, &fairness); /* not inlined, as it is rare */
}

ssize_t co__spent_slow(co_task_t *task, ssize_t result)
{
    co__spend_slow(task);
    return result;
}

/* An interruption stays, as whoever runs meanwhile leaves none of this task's scopes. */
int co__check_slow(co_task_t *task)
{
    if (!task)
        return -EPERM;
    if (task->loop->closing)
        end_if_deaf(task);
    else if (task->loop->debug)
        tell_if_deaf(task);
    co__spend(task); /* nothing has been looked at yet */
    return task->interrupt;
}

static void undo_waits(struct co__wait *waits, const struct co__wait *but)
{
    for (struct co__wait *wait = waits, *next; wait; wait = next) {
        next = wait->next;
        if (wait != but && wait->undo)
            wait->undo(wait);
    }
}

int co__park(co_task_t *task, struct co__wait *waits)
{
    return task_park(task, waits);
}

int co__park_slow(co_task_t *task, struct co__wait *waits)
{
    int rc = 0;
    tell_probe(task, &task->reason);
    if (task->interrupt) /* since its last check, as it was woken in vain */
        rc = task->interrupt;
    else if (!task->scope->armed)
        rc = co__arm_scopes(task);
    if (rc < 0)
        undo_waits(waits, NULL);
    return rc;
}

void co__wake(struct co__wait *wait, int value)
{
    task_wake(wait, value, false);
}

void co__wake_slow(co_task_t *task, const struct co__wait *wait)
{
    undo_waits(task->waits, wait);
    task_make_ready(task);
    tell_probe(task, NULL);
}

void co__interrupt(co_task_t *task, int code)
{
    undo_waits(task->waits, NULL);
    task->winner = NULL;
    task->code = code;
    task_make_ready(task);
    tell_probe(task, NULL);
}

/* --- Giving way and sleeping ------------------------------------------------------------------ */

int co_yield_now_here(const char *where)
{
    co_task_t *task = co__current;
    int rc = co__check(task);
    if (rc < 0)
        return rc;
    if (!task->scope->armed && co__arm_scopes(task) < 0)
        return -ENOMEM;
    take_a_turn(task, co__reason(task, "co_yield_now", where, CO__NOTHING));
    return 0;
}

struct sleeper {
    struct co__wait wait;
    struct loop__timer timer;
};

static void sleeper_expire(struct loop__timer *timer)
{
    co__wake(&container_of(timer, struct sleeper, timer)->wait, 0);
}

static void sleeper_undo(struct co__wait *wait)
{
    loop__timer_cancel(wait->task->loop, &container_of(wait, struct sleeper, wait)->timer);
}

static int sleep_until(int64_t when, const char *call, const char *where)
{
    co_task_t *task = co__current;
    int rc = co__check(task);
    if (rc < 0)
        return rc;
    struct sleeper sleeper = {.wait = {.task = task, .undo = sleeper_undo},
                              .timer.expire = sleeper_expire};
    if (when != TIME_NEVER && (rc = loop__timer_set(task->loop, &sleeper.timer, when)) < 0)
        return rc;
    co__reason(task, call, where, CO__TIME)->number = when;
    return co__park(task, &sleeper.wait);
}

static int64_t from_now(int64_t ns)
{
    co_task_t *task = co__current;
    return task ? time_after(loop__clock(task->loop), ns) : 0;
}

int co_sleep_here(int64_t ms, const char *where)
{
    return ms == 0 ? co_yield_now_here(where)
                   : sleep_until(from_now(ms_to_ns(ms)), "co_sleep", where);
}

int co_sleep_ns_here(int64_t ns, const char *where)
{
    return ns == 0 ? co_yield_now_here(where) : sleep_until(from_now(ns), "co_sleep_ns", where);
}

int co_sleep_until_here(int64_t when_ns, const char *where)
{
    return sleep_until(when_ns, "co_sleep_until", where);
}
