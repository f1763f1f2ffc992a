/* switch_riscv64.h: the switch for 64-bit RISC-V; see switch_x86_64.h for the idea. The
 * floating-point control register belongs to the thread, unless COLOOP_SAVE_FPU. */
#ifndef CONTEXT_SWITCH_RISCV64_H
#define CONTEXT_SWITCH_RISCV64_H

struct context {
    void (*ip)(void);
    void *sp, *fp, *s1; /* s1 may be the compiler's base pointer and cannot be clobbered */
    struct sanitizer_fiber fiber;
};

#ifdef __riscv_flen
#define CONTEXT_CLOBBER_FLOAT                                                                      \
    , "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "ft8", "ft9", "ft10", "ft11", "fa0", \
        "fa1", "fa2", "fa3", "fa4", "fa5", "fa6", "fa7", "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", \
        "fs6", "fs7", "fs8", "fs9", "fs10", "fs11"
#else
#define CONTEXT_CLOBBER_FLOAT
#endif
#ifdef __riscv_vector
#define CONTEXT_CLOBBER_VECTOR                                                                     \
    , "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",      \
        "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", \
        "v27", "v28", "v29", "v30", "v31", "vl", "vtype"
#else
#define CONTEXT_CLOBBER_VECTOR
#endif

/* The jump goes through t2: one through ra or t0 would be predicted as a return, and only one
 * through t2 may land at an unmarked place where landings are checked (Zicfilp). */
static inline __attribute__((always_inline)) void context_jump(struct context *from,
                                                               struct context *to)
{
#if defined(COLOOP_SAVE_FPU) && defined(__riscv_flen)
    uintptr_t fcsr;
    __asm__ volatile("frcsr %0" : "=r"(fcsr));
#endif
    register struct context *left __asm__("a0") = from;
    register struct context *next __asm__("a1") = to;
    __asm__ volatile("lla t0, 1f\n\t"
                     "sd t0, 0(a0)\n\t"
                     "sd sp, 8(a0)\n\t"
                     "sd s0, 16(a0)\n\t"
                     "sd s1, 24(a0)\n\t"
                     "ld t2, 0(a1)\n\t"
                     "ld sp, 8(a1)\n\t"
                     "ld s0, 16(a1)\n\t"
                     "ld s1, 24(a1)\n\t"
                     "jr t2\n"
                     "1:"
                     : "+r"(left), "+r"(next)
                     :
                     : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a2", "a3", "a4", "a5", "a6",
                       "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
                       "memory" CONTEXT_CLOBBER_FLOAT CONTEXT_CLOBBER_VECTOR);
#if defined(COLOOP_SAVE_FPU) && defined(__riscv_flen)
    __asm__ volatile("fscsr %0" : : "r"(fcsr));
#endif
}

static inline void *context_call_sp(void *high)
{
    return (void *)((uintptr_t)high & ~(uintptr_t)15);
}

static inline __attribute__((always_inline)) char *context_sp(void)
{
    char *sp;
    __asm__ volatile("mv %0, sp" : "=r"(sp));
    return sp;
}

/* See switch_x86_64.h. A program that was not compiled for it gets none. */
static inline bool context_shadow_stack(void)
{
    uintptr_t pointer = 0;
#ifdef __riscv_zicfiss
    __asm__ volatile("ssrdp %0" : "=r"(pointer));
#endif
    return pointer != 0;
}

#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined ra")

#endif
