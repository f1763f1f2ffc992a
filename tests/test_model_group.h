/* test_model_group.h: kids, and the families they belong to. Kids note when and how they end; from
 * that follows what those who wait for them have to get. */
#ifndef TESTS_MODEL_GROUP_H
#define TESTS_MODEL_GROUP_H

#include "test_model.h"

enum { KIDS_MAX = 10, ALIVE_MAX = 512, DEPTH_MAX = 2 };

enum purpose { GROUP, AWAIT, GATHER, GATHER_ALL, WAIT };

/* Kids, and who waits for them. */
struct family {
    enum purpose purpose;
    int mode; /* of co_wait */
    co_test_random_t *random;
    int depth;
    struct op op;      /* the wait */
    co_group_t *group; /* GROUP: */
    bool ending;       /* the kids are cancelled, and no other is born */
    bool awaited;      /* the call that waits for them has begun */
    size_t left;       /* kids that have not ended */
    size_t failed;     /* and those that have, with a failure */
    int64_t ended;     /* when it was first ending, or had one that failed */
    struct kid *first; /* of these */
    struct kid {
        struct family *family;
        int manner, number;
        int64_t ms;
        int planned; /* result, if all goes well */
        co_task_t *task;
        bool begun, ended, disturbed;
        int result;
        size_t called_back;
    } kids[KIDS_MAX];
    size_t count;
};

static struct {
    struct kid *alive[ALIVE_MAX];
    size_t count;
    int number;
    size_t reports, expected_reports;
} world;

/* --- The end of a kid ------------------------------------------------------------------------- */

/* Whoever waits for tasks counts a cancelled one as failed; a group does not. */
static bool has_failed(const struct kid *kid, bool cancelled)
{
    bool as_told = kid->result == -ECANCELED && cancelled && kid->family->purpose == GROUP;
    return kid->result < 0 && !as_told;
}

static bool is_satisfied(const struct family *family)
{
    switch (family->purpose) {
    case GATHER:
        return family->left == 0 || family->failed;
    case WAIT:
        return family->left == 0 || (family->mode == CO_FIRST_COMPLETED) ||
               (family->mode == CO_FIRST_FAILED && family->failed);
    default:
        return family->left == 0;
    }
}

static void end_family(struct family *family)
{
    if (!family->ending)
        family->ended = loop_time(loop_current());
    family->ending = true;
}

static void note_failure(struct kid *kid)
{
    struct family *family = kid->family;
    if (family->failed++ == 0)
        family->first = kid;
    else if (family->purpose == GROUP)
        world.expected_reports++;
    if (family->purpose == GROUP)
        end_family(family);
    else if (family->failed == 1)
        family->ended = loop_time(loop_current());
}

static void forget(const struct kid *kid)
{
    size_t kept = 0;
    for (size_t i = 0; i < world.count; i++)
        if (world.alive[i] != kid)
            world.alive[kept++] = world.alive[i];
    world.count = kept;
}

static bool in_the_past(int64_t when)
{
    return when < loop_time(loop_current());
}

/* Nothing but its family cancels a kid that was not disturbed, and that cancels all: a group at
 * once, others when the one who waits has run, which takes no time. */
static void check_cancelled(const struct kid *kid, bool cancelled)
{
    const struct family *family = kid->family;
    bool interrupted = family->purpose != WAIT && family->op.result < 0;
    bool failed =
        family->ending || (family->purpose == GATHER && family->failed && family->awaited);
    bool parent_ran =
        (interrupted && in_the_past(family->op.decided)) || (failed && in_the_past(family->ended));
    bool must = parent_ran || (family->ending && family->purpose == GROUP);
    if (cancelled && !interrupted && !failed && !kid->disturbed)
        differ("kid %d is cancelled for no reason", kid->number);
    if (!cancelled && must)
        differ("kid %d is not cancelled with its family", kid->number);
}

static int end_kid(struct kid *kid, int result)
{
    struct family *family = kid->family;
    bool cancelled = co_task_cancelled(co_self());
    settle();
    check_cancelled(kid, cancelled);
    forget(kid);
    HOLDS(!kid->ended);
    kid->ended = true;
    kid->result = result;
    family->left--;
    if (has_failed(kid, cancelled))
        note_failure(kid);
    if (family->op.waits && is_satisfied(family))
        wake(&family->op, 0);
    return result < 0 ? co_fail(result, "kid %d", kid->number) : result;
}

/* --- Its life --------------------------------------------------------------------------------- */

static void play_family(co_test_random_t *random, int depth);
static void add_kid(struct family *family);

/* Exactly as long as asked for, unless the task is cancelled; then no call suspends any more. */
static int nap(int64_t ms)
{
    int64_t start = loop_time(loop_current());
    int rc = co_sleep(ms);
    if (rc == 0) {
        HOLDS(loop_time(loop_current()) == start + ms * MS);
    } else {
        HOLDS(rc == -ECANCELED && co_task_cancelled(co_self()));
        HOLDS(co_yield_now() == -ECANCELED);
    }
    return rc;
}

static int nap_shielded(int64_t ms)
{
    int64_t start = loop_time(loop_current());
    int rc = 0;
    co_shield() rc = co_sleep(ms);
    HOLDS(rc == 0 && loop_time(loop_current()) == start + ms * MS);
    return rc;
}

static int nap_briefly(int64_t ms)
{
    int64_t start = loop_time(loop_current());
    int rc = 0;
    co_timeout(2) rc = co_sleep(ms);
    if (rc == -ETIMEDOUT)
        HOLDS(ms >= 2 && loop_time(loop_current()) == start + 2 * MS);
    else if (rc == 0)
        HOLDS(ms <= 2 && loop_time(loop_current()) == start + ms * MS);
    else
        HOLDS(rc == -ECANCELED && co_task_cancelled(co_self()));
    return rc;
}

static int live(struct kid *kid)
{
    struct family *family = kid->family;
    switch (kid->manner) {
    case 0: /* is not interrupted */
        nap_shielded(kid->ms);
        return kid->planned;
    case 1: /* goes its own way */
        nap(kid->ms);
        return kid->planned;
    case 2:
        nap_briefly(kid->ms);
        return nap(0) < 0 ? -ECANCELED : kid->planned;
    case 3:
        if (family->purpose == GROUP && family->count < KIDS_MAX)
            add_kid(family);
        break;
    case 4:
        if (family->depth < DEPTH_MAX)
            play_family(family->random, family->depth + 1);
        break;
    default:
        break;
    }
    int rc = nap(kid->ms);
    return rc < 0 ? rc : kid->planned;
}

static int be_kid(void *arg)
{
    struct kid *kid = arg;
    HOLDS(!kid->begun && world.count < ALIVE_MAX);
    kid->begun = true;
    kid->task = co_self();
    world.alive[world.count++] = kid;
    return end_kid(kid, live(kid));
}

static void disturb_kid(co_test_random_t *random)
{
    if (!world.count)
        return;
    struct kid *kid = world.alive[co_test_below(random, world.count)];
    settle();
    kid->disturbed = true;
    co_task_cancel(kid->task);
    settle();
}

/* --- Its birth -------------------------------------------------------------------------------- */

static struct kid *conceive(struct family *family)
{
    co_test_random_t *random = family->random;
    struct kid *kid = &family->kids[family->count];
    *kid = (struct kid){.family = family,
                        .manner = (int)co_test_below(random, 9),
                        .number = ++world.number,
                        .ms = (int64_t)co_test_below(random, 6),
                        .planned = (int)co_test_below(random, 4)};
    if (by_chance(random, 8))
        kid->planned = -EIO - (int)co_test_below(random, 3);
    return kid;
}

/* While the one who waits is interrupted, the group is or will soon be cancelled. */
static void add_kid(struct family *family)
{
    struct kid *kid = conceive(family);
    settle();
    bool interrupted = family->op.result < 0;
    failing = by_chance(family->random, 16);
    family->count++;
    family->left++;
    int rc = co_group_spawn(family->group, be_kid, kid);
    bool could_fail = failing;
    failing = false;
    if (rc == 0) {
        HOLDS(!family->ending);
        return;
    }
    HOLDS(rc == -ECANCELED ? family->ending || interrupted : rc == -ENOMEM && could_fail);
    family->count--;
    family->left--;
}

/* A kid with a handle, or NULL. */
static co_task_t *bear(struct family *family)
{
    static const co_spawn_options_t eager = {.eager = true};
    struct kid *kid = conceive(family);
    family->count++;
    family->left++;
    co_task_t *task =
        by_chance(family->random, 4) ? co_spawn_with(&eager, be_kid, kid) : co_spawn(be_kid, kid);
    HOLDS(task);
    return task;
}

static void found(struct family *family, enum purpose purpose, co_test_random_t *random, int depth)
{
    memset(family, 0, offsetof(struct family, kids));
    family->count = 0;
    family->purpose = purpose;
    family->random = random;
    family->depth = depth;
}

#endif
