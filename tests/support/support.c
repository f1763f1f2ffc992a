#include "support.h"

#include "context/sanitizer.h"
#include "selector/selector.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unwind.h>

/* --- Checks ----------------------------------------------------------------------------------- */

static char failure[512];

static void note_failure(const char *text, const char *file, int line)
{
    if (!failure[0])
        snprintf(failure, sizeof failure, "%s:%d: %s", file, line, text);
    if (co_self())
        co_throw(-EBADMSG, "check failed: %s", text);
    fail_msg("%s", failure);
}

void test_check(bool ok, const char *expression, const char *file, int line)
{
    if (!ok)
        note_failure(expression, file, line);
}

void test_check_int(int64_t value, int64_t expected, const char *expression, const char *file,
                    int line)
{
    char text[256];
    if (value == expected)
        return;
    snprintf(text, sizeof text, "%s is %lld, not %lld", expression, (long long)value,
             (long long)expected);
    note_failure(text, file, line);
}

static char trace_text[16384];

void trace(const char *format, ...)
{
    size_t used = strlen(trace_text);
    if (used)
        trace_text[used++] = ' ';
    va_list args;
    va_start(args, format);
    vsnprintf(trace_text + used, sizeof trace_text - used, format, args);
    va_end(args);
}

const char *traced(void)
{
    return trace_text;
}

void trace_clear(void)
{
    trace_text[0] = '\0';
}

/* --- Allocations ------------------------------------------------------------------------------ */

static size_t alive, counted, failing;
static bool failing_on;

static void *test_allocator(void *pointer, size_t size, void *arg)
{
    (void)arg;
    if (size == 0) {
        __atomic_sub_fetch(&alive, 1, __ATOMIC_RELAXED);
        free(pointer);
        return NULL;
    }
    size_t nth = __atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED);
    if (failing && (nth == failing || (failing_on && nth > failing)))
        return NULL;
    void *result = realloc(pointer, size);
    if (result && !pointer)
        __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
    return result;
}

void fail_allocation(size_t n, bool for_ever)
{
    counted = 0;
    failing = n;
    failing_on = for_ever;
}

size_t allocations(void)
{
    return counted;
}

size_t blocks(void)
{
    return alive;
}

/* --- Loops ------------------------------------------------------------------------------------ */

static char report_text[16384];
static int report_count;

static void keep_report(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)arg;
    size_t used = strlen(report_text);
    report_count++;
    snprintf(report_text + used, sizeof report_text - used, "%s|%d|%s\n", exception->message,
             exception->error, exception->where ? exception->where : "-");
}

int reports(void)
{
    return report_count;
}

const char *reported(void)
{
    return report_text;
}

loop_t *open_loop_with(const loop_options_t *options)
{
    fail_allocation(0, false);
    coloop_set_allocator(test_allocator, NULL);
    failure[0] = report_text[0] = trace_text[0] = '\0';
    report_count = 0;
    loop_t *loop = loop_new(options);
    assert_non_null(loop);
    loop_set_exception_handler(loop, keep_report, NULL);
    return loop;
}

loop_t *open_loop(void)
{
    loop_options_t options = {.virtual_time = true, .seed = 1};
    return open_loop_with(&options);
}

loop_t *open_real_loop(void)
{
    return open_loop_with(NULL);
}

int close_loop(loop_t *loop)
{
    int rc = loop_close(loop);
    fail_allocation(0, false);
    if (failure[0])
        fail_msg("%s", failure);
    if (rc != -EBUSY && !loop_current())
        assert_int_equal(blocks(), 0);
    return rc;
}

int run_task_in(loop_t *loop, const char *name, co_fn *fn, void *arg)
{
    co_task_t *task = co_spawn_here(loop, NULL, name, fn, arg, CO_HERE);
    assert_non_null(task);
    int rc = loop_run(loop), result = co_task_result(task);
    co_task_release(task);
    if (failure[0])
        fail_msg("%s", failure);
    assert_string_equal(reported(), "");
    assert_int_equal(rc, 0);
    assert_int_equal(close_loop(loop), 0);
    return result;
}

/* --- Fds and variants ------------------------------------------------------------------------- */

void need_proc(void)
{
    if (access("/proc/self/statm", R_OK) == 0)
        return;
    print_message("skipped, as there is no /proc\n");
    skip();
}

void make_socketpair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

void make_pipe(int fds[2])
{
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
}

bool selector_is(const char *name)
{
    const char *chosen = getenv("COLOOP_SELECTOR");
    if (!chosen || !*chosen)
        chosen = COLOOP_DEFAULT_SELECTOR;
    return strcmp(coloop__selector_find(*chosen ? chosen : NULL)->name, name) == 0;
}

#if COLOOP_CONTEXT_UCONTEXT && CONTEXT_ASAN
#include <ucontext.h>

/* ASan warns of swapcontext once a process: before any test reads what a child writes to stderr. */
__attribute__((constructor)) static void let_asan_warn(void)
{
    static ucontext_t here, there;
    static volatile bool back;
    getcontext(&here);
    if (back)
        return;
    back = true;
    swapcontext(&there, &here);
}
#endif

bool under_asan(void)
{
    return CONTEXT_ASAN;
}

bool under_tsan(void)
{
    return CONTEXT_TSAN;
}

bool under_valgrind(void)
{
    return valgrind_runs();
}

/* It shows the program its own name under /proc/self, but its name under this. */
bool under_emulator(void)
{
    char path[256] = "";
    if (readlink("/proc/thread-self/exe", path, sizeof path - 1) < 0)
        return false;
    const char *slash = strrchr(path, '/');
    return slash && strncmp(slash, "/qemu-", 6) == 0;
}

#if defined(__linux__) && !defined(__GLIBC__)
/* Debian's compiler for musl brings the unwinder of the one for glibc, which asks this function and
 * no other. */
int _dl_find_object(void *address, void *result);
int _dl_find_object(void *address, void *result)
{
    (void)address, (void)result;
    return -1;
}

bool has_unwinder(void)
{
    return false;
}
#else
static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *count)
{
    (void)context;
    ++*(int *)count;
    return _URC_NO_REASON;
}

bool has_unwinder(void)
{
    int frames = 0;
    _Unwind_Backtrace(count_frame, &frames);
    return frames > 1;
}
#endif
