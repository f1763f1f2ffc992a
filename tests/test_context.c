/* Switching: what has to survive it, and what has to stay untouched. */
#include "support.h"

#include "context/stack.h"

#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unwind.h>

#define HIDE(x) __asm__ volatile("" : "+r"(x)) /* the compiler does not know the value any more */
#if defined(__x86_64__)
#define HIDE_FLOAT(x) __asm__ volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define HIDE_FLOAT(x) __asm__ volatile("" : "+w"(x))
#elif defined(__riscv)
#define HIDE_FLOAT(x) __asm__ volatile("" : "+f"(x))
#else
#define HIDE_FLOAT(x) __asm__ volatile("" : "+m"(x))
#endif

/* --- Contexts directly ------------------------------------------------------------------------ */

struct own { /* at the top of a stack */
    struct stack stack;
    void (*fn)(struct own *);
    struct own *other;
};

static struct context home;

static void run_own(struct stack *stack)
{
    struct own *own = (struct own *)stack;
    for (;;) {
        own->fn(own);
        context_switch(&own->stack.context, &home, false);
    }
}

static struct stack_pool new_pool(void)
{
    return (struct stack_pool){
        .size = coloop__stack_round_size(64 * 1024),
        .header = sizeof(struct own),
        .entry = run_own,
    };
}

static struct own *get_own(struct stack_pool *pool, void (*fn)(struct own *))
{
    struct own *own = (struct own *)coloop__stack_get(pool);
    assert_non_null(own);
    own->fn = fn;
    own->other = NULL;
    return own;
}

static void go(struct own *own)
{
    context_switch(&home, &own->stack.context, false);
}

static void pause_here(struct own *own)
{
    context_switch(&own->stack.context, &home, false);
}

static void count_to_three(struct own *own)
{
    for (int i = 1; i <= 3; i++) {
        trace("%d", i);
        pause_here(own);
    }
    trace("end");
}

static void a_switch_goes_there_and_back(void **state)
{
    (void)state;
    struct stack_pool pool = new_pool();
    trace_clear();
    struct own *own = get_own(&pool, count_to_three);
    trace("born");
    for (int i = 0; i < 4; i++) {
        go(own);
        trace("home");
    }
    go(own); /* its function begins anew */
    assert_string_equal(traced(), "born 1 home 2 home 3 home end home 1");
    for (int i = 0; i < 3; i++)
        go(own);
    stack_put(&own->stack, false);
    coloop__stack_pool_free(&pool);
}

static void hand_over(struct own *own)
{
    static char name = 'a';
    char mine = name++;
    for (int i = 0; i < 3; i++) {
        trace("%c", mine);
        context_switch(&own->stack.context, &own->other->stack.context, false);
    }
}

static void contexts_switch_among_themselves(void **state)
{
    (void)state;
    struct stack_pool pool = new_pool();
    trace_clear();
    struct own *a = get_own(&pool, hand_over), *b = get_own(&pool, hand_over);
    struct own *c = get_own(&pool, hand_over);
    a->other = b;
    b->other = c;
    c->other = a;
    go(a);
    assert_string_equal(traced(), "a b c a b c a b c");
    go(b);
    go(c);
    stack_put(&a->stack, false);
    stack_put(&b->stack, false);
    stack_put(&c->stack, false);
    coloop__stack_pool_free(&pool);
}

static __attribute__((noinline)) void pause_deep(struct own *own, int depth)
{
    char frame[1000];
    char *used = frame; /* also after the call, so that it is no tail call */
    HIDE(used);
    if (depth)
        pause_deep(own, depth - 1);
    else
        pause_here(own);
    HIDE(used);
}

static void pause_shallow_and_deep(struct own *own)
{
    pause_here(own);
    pause_deep(own, 20);
}

static size_t depth_of(const struct own *own)
{
    return coloop__context_depth(&own->stack.context, own);
}

static void the_depth_of_a_suspended_context_is_known(void **state)
{
    (void)state;
    struct stack_pool pool = new_pool();
    struct own *own = get_own(&pool, pause_shallow_and_deep);
    assert_in_range(depth_of(own), 1, 8 * 1024);
    go(own);
    size_t shallow = depth_of(own);
    assert_in_range(shallow, 1, 8 * 1024);
    go(own);
    assert_in_range(depth_of(own), shallow + 20 * 1000, pool.size);
    go(own);
    assert_in_range(depth_of(own), 1, shallow + 1000);
    stack_put(&own->stack, false);
    coloop__stack_pool_free(&pool);
}

/* --- Registers -------------------------------------------------------------------------------- */

/* More values alive over each suspension than there are registers of either kind. */
static __attribute__((noinline)) int keep_many_values(unsigned seed, int depth)
{
    uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11;
    uint64_t f = seed * 13, g = seed * 17;
    double p = seed + 0.5, q = seed * 1.5, r = seed * 2.5, s = seed * 3.5;
    float t = (float)seed * 0.25f;
    long double x = seed / 3.0L, y = sqrtl(seed + 2.0L), z = x * y;
    HIDE(a); HIDE(b); HIDE(c); HIDE(d); HIDE(e); HIDE(f); HIDE(g);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(co_yield_now(), 0);
        if (depth)
            CHECK_INT(keep_many_values(seed * 19 + 1, depth - 1), 0);
        CHECK(a == seed && b == seed * 3 && c == seed * 5 && d == seed * 7 && e == seed * 11);
        CHECK(f == seed * 13 && g == seed * 17);
        CHECK(p == seed + 0.5 && q == seed * 1.5 && r == seed * 2.5 && s == seed * 3.5);
        CHECK(t == (float)seed * 0.25f);
        CHECK(x == seed / 3.0L && z == x * y && y * y > seed + 1.5L && y * y < seed + 2.5L);
        HIDE(a); HIDE(b); HIDE(c); HIDE(d); HIDE(e); HIDE(f); HIDE(g);
    }
    return 0;
}

/* Some machines keep up to twelve of these in registers over calls. */
static __attribute__((noinline)) int keep_many_floats(double seed)
{
    double v[14], sum = 0;
    for (int i = 0; i < 14; i++)
        v[i] = seed + i;
    double a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6];
    double h = v[7], i = v[8], j = v[9], k = v[10], l = v[11], m = v[12], n = v[13];
    for (int round = 0; round < 4; round++) {
        HIDE_FLOAT(a); HIDE_FLOAT(b); HIDE_FLOAT(c); HIDE_FLOAT(d); HIDE_FLOAT(e); HIDE_FLOAT(f);
        HIDE_FLOAT(g); HIDE_FLOAT(h); HIDE_FLOAT(i); HIDE_FLOAT(j); HIDE_FLOAT(k); HIDE_FLOAT(l);
        HIDE_FLOAT(m); HIDE_FLOAT(n);
        CHECK_INT(co_yield_now(), 0);
        CHECK(a == seed && b == seed + 1 && c == seed + 2 && d == seed + 3 && e == seed + 4);
        CHECK(f == seed + 5 && g == seed + 6 && h == seed + 7 && i == seed + 8 && j == seed + 9);
        CHECK(k == seed + 10 && l == seed + 11 && m == seed + 12 && n == seed + 13);
        sum += a + n;
    }
    CHECK(sum == 4 * (2 * seed + 13));
    return 0;
}

static int keep_values(void *arg)
{
    int rc = keep_many_floats((double)(uintptr_t)arg);
    return rc < 0 ? rc : keep_many_values((unsigned)(uintptr_t)arg, 3);
}

static int keep_values_in_many_tasks(void *arg)
{
    co_task_t *tasks[20];
    for (size_t i = 0; i < 20; i++)
        tasks[i] = co_spawn(keep_values, (void *)((uintptr_t)arg + i * 97));
    return co_gather_tasks(tasks, 20);
}

static void values_survive_suspensions(void **state)
{
    (void)state;
    assert_int_equal(run_task(keep_values_in_many_tasks, NULL), 0);
}

/* The loop's own side: run_once from a frame that has much to lose. */
static void values_of_the_callers_of_the_loop_survive(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    double x = 1.5, y = 2.5;
    co_task_release(loop_spawn(loop, keep_values, (void *)7));
    do {
        HIDE(a); HIDE(b); HIDE(c); HIDE(d); HIDE(e); HIDE(f);
        assert_true(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 && x + y == 4);
    } while (loop_run_once(loop, 0));
    assert_int_equal(close_loop(loop), 0);
}

static int sum_long(void *arg)
{
    long double sum = 0;
    for (int i = 1; i <= 50; i++) {
        sum += 1.0L / i;
        CHECK_INT(co_yield_now(), 0);
    }
    *(long double *)arg = sum;
    return 0;
}

static void long_doubles_survive_suspensions(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    long double sums[3] = {0}, expected = 0;
    for (int i = 1; i <= 50; i++)
        expected += 1.0L / i;
    for (int i = 0; i < 3; i++)
        co_task_release(loop_spawn(loop, sum_long, &sums[i]));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
    for (int i = 0; i < 3; i++)
        assert_true(sums[i] == expected);
}

/* --- The first frame -------------------------------------------------------------------------- */

static int print_floats(void *arg)
{
    char text[256];
    double x = 3.25;
    long double y = 2.0L / 3;
    snprintf(text, sizeof text, "%s %.3f %e %g %a %.6Lf %d", "x", x, x * 1e10, x, x, y, 42);
    CHECK(strcmp(text, "x 3.250 3.250000e+10 3.25 0x1.ap+1 0.666667 42") == 0);
    return arg ? co_await_task(co_spawn(print_floats, NULL)) : 0;
}

static void floats_are_printed_on_a_coroutines_stack(void **state)
{
    (void)state;
    assert_int_equal(run_task(print_floats, ""), 0);
}

/* Where a called function's stack pointer must be before the call: a multiple of 16. The frame's
 * address is two words below that. */
static int check_alignment(void *arg)
{
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0) + 2 * sizeof(void *);
    _Alignas(16) char sixteen[16];
    _Alignas(64) char line[64];
    uintptr_t a = (uintptr_t)sixteen, b = (uintptr_t)line;
    HIDE(frame); HIDE(a); HIDE(b);
    CHECK_INT(frame % 16, 0);
    CHECK_INT(a % 16, 0);
    CHECK_INT(b % 64, 0);
    co_spawn_options_t eager = {.eager = true};
    if (arg)
        return co_await_task(co_spawn_with(&eager, check_alignment, NULL));
    return 0;
}

static void the_first_frame_is_aligned(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(run_task(check_alignment, ""), 0);
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    return _Unwind_GetIP(context) && ++*(int *)arg < 100 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static int unwind(void *arg)
{
    int frames = 0;
    CHECK_INT(co_yield_now(), 0);
    _Unwind_Backtrace(count_frame, &frames);
    CHECK(frames > 2 && frames < 20);
    return arg ? frames : 0;
}

static void a_backtrace_ends_at_the_coroutines_beginning(void **state)
{
    (void)state;
    SKIP_IF(!has_unwinder(), "no tables to unwind by");
    assert_int_equal(run_task(unwind, NULL), 0);
}

/* --- Signals and modes ------------------------------------------------------------------------ */

static sigset_t mask_now(void)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return mask;
}

static void set_blocked(int signo, bool blocked)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static bool is_blocked(int signo)
{
    sigset_t mask = mask_now();
    return sigismember(&mask, signo);
}

static int look_at_mask(void *arg)
{
    (void)arg;
    CHECK(is_blocked(SIGUSR1));
    CHECK(!is_blocked(SIGHUP));
    return 0;
}

static int change_mask_and_spawn(void *arg)
{
    CHECK(is_blocked(SIGUSR1));
    set_blocked(SIGUSR2, true);
    co_task_t *tasks[40]; /* of which many are births */
    for (int i = 0; i < 40; i++)
        tasks[i] = co_spawn(look_at_mask, arg);
    CHECK(is_blocked(SIGUSR1));
    CHECK(is_blocked(SIGUSR2));
    CHECK(!is_blocked(SIGHUP));
    CHECK_INT(co_gather_tasks(tasks, 40), 0);
    set_blocked(SIGUSR2, false);
    CHECK_INT(co_await_task(co_spawn(look_at_mask, arg)), 0);
    CHECK(!is_blocked(SIGUSR2));
    return 0;
}

static void a_birth_leaves_the_signal_mask_alone(void **state)
{
    (void)state;
    set_blocked(SIGUSR1, true);
    assert_int_equal(run_task(change_mask_and_spawn, NULL), 0);
    assert_true(is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGUSR2));
    set_blocked(SIGUSR1, false);
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int round_up_and_spawn(void *arg)
{
    fesetround(FE_UPWARD);
    for (int i = 0; i < 20; i++)
        CHECK_INT(co_go(do_nothing, arg), 0);
    int mode = fegetround();
    fesetround(FE_TONEAREST);
    CHECK_INT(mode, FE_UPWARD);
    return 0;
}

static void a_birth_leaves_the_rounding_mode_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(round_up_and_spawn, NULL), 0);
}

static volatile sig_atomic_t interruptions;

static void interrupt(int signo)
{
    volatile char frame[2000];
    frame[signo] = 1;
    interruptions += frame[signo];
}

static int yield_under_fire(void *arg)
{
    uint64_t before = 0;
    for (int i = 0; i < 100000 && interruptions < 50; i++) {
        uint64_t now = (uint64_t)i * 3 + 1;
        HIDE(now);
        CHECK_INT(co_yield_now(), 0);
        CHECK(now == (uint64_t)i * 3 + 1 && now > before);
        before = now;
        if (i % 100 == 0)
            CHECK_INT(co_go(keep_values, arg), 0);
    }
    return 0;
}

static void signals_may_come_between_any_two_instructions(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    interruptions = 0;
    setitimer(ITIMER_REAL, &often, NULL);
    int result = run_task(yield_under_fire, (void *)5);
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN); /* one may still be under way */
    assert_int_equal(result, 0);
}

/* --- Several threads -------------------------------------------------------------------------- */

static int count_yields(void *arg)
{
    for (int i = 0; i < 500; i++)
        if (co_yield_now() == 0)
            ++*(int *)arg;
    return *(int *)arg;
}

static void *run_a_loop(void *arg)
{
    return (void *)(intptr_t)co_run(count_yields, arg);
}

static void each_thread_switches_for_itself(void **state)
{
    (void)state;
    pthread_t threads[4];
    int counts[4] = {0};
    void *result;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_a_loop, &counts[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_int_equal((intptr_t)result, 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_switch_goes_there_and_back),
        cmocka_unit_test(contexts_switch_among_themselves),
        cmocka_unit_test(the_depth_of_a_suspended_context_is_known),
        cmocka_unit_test(values_survive_suspensions),
        cmocka_unit_test(values_of_the_callers_of_the_loop_survive),
        cmocka_unit_test(long_doubles_survive_suspensions),
        cmocka_unit_test(floats_are_printed_on_a_coroutines_stack),
        cmocka_unit_test(the_first_frame_is_aligned),
        cmocka_unit_test(a_backtrace_ends_at_the_coroutines_beginning),
        cmocka_unit_test(a_birth_leaves_the_signal_mask_alone),
        cmocka_unit_test(a_birth_leaves_the_rounding_mode_alone),
        cmocka_unit_test(signals_may_come_between_any_two_instructions),
        cmocka_unit_test(each_thread_switches_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
