/* Select over tasks, futures, events, signals and time. */
#include "support.h"

#include <signal.h>
#include <stdio.h>

static void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

/* A select in a task of its own. */
struct selector {
    co_case_t cases[8];
    size_t n;
    int rc;
    co_task_t *task;
};

static int run_selector(void *arg)
{
    struct selector *selector = arg;
    co_timeout(20000) selector->rc = co_select(selector->cases, selector->n);
    return 0;
}

static void park_selector(struct selector *selector)
{
    selector->rc = -1000;
    selector->task = co_spawn(run_selector, selector);
    CHECK(selector->task != NULL);
    settle();
    CHECK_INT(selector->rc, -1000);
}

static void join_selector(struct selector *selector)
{
    CHECK_INT(co_await_task(selector->task), 0);
}

static int try_select(co_case_t cases[], size_t n)
{
    int rc = 0;
    co_timeout(0) rc = co_select(cases, n);
    return rc;
}

/* --- Tasks ------------------------------------------------------------------------------------ */

static int sleep_then(void *arg)
{
    int n = *(int *)arg;
    co_sleep(n < 0 ? -n : n);
    return n;
}

static int select_task(void *arg)
{
    int fast = 10, slow = 50, bad = -30;
    (void)arg;
    co_task_t *tasks[] = {co_spawn(sleep_then, &slow), co_spawn(sleep_then, &fast),
                          co_spawn(sleep_then, &bad)};
    co_case_t cases[] = {CO_TASK(tasks[0]), CO_TASK(tasks[1]), CO_TASK(tasks[0])};
    CHECK_INT(co_select(cases, 3), 1);
    CHECK_INT(cases[1].result, 0);
    CHECK_INT(co_select(cases, 3), 1); /* done is done, and it is not consumed */
    CHECK_INT(co_await_task(tasks[1]), 10);
    cases[1] = CO_TASK(tasks[2]);
    CHECK_INT(co_select(cases, 3), 1);
    CHECK_INT(cases[1].result, 0);
    CHECK_INT(co_task_result(tasks[2]), -30);
    co_task_release(tasks[2]);
    cases[1] = CO_TASK(tasks[0]); /* the same task three times */
    CHECK(co_select(cases, 3) >= 0);
    CHECK_INT(co_await_task(tasks[0]), 50);
    return 0;
}

static void a_task_case_tells_that_it_is_done_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_task, NULL), 0);
}

static int let_go(void *arg)
{
    int slow = 50, n = 0;
    (void)arg;
    co_chan_t *chan = co_chan_new(sizeof n, 0);
    co_task_t *task = co_spawn(sleep_then, &slow);
    struct selector selector = {.cases = {CO_TASK(task), CO_RECV(chan, &n)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_chan_send(chan, &n), 0);
    join_selector(&selector);
    CHECK_INT(selector.rc, 1);
    CHECK(!co_task_cancelled(task)); /* nothing is cancelled either */
    CHECK_INT(co_await_task(task), 50);
    CHECK_INT(co_task_done(co_self()), false);
    co_case_t self = CO_TASK(co_self());
    CHECK_INT(try_select(&self, 1), -EDEADLK);
    co_chan_free(chan);
    return 0;
}

static void a_task_that_was_waited_for_in_vain_goes_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(let_go, NULL), 0);
}

/* The last handle goes while the select waits. */
static int released(void *arg)
{
    int slow = 50;
    (void)arg;
    co_task_t *task = co_spawn(sleep_then, &slow);
    struct selector selector = {.cases = {CO_TASK(task), CO_AFTER(1000)}, .n = 2};
    park_selector(&selector);
    co_task_release(task);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    return 0;
}

static void a_task_may_be_released_while_a_select_waits_for_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(released, NULL), 0);
}

/* --- Futures and events ----------------------------------------------------------------------- */

static int select_future(void *arg)
{
    co_future_t futures[2] = {0};
    void *value = NULL;
    (void)arg;
    struct selector selector = {
        .cases = {CO_FUTURE(&futures[0]), CO_FUTURE(&futures[1]), CO_FUTURE(&futures[1])}, .n = 3};
    park_selector(&selector);
    CHECK_INT(co_future_resolve(&futures[1], -7, &value), 0);
    CHECK_INT(co_future_resolve(&futures[0], 1, NULL), 0); /* too late to be the one */
    join_selector(&selector);
    CHECK(selector.rc > 0);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(co_await_future(&futures[1], &value), -7);
    CHECK(value == (void *)&value);
    CHECK_INT(try_select(&selector.cases[1], 1), 0);
    return 0;
}

static void a_future_case_tells_that_it_is_settled_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_future, NULL), 0);
}

static int select_event(void *arg)
{
    co_event_t events[2] = {0};
    (void)arg;
    struct selector selector = {
        .cases = {CO_EVENT(&events[0]), CO_EVENT(&events[1]), CO_EVENT(&events[1])}, .n = 3};
    park_selector(&selector);
    co_event_set(&events[1]);
    co_event_clear(&events[1]); /* who waited is woken all the same */
    co_event_set(&events[0]);
    join_selector(&selector);
    CHECK(selector.rc > 0);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(try_select(selector.cases, 3), 0);
    CHECK(co_event_is_set(&events[0]));
    co_event_clear(&events[0]);
    CHECK_INT(try_select(selector.cases, 3), -ETIMEDOUT);
    return 0;
}

static void an_event_case_tells_that_it_was_set_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_event, NULL), 0);
}

/* --- Signals ---------------------------------------------------------------------------------- */

static bool is_ignored(int signo)
{
    struct sigaction action;
    return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int select_signal(void *arg)
{
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {.cases = {CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR2)}, .n = 2};
        park_selector(&selector);
        raise(SIGUSR2);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        CHECK_INT(selector.cases[1].result, 0);
        CHECK_INT(try_select(selector.cases, 2), -ETIMEDOUT); /* it is not told again */
    }
    co_case_t none = CO_SIGNAL(SIGKILL), negative = CO_SIGNAL(-1);
    CHECK_INT(co_select(&none, 1), -EINVAL);
    CHECK_INT(co_select(&negative, 1), -EINVAL);
    return 0;
}

static void a_signal_case_happens_when_it_arrives(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_signal, NULL), 0);
    assert_true(is_ignored(SIGUSR1) && is_ignored(SIGUSR2));
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

static void on_signal(void *arg)
{
    (void)arg;
    trace("handler");
}

static int signal_for_all(void *arg)
{
    loop_t *loop = loop_current();
    struct selector a = {.cases = {CO_SIGNAL(SIGUSR1), CO_AFTER(1000)}, .n = 2}, b = a;
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    CHECK_INT(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    park_selector(&a);
    park_selector(&b);
    raise(SIGUSR1);
    join_selector(&a);
    join_selector(&b);
    CHECK_INT(a.rc + b.rc, 0);
    settle();
    return 0;
}

static void a_signal_is_told_to_every_select_and_to_the_handler(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_for_all, NULL), 0);
    assert_string_equal(traced(), "handler");
    signal(SIGUSR1, SIG_DFL);
}

static int same_signal(void *arg)
{
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {
            .cases = {CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR1)}, .n = 3};
        park_selector(&selector);
        CHECK(!is_ignored(SIGUSR1));
        raise(SIGUSR1);
        join_selector(&selector);
        CHECK(selector.rc >= 0);
        CHECK_INT(try_select(selector.cases, 3), -ETIMEDOUT);
    }
    return 0;
}

static int wait_for_ever(void *arg)
{
    co_event_t never = {0};
    (void)arg;
    return co_event_wait(&never);
}

static void one_signal_in_several_cases_is_told_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(same_signal, NULL), 0);
    signal(SIGUSR1, SIG_DFL);
}

static int same_signal_then_wait(void *arg)
{
    same_signal(arg);
    return wait_for_ever(arg);
}

static void after_signal_cases_a_deadlock_is_still_noticed(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, same_signal_then_wait, NULL));
    alarm(20);
    assert_int_equal(loop_run(loop), -EDEADLK);
    alarm(0);
    assert_int_equal(close_loop(loop), 1);
    signal(SIGUSR1, SIG_DFL);
}

/* --- Time ------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    return loop_time(loop_current()) / MS;
}

static int select_after(void *arg)
{
    int64_t start = now_ms(), n = 0;
    (void)arg;
    co_case_t cases[] = {CO_AFTER(500), CO_AFTER(200), CO_AFTER(-1), CO_AFTER(INT64_MAX)};
    CHECK_INT(co_select(cases, 4), 1);
    CHECK_INT(now_ms() - start, 200);
    CHECK_INT(cases[1].result, 0);
    co_sleep(2000); /* the others are not left behind */
    CHECK_INT(now_ms() - start, 2200);
    co_chan_t *chan = co_chan_new(sizeof n, 1);
    co_case_t now[] = {CO_AFTER(0), CO_RECV(chan, &n)};
    CHECK_INT(co_select(now, 2), 0);
    CHECK_INT(now_ms() - start, 2200);
    for (int i = 0; i < 50; i++) { /* it happens only when no other case can */
        CHECK_INT(co_chan_try_send(chan, &n), 0);
        CHECK_INT(co_select(now, 2), 1);
    }
    co_chan_free(chan);
    return 0;
}

static void time_passes_as_a_case_and_no_time_as_a_default(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_after, NULL), 0);
}

static int never_early(void *arg)
{
    (void)arg;
    for (int ms = 1; ms < 20; ms += 6) {
        int64_t start = loop_time(loop_current());
        co_case_t after = CO_AFTER(ms);
        CHECK_INT(co_select(&after, 1), 0);
        CHECK(loop_time(loop_current()) - start >= ms * MS);
    }
    return 0;
}

static void in_real_time_it_is_never_early(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(never_early, NULL), 0);
}

static int deadline_and_after(void *arg)
{
    int rc = 0;
    co_case_t after = CO_AFTER(100);
    (void)arg;
    co_timeout(50) rc = co_select(&after, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(200) rc = co_select(&after, 1);
    CHECK_INT(rc, 0);
    return 0;
}

static void a_deadline_and_an_after_case_are_two_things(void **state)
{
    (void)state;
    assert_int_equal(run_task(deadline_and_after, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_case_tells_that_it_is_done_and_consumes_nothing),
        cmocka_unit_test(a_task_that_was_waited_for_in_vain_goes_on),
        cmocka_unit_test(a_task_may_be_released_while_a_select_waits_for_it),
        cmocka_unit_test(a_future_case_tells_that_it_is_settled_and_consumes_nothing),
        cmocka_unit_test(an_event_case_tells_that_it_was_set_and_consumes_nothing),
        cmocka_unit_test(a_signal_case_happens_when_it_arrives),
        cmocka_unit_test(a_signal_is_told_to_every_select_and_to_the_handler),
        cmocka_unit_test(one_signal_in_several_cases_is_told_once),
        cmocka_unit_test(after_signal_cases_a_deadlock_is_still_noticed),
        cmocka_unit_test(time_passes_as_a_case_and_no_time_as_a_default),
        cmocka_unit_test(in_real_time_it_is_never_early),
        cmocka_unit_test(a_deadline_and_an_after_case_are_two_things),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
