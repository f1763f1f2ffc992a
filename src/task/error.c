/* error.c: messages that travel with errors, co_try and co_throw, and co_defer.
 *
 * What a task has to undo is one list of frames, innermost first: scopes, deferred calls, and
 * co_try, which is where unwinding ends. Each frame takes itself off the list when it is undone.
 * Outside coroutines the thread has a list of its own. */
#include "base/alloc.h"
#include "task/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct co__frame *thread_frames;

static inline struct co__frame **frames_of(co_task_t *task)
{
    return task ? &task->frames : &thread_frames;
}

/* --- Notes ------------------------------------------------------------------------------------ */

void co__error_release(struct co__error *error)
{
    if (error && --error->references == 0)
        coloop__free(error);
}

void co__error_take(co_task_t *task, struct co__error *error)
{
    co__error_release(task->error);
    task->error = error;
    task->notes++;
}

void co__error_share(co_task_t *to, const co_task_t *from)
{
    struct co__error *error = from->error;
    if (error)
        error->references++;
    co__error_take(to, error);
}

static int negative(int err)
{
    return err > 0 ? -err : err == 0 ? -EINVAL : err;
}

/* Without memory for the text the code still stands. */
static void note(co_task_t *task, const char *where, int err, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    size_t size = length < 0 ? 1 : (size_t)length + 1;
    struct co__error *error = coloop__zalloc(sizeof *error + size);
    if (error) {
        vsnprintf(error->text, size, format, again);
        error->public = (co_error_t){err, error->text, where};
        error->references = 1;
    }
    va_end(again);
    co__error_take(task, error);
}

int co_fail_here(const char *where, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (co__current)
        note(co__current, where, negative(err), format, args);
    va_end(args);
    return negative(err);
}

const co_error_t *co_task_error(const co_task_t *task)
{
    return task->error ? &task->error->public : NULL;
}

/* --- Trying and throwing ---------------------------------------------------------------------- */

struct attempt {
    struct co__frame frame; /* unwind is NULL */
    int code;
    const loop_t *running; /* outside coroutines: the loop that ran then, which no throw may pass */
    struct exceptions exceptions; /* the C++ runtime's state, as it was then */
    jmp_buf env;
};

int co_try(co_fn *fn, void *arg)
{
    struct attempt attempt = {.frame.outer = *frames_of(co__current)};
    attempt.running = loop__thread.running;
    const struct exceptions *now = coloop__exceptions();
    if (now)
        attempt.exceptions = *now;
    *frames_of(co__current) = &attempt.frame;
    if (_setjmp(attempt.env) == 0)
        attempt.code = fn(arg);
    *frames_of(co__current) = attempt.frame.outer;
    return attempt.code;
}

static void unwind_to_try(struct co__frame **frames)
{
    while (*frames && (*frames)->unwind)
        (*frames)->unwind(*frames);
}

/* To the nearest co_try, or to the task's end. */
static __attribute__((noreturn)) void unwind(co_task_t *task, int err)
{
    struct co__frame **frames = frames_of(task);
    if (task && task->ending)
        co__unwind_all(task, err);
    unwind_to_try(frames);
    if (*frames) {
        struct attempt *attempt = container_of(*frames, struct attempt, frame);
        struct exceptions *now = coloop__exceptions();
        attempt->code = err;
        if (now)
            coloop__exceptions_restore(now, attempt->exceptions);
        _longjmp(attempt->env, 1);
    }
    co__finish_by_throw(task, err);
}

void co__unwind_all(co_task_t *task, int err)
{
    for (unwind_to_try(&task->frames); task->frames; unwind_to_try(&task->frames))
        task->frames = task->frames->outer;
    co__finish_by_throw(task, err);
}

/* Whether a throw outside coroutines has a co_try to go to, without passing a loop that runs. */
static bool can_be_caught(void)
{
    const struct co__frame *frame = thread_frames;
    while (frame && frame->unwind)
        frame = frame->outer;
    return frame &&
           container_of(frame, const struct attempt, frame)->running == loop__thread.running;
}

void co_throw_here(const char *where, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (co__current) {
        note(co__current, where, negative(err), format, args);
    } else if (!can_be_caught()) {
        char text[512];
        vsnprintf(text, sizeof text, format, args);
        loop__abort("co_throw outside a coroutine and without co_try, or past the loop's run, at "
                    "%s: %s: %s",
                    where, text, strerror(-negative(err)));
    }
    va_end(args);
    unwind(co__current, negative(err));
}

/* --- Deferred calls --------------------------------------------------------------------------- */

void co__defer_leave(struct co__defer *defer)
{
    struct co__frame **frames = frames_of(co__current);
    if (*frames != &defer->frame)
        loop__abort("co_defer: a scope entered after it was never left");
    *frames = defer->frame.outer;
    defer->fn(defer->arg);
}

static void defer_unwind(struct co__frame *frame)
{
    co__defer_leave(container_of(frame, struct co__defer, frame));
}

struct co__defer *co__defer_enter(struct co__defer *defer, loop_fn *fn, void *arg)
{
    struct co__frame **frames = frames_of(co__current);
    *defer = (struct co__defer){{*frames, defer_unwind}, fn, arg};
    *frames = &defer->frame;
    return defer;
}
