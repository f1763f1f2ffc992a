/* error.h: errors that travel.
 *
 * An error is a negative errno value in a return value. co_fail adds a message and the place to it,
 * which travel with the task: to whoever awaits it, or to the exception handler. co_throw is for
 * depths where a code would have to pass through many hands. Nothing here suspends by itself. */
#ifndef COLOOP_ERROR_H
#define COLOOP_ERROR_H

#include <coloop/scope.h>
#include <coloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct co_error {
    int code;            /* negative errno value */
    const char *message; /* never NULL */
    const char *where;   /* "file.c:12" */
} co_error_t;

/* Notes a printf-like message and the place on the running task and returns err, for `return
 * co_fail(...)`. err may be given as -ENOENT or ENOENT and is returned negative. A later note
 * replaces it; a task that ends with another code drops it. Outside a coroutine only err comes
 * back.
 *
 *     return co_fail(-ENOENT, "no such user: %s", name);
 */
#define co_fail(...) co_fail_here(CO_HERE, __VA_ARGS__)
COLOOP_API int co_fail_here(const char *where, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The error noted last by the task (its own, or one taken over from a task it awaited); NULL if
 * there is none. Owned by the task: valid until its next note and while a handle is held. */
COLOOP_API const co_error_t *co_task_error(const co_task_t *task);

/* Runs fn(arg) here and returns its result; a co_throw beneath it ends it and lands here as the
 * return value. Nests. Also outside coroutines. */
COLOOP_API int co_try(co_fn *fn, void *arg);

/* Notes like co_fail and goes to the nearest co_try, or ends the task with err where there is none.
 * On the way scopes are left and deferred calls made, innermost first. It does not return.
 * Destructors of C++ objects in between do not run. Outside a coroutine and without a co_try it
 * aborts with the message. */
#define co_throw(...) co_throw_here(CO_HERE, __VA_ARGS__)
COLOOP_API void co_throw_here(const char *where, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

/* A declaration: calls fn(arg), a void function, when the enclosing block is left, whichever way.
 * Several are called in the reverse order. fn may suspend; in a cancelled task it needs a
 * co_shield() for that.
 *
 *     char *text = malloc(n);
 *     co_defer(free, text);
 */
#define co_defer(fn, arg) CO__DEFER((fn), (arg), __COUNTER__)
#define CO__DEFER(fn, arg, n)                                                                      \
    CO__DEFER_(fn, arg, COLOOP__JOIN(co__defer_, n), COLOOP__JOIN(co__deferred_, n))
#define CO__DEFER_(fn, arg, defer, deferred)                                                       \
    struct co__defer defer __attribute__((cleanup(co__defer_leave)));                              \
    struct co__defer *deferred __attribute__((unused)) = co__defer_enter(&defer, fn, arg)
struct co__defer {
    struct co__frame frame;
    loop_fn *fn;
    void *arg;
};
COLOOP_API struct co__defer *co__defer_enter(struct co__defer *defer, loop_fn *fn, void *arg);
COLOOP_API void co__defer_leave(struct co__defer *defer);

#ifdef __cplusplus
}
#endif
#endif
