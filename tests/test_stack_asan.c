/* What AddressSanitizer finds on coroutines' stacks, and what it must not find. The other tests
 * run there too, but here is what they would not notice. */
#include "test_stack.h"

#include <stdio.h>

#define HIDE(x) __asm__ volatile("" : "+r"(x)) /* the compiler does not know the value any more */

static __attribute__((noinline)) int write_out_of_bounds(void *arg)
{
    char frame[32];
    volatile char *byte = frame;
    HIDE(byte);
    CHECK_INT(co_yield_now(), 0);
    byte[arg ? 32 : 31] = 1;
    return byte[0];
}

static char said[16384]; /* by the child */

static bool child_says(int input, const char *text)
{
    size_t used = 0;
    for (ssize_t n; (n = read(input, said + used, sizeof said - 1 - used)) > 0;)
        used += (size_t)n;
    said[used] = '\0';
    return strstr(said, text) != NULL;
}

/* A pass of everything else under ASan means something only if it does find this. */
static void an_overflow_of_a_frame_on_a_coroutines_stack_is_found(void **state)
{
    (void)state;
    if (!under_asan())
        skip();
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        co_run(write_out_of_bounds, "");
        _exit(0);
    }
    close(ends[1]);
    bool found = child_says(ends[0], "stack-buffer-overflow");
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(found);
    assert_non_null(strstr(said, "is located in stack of thread")); /* so its bounds are known */
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static __attribute__((noinline)) void abandon_frames(struct own *own, int depth)
{
    char frame[100];
    char *used = frame;
    HIDE(used);
    if (depth)
        abandon_frames(own, depth - 1);
    else
        context_switch(&own->stack.context, &home, false);
    HIDE(used);
}

static void abandon(struct own *own)
{
    abandon_frames(own, 20);
}

static void fill_a_frame(struct own *own)
{
    char frame[12000], *used = frame;
    HIDE(used);
    memset(used, own != NULL, sizeof frame);
    HIDE(used);
}

static void abandoned_frames_do_not_matter_later(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct own *own = get();
        run(own, abandon);
        stack_put(&own->stack, true);
        own = get();
        run(own, fill_a_frame);
        put(own);
    }
}

static void throw_it(int error)
{
    co_throw(error, "thrown");
}

/* Volatile, so that nothing tells the compiler that it does not return. */
static void (*volatile thrower)(int) = throw_it;

static __attribute__((noinline)) void throw_deep(int depth)
{
    char frame[100];
    char *used = frame;
    HIDE(used);
    if (depth > 0)
        throw_deep(depth - 1);
    else
        thrower(-EIO);
    HIDE(used);
}

static int leave_frames(void *arg)
{
    (void)arg;
    throw_deep(50);
    return 0;
}

static int use_frames(void *arg)
{
    char frame[12000];
    memset(frame, 1, sizeof frame);
    CHECK_INT(co_yield_now(), 0);
    return frame[(uintptr_t)arg];
}

static int leave_and_use(void *arg)
{
    for (int round = 0; round < 5; round++) {
        co_task_t *tasks[10];
        for (int i = 0; i < 10; i++)
            tasks[i] = co_spawn(leave_frames, arg);
        CHECK_INT(co_gather_all(tasks, 10, NULL), 10);
        for (int i = 0; i < 10; i++)
            tasks[i] = co_spawn(use_frames, arg);
        CHECK_INT(co_gather_all(tasks, 10, NULL), 0);
    }
    return 0;
}

static void frames_that_were_left_by_a_throw_do_not_matter_later(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_and_use, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_of_a_frame_on_a_coroutines_stack_is_found),
        cmocka_unit_test_setup_teardown(abandoned_frames_do_not_matter_later, set_up, tear_down),
        cmocka_unit_test(frames_that_were_left_by_a_throw_do_not_matter_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
