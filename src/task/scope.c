/* scope.c: regions of a task that can be cancelled or run out of time.
 *
 * A task's scopes form a list from the innermost out to the task's own, `root`. task->interrupt is
 * what follows from it: the code of the visible scope that was cancelled or expired first, where a
 * shield hides everything outside itself. It is computed anew when something changes, so that each
 * call just reads it.
 *
 * Deadlines cost no timer until the task parks: a scope's timer is set at the first park inside it
 * (`armed`). If a scope is armed, so are the visible ones around it. */
#include "task/core.h"

static void refresh(co_task_t *task)
{
    const co_scope_t *first = NULL;
    for (const co_scope_t *scope = task->scope; scope; scope = scope->outer) {
        if (scope->code && (!first || (int)(scope->order - first->order) < 0))
            first = scope;
        if (scope->shield)
            break;
    }
    task->interrupt = first ? first->code : 0;
}

/* The scope has been cancelled or has expired: its task is told, if no shield is in between. */
static void trigger(co_scope_t *scope, int code)
{
    co_task_t *task = scope->task;
    if (scope->code)
        return;
    scope->code = code;
    scope->order = ++task->order;
    refresh(task);
    if (task->interrupt && task->waits)
        co__interrupt(task, task->interrupt);
}

static void expire(struct loop__timer *timer)
{
    co_scope_t *scope = container_of(timer, co_scope_t, timer);
    scope->expired = true;
    trigger(scope, -ETIMEDOUT);
}

/* The scope could not be armed, and so none inside it counts as armed. */
static void disarm_up_to(const co_scope_t *failed)
{
    for (co_scope_t *scope = failed->task->scope; scope != failed->outer; scope = scope->outer)
        scope->armed = false;
}

static int arm(co_scope_t *scope)
{
    if (scope->deadline == TIME_NEVER || scope->expired || loop__timer_is_set(&scope->timer))
        return 0;
    return loop__timer_set(scope->task->loop, &scope->timer, scope->deadline);
}

int co__arm_scopes(co_task_t *task)
{
    for (co_scope_t *scope = task->scope; scope && !scope->armed; scope = scope->outer) {
        if (arm(scope) < 0) {
            disarm_up_to(scope);
            return -ENOMEM;
        }
        scope->armed = true;
        if (scope->shield)
            break;
    }
    return 0;
}

/* Field by field: to zero it all takes longer than everything else here. */
static inline void init(co_scope_t *scope, co_task_t *task, int64_t deadline)
{
    scope->task = task;
    scope->outer = NULL;
    scope->deadline = deadline;
    scope->timer.node.position = 0;
    scope->code = 0;
    scope->shield = scope->expired = scope->cancelled = scope->armed = false;
}

void co__scopes_init(co_task_t *task)
{
    init(&task->root, task, TIME_NEVER);
    task->root.armed = true;
    task->scope = &task->root;
    task->frames = NULL;
    task->interrupt = 0;
    task->order = 0;
}

/* --- Entering and leaving --------------------------------------------------------------------- */

static void unwind(struct co__frame *frame)
{
    co_scope_leave(container_of(frame, co_scope_t, frame));
}

static void enter(co_scope_t *scope, int64_t deadline, bool shield)
{
    co_task_t *task = co__current;
    if (task && task->scope == scope)
        loop__abort("co_scope_enter: the scope is entered already, by task '%s' (#%llu)",
                    task->name, (unsigned long long)task->id);
    init(scope, task, deadline);
    if (!task)
        return;
    scope->shield = shield && !task->scheduler->forcing;
    scope->timer.expire = expire;
    scope->frame.unwind = unwind;
    scope->frame.outer = task->frames;
    task->frames = &scope->frame;
    scope->outer = task->scope;
    task->scope = scope;
    if (shield)
        refresh(task);
}

static int64_t deadline_in(int64_t ms)
{
    if (ms < 0 || !co__current)
        return TIME_NEVER;
    loop_t *loop = co__current->loop;
    return ms == 0 ? loop->now : time_after(loop__clock(loop), ms_to_ns(ms));
}

void co_scope_enter(co_scope_t *scope, int64_t ms)
{
    enter(scope, deadline_in(ms), false);
}

co_scope_t *co__timeout_begin(co_scope_t *scope, int64_t ms)
{
    enter(scope, deadline_in(ms), false);
    return scope;
}

co_scope_t *co__timeout_at_begin(co_scope_t *scope, int64_t when_ns)
{
    enter(scope, when_ns, false);
    return scope;
}

co_scope_t *co__shield_begin(co_scope_t *scope, int64_t unused)
{
    (void)unused;
    enter(scope, TIME_NEVER, true);
    return scope;
}

void co_scope_leave(co_scope_t *scope)
{
    co_task_t *task = scope->task;
    if (!task)
        return;
    if (task != co__current || task->frames != &scope->frame)
        loop__abort("co_scope_leave: not the innermost scope of the running task, which is '%s'",
                    co__current ? co__current->name : "none");
    loop__timer_cancel(task->loop, &scope->timer);
    task->frames = scope->frame.outer;
    task->scope = scope->outer;
    scope->task = NULL;
    if (scope->code || scope->shield)
        refresh(task);
}

void co__lift_shields(co_task_t *task)
{
    for (co_scope_t *scope = task->scope; scope; scope = scope->outer)
        scope->shield = false;
    refresh(task);
}

/* --- From anywhere ---------------------------------------------------------------------------- */

void co_scope_cancel(co_scope_t *scope)
{
    if (!scope->task)
        return;
    scope->cancelled = true;
    trigger(scope, -ECANCELED);
}

/* No shield stands between the scope and what its task is doing. */
static bool is_visible(const co_scope_t *scope)
{
    const co_scope_t *inner = scope->task->scope;
    while (inner != scope && !inner->shield)
        inner = inner->outer;
    return inner == scope;
}

/* A scope around a parked task is armed at once, as the task will not come by to do it. */
void co_scope_set_deadline(co_scope_t *scope, int64_t when_ns)
{
    co_task_t *task = scope->task;
    if (!task || scope->expired)
        return;
    scope->deadline = when_ns;
    loop__timer_cancel(task->loop, &scope->timer);
    if (!scope->armed || when_ns == TIME_NEVER)
        return;
    if (arm(scope) == 0)
        return;
    disarm_up_to(scope);
    if (task->waits && is_visible(scope))
        co__interrupt(task, -ENOMEM);
}

bool co_scope_expired(const co_scope_t *scope)
{
    return scope->expired;
}

bool co_scope_cancelled(const co_scope_t *scope)
{
    return scope->cancelled;
}
