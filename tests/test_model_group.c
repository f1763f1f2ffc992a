/* Groups, awaits, gathers and waits under random operations: who waits gets what follows from the
 * ends of the kids, at that time, and with the right message; what nobody gets is reported. */
#include "test_model_group.h"

/* --- Waiting ---------------------------------------------------------------------------------- */

/* Around the whole of it. */
static void begin_wait(struct family *family)
{
    begin(&family->op, family->random);
}

/* From here on the one who began waits, unless it is interrupted or has what it waits for. */
static void start_waiting(struct family *family)
{
    family->op.since = loop_time(loop_current());
    family->awaited = true;
    family->op.waits = !refused(&family->op) && !is_satisfied(family);
}

/* What the library cancels, and what happens before the wait, has its moment when we do not look:
 * if time ran out as well, either may have been the first. */
static int one_of(const struct op *op, int rc, int expected)
{
    bool late = co_scope_expired(&op->scope) || (op->when && op->when <= loop_time(loop_current()));
    bool cancelled = (!op->shielded && co_task_cancelled(op->task)) ||
                     (!op->turn && co_scope_cancelled(&op->scope));
    bool both = late && cancelled && expected < 0;
    return both && (rc == -ECANCELED || rc == -ETIMEDOUT) ? rc : expected;
}

static void end_wait(struct family *family, const char *call, int rc, int expected)
{
    struct op *op = &family->op;
    HOLDS(!op->waits);
    op->result = expected == op->result ? one_of(op, rc, expected) : expected;
    end_call(op, call, rc);
    if (family->purpose == WAIT)
        return;
    HOLDS(family->left == 0);
    for (size_t i = 0; i < family->count; i++)
        HOLDS(family->kids[i].ended);
}

static void expect_message(const struct kid *kid)
{
    char text[32];
    const co_error_t *error = co_task_error(co_self());
    snprintf(text, sizeof text, "kid %d", kid->number);
    HOLDS(error && error->code == kid->result && strcmp(error->message, text) == 0);
}

/* --- Groups ----------------------------------------------------------------------------------- */

/* The body is cancelled with the kids. */
static void rest_in_body(struct family *family)
{
    bool ending = family->ending;
    int rc = co_sleep((int64_t)co_test_below(family->random, 3));
    settle();
    if (rc < 0)
        HOLDS(family->ending || interruption(&family->op));
    else
        HOLDS(!ending && !(family->ending && in_the_past(family->ended)));
}

/* What happens in the body; false: it is left early. */
static bool live_with(struct family *family)
{
    co_test_random_t *random = family->random;
    for (size_t n = co_test_below(random, 4); n > 0; n--)
        add_kid(family);
    while (family->count < KIDS_MAX / 2 && by_chance(random, 3)) {
        rest_in_body(family);
        add_kid(family);
    }
    if (by_chance(random, 8)) {
        settle();
        end_family(family);
        co_group_cancel(family->group);
    }
    return !by_chance(random, 8);
}

static void end_group(struct family *family, int rc)
{
    settle();
    end_wait(family, "co_group_wait", rc,
             family->failed ? family->first->result : family->op.result);
    if (family->failed)
        expect_message(family->first);
}

static void play_block(co_test_random_t *random, int depth)
{
    struct family family;
    int rc = 1;
    found(&family, GROUP, random, depth);
    begin_wait(&family);
    co_group(g, &rc)
    {
        family.group = g;
        if (!live_with(&family)) {
            settle();
            end_family(&family);
            start_waiting(&family);
            break;
        }
        settle();
        start_waiting(&family);
    }
    end_group(&family, rc);
}

/* Without a block, the body is not cancelled with the group. A group can be used again. */
static void play_group(co_test_random_t *random, int depth)
{
    struct family family;
    co_group_t group;
    co_group_init(&group);
    for (int i = 0; i < 2; i++) {
        found(&family, GROUP, random, depth);
        family.group = &group;
        begin_wait(&family);
        for (size_t n = co_test_below(random, 5); n > 0; n--)
            add_kid(&family);
        if (by_chance(random, 8)) {
            end_family(&family);
            co_group_cancel(&group);
            HOLDS(co_group_spawn(&group, be_kid, NULL) == -ECANCELED);
        }
        settle();
        start_waiting(&family);
        end_group(&family, co_group_wait(&group));
    }
}

/* --- Awaits ----------------------------------------------------------------------------------- */

static void call_back(co_task_t *task, void *arg)
{
    struct kid *kid = arg;
    HOLDS(task == kid->task && kid->ended && co_task_done(task) && !co_self());
    HOLDS(co_task_result(task) == kid->result);
    kid->called_back++;
}

static void expect_callbacks(const struct kid *kid, size_t expected)
{
    co_shield() for (int i = 0; i < 3 && kid->called_back < expected; i++) co_yield_now();
    HOLDS(kid->called_back == expected);
}

static size_t add_callbacks(struct kid *kid, co_task_t *task, co_test_random_t *random)
{
    size_t n = co_test_below(random, 3);
    for (size_t i = 0; i < n; i++)
        HOLDS(co_task_add_done_callback(task, call_back, kid) == 0);
    if (!by_chance(random, 4))
        return n;
    HOLDS(co_task_remove_done_callback(task, call_back, kid) == (int)n);
    return 0;
}

static void play_await(co_test_random_t *random, int depth)
{
    struct family family;
    struct kid *kid = family.kids;
    found(&family, AWAIT, random, depth);
    begin_wait(&family);
    co_task_t *task = bear(&family);
    size_t callbacks = add_callbacks(kid, task, random);
    bool limited = by_chance(random, 2);
    int64_t ms = 1 + (int64_t)co_test_below(random, 4);
    settle();
    start_waiting(&family);
    if (limited) {
        family.op.when = loop_time(loop_current()) + ms * MS;
        family.op.own_result = -ETIMEDOUT;
    }
    int rc = limited ? co_wait_for(task, ms) : co_await_task(task);
    settle();
    int code = family.op.result < 0 ? family.op.result : 0;
    end_wait(&family, "co_await_task", rc, code && kid->result == -ECANCELED ? code : kid->result);
    if (kid->result < 0 && kid->result == rc)
        expect_message(kid);
    expect_callbacks(kid, callbacks);
}

/* --- Many ------------------------------------------------------------------------------------- */

static void bear_many(struct family *family, co_task_t *tasks[])
{
    size_t n = by_chance(family->random, 4) ? KIDS_MAX : 1 + co_test_below(family->random, 4);
    for (size_t i = 0; i < n; i++)
        tasks[i] = bear(family);
    if (by_chance(family->random, 3))
        co_shield() co_sleep((int64_t)co_test_below(family->random, 4));
    family->first = NULL; /* of those that ended before the call, the first in the array */
    for (size_t i = 0; i < n; i++)
        if (family->kids[i].ended && family->kids[i].result < 0 && !family->first)
            family->first = &family->kids[i];
}

static void play_gather(co_test_random_t *random, int depth)
{
    struct family family;
    co_task_t *tasks[KIDS_MAX + 1];
    found(&family, GATHER, random, depth);
    begin_wait(&family);
    bear_many(&family, tasks);
    bool with_null = by_chance(random, 8);
    tasks[family.count] = NULL;
    settle();
    start_waiting(&family);
    if (with_null && family.op.result == 0) {
        end_family(&family);
        family.op.waits = false;
    }
    if (family.failed)
        family.ended = loop_time(loop_current());
    int rc = co_gather_tasks(tasks, family.count + with_null);
    settle();
    int result = with_null ? -ENOMEM : family.first ? family.first->result : 0;
    int code = family.op.result < 0 ? family.op.result : 0;
    end_wait(&family, "co_gather", rc, code ? code : result);
    if (!code && !with_null && result < 0)
        expect_message(family.first);
}

static void gather_all(struct family *family, co_task_t *tasks[])
{
    int results[KIDS_MAX];
    family->purpose = GATHER_ALL;
    begin_wait(family);
    start_waiting(family);
    int rc = co_gather_all(tasks, family->count, results);
    settle();
    end_wait(family, "co_gather_all", rc,
             family->op.result < 0 ? family->op.result : (int)family->failed);
    for (size_t i = 0; i < family->count; i++)
        HOLDS(results[i] == family->kids[i].result);
}

static void wait_for_some(struct family *family, co_task_t *tasks[])
{
    family->mode = (int)co_test_below(family->random, 3);
    begin_wait(family);
    start_waiting(family);
    if (family->mode == CO_FIRST_COMPLETED && family->left == family->count)
        family->op.waits = family->op.result == 0;
    if (family->op.result == 0 && family->count > 8 && by_chance(family->random, 4)) {
        failing = true;
        family->op.waits = false;
        family->op.result = -ENOMEM;
    }
    int rc = co_wait(tasks, family->count, family->mode);
    failing = false;
    settle();
    end_wait(family, "co_wait", rc,
             family->op.result < 0 ? family->op.result : (int)(family->count - family->left));
}

static void play_many(co_test_random_t *random, int depth)
{
    struct family family;
    co_task_t *tasks[KIDS_MAX];
    found(&family, WAIT, random, depth);
    bear_many(&family, tasks);
    for (size_t n = co_test_below(random, 3); n > 0; n--)
        wait_for_some(&family, tasks);
    gather_all(&family, tasks);
}

/* --- Steps ------------------------------------------------------------------------------------ */

static void play_family(co_test_random_t *random, int depth)
{
    switch (co_test_below(random, 5)) {
    case 0:
        play_block(random, depth);
        break;
    case 1:
        play_group(random, depth);
        break;
    case 2:
        play_await(random, depth);
        break;
    case 3:
        play_gather(random, depth);
        break;
    default:
        play_many(random, depth);
    }
}

static void count_report(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)arg;
    HOLDS(exception->task && exception->error < 0);
    world.reports++;
}

static int begin_group(void *arg)
{
    (void)arg;
    reset();
    flight.unordered = true;
    memset(&world, 0, sizeof world);
    loop_set_exception_handler(loop_current(), count_report, NULL);
    return 0;
}

static void step_group(void *arg, co_test_random_t *random)
{
    (void)arg;
    if (by_chance(random, 3))
        disturb_kid(random);
    else if (by_chance(random, 4))
        disturb_scope(random);
    else
        play_family(random, 0);
}

static const char *check_group(void *arg)
{
    (void)arg;
    HOLDS(world.count == 0);
    HOLDS(world.reports == world.expected_reports);
    return verdict();
}

MODEL(group, 300)

int main(void)
{
    const struct CMUnitTest tests[] = {PLAYED(group)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
