/* The selectors: how long they wait, and many fds at once. */
#include "test_selector.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#ifdef __linux__
#include <sys/syscall.h>

#ifdef SYS_epoll_pwait2
#define FINE_WAIT SYS_epoll_pwait2
#else
#define FINE_WAIT (-1)
#endif

/* The linker has all calls of syscall come here (--wrap): the kernel has no epoll_pwait2, on
 * demand. */
static int fine_wait_error;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == FINE_WAIT && fine_wait_error) {
        errno = fine_wait_error;
        return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int set_up_coarse(void **state)
{
    fine_wait_error = ENOSYS;
    return set_up(state);
}

static int tear_down_coarse(void **state)
{
    fine_wait_error = 0;
    return tear_down(state);
}

#define COARSE(test)                                                                               \
    {                                                                                              \
#test " (old kernel)", test, set_up_coarse, tear_down_coarse,                              \
            (void *)&coloop__selector_epoll                                                        \
    }
#endif

/* --- Waiting ---------------------------------------------------------------------------------- */

static void a_wait_is_never_shorter_than_told(void **state)
{
    (void)state;
    static const int64_t times[] = {1, 1000, 400000, 999999, 1000001, 2500000, 10000000};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t start = clock_real_now();
        assert_int_equal(ops->wait(s, times[i], events, 64), 0);
        assert_true(clock_real_now() - start >= times[i]);
    }
}

static void *write_later(void *arg)
{
    usleep(2000);
    fill(*(int *)arg, 1);
    return NULL;
}

static void check_wait_ends_with(int64_t timeout)
{
    pthread_t thread;
    char byte;
    assert_int_equal(pthread_create(&thread, NULL, write_later, &fds[1]), 0);
    assert_int_equal(ops->wait(s, timeout, events, 64), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(read(fds[0], &byte, 1), 1);
}

static void a_wait_ends_when_something_comes(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    check_wait_ends_with(-1);
    check_wait_ends_with(INT64_MAX);
    check_wait_ends_with(INT64_MAX - 1);
    check_wait_ends_with(WAIT_MAX);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signo)
{
    (void)signo;
    alarms++;
}

static void a_signal_ends_a_wait_with_nothing(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    alarms = 0;
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (!alarms) /* one that comes between two waits ends none */
        assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN); /* one may still be under way */
}

/* --- Many ------------------------------------------------------------------------------------- */

enum { MANY = 300 };

struct many {
    int ends[MANY][2];
    int seen[MANY];
};

static void open_many(struct many *many, unsigned interest)
{
    memset(many, 0, sizeof *many);
    for (int i = 0; i < MANY; i++) {
        make_pipe(many->ends[i]);
        assert_int_equal(ops->add(s, many->ends[i][0], interest, (uint32_t)i + 1), 0);
        fill(many->ends[i][1], 1);
    }
}

static void close_many(struct many *many)
{
    for (int i = 0; i < MANY; i++) {
        ops->remove(s, many->ends[i][0]);
        close(many->ends[i][0]);
        close(many->ends[i][1]);
    }
}

/* Takes a few events at a time; arms again what was spent. */
static void see_some(struct many *many, int rounds, int at_a_time, unsigned again)
{
    for (int round = 0; round < rounds; round++) {
        int n = ops->wait(s, WAIT_MAX, events, at_a_time);
        assert_in_range(n, 1, at_a_time);
        for (int k = 0; k < n; k++) {
            int i = (int)events[k].generation - 1;
            assert_int_equal(events[k].fd, many->ends[i][0]);
            many->seen[i]++;
            if (again)
                assert_int_equal(ops->modify(s, events[k].fd, again, events[k].generation), 0);
        }
    }
}

static void nobody_is_passed_over_for_ever(void **state)
{
    (void)state;
    static const unsigned interests[] = {SELECT_READ, SELECT_READ | SELECT_ONCE};
    struct many many;
    for (int k = 0; k < 2; k++) {
        open_many(&many, interests[k]);
        see_some(&many, 4 * MANY, 7, k ? interests[k] : 0);
        for (int i = 0; i < MANY; i++)
            assert_true(many.seen[i] > 0);
        close_many(&many);
    }
}

static void spent_ones_come_once_each(void **state)
{
    (void)state;
    struct many many;
    open_many(&many, SELECT_READ | SELECT_ONCE);
    see_some(&many, MANY, 1, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(many.seen[i], 1);
    expect_nothing();
    close_many(&many);
}

static void removals_in_any_order_leave_the_others(void **state)
{
    (void)state;
    struct many many;
    open_many(&many, SELECT_READ);
    for (int i = 0; i < MANY; i++)
        if (i * 7919 % 3)
            assert_int_equal(ops->remove(s, many.ends[i][0]), 0);
    see_some(&many, 10 * MANY, 3, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(many.seen[i] > 0, i * 7919 % 3 == 0);
    close_many(&many);
}

static void large_numbers_are_fds_like_others(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int large = (int)(limit.rlim_cur < 5000 ? limit.rlim_cur : 5000) - 1;
    assert_int_equal(dup2(fds[0], large), large);
    assert_int_equal(ops->add(s, large, SELECT_READ, UINT32_MAX), 0);
    fill(fds[1], 1);
    expect_one(large, UINT32_MAX, SELECT_READ);
    assert_int_equal(ops->remove(s, large), 0);
    close(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_wait_is_never_shorter_than_told), ON_ALL(a_wait_ends_when_something_comes),
        ON_ALL(a_signal_ends_a_wait_with_nothing), ON_ALL(nobody_is_passed_over_for_ever),
        ON_ALL(spent_ones_come_once_each),         ON_ALL(removals_in_any_order_leave_the_others),
        ON_ALL(large_numbers_are_fds_like_others),
#ifdef __linux__
        COARSE(a_wait_is_never_shorter_than_told), COARSE(a_wait_ends_when_something_comes),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
