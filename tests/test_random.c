/* Random runs against models: how many there are, and what calm ones are spared. */
#include "support.h"

#include <coloop/testing.h>

static co_test_report_t report;

static struct {
    size_t games, steps, interrupted;
    int64_t longest;
    size_t bad_game;
} seen;

static int begin(void *arg)
{
    (void)arg;
    seen.games++;
    return 0;
}

static void sleep_long(void *arg, co_test_random_t *random)
{
    (void)arg, (void)random;
    int64_t start = loop_time(loop_current());
    seen.steps++;
    seen.interrupted += co_sleep(100) < 0;
    int64_t slept = loop_time(loop_current()) - start;
    seen.longest = slept > seen.longest ? slept : seen.longest;
}

static const char *check(void *arg)
{
    (void)arg;
    return seen.bad_game && seen.games >= seen.bad_game ? "a bad game" : NULL;
}

static co_test_model_t model_of(bool calm, size_t runs)
{
    memset(&seen, 0, sizeof seen);
    return (co_test_model_t){.name = "sleepers",
                             .init = begin,
                             .step = sleep_long,
                             .check = check,
                             .calm = calm,
                             .steps = 100,
                             .runs = runs};
}

static void steps_are_interrupted_within_20_ms(void **state)
{
    (void)state;
    co_test_model_t model = model_of(false, 1);
    assert_int_equal(co_test_random(&model, 1, &report), 0);
    assert_int_equal(seen.interrupted, seen.steps);
    assert_true(seen.longest <= 20 * MS);
}

static void calm_steps_are_not_interrupted(void **state)
{
    (void)state;
    co_test_model_t model = model_of(true, 1);
    assert_int_equal(co_test_random(&model, 1, &report), 0);
    assert_int_equal(seen.interrupted, 0);
    assert_true(seen.steps >= 100 && seen.longest == 100 * MS);
}

static void so_many_runs_are_made(void **state)
{
    (void)state;
    co_test_model_t model = model_of(true, 3);
    assert_int_equal(co_test_random(&model, 1, &report), 0);
    assert_int_equal(seen.games, 3);
    assert_int_equal(report.runs, 3);
}

static void runs_end_with_the_first_failure_which_is_replayed_alone(void **state)
{
    (void)state;
    co_test_model_t model = model_of(true, 5);
    seen.bad_game = 2;
    assert_int_equal(co_test_random(&model, 7, &report), 1);
    assert_int_equal(report.runs, 2);
    assert_non_null(strstr(report.text, "a bad game; replay with COLOOP_TEST_SEED=8"));
    seen.bad_game = 0;
    setenv("COLOOP_TEST_SEED", "8", 1);
    int rc = co_test_random(&model, 7, &report);
    unsetenv("COLOOP_TEST_SEED");
    assert_int_equal(rc, 0);
    assert_int_equal(report.runs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_interrupted_within_20_ms),
        cmocka_unit_test(calm_steps_are_not_interrupted),
        cmocka_unit_test(so_many_runs_are_made),
        cmocka_unit_test(runs_end_with_the_first_failure_which_is_replayed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
