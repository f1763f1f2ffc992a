/* Where hardware shadow stacks are on and the switch cannot switch them, there is no loop, and a
 * line says why. The linker has all calls of the function that finds out come here (--wrap). */
#include "support.h"

#include "context/context.h"

#include <stdio.h>

static bool shadowed;

bool coloop__context_shadow_stack(void)
{
    return shadowed || context_shadow_stack();
}

/* What is written to stderr meanwhile. */
static char said[512];

static int run_saying(co_fn *fn)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    int rc = co_run(fn, NULL);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = '\0';
    fclose(file);
    return rc;
}

static int nothing(void *arg)
{
    (void)arg;
    return 7;
}

static void no_loop_is_made_and_a_line_says_why(void **state)
{
    (void)state;
    shadowed = true;
    assert_int_equal(run_saying(nothing), -ENOTSUP);
    assert_non_null(strstr(said, "shadow stacks"));
    assert_non_null(strstr(said, "COLOOP_CONTEXT=ucontext"));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
    assert_null(loop_current());
}

static void without_them_nothing_is_said(void **state)
{
    (void)state;
    shadowed = false;
    assert_int_equal(run_saying(nothing), 7);
    assert_string_equal(said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_loop_is_made_and_a_line_says_why),
        cmocka_unit_test(without_them_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
