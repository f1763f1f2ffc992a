/* dump.c: every task of a loop as a tree, written for a person with a hang to debug.
 *
 * The tree is made from the ids of the spawning tasks at the time of the dump: tasks lie in the
 * order of their ids, so that a parent is found by bisection, and children follow their parent in
 * one walk. */
#include "base/alloc.h"
#include "task/core.h"

#include <coloop/debug.h>

#include <stdlib.h>

struct node {
    const co_task_t *task;
    struct node *first, *last, *next; /* children, and the next child of the same parent */
};

static struct node *find(struct node *nodes, size_t n, uint64_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nodes[middle].task->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && nodes[low].task->id == id ? &nodes[low] : NULL;
}

static void add_child(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static const char *state_name(const co_task_t *task)
{
    return task->waits ? "waiting" : list_linked(&task->ready.link) ? "ready" : "running";
}

static size_t stack_used(const co_task_t *task)
{
    const void *top = task;
    if (task == co__current)
        return (size_t)((const char *)top - (const char *)__builtin_frame_address(0));
    return coloop__context_depth(&task->stack.context, top);
}

static void write_task(FILE *file, const co_task_t *task, int depth)
{
    fprintf(file, "%*s'%s' (#%llu) %s", depth * 2, "", task->name, (unsigned long long)task->id,
            state_name(task));
    if (task->waits) {
        char text[256];
        co__describe(task, text, sizeof text);
        double waited = (double)(clock_now(&task->loop->clock) - task->since) / (double)NS_PER_S;
        fprintf(file, " in %s at %s for %.3f s", text, task->reason.where, waited);
    }
    fprintf(file, "%s; stack %zu of %zu bytes; spawned at %s\n",
            task->root.cancelled ? ", cancelled" : "", stack_used(task),
            (size_t)((const char *)task - task->stack.low), task->spawned_at);
}

/* Depth first, without recursion: the dump may be called from a coroutine with little stack left. A
 * node points to its parent through `last` once its children have been taken from it. */
static void write_tree(FILE *file, struct node *root)
{
    struct node *node = root->first;
    int depth = 1;
    root->last = NULL;
    for (struct node *parent = root; node;) {
        write_task(file, node->task, depth);
        if (node->first) {
            struct node *child = node->first;
            node->last = parent;
            parent = node;
            node = child;
            depth++;
            continue;
        }
        while (node && !node->next && parent != root) {
            node = parent;
            parent = node->last;
            depth--;
        }
        node = node->next;
    }
}

static size_t collect(const struct scheduler *scheduler, struct node *nodes)
{
    size_t n = 0;
    list_for_each (link, &scheduler->tasks)
        nodes[n++] = (struct node){.task = container_of(link, const co_task_t, link)};
    return n;
}

static void write_tasks(FILE *file, const struct scheduler *scheduler, size_t count)
{
    struct node *nodes = coloop__alloc(count * sizeof *nodes);
    struct node root = {0};
    if (!nodes) { /* without a tree, then */
        list_for_each (link, &scheduler->tasks)
            write_task(file, container_of(link, const co_task_t, link), 1);
        return;
    }
    size_t n = collect(scheduler, nodes);
    for (size_t i = 0; i < n; i++) {
        struct node *parent = find(nodes, n, nodes[i].task->parent);
        add_child(parent ? parent : &root, &nodes[i]);
    }
    write_tree(file, &root);
    coloop__free(nodes);
}

void loop_dump(loop_t *loop, FILE *file)
{
    file = file ? file : stderr;
    if (!loop) {
        fputs("no loop\n", file);
        return;
    }
    fprintf(file,
            "loop %p (%s%s): %zu tasks, %zu ready, %zu timers, %zu watchers, %zu waits for fds\n",
            (void *)loop, loop->ops->name, loop->clock.is_virtual ? ", virtual time" : "",
            loop->client_work, list_count(&loop->ready) + list_count(&loop->batch),
            loop->timers.count, loop->watchers, loop->fd_waits);
    if (loop->client_data)
        write_tasks(file, loop->client_data, loop->client_work);
}
