/* buffer.c: a ring of items for the orders FIFO and LIFO, and a binary heap for the order of
 * priority.
 *
 * In the heap each slot has the item's number behind the item, by which items alike keep their
 * order (Williams 1964, "Algorithm 232: Heapsort"). One slot more than `capacity` serves for
 * swapping. */
#include "sync/buffer.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>

enum { CAPACITY_MIN = 8 };

static bool is_heap(const struct buffer *buffer)
{
    return buffer->options.order == CO_PRIORITY;
}

/* Keeps the number aligned, and items too: a type's alignment divides its size. */
static size_t slot_size(const struct buffer *buffer)
{
    size_t size = buffer->item_size, align = size && size % 16 == 0 ? 16 : sizeof(uint64_t);
    if (!is_heap(buffer))
        return size;
    size = (size + 7) / 8 * 8 + sizeof(uint64_t);
    return (size + align - 1) / align * align;
}

static unsigned char *slot(const struct buffer *buffer, size_t i)
{
    return buffer->slots + i * slot_size(buffer);
}

static unsigned char *ring_slot(const struct buffer *buffer, size_t i)
{
    return slot(buffer, (buffer->first + i) & (buffer->capacity - 1));
}

/* Items in a new, larger ring begin at slot 0. */
static int grow(struct buffer *buffer)
{
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : CAPACITY_MIN,
           size = slot_size(buffer), bytes;
    if (__builtin_mul_overflow(capacity + 1, size, &bytes))
        return -ENOMEM;
    unsigned char *slots = coloop__alloc(bytes);
    if (!slots)
        return -ENOMEM;
    size_t to_end = buffer->capacity - buffer->first;
    size_t head = buffer->count < to_end ? buffer->count : to_end;
    if (head)
        memcpy(slots, slot(buffer, buffer->first), head * size);
    if (buffer->count > head)
        memcpy(slots + head * size, buffer->slots, (buffer->count - head) * size);
    coloop__free(buffer->slots);
    buffer->slots = slots;
    buffer->capacity = capacity;
    buffer->first = 0;
    return 0;
}

/* --- The heap --------------------------------------------------------------------------------- */

static uint64_t order_of(const struct buffer *buffer, size_t i)
{
    uint64_t order;
    memcpy(&order, slot(buffer, i) + slot_size(buffer) - sizeof order, sizeof order);
    return order;
}

static bool before(const struct buffer *buffer, size_t a, size_t b)
{
    int difference = buffer->options.compare(slot(buffer, a), slot(buffer, b));
    return difference < 0 || (difference == 0 && order_of(buffer, a) < order_of(buffer, b));
}

static void swap(struct buffer *buffer, size_t a, size_t b)
{
    size_t size = slot_size(buffer), spare = buffer->capacity;
    memcpy(slot(buffer, spare), slot(buffer, a), size);
    memcpy(slot(buffer, a), slot(buffer, b), size);
    memcpy(slot(buffer, b), slot(buffer, spare), size);
}

static void sift_up(struct buffer *buffer, size_t i)
{
    for (; i > 0 && before(buffer, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(buffer, i, (i - 1) / 2);
}

static void sift_down(struct buffer *buffer, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < buffer->count; i = child) {
        if (child + 1 < buffer->count && before(buffer, child + 1, child))
            child++;
        if (!before(buffer, child, i))
            break;
        swap(buffer, i, child);
    }
}

static void heap_pop(struct buffer *buffer)
{
    if (--buffer->count) {
        memcpy(slot(buffer, 0), slot(buffer, buffer->count), slot_size(buffer));
        sift_down(buffer, 0);
    }
}

/* --- Both ------------------------------------------------------------------------------------- */

static void copy(void *to, const void *from, size_t size)
{
    if (size && to)
        memcpy(to, from, size);
}

int co__sync_buffer_push(struct buffer *buffer, const void *item)
{
    if (buffer->count == buffer->capacity) {
        int rc = grow(buffer);
        if (rc < 0)
            return rc;
    }
    size_t i = buffer->count++;
    if (!is_heap(buffer)) {
        copy(ring_slot(buffer, i), item, buffer->item_size);
        return 0;
    }
    uint64_t order = buffer->next_order++;
    copy(slot(buffer, i), item, buffer->item_size);
    memcpy(slot(buffer, i) + slot_size(buffer) - sizeof order, &order, sizeof order);
    sift_up(buffer, i);
    return 0;
}

void co__sync_buffer_pop(struct buffer *buffer, void *item)
{
    switch (buffer->options.order) {
    case CO_PRIORITY:
        copy(item, slot(buffer, 0), buffer->item_size);
        heap_pop(buffer);
        break;
    case CO_LIFO:
        copy(item, ring_slot(buffer, --buffer->count), buffer->item_size);
        break;
    default:
        copy(item, ring_slot(buffer, 0), buffer->item_size);
        buffer->first = (buffer->first + 1) & (buffer->capacity - 1);
        buffer->count--;
    }
}

void co__sync_buffer_free(struct buffer *buffer)
{
    coloop__free(buffer->slots);
}
