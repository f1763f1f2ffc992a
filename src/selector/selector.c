/* selector.c: which backends there are, the best first. */
#include "selector/selector.h"

#include <stddef.h>
#include <string.h>

static const struct selector_ops *const backends[] = {
#ifdef __linux__
    &coloop__selector_epoll,
#endif
#if COLOOP_HAVE_KQUEUE
    &coloop__selector_kqueue,
#endif
    &coloop__selector_poll,
};

const struct selector_ops *coloop__selector_find(const char *name)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (!name || strcmp(name, backends[i]->name) == 0)
            return backends[i];
    return NULL;
}
