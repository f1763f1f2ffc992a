/* scope.h: deadlines and cancellation.
 *
 * A scope is a region of a coroutine that can be cancelled or run out of time as a whole. From then
 * on every suspending call inside it returns the same code at once, -ECANCELED or -ETIMEDOUT, until
 * the scope is left: it cannot be swallowed by accident. Scopes nest; the first one to be cancelled
 * or expired tells the code. A whole task is a scope too, cancelled by co_task_cancel.
 *
 *     co_timeout(500) n = co_read(fd, buf, sizeof buf);          -ETIMEDOUT after half a second
 *     co_shield() { co_write(fd, "bye\n", 4); co_close(fd); }    awaits in here are not interrupted
 *
 * The blocks are statement prefixes, like `if`. Leaving one by return, break, continue or co_throw
 * closes its scope; break and continue leave the block itself, as it is a loop that runs once.
 * Outside a coroutine they do nothing.
 *
 * A deadline takes effect when a pass of the loop notices it: co_timeout(0) means "try", a call
 * that can be completed at once is, and one that would wait returns -ETIMEDOUT. While work is ready
 * the loop looks at its clock some 50 us apart: until then calls that only give way go on. Nothing
 * in this header suspends. */
#ifndef COLOOP_SCOPE_H
#define COLOOP_SCOPE_H

#include <coloop/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct co__frame { /* what a coroutine has to undo when it is left: scopes, defers, co_try */
    struct co__frame *outer;
    void (*unwind)(struct co__frame *); /* NULL for co_try, where unwinding ends */
};

/* A scope, on the stack of the coroutine that enters it; only for co_scope_* to look into. */
typedef struct co_scope {
    bool armed, shield, expired, cancelled;
    int code;
    unsigned order;
    struct co__frame frame;
    struct co_scope *outer;
    struct co_task *task;
    struct loop__timer timer;
    int64_t deadline;
} co_scope_t;

/* Enters a scope that expires in ms milliseconds (negative: never), and leaves it. Scopes are left
 * in the reverse order of entering, by the task that entered them, and not entered twice; anything
 * else aborts. Leaving one that was left already does nothing, and outside a coroutine neither does
 * anything. */
COLOOP_API void co_scope_enter(co_scope_t *scope, int64_t ms);
COLOOP_API void co_scope_leave(co_scope_t *scope);

/* Cancels the scope: its task gets -ECANCELED from the call it is parked in and from those that
 * follow inside the scope. Any code on the loop's thread may call it while the scope is entered. */
COLOOP_API void co_scope_cancel(co_scope_t *scope);

/* Moves the deadline to when_ns of loop_time (INT64_MAX: none). A scope that has expired stays so.
 */
COLOOP_API void co_scope_set_deadline(co_scope_t *scope, int64_t when_ns);

/* Whether the deadline passed, or it was cancelled, in time to be seen; also valid after
 * co_scope_leave. */
COLOOP_API bool co_scope_expired(const co_scope_t *scope);
COLOOP_API bool co_scope_cancelled(const co_scope_t *scope);

#define co_timeout(ms) CO__BLOCK(co__timeout_begin, (ms), __COUNTER__)
#define co_timeout_at(when_ns) CO__BLOCK(co__timeout_at_begin, (when_ns), __COUNTER__)
#define co_shield() CO__BLOCK(co__shield_begin, 0, __COUNTER__)

#define CO__BLOCK(begin, value, n)                                                                 \
    CO__BLOCK_(begin, value, COLOOP__JOIN(co__scope_, n), COLOOP__JOIN(co__once_, n))
#define CO__BLOCK_(begin, value, scope, once)                                                      \
    for (co_scope_t scope __attribute__((cleanup(co_scope_leave))), *once = begin(&scope, value);  \
         once; once = 0)
/* Never NULL, so the compiler knows that the block runs, and what it sets is set. */
#define CO__NEVER_NULL __attribute__((returns_nonnull))
COLOOP_API co_scope_t *co__timeout_begin(co_scope_t *scope, int64_t ms) CO__NEVER_NULL;
COLOOP_API co_scope_t *co__timeout_at_begin(co_scope_t *scope, int64_t when_ns) CO__NEVER_NULL;
COLOOP_API co_scope_t *co__shield_begin(co_scope_t *scope, int64_t unused) CO__NEVER_NULL;

#ifdef __cplusplus
}
#endif
#endif
