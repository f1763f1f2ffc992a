/* local.c: task-local values.
 *
 * What a task has set is one immutable table, shared by counting with every task that inherited it;
 * setting a value makes a new table. So a spawn costs one increment, and cannot fail for it. A
 * value is shared by the tables it is in, and destroyed with the last one. */
#include "base/alloc.h"
#include "task/core.h"

struct value {
    const co_local_t *key;
    void *pointer;
    void (*destructor)(void *);
    unsigned references; /* tables it is in */
};

struct co__locals {
    unsigned references; /* tasks that have it */
    size_t count;
    struct value *values[]; /* in the order of setting */
};

static struct value *find(const struct co__locals *locals, const co_local_t *key)
{
    for (size_t i = 0; locals && i < locals->count; i++)
        if (locals->values[i]->key == key)
            return locals->values[i];
    return NULL;
}

/* On the loop's own stack, outside any coroutine: a destructor must not suspend the task that
 * happens to run. */
static void free_locals(void *arg)
{
    struct co__locals *locals = arg;
    for (size_t i = locals->count; i-- > 0;) {
        struct value *value = locals->values[i];
        if (--value->references)
            continue;
        if (value->destructor)
            value->destructor(value->pointer);
        coloop__free(value);
    }
    coloop__free(locals);
}

struct co__locals *co__locals_share(struct co__locals *locals)
{
    locals->references++;
    return locals;
}

static void release(struct co__locals *locals)
{
    if (locals && --locals->references == 0)
        co__outside(free_locals, locals);
}

void co__locals_drop(co_task_t *task)
{
    struct co__locals *locals = task->locals;
    task->locals = NULL;
    release(locals);
}

void co__locals_forget(co_task_t *task)
{
    struct co__locals *locals = task->locals;
    task->locals = NULL;
    if (!locals || --locals->references)
        return;
    for (size_t i = 0; i < locals->count; i++)
        if (--locals->values[i]->references == 0)
            coloop__free(locals->values[i]);
    coloop__free(locals);
}

void *co_local_get(const co_local_t *key)
{
    const struct value *value = co__current ? find(co__current->locals, key) : NULL;
    return value ? value->pointer : NULL;
}

/* The table `from` (or none) without `old` and with a value more, if pointer is not NULL. */
static struct co__locals *derive(const struct co__locals *from, const struct value *old,
                                 const co_local_t *key, void *pointer)
{
    size_t n = from ? from->count : 0;
    struct co__locals *to = coloop__zalloc(sizeof *to + (n + 1) * sizeof to->values[0]);
    struct value *value = pointer ? coloop__zalloc(sizeof *value) : NULL;
    if (!to || (pointer && !value)) {
        coloop__free(to);
        coloop__free(value);
        return NULL;
    }
    to->references = 1;
    for (size_t i = 0; i < n; i++) {
        if (from->values[i] == old)
            continue;
        to->values[to->count++] = from->values[i];
        from->values[i]->references++;
    }
    if (value) {
        *value = (struct value){key, pointer, key->destructor, 1};
        to->values[to->count++] = value;
    }
    return to;
}

int co_local_set(const co_local_t *key, void *pointer)
{
    co_task_t *self = co__current;
    if (!self || !key)
        return self ? -EINVAL : -EPERM;
    struct co__locals *before = self->locals;
    const struct value *old = find(before, key);
    if (pointer == (old ? old->pointer : NULL))
        return 0;
    struct co__locals *after = derive(before, old, key, pointer);
    if (!after)
        return -ENOMEM;
    self->locals = after;
    release(before);
    return 0;
}
