/* base.h: what every header of libcoloop needs: versions, visibility, call sites, the allocator.
 *
 * Names that begin with coloop__, loop__ or co__ are private wherever they stand, even in these
 * headers: they are here only because the storage of some objects belongs to the caller. */
#ifndef COLOOP_BASE_H
#define COLOOP_BASE_H

#include <errno.h> /* results are negative errno values */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COLOOP_VERSION "0.1.0"
#define COLOOP_VERSION_NUMBER 100 /* major * 10000 + minor * 100 + patch */

#define COLOOP_API __attribute__((visibility("default")))

/* The place of a call, "file.c:12": suspending calls hand it on, so that every parked task can say
 * where it waits. */
#define CO_HERE __FILE__ ":" COLOOP__STRING(__LINE__)
#define COLOOP__STRING(x) COLOOP__STRING_(x)
#define COLOOP__STRING_(x) #x
#define COLOOP__JOIN(a, b) COLOOP__JOIN_(a, b)
#define COLOOP__JOIN_(a, b) a##b

/* Replaces the allocator through which every allocation of the library goes (stacks are mapped with
 * mmap and are no part of it).
 *
 * fn(pointer, size, arg) does what realloc does: a NULL pointer asks for new memory, size 0 frees
 * and returns NULL, and NULL for a size above 0 means out of memory, with the old memory untouched.
 * It is called from every thread that uses the library. A NULL fn brings back realloc and free.
 * Returns 0, or -EBUSY while any memory of the library is in use. Does not suspend. */
typedef void *coloop_allocator_fn(void *pointer, size_t size, void *arg);
COLOOP_API int coloop_set_allocator(coloop_allocator_fn *fn, void *arg);

/* The version the program runs with, as COLOOP_VERSION is the one it was compiled with. */
COLOOP_API const char *coloop_version(void);

struct coloop__link { /* in a list; next is NULL while it is in none */
    struct coloop__link *next, *prev;
};
/* In a heap. It may share its place with a link: the first word tells, as no pointer is odd. */
struct __attribute__((may_alias)) coloop__heap_node {
    size_t position; /* 0: in none; else odd */
    uint64_t order;  /* of insertion, and a tag of the user's */
};

#ifdef __cplusplus
}
#endif
#endif
