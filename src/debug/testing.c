/* testing.c: a scenario is run once for each of its points, with something going wrong there. */
#include "debug/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run_and_count(struct trial *trial, co_test_report_t *report)
{
    char replay[300] = "COLOOP_TEST_REPLAY=";
    co__debug_trial_run(trial);
    size_t used = strlen(replay);
    co__debug_trial_name(trial, replay + used, sizeof replay - used);
    co__debug_trial_count(trial, trial->point ? replay : "", report);
}

/* --- Every point ------------------------------------------------------------------------------ */

/* The run that COLOOP_TEST_REPLAY asks for, if it is one of this scenario's: its mode and point. */
static bool is_asked_for(const char *wanted, struct trial *trial, enum mode first, enum mode last)
{
    size_t length = strlen(trial->scenario->name);
    if (strncmp(wanted, trial->scenario->name, length) != 0 || wanted[length] != '/')
        return false;
    wanted += length + 1;
    for (enum mode mode = first; mode <= last; mode++) {
        length = strlen(co__debug_mode_names[mode]);
        if (strncmp(wanted, co__debug_mode_names[mode], length) == 0 && wanted[length] == '/') {
            trial->mode = mode;
            trial->point = (size_t)strtoull(wanted + length + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

static void run_all(struct trial *trial, enum mode first, enum mode last, co_test_report_t *report)
{
    run_and_count(trial, report);
    report->points = first == ONCE ? trial->ledger->count : trial->points;
    for (size_t point = 1; point <= report->points && !(report->failures && report->runs == 1);
         point++)
        for (enum mode mode = first; mode <= last; mode++) {
            trial->mode = mode;
            trial->point = point;
            trial->waits = false;
            run_and_count(trial, report);
        }
}

static int explore(const co_test_scenario_t *scenario, enum mode first, enum mode last,
                   co_test_report_t *report)
{
    co_test_report_t own;
    struct ledger ledger;
    struct trial trial = {.scenario = scenario, .ledger = &ledger, .seed = 1};
    const char *wanted = getenv("COLOOP_TEST_REPLAY");
    co_test_report_t *into = report ? report : &own;
    *into = (co_test_report_t){0};
    if (!scenario->name || !scenario->run)
        return -EINVAL;
    int rc = co__debug_ledger_open(&ledger, scenario->allocator, scenario->allocator_arg);
    if (rc < 0)
        return rc;
    if (!wanted || !*wanted)
        run_all(&trial, first, last, into);
    else if (is_asked_for(wanted, &trial, first, last))
        run_and_count(&trial, into);
    co__debug_ledger_close(&ledger, scenario->allocator, scenario->allocator_arg);
    if (!report)
        fputs(own.text, stderr);
    return (int)into->failures;
}

int co_test_cancels(const co_test_scenario_t *scenario, co_test_report_t *report)
{
    return explore(scenario, BEFORE, WOKEN, report);
}

int co_test_allocations(const co_test_scenario_t *scenario, co_test_report_t *report)
{
    return explore(scenario, ONCE, ONWARD, report);
}
