/* buffer.h: the items a channel holds. */
#ifndef SYNC_BUFFER_H
#define SYNC_BUFFER_H

#include <coloop/chan.h>

struct buffer {
    size_t item_size;
    co_chan_options_t options;
    size_t count, capacity; /* in slots; capacity is a power of two, or 0 */
    size_t first;           /* slot of the oldest item; unused with CO_PRIORITY */
    uint64_t next_order;
    unsigned char *slots;
};

/* Adds a copy of the item. 0 or -ENOMEM; never that if an item was taken just before. */
int co__sync_buffer_push(struct buffer *buffer, const void *item);
/* Takes the item that is next; item may be NULL. The buffer must not be empty. */
void co__sync_buffer_pop(struct buffer *buffer, void *item);
void co__sync_buffer_free(struct buffer *buffer);

#endif
