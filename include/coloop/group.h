/* group.h: children that never outlive their block.
 *
 *     int rc;
 *     co_group(g, &rc) {
 *         co_group_spawn(g, fetch, a);
 *         co_group_spawn(g, fetch, b);
 *     }                                  waits for both here; rc is 0 or the first failure
 *
 * The first child that fails cancels the others, and the block's own body: suspending calls in it
 * return -ECANCELED then. Later failures go to the exception handler. A child that ends with
 * -ECANCELED after it was cancelled has not failed. Groups nest; a child may spawn into its own
 * group. A group is used on one loop. */
#ifndef COLOOP_GROUP_H
#define COLOOP_GROUP_H

#include <coloop/scope.h>
#include <coloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A group, in the memory of who waits for it; only for co_group_* to look into. It stays in place
 * and alive until co_group_wait or the end of the block. */
typedef struct co_group {
    struct coloop__link children; /* list head */
    size_t count;
    int result;             /* of the first child that failed, or 0 */
    bool ending;            /* cancelled: no more children */
    void *error;            /* the message of the first failure */
    void *waiting;          /* the wait of who waits for the children */
    struct co__frame frame; /* the block form's */
    co_scope_t scope;
    int *rc;
    const char *where;
    unsigned notes;  /* of the task, when the block began */
    bool keeps_note; /* the task's message stays, whatever the children's */
} co_group_t;

/* Makes the group empty. Needs no counterpart: a group without children holds nothing. */
COLOOP_API void co_group_init(co_group_t *group);

/* Starts fn(arg) as a child. Does not suspend. 0; -ECANCELED when the group was cancelled or a
 * child has failed; -ENOMEM; -EINVAL: fn is NULL; -EPERM: no loop. */
#define co_group_spawn(group, fn, arg) co_group_spawn_here((group), #fn, (fn), (arg), CO_HERE)
COLOOP_API int co_group_spawn_here(co_group_t *group, const char *name, co_fn *fn, void *arg,
                                   const char *where);

/* Waits until no child is left. Suspends. Returns 0 or the first failure, whose message becomes the
 * caller's (co_task_error). When the caller is cancelled or out of time meanwhile, all children are
 * cancelled and waited for, and the caller's code is returned if none had failed. -EDEADLK: the
 * caller is one of its children; -EPERM: outside a coroutine; -ENOMEM as in sync.h, after all
 * children were cancelled and waited for. Only one task may wait at a time: a second one aborts.
 * The group can be used again. */
#define co_group_wait(group) co_group_wait_here((group), CO_HERE)
COLOOP_API int co_group_wait_here(co_group_t *group, const char *where);

/* Cancels all children, and the body in the block form. Does not suspend. */
COLOOP_API void co_group_cancel(co_group_t *group);

/* The block form: declares `co_group_t *g` for the block that follows and waits at its end; *rc (rc
 * may be NULL) gets what co_group_wait returns. Leaving the block early, by break, return or
 * co_throw, cancels the children and waits for them; continue goes to its end. *rc is set when they
 * have ended, whatever the block has put there; children that were cancelled and say so have not
 * failed: it is 0 after co_group_cancel and after a break, if nothing else failed. A message that
 * was noted in a block left early (return co_fail(...)) stays the task's, whatever the children
 * note. Outside a coroutine the block is skipped, and *rc is -EPERM. */
#define co_group(g, rc) CO__GROUP(g, (rc), __COUNTER__)
#define CO__GROUP(g, rc, n) CO__GROUP_(g, rc, COLOOP__JOIN(co__group_, n))
#define CO__GROUP_(g, rc, group)                                                                   \
    for (co_group_t group __attribute__((cleanup(co__group_leave))),                               \
         *g = co__group_begin(&group, rc, CO_HERE);                                                \
         g; g = co__group_end(g))
COLOOP_API co_group_t *co__group_begin(co_group_t *group, int *rc, const char *where);
COLOOP_API co_group_t *co__group_end(co_group_t *group);
COLOOP_API void co__group_leave(co_group_t *group);

#ifdef __cplusplus
}
#endif
#endif
