/* future.h: a result that comes later, and turns callback interfaces into awaits.
 *
 *     static void on_reply(void *request, struct reply *reply)
 *     {
 *         co_future_resolve(request, 0, reply);
 *     }
 *
 *     co_future_t future = {0};
 *     client_ask(client, question, on_reply, &future);
 *     void *reply;
 *     int rc = co_await_future(&future, &reply);
 *
 * A plain struct, valid when zeroed, used on one loop. Another thread has it resolved by
 * loop_call_soon_threadsafe; the loop does not know of that, so loop_hold it before and
 * loop_release it in the call: a loop_run that nothing else keeps going would end with -EDEADLK at
 * once. It must not go away while somebody waits for it; once it is settled and its callbacks have
 * run it may, even before the waiters run. */
#ifndef COLOOP_FUTURE_H
#define COLOOP_FUTURE_H

#include <coloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct co_future {
    bool done;
    int result;
    void *value;
    struct coloop__link waiters, callbacks;
} co_future_t;
typedef void co_future_fn(co_future_t *future, void *arg);

/* Settles the future: 0 and above a success, below 0 a negative errno, with any value. Wakes all
 * waiters and makes the callbacks ready. 0; -EALREADY: it was settled before, nothing changed. */
COLOOP_API int co_future_resolve(co_future_t *future, int result, void *value);

/* Whether it is settled, and its result: -EINPROGRESS before. */
COLOOP_API bool co_future_done(const co_future_t *future);
COLOOP_API int co_future_result(const co_future_t *future);

/* Waits until it is settled and returns its result; *value (may be NULL) gets the value. Any number
 * of tasks may wait. Suspends. -ECANCELED, -ETIMEDOUT: the future goes on; -EPERM. */
#define co_await_future(future, value) co_await_future_here((future), (value), CO_HERE)
COLOOP_API int co_await_future_here(co_future_t *future, void **value, const char *where);

/* Calls fn(future, arg) through the ready queue of the thread's loop once it is settled, also if it
 * is already, in the order of adding. The future must live until then, or until the callback is
 * removed, or the loop is closed, which drops it. -ENOMEM, -EINVAL, -EPERM: no loop. The removal
 * takes away every fn with that arg that has not run, and returns how many. */
COLOOP_API int co_future_add_done_callback(co_future_t *future, co_future_fn *fn, void *arg);
COLOOP_API int co_future_remove_done_callback(co_future_t *future, co_future_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
