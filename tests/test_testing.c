/* The searching helpers themselves: they find faults that were planted, say where, and replay
 * them. */
#include "test_exploration.h"

#include <fcntl.h>

static co_test_report_t report;

static void assert_found(const char *text)
{
    if (!strstr(report.text, text))
        fail_msg("\"%s\" is not in: %s", text, report.text);
}

/* --- A semaphore that loses its permit when its waiter is cancelled after the hand-over ------- */

static struct {
    size_t permits, waiting;
    co_event_t handed; /* set for a moment: whoever waits has the permit */
} bad;

static int bad_acquire(void)
{
    if (bad.permits) {
        bad.permits--;
        return 0;
    }
    bad.waiting++;
    int rc = co_event_wait(&bad.handed);
    bad.waiting--;
    return rc < 0 ? rc : co_yield_now(); /* the fault: -ECANCELED with the permit */
}

static void bad_release(void)
{
    bad.permits += bad.waiting ? 0 : 1;
    co_event_set(&bad.handed);
    co_event_clear(&bad.handed);
}

static int bad_user(void *arg)
{
    (void)arg;
    int rc = bad_acquire();
    if (rc < 0)
        return rc;
    co_shield() co_sleep(1);
    bad_release();
    return 0;
}

static int bad_run(void *arg)
{
    (void)arg;
    return start_and_gather(bad_user, NULL, 2);
}

static int bad_setup(void *arg)
{
    (void)arg;
    memset(&bad, 0, sizeof bad);
    bad.permits = 1;
    return 0;
}

static const char *bad_check(void *arg)
{
    (void)arg;
    return bad.permits == 1 ? NULL : "a permit is lost";
}

static const co_test_scenario_t careless = {
    .name = "careless", .setup = bad_setup, .run = bad_run, .check = bad_check};

static void a_permit_lost_by_a_cancelled_waiter_is_found(void **state)
{
    (void)state;
    int rc = co_test_cancels(&careless, &report);
    assert_true(rc > 0);
    assert_int_equal(rc, report.failures);
    assert_int_equal(report.runs, 1 + 3 * report.points);
    assert_found("a permit is lost");
    assert_found("co_event_wait in task 'worker' at ");
    assert_found("test_testing.c:");
    assert_found("replay with COLOOP_TEST_REPLAY=careless/");
}

static void a_report_tells_how_to_replay_exactly_one_run(void **state)
{
    (void)state;
    co_test_cancels(&careless, &report);
    char *replay = strstr(report.text, "COLOOP_TEST_REPLAY=");
    assert_non_null(replay);
    char text[64];
    assert_int_equal(sscanf(replay, "COLOOP_TEST_REPLAY=%63s", text), 1);
    char first[1024];
    assert_int_equal(sscanf(report.text, "%1023[^\n]", first), 1);
    setenv("COLOOP_TEST_REPLAY", text, 1);
    int rc = co_test_cancels(&careless, &report);
    int others = co_test_allocations(&careless, NULL);
    unsetenv("COLOOP_TEST_REPLAY");
    assert_int_equal(rc, 1);
    assert_int_equal(others, 0);
    assert_int_equal(report.runs, 1);
    assert_found(first);
}

/* --- One fault each --------------------------------------------------------------------------- */

/* Sleeps, and does what it is told to if it was cancelled meanwhile. */
static int faulty(void *arg)
{
    void (*fault)(void) = *(void (**)(void))arg;
    int rc = co_sleep(5);
    if (co_task_cancelled(co_self()))
        fault();
    return rc;
}

static void expect_fault(void (*fault)(void), const char *text)
{
    co_test_scenario_t scenario = {.name = "faulty", .run = faulty, .arg = &fault};
    assert_int_equal(co_test_cancels(&scenario, &report), 3);
    assert_int_equal(report.points, 1);
    assert_found(text);
    assert_found("faulty/before/1 (co_sleep in task 'faulty' at ");
    assert_found("faulty/parked/1 (");
    assert_found("faulty/woken/1 (");
}

static int opened[4], opened_count;

static void open_fd(void)
{
    opened[opened_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void a_fd_that_is_left_open_is_found(void **state)
{
    (void)state;
    opened_count = 0;
    expect_fault(open_fd, " is left open");
    for (int i = 0; i < opened_count; i++)
        close(opened[i]);
}

static int foreign_fd;

static void close_foreign_fd(void)
{
    close(foreign_fd);
}

static void a_fd_closed_that_was_not_its_own_is_found(void **state)
{
    (void)state;
    void (*fault)(void) = close_foreign_fd;
    co_test_scenario_t scenario = {.name = "faulty", .run = faulty, .arg = &fault};
    foreign_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(co_test_cancels(&scenario, &report), 1); /* it can be closed once */
    assert_found("not its own, was closed");
}

static void make_channel(void)
{
    co_chan_new(8, 1);
}

static void a_block_that_is_not_freed_is_found(void **state)
{
    (void)state;
    expect_fault(make_channel, "bytes is not freed");
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void keep_handle(void)
{
    co_spawn(do_nothing, NULL);
}

static void a_handle_that_is_not_released_is_found(void **state)
{
    (void)state;
    expect_fault(keep_handle, "a handle of task 'do_nothing' was not released");
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static void leave_task(void)
{
    co_go(sleep_for_ever, NULL);
}

static void a_task_that_never_ends_is_found(void **state)
{
    (void)state;
    expect_fault(leave_task, "task 'sleep_for_ever' never ends: co_sleep, for ever at ");
}

static int foreign_pipe[2];

static int read_for_ever(void *arg)
{
    char byte;
    (void)arg;
    return (int)co_read(foreign_pipe[0], &byte, 1);
}

static void leave_reader(void)
{
    co_go(read_for_ever, NULL);
}

static void a_wait_for_a_silent_fd_is_found_and_not_waited_for(void **state)
{
    (void)state;
    make_pipe(foreign_pipe);
    expect_fault(leave_reader, "task 'read_for_ever' never ends: co_read");
    close(foreign_pipe[0]);
    close(foreign_pipe[1]);
}

static void ignore_event(void *arg)
{
    (void)arg;
}

static void leave_watcher(void)
{
    loop_add_reader(loop_current(), foreign_pipe[0], ignore_event, NULL);
}

static void a_watcher_that_is_left_is_found(void **state)
{
    (void)state;
    make_pipe(foreign_pipe);
    expect_fault(leave_watcher, "work is left: a watcher");
    close(foreign_pipe[0]);
    close(foreign_pipe[1]);
}

/* --- Allocations ------------------------------------------------------------------------------ */

/* Frees the first channel only if the second could be had. */
static int make_two(void *arg)
{
    (void)arg;
    co_chan_t *a = co_chan_new(8, 1), *b = co_chan_new(8, 1);
    if (b) {
        co_chan_free(a);
        co_chan_free(b);
    }
    return 0;
}

static void a_block_lost_when_the_next_allocation_fails_is_found(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "two", .run = make_two};
    assert_int_equal(co_test_allocations(&scenario, &report), 2);
    assert_int_equal(report.points, 2);
    assert_int_equal(report.runs, 5);
    assert_found("two/once/2: a block of ");
    assert_found("two/onward/2: a block of ");
    assert_int_equal(co_test_cancels(&scenario, &report), 0);
    assert_int_equal(report.points, 0);
}

static int allocated;

static void *counting(void *pointer, size_t size, void *arg)
{
    (void)arg;
    allocated += !pointer ? 1 : size ? 0 : -1;
    if (size)
        return realloc(pointer, size);
    free(pointer);
    return NULL;
}

static void memory_comes_from_the_scenarios_allocator_which_stays(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "two", .run = make_two, .allocator = counting};
    assert_int_equal(co_test_allocations(&scenario, &report), 2);
    assert_int_equal(allocated, 0);
    co_chan_t *chan = co_chan_new(8, 1);
    assert_int_equal(allocated, 1);
    co_chan_free(chan);
    assert_int_equal(coloop_set_allocator(NULL, NULL), 0);
}

/* --- Undisturbed ------------------------------------------------------------------------------ */

static int fail_always(void *arg)
{
    (void)arg;
    co_yield_now();
    return -EIO;
}

static void a_scenario_that_fails_undisturbed_is_run_once(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "failing", .run = fail_always};
    assert_int_equal(co_test_cancels(&scenario, &report), 1);
    assert_int_equal(report.runs, 1);
    assert_string_equal(report.text, "failing/undisturbed/0: the first task returned -5\n");
}

static int refuse(void *arg)
{
    (void)arg;
    return -ENOENT;
}

static void a_setup_that_fails_is_reported(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "refused", .setup = refuse, .run = do_nothing};
    assert_int_equal(co_test_cancels(&scenario, &report), 1);
    assert_found("setup returned -2");
}

static void an_open_loop_is_ebusy_and_missing_functions_are_einval(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "nothing", .run = do_nothing}, empty = {.name = "empty"};
    co_test_model_t model = {.name = "empty"};
    loop_t *loop = open_loop();
    assert_int_equal(co_test_cancels(&scenario, &report), -EBUSY);
    assert_int_equal(close_loop(loop), 0);
    assert_int_equal(co_test_cancels(&empty, &report), -EINVAL);
    assert_int_equal(co_test_allocations(&empty, &report), -EINVAL);
    assert_int_equal(co_test_random(&model, 1, &report), -EINVAL);
}

static int spin(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++)
        if (co_event_wait(&bad.handed) < 0)
            return 0;
    return 0;
}

static void giving_way_after_many_calls_is_a_point_too(void **state)
{
    (void)state;
    co_test_scenario_t scenario = {.name = "spin", .run = spin};
    bad.handed = (co_event_t){.is_set = true};
    assert_int_equal(co_test_cancels(&scenario, &report), 0);
    assert_int_equal(report.points, 3);
}

/* --- Random ----------------------------------------------------------------------------------- */

static struct {
    uint64_t sum, steps, bad_at;
    size_t inside, most;
} dice;

static int dice_init(void *arg)
{
    (void)arg;
    dice.sum = dice.steps = 0;
    dice.inside = dice.most = 0;
    return 0;
}

static void dice_step(void *arg, co_test_random_t *random)
{
    (void)arg;
    dice.sum = dice.sum * 31 + co_test_next(random);
    dice.steps++;
    if (++dice.inside > dice.most)
        dice.most = dice.inside;
    co_sleep(co_test_below(random, 2) ? -1 : 3);
    dice.inside--;
}

static const char *dice_check(void *arg)
{
    (void)arg;
    HOLDS(dice.inside == 0);
    return wrong ? wrong : dice.bad_at && dice.steps >= dice.bad_at ? "too many steps" : NULL;
}

static const co_test_model_t dice_model = {
    .name = "dice", .init = dice_init, .step = dice_step, .check = dice_check, .steps = 500};

static void random_steps_interleave_and_the_seed_decides_them(void **state)
{
    (void)state;
    dice.bad_at = 0;
    assert_int_equal(co_test_random(&dice_model, 7, &report), 0);
    assert_int_equal(report.runs, 1);
    assert_true(report.points >= 500);
    assert_int_equal(report.points, dice.steps);
    assert_int_equal(dice.most, 4);
    uint64_t sum = dice.sum;
    assert_int_equal(co_test_random(&dice_model, 7, &report), 0);
    assert_true(sum == dice.sum);
    assert_int_equal(co_test_random(&dice_model, 8, &report), 0);
    assert_true(sum != dice.sum);
}

static void a_difference_from_the_model_is_reported_with_its_seed(void **state)
{
    (void)state;
    dice.bad_at = 100;
    assert_int_equal(co_test_random(&dice_model, 9, &report), 1);
    assert_found("dice/random/0 (after ");
    assert_found("too many steps; replay with COLOOP_TEST_SEED=9");
    assert_true(report.points < 200);
    uint64_t sum = dice.sum;
    setenv("COLOOP_TEST_SEED", "9", 1);
    int rc = co_test_random(&dice_model, 1, &report);
    unsetenv("COLOOP_TEST_SEED");
    assert_int_equal(rc, 1);
    assert_true(sum == dice.sum);
}

static void seconds_make_more_runs(void **state)
{
    (void)state;
    co_test_model_t model = dice_model;
    dice.bad_at = 0;
    model.steps = 8;
    setenv("COLOOP_TEST_SECONDS", "1", 1);
    assert_int_equal(co_test_random(&model, 1, &report), 0);
    unsetenv("COLOOP_TEST_SECONDS");
    assert_true(report.runs > 1);
}

static void leaking_step(void *arg, co_test_random_t *random)
{
    (void)arg, (void)random;
    if (dice.steps++ == 50)
        co_chan_new(1, 1);
}

static void what_random_steps_lose_is_found(void **state)
{
    (void)state;
    co_test_model_t model = {
        .name = "leak", .init = dice_init, .step = leaking_step, .tasks = 1, .steps = 100};
    assert_int_equal(co_test_random(&model, 3, &report), 1);
    assert_found("bytes is not freed");
    assert_found("COLOOP_TEST_SEED=3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_permit_lost_by_a_cancelled_waiter_is_found),
        cmocka_unit_test(a_report_tells_how_to_replay_exactly_one_run),
        cmocka_unit_test(a_fd_that_is_left_open_is_found),
        cmocka_unit_test(a_fd_closed_that_was_not_its_own_is_found),
        cmocka_unit_test(a_block_that_is_not_freed_is_found),
        cmocka_unit_test(a_handle_that_is_not_released_is_found),
        cmocka_unit_test(a_task_that_never_ends_is_found),
        cmocka_unit_test(a_wait_for_a_silent_fd_is_found_and_not_waited_for),
        cmocka_unit_test(a_watcher_that_is_left_is_found),
        cmocka_unit_test(a_block_lost_when_the_next_allocation_fails_is_found),
        cmocka_unit_test(memory_comes_from_the_scenarios_allocator_which_stays),
        cmocka_unit_test(a_scenario_that_fails_undisturbed_is_run_once),
        cmocka_unit_test(a_setup_that_fails_is_reported),
        cmocka_unit_test(an_open_loop_is_ebusy_and_missing_functions_are_einval),
        cmocka_unit_test(giving_way_after_many_calls_is_a_point_too),
        cmocka_unit_test(random_steps_interleave_and_the_seed_decides_them),
        cmocka_unit_test(a_difference_from_the_model_is_reported_with_its_seed),
        cmocka_unit_test(seconds_make_more_runs),
        cmocka_unit_test(what_random_steps_lose_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
