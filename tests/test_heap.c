/* The heap: every order of insertion and removal of a few nodes, and long random ones against a
 * model that looks at all nodes. */
#include "support.h"

#include "base/heap.h"

#include <stdlib.h>

enum { FEW = 7, MANY = 1000, LARGE = 4000 };

struct item {
    struct coloop__heap_node node;
    int64_t key;
    uint64_t number; /* of the insertion */
};

static uint64_t insertions;

static int insert(struct heap *heap, struct item *item, int64_t key)
{
    int rc = coloop__heap_reserve(heap);
    if (rc == 0) {
        item->key = key;
        item->number = ++insertions;
        heap_insert(heap, &item->node, key, item->number % HEAP_TAGS);
    }
    return rc;
}

static struct item *item_of(const struct coloop__heap_node *node)
{
    return (struct item *)node;
}

static bool is_before(const struct item *a, const struct item *b)
{
    return a->key != b->key ? a->key < b->key : a->number < b->number;
}

static void check_invariants(const struct heap *heap)
{
    assert_true(heap->count <= heap->capacity);
    assert_true(!heap->block || (uintptr_t)&heap->entries[2] % 128 == 0);
    for (size_t i = 1; i <= heap->count; i++) {
        const struct item *item = item_of(heap->entries[i].node);
        assert_int_equal(heap_index(&item->node), i);
        assert_int_equal(heap_tag(&item->node), item->number % HEAP_TAGS);
        assert_int_equal(item->key, heap->entries[i].key);
        assert_true(i == 1 || is_before(item_of(heap->entries[(i - 2) / 8 + 1].node), item));
    }
}

/* Takes all out, and expects them in order, ties by insertion. */
static size_t drain(struct heap *heap)
{
    const struct item *last = NULL;
    size_t n = 0;
    for (struct coloop__heap_node *node; (node = heap_first(heap)); last = item_of(node), n++) {
        assert_true(!last || is_before(last, item_of(node)));
        heap_remove(heap, node);
        assert_false(heap_contains(node));
        if (n < 100 || n % 64 == 0)
            check_invariants(heap);
    }
    assert_int_equal(heap->count, 0);
    return n;
}

static void try_order(const int keys[FEW], int gone)
{
    struct heap heap = {0};
    struct item items[FEW] = {0};
    for (int i = 0; i < FEW; i++)
        assert_int_equal(insert(&heap, &items[i], keys[i]), 0);
    heap_remove(&heap, &items[gone].node);
    check_invariants(&heap);
    assert_int_equal(drain(&heap), FEW - 1);
    coloop__heap_free(&heap);
}

static void every_small_heap_sorts_stably(void **state)
{
    (void)state;
    int keys[FEW];
    for (int code = 0; code < 4 * 4 * 4 * 4 * 4 * 4 * 4; code++) {
        for (int i = 0, c = code; i < FEW; i++, c /= 4)
            keys[i] = c % 4;
        try_order(keys, code % FEW);
    }
}

static uint32_t random_number;

static uint32_t next_random(uint32_t below)
{
    random_number = random_number * 1664525 + 1013904223;
    return (random_number >> 8) % below;
}

static const struct item *least_of(const struct item *items, size_t n)
{
    const struct item *least = NULL;
    for (size_t i = 0; i < n; i++)
        if (heap_contains(&items[i].node) && (!least || is_before(&items[i], least)))
            least = &items[i];
    return least;
}

/* Of every eight children some have the same key, or all, or none, depending on how many there are.
 */
static void random_operations_agree_with_a_model(void **state)
{
    static const uint32_t ranges[] = {1, 2, 100, 1000000};
    static struct item items[MANY];
    struct heap heap = {0};
    (void)state;
    random_number = 1;
    for (int step = 0; step < 200000; step++) {
        struct item *item = &items[next_random(MANY)];
        if (heap_contains(&item->node))
            heap_remove(&heap, &item->node);
        else
            assert_int_equal(insert(&heap, item, next_random(ranges[step / 50000])), 0);
        if (step % 64)
            continue;
        const struct item *least = least_of(items, MANY);
        assert_ptr_equal(heap_first(&heap), least ? &least->node : NULL);
        check_invariants(&heap);
    }
    drain(&heap);
    coloop__heap_free(&heap);
}

/* With the deepest levels beyond those that are taken to be in the cache. */
static void a_large_heap_sorts_stably(void **state)
{
    enum { N = 40000 };
    struct item *items = calloc(N, sizeof *items);
    struct heap heap = {0};
    (void)state;
    random_number = 1;
    for (int i = 0; i < N; i++)
        assert_int_equal(insert(&heap, &items[i], next_random(N)), 0);
    for (int i = 0; i < N; i += 3)
        heap_remove(&heap, &items[i].node);
    check_invariants(&heap);
    assert_int_equal(drain(&heap), N - (N + 2) / 3);
    assert_true(heap.capacity < 2000); /* it has shrunk to what it keeps */
    coloop__heap_free(&heap);
    free(items);
}

static void the_last_can_be_taken_out_again_and_again(void **state)
{
    static struct item items[LARGE];
    struct heap heap = {0};
    (void)state;
    for (int i = 0; i < LARGE; i++)
        assert_int_equal(insert(&heap, &items[i], i), 0);
    size_t large = heap.capacity;
    for (int i = LARGE; i-- > 0;) {
        heap_remove(&heap, &items[i].node);
        check_invariants(&heap);
    }
    assert_true(heap.capacity < large);
    coloop__heap_free(&heap);
}

/* To be asked for that again and again would cost more than all the rest of it. */
static void a_heap_of_a_thousand_keeps_its_room(void **state)
{
    static struct item items[MANY];
    struct heap heap = {0};
    (void)state;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(insert(&heap, &items[i], i), 0);
    size_t room = heap.capacity;
    assert_int_equal(drain(&heap), MANY);
    assert_int_equal(heap.capacity, room);
    coloop__heap_free(&heap);
}

static void the_least_and_the_greatest_key_are_keys_like_others(void **state)
{
    static const int64_t keys[] = {INT64_MAX, INT64_MIN, 0, INT64_MIN, INT64_MAX, INT64_MIN + 1};
    enum { N = 60 };
    struct heap heap = {0};
    struct item items[N] = {0};
    (void)state;
    for (int i = 0; i < N; i++) {
        assert_int_equal(insert(&heap, &items[i], keys[i % 6]), 0);
        check_invariants(&heap);
    }
    for (int i = 0; i < N; i += 7)
        heap_remove(&heap, &items[i].node);
    assert_int_equal(drain(&heap), N - 9);
    coloop__heap_free(&heap);
}

static bool keep_odd(struct coloop__heap_node *node)
{
    return item_of(node)->key % 2 != 0;
}

static void a_filter_keeps_the_order_of_what_is_left(void **state)
{
    static struct item items[MANY];
    struct heap heap = {0};
    (void)state;
    random_number = 1;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(insert(&heap, &items[i], next_random(20)), 0);
    coloop__heap_filter(&heap, keep_odd);
    check_invariants(&heap);
    size_t left = 0;
    for (int i = 0; i < MANY; i++) {
        assert_true(heap_contains(&items[i].node) == keep_odd(&items[i].node));
        left += heap_contains(&items[i].node);
    }
    assert_int_equal(drain(&heap), left);
    coloop__heap_free(&heap);
}

/* --- Memory ----------------------------------------------------------------------------------- */

/* Each block lies differently to the cache lines than the one before it. */
static void *allocate_askew(void *old, size_t size, void *moves)
{
    enum { ROOM = 256 };
    char *block = old ? (char *)old - ((size_t *)old)[-1] : NULL;
    if (!size) {
        free(block);
        return NULL;
    }
    size_t lead = 16 * (1 + ++*(size_t *)moves * 5 % 8), old_lead = old ? ((size_t *)old)[-1] : 0;
    char *grown = realloc(block, size + ROOM);
    if (!grown)
        return NULL;
    if (block)
        memmove(grown + lead, grown + old_lead, size);
    ((size_t *)(void *)(grown + lead))[-1] = lead;
    return grown + lead;
}

static void siblings_share_cache_lines_wherever_the_memory_lies(void **state)
{
    enum { N = 2 * MANY }; /* enough for it to shrink as well */
    static struct item items[N];
    struct heap heap = {0};
    size_t moves = 0;
    (void)state;
    assert_int_equal(coloop_set_allocator(allocate_askew, &moves), 0);
    random_number = 1;
    for (int i = 0; i < N; i++) {
        assert_int_equal(insert(&heap, &items[i], next_random(MANY)), 0);
        check_invariants(&heap);
    }
    assert_int_equal(drain(&heap), N);
    assert_true(moves > 7);
    coloop__heap_free(&heap);
    assert_int_equal(coloop_set_allocator(NULL, NULL), 0);
}

static void without_memory_an_insertion_changes_nothing(void **state)
{
    (void)state;
    struct heap heap = {0};
    static struct item items[MANY];
    loop_t *loop = open_loop(); /* brings the failing allocator */
    int n = 0;
    do {
        assert_int_equal(insert(&heap, &items[n], -n), 0);
        n++;
    } while (heap_has_room(&heap));
    fail_allocation(1, true);
    assert_int_equal(insert(&heap, &items[n], 0), -ENOMEM);
    assert_false(heap_contains(&items[n].node));
    assert_int_equal(heap.count, n);
    check_invariants(&heap);
    fail_allocation(0, false);
    assert_int_equal(drain(&heap), n);
    coloop__heap_free(&heap);
    close_loop(loop);
}

static void without_memory_a_heap_stays_as_large_as_it_is(void **state)
{
    (void)state;
    struct heap heap = {0};
    static struct item items[LARGE];
    loop_t *loop = open_loop();
    for (int i = 0; i < LARGE; i++)
        assert_int_equal(insert(&heap, &items[i], -i), 0);
    size_t large = heap.capacity;
    fail_allocation(1, true);
    assert_int_equal(drain(&heap), LARGE);
    assert_int_equal(heap.capacity, large);
    for (int i = 0; i < LARGE; i++)
        assert_int_equal(insert(&heap, &items[i], i), 0);
    fail_allocation(0, false);
    assert_int_equal(drain(&heap), LARGE);
    coloop__heap_free(&heap);
    close_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_heap_sorts_stably),
        cmocka_unit_test(random_operations_agree_with_a_model),
        cmocka_unit_test(a_large_heap_sorts_stably),
        cmocka_unit_test(the_last_can_be_taken_out_again_and_again),
        cmocka_unit_test(a_heap_of_a_thousand_keeps_its_room),
        cmocka_unit_test(the_least_and_the_greatest_key_are_keys_like_others),
        cmocka_unit_test(a_filter_keeps_the_order_of_what_is_left),
        cmocka_unit_test(siblings_share_cache_lines_wherever_the_memory_lies),
        cmocka_unit_test(without_memory_an_insertion_changes_nothing),
        cmocka_unit_test(without_memory_a_heap_stays_as_large_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
