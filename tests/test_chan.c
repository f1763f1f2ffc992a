/* Channels: rendezvous, bounded and unbounded; items of any size; from callbacks; many tasks. */
#include "test_chan.h"

#include <stdio.h>

/* --- The three capacities --------------------------------------------------------------------- */

static int sender_first(void *arg)
{
    (void)arg;
    open_chan(0);
    co_go(send_one, number(1));
    settle();
    CHECK(!*traced());
    CHECK_INT((int)co_chan_len(chan), 0);
    trace("take:%d", received());
    settle();
    co_chan_free(chan);
    return 0;
}

static void a_rendezvous_sender_waits_for_its_receiver(void **state)
{
    (void)state;
    assert_int_equal(run_task(sender_first, NULL), 0);
    assert_string_equal(traced(), "take:1 send1:ok");
}

static int receiver_first(void *arg)
{
    int item = 7;
    (void)arg;
    open_chan(0);
    co_go(recv_one, number(0));
    settle();
    CHECK_INT(co_chan_send(chan, &item), 0);
    trace("sent");
    settle();
    co_chan_free(chan);
    return 0;
}

static void a_parked_receiver_lets_the_sender_go_on_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(receiver_first, NULL), 0);
    assert_string_equal(traced(), "sent recv0:7");
}

static int fill_two(void *arg)
{
    (void)arg;
    open_chan(2);
    for (int i = 1; i <= 4; i++)
        co_go(send_one, number(i));
    settle();
    CHECK_INT((int)co_chan_len(chan), 2);
    CHECK_INT(try_number(9), -EAGAIN); /* nobody gets in before those who wait */
    for (int i = 1; i <= 4; i++) {
        CHECK_INT(received(), i);
        CHECK_INT((int)co_chan_len(chan), i < 3 ? 2 : 4 - i);
    }
    settle();
    co_chan_free(chan);
    return 0;
}

static void a_bounded_channel_makes_senders_wait_when_full_and_keeps_their_order(void **state)
{
    (void)state;
    assert_int_equal(run_task(fill_two, NULL), 0);
    assert_string_equal(traced(), "send1:ok send2:ok send3:ok send4:ok");
}

static int fill_unbounded(void *arg)
{
    enum { MANY = 5000 };
    (void)arg;
    open_chan(CO_UNBOUNDED);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(try_number(i), 0);
    CHECK_INT((int)co_chan_len(chan), MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(received(), i);
    CHECK_INT((int)co_chan_len(chan), 0);
    co_chan_free(chan);
    return 0;
}

static void an_unbounded_channel_never_makes_a_sender_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(fill_unbounded, NULL), 0);
}

static int queue_up(void *arg)
{
    (void)arg;
    open_chan(0);
    for (int i = 1; i <= 3; i++)
        co_go(recv_one, number(i));
    settle();
    for (int i = 1; i <= 3; i++)
        CHECK_INT(try_number(10 * i), 0);
    CHECK_INT(try_number(40), -EAGAIN);
    settle();
    co_chan_free(chan);
    return 0;
}

static void receivers_are_served_in_the_order_of_arrival(void **state)
{
    (void)state;
    assert_int_equal(run_task(queue_up, NULL), 0);
    assert_string_equal(traced(), "recv1:10 recv2:20 recv3:30");
}

static int slots[2];

static int recv_into_slot(void *arg)
{
    int rc = co_chan_recv(chan, arg);
    trace("woken:%s", word(rc));
    return 0;
}

static int hand_over(void *arg)
{
    (void)arg;
    open_chan(4);
    slots[0] = slots[1] = -1;
    co_go(recv_into_slot, &slots[0]);
    settle();
    CHECK_INT(try_number(5), 0);
    CHECK_INT(slots[0], 5); /* before the receiver ran */
    CHECK_INT((int)co_chan_len(chan), 0);
    CHECK_INT(try_number(6), 0); /* the next item is for others */
    CHECK_INT((int)co_chan_len(chan), 1);
    settle();
    CHECK_INT(slots[0], 5);
    co_chan_free(chan);
    return 0;
}

static void an_item_goes_straight_to_a_parked_receiver(void **state)
{
    (void)state;
    assert_int_equal(run_task(hand_over, NULL), 0);
    assert_string_equal(traced(), "woken:ok");
}

/* --- Items ------------------------------------------------------------------------------------ */

static int send_bytes(void *arg)
{
    return co_chan_send(chan, arg);
}

static void check_bytes(const unsigned char *bytes, size_t size, unsigned char expected)
{
    for (size_t i = 0; i < size; i++)
        CHECK_INT(bytes[i], (unsigned char)(expected + i));
}

/* In turn: through the buffer, from a parked sender, and into a parked receiver. */
static void pass_items_of(size_t size, size_t capacity)
{
    unsigned char *out = malloc(size + 1), *in = malloc(size + 1);
    CHECK(out && in);
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)(size + i);
    in[size] = 0xA5;
    chan = co_chan_new(size, capacity);
    CHECK(chan != NULL);
    for (int round = 0; round < 20; round++) {
        co_task_t *task = co_spawn(send_bytes, out);
        memset(in, 0, size);
        if (round % 2)
            settle();
        CHECK_INT(co_chan_recv(chan, in), 0);
        check_bytes(in, size, (unsigned char)size);
        CHECK_INT(in[size], 0xA5);
        CHECK_INT(co_await_task(task), 0);
    }
    co_chan_free(chan);
    free(out);
    free(in);
}

static int any_size(void *arg)
{
    static const size_t sizes[] = {0, 1, 3, 7, 17, 4096, 100000};
    (void)arg;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t capacity = 0; capacity < 3; capacity++)
            pass_items_of(sizes[i], capacity);
    return 0;
}

static void items_may_have_any_size(void **state)
{
    (void)state;
    assert_int_equal(run_task(any_size, NULL), 0);
}

static int drop_items(void *arg)
{
    (void)arg;
    open_chan(1);
    CHECK_INT(try_number(1), 0);
    CHECK_INT(co_chan_recv(chan, NULL), 0);
    CHECK_INT(try_number(2), 0);
    CHECK_INT(co_chan_try_recv(chan, NULL), 0);
    co_go(recv_into_slot, NULL);
    settle();
    CHECK_INT(try_number(3), 0);
    settle();
    CHECK_INT((int)co_chan_len(chan), 0);
    co_chan_free(chan);
    return 0;
}

static void a_receiver_may_drop_the_item(void **state)
{
    (void)state;
    assert_int_equal(run_task(drop_items, NULL), 0);
    assert_string_equal(traced(), "woken:ok");
}

static int mere_signals(void *arg)
{
    (void)arg;
    chan = co_chan_new(0, 100);
    for (int i = 0; i < 100; i++)
        CHECK_INT(co_chan_send(chan, NULL), 0);
    CHECK_INT(co_chan_try_send(chan, NULL), -EAGAIN);
    for (int i = 0; i < 100; i++)
        CHECK_INT(co_chan_recv(chan, NULL), 0);
    CHECK_INT(co_chan_try_recv(chan, NULL), -EAGAIN);
    co_chan_free(chan);
    return 0;
}

static void items_without_size_are_counted(void **state)
{
    (void)state;
    assert_int_equal(run_task(mere_signals, NULL), 0);
}

/* --- From anywhere ---------------------------------------------------------------------------- */

static void the_try_forms_work_without_a_loop_that_runs(void **state)
{
    (void)state;
    int n = 0;
    loop_t *loop = open_loop();
    open_chan(1);
    assert_int_equal(co_chan_try_recv(chan, &n), -EAGAIN);
    assert_int_equal(try_number(1), 0);
    assert_int_equal(try_number(2), -EAGAIN);
    assert_int_equal(co_chan_try_recv(chan, &n), 0);
    assert_int_equal(n, 1);
    co_chan_close(chan);
    assert_int_equal(try_number(2), -EPIPE);
    assert_int_equal(co_chan_try_recv(chan, &n), -EPIPE);
    co_chan_free(chan);
    close_loop(loop);
}

static void outside_a_coroutine_send_and_recv_do_nothing(void **state)
{
    (void)state;
    int n = 3;
    loop_t *loop = open_loop();
    open_chan(2);
    assert_int_equal(try_number(1), 0);
    assert_int_equal(co_chan_send(chan, &n), -EPERM);
    assert_int_equal(co_chan_recv(chan, &n), -EPERM);
    assert_int_equal(n, 3);
    assert_int_equal(co_chan_len(chan), 1);
    co_chan_free(chan);
    close_loop(loop);
}

static void send_from_callback(void *arg)
{
    (void)arg;
    trace("callback:%s", word(try_number(1)));
}

static void send_when_done(co_task_t *task, void *arg)
{
    (void)task, (void)arg;
    trace("done:%s", word(try_number(2)));
}

static void send_when_settled(co_future_t *future, void *arg)
{
    (void)future, (void)arg;
    trace("settled:%s", word(try_number(3)));
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int called_back(void *arg)
{
    co_future_t future = {0};
    (void)arg;
    open_chan(0);
    CHECK_INT(loop_call_soon(loop_current(), send_from_callback, NULL, NULL), 0);
    CHECK_INT(received(), 1);
    co_task_t *task = co_spawn(nothing, NULL);
    CHECK_INT(co_task_add_done_callback(task, send_when_done, NULL), 0);
    co_task_release(task);
    CHECK_INT(received(), 2);
    CHECK_INT(co_future_add_done_callback(&future, send_when_settled, NULL), 0);
    CHECK_INT(co_future_resolve(&future, 0, NULL), 0);
    CHECK_INT(received(), 3);
    co_chan_free(chan);
    return 0;
}

static void every_kind_of_callback_can_send_to_a_parked_task(void **state)
{
    (void)state;
    assert_int_equal(run_task(called_back, NULL), 0);
    assert_string_equal(traced(), "callback:ok done:ok settled:ok");
}

/* --- Many ------------------------------------------------------------------------------------- */

enum { WORKERS = 5, EACH = 300 };

static unsigned char seen[WORKERS * EACH];

static int produce(void *arg)
{
    int first = (int)(intptr_t)arg * EACH;
    for (int i = first; i < first + EACH; i++) {
        CHECK_INT(co_chan_send(chan, &i), 0);
        if (i % 7 == 0)
            co_yield_now();
    }
    return 0;
}

/* Each producer's items arrive in order, whoever takes them. */
static int consume(void *arg)
{
    int n, rc = 0, last[WORKERS];
    memset(last, -1, sizeof last);
    while ((rc = co_chan_recv(chan, &n)) == 0) {
        seen[n]++;
        CHECK(n > last[n / EACH]);
        last[n / EACH] = n;
        if (n % (2 + (int)(intptr_t)arg) == 0)
            co_yield_now();
    }
    return rc == -EPIPE ? 0 : rc;
}

static int run_workers(void *arg)
{
    co_task_t *producers[WORKERS], *consumers[WORKERS];
    open_chan(*(size_t *)arg);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < WORKERS; i++) {
        producers[i] = co_spawn(produce, number(i));
        consumers[i] = co_spawn(consume, number(i));
    }
    CHECK_INT(co_gather_tasks(producers, WORKERS), 0);
    co_chan_close(chan);
    CHECK_INT(co_gather_tasks(consumers, WORKERS), 0);
    for (size_t i = 0; i < sizeof seen; i++)
        CHECK_INT(seen[i], 1);
    co_chan_free(chan);
    return 0;
}

static void among_many_tasks_each_item_arrives_once_and_in_order(void **state)
{
    (void)state;
    static const size_t capacities[] = {0, 1, 7, CO_UNBOUNDED};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(run_task(run_workers, (void *)&capacities[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rendezvous_sender_waits_for_its_receiver),
        cmocka_unit_test(a_parked_receiver_lets_the_sender_go_on_at_once),
        cmocka_unit_test(a_bounded_channel_makes_senders_wait_when_full_and_keeps_their_order),
        cmocka_unit_test(an_unbounded_channel_never_makes_a_sender_wait),
        cmocka_unit_test(receivers_are_served_in_the_order_of_arrival),
        cmocka_unit_test(an_item_goes_straight_to_a_parked_receiver),
        cmocka_unit_test(items_may_have_any_size),
        cmocka_unit_test(a_receiver_may_drop_the_item),
        cmocka_unit_test(items_without_size_are_counted),
        cmocka_unit_test(the_try_forms_work_without_a_loop_that_runs),
        cmocka_unit_test(outside_a_coroutine_send_and_recv_do_nothing),
        cmocka_unit_test(every_kind_of_callback_can_send_to_a_parked_task),
        cmocka_unit_test(among_many_tasks_each_item_arrives_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
