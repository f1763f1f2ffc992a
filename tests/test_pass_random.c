/* Tasks go on in each other, and begin the next pass themselves, without going through the loop:
 * but for the time it takes, nobody can tell. In debug mode they do go through it: random programs
 * have to do the same in the same passes. */
#include "support.h"

enum { TASKS_MAX = 120, SLOTS = 8, DEPTH_MAX = 3 };

/* What one run did, as a number, with the loop's statistics. */
struct outcome {
    uint64_t hash;
    unsigned long long passes, runs, polls;
};

static struct {
    loop_t *loop;
    co_test_random_t random; /* of callbacks; tasks have one each */
    uint64_t hash;
    int spawned;
    co_task_t *slots[SLOTS];
    co_mutex_t mutex;
    co_event_t event;
    co_future_t future;
} game;

struct program {
    co_test_random_t random;
    int depth;
};

static void note(int what, int64_t value)
{
    uint64_t id = co_self() ? co_task_id(co_self()) : 0;
    uint64_t words[] = {(uint64_t)what, (uint64_t)value, id, (uint64_t)loop_time(game.loop)};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        game.hash = (game.hash ^ words[i]) * UINT64_C(1099511628211);
}

static int play(void *arg);

static co_task_t *spawn(co_test_random_t *random, int depth, bool eager)
{
    co_spawn_options_t options = {.eager = eager};
    if (game.spawned == TASKS_MAX)
        return NULL;
    game.spawned++;
    struct program *program = malloc(sizeof *program);
    *program = (struct program){{co_test_next(random)}, depth};
    return co_spawn_here(game.loop, &options, "play", play, program, "here");
}

static void keep(co_test_random_t *random, co_task_t *task)
{
    size_t i = co_test_below(random, SLOTS);
    co_task_t *before = game.slots[i];
    game.slots[i] = task;
    co_task_release(before);
}

static void done(co_task_t *task, void *arg)
{
    (void)arg;
    note(100, co_task_result(task));
}

/* Whatever code outside coroutines may do. */
static void callback(void *arg)
{
    co_test_random_t *random = &game.random;
    co_task_t *task = game.slots[co_test_below(random, SLOTS)];
    size_t which = co_test_below(random, 6);
    note(101, (intptr_t)arg);
    if (which < 2)
        keep(random, spawn(random, 1, which == 1));
    else if (which == 2 && task)
        co_task_cancel(task);
    else if (which == 3)
        co_future_resolve(&game.future, 3, NULL);
    else if (which == 4)
        co_event_set(&game.event);
    else if (which == 5)
        loop_stop(game.loop);
}

static void steps(co_test_random_t *random, int depth);

static void step_in_block(co_test_random_t *random, int depth)
{
    int rc = 0;
    size_t which = co_test_below(random, 4);
    if (depth == DEPTH_MAX)
        return;
    if (which == 0)
        co_timeout((int64_t)co_test_below(random, 4)) steps(random, depth + 1);
    else if (which == 1)
        co_shield() steps(random, depth + 1);
    else if (which == 2 && (rc = co_mutex_lock(&game.mutex)) == 0) {
        steps(random, depth + 1);
        co_mutex_unlock(&game.mutex);
    } else if (which == 3 && game.spawned < TASKS_MAX - 3) {
        co_group(group, &rc)
        {
            for (int i = 0; i < 3; i++, game.spawned++) {
                struct program *program = malloc(sizeof *program);
                *program = (struct program){{co_test_next(random)}, depth + 1};
                if (co_group_spawn(group, play, program) < 0)
                    free(program);
            }
            steps(random, depth + 1);
        }
    }
    note(102, rc);
}

static int wait_somehow(co_test_random_t *random)
{
    switch (co_test_below(random, 4)) {
    case 0:
        return co_sleep((int64_t)co_test_below(random, 3));
    case 1:
        return co_event_wait(&game.event);
    case 2:
        return co_await_future(&game.future, NULL);
    default:
        return co_yield_now();
    }
}

static int step(co_test_random_t *random, int depth)
{
    co_task_t *task = game.slots[co_test_below(random, SLOTS)];
    size_t which = co_test_below(random, 10);
    if (which < 2)
        keep(random, spawn(random, depth + 1, which));
    else if (which == 2)
        return loop_call_soon(game.loop, callback, NULL, NULL);
    else if (which == 3)
        return loop_call_later(game.loop, (int64_t)co_test_below(random, 3), callback, &game, NULL);
    else if (which == 4 && task)
        return co_task_add_done_callback(task, done, NULL);
    else if (which == 5)
        step_in_block(random, depth);
    else if (which == 6)
        return co_await_task(spawn(random, depth + 1, co_test_below(random, 2)));
    else if (which == 7)
        co_event_clear(&game.event);
    else
        return wait_somehow(random);
    return 0;
}

static void steps(co_test_random_t *random, int depth)
{
    for (size_t n = 1 + co_test_below(random, 5); n > 0; n--)
        note(103, step(random, depth));
}

static int play(void *arg)
{
    struct program program = *(struct program *)arg;
    free(arg);
    steps(&program.random, program.depth);
    if (co_test_below(&program.random, 16) == 0)
        co_throw(-EIO, "the end");
    return co_test_below(&program.random, 8) ? 0 : -EPROTO;
}

static void run(void)
{
    int rc = 1;
    for (int i = 0; rc && i < 50; i++) {
        rc = loop_run(game.loop);
        note(104, rc);
        if (rc == -EDEADLK) {
            co_event_set(&game.event);
            co_future_resolve(&game.future, 4, NULL);
        }
    }
}

static struct outcome run_program(uint64_t seed, bool debug)
{
    loop_options_t options = {
        .virtual_time = true, .seed = 1, .debug = debug, .slow_ms = 3600 * 1000};
    loop_stats_t stats;
    memset(&game, 0, sizeof game);
    game.loop = open_loop_with(&options);
    game.random.state = seed;
    for (int i = 0; i < 3; i++)
        keep(&game.random, spawn(&game.random, 0, false));
    run();
    for (int i = 0; i < SLOTS; i++)
        co_task_release(game.slots[i]);
    loop_stats(game.loop, &stats);
    close_loop(game.loop);
    return (struct outcome){game.hash, stats.passes, stats.runs, stats.polls};
}

static void without_the_loop_between_them_tasks_do_the_same_in_the_same_passes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct outcome straight = run_program(seed, false), through_loop = run_program(seed, true);
        if (memcmp(&straight, &through_loop, sizeof straight) != 0)
            print_message("seed %llu\n", (unsigned long long)seed);
        assert_true(straight.hash == through_loop.hash);
        assert_true(straight.passes == through_loop.passes);
        assert_true(straight.runs == through_loop.runs);
        assert_true(straight.polls == through_loop.polls);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_loop_between_them_tasks_do_the_same_in_the_same_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
