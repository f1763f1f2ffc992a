/* Channels where Python's tests of asyncio queues ask for more than test_chan*.c; the table is in
 * asyncio_conformance.md. */
#include "test_chan.h"

static int compare_ints(const void *a, const void *b)
{
    int x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void open_order(int order, size_t capacity)
{
    co_chan_options_t options = {.order = order, .compare = compare_ints};
    chan = co_chan_new_with(sizeof(int), capacity, &options);
    CHECK(chan != NULL);
}

static int try_take(void)
{
    int n = -1, rc = co_chan_try_recv(chan, &n);
    return rc < 0 ? rc : n;
}

/* Runs fn with a channel of each order. */
static void with_each_order(co_fn *fn, const char *expected)
{
    for (int order = CO_FIFO; order <= CO_PRIORITY; order++) {
        assert_int_equal(run_task(fn, &order), 0);
        assert_string_equal(traced(), expected);
    }
}

/* --- Callbacks at the other end --------------------------------------------------------------- */

static void put_five(void *arg)
{
    (void)arg;
    trace("put:%s", word(try_number(5)));
}

static void take_one(void *arg)
{
    (void)arg;
    trace("take:%d", try_take());
}

static int wait_for_a_callback(void *arg)
{
    (void)arg;
    open_chan(1);
    CHECK_INT(loop_call_later(loop_current(), 10, put_five, NULL, NULL), 0);
    CHECK_INT(received(), 5);
    CHECK_INT(loop_call_later(loop_current(), 10, take_one, NULL, NULL), 0);
    for (int i = 1; i <= 2; i++)
        send_one(number(i));
    CHECK_INT(loop_time(loop_current()) / MS, 20);
    CHECK_INT(received(), 2);
    co_chan_free(chan);
    return 0;
}

static void a_task_waits_until_a_callback_brings_an_item_or_makes_room(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_a_callback, NULL), 0);
    assert_string_equal(traced(), "put:ok send1:ok take:1 send2:ok");
}

static int take_what_is_there(void *arg)
{
    (void)arg;
    CHECK_INT(co_yield_now(), 0);
    for (size_t n = co_chan_len(chan); n > 0; n--)
        trace("%d", try_take());
    return 0;
}

static int put_more_than_there_is_room(void *arg)
{
    (void)arg;
    open_chan(2);
    CHECK_INT(co_gather(co_spawn(take_what_is_there, NULL), co_spawn(send_one, number(1)),
                        co_spawn(send_one, number(2)), co_spawn(send_one, number(3)),
                        co_spawn(send_one, number(4))),
              0);
    CHECK_INT((int)co_chan_len(chan), 2);
    co_chan_free(chan);
    return 0;
}

static void each_item_taken_without_waiting_lets_a_parked_sender_in(void **state)
{
    (void)state;
    assert_int_equal(run_task(put_more_than_there_is_room, NULL), 0);
    assert_string_equal(traced(), "send1:ok send2:ok 1 2 send3:ok send4:ok");
}

/* --- Cancelled at either end ------------------------------------------------------------------ */

static int cancel_the_third_sender(void *arg)
{
    (void)arg;
    open_chan(1);
    co_task_t *a = co_spawn(send_one, number(1)), *b = co_spawn(send_one, number(2));
    co_task_t *c = co_spawn(send_one, number(3));
    settle();
    CHECK(co_task_done(a) && !co_task_done(b));
    co_task_cancel(c);
    settle();
    CHECK_INT(try_take(), 1);
    CHECK_INT(try_take(), 2);
    CHECK_INT(try_take(), -EAGAIN);
    CHECK_INT(co_gather(a, b, c), 0);
    co_chan_free(chan);
    return 0;
}

static void the_item_of_a_cancelled_sender_never_gets_in(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_the_third_sender, NULL), 0);
    assert_string_equal(traced(), "send1:ok send3:cancelled send2:ok");
}

static int cancel_a_sender_that_got_in(void *arg)
{
    (void)arg;
    open_chan(1);
    CHECK_INT(try_number(1), 0);
    co_task_t *sender = co_spawn(send_one, number(2));
    settle();
    CHECK_INT(try_take(), 1); /* now the sender's item has moved, though it has not run */
    co_task_cancel(sender);
    CHECK_INT(co_await_task(sender), 0);
    CHECK_INT(try_take(), 2);
    CHECK_INT(try_take(), -EAGAIN);
    co_chan_free(chan);
    return 0;
}

/* In Python the sender is only told that there is room, and a cancellation comes first. */
static void a_sender_cancelled_after_room_was_made_has_sent_its_item_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_a_sender_that_got_in, NULL), 0);
    assert_string_equal(traced(), "send2:ok");
}

static int cancel_a_receiver_that_got_its_item(void *arg)
{
    (void)arg;
    open_chan(CO_UNBOUNDED);
    co_task_t *tasks[] = {co_spawn(recv_one, number(1)), co_spawn(recv_one, number(2)),
                          co_spawn(recv_one, number(3))};
    settle();
    CHECK_INT(try_number(10), 0);
    CHECK_INT(try_number(20), 0);
    co_task_cancel(tasks[0]);
    settle();
    trace("|");
    CHECK(co_task_done(tasks[0]) && co_task_done(tasks[1]) && !co_task_done(tasks[2]));
    CHECK_INT(try_number(30), 0);
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    co_chan_free(chan);
    return 0;
}

/* In Python the item stays in the queue, for the next reader. Here as there none is lost. */
static void a_receiver_cancelled_after_its_item_came_keeps_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_a_receiver_that_got_its_item, NULL), 0);
    assert_string_equal(traced(), "recv1:10 recv2:20 | recv3:30");
}

/* --- Closing, in each order ------------------------------------------------------------------- */

/* All that can be asked of a closed channel without items. */
static void check_closed(void)
{
    int n = 0;
    CHECK_INT((int)co_chan_len(chan), 0);
    CHECK_INT(co_chan_send(chan, &n), -EPIPE);
    CHECK_INT(co_chan_try_send(chan, &n), -EPIPE);
    CHECK_INT(co_chan_recv(chan, &n), -EPIPE);
    CHECK_INT(co_chan_try_recv(chan, &n), -EPIPE);
}

static int close_an_empty_one(void *arg)
{
    open_order(*(int *)arg, CO_UNBOUNDED);
    co_task_t *receiver = co_spawn(recv_one, number(1));
    settle();
    co_chan_close(chan);
    CHECK_INT(co_await_task(receiver), 0);
    check_closed();
    co_chan_free(chan);
    return 0;
}

static void closed_when_empty_it_turns_everybody_away(void **state)
{
    (void)state;
    with_each_order(close_an_empty_one, "recv1=-1:closed");
}

static int close_a_full_one(void *arg)
{
    open_order(*(int *)arg, 1);
    CHECK_INT(try_number(1), 0);
    co_task_t *sender = co_spawn(send_one, number(2));
    settle();
    co_chan_close(chan);
    CHECK_INT((int)co_chan_len(chan), 1);
    CHECK_INT(co_await_task(sender), 0);
    CHECK_INT(try_number(3), -EPIPE);
    CHECK_INT(received(), 1);
    check_closed();
    co_chan_free(chan);
    return 0;
}

static void closed_when_full_it_turns_senders_away_and_gives_out_what_is_left(void **state)
{
    (void)state;
    with_each_order(close_a_full_one, "send2:closed");
}

static int close_and_drain(void *arg)
{
    int dropped = 0;
    open_order(*(int *)arg, CO_UNBOUNDED);
    for (int i = 0; i < 3; i++)
        CHECK_INT(try_number(7), 0);
    CHECK_INT(received(), 7);
    co_chan_close(chan);
    while (try_take() >= 0)
        dropped++;
    trace("dropped%d", dropped);
    check_closed();
    co_chan_free(chan);
    return 0;
}

/* There is no closing that drops the items: who closes may take them. */
static void closed_and_drained_by_who_closes_it_has_nothing_for_others(void **state)
{
    (void)state;
    with_each_order(close_and_drain, "dropped2");
}

/* --- Until all is processed ------------------------------------------------------------------- */

enum { ITEMS = 100 };

static int add_up(void *sum)
{
    int n, rc;
    while ((rc = co_chan_recv(chan, &n)) == 0) {
        CHECK_INT(co_yield_now(), 0);
        *(int *)sum += n;
    }
    return rc == -EPIPE ? 0 : rc;
}

static int process_all(void *arg)
{
    int sum = 0, rc = 1;
    open_order(*(int *)arg, CO_UNBOUNDED);
    for (int i = 0; i < ITEMS; i++)
        CHECK_INT(try_number(i), 0);
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, add_up, &sum), 0);
        CHECK_INT(co_group_spawn(g, add_up, &sum), 0);
        CHECK_INT(co_yield_now(), 0);
        co_chan_close(chan);
    }
    CHECK_INT(sum, ITEMS * (ITEMS - 1) / 2);
    co_chan_free(chan);
    return rc;
}

/* Channels do not count what is in work (task_done and join): a group waits for the workers. */
static void workers_in_a_group_have_processed_all_when_it_ends(void **state)
{
    (void)state;
    with_each_order(process_all, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_waits_until_a_callback_brings_an_item_or_makes_room),
        cmocka_unit_test(each_item_taken_without_waiting_lets_a_parked_sender_in),
        cmocka_unit_test(the_item_of_a_cancelled_sender_never_gets_in),
        cmocka_unit_test(a_sender_cancelled_after_room_was_made_has_sent_its_item_once),
        cmocka_unit_test(a_receiver_cancelled_after_its_item_came_keeps_it),
        cmocka_unit_test(closed_when_empty_it_turns_everybody_away),
        cmocka_unit_test(closed_when_full_it_turns_senders_away_and_gives_out_what_is_left),
        cmocka_unit_test(closed_and_drained_by_who_closes_it_has_nothing_for_others),
        cmocka_unit_test(workers_in_a_group_have_processed_all_when_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
