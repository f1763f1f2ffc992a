/* join.c: waiting for tasks: one, all of many, or some of many.
 *
 * However many tasks are waited for, the waiter parks on one wait; each task has an observer that
 * counts it off and wakes the waiter once enough are done. So the cost is linear.
 *
 * A caller that is interrupted while it waits for tasks it owns cancels them and goes on waiting,
 * shielded: tasks end before the call that waits for them. */
#include "base/alloc.h"
#include "task/switch.h"

#include <coloop/group.h>

/* --- Waiting for one -------------------------------------------------------------------------- */

struct joiner {
    struct co__observer observer;
    struct co__wait wait;
};

static void joiner_done(struct co__observer *observer, co_task_t *task)
{
    (void)task;
    co__wake(&container_of(observer, struct joiner, observer)->wait, 0);
}

static void joiner_undo(struct co__wait *wait)
{
    list_remove(&container_of(wait, struct joiner, wait)->observer.link);
}

static int park_for(co_task_t *self, co_task_t *task, const char *call, const char *where)
{
    struct joiner joiner = {{.done = joiner_done}, {.task = self, .undo = joiner_undo}};
    list_push_back(&task->observers, &joiner.observer.link);
    co__reason(self, call, where, CO__TASK)->object = task;
    self->awaiting = task;
    int rc = task_park(self, &joiner.wait);
    self->awaiting = NULL;
    return rc;
}

static void join_shielded(co_task_t *self, co_task_t *task, const char *call, const char *where)
{
    co_shield() while (!task->done) if (park_for(self, task, call, where) < 0)
        co__check(self); /* the loop is being closed by force: this may end us */
}

/* Waits for the task; if the caller has been or is interrupted (rc < 0), it is cancelled first. */
static int join(co_task_t *self, co_task_t *task, int rc, const char *call, const char *where)
{
    if (rc == 0 && !task->done)
        rc = park_for(self, task, call, where);
    if (rc < 0 && !task->done) {
        co_task_cancel(task);
        join_shielded(self, task, call, where);
    }
    return rc;
}

/* Takes the result and the reference; a failure's message becomes the caller's. */
static int take(co_task_t *self, co_task_t *task)
{
    int result = task->result;
    task->observed = true;
    if (result < 0 && task->error && self)
        co__error_share(self, task);
    co_task_release(task);
    return result;
}

static bool reaches(co_task_t *task, const co_task_t *self, uint64_t search, int depth);

static bool a_child_reaches(const co_group_t *group, const co_task_t *self, uint64_t search,
                            int depth)
{
    for (struct coloop__link *link = group->children.next; link != &group->children;
         link = link->next)
        if (reaches(container_of(link, co_task_t, sibling), self, search, depth))
            return true;
    return false;
}

/* Whether the task is `self` or cannot end before it. A search has a number, by which each task is
 * looked at once. Gathers and groups within each other are followed to a depth that a coroutine's
 * stack bears; a cycle beyond it is found by the loop, when nothing else is left. */
static bool reaches(co_task_t *task, const co_task_t *self, uint64_t search, int depth)
{
    enum { DEPTH_MAX = 64 };
    for (; task && task->searched != search && depth < DEPTH_MAX; task = task->awaiting) {
        task->searched = search;
        if (task == self)
            return true;
        if (task->awaiting_group && a_child_reaches(task->awaiting_group, self, search, depth + 1))
            return true;
        for (size_t i = 0; i < task->awaiting_count; i++)
            if (reaches(task->awaiting_all[i], self, search, depth + 1))
                return true;
    }
    return false;
}

/* Whether somebody may wait for the task, now or as soon as a gather comes to it. */
static inline bool is_awaited(const co_task_t *task)
{
    return !list_empty(&task->observers) || task->gathered || (task->group && task->group->waiting);
}

/* Whether any of the tasks, where NULL is none, is `self` or waits for it. Nobody is looked for if
 * nobody waits for `self`: so a long queue of tasks, each behind the one before it, costs nothing.
 */
static bool wait_for_self(const co_task_t *self, co_task_t *const tasks[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tasks[i] == self)
            return true;
    if (!is_awaited(self))
        return false;
    uint64_t search = ++self->scheduler->searches;
    for (size_t i = 0; i < n; i++)
        if (reaches(tasks[i], self, search, 0))
            return true;
    return false;
}

static int await_task(co_task_t *task, const char *call, const char *where)
{
    co_task_t *self = co__current;
    if (!task)
        return -ENOMEM;
    if (!self)
        return -EPERM;
    int rc = co__check(self);
    if ((task == self || is_awaited(self)) && wait_for_self(self, &task, 1))
        return co__spent(self, -EDEADLK);
    rc = join(self, task, rc, call, where);
    int result = take(self, task);
    return co__spent(self, rc < 0 && result == -ECANCELED ? rc : result);
}

int co_await_task_here(co_task_t *task, const char *where)
{
    return await_task(task, "co_await_task", where);
}

int co_wait_for_here(co_task_t *task, int64_t ms, const char *where)
{
    int rc = 0;
    co_timeout(ms) rc = await_task(task, "co_wait_for", where);
    return rc;
}

/* --- Waiting for many ------------------------------------------------------------------------- */

struct watch {
    struct co__wait wait;
    int mode;
    bool parked;
    size_t left, done, failed;
    const co_task_t *first_failed;
};

struct watcher {
    struct co__observer observer;
    struct watch *watch;
};

static bool satisfied(const struct watch *watch)
{
    return watch->left == 0 || (watch->mode == CO_FIRST_COMPLETED && watch->done) ||
           (watch->mode == CO_FIRST_FAILED && watch->failed);
}

static void count_off(struct watch *watch, const co_task_t *task)
{
    watch->left--;
    watch->done++;
    if (task->result < 0 && watch->failed++ == 0)
        watch->first_failed = task;
}

static void watcher_done(struct co__observer *observer, co_task_t *task)
{
    struct watch *watch = container_of(observer, struct watcher, observer)->watch;
    count_off(watch, task);
    if (watch->parked && satisfied(watch)) {
        watch->parked = false;
        co__wake(&watch->wait, 0);
    }
}

static void watch_undo(struct co__wait *wait)
{
    container_of(wait, struct watch, wait)->parked = false;
}

static void attach(struct watch *watch, struct watcher *watchers, co_task_t *const tasks[],
                   size_t n)
{
    for (size_t i = 0; i < n; i++) {
        watchers[i] = (struct watcher){.observer.done = watcher_done, .watch = watch};
        if (!tasks[i])
            continue;
        watch->left++;
        if (tasks[i]->done)
            count_off(watch, tasks[i]);
        else
            list_push_back(&tasks[i]->observers, &watchers[i].observer.link);
    }
}

static void detach(struct watcher *watchers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list_linked(&watchers[i].observer.link))
            list_remove(&watchers[i].observer.link);
}

static int park_on_watch(co_task_t *self, struct watch *watch, size_t n, const char *call,
                         const char *where)
{
    watch->wait = (struct co__wait){.task = self, .undo = watch_undo};
    watch->parked = true;
    co__reason(self, call, where, CO__TASKS)->number = (int64_t)n;
    return co__park(self, &watch->wait);
}

/* Waits until the watch is satisfied: 0, the caller's code, or -ENOMEM. A NULL is passed
 * over. */
static int watch_tasks(co_task_t *self, struct watch *watch, co_task_t *const tasks[], size_t n,
                       const char *call, const char *where)
{
    enum { FEW = 8 };
    struct watcher few[FEW], *watchers = n <= FEW ? few : coloop__alloc(n * sizeof *watchers);
    int rc = 0;
    if (!watchers)
        return -ENOMEM;
    attach(watch, watchers, tasks, n);
    if (!satisfied(watch))
        rc = park_on_watch(self, watch, n, call, where);
    detach(watchers, n);
    if (watchers != few)
        coloop__free(watchers);
    return rc;
}

static size_t count_null(co_task_t *const tasks[], size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += !tasks[i];
    return count;
}

static void count_gathered(co_task_t *const tasks[], size_t n, int change)
{
    for (size_t i = 0; i < n; i++)
        if (tasks[i])
            tasks[i]->gathered += (unsigned)change;
}

/* Waits for tasks that the caller owns, unless it has been interrupted (rc < 0). Whatever comes in
 * between, all of them are done in the end. */
static int gather(co_task_t *self, int rc, struct watch *watch, co_task_t *const tasks[], size_t n,
                  const char *call, const char *where)
{
    count_gathered(tasks, n, 1);
    self->awaiting_all = tasks;
    self->awaiting_count = n;
    if (rc == 0 && !watch->failed)
        rc = watch_tasks(self, watch, tasks, n, call, where);
    bool give_up = rc < 0 || (watch->failed && watch->mode == CO_FIRST_FAILED);
    for (size_t i = 0; i < n && give_up; i++)
        if (tasks[i])
            co_task_cancel(tasks[i]);
    for (size_t i = 0; i < n; i++)
        if (tasks[i] && !tasks[i]->done)
            join_shielded(self, tasks[i], call, where);
    self->awaiting_count = 0;
    count_gathered(tasks, n, -1);
    return rc;
}

int co_gather_tasks_here(co_task_t *const tasks[], size_t n, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (!self)
        return rc;
    if (wait_for_self(self, tasks, n))
        return co__spent(self, -EDEADLK);
    struct watch watch = {.mode = CO_FIRST_FAILED, .failed = count_null(tasks, n)};
    int result = watch.failed ? -ENOMEM : 0;
    rc = gather(self, rc, &watch, tasks, n, "co_gather", where);
    for (size_t i = 0; i < n; i++) {
        if (!tasks[i])
            continue;
        bool first = tasks[i] == watch.first_failed;
        int own = take(first ? self : NULL, tasks[i]);
        result = first ? own : result;
    }
    return co__spent(self, rc < 0 ? rc : result);
}

int co_gather_all_here(co_task_t *const tasks[], size_t n, int results[], const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self), failed = 0;
    if (!self)
        return rc;
    if (wait_for_self(self, tasks, n))
        return co__spent(self, -EDEADLK);
    struct watch watch = {.mode = CO_ALL};
    rc = gather(self, rc, &watch, tasks, n, "co_gather_all", where);
    for (size_t i = 0; i < n; i++) {
        int result = tasks[i] ? take(NULL, tasks[i]) : -ENOMEM;
        failed += result < 0;
        if (results)
            results[i] = result;
    }
    return co__spent(self, rc < 0 ? rc : failed);
}

int co_wait_here(co_task_t *const tasks[], size_t n, int mode, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc < 0)
        return rc;
    if (n == 0 || mode < CO_ALL || mode > CO_FIRST_FAILED || count_null(tasks, n))
        return co__spent(self, -EINVAL);
    if (wait_for_self(self, tasks, n))
        return co__spent(self, -EDEADLK);
    struct watch watch = {.mode = mode};
    self->awaiting_all = tasks;
    self->awaiting_count =
        mode == CO_ALL ? n : 0; /* the others may end before a task that waits for us */
    rc = watch_tasks(self, &watch, tasks, n, "co_wait", where);
    self->awaiting_count = 0;
    return co__spent(self, rc < 0 ? rc : (int)watch.done);
}
