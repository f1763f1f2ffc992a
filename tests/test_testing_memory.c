/* The search that makes allocations fail does that and nothing else: nobody is cancelled. */
#include "test_exploration.h"

static int runs;

static int setup(void *arg)
{
    (void)arg;
    wrong = NULL;
    runs++;
    return 0;
}

/* More suspensions than allocations, and some of each: a sleep needs memory for its timer. */
static int suspend(void *arg)
{
    int rc = 0;
    (void)arg;
    for (int i = 0; i < 5; i++) {
        HOLDS(co_yield_now() == 0);
        rc = co_sleep(1);
        HOLDS(rc == 0 || rc == -ENOMEM);
    }
    HOLDS(!co_task_cancelled(co_self()));
    return rc;
}

static int suspend_both(void *arg)
{
    int rc = co_await_task(co_spawn(suspend, arg)), own = suspend(arg);
    return rc < 0 ? rc : own;
}

static const char *check(void *arg)
{
    (void)arg;
    return wrong;
}

static void nobody_is_cancelled_for_want_of_memory(void **state)
{
    (void)state;
    static const co_test_scenario_t scenario = {
        .name = "suspend", .setup = setup, .run = suspend_both, .check = check};
    co_test_report_t report;
    runs = 0;
    assert_int_equal(co_test_allocations(&scenario, &report), 0);
    assert_string_equal(report.text, "");
    assert_true(report.points > 0);
    assert_int_equal(runs, 1 + 2 * report.points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_cancelled_for_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
