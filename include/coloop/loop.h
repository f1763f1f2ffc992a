/* loop.h: the event loop and its callbacks.
 *
 * One thread runs a loop; its functions are called from that thread, except loop_stop and
 * loop_call_soon_threadsafe, which any thread may call. Nothing in this header suspends. Functions
 * that return int return 0 or a negative errno value, if not said otherwise; every function that
 * schedules returns -ENOMEM when memory runs out, with nothing changed.
 *
 * Ready work runs first in, first out. A pass of the loop runs the work that was ready when the
 * pass began, so that work which schedules more work cannot starve timers and fds. */
#ifndef COLOOP_LOOP_H
#define COLOOP_LOOP_H

#include <coloop/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct loop loop_t;
typedef struct co_task co_task_t;
typedef void loop_fn(void *arg);

/* Options of a loop; a zeroed struct is the default. */
typedef struct loop_options {
    size_t stack_size;    /* bytes of a coroutine's stack; 0 = 64 KiB. Rounded up to whole pages. */
    const char *selector; /* "epoll", "kqueue" or "poll"; NULL = the best here, or what the
                             environment variable COLOOP_SELECTOR names */
    bool debug;      /* slow callbacks are reported; also by COLOOP_DEBUG=1 in the environment */
    int64_t slow_ms; /* with debug: what runs longer than this without a pause is slow; 0 = 100 */
    bool
        virtual_time; /* the clock stands still while work is ready and jumps to the next timer when
                         nothing is: a test of an hour takes no time, and every run is the same */
    uint64_t seed;    /* of the loop's random choices; 0 = taken from the clock */
} loop_options_t;

/* Makes a loop. Options may be NULL. Returns NULL with errno set: EINVAL for a selector that is
 * unknown or not available here, or a stack size that is too large; ENOMEM, EMFILE; ENOTSUP, with a
 * line on stderr, where hardware shadow stacks are on that this build cannot switch. The caller
 * closes it with loop_close. A thread may have several loops, but only one of them runs at a time.
 *
 * The first task of a process installs handlers of SIGSEGV and SIGBUS, which tell of stack
 * overflows and pass all other faults on to the handlers that were there before; and a thread that
 * has none is given an alternate signal stack while it has loops with tasks.
 *
 * In a child that was forked while the loop ran, a task may exec, _exit, co_close and run a loop of
 * its own (co_run). If it suspends instead, it goes on in its parent's loop with all tasks there
 * were, and takes events away from its parent: that is well only where the parent ends at once, as
 * in daemon(3). */
COLOOP_API loop_t *loop_new(const loop_options_t *options);

/* Runs the loop until no task, call, timer or watcher is left, and returns 0; or until loop_stop,
 * and returns 1 if there is work left then (loop_run may be called again) and 0 if there is none.
 * -EDEADLK: tasks are left that nothing can ever wake, another thread aside (loop_hold); they were
 * reported to the exception handler, the first twenty one by one. -EBUSY: this loop, or another one
 * on this thread, is running already. -ECHILD: the process has forked since loop_new; only the
 * parent may use the loop, the child closes it and makes its own. Signal handlers alone do not keep
 * a loop running. */
COLOOP_API int loop_run(loop_t *loop);

/* Runs the loop until the task is done and returns its result, releasing the handle like
 * co_await_task. NULL gives -ENOMEM. With -EINTR (the loop was stopped first), -EDEADLK, -EBUSY or
 * -ECHILD the task is not done and the handle still the caller's. To read a failure's message
 * (co_task_error) afterwards, retain the task before. */
COLOOP_API int loop_run_until(loop_t *loop, co_task_t *task);

/* Runs one pass: waits for something to do for at most timeout_ms (negative: for ever; 0: not at
 * all), then runs what is ready. Without any work, "for ever" lasts until another thread or a
 * signal brings some. Returns 1 if there is work left, 0 if there is none, or -EBUSY, -ECHILD. */
COLOOP_API int loop_run_once(loop_t *loop, int64_t timeout_ms);

/* Makes a running loop_run or loop_run_until return after the pass at hand; one that is not running
 * will return after its first pass. Any thread and any signal handler may call it. */
COLOOP_API void loop_stop(loop_t *loop);

/* Cancels all tasks that are left, runs the loop until they have cleaned up, and frees everything:
 * pending calls, watchers and signal handlers are dropped before, task handles become invalid, fds
 * of the user stay open. A loop_hold is waited for, as a thread may be at work on a task's behalf;
 * tasks spawned meanwhile are cancelled as well (those that spawn a successor each keep it going).
 * Returns how many tasks it had to cancel. A task that never ends in spite of being cancelled is
 * reported to the exception handler and ended as if by co_throw. Signals that co_select has asked
 * for get their previous dispositions back at the end. -EBUSY: the loop, or another one on this
 * thread, is running; nothing was done. NULL is ignored. In a forked child only memory and the
 * loop's own fds are freed, and dispositions brought back; -EBUSY if the fork was made while it
 * ran, as the child may be on one of its stacks. */
COLOOP_API int loop_close(loop_t *loop);

/* The loop that runs on this thread; while none runs, the newest one made on it that is still open;
 * else NULL. */
COLOOP_API loop_t *loop_current(void);

/* The loop's monotonic clock in nanoseconds, as it was read when the pass began. */
COLOOP_API int64_t loop_time(loop_t *loop);

struct loop__ready {
    struct coloop__link link;
    void (*run)(struct loop__ready *);
};
struct loop__timer {
    struct coloop__heap_node node;
    void (*expire)(struct loop__timer *);
};

struct loop__timed {
    struct coloop__heap_node node;
    loop_t *loop;
};

/* Storage for one scheduled call, owned by the caller, who zeroes it before its first use and keeps
 * it in place until the call has run or was cancelled. Scheduling a handle that is pending moves
 * it. */
typedef struct loop_handle {
    union {
        struct loop__ready ready;
        struct loop__timed timed; /* while node.position is odd */
    };
    loop_fn *fn;
    void *arg;
} loop_handle_t;

/* Calls fn(arg) from the loop: in the next pass; in ms milliseconds (negative counts as 0); at
 * when_ns of loop_time. Timers are never early, and those of one deadline run in the order they
 * were set; of hundreds that are due at once some run in a later pass. With a NULL handle the loop
 * keeps the record itself (and may return -ENOMEM); else no memory is needed for loop_call_soon.
 * -EINVAL: fn is NULL. */
COLOOP_API int loop_call_soon(loop_t *loop, loop_fn *fn, void *arg, loop_handle_t *handle);
COLOOP_API int loop_call_later(loop_t *loop, int64_t ms, loop_fn *fn, void *arg,
                               loop_handle_t *handle);
COLOOP_API int loop_call_at(loop_t *loop, int64_t when_ns, loop_fn *fn, void *arg,
                            loop_handle_t *handle);

/* Cancels a scheduled call. True if it was still pending; false if it has begun or was never
 * scheduled. */
COLOOP_API bool loop_cancel(loop_handle_t *handle);

/* loop_call_soon from any thread; calls of one thread run in their order. It wakes the loop. A
 * signal handler must not call it (it takes a lock): loop_add_signal_handler is there for those.
 * The loop must not be closed before the call has run; then it may be, even if the poster has not
 * returned yet. -EINVAL: fn is NULL. -ENOMEM. */
COLOOP_API int loop_call_soon_threadsafe(loop_t *loop, loop_fn *fn, void *arg);

/* Calls fn(arg) whenever fd is readable (writable), again in each pass while it stays so; hang-up
 * and error count as both. A second call for the same fd replaces the callback. The fd must be
 * removed before it is closed. -EBADF; -EINVAL: fn is NULL; -EPERM for an fd that cannot be polled,
 * such as a regular file; -ENOSPC or -ENOMEM from the system. The removals return 1 if there was
 * one, 0 if not. */
COLOOP_API int loop_add_reader(loop_t *loop, int fd, loop_fn *fn, void *arg);
COLOOP_API int loop_remove_reader(loop_t *loop, int fd);
COLOOP_API int loop_add_writer(loop_t *loop, int fd, loop_fn *fn, void *arg);
COLOOP_API int loop_remove_writer(loop_t *loop, int fd);

/* Calls fn(arg) from the loop, as ordinary code, after the process got signal signo; signals that
 * come faster than the loop turns are one call. Replaces this loop's handler for signo; several
 * loops may handle the same signal. The previous disposition comes back with the last removal; but
 * with loop_close if co_select has asked for the signal too (CO_SIGNAL), which takes none from fn.
 * -EINVAL: not a signal that can be handled so (SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL).
 * -EAGAIN: more than 64 loops handle signals. The removal returns 1 if there was a handler, 0 if
 * not. */
COLOOP_API int loop_add_signal_handler(loop_t *loop, int signo, loop_fn *fn, void *arg);
COLOOP_API int loop_remove_signal_handler(loop_t *loop, int signo);

/* Keeps loop_run alive for work that the loop cannot see, such as a thread that will call
 * loop_call_soon_threadsafe; each hold needs one release. Releasing what is not held aborts. */
COLOOP_API void loop_hold(loop_t *loop);
COLOOP_API void loop_release(loop_t *loop);

/* One fd for a foreign event loop to poll: readable whenever loop_run_once(loop, 0) has work,
 * timers and calls included. Owned by the loop; only to be polled. A loop that is driven this way
 * costs two more system calls a pass. -ENOTSUP with the "poll" selector and with virtual time;
 * -EMFILE. */
COLOOP_API int loop_fd(loop_t *loop);

/* A failure that nobody took, or a warning (error 0). All strings live only as long as the call. */
typedef struct loop_exception {
    const char *message;
    int error;         /* negative errno value, or 0 */
    const char *where; /* "file.c:12", or NULL */
    co_task_t *task;   /* the task concerned, or NULL; borrowed */
} loop_exception_t;

/* The handler runs on the loop's thread, outside any coroutine, and must not run or close the loop.
 * NULL sets the default one, which writes one readable report to stderr.
 * loop_call_exception_handler hands an exception to the handler in force. */
typedef void loop_exception_fn(loop_t *loop, const loop_exception_t *exception, void *arg);
COLOOP_API void loop_set_exception_handler(loop_t *loop, loop_exception_fn *fn, void *arg);
COLOOP_API void loop_default_exception_handler(loop_t *loop, const loop_exception_t *exception);
COLOOP_API void loop_call_exception_handler(loop_t *loop, const loop_exception_t *exception);

#ifdef __cplusplus
}
#endif
#endif
