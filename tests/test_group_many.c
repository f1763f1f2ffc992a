/* Groups at their limits: a million children, children of children, and the close of the loop, when
 * it has to be by force too. */
#include "support.h"

#include <stdio.h>
#include <sys/wait.h>

struct job {
    const char *name;
    int64_t ms;
    int result;
};

static int work(void *arg)
{
    const struct job *job = arg;
    int rc = job->ms ? co_sleep(job->ms) : 0;
    trace("%s%s", job->name, rc < 0 ? "-" : "");
    return rc < 0 ? rc : job->result;
}

static struct job a = {"a", 5, 1}, for_ever = {"e", -1, 0}, bad = {"bad", 10, -EIO};

/* --- A million -------------------------------------------------------------------------------- */

enum { ALIVE = 1000, TOTAL = 1000000 };
struct crowd {
    co_sem_t room;
    co_group_t *group;
    int born, ended, total;
    size_t blocks, stacks, peak;
};

static int pass_through(void *arg)
{
    struct crowd *crowd = arg;
    CHECK_INT(co_yield_now(), 0);
    crowd->ended++;
    co_sem_release(&crowd->room);
    return 0;
}

static void look(size_t *stacks, size_t *alive, size_t *peak)
{
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    *stacks = stats.stacks;
    *peak = stats.tasks_peak;
    *alive = blocks();
}

static int let_through(void *arg)
{
    struct crowd *crowd = arg;
    int rc = 1;
    co_sem_init(&crowd->room, ALIVE);
    co_group(g, &rc)
    {
        for (; crowd->born < crowd->total; crowd->born++) {
            CHECK_INT(co_sem_acquire(&crowd->room), 0);
            CHECK_INT(co_group_spawn(g, pass_through, crowd), 0);
            if (crowd->born == crowd->total / 10)
                look(&crowd->stacks, &crowd->blocks, &crowd->peak);
        }
    }
    size_t stacks, alive, peak;
    look(&stacks, &alive, &peak);
    CHECK_INT(stacks, crowd->stacks);
    CHECK_INT(alive, crowd->blocks);
    CHECK(peak <= ALIVE + 2);
    CHECK_INT(crowd->ended, crowd->total);
    return rc;
}

static void a_million_children_a_thousand_at_a_time_need_constant_memory(void **state)
{
    (void)state;
    struct crowd crowd = {.total = under_valgrind() || under_asan() ? 20000 : TOTAL};
    assert_int_equal(run_task(let_through, &crowd), 0);
}

/* Each child makes its successor in its own group. */
static int hand_on(void *arg)
{
    struct crowd *crowd = arg;
    CHECK_INT(co_yield_now(), 0);
    crowd->ended++;
    if (crowd->born >= crowd->total)
        return 0;
    crowd->born++;
    return co_group_spawn(crowd->group, hand_on, crowd);
}

static int begin_chain(void *arg)
{
    struct crowd *crowd = arg;
    int rc = 1;
    size_t before = blocks();
    co_group(g, &rc)
    {
        crowd->group = g;
        for (crowd->born = 0; crowd->born < 10; crowd->born++)
            CHECK_INT(co_group_spawn(g, hand_on, crowd), 0);
    }
    loop_stats_t stats;
    loop_stats(loop_current(), &stats);
    CHECK_INT(crowd->ended, crowd->total);
    CHECK(stats.stacks < 40);
    CHECK_INT(blocks(), before);
    return rc;
}

static void children_may_spawn_into_their_own_group_while_it_is_waited_for(void **state)
{
    (void)state;
    struct crowd crowd = {.total = 5000};
    assert_int_equal(run_task(begin_chain, &crowd), 0);
}

static int multiply(void *arg)
{
    struct crowd *crowd = arg;
    crowd->born++;
    if (co_sleep(1) < 0)
        return -ECANCELED;
    int rc = co_group_spawn(crowd->group, multiply, crowd);
    return rc < 0 ? rc : co_group_spawn(crowd->group, multiply, crowd);
}

static int fight(void *arg)
{
    struct crowd *crowd = arg;
    while (crowd->born < crowd->total)
        co_sleep(1);
    return -EIO;
}

static int begin_fight(void *arg)
{
    struct crowd *crowd = arg;
    int rc = 1;
    co_group(g, &rc)
    {
        crowd->group = g;
        CHECK_INT(co_group_spawn(g, multiply, crowd), 0);
        CHECK_INT(co_group_spawn(g, fight, crowd), 0);
    }
    return rc;
}

static void a_failure_ends_children_that_multiply(void **state)
{
    (void)state;
    struct crowd crowd = {.total = 100};
    assert_int_equal(run_task(begin_fight, &crowd), -EIO);
    assert_in_range(crowd.born, 100, 400);
}

/* --- The close of the loop -------------------------------------------------------------------- */

static int linger(void *arg)
{
    const struct job *job = arg;
    int rc = co_sleep(-1);
    co_shield() co_sleep(job->ms);
    trace("%s%s", job->name, rc < 0 ? "!" : "");
    return 0;
}

static int wait_for_two(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, linger, &a), 0);
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
    }
    trace("joined%d", rc);
    return rc;
}

static void closing_the_loop_ends_children_before_their_parent(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_two, NULL);
    for (int i = 0; i < 3; i++)
        loop_run_once(loop, 0);
    co_task_release(task);
    assert_int_equal(close_loop(loop), 3);
    assert_string_equal(traced(), "e- a! joined-125");
    assert_string_equal(reported(), "");
}

/* What follows runs in a child process with an alarm, as it may never end. */
static int shield_for_ever(void *arg)
{
    co_defer(free, malloc(10));
    co_shield() co_sleep(-1);
    return arg != NULL;
}

static int ignore_everything(void *arg)
{
    (void)arg;
    while (co_sleep(-1) < 0)
        ;
    return 0;
}

struct stubborn {
    co_fn *child;
    bool block, thrown;
};

static int wait_for_stubborn(void *arg)
{
    const struct stubborn *how = arg;
    if (how->block) {
        co_group(g, NULL)
        {
            CHECK_INT(co_group_spawn(g, how->child, NULL), 0);
            CHECK_INT(co_group_spawn(g, how->child, NULL), 0);
            if (how->thrown)
                co_throw(-EIO, "thrown");
        }
        return 0;
    }
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, how->child, NULL), 0);
    CHECK_INT(co_group_spawn(&group, how->child, NULL), 0);
    return co_group_wait(&group);
}

static void close_stubborn(const struct stubborn *how)
{
    pid_t child = fork();
    int status;
    if (child == 0) {
        alarm(under_valgrind() ? 20 : 5);
        loop_t *loop = open_loop();
        co_task_release(loop_spawn(loop, wait_for_stubborn, (void *)how));
        for (int i = 0; i < 3; i++)
            loop_run_once(loop, 0);
        int rc = loop_close(loop);
        _exit(rc != 3 ? 1 : blocks() ? 2 : reports() ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_child_shielded_for_ever_does_not_keep_the_loop_from_closing(void **state)
{
    (void)state;
    close_stubborn(&(struct stubborn){shield_for_ever, false, false});
}

static void nor_in_a_block(void **state)
{
    (void)state;
    close_stubborn(&(struct stubborn){shield_for_ever, true, false});
}

static void nor_in_a_block_left_by_a_throw(void **state)
{
    (void)state;
    close_stubborn(&(struct stubborn){shield_for_ever, true, true});
}

static void nor_does_a_child_that_ignores_its_cancellation(void **state)
{
    (void)state;
    close_stubborn(&(struct stubborn){ignore_everything, false, false});
    close_stubborn(&(struct stubborn){ignore_everything, true, false});
}

static int outlive_the_body(void *arg)
{
    trace("born");
    co_shield() co_sleep(-1);
    trace("ended");
    return arg != NULL;
}

static void tell_end(void *arg)
{
    trace("%s", (const char *)arg);
}

static int stay_in_the_body(void *arg)
{
    co_defer(tell_end, arg);
    co_group(g, NULL)
    {
        CHECK_INT(co_group_spawn(g, outlive_the_body, NULL), 0);
        CHECK_INT(co_group_spawn(g, outlive_the_body, NULL), 0);
        co_shield() co_sleep(-1);
    }
    return 0;
}

/* Ended by force in its body, a task still waits for its children, which know its memory. */
static void ended_by_force_in_its_body_a_block_waits_all_the_same(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    trace_clear();
    co_task_release(loop_spawn(loop, stay_in_the_body, "left"));
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 3);
    assert_string_equal(traced(), "born born ended ended left");
}

/* --- Waiting for another's group -------------------------------------------------------------- */

static int wait_for_it(void *group)
{
    int rc = co_group_wait(group);
    trace("rc%d", rc);
    return rc;
}

static int hand_to_another(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &a), 0);
    CHECK_INT(co_group_spawn(&group, work, &bad), 0);
    CHECK_INT(co_await_task(co_spawn(wait_for_it, &group)), -EIO);
    return co_group_wait(&group);
}

static void another_task_than_its_maker_may_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(hand_to_another, NULL), 0);
    assert_string_equal(traced(), "a bad rc-5");
}

static int group_in_child(void *arg)
{
    int rc = 1;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, work, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, work, arg), 0);
    }
    return rc;
}

static int group_of_groups(void *arg)
{
    int rc = 1;
    (void)arg;
    co_group(g, &rc)
    {
        CHECK_INT(co_group_spawn(g, group_in_child, &for_ever), 0);
        CHECK_INT(co_group_spawn(g, group_in_child, &bad), 0);
    }
    return rc;
}

static void a_failure_in_one_group_cancels_the_groups_beside_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(group_of_groups, NULL), -EIO);
    assert_string_equal(traced(), "bad e- e- e-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_children_a_thousand_at_a_time_need_constant_memory),
        cmocka_unit_test(children_may_spawn_into_their_own_group_while_it_is_waited_for),
        cmocka_unit_test(a_failure_ends_children_that_multiply),
        cmocka_unit_test(closing_the_loop_ends_children_before_their_parent),
        cmocka_unit_test(a_child_shielded_for_ever_does_not_keep_the_loop_from_closing),
        cmocka_unit_test(nor_in_a_block),
        cmocka_unit_test(nor_in_a_block_left_by_a_throw),
        cmocka_unit_test(nor_does_a_child_that_ignores_its_cancellation),
        cmocka_unit_test(ended_by_force_in_its_body_a_block_waits_all_the_same),
        cmocka_unit_test(another_task_than_its_maker_may_wait),
        cmocka_unit_test(a_failure_in_one_group_cancels_the_groups_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
