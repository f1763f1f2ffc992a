/* exceptions.c finds the C++ runtime. Weak references are NULL in a program without one, and do not
 * make the linker look for it; Apple's linker wants to know where even a weak name comes from, so
 * it is asked for at run time there. */
#include "context/exceptions.h"

typedef struct exceptions *get_fn(void);
typedef void end_fn(void);

#ifdef __APPLE__
#include <dlfcn.h>
#include <stdint.h>
#define RUNTIME(type, name) ((type *)(uintptr_t)dlsym(RTLD_DEFAULT, #name))
#else
extern get_fn __cxa_get_globals __attribute__((weak));
extern end_fn __cxa_end_catch __attribute__((weak));
#define RUNTIME(type, name) (name)
#endif

struct exceptions *coloop__exceptions(void)
{
    get_fn *get = RUNTIME(get_fn, __cxa_get_globals);
    return get ? get() : NULL;
}

void coloop__exceptions_restore(struct exceptions *now, struct exceptions before)
{
    end_fn *end = RUNTIME(end_fn, __cxa_end_catch);
    while (now->caught && now->caught != before.caught && end)
        end();
    *now = before;
}
