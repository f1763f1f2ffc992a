/* call.c: scheduled calls.
 *
 * A handle is in one of three states: in the loop's heap, in its ready queue, or idle. Scheduling
 * moves it from any state; its deadline moves it to the ready queue; running and cancelling make it
 * idle. The heap's and the queue's parts of it have the same place, as a million handles are faster
 * when they are small; the first word tells which it is: odd, a pointer, or 0.
 *
 * A call that the user keeps no handle for has a record of the loop's: a handle that is reused, and
 * that runs by a function of its own. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>

enum { RECORDS_KEPT = 256 };

_Static_assert(offsetof(loop_handle_t, ready.link.next) ==
                       offsetof(loop_handle_t, timed.node.position) &&
                   sizeof(void *) == sizeof(size_t),
               "a handle's state is told by its first word");

static inline bool is_timed(const loop_handle_t *handle)
{
    return heap_contains(&handle->timed.node);
}

/* Timed or ready. */
static inline bool is_scheduled(const loop_handle_t *handle)
{
    return list_linked(&handle->ready.link);
}

static inline void make_ready(loop_handle_t *handle, loop_t *loop,
                              void (*run)(struct loop__ready *))
{
    handle->ready.run = run;
    loop__ready_push(loop, &handle->ready);
}

static void handle_run(struct loop__ready *item)
{
    loop_handle_t *handle = container_of(item, loop_handle_t, ready);
    handle->fn(handle->arg);
}

/* --- Records ---------------------------------------------------------------------------------- */

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
    loop_handle_t *record = record_reuse(loop);
    return record ? record : coloop__zalloc(sizeof *record);
}

static inline void record_free(loop_t *loop, loop_handle_t *record)
{
    if (loop->record_count >= RECORDS_KEPT) {
        coloop__free(record);
        return;
    }
    loop->record_count++;
    record->ready.link.next = loop->records;
    loop->records = &record->ready.link;
}

static void record_run(struct loop__ready *item)
{
    loop_handle_t *record = container_of(item, loop_handle_t, ready);
    loop_fn *fn = record->fn;
    void *arg = record->arg;
    record_free(loop__thread.inside, record);
    fn(arg);
}

loop_fn *loop__call_fn(const struct loop__ready *item)
{
    bool mine = item->run == handle_run || item->run == record_run;
    return mine ? container_of(item, const loop_handle_t, ready)->fn : NULL;
}

void loop__call_expire(struct coloop__heap_node *node)
{
    loop_handle_t *handle = container_of(node, loop_handle_t, timed.node);
    make_ready(handle, handle->timed.loop,
               heap_tag(node) == LOOP__RECORD ? record_run : handle_run);
}

/* --- Scheduling ------------------------------------------------------------------------------- */

static inline void call_soon(loop_t *loop, loop_fn *fn, void *arg, loop_handle_t *handle,
                             void (*run)(struct loop__ready *))
{
    handle->fn = fn;
    handle->arg = arg;
    make_ready(handle, loop, run);
}

static __attribute__((noinline)) int call_soon_slowly(loop_t *loop, loop_fn *fn, void *arg,
                                                      loop_handle_t *handle)
{
    loop_handle_t *target = handle ? handle : record_new(loop);
    if (!target)
        return -ENOMEM;
    loop_cancel(target);
    call_soon(loop, fn, arg, target, handle ? handle_run : record_run);
    return 0;
}

/* What is rare comes last, so that the usual call needs no stack frame. */
int loop_call_soon(loop_t *loop, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    if (!fn)
        return -EINVAL;
    if (handle && !is_scheduled(handle)) {
        call_soon(loop, fn, arg, handle, handle_run);
        return 0;
    }
    loop_handle_t *record = handle ? NULL : record_reuse(loop);
    if (!record)
        return call_soon_slowly(loop, fn, arg, handle);
    call_soon(loop, fn, arg, record, record_run);
    return 0;
}

/* There is room for the timer. */
static inline void call_at(loop_t *loop, int64_t when_ns, loop_fn *fn, void *arg,
                           loop_handle_t *handle, enum loop__timer_kind kind)
{
    handle->fn = fn;
    handle->arg = arg;
    handle->timed.loop = loop;
    heap_insert(&loop->timers, &handle->timed.node, when_ns, kind);
}

/* Room for the timer is made before the old call is given up, so that without memory nothing has
 * changed. */
static __attribute__((noinline)) int call_at_slowly(loop_t *loop, int64_t when_ns, loop_fn *fn,
                                                    void *arg, loop_handle_t *handle)
{
    loop_handle_t *target = handle ? handle : record_new(loop);
    if (!target)
        return -ENOMEM;
    bool moves = is_timed(target) && target->timed.loop == loop;
    if (!moves && coloop__heap_reserve(&loop->timers) < 0) {
        if (!handle)
            record_free(loop, target);
        return -ENOMEM;
    }
    loop_cancel(target);
    call_at(loop, when_ns, fn, arg, target, handle ? LOOP__HANDLE : LOOP__RECORD);
    if (loop->exported)
        loop__ready_slow(loop);
    return 0;
}

int loop_call_at(loop_t *loop, int64_t when_ns, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    if (!fn)
        return -EINVAL;
    if (!handle || is_scheduled(handle) || !heap_has_room(&loop->timers) || loop->exported)
        return call_at_slowly(loop, when_ns, fn, arg, handle);
    call_at(loop, when_ns, fn, arg, handle, LOOP__HANDLE);
    return 0;
}

int loop_call_later(loop_t *loop, int64_t ms, loop_fn *fn, void *arg, loop_handle_t *handle)
{
    int64_t when = time_after(loop__clock(loop), ms_to_ns(ms < 0 ? 0 : ms));
    return loop_call_at(loop, when, fn, arg, handle);
}

bool loop_cancel(loop_handle_t *handle)
{
    if (is_timed(handle))
        heap_remove(&handle->timed.loop->timers, &handle->timed.node);
    else if (is_scheduled(handle))
        list_remove(&handle->ready.link);
    else
        return false;
    return true;
}

/* --- At close --------------------------------------------------------------------------------- */

static void drop_from(struct list *queue)
{
    for (struct coloop__link *link = queue->head.next, *next; link != &queue->head; link = next) {
        struct loop__ready *item = container_of(link, struct loop__ready, link);
        next = link->next;
        if (item->run != handle_run && item->run != record_run)
            continue;
        list_remove(link);
        if (item->run == record_run)
            coloop__free(container_of(item, loop_handle_t, ready));
    }
}

static bool keep_timer(struct coloop__heap_node *node)
{
    bool keep = heap_tag(node) == LOOP__TIMER;
    if (heap_tag(node) == LOOP__RECORD)
        coloop__free(container_of(node, loop_handle_t, timed.node));
    return keep;
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
