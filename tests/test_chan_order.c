/* The order of items in a channel: FIFO, LIFO and priority, against a model. */
#include "support.h"

#include <stdalign.h>
#include <stdio.h>

struct item {
    int key, serial;
};

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static co_chan_t *open_order(int order, size_t size, size_t capacity,
                             int (*compare)(const void *, const void *))
{
    co_chan_options_t options = {.order = order, .compare = compare};
    co_chan_t *chan = co_chan_new_with(size, capacity, &options);
    assert_non_null(chan);
    return chan;
}

static co_chan_t *open_items(int order, size_t capacity)
{
    return open_order(order, sizeof(struct item), capacity, compare_items);
}

static int put(co_chan_t *chan, int key, int serial)
{
    struct item item = {key, serial};
    return co_chan_try_send(chan, &item);
}

static void trace_all(co_chan_t *chan)
{
    struct item item;
    while (co_chan_try_recv(chan, &item) == 0)
        trace("%d.%d", item.key, item.serial);
}

/* --- Small cases ------------------------------------------------------------------------------ */

static void check_order(int order, const char *expected)
{
    loop_t *loop = open_loop();
    co_chan_t *chan = open_items(order, CO_UNBOUNDED);
    static const int keys[] = {3, 1, 2, 1, 3, 1};
    for (int i = 0; i < 6; i++)
        assert_int_equal(put(chan, keys[i], i), 0);
    trace_all(chan);
    co_chan_free(chan);
    close_loop(loop);
    assert_string_equal(traced(), expected);
}

static void fifo_is_the_order_of_sending(void **state)
{
    (void)state;
    check_order(CO_FIFO, "3.0 1.1 2.2 1.3 3.4 1.5");
}

static void lifo_takes_the_newest_first(void **state)
{
    (void)state;
    check_order(CO_LIFO, "1.5 3.4 1.3 2.2 1.1 3.0");
}

static void priority_takes_the_least_and_those_alike_in_the_order_of_sending(void **state)
{
    (void)state;
    check_order(CO_PRIORITY, "1.1 1.3 1.5 2.2 3.0 3.4");
}

/* The same when some were taken in between, so that the heap has been through many shapes. */
static void items_alike_stay_in_order_however_the_heap_was_stirred(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_chan_t *chan = open_items(CO_PRIORITY, CO_UNBOUNDED);
    struct item item;
    int last[4] = {-1, -1, -1, -1};
    unsigned random = 1;
    for (int i = 0; i < 5000; i++) {
        random = random * 1664525 + 1013904223;
        assert_int_equal(put(chan, (int)(random >> 16) % 4, i), 0);
        if (random >> 31)
            continue;
        assert_int_equal(co_chan_try_recv(chan, &item), 0);
        assert_true(item.serial > last[item.key]);
        last[item.key] = item.serial;
    }
    co_chan_free(chan);
    close_loop(loop);
}

static void closing_keeps_the_order_of_what_is_left(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    static const int orders[] = {CO_LIFO, CO_PRIORITY};
    for (int i = 0; i < 2; i++) {
        co_chan_t *chan = open_items(orders[i], 3);
        assert_int_equal(put(chan, 2, 0), 0);
        assert_int_equal(put(chan, 3, 1), 0);
        assert_int_equal(put(chan, 1, 2), 0);
        co_chan_close(chan);
        trace_all(chan);
        assert_int_equal(co_chan_try_recv(chan, NULL), -EPIPE);
        co_chan_free(chan);
    }
    close_loop(loop);
    assert_string_equal(traced(), "1.2 3.1 2.0 1.2 2.0 3.1");
}

/* --- Parked senders --------------------------------------------------------------------------- */

struct sender {
    co_chan_t *chan;
    struct item item;
};

static int send_it(void *arg)
{
    const struct sender *sender = arg;
    CHECK_INT(co_chan_send(sender->chan, &sender->item), 0);
    trace("in%d", sender->item.serial);
    return 0;
}

/* Two items are in; the other two come in, in their turn, as room is made. */
static int refill(void *arg)
{
    co_chan_t *chan = open_items(*(int *)arg, 2);
    struct sender senders[] = {
        {chan, {2, 0}}, {chan, {4, 1}}, {chan, {1, 2}}, {chan, {3, 3}}, {chan, {2, 4}}};
    for (int i = 0; i < 5; i++)
        co_go(send_it, &senders[i]);
    for (int i = 0; i < 5; i++) {
        struct item item;
        co_yield_now();
        co_yield_now();
        CHECK_INT((int)co_chan_len(chan), i < 4 ? 2 : 1);
        CHECK_INT(co_chan_recv(chan, &item), 0);
        trace("%d.%d", item.key, item.serial);
    }
    co_yield_now();
    co_chan_free(chan);
    return 0;
}

static void the_item_of_a_parked_sender_is_ordered_once_there_is_room(void **state)
{
    (void)state;
    assert_int_equal(run_task(refill, &(int){CO_LIFO}), 0);
    assert_string_equal(traced(), "in0 in1 4.1 in2 1.2 in3 3.3 in4 2.4 2.0");
    assert_int_equal(run_task(refill, &(int){CO_PRIORITY}), 0);
    assert_string_equal(traced(), "in0 in1 2.0 in2 1.2 in3 3.3 in4 2.4 4.1");
}

static int straight(void *arg)
{
    struct item item = {0, 0};
    co_chan_t *chan = open_items(*(int *)arg, 0);
    struct sender sender = {chan, {7, 1}};
    co_go(send_it, &sender);
    CHECK_INT(co_chan_recv(chan, &item), 0);
    CHECK_INT(item.key, 7);
    co_go(send_it, &sender);
    co_yield_now();
    CHECK_INT(co_chan_try_recv(chan, &item), 0);
    co_yield_now();
    co_chan_free(chan);
    return 0;
}

static void a_rendezvous_works_with_every_order(void **state)
{
    (void)state;
    for (int order = CO_FIFO; order <= CO_PRIORITY; order++)
        assert_int_equal(run_task(straight, &order), 0);
}

/* --- Against a model -------------------------------------------------------------------------- */

enum { MODEL_MAX = 400 };

struct model {
    int order;
    size_t capacity;
    struct item items[MODEL_MAX]; /* in the order of sending */
    size_t count;
};

static size_t next_in(const struct model *model)
{
    size_t best = model->order == CO_LIFO ? model->count - 1 : 0;
    for (size_t i = 1; model->order == CO_PRIORITY && i < model->count; i++)
        if (model->items[i].key < model->items[best].key)
            best = i;
    return best;
}

static void model_send(struct model *model, co_chan_t *chan, int key, int serial)
{
    int expected = model->count < model->capacity ? 0 : -EAGAIN;
    assert_int_equal(put(chan, key, serial), expected);
    if (expected == 0)
        model->items[model->count++] = (struct item){key, serial};
}

static void model_recv(struct model *model, co_chan_t *chan)
{
    struct item item = {-1, -1};
    int rc = co_chan_try_recv(chan, &item);
    if (model->count == 0) {
        assert_int_equal(rc, -EAGAIN);
        return;
    }
    size_t i = next_in(model);
    assert_int_equal(rc, 0);
    assert_int_equal(item.key, model->items[i].key);
    assert_int_equal(item.serial, model->items[i].serial);
    model->count--;
    memmove(&model->items[i], &model->items[i + 1], (model->count - i) * sizeof item);
}

/* Tides: it fills for a while and drains for a while, so that the ring wraps and grows anywhere. */
static void compare_with_model(int order, size_t capacity, unsigned random)
{
    loop_t *loop = open_loop();
    struct model model = {.order = order, .capacity = capacity};
    co_chan_t *chan = open_items(order, capacity);
    unsigned tide = 8;
    for (int step = 0; step < 6000; step++) {
        random = random * 1664525 + 1013904223;
        if (step % 97 == 0)
            tide = 3 + (random >> 20) % 10;
        if ((random >> 24) % 16 < tide && model.count < MODEL_MAX)
            model_send(&model, chan, (int)(random >> 16) % 16, step);
        else
            model_recv(&model, chan);
        assert_int_equal(co_chan_len(chan), model.count);
    }
    while (model.count)
        model_recv(&model, chan);
    model_recv(&model, chan);
    co_chan_free(chan);
    close_loop(loop);
}

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    static const size_t capacities[] = {1, 3, 8, 17, CO_UNBOUNDED};
    for (int order = CO_FIFO; order <= CO_PRIORITY; order++)
        for (unsigned i = 0; i < 5; i++)
            compare_with_model(order, capacities[i], i + 1);
}

/* --- Items in the heap ------------------------------------------------------------------------ */

static int compare_bytes(const void *a, const void *b)
{
    const unsigned char *x = a, *y = b;
    return *x - *y;
}

/* The whole item comes back, of whatever size. */
static void sort_items_of(size_t size)
{
    unsigned char item[100];
    co_chan_t *chan = open_order(CO_PRIORITY, size, CO_UNBOUNDED, compare_bytes);
    for (unsigned i = 0; i < 256; i++) {
        memset(item, (int)(i * 151 % 256), size);
        assert_int_equal(co_chan_try_send(chan, item), 0);
    }
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(co_chan_try_recv(chan, item), 0);
        assert_int_equal(item[0], i);
        assert_int_equal(item[size - 1], i);
    }
    co_chan_free(chan);
}

static void items_of_any_size_can_have_priorities(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 24, 100};
    loop_t *loop = open_loop();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        sort_items_of(sizes[i]);
    close_loop(loop);
}

struct aligned {
    alignas(max_align_t) int key;
};

static size_t misaligned;

static int compare_aligned(const void *a, const void *b)
{
    misaligned +=
        (uintptr_t)a % alignof(struct aligned) != 0 || (uintptr_t)b % alignof(struct aligned) != 0;
    int x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* compare is "as for qsort", whose elements lie as their type wants. */
static void items_to_compare_are_aligned_as_their_type_wants(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_chan_t *chan =
        open_order(CO_PRIORITY, sizeof(struct aligned), CO_UNBOUNDED, compare_aligned);
    misaligned = 0;
    for (int i = 20; i-- > 0;) {
        struct aligned item = {i};
        assert_int_equal(co_chan_try_send(chan, &item), 0);
    }
    co_chan_free(chan);
    close_loop(loop);
    assert_int_equal(misaligned, 0);
}

/* Each growth fails once; the item is not in, the others are, in order. */
static void grow_without_memory(int order)
{
    loop_t *loop = open_loop();
    struct model model = {.order = order, .capacity = MODEL_MAX};
    co_chan_t *chan = open_items(order, CO_UNBOUNDED);
    int failed = 0;
    for (int i = 0; i < MODEL_MAX; i++) {
        fail_allocation(1, true);
        int rc = put(chan, i * 7 % 50, i);
        fail_allocation(0, false);
        assert_true(rc == 0 || rc == -ENOMEM);
        failed += rc < 0;
        if (rc == 0)
            model.items[model.count++] = (struct item){i * 7 % 50, i};
        else
            model_send(&model, chan, i * 7 % 50, i);
        assert_int_equal(co_chan_len(chan), model.count);
        if (i % 3 == 0)
            model_recv(&model, chan);
    }
    assert_true(failed > 2);
    while (model.count)
        model_recv(&model, chan);
    co_chan_free(chan);
    close_loop(loop);
}

static void without_memory_to_grow_no_item_is_lost_or_moved(void **state)
{
    (void)state;
    for (int order = CO_FIFO; order <= CO_PRIORITY; order++)
        grow_without_memory(order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_is_the_order_of_sending),
        cmocka_unit_test(lifo_takes_the_newest_first),
        cmocka_unit_test(priority_takes_the_least_and_those_alike_in_the_order_of_sending),
        cmocka_unit_test(items_alike_stay_in_order_however_the_heap_was_stirred),
        cmocka_unit_test(closing_keeps_the_order_of_what_is_left),
        cmocka_unit_test(the_item_of_a_parked_sender_is_ordered_once_there_is_room),
        cmocka_unit_test(a_rendezvous_works_with_every_order),
        cmocka_unit_test(random_operations_agree_with_a_model),
        cmocka_unit_test(items_of_any_size_can_have_priorities),
        cmocka_unit_test(items_to_compare_are_aligned_as_their_type_wants),
        cmocka_unit_test(without_memory_to_grow_no_item_is_lost_or_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
