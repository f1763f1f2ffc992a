/* Groups: all children end before co_group_wait does, the first failure cancels the rest, and
 * however the waiter or the group is cancelled, nobody is left behind. The block form:
 * test_group_block.c. */
#include "support.h"

#include <stdio.h>

struct job {
    const char *name;
    int64_t ms;
    int result;
};

/* Sleeps, traces how that ended ("a" or "a-"), and returns its result, or the code. */
static int work(void *arg)
{
    const struct job *job = arg;
    int rc = job->ms ? co_sleep(job->ms) : 0;
    trace("%s%s", job->name, rc < 0 ? "-" : "");
    return rc < 0 ? rc : job->result;
}

/* Cancelled, it takes its time to clean up, and returns its result. */
static int linger(void *arg)
{
    const struct job *job = arg;
    int rc = co_sleep(-1);
    co_shield() co_sleep(job->ms);
    trace("%s%s", job->name, rc < 0 ? "!" : "");
    return job->result;
}

static struct job a = {"a", 5, 1}, b = {"b", 10, 2}, c = {"c", 15, 3}, now = {"now", 0, 4};
static struct job for_ever = {"e", -1, 0}, bad = {"bad", 10, -EIO}, worse = {"worse", 20, -EPIPE};
static struct job slow = {"slow", 30, 5}, slow_bad = {"slow_bad", 30, -ENOENT};

/* --- Waiting ---------------------------------------------------------------------------------- */

static int wait_for_three(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &c), 0);
    CHECK_INT(co_group_spawn(&group, work, &now), 0);
    CHECK_INT(co_group_spawn(&group, work, &b), 0);
    trace("wait");
    CHECK_INT(co_group_wait(&group), 0);
    trace("joined");
    CHECK_INT(co_group_wait(&group), 0); /* nobody left */
    return 0;
}

static void it_waits_for_all_and_returns_0(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_three, NULL), 0);
    assert_string_equal(traced(), "wait now b c joined");
}

static int wait_for_none(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    if (arg)
        co_group_cancel(&group);
    return co_group_wait(&group);
}

static void an_empty_group_is_waited_for_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_none, NULL), 0);
    assert_int_equal(run_task(wait_for_none, "cancelled"), 0);
}

static int wait_for_ended(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, arg), 0);
    CHECK_INT(co_sleep(50), 0);
    return co_group_wait(&group);
}

static void children_that_ended_before_count(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_for_ended, &a), 0);
    assert_int_equal(run_task(wait_for_ended, &bad), -EIO);
}

/* --- Failures --------------------------------------------------------------------------------- */

static int fail_among_others(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &a), 0);
    CHECK_INT(co_group_spawn(&group, work, &worse), 0);
    CHECK_INT(co_group_spawn(&group, linger, &slow), 0);
    CHECK_INT(co_group_spawn(&group, work, &bad), 0);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(co_group_wait(&group), -EIO);
    trace("joined");
    return co_yield_now(); /* the caller itself is not cancelled */
}

static void the_first_failure_cancels_the_others_which_are_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(fail_among_others, NULL), 0);
    assert_string_equal(traced(), "a bad worse- e- slow! joined");
}

static int fail_twice(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &bad), 0);
    CHECK_INT(co_group_spawn(&group, linger, &slow_bad), 0);
    return co_group_wait(&group);
}

static void a_later_failure_goes_to_the_exception_handler(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, fail_twice, NULL)), -EIO);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "'linger'"));
    assert_non_null(strstr(reported(), "|-2|"));
    assert_int_equal(close_loop(loop), 0);
}

static int fail_with_words(void *arg)
{
    return arg ? co_fail(-ENOENT, "no %s", (const char *)arg) : co_fail(-EIO, "later");
}

static int throw_words(void *arg)
{
    co_throw(-ENOENT, "no %s", (const char *)arg);
}

static int take_words(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(co_group_spawn(&group, *(co_fn **)arg, "bread"), 0);
    CHECK_INT(co_group_wait(&group), -ENOENT);
    const co_error_t *error = co_task_error(co_self());
    CHECK(error && error->code == -ENOENT && strcmp(error->message, "no bread") == 0);
    return 0;
}

static void the_message_of_the_first_failure_becomes_the_callers(void **state)
{
    (void)state;
    assert_int_equal(run_task(take_words, (&(co_fn *){fail_with_words})), 0);
    assert_int_equal(run_task(take_words, (&(co_fn *){throw_words})), 0);
}

static int cancel_itself(void *arg)
{
    (void)arg;
    co_task_cancel(co_self());
    return co_yield_now();
}

static int return_ecanceled(void *arg)
{
    (void)arg;
    return -ECANCELED;
}

static int wait_beside(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, *(co_fn **)arg, NULL), 0);
    CHECK_INT(co_group_spawn(&group, work, &a), 0);
    return co_group_wait(&group);
}

static void a_child_cancelled_on_its_own_is_no_failure(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_beside, (&(co_fn *){cancel_itself})), 0);
    assert_string_equal(traced(), "a");
    assert_int_equal(run_task(wait_beside, (&(co_fn *){return_ecanceled})), -ECANCELED);
    assert_string_equal(traced(), "a-"); /* nobody had cancelled it */
}

static int use_again(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(co_group_spawn(&group, work, &bad), 0);
        CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
        CHECK_INT(co_group_wait(&group), -EIO);
        CHECK_INT(co_group_spawn(&group, work, &a), 0);
        CHECK_INT(co_group_wait(&group), 0);
        CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
        co_group_cancel(&group);
        CHECK_INT(co_group_wait(&group), 0);
    }
    return 0;
}

static void a_group_can_be_used_again(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_again, NULL), 0);
    assert_string_equal(traced(), "bad e- a e- bad e- a e- bad e- a e-");
}

/* --- Cancelling ------------------------------------------------------------------------------- */

static int wait_and_go_on(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(co_group_spawn(&group, linger, arg), 0);
    CHECK_INT(co_group_spawn(&group, work, &a), 0);
    int rc = co_group_wait(&group);
    trace("joined");
    CHECK_INT(co_yield_now(), -ECANCELED); /* it still stands */
    CHECK_INT(co_group_wait(&group), -ECANCELED);
    return rc;
}

static int cancel_waiter(void *arg)
{
    co_task_t *task = co_spawn(wait_and_go_on, arg);
    CHECK_INT(co_sleep(10), 0);
    co_task_cancel(task);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(task); /* does not hurry those that clean up */
    co_shield() return co_await_task(task);
    return 0;
}

static void a_cancelled_waiter_cancels_all_and_waits_for_them(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_waiter, &slow), -ECANCELED);
    assert_string_equal(traced(), "a e- slow! joined");
    assert_int_equal(run_task(cancel_waiter, &slow_bad), -ENOENT); /* a failure goes before */
    assert_string_equal(traced(), "a e- slow_bad! joined");
}

static int wait_in_time(void *arg)
{
    co_group_t group;
    int rc = 1;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &a), 0);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(co_group_spawn(&group, linger, &slow), 0);
    co_timeout(10) rc = co_group_wait(&group);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_group_spawn(&group, work, &now), 0);
    return co_group_wait(&group);
}

static void a_waiter_out_of_time_cancels_all_and_waits_for_them(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_time, NULL), 0);
    assert_string_equal(traced(), "a e- slow! now");
}

static int wait_when_cancelled(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    co_task_cancel(co_self());
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0); /* a child does not inherit it */
    CHECK_INT(co_group_spawn(&group, linger, &slow), 0);
    return co_group_wait(&group);
}

static void a_waiter_that_was_cancelled_before_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_when_cancelled, NULL), -ECANCELED);
    assert_string_equal(traced(), "e- slow!");
}

static int spawn_into_ending(void *arg)
{
    co_group_t *group = arg;
    CHECK_INT(co_sleep(-1), -ECANCELED);
    CHECK_INT(co_group_spawn(group, work, &now), -ECANCELED);
    co_shield() co_sleep(5);
    CHECK_INT(co_group_spawn(group, work, &now), -ECANCELED);
    return 0;
}

static int cancel_group(void *arg)
{
    co_group_t group;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, spawn_into_ending, &group), 0);
    CHECK_INT(co_yield_now(), 0);
    if (arg)
        co_group_cancel(&group);
    else
        CHECK_INT(co_group_spawn(&group, work, &bad), 0);
    CHECK_INT(co_sleep(11), 0);
    CHECK_INT(co_group_spawn(&group, work, &now), -ECANCELED);
    CHECK_INT(co_group_wait(&group), arg ? 0 : -EIO);
    CHECK_INT(co_group_spawn(&group, work, &now), 0);
    return co_group_wait(&group);
}

static void a_group_that_is_ending_takes_no_more_children(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_group, "cancel"), 0);
    assert_string_equal(traced(), "now");
    assert_int_equal(run_task(cancel_group, NULL), 0);
    assert_string_equal(traced(), "bad now");
}

static int cancel_my_group(void *group)
{
    co_group_cancel(group);
    trace("cancelled");
    return co_yield_now();
}

static int be_cancelled_by_child(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(co_group_spawn(&group, cancel_my_group, &group), 0);
    CHECK_INT(co_group_wait(&group), 0);
    return co_yield_now();
}

static void a_child_may_cancel_its_group(void **state)
{
    (void)state;
    assert_int_equal(run_task(be_cancelled_by_child, NULL), 0);
    assert_string_equal(traced(), "cancelled e-");
}

static void cancel_from_call(void *group)
{
    co_group_cancel(group);
}

static int be_cancelled_by_callback(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    CHECK_INT(loop_call_later(loop_current(), 5, cancel_from_call, &group, NULL), 0);
    return co_group_wait(&group);
}

static void a_callback_may_cancel_a_group(void **state)
{
    (void)state;
    assert_int_equal(run_task(be_cancelled_by_callback, NULL), 0);
    assert_string_equal(traced(), "e-");
}

/* --- In one moment ---------------------------------------------------------------------------- */

static int end_and_cancel(void *arg)
{
    co_task_t *waiter = arg;
    co_task_cancel(waiter);
    return 0; /* the last child ends in the pass in which its waiter is cancelled */
}

static int wait_to_be_cancelled(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, end_and_cancel, co_self()), 0);
    int rc = co_group_wait(&group);
    CHECK(rc == 0 || rc == -ECANCELED);
    return co_yield_now();
}

static void the_last_child_may_end_and_cancel_its_waiter_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_to_be_cancelled, NULL), -ECANCELED);
}

struct late {
    co_group_t group;
    int rc;
};

static int wait_for_late(void *arg)
{
    struct late *late = arg;
    CHECK_INT(co_group_spawn(&late->group, work, &now), 0);
    late->rc = co_group_wait(&late->group);
    trace("joined");
    return 0;
}

static int spawn_late(void *arg)
{
    struct late late = {.rc = 1};
    (void)arg;
    co_group_init(&late.group);
    co_task_t *waiter = co_spawn(wait_for_late, &late);
    CHECK_INT(co_yield_now(), 0); /* it waits; its child is ready */
    CHECK_INT(co_yield_now(), 0); /* its child has ended, it has not gone on */
    CHECK_INT(co_group_spawn(&late.group, work, &b), 0);
    CHECK_INT(co_await_task(waiter), 0);
    return late.rc;
}

/* Waits "until no child is left"; nothing failed and nobody cancelled anything. */
static void a_child_that_comes_when_the_last_one_has_ended_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_late, NULL), 0);
    assert_string_equal(traced(), "now b joined");
}

/* --- Refusals --------------------------------------------------------------------------------- */

static int wait_for_own_group(void *group)
{
    CHECK_INT(co_group_wait(group), -EDEADLK);
    trace("refused");
    return 0;
}

static int spawn_one_that_waits(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, wait_for_own_group, &group), 0);
    CHECK_INT(co_group_spawn(&group, NULL, NULL), -EINVAL);
    return co_group_wait(&group);
}

static void a_child_cannot_wait_for_its_group_nor_be_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(spawn_one_that_waits, NULL), 0);
    assert_string_equal(traced(), "refused");
}

static void without_a_loop_or_coroutine_calls_are_refused(void **state)
{
    (void)state;
    co_group_t group;
    co_group_init(&group);
    assert_int_equal(co_group_spawn(&group, work, &now), -EPERM);
    loop_t *loop = open_loop();
    assert_int_equal(co_group_wait(&group), -EPERM);
    assert_int_equal(co_group_spawn(&group, work, &now), 0); /* spawning is for anybody */
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "now");
    assert_int_equal(close_loop(loop), 0);
}

static int spawn_without_memory(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, work, &for_ever), 0);
    int rc = 0, n = 0;
    fail_allocation(1, true);
    while (rc == 0 && n++ < 10000)
        rc = co_group_spawn(&group, cancel_itself, NULL);
    fail_allocation(0, false);
    CHECK_INT(rc, n > 10000 ? 0 : -ENOMEM); /* or else a child needs no memory but stacks */
    co_group_cancel(&group);
    return co_group_wait(&group);
}

static void without_memory_a_child_is_refused_and_the_others_stay(void **state)
{
    (void)state;
    if (!under_valgrind() && !under_asan())
        assert_int_equal(run_task(spawn_without_memory, NULL), 0);
}

static int await_parent(void *parent)
{
    CHECK_INT(co_await_task(parent), -EDEADLK);
    trace("refused");
    return 0;
}

static int be_awaited_by_child(void *arg)
{
    co_group_t group;
    (void)arg;
    co_group_init(&group);
    CHECK_INT(co_group_spawn(&group, await_parent, co_self()), 0);
    return co_group_wait(&group);
}

/* co_await_task: "-EDEADLK: the task is the caller or waits for it" */
static void a_child_cannot_await_who_waits_for_its_group(void **state)
{
    (void)state;
    assert_int_equal(run_task(be_awaited_by_child, NULL), 0);
    assert_string_equal(traced(), "refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_for_all_and_returns_0),
        cmocka_unit_test(an_empty_group_is_waited_for_at_once),
        cmocka_unit_test(children_that_ended_before_count),
        cmocka_unit_test(the_first_failure_cancels_the_others_which_are_waited_for),
        cmocka_unit_test(a_later_failure_goes_to_the_exception_handler),
        cmocka_unit_test(the_message_of_the_first_failure_becomes_the_callers),
        cmocka_unit_test(a_child_cancelled_on_its_own_is_no_failure),
        cmocka_unit_test(a_group_can_be_used_again),
        cmocka_unit_test(a_cancelled_waiter_cancels_all_and_waits_for_them),
        cmocka_unit_test(a_waiter_out_of_time_cancels_all_and_waits_for_them),
        cmocka_unit_test(a_waiter_that_was_cancelled_before_leaves_nothing_behind),
        cmocka_unit_test(a_group_that_is_ending_takes_no_more_children),
        cmocka_unit_test(a_child_may_cancel_its_group),
        cmocka_unit_test(a_callback_may_cancel_a_group),
        cmocka_unit_test(the_last_child_may_end_and_cancel_its_waiter_at_once),
        cmocka_unit_test(a_child_that_comes_when_the_last_one_has_ended_is_waited_for),
        cmocka_unit_test(a_child_cannot_wait_for_its_group_nor_be_nothing),
        cmocka_unit_test(without_a_loop_or_coroutine_calls_are_refused),
        cmocka_unit_test(without_memory_a_child_is_refused_and_the_others_stay),
        cmocka_unit_test(a_child_cannot_await_who_waits_for_its_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
