/* shadow.c: on its own, so that a test can take its place. */
#include "context/context.h"

bool coloop__context_shadow_stack(void)
{
    return context_shadow_stack();
}
