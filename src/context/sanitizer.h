/* sanitizer.h: what AddressSanitizer, ThreadSanitizer and valgrind are told about stacks and
 * switches. Every hook stands here; each is nothing in a build without that tool. */
#ifndef CONTEXT_SANITIZER_H
#define CONTEXT_SANITIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CONTEXT_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#else
#define CONTEXT_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define CONTEXT_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define CONTEXT_TSAN 0
#endif

/* For functions that are entered on one stack and left on another: ThreadSanitizer would put them
 * on its own stack and never take them off. */
#ifndef __has_attribute
#define __has_attribute(x) 0
#endif
#if __has_attribute(disable_sanitizer_instrumentation) /* of clang, whose no_sanitize is less */
#define CONTEXT_BARE __attribute__((no_sanitize_address, disable_sanitizer_instrumentation))
#else
#define CONTEXT_BARE __attribute__((no_sanitize_address, no_sanitize_thread))
#endif

/* What a sanitizer knows of one stack. */
struct sanitizer_fiber {
#if CONTEXT_ASAN
    const void *low; /* the stack's bounds */
    size_t size;
    void *fake_stack;
#elif CONTEXT_TSAN
    void *tsan; /* its fiber */
#else
    __extension__ char nothing[0];
#endif
};

#if CONTEXT_ASAN
/* The fiber that was left last on this thread: the one that runs next learns its bounds from ASan,
 * which is how the bounds of the thread's own stack become known. */
extern _Thread_local struct sanitizer_fiber *coloop__sanitizer_left;
#endif

/* Just before a switch. A dying stack will not be switched back to in its present state. */
static inline void sanitizer_leave(struct sanitizer_fiber *from, struct sanitizer_fiber *to,
                                   bool dying)
{
    (void)from, (void)to, (void)dying;
#if CONTEXT_ASAN
    coloop__sanitizer_left = from;
    __sanitizer_start_switch_fiber(dying ? NULL : &from->fake_stack, to->low, to->size);
    if (dying)
        from->fake_stack = NULL;
#endif
#if CONTEXT_TSAN
    if (!from->tsan)
        from->tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
}

/* Just after a switch, on the new stack. */
static inline void sanitizer_arrive(struct sanitizer_fiber *self)
{
    (void)self;
#if CONTEXT_ASAN
    struct sanitizer_fiber *left = coloop__sanitizer_left;
    __sanitizer_finish_switch_fiber(self->fake_stack, &left->low, &left->size);
#endif
}

static inline void sanitizer_stack_made(struct sanitizer_fiber *fiber, void *low, size_t size)
{
    (void)fiber, (void)low, (void)size;
#if CONTEXT_ASAN
    *fiber = (struct sanitizer_fiber){.low = low, .size = size};
    __lsan_register_root_region(low, size);
#endif
#if CONTEXT_TSAN
    fiber->tsan = __tsan_create_fiber(0);
#endif
}

static inline void sanitizer_stack_gone(struct sanitizer_fiber *fiber)
{
    (void)fiber;
#if CONTEXT_ASAN
    __lsan_unregister_root_region(fiber->low, fiber->size);
#endif
#if CONTEXT_TSAN
    if (fiber->tsan)
        __tsan_destroy_fiber(fiber->tsan);
#endif
}

/* A stack goes back to the pool: frames that were left without returning must not look poisoned
 * later. */
static inline void sanitizer_stack_idle(void *low, size_t size)
{
    (void)low, (void)size;
#if CONTEXT_ASAN
    __asan_unpoison_memory_region(low, size);
#endif
}

/* valgrind's client requests are a fixed protocol: a few rotations that cancel out, which it
 * recognises in the instruction stream. Speaking it needs no header of valgrind's, so every build
 * is fit for it. */
static inline uintptr_t valgrind_request(uintptr_t code, uintptr_t a, uintptr_t b)
{
    volatile uintptr_t request[6] = {code, a, b, 0, 0, 0};
    uintptr_t result = 0;
#if defined(__x86_64__)
    __asm__ volatile("rolq $3, %%rdi\n\trolq $13, %%rdi\n\trolq $61, %%rdi\n\trolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(result)
                     : "a"(request)
                     : "cc", "memory", "rdi");
#elif defined(__aarch64__)
    register uintptr_t value __asm__("x3") = result;
    register volatile uintptr_t *where __asm__("x4") = request;
    __asm__ volatile(
        "ror x12, x12, #3\n\tror x12, x12, #13\n\tror x12, x12, #51\n\tror x12, x12, #61\n\t"
        "orr x10, x10, x10"
        : "+r"(value)
        : "r"(where)
        : "cc", "memory", "x12");
    result = value;
#elif defined(__i386__)
    __asm__ volatile("roll $3, %%edi\n\troll $13, %%edi\n\troll $29, %%edi\n\troll $19, %%edi\n\t"
                     "xchgl %%ebx, %%ebx"
                     : "+d"(result)
                     : "a"(request)
                     : "cc", "memory", "edi");
#else
    (void)request;
#endif
    return result;
}

static inline bool valgrind_runs(void)
{
    return valgrind_request(0x1001, 0, 0) != 0;
}

/* Registers the stack between the two addresses; returns its id. */
static inline uintptr_t valgrind_stack_register(void *low, void *high)
{
    return valgrind_request(0x1501, (uintptr_t)low, (uintptr_t)high);
}

static inline void valgrind_stack_deregister(uintptr_t id)
{
    (void)valgrind_request(0x1502, id, 0);
}

#endif
