/* group.c: children that never outlive their block.
 *
 * A child knows its group, and the group its children, through links in the tasks: no memory is
 * allocated, however many come and go. co__end tells the group of each child's end.
 *
 * Invariants: count is the length of children; whoever waits is woken when it becomes 0; after the
 * first failure or a cancellation (`ending`) no child is added, so that it does become 0. */
#include "task/core.h"

#include <coloop/group.h>

void co_group_init(co_group_t *group)
{
    *group = (co_group_t){0};
}

static struct list *children_of(co_group_t *group)
{
    return list_of(&group->children);
}

void co_group_cancel(co_group_t *group)
{
    group->ending = true;
    list_for_each (link, children_of(group))
        co_task_cancel(container_of(link, co_task_t, sibling));
    co_scope_cancel(&group->scope);
}

int co_group_spawn_here(co_group_t *group, const char *name, co_fn *fn, void *arg,
                        const char *where)
{
    if (group->ending)
        return -ECANCELED;
    co_task_t *task = co_spawn_here(NULL, NULL, name, fn, arg, where);
    if (!task)
        return -errno;
    task->group = group;
    list_push_back(children_of(group), &task->sibling);
    group->count++;
    co_task_release(task);
    return 0;
}

static void fail(co_group_t *group, co_task_t *task)
{
    group->result = task->result;
    group->error = task->error;
    if (task->error)
        task->error->references++;
    task->observed = true;
    co_group_cancel(group);
}

/* A failure after the first stays unobserved, and so is reported. */
void co__group_child_done(co_task_t *task)
{
    co_group_t *group = task->group;
    list_remove(&task->sibling);
    task->group = NULL;
    group->count--;
    if (co__failed(task) && !group->result)
        fail(group, task);
    struct co__wait *waiting = group->waiting;
    if (group->count == 0 && waiting) {
        group->waiting = NULL;
        co__wake(waiting, 0);
    }
}

/* --- Waiting ---------------------------------------------------------------------------------- */

struct group_waiter {
    struct co__wait wait;
    co_group_t *group;
};

static void undo(struct co__wait *wait)
{
    container_of(wait, struct group_waiter, wait)->group->waiting = NULL;
}

static int park_for(co_task_t *self, co_group_t *group, const char *where)
{
    struct group_waiter waiter = {{.task = self, .undo = undo}, group};
    if (group->waiting)
        loop__abort("co_group_wait by task '%s' at %s: another task waits for this group",
                    self->name, where);
    group->waiting = &waiter.wait;
    self->awaiting_group = group;
    co__reason(self, "co_group_wait", where, CO__TASKS)->number = (int64_t)group->count;
    int rc = co__park(self, &waiter.wait);
    self->awaiting_group = NULL;
    return rc;
}

/* While the loop is closed by force shields do not hold. The children end first all the same, as
 * they know the group; so this task lets them run. */
static void wait_shielded(co_task_t *self, co_group_t *group, const char *where)
{
    co_shield() while (group->count)
    {
        if (park_for(self, group, where) == 0)
            continue;
        co__take_a_turn(self, &self->reason);
    }
}

static int take(co_task_t *self, co_group_t *group)
{
    int result = group->result;
    if (group->keeps_note)
        co__error_release(group->error);
    else if (group->error)
        co__error_take(self, group->error);
    group->result = 0;
    group->error = NULL;
    group->ending = false;
    return result;
}

int co_group_wait_here(co_group_t *group, const char *where)
{
    co_task_t *self = co__current;
    if (!self)
        return -EPERM;
    if (self->group == group)
        return co__spent(self, -EDEADLK);
    int rc = self->interrupt;
    while (rc == 0 && group->count) /* a child may have come since we were woken */
        rc = park_for(self, group, where);
    if (group->count) {
        co_group_cancel(group);
        wait_shielded(self, group, where);
    }
    int result = take(self, group);
    if (co__check(self) == 0) /* it may end the task by force, and so comes when no child is left */
        co__spend(self);
    return result ? result : rc;
}

/* --- The block form --------------------------------------------------------------------------- */

/* Takes the block off the task's frames and waits; after co_group_end, or a wait that is under way,
 * nothing. What was noted in a block that is left early is why, and stays the task's message. */
static void finish(co_group_t *group, bool early)
{
    const char *where = group->where;
    if (!where)
        return;
    group->where = NULL;
    co_scope_leave(&group->scope);
    co__current->frames = group->frame.outer;
    group->keeps_note = early && co__current->notes != group->notes;
    if (early)
        co_group_cancel(group);
    int rc = co_group_wait_here(group, where);
    if (group->rc)
        *group->rc = rc;
}

static void unwind(struct co__frame *frame)
{
    finish(container_of(frame, co_group_t, frame), true);
}

co_group_t *co__group_begin(co_group_t *group, int *rc, const char *where)
{
    co_group_init(group);
    group->rc = rc;
    if (!co__current) {
        if (rc)
            *rc = -EPERM;
        return NULL;
    }
    group->where = where;
    group->notes = co__current->notes;
    group->frame = (struct co__frame){co__current->frames, unwind};
    co__current->frames = &group->frame;
    co_scope_enter(&group->scope, -1);
    return group;
}

co_group_t *co__group_end(co_group_t *group)
{
    finish(group, false);
    return NULL;
}

void co__group_leave(co_group_t *group)
{
    finish(group, true);
}
