/* test_model.h: models that know at each moment what every call under way has to return.
 *
 *     struct op op;
 *     begin(&op, random);                         a scope with a deadline, perhaps cancelled
 *     if (!refused(&op)) {
 *         if (permits) permits--;                 the model's part
 *         else wait_for(&op, &sem, 0);
 *     }
 *     end(&op, co_sem_acquire(&sem));             must be what the model says
 *
 * What wakes a waiter in the object, in the same moment calls serve in the model; what interrupts
 * it, a deadline or a cancellation, is found out by settle, before anything else can happen. So the
 * model never lags behind, and calls are compared with it one by one: their results, and the order
 * in which they return. */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "support.h"

#include <coloop/testing.h>

#include <stdio.h>

enum { WORKERS = 6, WANTS_MAX = 12, OPS_MAX = 256 };

/* The first difference between object and model, or "". */
static char wrong[256];

static inline void differ(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void differ(const char *format, ...)
{
    va_list args;
    if (wrong[0])
        return;
    va_start(args, format);
    vsnprintf(wrong, sizeof wrong, format, args);
    va_end(args);
}
#define HOLDS(condition) ((condition) ? (void)0 : differ("%s does not hold", #condition))

/* Something that would end a wait: the object, which of its lines, and the item, if there is any.
 */
struct want {
    const void *object;
    int kind;
    int value;
};

/* A call under way. */
struct op {
    co_task_t *task;
    co_scope_t shield; /* only if `shielded`; in it: */
    co_scope_t scope;
    co_scope_t inner; /* that never ends by itself */
    bool shielded;
    uint64_t number; /* in the order of arrival */

    /* how it may end by itself */
    int64_t since, deadline;
    uint64_t armed; /* in the order of setting deadlines */
    int64_t when;   /* as a sleep does; 0: it does not */
    int own_result; /* with this, then */

    /* what it waits for */
    bool waits;
    struct want wants[WANTS_MAX];
    size_t count;
    void (*left)(struct op *); /* its lines, as it was interrupted */

    /* what it has to return, when it does not wait */
    int result;
    const struct want *got; /* the one it was served with */
    int64_t decided;        /* when that became so */
    uint64_t turn;          /* in the order of being woken; 0: it has not waited */
    bool has_to_lock;       /* woken, but has to lock a mutex before it returns, */
    bool insistent;         /* which cannot be interrupted */
};

/* All that are under way, in the order of arrival. */
static struct {
    struct op *ops[OPS_MAX];
    size_t count;
    uint64_t number, turn, returned;
    void (*settle)(void); /* a part of settle that only one model has */
    bool unordered;       /* calls do more between being woken and returning */
} flight;

static inline void reset(void)
{
    memset(&flight, 0, sizeof flight);
    wrong[0] = '\0';
}

static inline bool by_chance(co_test_random_t *random, size_t one_in)
{
    return co_test_below(random, one_in) == 0;
}

/* --- Waking ----------------------------------------------------------------------------------- */

static inline void wake(struct op *op, int result)
{
    op->waits = false;
    op->result = result;
    op->decided = loop_time(loop_current());
    op->turn = ++flight.turn;
}

static inline void serve(struct op *op, const struct want *want, int result)
{
    op->got = want;
    wake(op, result);
}

/* The want for that object and kind, if the call waits for it; any kind if it is negative. */
static inline struct want *want_of(struct op *op, const void *object, int kind)
{
    for (size_t i = 0; op->waits && i < op->count; i++)
        if (op->wants[i].object == object && (kind < 0 || op->wants[i].kind == kind))
            return &op->wants[i];
    return NULL;
}

/* The first call that waits for it, or NULL. */
static inline struct op *first(const void *object, int kind)
{
    for (size_t i = 0; i < flight.count; i++)
        if (want_of(flight.ops[i], object, kind))
            return flight.ops[i];
    return NULL;
}

static inline void serve_all(const void *object, int kind, int result)
{
    for (struct op *op; (op = first(object, kind));)
        serve(op, want_of(op, object, kind), result);
}

/* The code it was interrupted with, or 0. */
static inline int interruption(const struct op *op)
{
    if (co_scope_cancelled(&op->scope) || (!op->shielded && co_task_cancelled(op->task)))
        return -ECANCELED;
    return co_scope_expired(&op->scope) ? -ETIMEDOUT : 0;
}

/* When a wait ends without anybody's doing; of two at the same time, in which order. */
struct ending {
    int64_t at; /* INT64_MAX: it goes on */
    uint64_t order;
    bool own;
};

static inline bool before(struct ending a, struct ending b)
{
    return a.at < b.at || (a.at == b.at && a.order < b.order);
}

/* A cancelled one is settled at once, so that there is no other beside it. */
static inline struct ending ending_of(const struct op *op)
{
    struct ending own = {op->when, op->number, true}, other = {op->deadline, op->armed, false};
    if (!op->when || op->when > loop_time(loop_current()))
        own.at = INT64_MAX;
    if (op->insistent || !interruption(op))
        other.at = INT64_MAX;
    return before(own, other) ? own : other;
}

static inline struct op *first_to_end(void)
{
    struct op *found = NULL;
    for (size_t i = 0; i < flight.count; i++) {
        struct op *op = flight.ops[i];
        if (op->waits && ending_of(op).at != INT64_MAX &&
            (!found || before(ending_of(op), ending_of(found))))
            found = op;
    }
    return found;
}

/* Deadlines are neither early nor late: those that have passed before are noticed by the next pass.
 */
static inline void check_deadlines(void)
{
    int64_t now = loop_time(loop_current());
    for (size_t i = 0; i < flight.count; i++) {
        const struct op *op = flight.ops[i];
        if (co_scope_expired(&op->scope) && op->deadline > now)
            differ("a deadline passed %lld ns early", (long long)(op->deadline - now));
        if (op->waits && op->deadline < now && op->since < now && !op->insistent &&
            !interruption(op))
            differ("a deadline did not pass");
    }
}

/* Brings the model up to date with the clock. */
static inline void settle(void)
{
    check_deadlines();
    for (struct op *op; (op = first_to_end());) {
        if (ending_of(op).own) {
            wake(op, op->own_result);
            continue;
        }
        op->waits = false;
        if (op->left) /* those it held up are woken before it */
            op->left(op);
        wake(op, interruption(op));
    }
    if (flight.settle)
        flight.settle();
}

/* --- Calls ------------------------------------------------------------------------------------ */

/* Deadlines differ by nanoseconds, so that few fall together. */
static inline int64_t choose_deadline(const struct op *op, co_test_random_t *random)
{
    int64_t ms = 1 + (int64_t)co_test_below(random, 6);
    return loop_time(loop_current()) + ms * MS + 1 + (int64_t)(op->number * 977 % 400000);
}

static inline void enter_scopes(struct op *op, co_test_random_t *random)
{
    bool at_once = by_chance(random, 8);
    co_scope_enter(&op->scope, at_once ? 0 : -1);
    op->deadline = at_once ? loop_time(loop_current()) : choose_deadline(op, random);
    if (!at_once)
        co_scope_set_deadline(&op->scope, op->deadline);
    if (by_chance(random, 32))
        co_scope_cancel(&op->scope);
    co_scope_enter(&op->inner, by_chance(random, 2) ? -1 : 1000);
}

static inline void begin(struct op *op, co_test_random_t *random)
{
    memset(op, 0, sizeof *op);
    settle();
    op->task = co_self();
    op->since = loop_time(loop_current());
    op->number = op->armed = ++flight.number;
    op->shielded = by_chance(random, 8);
    if (op->shielded)
        co__shield_begin(&op->shield, 0);
    enter_scopes(op, random);
    flight.ops[flight.count++] = op;
}

/* Interrupted before it began. */
static inline bool refused(struct op *op)
{
    op->result = interruption(op);
    op->decided = loop_time(loop_current());
    return op->result < 0;
}

static inline void want(struct op *op, const void *object, int kind, int value)
{
    op->wants[op->count++] = (struct want){object, kind, value};
}

static inline void wait_for(struct op *op, const void *object, int kind)
{
    want(op, object, kind, 0);
    op->waits = true;
}

static inline void land(const struct op *op)
{
    size_t kept = 0;
    for (size_t i = 0; i < flight.count; i++)
        if (flight.ops[i] != op)
            flight.ops[kept++] = flight.ops[i];
    flight.count = kept;
}

static inline void compare(const struct op *op, const char *call, int rc)
{
    if (op->waits)
        differ("%s returned %d and should wait", call, rc);
    else if (rc != op->result)
        differ("%s returned %d, not %d", call, rc, op->result);
    if (op->turn && op->turn != flight.returned + 1 && !flight.unordered)
        differ("%s, woken as number %d, returns as number %d", call, (int)op->turn,
               (int)flight.returned + 1);
}

static inline int end_call(struct op *op, const char *call, int rc)
{
    settle();
    compare(op, call, rc);
    if (op->turn)
        flight.returned = op->turn;
    land(op);
    co_scope_leave(&op->inner);
    co_scope_leave(&op->scope);
    if (op->shielded)
        co_scope_leave(&op->shield);
    return rc;
}
#define end(op, call) end_call((op), #call, (call))

/* Sleeps for 0 to 2 ms, or less if it is interrupted. */
static inline void rest(co_test_random_t *random)
{
    struct op op;
    int64_t ms = (int64_t)co_test_below(random, 3);
    begin(&op, random);
    if (refused(&op)) {
        end(&op, co_sleep(ms));
        return;
    }
    if (ms == 0) { /* it is woken as it gives way */
        op.result = 0;
        op.turn = ++flight.turn;
    } else {
        op.waits = true;
        op.when = loop_time(loop_current()) + ms * MS;
    }
    end(&op, co_sleep(ms));
}

/* --- Disturbing ------------------------------------------------------------------------------- */

static inline void postpone(struct op *op, co_test_random_t *random)
{
    if (!op->waits || op->deadline <= loop_time(loop_current()))
        return;
    op->deadline = choose_deadline(op, random);
    op->armed = ++flight.number;
    co_scope_set_deadline(&op->scope, op->deadline);
}

/* Interrupts some call, whether it still waits or was woken and has not run yet. */
static inline void disturb_scope(co_test_random_t *random)
{
    if (!flight.count)
        return;
    settle();
    struct op *op = flight.ops[co_test_below(random, flight.count)];
    if (by_chance(random, 4))
        postpone(op, random);
    else
        co_scope_cancel(&op->scope);
    settle();
}

static inline void disturb_task(co_test_random_t *random)
{
    if (!flight.count)
        return;
    settle();
    co_task_cancel(flight.ops[co_test_below(random, flight.count)]->task);
    settle();
}

static inline void disturb(co_test_random_t *random)
{
    if (by_chance(random, 5))
        disturb_scope(random);
    else if (by_chance(random, 25))
        disturb_task(random);
}

/* --- Memory that runs out --------------------------------------------------------------------- */

/* An allocator for models that has nothing while `failing`. */
static bool failing;
static size_t refusals;

static inline void *allocate(void *pointer, size_t size, void *arg)
{
    (void)arg;
    if (size && failing) {
        refusals++;
        return NULL;
    }
    if (size)
        return realloc(pointer, size);
    free(pointer);
    return NULL;
}

/* --- Playing ---------------------------------------------------------------------------------- */

static inline const char *verdict(void)
{
    if (flight.count)
        differ("%zu calls are still under way", flight.count);
    return wrong[0] ? wrong : NULL;
}

/* Some seeds that are always the same, or random ones for as long as COLOOP_TEST_SECONDS says. */
static inline void play(const co_test_model_t *model)
{
    co_test_report_t report;
    bool long_run = getenv("COLOOP_TEST_SECONDS") != NULL;
    co_test_random(model, long_run ? 0 : 1, &report);
    if (long_run)
        print_message("%s: %zu runs\n", model->name, report.runs);
    assert_string_equal(report.text, "");
    assert_true(report.runs > 0);
}

/* A test of begin_name, step_name and check_name; what else it needs follows the number of steps.
 */
#define MODEL(name, ...)                                                                           \
    static void name##_does_what_its_model_does(void **state)                                      \
    {                                                                                              \
        static const co_test_model_t model = {                                                     \
            #name,        begin_##name,          step_##name,                                      \
            check_##name, .calm = true,          .tasks = WORKERS,                                 \
            .runs = 10,   .allocator = allocate, .steps = __VA_ARGS__};                            \
        (void)state;                                                                               \
        play(&model);                                                                              \
    }
#define PLAYED(name) cmocka_unit_test(name##_does_what_its_model_does)

#endif
