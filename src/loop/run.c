/* run.c: how the loop goes round.
 *
 * A pass runs what was in the ready queue when it began. Between passes, when nothing is ready or
 * enough items have run, comes a turn: the selector is asked (waiting if nothing is ready), the
 * clock is read, and events, posted calls, signals and timers make work ready, in this order: an
 * event beats a deadline of the same moment.
 *
 * Looking at clock and selector costs a hundred times a switch, so a turn comes only after
 * turn_limit items: as many as took about TURN_NS last time. Should items become slow all of a
 * sudden, a glance at the coarse clock every few items brings the turn forward. With virtual time,
 * turns come by count alone: runs are the same. */
#include "loop/core.h"

#include <errno.h>

enum { TURN_NS = 50000, TURN_ITEMS_MAX = 4096, TURN_ITEMS_VIRTUAL = 64, GLANCE_ITEMS = 8 };

void loop_stop(loop_t *loop)
{
    atomic_store(&loop->stop, true);
    loop__wake(loop);
}

static bool can_wake(loop_t *loop)
{
    return !list_empty(&loop->ready) || loop->timers.count || loop->fd_waits || loop->watchers ||
           loop->holds || loop__has_posts(loop);
}

static bool has_work(loop_t *loop)
{
    return loop->client_work || can_wake(loop);
}

/* --- A turn ----------------------------------------------------------------------------------- */

static void plan_look(loop_t *loop)
{
    uint64_t due = loop->turn_began + loop->turn_limit, glance = loop->runs + GLANCE_ITEMS;
    loop->look_at = loop->clock.is_virtual || glance > due ? due : glance;
}

static void adapt_turn_limit(loop_t *loop, int64_t last_turn)
{
    int64_t took = loop->now - last_turn, ran = (int64_t)(loop->runs - loop->turn_began);
    int64_t each = took / (ran ? ran : 1);
    unsigned limit =
        each > TURN_NS / TURN_ITEMS_MAX ? (unsigned)(TURN_NS / each) + 1 : TURN_ITEMS_MAX;
    loop->turn_limit = limit > loop->turn_limit * 2 ? loop->turn_limit * 2 : limit;
    if (loop->clock.is_virtual)
        loop->turn_limit = TURN_ITEMS_VIRTUAL;
    else
        loop->coarse_turn = clock_coarse();
    loop->ran_before = loop->runs - loop->turn_began;
    loop->turn_began = loop->runs;
    plan_look(loop);
}

bool loop__look(loop_t *loop)
{
    if (loop->runs - loop->turn_began >= loop->turn_limit || clock_coarse() != loop->coarse_turn)
        return true;
    plan_look(loop);
    return false;
}

/* When fds closed behind our back are looked for: now and then, while something has run since the
 * last time. A foreign loop around ours runs without our knowledge. */
static int64_t next_check(const loop_t *loop)
{
    const int64_t blind = 400 * NS_PER_MS;
    if (!loop->ops->check || loop->fd_waits + loop->watchers == 0)
        return TIME_NEVER;
    if (loop->check_wanted || loop->check_next > 0)
        return loop->check_at;
    return loop->exported ? loop->check_at + blind : TIME_NEVER;
}

/* Does what is best done while there is nothing else to do; returns how long until there is more of
 * it. */
static int64_t do_chores(loop_t *loop)
{
    int64_t limit = loop->client && loop->client->idle(loop) ? NS_PER_S : TIME_NEVER;
    int64_t when = next_check(loop);
    if (when <= loop->now || (when < TIME_NEVER && loop->clock.is_virtual)) {
        loop__fd_check(loop);
        when = next_check(loop);
    }
    return when < TIME_NEVER && when - loop->now < limit ? when - loop->now : limit;
}

/* How long to wait until `end`, or a timer; negative: for ever. */
static int64_t time_to_wait(loop_t *loop, int64_t end)
{
    int64_t deadline = loop__next_deadline(loop);
    end = deadline < end ? deadline : end;
    return end == TIME_NEVER ? -1 : end > loop->now ? end - loop->now : 0;
}

/* The chores may have made work, or found out that there is nothing left to wait for. *cut: they
 * are due again before the wait ends. */
static int64_t plan_wait(loop_t *loop, int64_t end, bool *cut)
{
    bool could = can_wake(loop);
    int64_t limit = do_chores(loop);
    *cut = false;
    if (!list_empty(&loop->ready) || loop__has_posts(loop) || (could && !can_wake(loop)))
        return 0;
    int64_t wait = time_to_wait(loop, end);
    *cut = !loop->clock.is_virtual && limit != TIME_NEVER && (wait < 0 || wait > limit);
    return *cut ? limit : wait;
}

static int poll_events(loop_t *loop, int64_t timeout)
{
    int n = loop->ops->wait(loop->selector, timeout, loop->event_buffer, EVENTS_MAX);
    loop->polls++;
    loop->events += (uint64_t)n;
    return n;
}

/* The virtual clock jumps to where the real one would have waited for; with nothing to jump to, it
 * waits. */
static int poll_virtually(loop_t *loop, int64_t timeout)
{
    int n = poll_events(loop, 0);
    if (n || loop__has_posts(loop) || timeout == 0)
        return n;
    int64_t when = time_after(loop->clock.virtual_now, timeout);
    if (when == TIME_NEVER)
        return poll_events(loop, -1);
    loop->clock.virtual_now = when;
    return 0;
}

static int poll_and_look_at_clock(loop_t *loop, int64_t timeout)
{
    int n = loop->clock.is_virtual ? poll_virtually(loop, timeout) : poll_events(loop, timeout);
    loop->now = loop__clock(loop);
    return n;
}

/* Waits for events, a timer or the end of the timeout. Chores that come due meanwhile are done on
 * the way: they are no reason to return to who called loop_run_once. */
static int wait_for_events(loop_t *loop, int64_t timeout, bool *waited)
{
    loop->now = loop__clock(loop);
    int64_t end = time_after(loop->now, timeout), before, wait;
    bool cut, interrupted;
    int n;
    do {
        before = loop->now;
        wait = plan_wait(loop, end, &cut);
        n = poll_and_look_at_clock(loop, wait);
        *waited |= wait != 0;
        interrupted = n == 0 && (wait < 0 || loop->now - before < wait);
        loop->check_wanted |= interrupted; /* a signal's handler has run */
    } while (cut && n == 0 && !interrupted);
    return n;
}

static void turn(loop_t *loop, int64_t timeout)
{
    int64_t last_turn = loop->now;
    bool idle = timeout && list_empty(&loop->ready) && !loop__has_posts(loop), waited = false;
    int n = idle ? wait_for_events(loop, timeout, &waited) : poll_and_look_at_clock(loop, 0);
    adapt_turn_limit(loop, waited ? loop->now : last_turn);
    loop__fd_dispatch(loop, loop->event_buffer, n);
    if (!idle && !loop->clock.is_virtual && loop->now >= next_check(loop))
        loop__fd_check(loop);
    if (loop__has_posts(loop))
        loop__posts_run(loop);
    if (loop->signals)
        loop__signals_dispatch(loop);
    if (loop__timers_due(loop))
        loop__expire_timers(loop);
}

/* --- A pass ----------------------------------------------------------------------------------- */

/* The address of the function that an item will call: the user's, or if we do not know it, ours. */
static uintptr_t function_of(const struct loop__ready *item)
{
    static loop_fn *(*const kinds[])(const struct loop__ready *) = {loop__call_fn, loop__watcher_fn,
                                                                    loop__signal_fn};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        loop_fn *fn = kinds[i](item);
        if (fn)
            return (uintptr_t)fn;
    }
    return (uintptr_t)item->run;
}

static void report_slow(loop_t *loop, uintptr_t function, int64_t took)
{
    loop__report(
        loop, 0, NULL, NULL,
        "slow: the callback %p ran for %lld ms without a pause (gdb's info symbol names it)",
        (void *)function, (long long)(took / NS_PER_MS));
}

void loop__run_timed(loop_t *loop, loop_fn *fn, void *arg)
{
    int64_t start = clock_real_now();
    fn(arg);
    int64_t took = clock_real_now() - start;
    if (took > loop->slow_ns)
        report_slow(loop, (uintptr_t)fn, took);
}

/* In debug mode each item is timed. Tasks report for themselves, as they know where they were. The
 * item may be gone when it has run. */
static void run_timed(loop_t *loop, struct loop__ready *item)
{
    uint64_t reported = loop->slow_reported;
    uintptr_t function = function_of(item);
    int64_t start = clock_real_now();
    item->run(item);
    int64_t took = clock_real_now() - start;
    if (took > loop->slow_ns && reported == loop->slow_reported)
        report_slow(loop, function, took);
}

/* Takes items out of the pass as it goes: what runs may take out others, or begin the next pass. */
static void run_pass(loop_t *loop)
{
    list_append(&loop->batch, &loop->ready);
    loop->passes++;
    loop->check_wanted |= !list_empty(&loop->batch);
    for (struct coloop__link *link; (link = loop->batch.head.next) != &loop->batch.head;) {
        struct loop__ready *item = container_of(link, struct loop__ready, link);
        list_remove_first(&loop->batch);
        loop->runs++;
        if (__builtin_expect(loop->debug, 0))
            run_timed(loop, item);
        else
            item->run(item);
    }
}

/* --- Runs ------------------------------------------------------------------------------------- */

static int begin(loop_t *loop)
{
    if (loop__forked(loop))
        return -ECHILD;
    if (loop->running || loop__thread.running)
        return -EBUSY;
    loop->running = true;
    loop__thread.running = loop;
    loop->around = loop__thread.inside;
    loop__thread.inside = loop;
    loop->now = loop__clock(loop);
    loop->look_at = loop->runs; /* the first turn comes at once */
    if (loop->turn_began == loop->runs)
        loop->turn_began--;
    loop->turn_limit = 1;
    loop->passes_chain = false;
    loop->check_wanted |= !loop->exported; /* its user has run */
    return 0;
}

/* Lets the exported fd tell a foreign loop when we have work. For work at hand it is woken: a timer
 * that is set to the past takes a moment to be noticed. */
static void arm_export(loop_t *loop)
{
    int64_t when = loop__next_deadline(loop), check = next_check(loop);
    when = check < when ? check : when;
    if (!list_empty(&loop->ready) || when <= loop__clock(loop))
        loop__wake(loop);
    else
        loop->ops->alarm(loop->selector, when);
}

void loop__ready_slow(loop_t *loop)
{
    if (!loop->running)
        arm_export(loop);
}

static void end(loop_t *loop)
{
    loop->running = false;
    loop__thread.running = NULL;
    loop__thread.inside = loop->around;
    if (loop->exported)
        arm_export(loop);
}

/* What to do when nothing is ready: 1: wait; 0: there is nothing to wait for; -EDEADLK: or never
 * will be. */
static int judge(loop_t *loop)
{
    if (can_wake(loop))
        return 1;
    if (!loop->client_work)
        return 0;
    return loop->signal_users ? 1 : -EDEADLK;
}

static int run_passes(loop_t *loop, const bool *done)
{
    while (!done || !*done) {
        if (list_empty(&loop->ready)) {
            int verdict = judge(loop);
            if (verdict <= 0)
                return verdict;
            turn(loop, atomic_load(&loop->stop) ? 0 : -1);
        } else if (loop__turn_is_due(loop)) {
            turn(loop, 0);
        }
        loop->passes_chain = true;
        run_pass(loop);
        if (atomic_load_explicit(&loop->stop, memory_order_relaxed))
            return has_work(loop);
    }
    return 0;
}

int loop__run_while(loop_t *loop, const bool *done)
{
    int rc = begin(loop);
    if (rc < 0)
        return rc;
    loop->until = done;
    rc = run_passes(loop, done);
    atomic_store(&loop->stop, false); /* it was meant for this run */
    if (rc == -EDEADLK && !loop->closing)
        loop->client->report_stuck(loop);
    end(loop);
    return rc;
}

int loop_run(loop_t *loop)
{
    return loop__run_while(loop, NULL);
}

int loop_run_once(loop_t *loop, int64_t timeout_ms)
{
    int rc = begin(loop);
    if (rc < 0)
        return rc;
    turn(loop, ms_to_ns(timeout_ms));
    run_pass(loop);
    atomic_store(&loop->stop, false);
    end(loop);
    return has_work(loop);
}

int loop_fd(loop_t *loop)
{
    int fd = loop->clock.is_virtual ? -ENOTSUP : loop->ops->fd(loop->selector);
    if (fd >= 0 && !loop->exported) {
        loop->exported = true;
        loop__ready_slow(loop);
    }
    return fd;
}
