/* support.h: what tests share. A failing cmocka assertion is a longjmp and must not happen on a
 * coroutine's stack: coroutines record with CHECK and trace, and the main stack asserts. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <coloop.h>

#include "portable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS INT64_C(1000000) /* nanoseconds */

/* True, or the first failure is noted and the running task ended; outside a coroutine the test
 * fails at once. */
#define CHECK(expression) test_check((expression), #expression, __FILE__, __LINE__)
#define CHECK_INT(value, expected) test_check_int((value), (expected), #value, __FILE__, __LINE__)
void test_check(bool ok, const char *expression, const char *file, int line);
void test_check_int(int64_t value, int64_t expected, const char *expression, const char *file,
                    int line);

/* What happened, in words separated by blanks: "a1 b1 a2". */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *traced(void);
void trace_clear(void);

/* A loop with virtual time (loop_open) or real time (loop_open_real), whose exceptions are counted
 * and kept instead of written. close_loop closes it, fails the test if a CHECK failed or memory is
 * left, and returns what loop_close did. */
loop_t *open_loop(void);
loop_t *open_real_loop(void);
loop_t *open_loop_with(const loop_options_t *options);
int close_loop(loop_t *loop);

/* All reports since the loop was opened, one a line: "message|error|where-or-dash". */
int reports(void);
const char *reported(void);

/* Runs fn(arg) as the first task of a new virtual-time loop until nothing is left, asserts that
 * loop_run returned 0 and that nothing was reported, closes the loop and returns the task's result.
 */
#define run_task(fn, arg) run_task_in(open_loop(), #fn, (fn), (arg))
#define run_real_task(fn, arg) run_task_in(open_real_loop(), #fn, (fn), (arg))
int run_task_in(loop_t *loop, const char *name, co_fn *fn, void *arg);

/* Allocation failures: the n-th allocation from now (1: the next) and, with `for_ever`, all later
 * ones fail. 0 ends it. allocations() counts since the last call of fail_allocation. blocks() are
 * alive now. */
void fail_allocation(size_t n, bool for_ever);
size_t allocations(void);
size_t blocks(void);

/* In place of a test whose calls only Linux has, elsewhere. */
#define ONLY_ON_LINUX(test)                                                                        \
    static void test(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        print_message("%s: skipped, as only Linux has what it uses\n", #test);                     \
        skip();                                                                                    \
    }

/* Skips a test, on the main stack, where /proc does not tell of the process. */
void need_proc(void);

/* A connected pair of non-blocking sockets or pipe ends, foreign to any loop. */
void make_socketpair(int fds[2]);
void make_pipe(int fds[2]);

/* Whether the variant under test is the one named: "poll" selector, ucontext build, sanitizers,
 * valgrind. */
bool selector_is(const char *name);
bool under_asan(void);
bool under_tsan(void);
bool under_valgrind(void);

/* Whether qemu-user translates this program: its system calls are not quite the kernel's. */
bool under_emulator(void);

/* Whether _Unwind_Backtrace finds its way, for which the program must have been compiled with
 * tables (on most machines it is). */
bool has_unwinder(void);

/* Skips the test and says why. */
#define SKIP_IF(condition, why)                                                                    \
    do {                                                                                           \
        if (condition) {                                                                           \
            print_message("skipped: %s\n", (why));                                                 \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

#endif
