/* heap.h: a min-heap of nodes by key, those of one key in the order of insertion. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <coloop/base.h>

struct heap_entry {
    int64_t key; /* beside the pointer, so that sifting does not touch the nodes */
    struct coloop__heap_node *node;
};

struct heap {
    struct heap_entry *entries;
    size_t count, capacity;
    uint64_t next_order;
    void *block; /* what `entries` lies in */
};

/* Inserts a node that is in no heap. 0 or -ENOMEM. */
int coloop__heap_insert(struct heap *heap, struct coloop__heap_node *node, int64_t key);
/* Makes room for one more node, so that the next insertion cannot fail. 0 or -ENOMEM. */
int coloop__heap_reserve(struct heap *heap);
/* Removes a node that is in the heap. */
void coloop__heap_remove(struct heap *heap, struct coloop__heap_node *node);
/* Removes every node for which keep(node) says no. */
void coloop__heap_filter(struct heap *heap, bool (*keep)(struct coloop__heap_node *));
void coloop__heap_free(struct heap *heap);

/* The node with the least key, or NULL. */
static inline struct coloop__heap_node *heap_first(const struct heap *heap)
{
    return heap->count ? heap->entries[0].node : NULL;
}

#endif
