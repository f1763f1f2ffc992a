// check.h: what the C++ tests share. They are plain programs: a failed check ends them.
#ifndef TESTS_CXX_CHECK_H
#define TESTS_CXX_CHECK_H

#include <coloop.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#define CHECK(ok)                                                                                  \
    ((ok) ? (void)0 : (std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok), std::abort()))

// What happened, in words separated by blanks.
inline std::string traced;
inline void trace(const std::string &word)
{
    traced += traced.empty() ? word : ' ' + word;
}
inline void check_trace(const char *file, int line, const std::string &expected)
{
    if (traced != expected) {
        std::fprintf(stderr, "%s:%d: traced \"%s\"\n  not \"%s\"\n", file, line, traced.c_str(),
                     expected.c_str());
        std::abort();
    }
    traced.clear();
}
#define CHECK_TRACE(expected) check_trace(__FILE__, __LINE__, (expected))

// A loop with virtual time, which must not report anything.
inline loop_t *open_loop()
{
    loop_options_t options = {};
    options.virtual_time = true;
    options.seed = 1;
    loop_t *loop = loop_new(&options);
    CHECK(loop);
    loop_set_exception_handler(
        loop,
        [](loop_t *, const loop_exception_t *exception, void *) {
            std::fprintf(stderr, "report: %s\n", exception->message);
            std::abort();
        },
        nullptr);
    return loop;
}

// Runs fn(arg) as the first task of a new loop until nothing is left; its result.
inline int run(co_fn *fn, void *arg = nullptr)
{
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, fn, arg);
    CHECK(task);
    CHECK(loop_run(loop) == 0);
    int result = co_task_result(task);
    co_task_release(task);
    CHECK(loop_close(loop) == 0);
    return result;
}

// Traces its name when it is destroyed, and how many are alive.
struct noisy {
    static inline int alive = 0;
    std::string name;
    explicit noisy(std::string name_) : name(std::move(name_))
    {
        alive++;
    }
    noisy(const noisy &other) : name(other.name)
    {
        alive++;
    }
    noisy &operator=(const noisy &) = delete;
    ~noisy()
    {
        alive--;
        trace('~' + name);
    }
};

#endif
