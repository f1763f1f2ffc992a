/* The ends of channels and of waiting for them: closing, freeing, cancellation, memory. */
#include "test_chan.h"

#include <stdio.h>

/* --- Closing ---------------------------------------------------------------------------------- */

static int close_on_senders(void *arg)
{
    int n = -1;
    (void)arg;
    open_chan(2);
    for (int i = 1; i <= 4; i++)
        co_go(send_one, number(i));
    settle();
    co_chan_close(chan);
    settle();
    CHECK_INT(received(), 1);
    CHECK_INT(received(), 2);
    CHECK_INT(co_chan_recv(chan, &n), -EPIPE);
    CHECK_INT(n, -1);
    co_chan_free(chan);
    return 0;
}

static void closing_turns_parked_senders_away_and_leaves_what_is_buffered(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_on_senders, NULL), 0);
    assert_string_equal(traced(), "send1:ok send2:ok send3:closed send4:closed");
}

static int close_on_receivers(void *arg)
{
    (void)arg;
    open_chan(*(size_t *)arg);
    for (int i = 1; i <= 3; i++)
        co_go(recv_one, number(i));
    settle();
    co_chan_close(chan);
    CHECK_INT(try_number(1), -EPIPE);
    settle();
    co_chan_free(chan);
    return 0;
}

static void closing_wakes_all_parked_receivers(void **state)
{
    (void)state;
    const char *expected = "recv1=-1:closed recv2=-1:closed recv3=-1:closed";
    assert_int_equal(run_task(close_on_receivers, &(size_t){0}), 0);
    assert_string_equal(traced(), expected);
    assert_int_equal(run_task(close_on_receivers, &(size_t){5}), 0);
    assert_string_equal(traced(), expected);
}

static int close_twice(void *arg)
{
    int n = 1;
    (void)arg;
    open_chan(CO_UNBOUNDED);
    CHECK_INT(try_number(1), 0);
    co_chan_close(chan);
    co_chan_close(chan);
    CHECK_INT(co_chan_send(chan, &n), -EPIPE);
    CHECK_INT((int)co_chan_len(chan), 1);
    CHECK_INT(received(), 1);
    CHECK_INT(co_chan_recv(chan, &n), -EPIPE);
    co_chan_close(chan);
    co_chan_free(chan);
    return 0;
}

static void a_closed_channel_takes_nothing_and_may_be_closed_again(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_twice, NULL), 0);
}

/* The item was handed over first: the close that follows does not take it away. */
static int send_then_close(void *arg)
{
    (void)arg;
    open_chan(0);
    co_go(recv_one, number(1));
    co_go(recv_one, number(2));
    settle();
    CHECK_INT(try_number(5), 0);
    co_chan_close(chan);
    co_chan_free(chan); /* nobody waits any more */
    settle();
    return 0;
}

static void who_has_its_item_is_not_touched_by_close_and_free(void **state)
{
    (void)state;
    assert_int_equal(run_task(send_then_close, NULL), 0);
    assert_string_equal(traced(), "recv1:5 recv2=-1:closed");
}

/* --- Freeing ---------------------------------------------------------------------------------- */

static int free_under_waiters(void *arg)
{
    (void)arg;
    open_chan(0);
    co_go(*(bool *)arg ? send_one : recv_one, number(1));
    co_go(*(bool *)arg ? send_one : recv_one, number(2));
    settle();
    co_chan_free(chan);
    trace("freed");
    settle();
    return 0;
}

static void run_free_under(bool senders, const char *expected)
{
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, free_under_waiters, &senders));
    assert_int_equal(loop_run(loop), 0);
    assert_true(reports() > 0);
    assert_non_null(strstr(reported(), "co_chan_free"));
    assert_int_equal(close_loop(loop), 0);
    assert_string_equal(traced(), expected);
}

static void freeing_under_waiters_is_reported_and_they_are_told(void **state)
{
    (void)state;
    run_free_under(true, "freed send1:closed send2:closed");
    run_free_under(false, "freed recv1=-1:closed recv2=-1:closed");
}

static co_task_t *waiter;

/* Does to the channel what it can while co_chan_free is at work. */
static void meddle(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    int n = 0;
    (void)loop, (void)exception, (void)arg;
    trace("report");
    co_task_cancel(waiter);
    trace("%s", word(try_number(1)));
    trace("%s", word(co_chan_try_recv(chan, &n)));
}

static void the_report_of_a_free_may_use_the_channel(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    loop_set_exception_handler(loop, meddle, NULL);
    open_chan(1);
    waiter = loop_spawn(loop, recv_one, number(1));
    loop_run_once(loop, 0);
    co_chan_free(chan);
    assert_int_equal(loop_run(loop), 0);
    co_task_release(waiter);
    assert_int_equal(close_loop(loop), 0);
    assert_string_equal(traced(), "report ok ok recv1=-1:cancelled");
}

static void freeing_nothing_and_freeing_a_full_channel(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_chan_free(NULL);
    open_chan(CO_UNBOUNDED);
    for (int i = 0; i < 100; i++)
        assert_int_equal(try_number(i), 0);
    co_chan_free(chan);
    assert_int_equal(reports(), 0);
    close_loop(loop); /* nothing leaks */
}

static void a_channel_may_outlive_its_loop(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    open_chan(0);
    co_task_release(loop_spawn(loop, recv_one, number(1)));
    co_task_release(loop_spawn(loop, recv_one, number(2)));
    loop_run_once(loop, 0);
    assert_int_equal(loop_close(loop), 2);
    assert_int_equal(try_number(1), -EAGAIN); /* nobody is there */
    co_chan_free(chan);
    assert_int_equal(blocks(), 0);
    assert_string_equal(traced(), "recv1=-1:cancelled recv2=-1:cancelled");
}

/* --- Cancellation and deadlines --------------------------------------------------------------- */

static int cancel_waiters(void *arg)
{
    (void)arg;
    open_chan(0);
    co_task_t *sender = co_spawn(send_one, number(1));
    co_go(send_one, number(2));
    settle();
    co_task_cancel(sender);
    CHECK_INT(received(), 2); /* the cancelled one is passed over, though it has not run yet */
    CHECK_INT(co_chan_try_recv(chan, NULL), -EAGAIN);
    co_task_release(sender);
    settle();
    co_task_t *receiver = co_spawn(recv_one, number(3));
    co_go(recv_one, number(4));
    settle();
    co_task_cancel(receiver);
    CHECK_INT(try_number(5), 0);
    CHECK_INT(try_number(6), -EAGAIN);
    co_task_release(receiver);
    settle();
    co_chan_free(chan);
    return 0;
}

static void a_cancelled_call_has_had_no_effect(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_waiters, NULL), 0);
    assert_string_equal(traced(), "send1:cancelled send2:ok recv3=-1:cancelled recv4:5");
}

static int recv_then_sleep(void *arg)
{
    recv_one(arg);
    trace("next:%s", word(co_sleep(10)));
    return 0;
}

static int chosen_then_cancelled(void *arg)
{
    (void)arg;
    open_chan(0);
    co_task_t *receiver = co_spawn(recv_then_sleep, number(1));
    settle();
    CHECK_INT(try_number(5), 0);
    co_task_cancel(receiver);
    CHECK_INT(co_await_task(receiver), 0);
    co_chan_free(chan);
    return 0;
}

static void an_item_that_has_moved_beats_a_cancellation(void **state)
{
    (void)state;
    assert_int_equal(run_task(chosen_then_cancelled, NULL), 0);
    assert_string_equal(traced(), "recv1:5 next:cancelled");
}

static int out_of_time(void *arg)
{
    int n = 1, rc = 0;
    (void)arg;
    open_chan(1);
    co_timeout(0) rc = co_chan_recv(chan, &n);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(0) rc = co_chan_send(chan, &n);
    CHECK_INT(rc, 0);
    co_timeout(30) rc = co_chan_send(chan, &n);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT((int)co_chan_len(chan), 1);
    co_timeout(0) rc = co_chan_recv(chan, &n);
    CHECK_INT(rc, 0);
    co_timeout(30) rc = co_chan_recv(chan, &n);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(try_number(1), 0);
    CHECK_INT((int)co_chan_len(chan), 1); /* no receiver was left behind */
    co_chan_free(chan);
    return 0;
}

static void a_deadline_ends_the_wait_without_effect(void **state)
{
    (void)state;
    assert_int_equal(run_task(out_of_time, NULL), 0);
}

static int cancelled_before(void *arg)
{
    int n = 2;
    (void)arg;
    open_chan(1);
    CHECK_INT(try_number(1), 0);
    co_task_cancel(co_self());
    CHECK_INT(co_chan_recv(chan, &n), -ECANCELED);
    CHECK_INT(co_chan_send(chan, &n), -ECANCELED);
    CHECK_INT((int)co_chan_len(chan), 1);
    co_shield() CHECK_INT(co_chan_recv(chan, &n), 0);
    CHECK_INT(n, 1);
    co_chan_free(chan);
    return 0;
}

static void within_a_cancelled_task_even_a_ready_channel_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancelled_before, NULL), 0);
}

/* --- Limits ----------------------------------------------------------------------------------- */

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    co_chan_options_t unknown = {.order = 99}, negative = {.order = -1};
    co_chan_options_t without_compare = {.order = CO_PRIORITY};
    errno = 0;
    assert_null(co_chan_new_with(4, 1, &unknown));
    assert_int_equal(errno, EINVAL);
    assert_null(co_chan_new_with(4, 1, &negative));
    errno = 0;
    assert_null(co_chan_new_with(4, 1, &without_compare));
    assert_int_equal(errno, EINVAL);
    assert_null(co_chan_new(SIZE_MAX, 1));
    loop_t *loop = open_loop();
    fail_allocation(1, true);
    errno = 0;
    assert_null(co_chan_new(4, 1));
    assert_int_equal(errno, ENOMEM);
    close_loop(loop);
}

/* The buffer grows now and then; each time without memory the send fails and nothing is lost. */
static int grow_without_memory(void *arg)
{
    int next = 0, failed = 0;
    (void)arg;
    open_chan(CO_UNBOUNDED);
    while (next < 1000) {
        fail_allocation(1, true);
        int rc = co_chan_send(chan, &next);
        fail_allocation(0, false);
        CHECK(rc == 0 || rc == -ENOMEM);
        failed += rc < 0;
        if (rc < 0)
            CHECK_INT(co_chan_send(chan, &next), 0);
        CHECK_INT((int)co_chan_len(chan), ++next);
    }
    CHECK(failed > 0);
    for (int i = 0; i < 1000; i++)
        CHECK_INT(received(), i);
    co_chan_free(chan);
    return 0;
}

static void without_memory_a_send_fails_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(grow_without_memory, NULL), 0);
}

static int meet_without_memory(void *arg)
{
    (void)arg;
    open_chan(0);
    co_task_t *sender = co_spawn(send_one, number(1));
    co_task_t *receiver = co_spawn(recv_one, number(2));
    fail_allocation(1, true);
    settle();
    fail_allocation(0, false);
    CHECK_INT(co_await_task(sender), 0);
    CHECK_INT(co_await_task(receiver), 0);
    co_chan_free(chan);
    return 0;
}

static void a_rendezvous_needs_no_memory(void **state)
{
    (void)state;
    assert_int_equal(run_task(meet_without_memory, NULL), 0);
    assert_string_equal(traced(), "recv2:1 send1:ok");
}

static int step(void *arg)
{
    int *steps = arg;
    for (; *steps < 20; ++*steps)
        co_yield_now();
    return 0;
}

static int busy(void *arg)
{
    int n = 0, steps = 0;
    (void)arg;
    open_chan(CO_UNBOUNDED);
    co_go(step, &steps);
    for (int i = 0; i < 10000; i++) {
        CHECK_INT(co_chan_send(chan, &n), 0);
        CHECK_INT(co_chan_recv(chan, &n), 0);
    }
    CHECK_INT(steps, 20);
    co_chan_free(chan);
    return 0;
}

static void a_task_whose_calls_all_succeed_gives_way_to_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(busy, NULL), 0);
}

static void who_waits_for_ever_is_reported_with_its_call(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    open_chan(0);
    co_task_release(loop_spawn(loop, recv_one, number(1)));
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_non_null(strstr(reported(), "co_chan_recv"));
    assert_int_equal(loop_close(loop), 1);
    co_chan_free(chan);
    assert_int_equal(blocks(), 0);
    assert_string_equal(traced(), "recv1=-1:cancelled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_turns_parked_senders_away_and_leaves_what_is_buffered),
        cmocka_unit_test(closing_wakes_all_parked_receivers),
        cmocka_unit_test(a_closed_channel_takes_nothing_and_may_be_closed_again),
        cmocka_unit_test(who_has_its_item_is_not_touched_by_close_and_free),
        cmocka_unit_test(freeing_under_waiters_is_reported_and_they_are_told),
        cmocka_unit_test(the_report_of_a_free_may_use_the_channel),
        cmocka_unit_test(freeing_nothing_and_freeing_a_full_channel),
        cmocka_unit_test(a_channel_may_outlive_its_loop),
        cmocka_unit_test(a_cancelled_call_has_had_no_effect),
        cmocka_unit_test(an_item_that_has_moved_beats_a_cancellation),
        cmocka_unit_test(a_deadline_ends_the_wait_without_effect),
        cmocka_unit_test(within_a_cancelled_task_even_a_ready_channel_is_left_alone),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(without_memory_a_send_fails_and_changes_nothing),
        cmocka_unit_test(a_rendezvous_needs_no_memory),
        cmocka_unit_test(a_task_whose_calls_all_succeed_gives_way_to_others),
        cmocka_unit_test(who_waits_for_ever_is_reported_with_its_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
