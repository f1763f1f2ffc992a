/* hello: two coroutines take turns.
 *
 * A coroutine is a plain function that may wait. co_run makes a loop, runs the first coroutine in
 * it and returns that one's result, when it and all that it started are done. It prints:
 *
 *     hello from Anna
 *     hello from Boris
 *     hello again from Anna
 *     hello again from Boris
 *     main was told 0 */
#include <coloop.h>
#include <stdio.h>

static int greet(void *arg)
{
    const char *name = arg;
    printf("hello from %s\n", name);
    co_yield_now(); /* whoever else is ready runs first */
    printf("hello again from %s\n", name);
    return 0;
}

static int greet_both(void *arg)
{
    (void)arg;
    return co_gather(co_spawn(greet, "Anna"), co_spawn(greet, "Boris"));
}

int main(void)
{
    int rc = co_run(greet_both, NULL);
    printf("main was told %d\n", rc);
    return rc != 0;
}
