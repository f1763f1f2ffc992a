/* bt.c: what check_backtrace.sh looks at in gdb: a coroutine in the middle of a call. */
#include <coloop.h>

volatile int depth_reached;

__attribute__((noinline)) int innermost(int depth)
{
    depth_reached = depth; /* the breakpoint */
    return depth;
}

__attribute__((noinline)) int deeper(int depth)
{
    int result = depth < 3 ? deeper(depth + 1) : innermost(depth);
    depth_reached = result; /* no tail call */
    return result;
}

int coroutine_main(void *arg)
{
    (void)arg;
    co_yield_now();
    return deeper(1) == 3 ? 0 : 1;
}

int first_main(void *arg)
{
    int rc = co_await_task(co_spawn(coroutine_main, arg)); /* on a stack that is born now */
    if (rc < 0)
        return rc;
    return co_await_task(co_spawn(coroutine_main, arg)); /* and on one that is used again */
}

int main(void)
{
    return co_run(first_main, NULL) == 0 ? 0 : 1;
}
