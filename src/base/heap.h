/* heap.h: a min-heap of nodes by key, those of one key in the order of insertion. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <coloop/base.h>

enum { HEAP_ARITY = 8 };

struct heap_entry {
    int64_t key; /* beside the pointer, so that sifting does not look into the nodes */
    struct coloop__heap_node *node;
};

struct heap {
    struct heap_entry *entries; /* from 1 on */
    size_t count, capacity;
    size_t shrink_below; /* with fewer entries it is too large */
    uint64_t next_order;
    void *block; /* what `entries` lies in */
};

/* The two lowest bits of a node's order. */
enum { HEAP_TAGS = 4 };

static inline unsigned heap_tag(const struct coloop__heap_node *node)
{
    return node->order % HEAP_TAGS;
}

static inline bool heap_contains(const struct coloop__heap_node *node)
{
    return node->position % 2 == 1;
}

static inline size_t heap_index(const struct coloop__heap_node *node)
{
    return node->position / 2;
}

/* Of the first one: 0. */
static inline size_t heap_parent(size_t at)
{
    return (at + HEAP_ARITY - 2) / HEAP_ARITY;
}

/* Puts the entry there, and tells its node. */
static inline void heap_put(struct heap_entry *entries, size_t at, struct heap_entry entry)
{
    entries[at] = entry;
    entry.node->position = 2 * at + 1;
}

/* The less usual parts of what follows. */
void coloop__heap_sift_up(struct heap *heap, size_t at, struct heap_entry entry);
void coloop__heap_close_hole(struct heap *heap, size_t at);

static inline bool heap_has_room(const struct heap *heap)
{
    return heap->count < heap->capacity;
}

/* Makes room for one more node, if there is none. 0 or -ENOMEM. */
int coloop__heap_reserve(struct heap *heap);

/* Inserts a node that is in no heap, into a heap that has room. */
static inline void heap_insert(struct heap *heap, struct coloop__heap_node *node, int64_t key,
                               unsigned tag)
{
    struct heap_entry entry = {key, node};
    size_t at = ++heap->count;
    node->order = heap->next_order | tag;
    heap->next_order += HEAP_TAGS;
    if (key < heap->entries[heap_parent(at)].key)
        coloop__heap_sift_up(heap, at, entry);
    else
        heap_put(heap->entries, at, entry);
}

/* Removes a node that is in the heap. The last one leaves no hole: the usual case of a deadline
 * that was set and not reached. */
static inline void heap_remove(struct heap *heap, struct coloop__heap_node *node)
{
    size_t at = heap_index(node), count = --heap->count;
    node->position = 0;
    if (at <= count || count < heap->shrink_below)
        coloop__heap_close_hole(heap, at);
}

/* Removes every node for which keep(node) says no. */
void coloop__heap_filter(struct heap *heap, bool (*keep)(struct coloop__heap_node *));
void coloop__heap_free(struct heap *heap);

/* The node with the least key, or NULL. */
static inline struct coloop__heap_node *heap_first(const struct heap *heap)
{
    return heap->count ? heap->entries[1].node : NULL;
}

#endif
