/* future.c: a result that comes later. */
#include "base/alloc.h"
#include "sync/core.h"

struct future_callback {
    struct coloop__link link;
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

static void run_callback(void *arg)
{
    struct future_callback callback = *(struct future_callback *)arg;
    coloop__free(arg);
    callback.fn(callback.future, callback.arg);
}

static void make_ready(struct future_callback *callback)
{
    loop_call_soon(callback->loop, run_callback, callback, &callback->handle);
}

int co_future_resolve(co_future_t *future, int result, void *value)
{
    struct coloop__link *link;
    if (future->done)
        return -EALREADY;
    future->done = true;
    future->result = result;
    future->value = value;
    while ((link = list_pop_front(list_of(&future->callbacks))))
        make_ready(container_of(link, struct future_callback, link));
    sync__wake_all(waiters_of(future), 0);
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

int co_await_future_here(co_future_t *future, void **value, const char *where)
{
    co_task_t *self = co__current;
    int rc = co__check(self);
    if (rc == 0 && !future->done) {
        struct sync_waiter waiter = {0};
        struct co__reason reason = {"co_await_future", where, CO__OBJECT, .object = future};
        rc = sync__park(self, waiters_of(future), &waiter, &reason);
    }
    if (rc < 0)
        return rc;
    if (value)
        *value = future->value;
    return future->result;
}

int co_future_add_done_callback(co_future_t *future, co_future_fn *fn, void *arg)
{
    loop_t *loop = loop_current();
    if (!fn || !loop)
        return fn ? -EPERM : -EINVAL;
    struct future_callback *callback = coloop__zalloc(sizeof *callback);
    if (!callback)
        return -ENOMEM;
    callback->loop = loop;
    callback->handle.flags = LOOP_OWNS_ARG;
    callback->future = future;
    callback->fn = fn;
    callback->arg = arg;
    if (future->done)
        make_ready(callback);
    else
        list_push_back(list_of(&future->callbacks), &callback->link);
    return 0;
}
