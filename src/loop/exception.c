/* exception.c: what becomes of failures that nobody took, and of callers' bugs. */
#include "loop/core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void loop_set_exception_handler(loop_t *loop, loop_exception_fn *fn, void *arg)
{
    loop->exception_fn = fn;
    loop->exception_arg = arg;
}

void loop_default_exception_handler(loop_t *loop, const loop_exception_t *exception)
{
    (void)loop;
    fprintf(stderr, "coloop: %s%s%s%s%s%s\n", exception->message ? exception->message : "exception",
            exception->error ? ": " : "", exception->error ? strerror(-exception->error) : "",
            exception->where ? " (at " : "", exception->where ? exception->where : "",
            exception->where ? ")" : "");
}

struct call {
    loop_t *loop;
    const loop_exception_t *exception;
};

static void call_handler(void *arg)
{
    struct call *call = arg;
    loop_t *loop = call->loop;
    if (loop->exception_fn)
        loop->exception_fn(loop, call->exception, loop->exception_arg);
    else
        loop_default_exception_handler(loop, call->exception);
}

void loop_call_exception_handler(loop_t *loop, const loop_exception_t *exception)
{
    struct call call = {loop, exception};
    const loop_t *running =
        loop__thread.running; /* a coroutine of this one is to be left, if any */
    if (running && running->client)
        running->client->outside(call_handler, &call);
    else
        call_handler(&call);
}

void loop__report(loop_t *loop, int error, const char *where, co_task_t *task, const char *format,
                  ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    loop_exception_t exception = {message, error, where, task};
    loop_call_exception_handler(loop, &exception);
}

void loop__abort(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("coloop: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
