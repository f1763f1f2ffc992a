/* Select over channels: cancellation, deadlines, and what is refused. */
#include "test_select.h"

#include <stdio.h>

/* --- Cancellation and deadlines --------------------------------------------------------------- */

static int cancel_select(void *arg)
{
    int in = -1, out = 1;
    (void)arg;
    open_chans(0);
    struct selector selector = {.cases = {CO_RECV(chans[0], &in), CO_SEND(chans[1], &out)}, .n = 2};
    park_selector(&selector);
    co_task_cancel(selector.task);
    check_nobody_waits(chans[0]);
    check_nobody_waits(chans[1]);
    join_selector(&selector);
    CHECK_INT(selector.rc, -ECANCELED);
    CHECK_INT(in, -1);
    free_chans();
    return 0;
}

static void a_cancelled_select_has_had_no_effect(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_select, NULL), 0);
}

static int select_then_sleep(void *arg)
{
    run_selector(arg);
    trace("next:%d", co_sleep(10) == -ECANCELED);
    return 0;
}

static int chosen_then_cancelled(void *arg)
{
    int in = -1;
    (void)arg;
    open_chans(0);
    struct selector selector = {.cases = {CO_RECV(chans[0], &in), CO_RECV(chans[1], &in)}, .n = 2};
    co_task_t *task = co_spawn(select_then_sleep, &selector);
    settle();
    CHECK_INT(put(chans[1], 5), 0);
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(in, 5);
    free_chans();
    return 0;
}

static void a_case_that_has_happened_beats_a_cancellation(void **state)
{
    (void)state;
    assert_int_equal(run_task(chosen_then_cancelled, NULL), 0);
    assert_string_equal(traced(), "1 next:1");
}

static int deadlines(void *arg)
{
    int in = -1, rc = 0;
    (void)arg;
    open_chans(1);
    co_case_t cases[] = {CO_RECV(chans[0], &in), CO_RECV(chans[1], &in)};
    co_timeout(0) rc = co_select(cases, 2);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(50) rc = co_select(cases, 2);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(put(chans[1], 5), 0);
    CHECK_INT((int)co_chan_len(chans[1]), 1);
    co_timeout(0) rc = co_select(cases, 2);
    CHECK_INT(rc, 1);
    CHECK_INT(in, 5);
    free_chans();
    return 0;
}

static void a_deadline_ends_a_select_and_a_try_succeeds(void **state)
{
    (void)state;
    assert_int_equal(run_task(deadlines, NULL), 0);
}

static int cancelled_before(void *arg)
{
    int in = -1, rc = 0;
    (void)arg;
    open_chans(1);
    CHECK_INT(put(chans[0], 5), 0);
    co_case_t recv = CO_RECV(chans[0], &in);
    co_task_cancel(co_self());
    CHECK_INT(co_select(&recv, 1), -ECANCELED);
    CHECK_INT(in, -1);
    co_shield() rc = co_select(&recv, 1);
    CHECK_INT(rc, 0);
    free_chans();
    return 0;
}

static void within_a_cancelled_task_even_a_ready_case_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancelled_before, NULL), 0);
}

static int wait_for_ever(void *arg)
{
    co_case_t cases[] = {CO_RECV(chans[0], NULL), CO_RECV(chans[1], NULL)};
    (void)arg;
    trace("%d", co_select(cases, 2) == -ECANCELED);
    return 0;
}

static void a_select_that_waits_for_ever_is_reported_and_ended_by_close(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    open_chans(0);
    co_task_release(loop_spawn(loop, wait_for_ever, NULL));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_non_null(strstr(reported(), "co_select"));
    assert_int_equal(loop_close(loop), 1);
    check_nobody_waits(chans[0]);
    free_chans();
    assert_int_equal(blocks(), 0);
    assert_string_equal(traced(), "1");
}

/* --- Limits ----------------------------------------------------------------------------------- */

static int nonsense(void *arg)
{
    int in;
    (void)arg;
    open_chans(1);
    CHECK_INT(put(chans[0], 1), 0);
    co_case_t cases[] = {CO_RECV(chans[0], &in), CO_RECV(chans[1], &in)};
    CHECK_INT(co_select(cases, 0), -EINVAL);
    CHECK_INT(co_select(NULL, 0), -EINVAL);
    cases[1].kind = (enum co__case_kind)99;
    CHECK_INT(co_select(cases, 2), -EINVAL);
    CHECK_INT((int)co_chan_len(chans[0]), 1);
    free_chans();
    return 0;
}

static void cases_that_are_none_are_refused(void **state)
{
    (void)state;
    assert_int_equal(run_task(nonsense, NULL), 0);
}

static void outside_a_coroutine_select_does_nothing(void **state)
{
    (void)state;
    int in = -1;
    loop_t *loop = open_loop();
    open_chans(1);
    assert_int_equal(put(chans[0], 1), 0);
    co_case_t recv = CO_RECV(chans[0], &in);
    assert_int_equal(co_select(&recv, 1), -EPERM);
    assert_int_equal(in, -1);
    assert_int_equal(take(chans[0]), 1);
    free_chans();
    close_loop(loop);
}

enum { MANY = 200 };

static int send_late(void *arg)
{
    int n = 42;
    co_sleep(5);
    return co_chan_send(arg, &n);
}

static int many_cases(void *arg)
{
    co_chan_t *many[MANY];
    co_case_t cases[MANY];
    int in = -1;
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        many[i] = co_chan_new(sizeof(int), 0);
        cases[i] = CO_RECV(many[i], &in);
    }
    fail_allocation(1, true);
    CHECK_INT(co_select(cases, MANY), -ENOMEM);
    fail_allocation(0, false);
    for (int i = 0; i < MANY; i++)
        check_nobody_waits(many[i]);
    co_go(send_late, many[150]);
    CHECK_INT(co_select(cases, MANY), 150);
    CHECK_INT(in, 42);
    for (int i = 0; i < MANY; i++) {
        check_nobody_waits(many[i]);
        co_chan_free(many[i]);
    }
    return 0;
}

static void many_cases_wait_in_memory_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(run_task(many_cases, NULL), 0);
}

static int send_without_memory(void *arg)
{
    int out = 5, in = -1;
    (void)arg;
    open_chans(1);
    co_case_t cases[] = {CO_SEND(chans[0], &out), CO_RECV(chans[1], &in)};
    fail_allocation(1, true);
    int rc = co_select(cases, 2);
    fail_allocation(0, false);
    CHECK(rc == -ENOMEM || (rc == 0 && cases[0].result == -ENOMEM));
    CHECK_INT((int)co_chan_len(chans[0]), 0);
    CHECK_INT(co_select(cases, 2), 0);
    CHECK_INT(cases[0].result, 0);
    CHECK_INT(take(chans[0]), 5);
    free_chans();
    return 0;
}

static void a_send_case_without_memory_to_buffer_says_so(void **state)
{
    (void)state;
    assert_int_equal(run_task(send_without_memory, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_select_has_had_no_effect),
        cmocka_unit_test(a_case_that_has_happened_beats_a_cancellation),
        cmocka_unit_test(a_deadline_ends_a_select_and_a_try_succeeds),
        cmocka_unit_test(within_a_cancelled_task_even_a_ready_case_is_left_alone),
        cmocka_unit_test(a_select_that_waits_for_ever_is_reported_and_ended_by_close),
        cmocka_unit_test(cases_that_are_none_are_refused),
        cmocka_unit_test(outside_a_coroutine_select_does_nothing),
        cmocka_unit_test(many_cases_wait_in_memory_of_their_own),
        cmocka_unit_test(a_send_case_without_memory_to_buffer_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
