/* The heap: every order of insertion and removal of a few nodes, and a long random one against a
 * sorted model. */
#include "support.h"

#include "base/heap.h"

enum { FEW = 7 };

static void check_invariants(const struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        assert_ptr_equal(heap->entries[heap->entries[i].node->position - 1].node,
                         heap->entries[i].node);
        assert_true(i == 0 || heap->entries[(i - 1) / 4].key <= heap->entries[i].key);
    }
}

/* Inserts nodes with the keys, removes the one at `gone`, and expects the others in order, ties by
 * insertion. */
static void try_order(const int keys[FEW], int gone)
{
    struct heap heap = {0};
    struct coloop__heap_node nodes[FEW] = {0};
    for (int i = 0; i < FEW; i++)
        assert_int_equal(coloop__heap_insert(&heap, &nodes[i], keys[i]), 0);
    coloop__heap_remove(&heap, &nodes[gone]);
    check_invariants(&heap);
    const struct coloop__heap_node *last = NULL;
    for (struct coloop__heap_node *node; (node = heap_first(&heap)); last = node) {
        coloop__heap_remove(&heap, node);
        check_invariants(&heap);
        assert_true(!last || last->key < node->key || (last->key == node->key && last < node));
    }
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

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    enum { NODES = 1000 };
    static struct coloop__heap_node nodes[NODES];
    struct heap heap = {0};
    uint32_t random = 1;
    for (int step = 0; step < 50000; step++) {
        random = random * 1664525 + 1013904223;
        struct coloop__heap_node *node = &nodes[(random >> 8) % NODES];
        if (node->position)
            coloop__heap_remove(&heap, node);
        else
            assert_int_equal(coloop__heap_insert(&heap, node, (random >> 4) % 100), 0);
        if (step % 64)
            continue;
        int64_t least = INT64_MAX;
        for (int i = 0; i < NODES; i++)
            if (nodes[i].position && nodes[i].key < least)
                least = nodes[i].key;
        assert_true(heap.count == 0 || heap_first(&heap)->key == least);
        check_invariants(&heap);
    }
    coloop__heap_free(&heap);
}

static void without_memory_an_insertion_changes_nothing(void **state)
{
    (void)state;
    struct heap heap = {0};
    struct coloop__heap_node nodes[61] = {0};
    loop_t *loop = open_loop(); /* brings the failing allocator */
    for (int i = 0; i < 60; i++)
        assert_int_equal(coloop__heap_insert(&heap, &nodes[i], 60 - i), 0);
    fail_allocation(1, true);
    assert_int_equal(coloop__heap_insert(&heap, &nodes[60], 0), -ENOMEM);
    assert_int_equal(nodes[60].position, 0);
    assert_int_equal(heap.count, 60);
    check_invariants(&heap);
    fail_allocation(0, false);
    coloop__heap_free(&heap);
    close_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_heap_sorts_stably),
        cmocka_unit_test(random_operations_agree_with_a_model),
        cmocka_unit_test(without_memory_an_insertion_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
