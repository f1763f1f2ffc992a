/* alloc.h: the one way to memory. Everything the library allocates comes from here, and so from the
 * allocator that coloop_set_allocator set. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <coloop/base.h>

void *coloop__alloc(size_t size); /* not zeroed */
void *coloop__zalloc(size_t size);
void *coloop__realloc(void *pointer, size_t size);
void coloop__free(void *pointer); /* NULL is ignored */

/* Zeroed, and at the beginning of a cache line; has a free of its own. */
enum { CACHE_LINE = 64 };
void *coloop__zalloc_aligned(size_t size);
void coloop__free_aligned(void *pointer);

#endif
