/* call.c: scheduled calls.
 *
 * A handle is in one of three states: idle; in the ready queue (ready.link is linked); timed (its
 * timer is set). Scheduling moves it from any state; the timer's expiry moves it to the ready
 * queue; running and cancelling make it idle. Handles of calls that the user keeps no handle for
 * are records of the loop, reused. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>

enum { RECORDS_KEPT = 256 };

/* An idle record, or NULL. */
static inline loop_handle_t *record_reuse(loop_t *loop)
{
    struct coloop__link *link = loop->records;
    if (!link)
        return NULL;
    loop->records = link->next;
    loop->record_count--;
    link->next = NULL;
    return container_of(link, loop_handle_t, ready.link);
}

static loop_handle_t *record_new(loop_t *loop)
{
    loop_handle_t *handle = record_reuse(loop);
    if (handle || !(handle = coloop__zalloc(sizeof *handle)))
        return handle;
    handle->flags = LOOP_RECORD;
    return handle;
}

static inline void record_free(loop_t *loop, loop_handle_t *handle)
{
    if (loop->record_count >= RECORDS_KEPT) {
        coloop__free(handle);
        return;
    }
    loop->record_count++;
    handle->ready.link.next = loop->records;
    loop->records = &handle->ready.link;
}

static void handle_run(struct loop__ready *item)
{
    loop_handle_t *handle = container_of(item, loop_handle_t, ready);
    loop_fn *fn = handle->fn;
    void *arg = handle->arg;
    if (handle->flags & LOOP_RECORD)
        record_free(handle->loop, handle);
    fn(arg);
}

static void handle_expire(struct loop__timer *timer)
{
    loop_handle_t *handle = container_of(timer, loop_handle_t, timer);
    loop__ready_push(handle->loop, &handle->ready);
}

static void handle_init(loop_handle_t *handle, loop_t *loop, loop_fn *fn, void *arg)
{
    handle->ready.run = handle_run;
    handle->loop = loop;
    handle->fn = fn;
    handle->arg = arg;
}

static inline bool is_scheduled(const loop_handle_t *handle)
{
    return list_linked(&handle->ready.link) || loop__timer_is_set(&handle->timer);
}

static __attribute__((noinline)) int call_soon_slowly(loop_t *loop, loop_fn *fn, void *arg,
                                                      loop_handle_t *handle)
{
    if (!handle && !(handle = record_new(loop)))
        return -ENOMEM;
    loop_cancel(handle);
    return loop_call_soon(loop, fn, arg, handle);
}

/* What is rare comes last, so that the usual call needs no stack frame. */
int loop_call_soon(loop_t *loop, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    if (!fn)
        return -EINVAL;
    if (!handle)
        handle = record_reuse(loop);
    if (!handle || is_scheduled(handle))
        return call_soon_slowly(loop, fn, arg, handle);
    handle_init(handle, loop, fn, arg);
    loop__ready_push(loop, &handle->ready);
    return 0;
}

/* Room for the timer is made before the old call is given up, so that without memory nothing has
 * changed. */
static __attribute__((noinline)) int call_at_slowly(loop_t *loop, int64_t when_ns, loop_fn *fn,
                                                    void *arg, loop_handle_t *handle)
{
    loop_handle_t *target = handle ? handle : record_new(loop);
    if (!target)
        return -ENOMEM;
    bool leaves_room = loop__timer_is_set(&target->timer) && target->loop == loop;
    if (!leaves_room && coloop__heap_reserve(&loop->timers) < 0) {
        if (!handle)
            record_free(loop, target);
        return -ENOMEM;
    }
    loop_cancel(target);
    return loop_call_at(loop, when_ns, fn, arg, target);
}

int loop_call_at(loop_t *loop, int64_t when_ns, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    if (!fn)
        return -EINVAL;
    if (!handle || is_scheduled(handle))
        return call_at_slowly(loop, when_ns, fn, arg, handle);
    handle_init(handle, loop, fn, arg);
    handle->timer.expire = handle_expire;
    return loop__timer_set(loop, &handle->timer, when_ns);
}

int loop_call_later(loop_t *loop, int64_t ms, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    int64_t when = time_after(loop__clock(loop), ms_to_ns(ms < 0 ? 0 : ms));
    return loop_call_at(loop, when, fn, arg, handle);
}

bool loop_cancel(loop_handle_t *handle)
{
    if (list_linked(&handle->ready.link)) {
        list_remove(&handle->ready.link);
        return true;
    }
    bool timed = loop__timer_is_set(&handle->timer);
    if (timed)
        loop__timer_cancel(handle->loop, &handle->timer);
    return timed;
}

/* --- At close --------------------------------------------------------------------------------- */

static void drop(loop_handle_t *handle)
{
    if (handle->flags & LOOP_RECORD)
        coloop__free(handle);
}

static void drop_from(struct list *queue)
{
    for (struct coloop__link *link = queue->head.next, *next; link != &queue->head; link = next) {
        struct loop__ready *item = container_of(link, struct loop__ready, link);
        next = link->next;
        if (item->run != handle_run)
            continue;
        list_remove(link);
        drop(container_of(item, loop_handle_t, ready));
    }
}

static bool keep_timer(struct coloop__heap_node *node)
{
    struct loop__timer *timer = container_of(node, struct loop__timer, node);
    if (timer->expire != handle_expire)
        return true;
    drop(container_of(timer, loop_handle_t, timer));
    return false;
}

void loop__drop_calls(loop_t *loop)
{
    for (struct coloop__link *link; (link = list_pop_front(&loop->pending));) {
        struct loop__pending *pending = container_of(link, struct loop__pending, link);
        pending->drop(pending);
    }
    drop_from(&loop->ready);
    drop_from(&loop->batch);
    coloop__heap_filter(&loop->timers, keep_timer);
    for (loop_handle_t *record; (record = record_reuse(loop));)
        coloop__free(record);
}

void loop__drop_items(loop_t *loop)
{
    list_append(&loop->ready, &loop->batch);
    for (struct coloop__link *link; (link = list_pop_front(&loop->ready));)
        if (loop->client)
            loop->client->drop(container_of(link, struct loop__ready, link));
}
