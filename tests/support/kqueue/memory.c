/* memory.c: zeroed blocks outside of malloc, as a kernel's are: tests count what the program takes.
 * Freed blocks wait in a list for the next of their size. */
#include "shim.h"

#include <string.h>
#include <sys/mman.h>

enum { CHUNK = 64 * 1024 };

union block {
    union block *next;
    struct knote knote;
    struct shim_queue queue;
};

static union block *idle[2];

void *shim_allocate(enum shim_kind kind)
{
    static const size_t sizes[] = {sizeof(struct knote), sizeof(struct shim_queue)};
    if (!idle[kind]) {
        char *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED)
            return NULL;
        for (size_t at = 0; at + sizes[kind] <= CHUNK; at += sizes[kind])
            shim_free(kind, chunk + at);
    }
    union block *block = idle[kind];
    idle[kind] = block->next;
    return memset(block, 0, sizes[kind]);
}

void shim_free(enum shim_kind kind, void *memory)
{
    union block *block = memory;
    block->next = idle[kind];
    idle[kind] = block;
}
