/* exceptions.h: what a C++ runtime keeps for each thread and what belongs to a stack: which
 * exceptions are being handled, innermost first, and how many are in flight.
 *
 * It is reached only where a C++ runtime is part of the process, which nothing here asks for. */
#ifndef CONTEXT_EXCEPTIONS_H
#define CONTEXT_EXCEPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* As the Itanium C++ ABI lays it out (2.2.2, "Caught Exception Stack"). */
struct exceptions {
    void *caught;
    unsigned uncaught;
#ifdef __ARM_EABI_UNWINDER__
    void *propagating;
#endif
};

/* This thread's; NULL without a C++ runtime. It stays in place for the life of the thread. */
struct exceptions *coloop__exceptions(void);

/* Ends the handlers that were entered since `now` was as in `before`, in frames that are abandoned:
 * their exceptions are destroyed. */
void coloop__exceptions_restore(struct exceptions *now, struct exceptions before);

static inline bool exceptions_any(const struct exceptions *exceptions)
{
    return exceptions->caught || exceptions->uncaught;
}

#endif
