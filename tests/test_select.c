/* Select over channels: exactly one case happens, by chance among those that can, and the others
 * have no effect. */
#include "test_select.h"

#include <stdio.h>

/* --- Cases that can happen at once ------------------------------------------------------------ */

static int ready_case(void *arg)
{
    int in = -1, out = 5;
    (void)arg;
    open_chans(1);
    for (int i = 0; i < 3; i++) {
        co_case_t cases[] = {CO_RECV(chans[0], &in), CO_RECV(chans[1], &in),
                             CO_RECV(chans[2], &in)};
        CHECK_INT(put(chans[i], 10 + i), 0);
        CHECK_INT(co_select(cases, 3), i);
        CHECK_INT(cases[i].result, 0);
        CHECK_INT(in, 10 + i);
    }
    co_case_t sends[] = {CO_RECV(chans[0], &in), CO_SEND(chans[1], &out)};
    CHECK_INT(co_select(sends, 2), 1);
    CHECK_INT(take(chans[1]), 5);
    CHECK_INT(take(chans[0]), -EAGAIN);
    free_chans();
    return 0;
}

static void the_case_that_can_happen_does(void **state)
{
    (void)state;
    assert_int_equal(run_task(ready_case, NULL), 0);
}

static int all_ready(void *arg)
{
    int in[2], out[2] = {7, 8};
    (void)arg;
    open_chans(1);
    for (int round = 0; round < 200; round++) {
        in[0] = in[1] = -1;
        CHECK_INT(put(chans[0], 1), 0);
        CHECK_INT(put(chans[1], 2), 0);
        co_case_t cases[] = {CO_RECV(chans[0], &in[0]), CO_RECV(chans[1], &in[1]),
                             CO_SEND(chans[2], &out[0]), CO_SEND(chans[3], &out[1])};
        int i = co_select(cases, 4);
        CHECK(i >= 0 && i < 4);
        CHECK_INT(in[0], i == 0 ? 1 : -1);
        CHECK_INT(in[1], i == 1 ? 2 : -1);
        CHECK_INT(take(chans[0]), i == 0 ? -EAGAIN : 1);
        CHECK_INT(take(chans[1]), i == 1 ? -EAGAIN : 2);
        CHECK_INT(take(chans[2]), i == 2 ? 7 : -EAGAIN);
        CHECK_INT(take(chans[3]), i == 3 ? 8 : -EAGAIN);
    }
    free_chans();
    return 0;
}

static void exactly_one_happens_where_all_can(void **state)
{
    (void)state;
    assert_int_equal(run_task(all_ready, NULL), 0);
}

static int count_choices(void *arg)
{
    int counts[CHANS] = {0}, n;
    (void)arg;
    open_chans(1);
    for (int i = 0; i < CHANS; i++)
        CHECK_INT(put(chans[i], 1), 0);
    for (int round = 0; round < 1000; round++) {
        co_case_t cases[] = {CO_RECV(chans[0], &n), CO_RECV(chans[1], &n), CO_RECV(chans[2], &n),
                             CO_RECV(chans[3], &n)};
        int i = co_select(cases, CHANS);
        CHECK(i >= 0);
        counts[i]++;
        CHECK_INT(put(chans[i], 1), 0);
    }
    for (int i = 0; i < CHANS; i++)
        CHECK(counts[i] > 150 && counts[i] < 350);
    free_chans();
    return 0;
}

static void among_ready_cases_the_choice_is_fair(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        loop_options_t options = {.virtual_time = true, .seed = seed};
        assert_int_equal(run_task_in(open_loop_with(&options), "choices", count_choices, NULL), 0);
    }
}

static int flood(void *arg)
{
    int n = 1;
    (void)arg;
    while (co_chan_send(chans[0], &n) == 0)
        ;
    return 0;
}

static int starve(void *arg)
{
    int n = 0, rounds = 0, i = 0;
    (void)arg;
    open_chans(8);
    co_go(flood, NULL);
    settle();
    CHECK_INT(put(chans[1], 2), 0);
    while (i != 1 && rounds++ < 100) {
        co_case_t cases[] = {CO_RECV(chans[0], &n), CO_RECV(chans[1], &n)};
        i = co_select(cases, 2);
    }
    CHECK_INT(i, 1);
    CHECK_INT(n, 2);
    co_chan_close(chans[0]);
    settle();
    free_chans();
    return 0;
}

static void a_busy_channel_does_not_starve_another(void **state)
{
    (void)state;
    assert_int_equal(run_task(starve, NULL), 0);
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
    int steps = 0, n = 0;
    (void)arg;
    open_chans(1);
    co_go(step, &steps);
    for (int i = 0; i < 5000; i++) {
        co_case_t cases[] = {CO_SEND(chans[0], &n), CO_RECV(chans[0], &n)};
        CHECK_INT(co_select(cases, 2), i % 2);
    }
    CHECK_INT(steps, 20);
    free_chans();
    return 0;
}

static void a_task_whose_selects_all_succeed_gives_way_to_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(busy, NULL), 0);
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static int first_comes(void *arg)
{
    int in[3] = {-1, -1, -1}, out = 4;
    (void)arg;
    open_chans(0);
    for (int i = 0; i < 4; i++) {
        struct selector selector = {.cases = {CO_RECV(chans[0], &in[0]), CO_RECV(chans[1], &in[1]),
                                              CO_RECV(chans[2], &in[2]), CO_SEND(chans[3], &out)},
                                    .n = 4};
        park_selector(&selector);
        for (int other = 0; other < 3; other++)
            CHECK_INT(take(chans[other]), -EAGAIN);
        CHECK_INT(i < 3 ? put(chans[i], 20 + i) : take(chans[3]), i < 3 ? 0 : 4);
        for (int other = 0; other < 4; other++) /* before it runs, nobody else finds it */
            check_nobody_waits(chans[other]);
        join_selector(&selector);
        CHECK_INT(selector.rc, i);
        CHECK_INT(selector.cases[i].result, 0);
        CHECK_INT(in[0], i >= 0 ? 20 : -1);
        CHECK_INT(in[1], i >= 1 ? 21 : -1);
        CHECK_INT(in[2], i >= 2 ? 22 : -1);
    }
    free_chans();
    return 0;
}

static void whoever_comes_first_decides_and_the_others_find_nobody(void **state)
{
    (void)state;
    assert_int_equal(run_task(first_comes, NULL), 0);
    assert_string_equal(traced(), "0 1 2 3");
}

static int same_twice(void *arg)
{
    int in[2] = {-1, -1}, out[2] = {1, 2};
    (void)arg;
    open_chans(0);
    struct selector receiver = {.cases = {CO_RECV(chans[0], &in[0]), CO_RECV(chans[0], &in[1])},
                                .n = 2};
    park_selector(&receiver);
    CHECK_INT(put(chans[0], 9), 0);
    CHECK_INT(put(chans[0], 10), -EAGAIN);
    join_selector(&receiver);
    CHECK_INT(in[receiver.rc], 9);
    CHECK_INT(in[!receiver.rc], -1);
    struct selector sender = {.cases = {CO_SEND(chans[0], &out[0]), CO_SEND(chans[0], &out[1])},
                              .n = 2};
    park_selector(&sender);
    int got = take(chans[0]);
    CHECK_INT(take(chans[0]), -EAGAIN);
    join_selector(&sender);
    CHECK_INT(got, out[sender.rc]);
    free_chans();
    return 0;
}

static void one_channel_in_two_cases_moves_one_item(void **state)
{
    (void)state;
    assert_int_equal(run_task(same_twice, NULL), 0);
}

static int both_ways(void *arg)
{
    int in = -1, out = 3;
    (void)arg;
    open_chans(0);
    struct selector both = {.cases = {CO_SEND(chans[0], &out), CO_RECV(chans[0], &in)}, .n = 2};
    park_selector(&both);
    CHECK_INT(both.rc, -1000); /* it is not its own peer */
    CHECK_INT(take(chans[0]), 3);
    check_nobody_waits(chans[0]);
    join_selector(&both);
    CHECK_INT(both.rc, 0);
    CHECK_INT(in, -1);
    park_selector(&both);
    CHECK_INT(put(chans[0], 6), 0);
    check_nobody_waits(chans[0]);
    join_selector(&both);
    CHECK_INT(both.rc, 1);
    CHECK_INT(in, 6);
    free_chans();
    return 0;
}

static void send_and_receive_on_one_channel_do_not_meet_each_other(void **state)
{
    (void)state;
    assert_int_equal(run_task(both_ways, NULL), 0);
    assert_string_equal(traced(), "0 1");
}

static int two_selects(void *arg)
{
    int in[2] = {-1, -1}, out[2] = {1, 2};
    (void)arg;
    open_chans(0);
    for (int round = 0; round < 20; round++) {
        struct selector a = {.cases = {CO_SEND(chans[0], &out[0]), CO_RECV(chans[0], &in[0])},
                             .n = 2};
        struct selector b = {.cases = {CO_SEND(chans[0], &out[1]), CO_RECV(chans[0], &in[1])},
                             .n = 2};
        in[0] = in[1] = -1;
        park_selector(&a);
        park_selector(&b);
        join_selector(&a);
        join_selector(&b);
        CHECK_INT(a.rc + b.rc, 1); /* one has sent and the other received */
        CHECK_INT(in[0], a.rc == 1 ? 2 : -1);
        CHECK_INT(in[1], b.rc == 1 ? 1 : -1);
        check_nobody_waits(chans[0]);
    }
    free_chans();
    return 0;
}

static void two_selects_meet_each_other(void **state)
{
    (void)state;
    assert_int_equal(run_task(two_selects, NULL), 0);
}

/* A select that is parked as a sender behind a full buffer keeps its place in the order. */
static int behind_full(void *arg)
{
    int out = 2;
    (void)arg;
    open_chans(1);
    CHECK_INT(put(chans[0], 1), 0);
    struct selector selector = {.cases = {CO_SEND(chans[0], &out), CO_RECV(chans[1], NULL)},
                                .n = 2};
    park_selector(&selector);
    CHECK_INT(take(chans[0]), 1);
    CHECK_INT((int)co_chan_len(chans[0]), 1);
    out = 77; /* it was copied when it moved */
    CHECK_INT(take(chans[0]), 2);
    CHECK_INT(take(chans[0]), -EAGAIN);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    CHECK_INT(put(chans[1], 1), 0); /* into the buffer: nobody waits there */
    CHECK_INT((int)co_chan_len(chans[1]), 1);
    free_chans();
    return 0;
}

static void a_send_case_waits_for_room_in_its_turn(void **state)
{
    (void)state;
    assert_int_equal(run_task(behind_full, NULL), 0);
}

/* --- The end of a channel --------------------------------------------------------------------- */

static int closed(void *arg)
{
    int in = -1, out = 1;
    (void)arg;
    open_chans(2);
    CHECK_INT(put(chans[0], 5), 0);
    co_chan_close(chans[0]);
    co_case_t cases[] = {CO_RECV(chans[1], &in), CO_RECV(chans[0], &in)};
    CHECK_INT(co_select(cases, 2), 1);
    CHECK_INT(cases[1].result, 0);
    CHECK_INT(in, 5);
    CHECK_INT(co_select(cases, 2), 1);
    CHECK_INT(cases[1].result, -EPIPE);
    CHECK_INT(in, 5);
    co_case_t send = CO_SEND(chans[0], &out);
    CHECK_INT(co_select(&send, 1), 0);
    CHECK_INT(send.result, -EPIPE);
    free_chans();
    return 0;
}

static void a_closed_channel_is_a_case_that_happens(void **state)
{
    (void)state;
    assert_int_equal(run_task(closed, NULL), 0);
}

static int close_under(void *arg)
{
    int in = -1, out = 1;
    (void)arg;
    open_chans(0);
    struct selector selector = {.cases = {CO_RECV(chans[0], &in), CO_SEND(chans[1], &out),
                                          CO_RECV(chans[1], &in), CO_RECV(chans[1], &in)},
                                .n = 4};
    park_selector(&selector);
    co_chan_close(chans[1]);
    check_nobody_waits(chans[0]);
    join_selector(&selector);
    CHECK(selector.rc >= 1);
    CHECK_INT(selector.cases[selector.rc].result, -EPIPE);
    CHECK_INT(in, -1);
    free_chans();
    return 0;
}

static void closing_wakes_a_select_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_under, NULL), 0);
}

static int free_under(void *arg)
{
    static int in;
    static struct selector selector;
    (void)arg;
    open_chans(0);
    selector = (struct selector){
        .cases = {CO_RECV(chans[0], &in), CO_RECV(chans[1], &in), CO_SEND(chans[0], &in)}, .n = 3};
    park_selector(&selector);
    co_chan_free(chans[0]);
    chans[0] = NULL;
    check_nobody_waits(chans[1]);
    join_selector(&selector);
    CHECK(selector.rc == 0 || selector.rc == 2);
    CHECK_INT(selector.cases[selector.rc].result, -EPIPE);
    free_chans();
    return 0;
}

static void freeing_a_channel_under_a_select_is_reported(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, free_under, NULL));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "co_select"));
    assert_int_equal(close_loop(loop), 0);
}

/* --- Many tasks ------------------------------------------------------------------------------- */

enum { PLAYERS = 12, GAMES = 200 };

static int64_t sent_sum, received_sum;
static int sent_count, received_count;

static unsigned next_random(unsigned *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random >> 16;
}

/* Plays any cases, the same channel twice or both ways included, and counts what moved. */
static int play(void *arg)
{
    unsigned random = (unsigned)(intptr_t)arg;
    for (int game = 0; game < GAMES; game++) {
        co_case_t cases[5];
        int items[5], i = -ETIMEDOUT;
        size_t n = 1 + next_random(&random) % 5;
        for (size_t k = 0; k < n; k++) {
            co_chan_t *chan = chans[next_random(&random) % CHANS];
            items[k] = (int)(next_random(&random) % 1000);
            cases[k] =
                next_random(&random) % 2 ? CO_SEND(chan, &items[k]) : CO_RECV(chan, &items[k]);
        }
        co_timeout(1 + next_random(&random) % 3) i = co_select(cases, n);
        if (i < 0 || cases[i].result < 0)
            continue;
        bool sent = cases[i].kind == CO__CASE_SEND;
        *(sent ? &sent_sum : &received_sum) += items[i];
        ++*(sent ? &sent_count : &received_count);
    }
    return 0;
}

static int tournament(void *arg)
{
    co_task_t *players[PLAYERS];
    int n, left = 0;
    open_chans(*(size_t *)arg);
    sent_sum = received_sum = sent_count = received_count = 0;
    for (int i = 0; i < PLAYERS; i++)
        players[i] = co_spawn(play, (void *)(intptr_t)(i + 1));
    CHECK_INT(co_gather_tasks(players, PLAYERS), 0);
    for (int i = 0; i < CHANS; i++)
        for (; (n = take(chans[i])) >= 0; left++)
            received_sum += n;
    CHECK_INT(received_count + left, sent_count);
    CHECK_INT(received_sum, sent_sum);
    CHECK(received_count > PLAYERS * GAMES / 20);
    free_chans();
    return 0;
}

static void among_many_selects_no_item_is_lost_or_doubled(void **state)
{
    (void)state;
    static const size_t capacities[] = {0, 1, 5, CO_UNBOUNDED};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(run_task(tournament, (void *)&capacities[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_case_that_can_happen_does),
        cmocka_unit_test(exactly_one_happens_where_all_can),
        cmocka_unit_test(among_ready_cases_the_choice_is_fair),
        cmocka_unit_test(a_busy_channel_does_not_starve_another),
        cmocka_unit_test(a_task_whose_selects_all_succeed_gives_way_to_others),
        cmocka_unit_test(whoever_comes_first_decides_and_the_others_find_nobody),
        cmocka_unit_test(one_channel_in_two_cases_moves_one_item),
        cmocka_unit_test(send_and_receive_on_one_channel_do_not_meet_each_other),
        cmocka_unit_test(two_selects_meet_each_other),
        cmocka_unit_test(a_send_case_waits_for_room_in_its_turn),
        cmocka_unit_test(a_closed_channel_is_a_case_that_happens),
        cmocka_unit_test(closing_wakes_a_select_once),
        cmocka_unit_test(freeing_a_channel_under_a_select_is_reported),
        cmocka_unit_test(among_many_selects_no_item_is_lost_or_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
