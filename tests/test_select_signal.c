/* Signals as cases of a select: once asked for, none is lost, and none meets its default action
 * until the loop is closed. */
#include "test_select.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t plain;

static void plain_handler(int signo)
{
    (void)signo;
    plain++;
}

static bool is_plain(int signo)
{
    struct sigaction action;
    return sigaction(signo, NULL, &action) == 0 && action.sa_handler == plain_handler;
}

static int set_up(void **state)
{
    (void)state;
    plain = 0;
    signal(SIGUSR1, plain_handler);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    signal(SIGUSR1, SIG_DFL);
    return 0;
}

/* Whether SIGUSR1 is there at once. */
static bool has_come(void)
{
    co_case_t cases[] = {CO_SIGNAL(SIGUSR1), CO_AFTER(0)};
    int i = co_select(cases, 2);
    CHECK(i >= 0);
    return i == 0;
}

/* --- None is lost ----------------------------------------------------------------------------- */

/* It comes while the select waits, and so does an item. */
static int lose_to_an_item(void *arg)
{
    (void)arg;
    open_chans(0);
    for (int first = 0; first < 2; first++) {
        int n = 0;
        struct selector selector = {.cases = {CO_RECV(chans[0], &n), CO_SIGNAL(SIGUSR1)}, .n = 2};
        park_selector(&selector);
        if (first)
            CHECK_INT(put(chans[0], 7), 0);
        raise(SIGUSR1);
        if (!first)
            CHECK_INT(put(chans[0], 7), 0);
        join_selector(&selector);
        CHECK_INT(selector.rc, 0);
        CHECK(has_come());
        CHECK(!has_come());
    }
    free_chans();
    return 0;
}

static void one_that_comes_when_another_case_happens_is_told_by_the_next_select(void **state)
{
    (void)state;
    assert_int_equal(run_task(lose_to_an_item, NULL), 0);
}

static int work_between_selects(void *arg)
{
    (void)arg;
    CHECK(!has_come());
    raise(SIGUSR1);
    raise(SIGUSR1); /* several are one */
    CHECK(has_come());
    raise(SIGUSR1);
    settle();
    co_sleep(1000);
    raise(SIGUSR1);
    CHECK(has_come());
    CHECK(!has_come());
    CHECK_INT(plain, 0);
    return 0;
}

static void one_that_comes_between_two_selects_is_told_by_the_second(void **state)
{
    (void)state;
    assert_int_equal(run_task(work_between_selects, NULL), 0);
}

/* A select that need not wait has asked for the signal all the same, wherever it began to try. */
static int find_an_item(void *arg)
{
    int n = 0;
    (void)arg;
    open_chans(1);
    CHECK_INT(put(chans[0], 7), 0);
    co_case_t cases[] = {CO_RECV(chans[0], &n), CO_SIGNAL(SIGUSR1)};
    CHECK_INT(co_select(cases, 2), 0);
    raise(SIGUSR1);
    CHECK_INT(co_select(cases, 2), 1);
    CHECK_INT(plain, 0);
    free_chans();
    return 0;
}

static void a_select_that_another_case_ends_at_once_has_asked_for_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        loop_t *loop = open_loop_with(&(loop_options_t){.virtual_time = true, .seed = seed});
        assert_int_equal(run_task_in(loop, "task", find_an_item, NULL), 0);
    }
}

/* An item is there whenever the select asks. */
static int always_find_an_item(void *arg)
{
    int n = 0, signals = 0;
    (void)arg;
    open_chans(1);
    co_case_t cases[] = {CO_RECV(chans[0], &n), CO_SIGNAL(SIGUSR1)};
    CHECK(!has_come());
    raise(SIGUSR1);
    settle();
    for (int round = 0; round < 100; round++) {
        (void)put(chans[0], 7);
        signals += co_select(cases, 2) == 1;
    }
    CHECK_INT(signals, 1);
    free_chans();
    return 0;
}

static void one_that_is_there_is_not_starved_by_other_cases(void **state)
{
    (void)state;
    assert_int_equal(run_task(always_find_an_item, NULL), 0);
}

/* Of the selects that wait all are told, and of later ones none. */
static int tell_who_waits(void *arg)
{
    struct selector a = {.cases = {CO_SIGNAL(SIGUSR1)}, .n = 1}, b = a;
    (void)arg;
    park_selector(&a);
    park_selector(&b);
    raise(SIGUSR1);
    join_selector(&a);
    join_selector(&b);
    CHECK_INT(a.rc + b.rc, 0);
    CHECK(!has_come());
    park_selector(&a);
    co_task_cancel(a.task); /* it waits no more when the signal comes */
    raise(SIGUSR1);
    CHECK_INT(co_await_task(a.task), 0);
    CHECK_INT(a.rc, -ECANCELED);
    CHECK(has_come());
    CHECK(!has_come());
    return 0;
}

static void it_is_told_to_those_who_wait_and_else_to_the_next(void **state)
{
    (void)state;
    assert_int_equal(run_task(tell_who_waits, NULL), 0);
}

/* --- The disposition -------------------------------------------------------------------------- */

static int ask_then_wait(void *arg)
{
    CHECK(!has_come());
    CHECK(!is_plain(SIGUSR1));
    CHECK_INT(co_sleep(*(int *)arg), -ECANCELED);
    raise(SIGUSR1); /* while the loop is being closed */
    co_shield() CHECK(has_come());
    return 0;
}

static void loop_close_brings_the_disposition_back_when_the_tasks_have_ended(void **state)
{
    (void)state;
    int for_ever = -1;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, ask_then_wait, &for_ever));
    for (int i = 0; i < 4; i++)
        (void)loop_run_once(loop, 0);
    assert_false(is_plain(SIGUSR1));
    raise(SIGUSR1);
    assert_int_equal(close_loop(loop), 1);
    assert_int_equal(plain, 0);
    assert_true(is_plain(SIGUSR1));
    raise(SIGUSR1);
    assert_int_equal(plain, 1);
}

static void on_signal(void *arg)
{
    (void)arg;
    trace("handler");
}

static int ask_beside_a_handler(void *arg)
{
    loop_t *loop = loop_current();
    (void)arg;
    CHECK_INT(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    CHECK_INT(loop_remove_signal_handler(loop, SIGUSR1), 1);
    CHECK(is_plain(SIGUSR1));
    CHECK_INT(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    raise(SIGUSR1);
    settle();
    co_sleep(1);
    CHECK(!has_come()); /* nobody had asked when it came */
    raise(SIGUSR1);
    co_sleep(1);
    CHECK(has_come()); /* the handler was told too, and takes nothing away */
    CHECK_INT(loop_remove_signal_handler(loop, SIGUSR1), 1);
    CHECK_INT(loop_remove_signal_handler(loop, SIGUSR1), 0);
    CHECK(!is_plain(SIGUSR1));
    raise(SIGUSR1);
    CHECK(has_come());
    return 0;
}

static void a_removed_handler_leaves_what_a_select_has_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(ask_beside_a_handler, NULL), 0);
    assert_string_equal(traced(), "handler handler");
    assert_true(is_plain(SIGUSR1));
}

/* --- Loops ------------------------------------------------------------------------------------ */

static int ask(void *arg)
{
    *(int *)arg += has_come();
    return 0;
}

static void run_ask(loop_t *loop, int *count)
{
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, ask, count)), 0);
}

static void every_loop_that_has_asked_is_told(void **state)
{
    (void)state;
    int counts[2] = {0};
    loop_t *a = open_loop(), *b = loop_new(&(loop_options_t){.virtual_time = true});
    run_ask(a, &counts[0]);
    raise(SIGUSR1);
    run_ask(b, &counts[1]); /* it came too early for this one */
    assert_int_equal(counts[1], 0);
    run_ask(a, &counts[0]);
    assert_int_equal(counts[0], 1);
    raise(SIGUSR1);
    run_ask(a, &counts[0]);
    assert_int_equal(close_loop(a), 0);
    assert_false(is_plain(SIGUSR1));
    run_ask(b, &counts[1]);
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], 1);
    assert_int_equal(close_loop(b), 0);
    assert_true(is_plain(SIGUSR1));
    assert_int_equal(plain, 0);
}

static int wait_for_signal(void *arg)
{
    co_case_t signal = CO_SIGNAL(SIGUSR1);
    (void)arg;
    return co_select(&signal, 1);
}

static void a_forked_child_that_closes_the_loop_has_the_disposition_back(void **state)
{
    (void)state;
    int status;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_signal, NULL);
    (void)loop_run_once(loop, 0);
    pid_t child = fork();
    if (child == 0) {
        if (loop_close(loop) != 0)
            _exit(1);
        _exit(is_plain(SIGUSR1) ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(is_plain(SIGUSR1));
    raise(SIGUSR1);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int ask_and_leave_one(void *arg)
{
    co_event_t never = {0};
    (void)arg;
    CHECK(has_come()); /* it stayed */
    raise(SIGUSR1);
    settle();
    return co_event_wait(&never);
}

static void one_that_nobody_waits_for_keeps_no_loop_running(void **state)
{
    (void)state;
    int count = 0;
    loop_t *loop = open_loop();
    alarm(20);
    run_ask(loop, &count);
    raise(SIGUSR1);
    assert_int_equal(loop_run(loop), 0);
    co_task_release(loop_spawn(loop, ask_and_leave_one, NULL));
    assert_int_equal(loop_run(loop), -EDEADLK);
    alarm(0);
    assert_int_equal(reports(), 1);
    assert_int_equal(close_loop(loop), 1);
}

static int be_refused(void *arg)
{
    int n = 0;
    (void)arg;
    open_chans(1);
    CHECK_INT(put(chans[0], 7), 0);
    co_case_t cases[] = {CO_RECV(chans[0], &n), CO_SIGNAL(SIGUSR1)};
    for (int i = 0; i < 10; i++)
        CHECK_INT(co_select(cases, 2), -EAGAIN);
    CHECK_INT(take(chans[0]), 7);
    free_chans();
    return 0;
}

static void the_sixty_fifth_loop_is_refused_and_no_case_happens(void **state)
{
    (void)state;
    loop_t *loop = open_loop(), *loops[64];
    for (int i = 0; i < 64; i++) {
        loops[i] = loop_new(NULL);
        assert_non_null(loops[i]);
        assert_int_equal(loop_add_signal_handler(loops[i], SIGUSR1, on_signal, NULL), 0);
    }
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, be_refused, NULL)), 0);
    for (int i = 0; i < 64; i++)
        assert_int_equal(loop_close(loops[i]), 0);
    assert_int_equal(close_loop(loop), 0);
    assert_true(is_plain(SIGUSR1));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_that_comes_when_another_case_happens_is_told_by_the_next_select),
        TEST(one_that_comes_between_two_selects_is_told_by_the_second),
        TEST(a_select_that_another_case_ends_at_once_has_asked_for_it),
        TEST(one_that_is_there_is_not_starved_by_other_cases),
        TEST(it_is_told_to_those_who_wait_and_else_to_the_next),
        TEST(loop_close_brings_the_disposition_back_when_the_tasks_have_ended),
        TEST(a_removed_handler_leaves_what_a_select_has_asked_for),
        TEST(every_loop_that_has_asked_is_told),
        TEST(a_forked_child_that_closes_the_loop_has_the_disposition_back),
        TEST(one_that_nobody_waits_for_keeps_no_loop_running),
        TEST(the_sixty_fifth_loop_is_refused_and_no_case_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
