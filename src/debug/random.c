/* random.c: random operations by several tasks, in rounds, on objects that are compared with a
 * model between the rounds. A game is one run. */
#include "debug/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood 2014). */
uint64_t co_test_next(co_test_random_t *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

size_t co_test_below(co_test_random_t *random, size_t n)
{
    return (size_t)(co_test_next(random) % n);
}

enum { WORKERS_MAX = 64, STEPS_A_ROUND = 8 };

struct game {
    const co_test_model_t *model;
    co_test_random_t random;
    size_t tasks;
    uint64_t steps, done;
    const char *difference; /* between object and model */
    co_scope_t scopes[WORKERS_MAX];
    size_t started; /* workers of the round */
};

static int64_t choose_deadline(co_test_random_t *random)
{
    return co_test_below(random, 4) ? 1 + (int64_t)co_test_below(random, 20) : 0;
}

static void step(struct game *game)
{
    game->done++;
    game->model->step(game->model->arg, &game->random);
}

/* A scope that is not entered takes no harm from being cancelled. */
static void step_in_scope(struct game *game, co_scope_t *scope)
{
    co_scope_enter(scope, choose_deadline(&game->random));
    if (co_test_below(&game->random, 8) == 0)
        co_scope_cancel(&game->scopes[co_test_below(&game->random, game->tasks)]);
    step(game);
    co_scope_leave(scope);
}

static int play(void *arg)
{
    struct game *game = arg;
    co_scope_t *scope = &game->scopes[game->started++];
    for (int i = 0; i < STEPS_A_ROUND; i++) {
        if (game->model->calm)
            step(game);
        else
            step_in_scope(game, scope);
        if (co_test_below(&game->random, 2))
            co_sleep((int64_t)co_test_below(&game->random, 3));
    }
    return 0;
}

/* A round has every worker make some steps; then nothing is going on, and the model is checked. */
static int play_rounds(void *arg)
{
    struct game *game = arg;
    const co_test_model_t *model = game->model;
    while (game->done < game->steps && !game->difference) {
        co_task_t *workers[WORKERS_MAX];
        game->started = 0;
        for (size_t i = 0; i < game->tasks; i++)
            workers[i] = co_spawn(play, game);
        int rc = co_gather_all(workers, game->tasks, NULL);
        if (rc < 0)
            return rc;
        game->difference = model->check ? model->check(model->arg) : NULL;
    }
    return 0;
}

static int begin_game(void *arg)
{
    struct game *game = arg;
    memset(game->scopes, 0, sizeof game->scopes);
    game->done = 0;
    game->difference = NULL;
    return game->model->init ? game->model->init(game->model->arg) : 0;
}

static const char *judge_game(void *arg)
{
    const struct game *game = arg;
    return game->difference;
}

static void end_game(void *arg)
{
    const struct game *game = arg;
    if (game->model->fini)
        game->model->fini(game->model->arg);
}

static void play_game(struct game *game, struct ledger *ledger, uint64_t seed,
                      co_test_report_t *report)
{
    const co_test_scenario_t scenario = {.name = game->model->name,
                                         .setup = begin_game,
                                         .run = play_rounds,
                                         .check = judge_game,
                                         .teardown = end_game,
                                         .arg = game};
    struct trial trial = {.scenario = &scenario,
                          .ledger = ledger,
                          .mode = RANDOM,
                          .seed = seed,
                          .more_passes = 100 * game->steps};
    char replay[64];
    game->random.state = seed;
    co__debug_trial_run(&trial);
    snprintf(replay, sizeof replay, "COLOOP_TEST_SEED=%llu", (unsigned long long)seed);
    snprintf(trial.place, sizeof trial.place, " (after %llu steps)",
             (unsigned long long)game->done);
    report->points = (size_t)game->done;
    co__debug_trial_count(&trial, replay, report);
}

/* A number from the environment, or what there is without it. */
static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t choose_seed(const co_test_model_t *model, uint64_t seed)
{
    seed = from_environment("COLOOP_TEST_SEED", seed);
    if (seed)
        return seed;
    seed = (uint64_t)clock_real_now();
    fprintf(stderr, "%s: COLOOP_TEST_SEED=%llu\n", model->name, (unsigned long long)seed);
    return seed;
}

static void play_for(struct game *game, struct ledger *ledger, uint64_t seed,
                     co_test_report_t *report)
{
    uint64_t seconds = from_environment("COLOOP_TEST_SECONDS", (uint64_t)game->model->seconds);
    int64_t end = clock_real_now() + (int64_t)seconds * NS_PER_S;
    size_t runs = from_environment("COLOOP_TEST_SEED", 0) ? 1 : game->model->runs;
    do
        play_game(game, ledger, seed++, report);
    while (!report->failures && (report->runs < runs || clock_real_now() < end));
}

int co_test_random(const co_test_model_t *model, uint64_t seed, co_test_report_t *report)
{
    co_test_report_t own;
    struct ledger ledger;
    struct game game = {.model = model,
                        .tasks = model->tasks ? model->tasks : 4,
                        .steps = model->steps ? model->steps : 10000};
    co_test_report_t *into = report ? report : &own;
    *into = (co_test_report_t){0};
    if (!model->name || !model->step || game.tasks > WORKERS_MAX)
        return -EINVAL;
    int rc = co__debug_ledger_open(&ledger, model->allocator, model->allocator_arg);
    if (rc < 0)
        return rc;
    play_for(&game, &ledger, choose_seed(model, seed), into);
    co__debug_ledger_close(&ledger, model->allocator, model->allocator_arg);
    if (!report)
        fputs(own.text, stderr);
    return (int)into->failures;
}
