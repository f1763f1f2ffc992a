/* heap.c: an implicit 8-ary heap (Johnson 1975, "Priority queues with update and finding minimum
 * spanning trees"; the children of i are 8i-6 to 8i+1).
 *
 * Invariants:
 * 1. An entry is not before its parent, where a is before b if its key is less, or is the same and
 *    its node was inserted earlier.
 * 2. entries[heap_index(node)].node == node for every node in the heap; position is 0 outside.
 * 3. entries[2] is aligned to 128 bytes: the eight children of an entry are two neighbouring lines
 *    of the cache.
 * 4. entries[0], the parent of the first, is only there to be compared with, and before all. */
#include "base/heap.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>

enum {
    ALIGNMENT = 128,
    CAPACITY_MIN = 56,
    CAPACITY_KEPT = 32 * CAPACITY_MIN, /* 28 KiB: given back, it would only be asked for again */
    CACHED = 1000,                     /* the first so many entries are taken to be in the cache */
};

/* --- Sifting ---------------------------------------------------------------------------------- */

static inline bool before(struct heap_entry a, struct heap_entry b)
{
    if (__builtin_expect(a.key == b.key, 0))
        return a.node->order < b.node->order;
    return a.key < b.key;
}

/* Moves the hole at `at` up until `entry` fits in. */
void coloop__heap_sift_up(struct heap *heap, size_t at, struct heap_entry entry)
{
    struct heap_entry *entries = heap->entries;
    for (size_t parent; at > 1; at = parent) {
        parent = heap_parent(at);
        if (!before(entry, entries[parent]))
            break;
        heap_put(entries, at, entries[parent]);
    }
    heap_put(entries, at, entry);
}

static size_t least_of(const struct heap_entry *entries, size_t first, size_t end)
{
    size_t least = first;
    for (size_t i = first + 1; i < end; i++)
        if (before(entries[i], entries[least]))
            least = i;
    return least;
}

/* By selection, as no branch guesses well which of eight is the least; of the two halves at a time,
 * which do not wait for each other. */
static inline size_t least_child(const struct heap_entry *entries, size_t first, size_t count)
{
    enum { HALF = HEAP_ARITY / 2 };
    if (__builtin_expect(first + HEAP_ARITY - 1 > count, 0))
        return least_of(entries, first, count + 1);
    const struct heap_entry *child = &entries[first];
    size_t a = 0, b = HALF;
    int64_t key_a = child[a].key, key_b = child[b].key;
    bool tied = false;
    for (size_t i = 1; i < HALF; i++) {
        int64_t next_a = child[i].key, next_b = child[HALF + i].key;
        tied |= (next_a == key_a) | (next_b == key_b);
        a = next_a < key_a ? i : a;
        b = next_b < key_b ? HALF + i : b;
        key_a = next_a < key_a ? next_a : key_a;
        key_b = next_b < key_b ? next_b : key_b;
    }
    if (__builtin_expect(tied | (key_a == key_b), 0))
        return least_of(entries, first, first + HEAP_ARITY);
    return first + (key_b < key_a ? b : a);
}

static inline size_t first_child(size_t at)
{
    return at * HEAP_ARITY - (HEAP_ARITY - 2);
}

/* Moves the hole at `at` down until `entry` fits in. The children of eight siblings lie in a row:
 * they are fetched while it is found out whose are needed. */
static __attribute__((noinline)) void sift_down(struct heap *heap, size_t at,
                                                struct heap_entry entry)
{
    struct heap_entry *entries = heap->entries;
    size_t count = heap->count;
    for (size_t first; (first = first_child(at)) <= count;) {
        size_t next = first_child(first);
        if (next > CACHED && next <= count)
            for (size_t i = 0; i < HEAP_ARITY; i++)
                __builtin_prefetch(&entries[next + i * HEAP_ARITY]);
        size_t least = least_child(entries, first, count);
        if (!before(entries[least], entry))
            break;
        heap_put(entries, at, entries[least]);
        at = least;
    }
    heap_put(entries, at, entry);
}

/* --- Memory ----------------------------------------------------------------------------------- */

/* A large block grows without being copied, as realloc moves its pages. */
static int resize(struct heap *heap, size_t capacity)
{
    size_t old = heap->block ? (size_t)((char *)heap->entries - (char *)heap->block) : 0;
    char *block =
        coloop__realloc(heap->block, capacity * sizeof(struct heap_entry) + 2 * ALIGNMENT);
    if (!block)
        return -ENOMEM;
    size_t new = (-(uintptr_t)block & (ALIGNMENT - 1)) + ALIGNMENT - 2 * sizeof(struct heap_entry);
    if (old && new != old)
        memmove(block + new, block + old, (heap->count + 2) * sizeof(struct heap_entry));
    heap->block = block;
    heap->entries = (struct heap_entry *)(void *)(block + new);
    heap->entries[0] = (struct heap_entry){INT64_MIN, NULL};
    heap->capacity = capacity;
    heap->shrink_below = capacity > CAPACITY_KEPT ? capacity / 8 : 0;
    return 0;
}

int coloop__heap_reserve(struct heap *heap)
{
    if (heap_has_room(heap))
        return 0;
    return resize(heap, heap->capacity ? heap->capacity * 2 : CAPACITY_MIN);
}

/* --- Removing --------------------------------------------------------------------------------- */

/* Out of memory, it just stays large. */
static __attribute__((noinline)) void shrink_and_close_hole(struct heap *heap, size_t at)
{
    if (resize(heap, heap->capacity / 2) < 0)
        heap->shrink_below = 0;
    coloop__heap_close_hole(heap, at);
}

/* Moves what is last, and not counted any more, into the hole at `at` or where it fits in. Most
 * holes are leaves. */
void coloop__heap_close_hole(struct heap *heap, size_t at)
{
    if (__builtin_expect(heap->count < heap->shrink_below, 0)) {
        shrink_and_close_hole(heap, at);
        return;
    }
    if (at > heap->count)
        return;
    struct heap_entry last = heap->entries[heap->count + 1];
    if (at > 1 && before(last, heap->entries[heap_parent(at)]))
        coloop__heap_sift_up(heap, at, last);
    else if (first_child(at) > heap->count)
        heap_put(heap->entries, at, last);
    else
        sift_down(heap, at, last);
}

/* Inserts what is kept anew, in place: there are never more of those than were looked at. */
void coloop__heap_filter(struct heap *heap, bool (*keep)(struct coloop__heap_node *))
{
    size_t n = heap->count;
    heap->count = 0;
    for (size_t i = 1; i <= n; i++) {
        struct heap_entry entry = heap->entries[i];
        entry.node->position = 0;
        if (keep(entry.node))
            coloop__heap_sift_up(heap, ++heap->count, entry);
    }
}

void coloop__heap_free(struct heap *heap)
{
    coloop__free(heap->block);
    *heap = (struct heap){0};
}
