/* Select over channels, events, futures, tasks and times, under random operations and beside plain
 * calls: one case happens, it is one that can, and no other leaves a trace. */
#include "test_model_chan.h"

enum { EVENT = RECV + 1, FUTURE, AWAIT, TASK, AFTER };
enum { CHANS = 3, KIDS = 2 };

static struct model_chan chans[CHANS];
static int last_value;
static struct {
    co_event_t event;
    bool is_set;
} ev;
static struct {
    co_future_t future;
    bool done;
    int result;
    void *value;
} fut;
static struct kid {
    co_task_t *task;
    int64_t ms;
    bool done;
} kids[KIDS];

/* --- What can happen -------------------------------------------------------------------------- */

static bool can_happen(const struct want *want)
{
    const struct model_chan *chan = want->object;
    switch (want->kind) {
    case SEND:
        return chan->closed || first(chan, RECV) || chan->count < chan->capacity;
    case RECV:
        return chan->closed || first(chan, SEND) || chan->count;
    case EVENT:
        return ev.is_set;
    case FUTURE:
        return fut.done;
    case TASK:
        return ((const struct kid *)want->object)->done;
    default:
        return false;
    }
}

/* Lets it happen; returns the result of the case. */
static int let_happen(struct want *want)
{
    struct model_chan *chan = (struct model_chan *)want->object;
    if (want->kind == SEND)
        return model_send(chan, want->value);
    if (want->kind != RECV)
        return 0;
    int rc = model_recv(chan);
    want->value = rc == 0 ? chan->taken : 0;
    return rc;
}

/* --- A select --------------------------------------------------------------------------------- */

/* The cases as the library and as the model have them. All items sent are alike, as a select may
 * have two cases for one channel, and either may happen. */
struct choice {
    struct op op;
    co_case_t cases[WANTS_MAX];
    struct item rooms[WANTS_MAX], item;
    size_t sizes[WANTS_MAX];
    int64_t after[WANTS_MAX];
    int value;
};

static void add_chan(struct choice *choice, size_t i, co_test_random_t *random)
{
    struct model_chan *chan = &chans[co_test_below(random, CHANS)];
    if (!chan->chan)
        open_chan(chan, random);
    choice->sizes[i] = chan->item_size;
    if (by_chance(random, 2)) {
        choice->cases[i] = CO_SEND(chan->chan, &choice->item);
        want(&choice->op, chan, SEND, choice->value);
    } else {
        choice->cases[i] = CO_RECV(chan->chan, &choice->rooms[i]);
        want(&choice->op, chan, RECV, 0);
    }
}

static void add_after(struct choice *choice, size_t i, co_test_random_t *random)
{
    int64_t ms = by_chance(random, 4) ? -1 : 1 + (int64_t)co_test_below(random, 4);
    choice->cases[i] = CO_AFTER(ms);
    want(&choice->op, NULL, AFTER, 0);
    if (ms < 0)
        return;
    choice->after[i] = loop_time(loop_current()) + ms * MS;
    if (!choice->op.when || choice->after[i] < choice->op.when)
        choice->op.when = choice->after[i];
}

static void add_case(struct choice *choice, size_t i, co_test_random_t *random)
{
    struct kid *kid = &kids[co_test_below(random, KIDS)];
    switch (co_test_below(random, 10)) {
    case 0:
        choice->cases[i] = CO_EVENT(&ev.event);
        want(&choice->op, &ev, EVENT, 0);
        break;
    case 1:
        choice->cases[i] = CO_FUTURE(&fut.future);
        want(&choice->op, &fut, FUTURE, 0);
        break;
    case 2:
        add_after(choice, i, random);
        break;
    case 3:
        if (kid->task) {
            choice->cases[i] = CO_TASK(kid->task);
            want(&choice->op, kid, TASK, 0);
            break;
        }
        /* fall through */
    default:
        add_chan(choice, i, random);
    }
}

static void add_cases(struct choice *choice, co_test_random_t *random)
{
    size_t n = 1 + co_test_below(random, by_chance(random, 4) ? WANTS_MAX : 4);
    choice->value = ++last_value;
    choice->item = item_of(choice->value);
    for (size_t i = 0; i < n; i++) {
        choice->rooms[i] = item_of(0);
        add_case(choice, i, random);
    }
}

static bool any_can_happen(const struct op *op)
{
    bool any = false;
    for (size_t i = 0; i < op->count; i++)
        any |= can_happen(&op->wants[i]);
    return any;
}

static bool alike(const struct want *a, const struct want *b)
{
    return a->object == b->object && a->kind == b->kind;
}

/* The case that ended the wait; if there were two alike, either. */
static void expect_woken(struct choice *choice, int i)
{
    struct op *op = &choice->op;
    if (op->got) {
        HOLDS(alike(op->got, &op->wants[i]));
        op->wants[i].value = op->got->value;
    } else {
        HOLDS(op->result == 0 && op->when && choice->after[i] == op->when);
    }
    HOLDS(choice->cases[i].result == op->result);
    op->result = i;
}

static void expect_at_once(struct choice *choice, int i)
{
    HOLDS(can_happen(&choice->op.wants[i]));
    HOLDS(choice->cases[i].result == let_happen(&choice->op.wants[i]));
    choice->op.result = i;
}

static void expect_items(struct choice *choice, int rc)
{
    for (int i = 0; i < (int)choice->op.count; i++) {
        bool received = i == rc && choice->op.wants[i].kind == RECV && choice->cases[i].result == 0;
        expect_item(choice->sizes[i], &choice->rooms[i], received ? choice->op.wants[i].value : 0);
    }
}

static void select_case(co_test_random_t *random)
{
    struct choice choice = {0};
    struct op *op = &choice.op;
    begin(op, random);
    add_cases(&choice, random);
    bool can = !refused(op), at_once = can && any_can_happen(op);
    op->waits = can && !at_once;
    failing = op->waits && op->count > 8 && by_chance(random, 4);
    if (failing) { /* more than a few cases take memory to wait for */
        op->waits = false;
        op->result = -ENOMEM;
    }
    uint64_t before = flight.number;
    int rc = co_select(choice.cases, op->count);
    failing = false;
    settle();
    if (rc >= 0 && at_once)
        expect_at_once(&choice, rc);
    else if (rc >= 0 && op->turn && op->result != -ECANCELED && op->result != -ETIMEDOUT)
        expect_woken(&choice, rc);
    HOLDS(flight.number == before || op->turn);
    expect_items(&choice, rc);
    end_call(op, "co_select", rc);
}

/* --- Beside it -------------------------------------------------------------------------------- */

static void use_event(co_test_random_t *random)
{
    settle();
    if (by_chance(random, 2)) {
        ev.is_set = true;
        serve_all(&ev, EVENT, 0);
        co_event_set(&ev.event);
    }
    if (by_chance(random, 4))
        return;
    ev.is_set = false;
    co_event_clear(&ev.event);
}

static void resolve(co_test_random_t *random)
{
    settle();
    bool done = fut.done;
    int result = (int)co_test_below(random, 9) - 4;
    if (!done) {
        fut.done = true;
        fut.result = result;
        fut.value = &chans[co_test_below(random, CHANS)];
        for (struct op *op; (op = first(&fut, -1));)
            serve(op, want_of(op, &fut, -1), op->wants->kind == AWAIT ? result : 0);
    }
    HOLDS(co_future_resolve(&fut.future, result, fut.value) == (done ? -EALREADY : 0));
}

static void await_future(co_test_random_t *random)
{
    struct op op;
    void *value = NULL;
    begin(&op, random);
    bool settled = !refused(&op) && fut.done;
    if (settled)
        op.result = fut.result;
    else if (op.result == 0)
        wait_for(&op, &fut, AWAIT);
    end(&op, co_await_future(&fut.future, &value));
    HOLDS(value == (settled || op.got ? fut.value : NULL));
}

/* A future must not go away, or be used anew, before who waited for it has returned. */
static bool is_in_use(void)
{
    for (size_t i = 0; i < flight.count; i++)
        for (size_t k = 0; k < flight.ops[i]->count; k++)
            if (flight.ops[i]->wants[k].object == &fut)
                return true;
    return false;
}

static void use_future(co_test_random_t *random)
{
    if (by_chance(random, 3)) {
        await_future(random);
    } else if (fut.done && !is_in_use()) {
        memset(&fut, 0, sizeof fut);
    } else {
        resolve(random);
    }
}

static int be_kid(void *arg)
{
    struct kid *kid = arg;
    co_sleep(kid->ms);
    settle();
    kid->done = true;
    serve_all(kid, TASK, 0);
    return (int)kid->ms - 2;
}

static void renew_kid(struct kid *kid, co_test_random_t *random)
{
    if (kid->task && !kid->done)
        return;
    co_task_release(kid->task);
    kid->done = false;
    kid->ms = (int64_t)co_test_below(random, 5);
    kid->task = co_spawn(be_kid, kid);
    HOLDS(kid->task);
}

static void use_chan(struct model_chan *chan, co_test_random_t *random)
{
    if (!chan->chan)
        open_chan(chan, random);
    switch (co_test_below(random, 6)) {
    case 0:
        send_item(chan, random, ++last_value);
        break;
    case 1:
        receive_item(chan, random);
        break;
    case 2:
        if (chan->count < HELD_MAX / 2)
            try_send(chan, ++last_value);
        break;
    case 3:
        for (size_t n = 1 + co_test_below(random, 4); n > 0; n--)
            try_recv(chan);
        break;
    case 4:
        if (by_chance(random, 5))
            close_chan(chan);
        break;
    default:
        if (chan->closed)
            free_chan(chan);
    }
}

/* --- Steps ------------------------------------------------------------------------------------ */

static int begin_select(void *arg)
{
    (void)arg;
    reset();
    last_value = 0;
    memset(chans, 0, sizeof chans);
    memset(kids, 0, sizeof kids);
    memset(&ev, 0, sizeof ev);
    memset(&fut, 0, sizeof fut);
    return 0;
}

static void step_select(void *arg, co_test_random_t *random)
{
    (void)arg;
    disturb(random);
    switch (co_test_below(random, 12)) {
    case 0:
        use_event(random);
        break;
    case 1:
        use_future(random);
        break;
    case 2:
        renew_kid(&kids[co_test_below(random, KIDS)], random);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        use_chan(&chans[co_test_below(random, CHANS)], random);
        break;
    default:
        select_case(random);
    }
}

static const char *check_select(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < CHANS; i++)
        if (chans[i].chan)
            compare_length(&chans[i]);
    for (size_t i = 0; i < KIDS; i++) {
        if (kids[i].task)
            co_await_task(kids[i].task);
        memset(&kids[i], 0, sizeof kids[i]);
    }
    return verdict();
}

static void finish_select(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < CHANS; i++)
        co_chan_free(chans[i].chan);
}

MODEL(select, 1000, .fini = finish_select)

int main(void)
{
    const struct CMUnitTest tests[] = {PLAYED(select)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
