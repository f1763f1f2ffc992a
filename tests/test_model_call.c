/* Scheduled calls of two loops under random operations, from outside and from within each other,
 * against a model that knows of each call only where it waits, until when, and since when. */
#include "support.h"

enum { LOOPS = 2, HANDLES = 20, CALLS = 200, GAMES = 300, PASSES = 60, OPERATIONS_MAX = 60 };

enum state { IDLE, TIMED, READY };

struct call {
    loop_handle_t *handle; /* on the heap, in as many bytes as it has; NULL: the loop's record */
    enum state state;
    int loop;
    int64_t when;
    uint64_t since; /* the number of the scheduling, or of the expiry */
    bool second;    /* of two functions */
};

static struct {
    co_test_random_t random;
    loop_t *loops[LOOPS];
    int64_t now[LOOPS];
    struct call calls[CALLS]; /* those with handles first */
    uint64_t events;
    int runs;          /* the loop that does, or -1 */
    uint64_t pass_end; /* what is ready since later runs in the next pass */
    size_t ran;
} game;

static size_t below(size_t n)
{
    return co_test_below(&game.random, n);
}

/* --- The model -------------------------------------------------------------------------------- */

static bool is_before(const struct call *a, const struct call *b)
{
    if (a->state == TIMED && a->when != b->when)
        return a->when < b->when;
    return a->since < b->since;
}

/* The next one of a loop that is in the state, or NULL. */
static struct call *next_call(int loop, enum state state)
{
    struct call *next = NULL;
    for (struct call *call = game.calls; call < game.calls + CALLS; call++)
        if (call->state == state && call->loop == loop && (!next || is_before(call, next)))
            next = call;
    return next;
}

static void become(struct call *call, enum state state, int loop)
{
    call->state = state;
    call->loop = loop;
    call->since = ++game.events;
}

static struct call *unused_call(void)
{
    for (struct call *call = game.calls + HANDLES; call < game.calls + CALLS; call++)
        if (call->state == IDLE)
            return call;
    return NULL;
}

/* What a turn does. Fewer timers are due than the loop lets expire at once. */
static void model_turn(int loop, int64_t timeout)
{
    struct call *call = next_call(loop, TIMED);
    int64_t end = game.now[loop] + timeout;
    int64_t until = call && call->when < end ? call->when : end;
    if (!next_call(loop, READY) && until > game.now[loop])
        game.now[loop] = until;
    for (; call && call->when <= game.now[loop]; call = next_call(loop, TIMED))
        become(call, READY, loop);
    game.pass_end = game.events;
}

/* --- Operations ------------------------------------------------------------------------------- */

static void operations(void);

static void run(struct call *call, bool second)
{
    CHECK(call == next_call(game.runs, READY) && call->since <= game.pass_end);
    CHECK(call->second == second);
    CHECK_INT(loop_time(game.loops[game.runs]), game.now[game.runs]);
    call->state = IDLE;
    game.ran++;
    operations();
}

static void run_first(void *call)
{
    run(call, false);
}

static void run_second(void *call)
{
    run(call, true);
}

/* Without memory, only what needs none is sure to succeed; what is refused changes nothing. */
static void schedule(struct call *call, int to)
{
    loop_t *loop = game.loops[to];
    bool soon = below(2), later = below(2), second = below(2), poor = below(8) == 0;
    bool needs_none = call->handle && (soon || (call->state == TIMED && call->loop == to));
    loop_fn *fn = second ? run_second : run_first;
    int64_t ms = (int64_t)below(5) - 1, when = game.now[to] + ms * MS;
    fail_allocation(poor, poor);
    int rc = soon    ? loop_call_soon(loop, fn, call, call->handle)
             : later ? loop_call_later(loop, ms, fn, call, call->handle)
                     : loop_call_at(loop, when, fn, call, call->handle);
    fail_allocation(0, false);
    CHECK(rc == 0 || (rc == -ENOMEM && poor && !needs_none));
    if (rc < 0)
        return;
    call->when = later && ms < 0 ? game.now[to] : when;
    call->second = second;
    become(call, soon ? READY : TIMED, to);
}

static void cancel(struct call *call)
{
    CHECK(loop_cancel(call->handle) == (call->state != IDLE));
    CHECK(!loop_cancel(call->handle));
    call->state = IDLE;
}

/* An idle handle may be copied, zeroed and freed. */
static void replace_handle(struct call *call)
{
    loop_handle_t *before = call->handle;
    if (call->state != IDLE)
        return;
    call->handle = calloc(1, sizeof *call->handle);
    if (below(2))
        *call->handle = *before;
    free(before);
}

static void operation(void)
{
    struct call *call = &game.calls[below(HANDLES)];
    size_t which = below(8);
    if (which < 2)
        cancel(call);
    else if (which < 3)
        replace_handle(call);
    else if (which < 6 || (call = unused_call()))
        schedule(call, (int)below(LOOPS));
}

/* What a callback does. */
static void operations(void)
{
    for (size_t n = below(3); n > 0; n--)
        operation();
}

/* --- Games ------------------------------------------------------------------------------------ */

static void open_one(int loop)
{
    loop_options_t options = {.virtual_time = true, .seed = 1};
    game.loops[loop] = open_loop_with(&options);
    game.now[loop] = loop_time(game.loops[loop]);
}

static void reopen(int loop)
{
    assert_int_equal(close_loop(game.loops[loop]), 0);
    for (struct call *call = game.calls; call < game.calls + CALLS; call++)
        if (call->loop == loop)
            call->state = IDLE;
    open_one(loop);
}

static void pass(int loop)
{
    int64_t timeout = (int64_t)below(4);
    model_turn(loop, timeout * MS);
    game.runs = loop;
    int left = loop_run_once(game.loops[loop], timeout);
    struct call *next = next_call(loop, READY);
    assert_true(!next || next->since > game.pass_end);
    assert_int_equal(left, next || next_call(loop, TIMED));
}

static void play(uint64_t seed)
{
    memset(&game, 0, sizeof game);
    game.random.state = seed;
    for (int i = 0; i < LOOPS; i++)
        open_one(i);
    for (int i = 0; i < HANDLES; i++)
        game.calls[i].handle = calloc(1, sizeof *game.calls[i].handle);
    for (int i = 0; i < PASSES; i++) {
        for (size_t n = below(OPERATIONS_MAX); n > 0; n--)
            operation();
        pass((int)below(LOOPS));
        if (below(PASSES) == 0)
            reopen((int)below(LOOPS));
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(close_loop(game.loops[i]), 0);
    for (int i = 0; i < HANDLES; i++) {
        assert_false(loop_cancel(game.calls[i].handle));
        free(game.calls[i].handle);
    }
}

static void calls_agree_with_a_model(void **state)
{
    size_t ran = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= GAMES; seed++, ran += game.ran)
        play(seed);
    assert_true(ran > (size_t)GAMES * PASSES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
