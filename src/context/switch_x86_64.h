/* switch_x86_64.h: the switch for the System V ABI on x86-64.
 *
 * The instruction, stack and frame pointers are saved; every other register is declared as
 * clobbered, so that the compiler saves just those that are alive where the switch is inlined. The
 * last instruction is an indirect jump and not a return: a return would never be predicted, as it
 * does not match a call (2.8 against 8.7 ns).
 *
 * The control words of the SSE and x87 units (rounding mode, exception masks) belong to the thread
 * and not to the coroutine, unless built with COLOOP_SAVE_FPU, which costs 1 to 3 ns a switch. */
#ifndef CONTEXT_SWITCH_X86_64_H
#define CONTEXT_SWITCH_X86_64_H

struct context {
    void (*ip)(void);
    void *sp, *fp;
    struct sanitizer_fiber fiber;
};

#ifdef __AVX512F__
#define CONTEXT_CLOBBER_AVX512                                                                     \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",    \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5",  \
        "k6", "k7"
#else
#define CONTEXT_CLOBBER_AVX512
#endif
#ifdef __CET__
#define CONTEXT_LANDING "endbr64\n\t" /* an indirect jump may only land here */
#else
#define CONTEXT_LANDING
#endif

static inline __attribute__((always_inline)) void context_jump(struct context *from,
                                                               struct context *to)
{
#ifdef COLOOP_SAVE_FPU
    uint32_t sse;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
#endif
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 0(%0)\n\t"
                     "movq %%rsp, 8(%0)\n\t"
                     "movq %%rbp, 16(%0)\n\t"
                     "movq 8(%1), %%rsp\n\t"
                     "movq 16(%1), %%rbp\n\t"
                     "jmpq *0(%1)\n"
                     "1:\n\t" CONTEXT_LANDING
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st",
                       "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc",
                       "memory" CONTEXT_CLOBBER_AVX512);
#ifdef COLOOP_SAVE_FPU
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(sse), "m"(x87));
#endif
}

/* Where a called function may find the stack pointer: 8 below a multiple of 16. */
static inline void *context_call_sp(void *high)
{
    return (void *)(((uintptr_t)high & ~(uintptr_t)15) - 8);
}

static inline __attribute__((always_inline)) char *context_sp(void)
{
    char *sp;
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
    return sp;
}

/* Whether the processor keeps return addresses a second time, on a shadow stack that would have to
 * be switched as well. The instruction reads its pointer (rdsspq), and does nothing where none is.
 */
static inline bool context_shadow_stack(void)
{
    uint64_t pointer = 0;
    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(pointer));
    return pointer != 0;
}

/* In the outermost function of a stack: debuggers and unwinders end here. */
#define CONTEXT_OUTERMOST() __asm__ volatile(".cfi_undefined rip")

#endif
