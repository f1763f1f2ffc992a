/* switch_aarch64.h: the switch for AArch64; see switch_x86_64.h for the idea. The floating-point
 * control register belongs to the thread, unless COLOOP_SAVE_FPU. */
#ifndef CONTEXT_SWITCH_AARCH64_H
#define CONTEXT_SWITCH_AARCH64_H

struct context {
    void (*ip)(void);
    void *sp, *fp, *x19; /* x19 may be the compiler's base pointer and cannot be clobbered */
    struct sanitizer_fiber fiber;
};

#ifdef __ARM_FEATURE_BTI_DEFAULT
#define CONTEXT_LANDING "bti j\n\t"
#else
#define CONTEXT_LANDING
#endif

#ifdef __ARM_FEATURE_SVE
#define CONTEXT_CLOBBER_SVE                                                                        \
    , "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13",      \
        "p14", "p15"
#else
#define CONTEXT_CLOBBER_SVE
#endif

#ifdef __APPLE__ /* x18 belongs to the platform there, and is one more temporary elsewhere */
#define CONTEXT_CLOBBER_X18
#else
#define CONTEXT_CLOBBER_X18 , "x18"
#endif

static inline __attribute__((always_inline)) void context_jump(struct context *from,
                                                               struct context *to)
{
#ifdef COLOOP_SAVE_FPU
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
#endif
    register struct context *left __asm__("x0") = from;
    register struct context *next __asm__("x1") = to;
    __asm__ volatile("adr x2, 1f\n\t"
                     "mov x3, sp\n\t"
                     "stp x2, x3, [x0]\n\t"
                     "stp x29, x19, [x0, #16]\n\t"
                     "ldp x16, x3, [x1]\n\t"
                     "ldp x29, x19, [x1, #16]\n\t"
                     "mov sp, x3\n\t"
                     "br x16\n"
                     "1:\n\t" CONTEXT_LANDING
                     : "+r"(left), "+r"(next)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17" CONTEXT_CLOBBER_X18, "x20", "x21", "x22", "x23",
                       "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5",
                       "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",
                       "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
                       "v28", "v29", "v30", "v31", "cc", "memory" CONTEXT_CLOBBER_SVE);
#ifdef COLOOP_SAVE_FPU
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#endif
}

static inline void *context_call_sp(void *high)
{
    return (void *)((uintptr_t)high & ~(uintptr_t)15);
}

static inline __attribute__((always_inline)) char *context_sp(void)
{
    char *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

/* See switch_x86_64.h; the instruction (chkfeat) clears the bit of a feature that is on, and does
 * nothing on processors that do not know it. */
static inline bool context_shadow_stack(void)
{
    register uint64_t feature __asm__("x16") = 1;
    __asm__ volatile("hint #40" : "+r"(feature));
    return feature == 0;
}

#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined x30")

#endif
