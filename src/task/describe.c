/* describe.c: tasks in words, for reports. */
#include "task/core.h"

#include <stdio.h>

static void describe_fd(const co_task_t *task, char *text, size_t size)
{
    const struct co__io *io = &task->io;
    const char *what = io->fd_wait.events == SELECT_READ    ? "readable"
                       : io->fd_wait.events == SELECT_WRITE ? "writable"
                                                            : "readable or writable";
    snprintf(text, size, "%s, for fd %d to be %s", task->reason.call, io->fd, what);
}

static void describe_time(const co_task_t *task, char *text, size_t size)
{
    const struct co__reason *reason = &task->reason;
    if (reason->number == TIME_NEVER)
        snprintf(text, size, "%s, for ever", reason->call);
    else
        snprintf(text, size, "%s, %.3f s to go", reason->call,
                 (double)(reason->number - task->loop->now) / (double)NS_PER_S);
}

void co__describe(const co_task_t *task, char *text, size_t size)
{
    const struct co__reason *reason = &task->reason;
    if (!task->waits) {
        snprintf(text, size, list_linked(&task->ready.link) ? "ready to run" : "running");
        return;
    }
    const co_task_t *other = reason->object;
    if (reason->subject == CO__OWNED)
        other = *(co_task_t *const *)reason->object;
    switch (reason->subject) {
    case CO__FD:
        describe_fd(task, text, size);
        break;
    case CO__TASK:
        snprintf(text, size, "%s, for task '%s' (#%llu)", reason->call, other->name,
                 (unsigned long long)other->id);
        break;
    case CO__TASKS:
        snprintf(text, size, "%s, for %lld tasks", reason->call, (long long)reason->number);
        break;
    case CO__TIME:
        describe_time(task, text, size);
        break;
    case CO__CASES:
        snprintf(text, size, "%s, for one of %lld cases", reason->call, (long long)reason->number);
        break;
    case CO__OWNED:
        snprintf(text, size, "%s, held by %s%s%s", reason->call, other ? "task '" : "readers",
                 other ? other->name : "", other ? "'" : "");
        break;
    default:
        snprintf(text, size, "%s", reason->call ? reason->call : "nothing yet");
    }
}

void co__report_stuck(loop_t *loop)
{
    enum { TOLD_MAX = 20 };
    struct scheduler *scheduler = loop->client_data;
    size_t told = 0;
    list_for_each (link, &scheduler->tasks) {
        co_task_t *task = container_of(link, co_task_t, link);
        char text[256];
        if (told++ == TOLD_MAX)
            break;
        co__describe(task, text, sizeof text);
        loop__report(loop, -EDEADLK, task->reason.where, task,
                     "deadlock: task '%s' (#%llu) waits in %s, and nothing can wake it "
                     "(call loop_hold before if another thread will)",
                     task->name, (unsigned long long)task->id, text);
    }
    if (loop->client_work > TOLD_MAX)
        loop__report(loop, -EDEADLK, NULL, NULL,
                     "deadlock: and %zu more tasks (loop_dump shows all)",
                     loop->client_work - TOLD_MAX);
}
