/* testing.h: tests that search. Nothing is lost when a task is cancelled or memory runs out,
 * wherever that happens: these helpers run a scenario once for each place where it can.
 *
 *     static co_test_scenario_t transfer = {"transfer", .setup = ..., .run = ..., .check = ...};
 *
 *     co_test_report_t report;
 *     if (co_test_cancels(&transfer, &report))
 *         fail(report.text);
 *
 * Each run has a new loop with virtual time and the same seed, so that all runs are alike up to the
 * place in question. After it the helpers see to it that all tasks have ended within a year of
 * virtual time, and that no handle of a task, no fd (of the first 1,024) and no block of the
 * library's memory is left, nor an fd gone that was open before; the scenario's own check says
 * whether a lock, a permit or an item was lost or doubled. What goes to the loop's exception
 * handler is not looked at.
 *
 * The functions here are called from outside any loop: they replace the library's allocator and
 * make loops of their own. They do not suspend, keep nothing, and return the number of runs that
 * failed, or -EBUSY while a loop is open anywhere in the process, -EINVAL, -ENOMEM.
 *
 * Environment, for a debugger's sake: COLOOP_TEST_REPLAY=name/mode/point, as a report says it,
 * leaves out all runs but that one; COLOOP_TEST_TRACE=1 writes each run to stderr before it begins,
 * to know which one crashed or hung. */
#ifndef COLOOP_TESTING_H
#define COLOOP_TESTING_H

#include <coloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is run again and again. name and run have to be given, all else may be NULL. All functions
 * get arg; but for run they are called outside any coroutine. */
typedef struct co_test_scenario {
    const char *name;        /* without a slash */
    int (*setup)(void *arg); /* before each run, with the new loop current: below 0, it failed */
    co_fn *run;              /* the first task. It and what it spawns have to end in all cases;
                                undisturbed, with 0 or more */
    const char *(*check)(void *arg); /* after all tasks have ended: NULL, or what was lost. The
                                        string is copied. Not called if some did not end. */
    void (*teardown)(void *arg);     /* undoes setup, after the loop was closed */
    void *arg;
    coloop_allocator_fn *allocator; /* that memory is taken from, and is left in force; NULL: the
                                       default one */
    void *allocator_arg;
} co_test_scenario_t;

/* What was found. text has a line for each failure, as far as they fit in: the run, what was lost,
 * and how to replay it. Where a function takes a report, it may be NULL: the text goes to stderr.
 */
typedef struct co_test_report {
    size_t points;   /* in an undisturbed run */
    size_t runs;     /* made, with the undisturbed one */
    size_t failures; /* of these */
    char text[4096];
} co_test_report_t;

/* Runs the scenario undisturbed, then three times for each of its suspensions, the points, of
 * whatever task, with that task cancelled there: "before", as it is about to park; "parked", in the
 * next pass of the loop; "woken", between its being woken, by whatever, and its running. */
COLOOP_API int co_test_cancels(const co_test_scenario_t *scenario, co_test_report_t *report);

/* Runs the scenario undisturbed, then twice for each allocation that the library makes in it once
 * its first task is spawned, the points: "once", where that one fails, and "onward", where those
 * after it do so as well. */
COLOOP_API int co_test_allocations(const co_test_scenario_t *scenario, co_test_report_t *report);

/* Numbers by chance: any; and one of 0 to n - 1 (n is not 0). The same seed, the same numbers. */
typedef struct co_test_randomness {
    uint64_t state;
} co_test_random_t;
COLOOP_API uint64_t co_test_next(co_test_random_t *random);
COLOOP_API size_t co_test_below(co_test_random_t *random, size_t n);

/* Objects under random operations, with a simple model to compare them with. name and step have to
 * be given. */
typedef struct co_test_model {
    const char *name;
    int (*init)(void *arg);                            /* as setup in a scenario */
    void (*step)(void *arg, co_test_random_t *random); /* one operation, in a coroutine, beside
                                                          others: it may suspend */
    const char *(*check)(void *arg); /* in a coroutine, while no step is under way: NULL, or where
                                        object and model differ */
    void (*fini)(void *arg);         /* as teardown in a scenario */
    void *arg;
    bool calm;                      /* steps are in no scope: the model interrupts them itself */
    size_t tasks;                   /* that make steps at a time; 0 = 4, at most 64 */
    uint64_t steps;                 /* in a run; 0 = 10,000 */
    size_t runs;                    /* at least, each with the next seed; 0 = 1 */
    int64_t seconds;                /* of real time, for which further runs are made */
    coloop_allocator_fn *allocator; /* as in a scenario */
    void *allocator_arg;
} co_test_model_t;

/* Makes random steps in a loop with virtual time, by several tasks in turns, until the first
 * failure. Each step is in a scope which by chance is cancelled, or expires within 20 ms, so that
 * none waits for ever. A model that has to know when exactly that happens, to predict what each
 * call returns, asks for `calm` and gives its steps scopes of its own. Every few steps all come to
 * an end, and the model is checked. Seed 0 is one taken from the clock, which is written to stderr.
 * The seed of a run that failed is in the report; COLOOP_TEST_SEED in the environment replays it,
 * and nothing else, and COLOOP_TEST_SECONDS overrides `seconds`. The report's points are steps. */
COLOOP_API int co_test_random(const co_test_model_t *model, uint64_t seed,
                              co_test_report_t *report);

#ifdef __cplusplus
}
#endif
#endif
