/* Channels of all orders and capacities under random operations, compared with arrays: every item
 * comes out once, in its order, to whom it is due, and no more are held than there is room for. */
#include "test_model_chan.h"

enum { CHANS = 2 };
static struct model_chan chans[CHANS];
static int last_value;

/* Without memory, an item is either sent all the same or not at all. */
static void send_without_memory(struct model_chan *chan)
{
    struct item item = item_of(++last_value);
    settle();
    size_t before = chan->count;
    int expected = model_send(chan, last_value);
    size_t refused_before = refusals;
    failing = true;
    int rc = co_chan_try_send(chan->chan, &item);
    failing = false;
    if (rc == -ENOMEM) {
        HOLDS(refusals == refused_before + 1 && expected == 0 && chan->count == before + 1);
        chan->count = before;
    } else {
        HOLDS(rc == expected);
    }
}

/* --- Steps ------------------------------------------------------------------------------------ */

static int begin_chan(void *arg)
{
    (void)arg;
    reset();
    last_value = 0;
    memset(chans, 0, sizeof chans);
    return 0;
}

static void fill(struct model_chan *chan, co_test_random_t *random)
{
    for (size_t n = co_test_below(random, 30); n > 0 && chan->count < HELD_MAX / 2; n--)
        if (by_chance(random, 8))
            send_without_memory(chan);
        else
            try_send(chan, ++last_value);
}

static void drain(struct model_chan *chan, co_test_random_t *random)
{
    for (size_t n = co_test_below(random, 30); n > 0; n--)
        try_recv(chan);
}

static void send_from_callback(void *arg)
{
    struct model_chan *chan = arg;
    if (chan->chan)
        try_send(chan, ++last_value);
}

static void receive_from_callback(void *arg)
{
    struct model_chan *chan = arg;
    if (chan->chan)
        try_recv(chan);
}

static void end_chan(struct model_chan *chan, co_test_random_t *random)
{
    if (!chan->closed && by_chance(random, 4))
        close_chan(chan);
    else if (chan->closed && by_chance(random, 2))
        free_chan(chan);
}

static void do_rarely(struct model_chan *chan, co_test_random_t *random)
{
    switch (co_test_below(random, 6)) {
    case 0:
        end_chan(chan, random);
        break;
    case 1:
        fill(chan, random);
        break;
    case 2:
        drain(chan, random);
        break;
    case 3:
        send_without_memory(chan);
        break;
    case 4:
        loop_call_soon(loop_current(), send_from_callback, chan, NULL);
        break;
    default:
        loop_call_soon(loop_current(), receive_from_callback, chan, NULL);
    }
}

static void step_chan(void *arg, co_test_random_t *random)
{
    (void)arg;
    struct model_chan *chan = &chans[co_test_below(random, CHANS)];
    disturb(random);
    if (!chan->chan) {
        open_chan(chan, random);
        if (by_chance(random, 4)) /* the first item wants a buffer */
            send_without_memory(chan);
    }
    switch (co_test_below(random, 8)) {
    case 0:
        do_rarely(chan, random);
        break;
    case 1:
        try_send(chan, ++last_value);
        break;
    case 2:
        try_recv(chan);
        break;
    case 3:
        rest(random);
        break;
    case 4:
    case 5:
        send_item(chan, random, ++last_value);
        break;
    default:
        receive_item(chan, random);
    }
}

/* Now and then everything that is held is taken out. */
static const char *check_chan(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < CHANS; i++) {
        struct model_chan *chan = &chans[i];
        if (!chan->chan)
            continue;
        compare_length(chan);
        while (chan->count && !wrong[0] && last_value % 3 == 0)
            try_recv(chan);
    }
    return verdict();
}

static void finish_chan(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < CHANS; i++)
        co_chan_free(chans[i].chan);
}

MODEL(chan, 1000, .fini = finish_chan)

static void memory_does_run_out(void **state)
{
    (void)state;
    assert_true(refusals > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED(chan),
        cmocka_unit_test(memory_does_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
