/* stack.c owns the memory of stacks.
 *
 * A slot of a slab, from low addresses to high:
 *
 *     | guard: 4 pages, no access | usable: pool->size bytes                                    |
 *                                 ^low           frames <- | struct stack, header | stagger     |
 *
 * Slabs grow with the number of stacks, and neighbouring ones become one mapping. Slots are taken
 * in order; a guard is installed when its slot is first taken. The header starts at a different
 * place of its page in neighbouring slots, as tops at the same one would share few cache sets: a
 * switch touches some four lines above it and three below.
 *
 * Memory goes back in two steps, both while the loop is idle: an idle stack keeps at most
 * KEEP_BYTES at its top; and stacks that were idle for a whole second, by the low-water mark of the
 * idle list (the working set idea of Bonwick and Adams 2001, "Magazines and Vmem"), keep nothing
 * and are born again at their next use. */
#include "context/stack.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef MAP_STACK
#define MAP_STACK 0
#endif

enum {
    GUARD_PAGES = 4, /* more than one, for functions whose frame is larger than a page */
    SIZE_MIN = 16 * 1024,
    KEEP_BYTES = 16 * 1024,
    HOT_BYTES = 512 * 1024, /* of the stacks that will be used next, all is kept */
    SLAB_SLOTS_MIN = 16,
    SLAB_SLOTS_MAX = 4096,
    LINE = 64,
    STAGGER = 3 * LINE,
    STAGGERS = 8,
    TRIM_BATCH = 256,
};

struct stack_slab {
    struct stack_slab *next;
    char *memory;
    size_t slots, used;
    uintptr_t *valgrind_ids; /* of the used slots, under valgrind; else NULL */
};

static size_t page_size(void)
{
    static atomic_size_t size;
    if (!atomic_load_explicit(&size, memory_order_relaxed))
        atomic_store(&size, (size_t)sysconf(_SC_PAGESIZE));
    return atomic_load_explicit(&size, memory_order_relaxed);
}

static size_t guard_size(void)
{
    return GUARD_PAGES * page_size();
}

/* --- Guards ----------------------------------------------------------------------------------- */

static atomic_int guard_kind;
static atomic_size_t
    protected_guards; /* each splits a mapping; the kernel allows a process only so many */
static size_t protected_max;
static pthread_once_t protected_once = PTHREAD_ONCE_INIT;

/* Half of the mappings the kernel allows, in guards of two mappings each, leaving room for the
 * application. */
static void read_protected_max(void)
{
    size_t maps = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        if (fscanf(file, "%zu", &maps) != 1)
            maps = 65530;
        fclose(file);
    }
    protected_max = maps > 8192 ? (maps - 8192) / 2 : maps / 4;
}

/* Some emulators say yes to any advice: one that cannot exist must be refused for the answer to
 * count. Under ASan the guards must show in the process's map, or the leak checker runs into them.
 */
static enum stack_guard find_guard(void)
{
    enum stack_guard kind = STACK_GUARD_PROTECT;
    char *page =
        mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return kind;
    if (!CONTEXT_ASAN && madvise(page, page_size(), 0x7ffffff) < 0 &&
        madvise(page, page_size(), MADV_GUARD_INSTALL) == 0)
        kind = STACK_GUARD_ADVICE;
    munmap(page, page_size());
    return kind;
}

void coloop__stack_set_guard(enum stack_guard guard)
{
    atomic_store(&guard_kind, guard);
}

static bool protect(char *slot)
{
    pthread_once(&protected_once, read_protected_max);
    if (atomic_load(&protected_guards) >= protected_max ||
        mprotect(slot, guard_size(), PROT_NONE) < 0)
        return false;
    atomic_fetch_add(&protected_guards, 1);
    return true;
}

static void install_guard(struct stack_pool *pool, char *slot)
{
    if (atomic_load(&guard_kind) == STACK_GUARD_UNKNOWN)
        atomic_store(&guard_kind, find_guard());
    int kind = atomic_load(&guard_kind);
    if (kind == STACK_GUARD_ADVICE && madvise(slot, guard_size(), MADV_GUARD_INSTALL) == 0)
        return;
    if (kind != STACK_GUARD_NONE && protect(slot))
        pool->protected ++;
    else
        pool->unguarded++;
}

bool coloop__stack_overflowed(const struct stack *stack, const void *address)
{
    uintptr_t at = (uintptr_t)address, low = (uintptr_t)stack->low;
    return at < low && at >= low - guard_size();
}

/* --- Slabs ------------------------------------------------------------------------------------ */

size_t coloop__stack_round_size(size_t size)
{
    if (size > SIZE_MAX / 64)
        return 0;
    if (CONTEXT_ASAN)
        size *= 4; /* its frames and interceptors are that much larger */
    size_t page = page_size();
    size = ((size < SIZE_MIN ? SIZE_MIN : size) + page - 1) / page * page;
    /* A large context, at the top of the stack, must not come out of what was asked for. */
    return size + sizeof(struct context) / page * page;
}

static size_t slot_size(const struct stack_pool *pool)
{
    return guard_size() + pool->size;
}

static void *map_slots(const struct stack_pool *pool, size_t slots)
{
    size_t bytes;
    if (__builtin_mul_overflow(slots, slot_size(pool), &bytes))
        return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_NOHUGEPAGE
    madvise(memory, bytes, MADV_NOHUGEPAGE); /* a stack is a few small pages, not two megabytes */
#endif
    return memory;
}

/* As many slots as there are already, or fewer where the address space is short. */
static struct stack_slab *new_slab(struct stack_pool *pool)
{
    size_t slots = pool->total < SLAB_SLOTS_MIN ? SLAB_SLOTS_MIN : pool->total;
    if (slots > SLAB_SLOTS_MAX)
        slots = SLAB_SLOTS_MAX;
    struct stack_slab *slab = coloop__zalloc(sizeof *slab);
    if (!slab)
        return NULL;
    while (!(slab->memory = map_slots(pool, slots)) && slots > 1)
        slots /= 2;
    if (!slab->memory)
        goto free_slab;
    slab->slots = slots;
    if (valgrind_runs() && !(slab->valgrind_ids = coloop__zalloc(slots * sizeof(uintptr_t))))
        goto unmap;
    slab->next = pool->slabs;
    return pool->slabs = slab;
unmap:
    munmap(slab->memory, slots * slot_size(pool));
free_slab:
    coloop__free(slab);
    return NULL;
}

/* Room in the idle list for every stack that exists, so that putting one back cannot fail. */
static bool reserve_idle(struct stack_pool *pool)
{
    if (pool->total < pool->idle_capacity)
        return true;
    size_t capacity = pool->idle_capacity ? pool->idle_capacity * 2 : SLAB_SLOTS_MIN;
    uintptr_t *idle = coloop__realloc(pool->idle, capacity * sizeof *idle);
    if (!idle)
        return false;
    pool->idle = idle;
    pool->idle_capacity = capacity;
    return true;
}

static void enter_stack(void *arg)
{
    struct stack *stack = arg;
    stack->pool->entry(stack);
}

/* Makes the struct at the top of the slot that ends at `high`, and lets its context be born. */
static __attribute__((noinline)) struct stack *make_stack(struct stack_pool *pool,
                                                          struct stack *stack, char *high)
{
    stack->pool = pool;
    stack->fresh = true;
    stack->low = high - pool->size;
    sanitizer_stack_made(&stack->context.fiber, stack->low, (size_t)((char *)stack - stack->low));
    coloop__context_birth(&stack->context, stack->low, stack, enter_stack, stack);
    return stack;
}

static __attribute__((noinline)) struct stack *take_slot(struct stack_pool *pool)
{
    struct stack_slab *slab = pool->slabs;
    if (!reserve_idle(pool) || ((!slab || slab->used == slab->slots) && !(slab = new_slab(pool))))
        return NULL;
    size_t index = slab->used++;
    char *slot = slab->memory + index * slot_size(pool), *high = slot + slot_size(pool);
    install_guard(pool, slot);
    if (slab->valgrind_ids)
        slab->valgrind_ids[index] = valgrind_stack_register(slot + guard_size(), high - 1);
    size_t stagger = index % STAGGERS * STAGGER;
    uintptr_t top = ((uintptr_t)high - stagger - pool->header) & ~(uintptr_t)(LINE - 1);
    pool->total++;
    return make_stack(pool, (struct stack *)top, high);
}

/* --- Idle stacks ------------------------------------------------------------------------------ */

/* Of a stack that may hold no memory: all that is known is where it is. Its header ends less than a
 * page below the end of the slot; it may begin on the page before (a ucontext_t of AArch64 has more
 * than 4 KiB). */
static char *slot_high(const struct stack_pool *pool, const struct stack *stack)
{
    return (char *)(((uintptr_t)stack + pool->header + page_size() - 1) & ~(page_size() - 1));
}

static struct stack *idle_stack(const struct stack_pool *pool, size_t i)
{
    return (struct stack *)(pool->idle[i] & ~(uintptr_t)STACK_NEEDS_BIRTH);
}

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static __attribute__((noinline)) struct stack *rebirth(struct stack_pool *pool, size_t i)
{
    struct stack *stack = idle_stack(pool, i);
    if (!(pool->idle[i] & STACK_RELEASED))
        sanitizer_stack_gone(&stack->context.fiber);
    return make_stack(pool, stack, slot_high(pool, stack));
}

struct stack *coloop__stack_get(struct stack_pool *pool)
{
    if (!pool->idle_count)
        return take_slot(pool);
    size_t i = --pool->idle_count;
    pool->trimmed = least(pool->trimmed, i);
    if (i < pool->low_water) {
        pool->low_water = i;
        pool->released = least(pool->released, i); /* which is never above low_water */
    }
    if (pool->idle[i] & STACK_NEEDS_BIRTH)
        return rebirth(pool, i);
    return (struct stack *)pool->idle[i];
}

static void trim_large(struct stack_pool *pool)
{
    size_t hot = HOT_BYTES / pool->size, end = pool->idle_count > hot ? pool->idle_count - hot : 0;
    size_t keep = page_size() > KEEP_BYTES ? page_size() : KEEP_BYTES;
    end = least(end, pool->trimmed + TRIM_BATCH);
    for (; pool->trimmed < end; pool->trimmed++) {
        struct stack *stack = idle_stack(pool, pool->trimmed);
        if (pool->size > keep)
            madvise(stack->low, pool->size - keep, MADV_DONTNEED);
    }
}

static void release_unneeded(struct stack_pool *pool, int64_t now)
{
    size_t end = least(pool->low_water, pool->released + TRIM_BATCH);
    for (; pool->released < end; pool->released++) {
        struct stack *stack = idle_stack(pool, pool->released);
        if (!(pool->idle[pool->released] & STACK_RELEASED))
            sanitizer_stack_gone(&stack->context.fiber);
        pool->idle[pool->released] |= STACK_RELEASED;
        madvise(stack->low, pool->size, MADV_DONTNEED);
    }
    if (pool->released >= pool->low_water) {
        pool->released_at = now;
        pool->low_water = pool->idle_count;
    }
}

void coloop__stack_trim(struct stack_pool *pool, int64_t now)
{
    trim_large(pool);
    if (now - pool->released_at >= NS_PER_S)
        release_unneeded(pool, now);
}

static void free_slab(struct stack_pool *pool, struct stack_slab *slab)
{
    if (slab->valgrind_ids)
        for (size_t i = 0; i < slab->used; i++)
            valgrind_stack_deregister(slab->valgrind_ids[i]);
    coloop__free(slab->valgrind_ids);
    sanitizer_stack_idle(slab->memory,
                         slab->slots * slot_size(pool)); /* whatever is mapped here next */
    munmap(slab->memory, slab->slots * slot_size(pool));
    coloop__free(slab);
}

void coloop__stack_pool_free(struct stack_pool *pool)
{
#if CONTEXT_ASAN || CONTEXT_TSAN
    for (size_t i = 0; i < pool->idle_count; i++)
        if (!(pool->idle[i] & STACK_RELEASED))
            sanitizer_stack_gone(&idle_stack(pool, i)->context.fiber);
#endif
    atomic_fetch_sub(&protected_guards, pool->protected);
    for (struct stack_slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        free_slab(pool, slab);
    }
    coloop__free(pool->idle);
}

size_t coloop__stack_pool_bytes(const struct stack_pool *pool)
{
    size_t slots = 0;
    for (const struct stack_slab *slab = pool->slabs; slab; slab = slab->next)
        slots += slab->slots;
    return slots * slot_size(pool);
}
