/* overflow.c: a stack overflow is told for what it is before the process dies of it.
 *
 * A task that runs off its stack faults on the guard below it, or, with a frame so large that it
 * jumps over the guard, wherever there is no memory between its stack pointer and its stack:
 * another stack that begins there is overwritten without a fault. The handler of SIGSEGV (and
 * SIGBUS, where some systems report it so) recognises that, writes a report and lets the fault
 * happen again with the default action. Any other fault goes to the handler that was there before.
 * The handler needs a stack of its own: a thread has one while it has loops with tasks, its own if
 * it has set one up already. */
#include "task/core.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALTERNATE_SIZE = 64 * 1024 };

static struct sigaction before_segv, before_bus;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void say_number(uint64_t n)
{
    char digits[24], *p = digits + sizeof digits - 1;
    *p = '\0';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    say(p);
}

/* Only what is safe in a signal handler. */
static void report(const co_task_t *task)
{
    size_t size = task->stack.pool->size;
    say("coloop: stack overflow in task '");
    say(task->name);
    say("' (#");
    say_number(task->id);
    say("), spawned at ");
    say(task->spawned_at);
    say(": its stack of ");
    say_number(size);
    say(" bytes is used up. Give it more by co_spawn_with(&(co_spawn_options_t){.stack_size = ");
    say_number(size * 4);
    say("}, ...), or all tasks by loop_options_t.stack_size\n");
}

/* By raise or kill, and not by an access to memory; si_addr means nothing then. */
static bool is_sent(const siginfo_t *info)
{
    return info->si_code <= 0;
}

/* By the default action: a fault happens again, a signal that was sent has to be sent again. */
static void die(int signo, const siginfo_t *info)
{
    signal(signo, SIG_DFL);
    if (is_sent(info))
        raise(signo);
}

static void forward(int signo, siginfo_t *info, void *context)
{
    const struct sigaction *before = signo == SIGSEGV ? &before_segv : &before_bus;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(signo, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(signo);
    else if (before->sa_handler == SIG_DFL || !is_sent(info))
        die(signo, info);
}

/* At the time of the fault, where we know how to tell. */
#if defined __linux__ && defined __x86_64__
#define STACK_POINTER(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RSP])
#elif defined __linux__ && defined __aarch64__
#define STACK_POINTER(context) ((uintptr_t)(context)->uc_mcontext.sp)
#elif defined __linux__ && defined __riscv
#define STACK_POINTER(context) ((uintptr_t)(context)->uc_mcontext.__gregs[REG_SP])
#endif

/* The task has made a frame that ends below its stack, and touched it. Not in a signal handler:
 * that may be on the alternate stack, wherever it is. */
static bool jumped_the_guard(const struct stack *stack, uintptr_t at, const void *arg)
{
#ifdef STACK_POINTER
    enum { BELOW = 512 }; /* that much below the stack pointer is touched: by calls, the red zone */
    const ucontext_t *context = arg;
    uintptr_t sp = STACK_POINTER(context), low = (uintptr_t)stack->low;
    bool alternate = sp - (uintptr_t)context->uc_stack.ss_sp < context->uc_stack.ss_size;
    return sp < low && !alternate && at < low && at >= sp - BELOW;
#else
    (void)stack, (void)at, (void)arg;
    return false;
#endif
}

static bool is_overflow(const siginfo_t *info, const void *context)
{
    const co_task_t *task = co__current;
    return task && !is_sent(info) &&
           (coloop__stack_overflowed(&task->stack, info->si_addr) ||
            jumped_the_guard(&task->stack, (uintptr_t)info->si_addr, context));
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
    if (!is_overflow(info, context)) {
        forward(signo, info, context);
        return;
    }
    report(co__current);
    die(signo, info);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before_segv);
    sigaction(SIGBUS, &action, &before_bus);
}

static _Thread_local struct {
    void *memory; /* of the alternate stack, if it is ours */
    unsigned schedulers;
} thread;

void co__overflow_begin(void)
{
    stack_t now;
    pthread_once(&once, install);
    if (thread.schedulers++ || sigaltstack(NULL, &now) < 0 || !(now.ss_flags & SS_DISABLE))
        return;
    void *memory =
        mmap(NULL, ALTERNATE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    stack_t alternate = {.ss_sp = memory, .ss_size = ALTERNATE_SIZE};
    if (sigaltstack(&alternate, NULL) == 0)
        thread.memory = memory;
    else
        munmap(memory, ALTERNATE_SIZE);
}

/* Somebody may have set up another one meanwhile. */
void co__overflow_end(void)
{
    stack_t now, none = {.ss_flags = SS_DISABLE};
    if (--thread.schedulers || !thread.memory)
        return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == thread.memory)
        sigaltstack(&none, NULL);
    munmap(thread.memory, ALTERNATE_SIZE);
    thread.memory = NULL;
}
