/* task.c: a task's life.
 *
 *     spawn --> ready <--> running <--> parked          (switch.c, park.c)
 *                             |
 *                             v
 *                           done --> gone, with its last reference
 *
 * References: one of the loop until the task is reaped, one for each handle, one for each pending
 * done callback. The struct lies on the task's own stack, which goes back to its pool with the last
 * reference. */
#include "base/alloc.h"
#include "task/core.h"

/* What every task begins with, and is again when a task has come to its end. */
static __attribute__((noinline)) void make(co_task_t *task, struct scheduler *scheduler)
{
    task->stack.fresh = false;
    task->ready.link.next = NULL;
    task->ready.run = co__run_item;
    task->scheduler = scheduler;
    task->loop = scheduler->loop;
    task->io.fd = -1;
    task->io.entry = &loop__fd_none;
    co__scopes_init(task);
    task->ending = task->unwound = false;
    task->ignored = task->ignored_order = 0;
    list_init(&task->observers);
    task->group = NULL;
    task->awaiting = NULL;
    task->awaiting_count = 0;
    task->awaiting_group = NULL;
    task->gathered = 0;
    task->searched = 0;
    task->waits = NULL;
    task->error = NULL;
    task->notes = 0;
    task->locals = NULL;
}

/* The task is about to be another one: what may have changed in make's part is put right. */
static inline __attribute__((always_inline)) void unmake(co_task_t *task)
{
    if (task->root.cancelled) { /* else all scopes were left as they were entered */
        co__scopes_init(task);
        task->ignored = 0;
    }
    if (task->error) {
        co__error_release(task->error);
        task->error = NULL;
    }
    stack_put(&task->stack, task->unwound);
}

/* From here on it is alive. */
static inline void begin(co_task_t *task, struct scheduler *scheduler, const char *name, co_fn *fn,
                         void *arg, const char *where)
{
    const co_task_t *parent = co__current;
    loop_t *loop = scheduler->loop;
    task->reason.call = task->reason.where = NULL;
    task->fn = fn;
    task->arg = arg;
    task->name = name;
    task->spawned_at = where;
    task->id = ++scheduler->last_id;
    task->parent = parent && parent->loop == loop ? parent->id : 0;
    task->result = -EINPROGRESS;
    task->done = task->observed = false;
    list_push_back(&scheduler->tasks, &task->link);
    loop->no_work = false;
    if (++loop->client_work > scheduler->peak)
        scheduler->peak = loop->client_work;
}

static inline int check_spawn(loop_t *loop, co_fn *fn)
{
    return !fn ? EINVAL : !loop ? EPERM : loop__forked(loop) ? ECHILD : 0;
}

/* A stack is at hand, and there is nothing to inherit. */
static inline bool is_simple(loop_t *loop, co_fn *fn)
{
    struct scheduler *scheduler = check_spawn(loop, fn) ? NULL : loop->client_data;
    return scheduler && stack_at_hand(&scheduler->pool) && !loop->closing &&
           !(co__current && co__current->locals);
}

static inline co_task_t *spawn_simply(loop_t *loop, const char *name, co_fn *fn, void *arg,
                                      const char *where)
{
    struct scheduler *scheduler = loop->client_data;
    co_task_t *task = (co_task_t *)stack_take(&scheduler->pool);
    begin(task, scheduler, name, fn, arg, where);
    loop__ready_push(loop, &task->ready);
    return task;
}

/* Starts the task: at the end of the ready queue, or, when eager, at once and before the caller
 * goes on. */
static void start(co_task_t *task, bool eager)
{
    loop_t *loop = task->loop;
    if (eager && loop == loop__thread.running)
        co__run_eagerly(task);
    else
        loop__ready_push(loop, &task->ready);
}

/* NULL with errno. */
static __attribute__((noinline)) co_task_t *spawn(loop_t *loop, const co_spawn_options_t *options,
                                                  const char *name, co_fn *fn, void *arg,
                                                  const char *where)
{
    const co_task_t *parent = co__current;
    int error = check_spawn(loop, fn);
    struct scheduler *scheduler = error ? NULL : loop->client_data;
    if (!error && !scheduler && !(scheduler = co__scheduler_new(loop)))
        error = ENOMEM;
    if (error) {
        errno = error;
        return NULL;
    }
    struct stack *stack = co__stack(scheduler, options ? options->stack_size : 0);
    if (!stack)
        return NULL;
    co_task_t *task = (co_task_t *)stack;
    if (task->stack.fresh)
        make(task, scheduler);
    begin(task, scheduler, options && options->name ? options->name : name, fn, arg, where);
    if (parent && parent->locals && parent->loop == loop)
        task->locals = co__locals_share(parent->locals);
    if (loop->closing) {
        loop->cancelled++;
        co_task_cancel(task);
    }
    task->references = 2;
    start(task, options && options->eager);
    return task;
}

co_task_t *co_spawn_here(loop_t *loop, const co_spawn_options_t *options, const char *name,
                         co_fn *fn, void *arg, const char *where)
{
    loop = loop ? loop : loop__current();
    if (options || !is_simple(loop, fn))
        return spawn(loop, options, name, fn, arg, where);
    co_task_t *task = spawn_simply(loop, name, fn, arg, where);
    task->references = 2;
    return task;
}

static __attribute__((noinline)) int go_slowly(const char *name, co_fn *fn, void *arg,
                                               const char *where)
{
    co_task_t *task = spawn(loop__current(), NULL, name, fn, arg, where);
    if (!task)
        return -errno;
    co_task_release(task);
    return 0;
}

int co_go_here(const char *name, co_fn *fn, void *arg, const char *where)
{
    loop_t *loop = loop__current();
    if (!is_simple(loop, fn))
        return go_slowly(name, fn, arg, where);
    spawn_simply(loop, name, fn, arg, where)->references = 1;
    return 0;
}

/* --- The end ---------------------------------------------------------------------------------- */

static void report_failure(co_task_t *task)
{
    const co_error_t *error = co_task_error(task);
    task->observed = true;
    loop__report(task->loop, task->result, error ? error->where : task->spawned_at, task,
                 error ? "task '%s' (#%llu) failed: %s" : "task '%s' (#%llu) failed", task->name,
                 (unsigned long long)task->id, error ? error->message : "");
}

/* Whoever runs the loop may have run it for this. */
static inline void count_out(loop_t *loop, const co_task_t *task)
{
    if (--loop->client_work == 0)
        loop->no_work = true;
    if (loop->until == &task->done || loop->client_work == 0)
        loop->passes_chain = false;
}

static inline void tell_everybody(co_task_t *task)
{
    if (task->error && task->error->public.code != task->result) {
        co__error_release(task->error);
        task->error = NULL;
    }
    while (!list_empty(&task->observers)) {
        struct coloop__link *link = task->observers.head.next;
        struct co__observer *observer = container_of(link, struct co__observer, link);
        list_remove_first(&task->observers);
        observer->done(observer, task);
    }
    if (task->group)
        co__group_child_done(task);
    if (task->locals)
        co__locals_drop(task);
    if (co__failed(task) && !task->observed && task->references == 1)
        report_failure(task);
}

void co__end(co_task_t *task)
{
    task->done = true;
    list_remove(&task->link);
    count_out(task->loop, task);
    tell_everybody(task);
    if (task->references == 1) {
        unmake(task);
        return;
    }
    list_push_back(&task->scheduler->held, &task->link);
    task->references--;
}

co_task_t *co_task_retain(co_task_t *task)
{
    if (task)
        task->references++;
    return task;
}

void co_task_release(co_task_t *task)
{
    if (!task)
        return;
    unsigned held = task->references--;
    if (held > 1)
        return;
    if (held == 0)
        loop__abort(
            "a task was awaited or released once more than its handle was held; it has ended");
    if (!task->done)
        loop__abort("task '%s' (#%llu) was released more often than it was held", task->name,
                    (unsigned long long)task->id);
    if (co__failed(task) && !task->observed) {
        task->references = 1; /* while the handler looks at it, which may retain it */
        report_failure(task);
        if (--task->references)
            return;
    }
    list_remove(&task->link);
    unmake(task);
}

/* The handler may give up the handle, and with it the task. */
void co__report_held(struct scheduler *scheduler)
{
    struct list told;
    list_init(&told);
    for (struct coloop__link *link; (link = list_pop_front(&scheduler->held));) {
        co_task_t *task = co_task_retain(container_of(link, co_task_t, link));
        list_push_back(&told, link);
        if (co__failed(task) && !task->observed)
            report_failure(task);
        co_task_release(task);
    }
    list_append(&scheduler->held, &told);
}

void co__drop_held(struct scheduler *scheduler)
{
    list_for_each (link, &scheduler->held)
        co__error_release(container_of(link, co_task_t, link)->error);
}

/* --- Looking and cancelling ------------------------------------------------------------------- */

co_task_t *co_self(void)
{
    return co__current;
}

bool co_task_done(const co_task_t *task)
{
    return task->done;
}

int co_task_result(const co_task_t *task)
{
    if (task->done)
        ((co_task_t *)task)->observed = true;
    return task->result;
}

void co_task_cancel(co_task_t *task)
{
    if (!task->done)
        co_scope_cancel(&task->root);
}

bool co_task_cancelled(const co_task_t *task)
{
    return task->root.cancelled;
}

const char *co_task_name(const co_task_t *task)
{
    return task->name;
}

uint64_t co_task_id(const co_task_t *task)
{
    return task->id;
}

/* --- Done callbacks --------------------------------------------------------------------------- */

struct callback {
    struct co__observer observer;
    struct loop__ready ready;
    co_task_t *task;
    co_done_fn *fn;
    void *arg;
};

static void callback_run(struct loop__ready *item)
{
    struct callback *callback = container_of(item, struct callback, ready);
    callback->fn(callback->task, callback->arg);
    co_task_release(callback->task);
    coloop__free(callback);
}

static void callback_done(struct co__observer *observer, co_task_t *task)
{
    struct callback *callback = container_of(observer, struct callback, observer);
    task->observed = true;
    loop__ready_push(task->loop, &callback->ready);
}

int co_task_add_done_callback(co_task_t *task, co_done_fn *fn, void *arg)
{
    if (!fn)
        return -EINVAL;
    struct callback *callback = coloop__zalloc(sizeof *callback);
    if (!callback)
        return -ENOMEM;
    *callback = (struct callback){
        .observer.done = callback_done, .ready.run = callback_run, .fn = fn, .arg = arg};
    callback->task = co_task_retain(task);
    if (task->done) {
        task->observed = true;
        loop__ready_push(task->loop, &callback->ready);
    } else {
        list_push_back(&task->observers, &callback->observer.link);
    }
    return 0;
}

static bool matches(const struct callback *callback, const co_task_t *task, co_done_fn *fn,
                    void *arg)
{
    return callback->task == task && callback->fn == fn && callback->arg == arg;
}

static void callback_drop(struct callback *callback)
{
    co_task_release(callback->task);
    coloop__free(callback);
}

static int remove_ready(struct list *queue, co_task_t *task, co_done_fn *fn, void *arg)
{
    int n = 0;
    for (struct coloop__link *link = queue->head.next, *next; link != &queue->head; link = next) {
        struct loop__ready *item = container_of(link, struct loop__ready, link);
        next = link->next;
        struct callback *callback = container_of(item, struct callback, ready);
        if (item->run != callback_run || !matches(callback, task, fn, arg))
            continue;
        list_remove(link);
        callback_drop(callback);
        n++;
    }
    return n;
}

int co_task_remove_done_callback(co_task_t *task, co_done_fn *fn, void *arg)
{
    int n = 0;
    co_task_retain(task); /* the last callback may hold the last reference */
    for (struct coloop__link *link = task->observers.head.next, *next;
         link != &task->observers.head; link = next) {
        struct co__observer *observer = container_of(link, struct co__observer, link);
        next = link->next;
        struct callback *callback = container_of(observer, struct callback, observer);
        if (observer->done != callback_done || !matches(callback, task, fn, arg))
            continue;
        list_remove(link);
        callback_drop(callback);
        n++;
    }
    if (task->done)
        n += remove_ready(&task->loop->batch, task, fn, arg) +
             remove_ready(&task->loop->ready, task, fn, arg);
    co_task_release(task);
    return n;
}

void co__drop_item(struct loop__ready *item)
{
    if (item->run == callback_run)
        coloop__free(container_of(item, struct callback, ready));
}
