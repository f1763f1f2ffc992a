/* alloc.c owns the process's allocator hook and the count of blocks that are alive.
 *
 * Invariant: the hook only changes while no block is alive, so that each block is freed by the
 * allocator that made it. */
#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void *allocate_from_libc(void *pointer, size_t size, void *arg)
{
    (void)arg;
    if (size)
        return realloc(pointer, size);
    free(pointer);
    return NULL;
}

static coloop_allocator_fn *allocator = allocate_from_libc;
static void *allocator_arg;
static atomic_size_t alive; /* blocks; loops on several threads allocate */

int coloop_set_allocator(coloop_allocator_fn *fn, void *arg)
{
    if (atomic_load(&alive))
        return -EBUSY;
    allocator = fn ? fn : allocate_from_libc;
    allocator_arg = fn ? arg : NULL;
    return 0;
}

const char *coloop_version(void)
{
    return COLOOP_VERSION;
}

void *coloop__realloc(void *pointer, size_t size)
{
    void *result = allocator(pointer, size ? size : 1, allocator_arg);
    if (result && !pointer)
        atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
    return result;
}

void *coloop__alloc(size_t size)
{
    return coloop__realloc(NULL, size);
}

void *coloop__zalloc(size_t size)
{
    void *result = coloop__alloc(size);
    return result ? memset(result, 0, size) : NULL;
}

void coloop__free(void *pointer)
{
    if (!pointer)
        return;
    allocator(pointer, 0, allocator_arg);
    atomic_fetch_sub_explicit(&alive, 1, memory_order_relaxed);
}

/* The block itself is noted right before the line. */
void *coloop__zalloc_aligned(size_t size)
{
    char *block = coloop__zalloc(size + CACHE_LINE);
    if (!block)
        return NULL;
    char *aligned = block + CACHE_LINE - (uintptr_t)block % CACHE_LINE;
    ((void **)(void *)aligned)[-1] = block;
    return aligned;
}

void coloop__free_aligned(void *pointer)
{
    if (pointer)
        coloop__free(((void **)pointer)[-1]);
}
