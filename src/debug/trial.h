/* trial.h: one run of a scenario under supervision, for testing.c and random.c. */
#ifndef DEBUG_TRIAL_H
#define DEBUG_TRIAL_H

#include "task/core.h"

#include <coloop/testing.h>

#include <pthread.h>

/* An allocator that keeps its blocks in a list, and fails on request. */
struct ledger {
    pthread_mutex_t lock; /* threads of the library allocate too */
    coloop_allocator_fn *allocate;
    void *arg;
    struct list blocks;
    bool counting;
    size_t count;   /* of allocations while counting */
    size_t failing; /* the one that fails; 0: none */
    bool onward;    /* and all later ones */
};

enum mode { UNDISTURBED, BEFORE, PARKED, WOKEN, ONCE, ONWARD, RANDOM, MODES };
extern const char *const co__debug_mode_names[MODES];

/* Up to `waits`, set before the run; points and losses are valid after it. */
struct trial {
    struct co__probe probe;
    const co_test_scenario_t *scenario;
    struct ledger *ledger;
    enum mode mode;
    size_t point;  /* where it is disturbed; 0: nowhere */
    size_t points; /* suspensions passed so far */
    uint64_t seed;
    uint64_t more_passes; /* of the loop than are usual before it counts as stuck */

    /* while it runs */
    loop_t *loop;
    loop_handle_t handle;
    uint64_t target;   /* the task at the point */
    bool waits;        /* the target is to be cancelled when it is woken */
    char place[256];   /* the point in words */
    char losses[1024]; /* what is wrong, in sentences divided by semicolons */
};

/* Puts the ledger in the place of the library's allocator, and back what there was. 0, -EBUSY. */
int co__debug_ledger_open(struct ledger *ledger, coloop_allocator_fn *allocate, void *arg);
void co__debug_ledger_close(struct ledger *ledger, coloop_allocator_fn *allocate, void *arg);

/* Runs the scenario once. */
void co__debug_trial_run(struct trial *trial);
/* Counts the run that was made, and adds what it lost to the text. */
void co__debug_trial_count(const struct trial *trial, const char *replay, co_test_report_t *report);
/* "scenario/mode/point". */
void co__debug_trial_name(const struct trial *trial, char *text, size_t size);

#endif
