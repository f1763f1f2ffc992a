/* A coroutine that runs off its stack: the report, and which faults are left to others.
 * Everything happens in forked children: the parent runs no loop, so that each child's first one
 * installs the handler. */
#include "support.h"

#include "context/stack.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- Children --------------------------------------------------------------------------------- */

static char said[8192]; /* what the last child wrote to stderr */

static void become_child(void (*fn)(void), const int ends[2])
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* of a sanitizer */
    signal(SIGBUS, SIG_DFL);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(60);
    fn();
    _exit(0);
}

/* Runs fn in a child; returns its exit code, or the signal it died of, negative. */
static int run_child(void (*fn)(void))
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become_child(fn, ends);
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; (n = read(ends[0], said + used, sizeof said - 1 - used)) > 0;)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void expect_said(const char *text)
{
    if (!strstr(said, text))
        fail_msg("'%s' is not in: %s", text, said);
}

static void expect_no_report(void)
{
    assert_null(strstr(said, "stack overflow in task"));
}

/* --- What children do ------------------------------------------------------------------------- */

static volatile char sink;

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[256];
    frame[depth % 256] = (char)depth;
    int result = depth == INT32_MAX ? 0 : recurse(depth + 1);
    sink = frame[depth % 256];
    return result + 1;
}

static int runaway(void *arg)
{
    (void)arg;
    return recurse(0);
}

enum { RUNAWAY_LINE = __LINE__ + 4 };

static void run_runaway(const co_spawn_options_t *options, loop_t *loop)
{
    co_spawn_here(loop, options, "runaway", runaway, NULL, CO_HERE);
    loop_run(loop);
}

static void overflow(void)
{
    run_runaway(NULL, loop_new(NULL));
}

static void overflow_a_custom_size(void)
{
    co_spawn_options_t options = {.name = "small one", .stack_size = 32 * 1024};
    run_runaway(&options, loop_new(NULL));
}

static void overflow_a_loops_size(void)
{
    run_runaway(NULL, loop_new(&(loop_options_t){.stack_size = 128 * 1024}));
}

static void overflow_in_one_pass(void)
{
    loop_t *loop = loop_new(NULL);
    loop_spawn(loop, runaway, NULL);
    loop_run_once(loop, 0);
}

static int sleep_and_run_away(void *arg)
{
    co_sleep(1);
    return runaway(arg);
}

static int waiting(void *arg)
{
    (void)arg;
    return co_sleep(1000);
}

static int spawn_around(void *arg)
{
    for (int i = 0; i < 20; i++)
        co_go(waiting, arg);
    co_go(sleep_and_run_away, arg);
    return co_sleep(1000);
}

static void overflow_among_others(void)
{
    loop_t *loop = loop_new(&(loop_options_t){.virtual_time = true});
    loop_spawn(loop, spawn_around, NULL);
    loop_run(loop);
}

static int spawn_eagerly(void *arg)
{
    co_task_release(co_spawn_with(&(co_spawn_options_t){.eager = true}, runaway, arg));
    return 0;
}

static void overflow_in_an_eager_task(void)
{
    loop_t *loop = loop_new(NULL);
    loop_spawn(loop, spawn_eagerly, NULL);
    loop_run(loop);
}

static void spawn_first(void *loop)
{
    co_task_release(loop_spawn(loop, runaway, NULL));
}

static void overflow_of_the_first_task_of_a_running_loop(void)
{
    loop_t *loop = loop_new(NULL);
    loop_call_soon(loop, spawn_first, loop, NULL);
    loop_run(loop);
}

static int use_and_return(void *arg)
{
    (void)arg;
    volatile char block[20000];
    block[0] = block[19999] = 1;
    return block[0];
}

static void overflow_a_stack_used_before(void)
{
    loop_t *loop = loop_new(NULL);
    for (int i = 0; i < 3; i++) {
        co_task_release(loop_spawn(loop, use_and_return, NULL));
        loop_run(loop);
    }
    run_runaway(NULL, loop);
}

static int throw_and_be_born_again(void *arg)
{
    (void)arg;
    co_throw(-EIO, "thrown");
}

static void overflow_a_stack_born_again(void)
{
    loop_t *loop = loop_new(NULL);
    co_task_t *task = loop_spawn(loop, throw_and_be_born_again, NULL);
    co_task_retain(task);
    loop_run_until(loop, task);
    co_task_release(task);
    run_runaway(NULL, loop);
}

static void overflow_with_a_protected_guard(void)
{
    coloop__stack_set_guard(STACK_GUARD_PROTECT);
    overflow();
}

enum { HUGE_FRAME = 256 << 20 }; /* reaches below whatever was mapped before the stack */

static char *volatile lowest; /* so that compilers keep all of the frame */

static int need_a_huge_frame(void *arg)
{
    (void)arg;
    char frame[HUGE_FRAME];
    lowest = frame;
    *lowest = 1;
    return frame[0];
}

static void jump_over_the_guard(void)
{
    loop_t *loop = loop_new(NULL);
    loop_spawn(loop, need_a_huge_frame, NULL);
    loop_run(loop);
}

static __attribute__((noinline)) int pass_on(char *frame)
{
    lowest = frame;
    return *lowest = 1;
}

static int call_with_a_huge_frame(void *arg)
{
    (void)arg;
    char frame[HUGE_FRAME];
    return pass_on(frame) + frame[0];
}

static void jump_over_the_guard_by_a_call(void)
{
    loop_t *loop = loop_new(NULL);
    loop_spawn(loop, call_with_a_huge_frame, NULL);
    loop_run(loop);
}

static void *overflow_on_a_thread(void *arg)
{
    overflow();
    return arg;
}

static void overflow_on_two_threads(void)
{
    pthread_t thread;
    co_run(use_and_return, NULL); /* here the handler is installed */
    pthread_create(&thread, NULL, overflow_on_a_thread, NULL);
    pthread_join(thread, NULL);
}

/* --- The report ------------------------------------------------------------------------------- */

static void check_report(void (*fn)(void), const char *name, size_t size)
{
    char text[128];
    assert_int_equal(run_child(fn), -SIGSEGV);
    snprintf(text, sizeof text, "stack overflow in task '%s'", name);
    expect_said(text);
    snprintf(text, sizeof text, "%zu bytes", coloop__stack_round_size(size));
    expect_said(text);
    expect_said(__FILE__ ":");
    expect_said("co_spawn_with");
    expect_said(".stack_size");
    expect_said("loop_options_t");
}

static void an_overflow_is_reported_with_task_place_size_and_remedy(void **state)
{
    (void)state;
    char where[128];
    check_report(overflow, "runaway", 64 * 1024);
    snprintf(where, sizeof where, "spawned at %s:%d", __FILE__, RUNAWAY_LINE);
    expect_said(where);
}

static void an_overflow_of_a_custom_size_tells_that_size(void **state)
{
    (void)state;
    check_report(overflow_a_custom_size, "small one", 32 * 1024);
    check_report(overflow_a_loops_size, "runaway", 128 * 1024);
}

static void an_overflow_names_the_task_that_ran(void **state)
{
    (void)state;
    check_report(overflow_among_others, "sleep_and_run_away", 64 * 1024);
    check_report(overflow_in_an_eager_task, "runaway", 64 * 1024);
}

static void an_overflow_is_found_in_every_kind_of_run(void **state)
{
    (void)state;
    check_report(overflow_in_one_pass, "runaway", 64 * 1024);
    check_report(overflow_of_the_first_task_of_a_running_loop, "runaway", 64 * 1024);
}

static void an_overflow_of_a_stack_used_before_is_found(void **state)
{
    (void)state;
    check_report(overflow_a_stack_used_before, "runaway", 64 * 1024);
    check_report(overflow_a_stack_born_again, "runaway", 64 * 1024);
}

static void an_overflow_is_found_by_a_protected_guard(void **state)
{
    (void)state;
    check_report(overflow_with_a_protected_guard, "runaway", 64 * 1024);
}

static void an_overflow_on_another_thread_is_found(void **state)
{
    (void)state;
    check_report(overflow_on_two_threads, "runaway", 64 * 1024);
}

static void an_overflow_that_jumps_over_the_guard_is_found(void **state)
{
    (void)state;
    if (under_valgrind())
        skip(); /* which has the stacks at so low addresses that none are left below */
#if !defined __linux__ || !(defined __x86_64__ || defined __aarch64__ || defined __riscv)
    skip(); /* where the stack pointer is in the handler's context is not known */
#endif
    check_report(jump_over_the_guard, "need_a_huge_frame", 64 * 1024);
    check_report(jump_over_the_guard_by_a_call, "call_with_a_huge_frame", 64 * 1024);
}

/* --- Faults that are not ours ----------------------------------------------------------------- */

/* valgrind counts each such fault as an error, changes the exit code for it, and repeats the
 * instruction with registers of long ago. */
static void skip_under_valgrind(void)
{
    if (under_valgrind())
        skip();
}

static char *forbidden; /* a page without access */

static void touch_forbidden(void *arg)
{
    (void)arg;
    *(volatile char *)forbidden = 1;
}

static int fault(void *arg)
{
    touch_forbidden(arg);
    return 0;
}

static void run_fault(void)
{
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    co_run(fault, NULL);
}

static void run_fault_in_callback(void)
{
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    loop_t *loop = loop_new(NULL);
    loop_spawn(loop, use_and_return, NULL);
    loop_call_later(loop, 1, touch_forbidden, NULL, NULL);
    loop_run(loop);
}

/* An alternate stack, and above it a page without access, below the stack of the task. */
static void touch_below_on_another_stack(int signo)
{
    (void)signo;
    touch_forbidden(NULL);
}

static int fault_below(void *arg)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), below = here - 4L * HUGE_FRAME;
    char *memory = mmap((char *)(below & ~(uintptr_t)0xffff), HUGE_FRAME, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || (uintptr_t)memory > here)
        _exit(1);
    forbidden = memory + HUGE_FRAME / 2;
    mprotect(forbidden, HUGE_FRAME / 2, PROT_NONE);
    if (!arg) {
        touch_forbidden(arg);
        return 0;
    }
    stack_t alternate = {.ss_sp = memory, .ss_size = HUGE_FRAME / 2};
    struct sigaction action = {.sa_handler = touch_below_on_another_stack, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    return raise(SIGUSR1);
}

static void run_fault_below(void)
{
    co_run(fault_below, NULL);
}

static void run_fault_below_on_another_stack(void)
{
    co_run(fault_below, "on another stack");
}

static void on_fault_with_info(int signo, siginfo_t *info, void *context)
{
    _exit(signo == SIGSEGV && context && info->si_addr == (void *)forbidden ? 42 : 43);
}

static void on_fault(int signo)
{
    _exit(signo == SIGSEGV ? 44 : 45);
}

static void handle_with_info(void)
{
    struct sigaction action = {.sa_sigaction = on_fault_with_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
}

static void fault_with_info_handler(void)
{
    handle_with_info();
    run_fault();
}

static void fault_in_callback_with_info_handler(void)
{
    handle_with_info();
    run_fault_in_callback();
}

static void fault_with_plain_handler(void)
{
    signal(SIGSEGV, on_fault);
    run_fault();
}

static void overflow_with_handler(void)
{
    handle_with_info();
    overflow();
}

static void a_handler_of_before_gets_other_faults(void **state)
{
    (void)state;
    skip_under_valgrind();
    assert_int_equal(run_child(fault_with_info_handler), 42);
    expect_no_report();
    assert_int_equal(run_child(fault_with_plain_handler), 44);
    assert_int_equal(run_child(fault_in_callback_with_info_handler), 42);
    expect_no_report();
}

static void a_handler_of_before_does_not_get_an_overflow(void **state)
{
    (void)state;
    check_report(overflow_with_handler, "runaway", 64 * 1024);
}

static void another_fault_without_handler_kills_without_report(void **state)
{
    (void)state;
    skip_under_valgrind();
    assert_int_equal(run_child(run_fault), -SIGSEGV);
    expect_no_report();
    assert_int_equal(run_child(run_fault_in_callback), -SIGSEGV);
    expect_no_report();
}

static void a_fault_below_the_stack_that_is_no_overflow_is_not_reported(void **state)
{
    (void)state;
    skip_under_valgrind();
    assert_int_equal(run_child(run_fault_below), -SIGSEGV);
    expect_no_report();
    assert_int_equal(run_child(run_fault_below_on_another_stack), -SIGSEGV);
    expect_no_report();
}

static sigjmp_buf repaired;

static void repair(int signo)
{
    (void)signo;
    siglongjmp(repaired, 1);
}

static int fault_and_go_on(void *arg)
{
    (void)arg;
    for (volatile int i = 0; i < 3; i++)
        if (sigsetjmp(repaired, 1) == 0)
            touch_forbidden(NULL);
    return co_sleep(1);
}

static void jump_out_of_faults(void)
{
    signal(SIGSEGV, repair);
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _exit(co_run(fault_and_go_on, NULL) == 0 ? 46 : 1);
}

static void a_handler_of_before_may_jump_out_of_each_fault(void **state)
{
    (void)state;
    skip_under_valgrind();
    assert_int_equal(run_child(jump_out_of_faults), 46);
}

static int raise_segv(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
    return 0;
}

static void send_a_signal(void)
{
    co_run(raise_segv, NULL);
}

static void send_an_ignored_signal(void)
{
    signal(SIGSEGV, SIG_IGN);
    for (int i = 0; i < 3; i++)
        co_run(raise_segv, NULL);
    _exit(47);
}

static void send_a_handled_signal(void)
{
    signal(SIGSEGV, on_fault);
    co_run(raise_segv, NULL);
}

static void a_signal_that_is_sent_does_what_it_did_before(void **state)
{
    (void)state;
    assert_int_equal(run_child(send_a_signal), -SIGSEGV);
    expect_no_report();
    assert_int_equal(run_child(send_a_handled_signal), 44);
    assert_int_equal(run_child(send_an_ignored_signal), 47);
}

/* --- Alternate stacks ------------------------------------------------------------------------- */

static int has_alternate_stack(void *arg)
{
    stack_t now;
    sigaltstack(NULL, &now);
    return now.ss_flags & SS_DISABLE ? 0 : !arg || now.ss_sp == arg;
}

static void leave_no_alternate_stack(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL); /* a sanitizer's */
    int before = has_alternate_stack(NULL), during = co_run(has_alternate_stack, NULL);
    _exit(!before && during && !has_alternate_stack(NULL) ? 48 : 1);
}

static void keep_an_alternate_stack(void)
{
    static char memory[64 * 1024];
    stack_t mine = {.ss_sp = memory, .ss_size = sizeof memory};
    sigaltstack(&mine, NULL);
    _exit(co_run(has_alternate_stack, memory) && has_alternate_stack(memory) ? 49 : 1);
}

static void a_run_brings_an_alternate_stack_and_takes_it_away(void **state)
{
    (void)state;
    assert_int_equal(run_child(leave_no_alternate_stack), 48);
}

static void an_alternate_stack_of_the_application_stays(void **state)
{
    (void)state;
    assert_int_equal(run_child(keep_an_alternate_stack), 49);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_is_reported_with_task_place_size_and_remedy),
        cmocka_unit_test(an_overflow_of_a_custom_size_tells_that_size),
        cmocka_unit_test(an_overflow_names_the_task_that_ran),
        cmocka_unit_test(an_overflow_is_found_in_every_kind_of_run),
        cmocka_unit_test(an_overflow_of_a_stack_used_before_is_found),
        cmocka_unit_test(an_overflow_is_found_by_a_protected_guard),
        cmocka_unit_test(an_overflow_on_another_thread_is_found),
        cmocka_unit_test(an_overflow_that_jumps_over_the_guard_is_found),
        cmocka_unit_test(a_handler_of_before_gets_other_faults),
        cmocka_unit_test(a_handler_of_before_does_not_get_an_overflow),
        cmocka_unit_test(another_fault_without_handler_kills_without_report),
        cmocka_unit_test(a_fault_below_the_stack_that_is_no_overflow_is_not_reported),
        cmocka_unit_test(a_handler_of_before_may_jump_out_of_each_fault),
        cmocka_unit_test(a_signal_that_is_sent_does_what_it_did_before),
        cmocka_unit_test(a_run_brings_an_alternate_stack_and_takes_it_away),
        cmocka_unit_test(an_alternate_stack_of_the_application_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
