/* future.c: a result that comes later. */
#include "base/alloc.h"
#include "sync/core.h"

/* In the lists of its future and of its loop until it has run: ready once the future is settled. */
struct future_callback {
    struct coloop__link link;
    struct loop__pending pending;
    loop_handle_t handle;
    loop_t *loop;
    co_future_t *future;
    co_future_fn *fn;
    void *arg;
};

static struct co__waiters *waiters_of(co_future_t *future)
{
    return container_of(&future->waiters, struct co__waiters, list);
}

static void take_away(struct future_callback *callback)
{
    loop_cancel(&callback->handle);
    list_remove(&callback->link);
    if (list_linked(&callback->pending.link))
        list_remove(&callback->pending.link);
    coloop__free(callback);
}

static void run_callback(void *arg)
{
    struct future_callback callback = *(struct future_callback *)arg;
    take_away(arg);
    callback.fn(callback.future, callback.arg);
}

static void drop(struct loop__pending *pending)
{
    take_away(container_of(pending, struct future_callback, pending));
}

static void make_ready(struct future_callback *callback)
{
    loop_call_soon(callback->loop, run_callback, callback, &callback->handle);
}

int co_future_resolve(co_future_t *future, int result, void *value)
{
    if (future->done)
        return -EALREADY;
    future->done = true;
    future->result = result;
    future->value = value;
    list_for_each (link, list_of(&future->callbacks))
        make_ready(container_of(link, struct future_callback, link));
    for (struct sync_waiter *waiter; (waiter = sync_first(waiters_of(future)));) {
        waiter->kind = result;
        waiter->object = value;
        co__sync_wake(waiter, 0);
    }
    return 0;
}

bool co_future_done(const co_future_t *future)
{
    return future->done;
}

int co_future_result(const co_future_t *future)
{
    return future->done ? future->result : -EINPROGRESS;
}

/* A waiter that was woken has result and value with it: the future may be gone when it runs. */
int co_await_future_here(co_future_t *future, void **value, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    struct sync_waiter waiter = {.kind = future->result, .object = future->value};
    if (rc == 0 && !future->done) {
        co__reason(self, "co_await_future", where, CO__OBJECT)->object = future;
        rc = co__sync_park(self, waiters_of(future), &waiter);
    }
    if (rc < 0)
        return rc;
    if (value)
        *value = waiter.object;
    return co__spent(self, waiter.kind);
}

int co_future_add_done_callback(co_future_t *future, co_future_fn *fn, void *arg)
{
    loop_t *loop = loop_current();
    if (!fn || !loop)
        return fn ? -EPERM : -EINVAL;
    struct future_callback *callback = coloop__zalloc(sizeof *callback);
    if (!callback)
        return -ENOMEM;
    *callback = (struct future_callback){
        .pending.drop = drop, .loop = loop, .future = future, .fn = fn, .arg = arg};
    list_push_back(list_of(&future->callbacks), &callback->link);
    list_push_back(&loop->pending, &callback->pending.link);
    if (future->done)
        make_ready(callback);
    return 0;
}

int co_future_remove_done_callback(co_future_t *future, co_future_fn *fn, void *arg)
{
    struct list *callbacks = list_of(&future->callbacks);
    int n = 0;
    for (struct coloop__link *link = callbacks->head.next, *next; link != &callbacks->head;
         link = next) {
        struct future_callback *callback = container_of(link, struct future_callback, link);
        next = link->next;
        if (callback->fn != fn || callback->arg != arg)
            continue;
        take_away(callback);
        n++;
    }
    return n;
}
