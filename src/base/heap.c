/* heap.c: an implicit 4-ary heap (Johnson 1975, "Priority queues with update and finding minimum
 * spanning trees"; the children of i are 4i+1 to 4i+4).
 *
 * Invariants:
 * 1. An entry is not before its parent, where a is before b if its key is less, or is the same and
 *    its node was inserted earlier.
 * 2. entries[node->position - 1].node == node for every node in the heap; position is 0 outside.
 * 3. entries[1] is aligned to 64 bytes: the four children of an entry share a cache line. */
#include "base/heap.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>

enum { ARITY = 4, LINE = 64, CAPACITY_MIN = 60 };

static inline bool before(struct heap_entry a, struct heap_entry b)
{
    if (__builtin_expect(a.key == b.key, 0))
        return a.node->order < b.node->order;
    return a.key < b.key;
}

static inline void put(struct heap *heap, size_t i, struct heap_entry entry)
{
    heap->entries[i] = entry;
    entry.node->position = i + 1;
}

/* Moves the hole at i up until `entry` fits in. */
static inline void sift_up(struct heap *heap, size_t i, struct heap_entry entry)
{
    while (i > 0) {
        size_t parent = (i - 1) / ARITY;
        if (!before(entry, heap->entries[parent]))
            break;
        put(heap, i, heap->entries[parent]);
        i = parent;
    }
    put(heap, i, entry);
}

/* By branches and not by selection: with a million timers the guesses fetch what is needed next. */
static inline size_t least_child(const struct heap *heap, size_t first)
{
    size_t end = first + ARITY < heap->count ? first + ARITY : heap->count;
    size_t least = first;
    for (size_t i = first + 1; i < end; i++)
        if (before(heap->entries[i], heap->entries[least]))
            least = i;
    return least;
}

/* Moves the hole at i down until `entry` fits in. */
static void sift_down(struct heap *heap, size_t i, struct heap_entry entry)
{
    for (size_t first; (first = i * ARITY + 1) < heap->count;) {
        size_t least = least_child(heap, first);
        if (!before(heap->entries[least], entry))
            break;
        put(heap, i, heap->entries[least]);
        i = least;
    }
    put(heap, i, entry);
}

static int resize(struct heap *heap, size_t capacity)
{
    size_t lead = (ARITY - 1) * sizeof(struct heap_entry);
    char *block = coloop__alloc(capacity * sizeof(struct heap_entry) + lead + LINE);
    if (!block)
        return -ENOMEM;
    char *aligned = block + (-(uintptr_t)block & (LINE - 1));
    struct heap_entry *entries = (struct heap_entry *)(void *)(aligned + lead);
    if (heap->count)
        memcpy(entries, heap->entries, heap->count * sizeof *entries);
    coloop__free(heap->block);
    heap->block = block;
    heap->entries = entries;
    heap->capacity = capacity;
    return 0;
}

int coloop__heap_reserve(struct heap *heap)
{
    if (heap->count < heap->capacity)
        return 0;
    return resize(heap, heap->capacity ? heap->capacity * 2 : CAPACITY_MIN);
}

int coloop__heap_insert(struct heap *heap, struct coloop__heap_node *node, int64_t key)
{
    if (heap->count == heap->capacity && coloop__heap_reserve(heap) < 0)
        return -ENOMEM;
    node->key = key;
    node->order = heap->next_order++;
    sift_up(heap, heap->count++, (struct heap_entry){key, node});
    return 0;
}

static __attribute__((noinline)) void fill_hole(struct heap *heap, size_t i, struct heap_entry last)
{
    if (i > 0 && before(last, heap->entries[(i - 1) / ARITY]))
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

void coloop__heap_remove(struct heap *heap, struct coloop__heap_node *node)
{
    size_t i = node->position - 1;
    node->position = 0;
    struct heap_entry last = heap->entries[--heap->count];
    if (last.node != node)
        fill_hole(heap, i, last);
    if (heap->capacity > CAPACITY_MIN && heap->count < heap->capacity / 8)
        (void)resize(heap, heap->capacity / 2); /* out of memory, it just stays large */
}

/* Inserts what is kept anew, in place: there are never more of those than were looked at. */
void coloop__heap_filter(struct heap *heap, bool (*keep)(struct coloop__heap_node *))
{
    size_t n = heap->count;
    heap->count = 0;
    for (size_t i = 0; i < n; i++) {
        struct heap_entry entry = heap->entries[i];
        entry.node->position = 0;
        if (keep(entry.node))
            sift_up(heap, heap->count++, entry);
    }
}

void coloop__heap_free(struct heap *heap)
{
    coloop__free(heap->block);
    *heap = (struct heap){0};
}
