/* task.h: coroutines as tasks.
 *
 * A task is a function that runs on a stack of its own, beside others, on the loop's thread. It is
 * started by co_spawn and its kin, runs from the next pass on, and gives way only inside suspending
 * calls.
 *
 * A handle (co_task_t *) is a reference: it must be released or consumed once, at the latest before
 * loop_close. The loop holds a reference of its own to a task that runs, so that dropping a handle
 * never ends the task. A task that failed (a result below 0) while no handle, waiter or done
 * callback was left is reported to the loop's exception handler when it ends; one whose handle is
 * later released unread is reported then. A task that was cancelled and returns -ECANCELED has not
 * failed in this sense. A finished task whose handle is held keeps one page of memory.
 *
 * A suspending call that need not wait gives way all the same: of those that a task makes without a
 * wait in between at least every 64th does, be it a read, a lock, a semaphore, a send to an
 * unbounded channel or one that fails (but for -ENOMEM). This is a promise: a task that always
 * finds what it asks for, or ignores its cancellation, starves no other task, timer or fd. And it
 * is a warning: the call has had its effect by then, but others run, and deadlines may pass, before
 * it returns. Where nobody may come in between, make no call that suspends: the try forms
 * (co_mutex_trylock, co_chan_try_send, ...) never give way, nor do unlock, release, set and close.
 *
 * Suspending calls return -EPERM outside a coroutine, and -ECANCELED or -ETIMEDOUT without effect
 * when the task or a scope around the call is cancelled or expired (scope.h).
 *
 * In C++ a task may throw and catch exceptions, and be suspended in a handler, or in a destructor
 * while an exception is in flight; blocks such as co_timeout and co_group are left by an exception
 * as by a return. No exception may leave the function of a task (std::terminate is called), or pass
 * through any function of this library: a callback, or what is given to co_try, catches its own.
 * Cancellation comes as a code, and objects are destroyed as functions return with it. co_throw,
 * and the end by force of a task that goes on in spite of loop_close, make deferred calls but run
 * no destructors. Initialising a static local variable must not suspend: a task that comes by
 * meanwhile waits for ever, or gets the runtime's recursive_init_error. The C++ runtime has to be
 * linked to the program, or to what is loaded together with this library; one that is loaded later
 * goes unnoticed. */
#ifndef COLOOP_TASK_H
#define COLOOP_TASK_H

#include <coloop/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int co_fn(
    void *arg); /* 0 and above: the result; below 0: failed with that negative errno */
typedef void co_done_fn(co_task_t *task, void *arg);

typedef struct co_spawn_options {
    const char *name;  /* kept by reference; NULL = the function's name */
    size_t stack_size; /* bytes, rounded up to whole pages; 0 = the loop's stack_size */
    bool eager; /* run at once, up to the first suspension, and only then return to the caller;
                   while the loop does not run, it waits for that like any other */
} co_spawn_options_t;

/* Starts fn(arg) as a task of the current loop (loop_spawn: of that loop) and returns a handle that
 * the caller owns. NULL with errno ENOMEM (no memory, no stack), EINVAL (fn is NULL, a stack too
 * large), EPERM (this thread has no loop) or ECHILD (forked). Does not suspend, but eager lets the
 * new task run first. */
#define co_spawn(fn, arg) co_spawn_here(NULL, NULL, #fn, (fn), (arg), CO_HERE)
#define co_spawn_with(options, fn, arg) co_spawn_here(NULL, (options), #fn, (fn), (arg), CO_HERE)
#define loop_spawn(loop, fn, arg) co_spawn_here((loop), NULL, #fn, (fn), (arg), CO_HERE)
COLOOP_API co_task_t *co_spawn_here(loop_t *loop, const co_spawn_options_t *options,
                                    const char *name, co_fn *fn, void *arg, const char *where);

/* Starts fn(arg) without a handle. Returns 0, or what co_spawn sets errno to, negative. */
#define co_go(fn, arg) co_go_here(#fn, (fn), (arg), CO_HERE)
COLOOP_API int co_go_here(const char *name, co_fn *fn, void *arg, const char *where);

/* Makes a loop, runs fn(arg) as its first task and everything that it starts, closes the loop and
 * returns the first task's result. After loop_stop all tasks are cancelled; the first one's result
 * is returned all the same. -EDEADLK: the first task could never end. A negative errno if there is
 * no loop to be had. A message noted with the failure (co_fail, co_throw) goes to stderr, as nobody
 * else can read it. */
#define co_run(fn, arg) co_run_here(#fn, (fn), (arg), CO_HERE)
COLOOP_API int co_run_here(const char *name, co_fn *fn, void *arg, const char *where);

/* Waits for the task, releases the handle and returns the task's result. Suspends.
 * If the caller is cancelled or out of time meanwhile, the task is cancelled too and waited for, so
 * that nothing is orphaned: if it then ends with -ECANCELED, the caller's own code is returned,
 * else its result. A failed task's message (co_task_error) becomes the caller's. NULL returns
 * -ENOMEM, so that the result of co_spawn needs no check. -EDEADLK: the task is the caller or waits
 * for it; -EPERM: outside a coroutine; with these two the handle is still the caller's. */
#define co_await_task(task) co_await_task_here((task), CO_HERE)
COLOOP_API int co_await_task_here(co_task_t *task, const char *where);

/* Lets everything else that is ready run first. Suspends. 0, -ECANCELED, -ETIMEDOUT. */
#define co_yield_now() co_yield_now_here(CO_HERE)
COLOOP_API int co_yield_now_here(const char *where);

/* Sleeps: for ms milliseconds (negative: until cancelled; 0 gives way once), ns nanoseconds, or
 * until loop_time() is when_ns. Suspends. 0 after the full time, -ECANCELED, -ETIMEDOUT, -ENOMEM.
 */
#define co_sleep(ms) co_sleep_here((ms), CO_HERE)
#define co_sleep_ns(ns) co_sleep_ns_here((ns), CO_HERE)
#define co_sleep_until(when_ns) co_sleep_until_here((when_ns), CO_HERE)
COLOOP_API int co_sleep_here(int64_t ms, const char *where);
COLOOP_API int co_sleep_ns_here(int64_t ns, const char *where);
COLOOP_API int co_sleep_until_here(int64_t when_ns, const char *where);

/* The task that is running, borrowed; NULL outside a coroutine. */
COLOOP_API co_task_t *co_self(void);

/* Whether the task has ended, and its result: -EINPROGRESS while it runs. Reading the result of a
 * failed task counts as having taken notice of it. */
COLOOP_API bool co_task_done(const co_task_t *task);
COLOOP_API int co_task_result(const co_task_t *task);

/* Asks the task to end: every suspending call in it that is not shielded returns -ECANCELED from
 * now on, and one that it is parked in does so now. A task that has not begun still runs, and finds
 * itself cancelled at its first suspending call. Cancelling oneself, twice, or a task that is done
 * is allowed. co_task_cancelled tells whether it was asked. */
COLOOP_API void co_task_cancel(co_task_t *task);
COLOOP_API bool co_task_cancelled(const co_task_t *task);

/* Name and id. Ids count from 1 in each loop. */
COLOOP_API const char *co_task_name(const co_task_t *task);
COLOOP_API uint64_t co_task_id(const co_task_t *task);

/* Task-local values: each task has its own value of every key, NULL at first. A new task starts
 * with the values its parent, the task that spawns it, has at that moment; what either of them sets
 * later is its own. A task spawned outside a coroutine, or into another loop, has none.
 *
 *     static co_local_t request = {free};
 *
 *     rc = co_local_set(&request, strdup(id));
 *     ... and in a function called from here, or in a task that is spawned from now on:
 *     log_line("request %s: ...", (const char *)co_local_get(&request));
 *
 * A key is known by its address and must outlive the tasks that use it. The destructor (may be
 * NULL) gets each value once, when no task has it any more: the last one has ended or set another,
 * before anybody learns of that end. Of one task's values those set last go first. It is called
 * outside coroutines and must not suspend; it is not called for values left behind in a forked
 * child. */
typedef struct co_local {
    void (*destructor)(void *value);
} co_local_t;

/* The running task's value; NULL if there is none, and outside a coroutine. Does not suspend. */
COLOOP_API void *co_local_get(const co_local_t *key);

/* Sets it; NULL takes it away. Setting the value it has already changes nothing. Does not suspend.
 * 0; -ENOMEM (nothing changed, the value is still the caller's); -EPERM: outside a coroutine;
 * -EINVAL: key is NULL. */
COLOOP_API int co_local_set(const co_local_t *key, void *value);

/* Calls fn(task, arg) through the ready queue once the task is done (also if it is already), in the
 * order of adding; the task is kept for the calls. -ENOMEM, -EINVAL. The removal takes away every
 * pending fn with that arg and returns how many. */
COLOOP_API int co_task_add_done_callback(co_task_t *task, co_done_fn *fn, void *arg);
COLOOP_API int co_task_remove_done_callback(co_task_t *task, co_done_fn *fn, void *arg);

/* One more reference, returned; and one less. NULL is ignored. */
COLOOP_API co_task_t *co_task_retain(co_task_t *task);
COLOOP_API void co_task_release(co_task_t *task);

/* Waits for all tasks and releases all handles. Suspends. The first failure cancels the others,
 * which are waited for, and is returned; 0 if none failed. A NULL among the tasks is a failure with
 * -ENOMEM. When the caller is cancelled or out of time, so are all tasks, and the caller's code is
 * returned; and likewise -ENOMEM, when no memory is left for a deadline of its own. -EDEADLK: the
 * caller is among them; -EPERM: outside a coroutine; with these two no handle is released.
 *
 *     rc = co_gather(co_spawn(f, a), co_spawn(g, b));
 */
#define co_gather_tasks(tasks, n) co_gather_tasks_here((tasks), (n), CO_HERE)
COLOOP_API int co_gather_tasks_here(co_task_t *const tasks[], size_t n, const char *where);
#ifndef __cplusplus
#define co_gather(...)                                                                             \
    co_gather_tasks_here((co_task_t *const[]){__VA_ARGS__},                                        \
                         sizeof((co_task_t *const[]){__VA_ARGS__}) / sizeof(co_task_t *), CO_HERE)
#endif

/* Waits for all tasks, lets each finish, and releases all handles. Suspends. results (may be NULL)
 * gets each task's result. Returns how many failed; or, when the caller is cancelled or out of
 * time, that code, after all tasks were cancelled and waited for (results are filled in). */
#define co_gather_all(tasks, n, results) co_gather_all_here((tasks), (n), (results), CO_HERE)
COLOOP_API int co_gather_all_here(co_task_t *const tasks[], size_t n, int results[],
                                  const char *where);

/* Waits until all tasks are done, the first is done, or the first has failed (or all are done).
 * Suspends. Consumes and cancels nothing. Returns how many are done; -ECANCELED, -ETIMEDOUT,
 * -ENOMEM; -EINVAL for an unknown mode, n of 0, or a NULL task; -EDEADLK if the caller is among
 * them. */
enum { CO_ALL, CO_FIRST_COMPLETED, CO_FIRST_FAILED };
#define co_wait(tasks, n, mode) co_wait_here((tasks), (n), (mode), CO_HERE)
COLOOP_API int co_wait_here(co_task_t *const tasks[], size_t n, int mode, const char *where);

/* co_await_task with a deadline: cancels the task when ms milliseconds have passed, waits for it
 * and returns -ETIMEDOUT (or the task's result, if it ended with another one all the same). */
#define co_wait_for(task, ms) co_wait_for_here((task), (ms), CO_HERE)
COLOOP_API int co_wait_for_here(co_task_t *task, int64_t ms, const char *where);

#ifdef __cplusplus
}

/* C++ has no array literals that live to the end of the call: a template makes the array. */
template <typename... Tasks> inline int co__gather(const char *where, Tasks... tasks)
{
    co_task_t *const all[] = {tasks...};
    return co_gather_tasks_here(all, sizeof...(tasks), where);
}
#define co_gather(...) co__gather(CO_HERE, __VA_ARGS__)
#endif
#endif
