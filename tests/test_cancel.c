/* Cancelling tasks at every stage of their life, in every kind of call, and in the same moment as
 * what they wait for. */
#include "support.h"

#include <netinet/in.h>
#include <sys/socket.h>

static int fds[2];

static int sleep_only(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

/* --- Stages ----------------------------------------------------------------------------------- */

static int trace_call(void *arg)
{
    (void)arg;
    trace("begins");
    int rc = co_yield_now();
    trace("%s", rc == -ECANCELED ? "cancelled" : rc == 0 ? "yielded" : "?");
    return co_yield_now();
}

static void cancelled_before_it_begins_a_task_still_runs(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, trace_call, NULL);
    assert_false(co_task_cancelled(task));
    co_task_cancel(task);
    assert_true(co_task_cancelled(task));
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "begins cancelled");
    assert_int_equal(close_loop(loop), 0);
}

static void cancelled_while_it_is_ready_a_task_finds_out_in_its_next_call(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, trace_call, NULL);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "begins yielded");
    assert_int_equal(close_loop(loop), 0);
}

static int cancel_itself(void *arg)
{
    (void)arg;
    co_task_cancel(co_self());
    CHECK(co_task_cancelled(co_self()));
    CHECK_INT(co_sleep(5), -ECANCELED);
    co_task_cancel(co_self());
    CHECK_INT(co_sleep(5), -ECANCELED);
    return 1;
}

static void a_task_may_cancel_itself_and_twice(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_itself, NULL), 1);
}

static int no_calls_left(void *arg)
{
    CHECK_INT(co_yield_now(), 0);
    return (int)(intptr_t)arg;
}

static void cancelled_after_its_last_call_a_task_ends_as_it_would(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, no_calls_left, (void *)6);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_task_result(task), 6);
    assert_true(co_task_cancelled(task));
    co_task_cancel(task); /* done: allowed, and nothing happens */
    assert_int_equal(co_task_result(task), 6);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 0);
}

static void yield_deferred(void *arg)
{
    (void)arg;
    trace("%s", co_sleep(5) == -ECANCELED ? "cancelled" : "slept");
    co_shield() trace("%s", co_sleep(5) == 0 ? "slept" : "?");
}

static int suspend_at_the_end(void *arg)
{
    co_defer(yield_deferred, NULL);
    return (int)(intptr_t)arg;
}

static void cancelled_while_it_finishes_a_task_keeps_its_result(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, suspend_at_the_end, (void *)6);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), 6);
    assert_string_equal(traced(), "cancelled slept");
    assert_int_equal(close_loop(loop), 0);
}

/* --- Every call ------------------------------------------------------------------------------- */

static ssize_t call_sleep(void)
{
    return co_sleep(1000);
}
static ssize_t call_sleep_for_ever(void)
{
    return co_sleep(-1);
}
static ssize_t call_sleep_ns(void)
{
    return co_sleep_ns(1000 * MS);
}
static ssize_t call_sleep_until(void)
{
    return co_sleep_until(INT64_MAX - 1);
}
static ssize_t call_await_fd(void)
{
    return co_await_fd(fds[0], CO_READ);
}

static ssize_t call_read(void)
{
    char byte;
    return co_read(fds[0], &byte, 1);
}

static ssize_t call_recv(void)
{
    char byte;
    return co_recv(fds[0], &byte, 1, 0);
}

static ssize_t call_accept(void)
{
    return co_accept(fds[1], NULL, NULL);
}

static ssize_t call_write(void)
{
    static char data[4096];
    while (write(fds[0], data, sizeof data) > 0)
        ;
    return co_write(fds[0], data, sizeof data);
}

static ssize_t call_await(void)
{
    return co_await_task(co_spawn(sleep_only, NULL));
}
static ssize_t call_wait_for(void)
{
    return co_wait_for(co_spawn(sleep_only, NULL), 1000);
}

static ssize_t call_gather(void)
{
    return co_gather(co_spawn(sleep_only, NULL), co_spawn(sleep_only, NULL));
}

static ssize_t call_gather_all(void)
{
    co_task_t *tasks[] = {co_spawn(sleep_only, NULL), co_spawn(sleep_only, NULL)};
    return co_gather_all(tasks, 2, NULL);
}

static ssize_t call_wait(void)
{
    co_task_t *task = co_spawn(sleep_only, NULL);
    ssize_t rc = co_wait(&task, 1, CO_ALL);
    co_task_cancel(task);
    co_task_release(task);
    return rc;
}

typedef ssize_t call_fn(void);
static call_fn *const calls[] = {
    call_sleep,      call_sleep_for_ever, call_sleep_ns, call_sleep_until, call_await_fd,
    call_read,       call_recv,           call_write,    call_await,       call_wait_for,
    call_gather_all, call_gather,         call_wait,     call_accept,
};
enum { CALLS = sizeof calls / sizeof *calls };

static int make_call(void *arg)
{
    CHECK_INT((*(call_fn *const *)arg)(), -ECANCELED);
    for (int i = 0; i < 3; i++)
        CHECK_INT((*(call_fn *const *)arg)(), -ECANCELED); /* and again, at once */
    return -ECANCELED;
}

static void open_fds(bool listening)
{
    make_socketpair(fds);
    if (!listening)
        return;
    close(fds[1]);
    fds[1] = co_tcp_listen("127.0.0.1", 0, 1);
    assert_true(fds[1] >= 0);
}

static void every_call_ends_when_its_task_is_cancelled_and_so_do_all_later_ones(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        loop_t *loop = open_loop();
        open_fds(calls[i] == call_accept);
        co_task_t *task = loop_spawn(loop, make_call, (void *)&calls[i]);
        for (int pass = 0; pass < 4; pass++)
            loop_run_once(loop, 0);
        assert_false(co_task_done(task));
        co_task_cancel(task);
        assert_int_equal(loop_run_until(loop, task), -ECANCELED);
        assert_int_equal(loop_run(loop), 0);
        co_close(fds[0]);
        co_close(fds[1]);
        assert_int_equal(close_loop(loop), 0);
    }
}

static int insist(void *arg)
{
    (void)arg;
    char byte;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    for (int i = 0; i < 200; i++) {
        CHECK_INT(co_yield_now(), -ECANCELED);
        CHECK_INT(co_sleep(0), -ECANCELED);
        CHECK_INT(co_sleep_until(0), -ECANCELED);
        CHECK_INT(co_read(fds[0], &byte, 1), -ECANCELED); /* though there is one */
        CHECK_INT(co_write(fds[0], &byte, 1), -ECANCELED);
        co_timeout(100) CHECK_INT(co_yield_now(), -ECANCELED);
    }
    co_shield() CHECK_INT(co_read(fds[0], &byte, 1), 1);
    return 4;
}

static void cancellation_stays_until_the_task_ends(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    open_fds(false);
    assert_int_equal(write(fds[1], "x", 1), 1);
    co_task_t *task = loop_spawn(loop, insist, NULL);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), 4);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(close_loop(loop), 0);
}

/* --- In one moment ---------------------------------------------------------------------------- */

static int read_a_byte(void *arg)
{
    char byte;
    bool *got = arg;
    ssize_t n = co_read(fds[0], &byte, 1);
    *got = n == 1;
    CHECK(n == 1 || n == -ECANCELED);
    CHECK_INT(co_sleep(-1), -ECANCELED);
    return 0;
}

/* Byte and cancellation come in either order, with 0 to 2 passes in between. */
static void a_read_has_its_byte_or_is_cancelled_and_leaves_it(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        bool got = false;
        char byte;
        loop_t *loop = open_loop();
        open_fds(false);
        co_task_t *task = loop_spawn(loop, read_a_byte, &got);
        loop_run_once(loop, 0);
        for (int step = 0; step < 2; step++) {
            if (step == variant % 2)
                assert_int_equal(write(fds[1], "x", 1), 1);
            else
                co_task_cancel(task);
            for (int pass = 0; pass < variant / 2 && step == 0; pass++)
                loop_run_once(loop, 0);
        }
        assert_int_equal(loop_run_until(loop, task), 0);
        assert_int_equal(read(fds[0], &byte, 1), got ? -1 : 1);
        close(fds[0]);
        close(fds[1]);
        assert_int_equal(close_loop(loop), 0);
    }
}

static int sleep_10(void *arg)
{
    (void)arg;
    int rc = co_sleep(10);
    trace("%s", rc == 0 ? "slept" : "cancelled");
    CHECK_INT(co_sleep(-1), -ECANCELED);
    return rc;
}

static void cancel_task(void *task)
{
    co_task_cancel(task);
}

/* Both timers are of one deadline; whichever was set first. */
static void a_sleep_that_ends_in_the_moment_of_the_cancellation_is_one_or_the_other(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        loop_t *loop = open_loop();
        co_task_t *task = loop_spawn(loop, sleep_10, NULL);
        if (!first)
            loop_run_once(loop, 0);
        assert_int_equal(loop_call_later(loop, 10, cancel_task, task, NULL), 0);
        int rc = loop_run_until(loop, task);
        assert_string_equal(traced(), rc == 0 ? "slept" : "cancelled");
        assert_int_equal(close_loop(loop), 0);
    }
}

static int return_5(void *arg)
{
    (void)arg;
    CHECK_INT(co_sleep(10), 0);
    return 5;
}

static int await_it(void *arg)
{
    int rc = co_await_task(arg);
    CHECK_INT(co_yield_now(), -ECANCELED);
    return rc;
}

static void on_done_cancel(co_task_t *task, void *waiter)
{
    (void)task;
    co_task_cancel(waiter);
}

/* The callback runs after the task is done and before its waiter. */
static void an_awaited_result_arrives_in_spite_of_a_cancellation_just_after(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *child = co_task_retain(loop_spawn(loop, return_5, NULL));
    co_task_t *waiter = loop_spawn(loop, await_it, child);
    assert_int_equal(co_task_add_done_callback(child, on_done_cancel, waiter), 0);
    loop_run_once(loop, 0);
    assert_int_equal(loop_run_until(loop, waiter), 5);
    co_task_release(child);
    assert_int_equal(close_loop(loop), 0);
}

static int write_much(void *arg)
{
    size_t size = 1024 * 1024;
    char *data = calloc(1, size);
    CHECK(data != NULL);
    ssize_t n = co_write(fds[0], data, size);
    free(data);
    CHECK(n > 0 && n < (ssize_t)size);
    CHECK_INT(co_write(fds[0], "x", 1), -ECANCELED);
    *(ssize_t *)arg = n;
    return 0;
}

static void a_write_that_is_cancelled_half_way_tells_how_far_it_came(void **state)
{
    (void)state;
    ssize_t written = 0, there = 0;
    char data[4096];
    loop_t *loop = open_loop();
    open_fds(false);
    co_task_t *task = loop_spawn(loop, write_much, &written);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_int_equal(loop_run_until(loop, task), 0);
    for (ssize_t n; (n = read(fds[1], data, sizeof data)) > 0;)
        there += n;
    assert_int_equal(there, written);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Who cancels whom ------------------------------------------------------------------------- */

static int cancel_other(void *other)
{
    co_task_cancel(other);
    trace("asked");
    return 0;
}

static int be_cancelled(void *arg)
{
    trace("%s", co_sleep(-1) == -ECANCELED ? "cancelled" : "?");
    return arg ? 0 : -ECANCELED;
}

static void the_canceller_goes_on_before_the_cancelled_one(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, be_cancelled, NULL);
    assert_int_equal(co_go(cancel_other, task), 0);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    assert_string_equal(traced(), "asked cancelled");
    assert_int_equal(close_loop(loop), 0);
}

static int spawn_when_cancelled(void *arg)
{
    (void)arg;
    co_task_cancel(co_self());
    CHECK_INT(co_go(no_calls_left, NULL), 0); /* its call succeeds */
    return 0;
}

static void a_task_does_not_inherit_the_cancellation_of_its_spawner(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_when_cancelled, NULL), 0);
}

static int cancel_all(void *arg)
{
    co_task_t **tasks = arg;
    for (int i = 0; tasks[i]; i++)
        co_task_cancel(tasks[i]);
    return 0;
}

static void many_tasks_may_be_cancelled_at_once(void **state)
{
    (void)state;
    enum { N = 1000 };
    static co_task_t *tasks[N + 1];
    loop_t *loop = open_loop();
    for (int i = 0; i < N; i++)
        tasks[i] = loop_spawn(loop, i % 2 ? sleep_only : no_calls_left, NULL);
    loop_run_once(loop, 0);
    assert_int_equal(co_go(cancel_all, tasks), 0);
    assert_int_equal(loop_run(loop), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(co_task_result(tasks[i]), i % 2 ? -ECANCELED : 0);
        co_task_release(tasks[i]);
    }
    assert_int_equal(close_loop(loop), 0);
}

static int shield_itself(void *arg)
{
    int rc = 0;
    co_shield() rc = co_sleep(10);
    trace("%s", rc == 0 ? "slept" : "?");
    trace("%s", co_sleep(10) == -ECANCELED ? "cancelled" : "?");
    return arg ? 0 : rc;
}

static void a_shield_puts_the_cancellation_off_to_its_end(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, shield_itself, NULL);
    loop_run_once(loop, 0);
    co_task_cancel(task);
    assert_true(co_task_cancelled(task));
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_string_equal(traced(), "slept cancelled");
    assert_int_equal(close_loop(loop), 0);
}

/* --- At the loop's close ---------------------------------------------------------------------- */

static int work_on(void *arg)
{
    (void)arg;
    int n = 0;
    while (n < 1000 && co_sleep(1000) == 0)
        n++;
    trace("%s", n == 1000 ? "ended" : "stopped");
    return 0;
}

static int spawn_at_the_end(void *arg)
{
    (void)arg;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    return co_go(work_on, NULL);
}

static void a_task_spawned_while_the_loop_closes_is_cancelled_like_the_others(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(spawn_at_the_end, NULL), 0);
    loop_run_once(loop, 0);
    assert_true(close_loop(loop) >= 1);
    assert_string_equal(traced(), "stopped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_before_it_begins_a_task_still_runs),
        cmocka_unit_test(cancelled_while_it_is_ready_a_task_finds_out_in_its_next_call),
        cmocka_unit_test(a_task_may_cancel_itself_and_twice),
        cmocka_unit_test(cancelled_after_its_last_call_a_task_ends_as_it_would),
        cmocka_unit_test(cancelled_while_it_finishes_a_task_keeps_its_result),
        cmocka_unit_test(every_call_ends_when_its_task_is_cancelled_and_so_do_all_later_ones),
        cmocka_unit_test(cancellation_stays_until_the_task_ends),
        cmocka_unit_test(a_read_has_its_byte_or_is_cancelled_and_leaves_it),
        cmocka_unit_test(a_sleep_that_ends_in_the_moment_of_the_cancellation_is_one_or_the_other),
        cmocka_unit_test(an_awaited_result_arrives_in_spite_of_a_cancellation_just_after),
        cmocka_unit_test(a_write_that_is_cancelled_half_way_tells_how_far_it_came),
        cmocka_unit_test(the_canceller_goes_on_before_the_cancelled_one),
        cmocka_unit_test(a_task_does_not_inherit_the_cancellation_of_its_spawner),
        cmocka_unit_test(many_tasks_may_be_cancelled_at_once),
        cmocka_unit_test(a_shield_puts_the_cancellation_off_to_its_end),
        cmocka_unit_test(a_task_spawned_while_the_loop_closes_is_cancelled_like_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
