/* What a user's program does with libcoloop, in little: the consumer projects build it and run it. */
#include <coloop.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(ok) ((ok) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok), exit(1)))

static int twice(void *arg)
{
    CHECK(co_sleep(1) == 0);
    return *(int *)arg * 2;
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static int leaves_early(void *arg)
{
    co_defer(count, arg);
    co_timeout(1000)
    {
        co_shield() return 7;
    }
    return 0;
}

static int throws(void *arg)
{
    co_throw(-ENOENT, "no %s", (const char *)arg);
}

static int program(void *arg)
{
    int a = 20, b = 1, rc = 0, left = 0;

    (void)arg;
    CHECK(co_await_task(co_spawn(twice, &a)) == 40);
    CHECK(co_gather(co_spawn(twice, &a), co_spawn(twice, &b)) == 0);
    co_timeout(1) rc = co_sleep(-1);
    CHECK(rc == -ETIMEDOUT);
    CHECK(leaves_early(&left) == 7 && left == 1);
    CHECK(co_try(throws, "luck") == -ENOENT);
    return 42;
}

int main(void)
{
    CHECK(strcmp(coloop_version(), COLOOP_VERSION) == 0);
    CHECK(co_run(program, NULL) == 42);
    puts("consumer: ok");
    return 0;
}
