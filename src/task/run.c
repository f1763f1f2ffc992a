/* run.c: running a loop for the sake of one task. */
#include "task/core.h"

#include <stdio.h>

int loop_run_until(loop_t *loop, co_task_t *task)
{
    if (!task)
        return -ENOMEM;
    int rc = task->done ? 0 : loop__run_while(loop, &task->done);
    if (!task->done)
        return rc == 1 ? -EINTR : rc;
    int result = co_task_result(task);
    co_task_release(task);
    return result;
}

/* The task's result; -EDEADLK if it has none and never will. Nobody else could read the message. */
static int take_result(loop_t *loop, co_task_t *task, int rc)
{
    const co_error_t *error = co_task_error(task);
    int result = task->done ? co_task_result(task) : rc;
    if (task->done && result < 0 && error)
        loop__report(loop, result, error->where, task, "%s", error->message);
    co_task_release(task);
    return result;
}

int co_run_here(const char *name, co_fn *fn, void *arg, const char *where)
{
    loop_t *loop = loop__thread.running ? NULL : loop_new(NULL);
    if (!loop)
        return loop__thread.running ? -EBUSY : -errno;
    co_task_t *task = co_spawn_here(loop, NULL, name, fn, arg, where);
    int rc = task ? loop_run(loop) : -errno;
    while (task && rc == 1 && !task->done) { /* loop_stop: it may clean up, and tell its result */
        co_task_cancel(task);
        rc = loop__run_while(loop, &task->done);
    }
    if (task)
        rc = take_result(loop, task, rc);
    loop_close(loop);
    return rc;
}
