// A C++20 program with all of libcoloop's headers and the macros that C++ sees differently from C.
#include <coloop.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define CHECK(ok) \
    ((ok) ? (void)0 : (std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok), std::exit(1)))

static int twice(void *arg)
{
    CHECK(co_sleep(1) == 0);
    return *static_cast<int *>(arg) * 2;
}

static int leaves_early(int *left)
{
    co_defer([](void *arg) { ++*static_cast<int *>(arg); }, left);
    co_timeout(1000)
    {
        co_shield() return 7;
    }
    return 0;
}

static int throws(void *arg)
{
    co_throw(-ENOENT, "no %s", static_cast<const char *>(arg));
}

static int program(void *)
{
    int a = 20, b = 1, rc = 0, left = 0;

    CHECK(co_await_task(co_spawn(twice, &a)) == 40);
    CHECK(co_gather(co_spawn(twice, &a), co_spawn(twice, &b)) == 0);
    co_timeout(1) rc = co_sleep(-1);
    CHECK(rc == -ETIMEDOUT);
    co_timeout_at(INT64_MAX) rc = co_yield_now();
    CHECK(rc == 0);
    CHECK(leaves_early(&left) == 7 && left == 1);
    char luck[] = "luck";
    CHECK(co_try(throws, luck) == -ENOENT);
    return 42;
}

int main()
{
    CHECK(std::strcmp(coloop_version(), COLOOP_VERSION) == 0);
    CHECK(co_run(program, nullptr) == 42);
    std::puts("consumer: ok");
    return 0;
}
