/* test_exploration.h: a scenario through every search, and what scenarios share. */
#ifndef TESTS_EXPLORATION_H
#define TESTS_EXPLORATION_H

#include "support.h"

#include <coloop/testing.h>

/* The first thing that was seen to be wrong while a scenario ran, or NULL; its check hands it on.
 */
static const char *wrong;
#define HOLDS(condition) ((void)((condition) || wrong || (wrong = #condition " does not hold")))

/* A test of the scenario of that name. */
#define SEARCH(name)                                                                               \
    static void name##_loses_nothing(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        search(&name, 1);                                                                          \
    }
#define SEARCHED(name) cmocka_unit_test(name##_loses_nothing)

static inline void search(const co_test_scenario_t *scenario, size_t points)
{
    co_test_report_t report;
    co_test_cancels(scenario, &report);
    assert_string_equal(report.text, "");
    assert_true(getenv("COLOOP_TEST_REPLAY") || report.points >= points);
    co_test_allocations(scenario, &report);
    assert_string_equal(report.text, "");
}

/* Starts fn(arg) n times and lets all end; the caller's code if it was interrupted. */
static inline int start_and_gather(co_fn *fn, void *args[], size_t n)
{
    co_task_t *tasks[16];
    for (size_t i = 0; i < n; i++)
        tasks[i] = co_spawn_here(NULL, NULL, "worker", fn, args ? args[i] : NULL, CO_HERE);
    int rc = co_gather_all(tasks, n, NULL);
    return rc < 0 ? rc : 0;
}

#endif
