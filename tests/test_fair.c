/* Fairness: nobody starves others, be it by calls that never wait or by ignoring a cancellation. */
#include "support.h"

enum { BOUND = 65 }; /* calls that nobody may make without giving way: task.h promises it */

static bool ran;

static int run_once(void *arg)
{
    (void)arg;
    ran = true;
    return 0;
}

/* --- Calls that succeed at once --------------------------------------------------------------- */

static int fds[2];
static co_task_t *done_task;

static int call_await_fd(void)
{
    return co_await_fd(fds[0], CO_WRITE);
}
static int call_bad_fd(void)
{
    return co_await_fd(-1, CO_READ) == -EBADF;
}
static int call_wait(void)
{
    return co_wait(&done_task, 1, CO_ALL);
}
static int call_await(void)
{
    return co_await_task(co_task_retain(done_task)) == 9;
}
static int call_gather(void)
{
    return co_gather(co_task_retain(done_task)) == 0;
}
static int call_gather_nothing(void)
{
    return co_gather_tasks(NULL, 0) == 0;
}

static int call_gather_all(void)
{
    co_task_t *task = co_task_retain(done_task);
    return co_gather_all(&task, 1, NULL) == 0;
}

static int call_write_and_read(void)
{
    char byte = 'x';
    return co_write(fds[0], &byte, 1) == 1 && co_read(fds[1], &byte, 1) == 1;
}

static int call_in_timeout(void)
{
    int rc = -1;
    co_timeout(1000) rc = call_wait();
    return rc == 1;
}

static int call_in_shield(void)
{
    int rc = -1;
    co_shield() rc = call_wait();
    return rc == 1;
}

static co_chan_t *chan;
static co_mutex_t mutex;
static co_rwlock_t rwlock;
static co_sem_t sem;

static int call_send(void)
{
    return co_chan_send(chan, NULL) == 0;
}

static int call_mutex(void)
{
    int rc = co_mutex_lock(&mutex);
    co_mutex_unlock(&mutex);
    return rc == 0;
}

static int call_rwlock(void)
{
    int rc = co_rwlock_rdlock(&rwlock);
    co_rwlock_unlock(&rwlock);
    return rc == 0;
}

static int call_sem(void)
{
    int rc = co_sem_acquire(&sem);
    co_sem_release(&sem);
    return rc == 0;
}

static int return_9(void *arg)
{
    (void)arg;
    return 9;
}

/* The spawner is ready at once, and so is the result. */
static int call_eager(void)
{
    co_spawn_options_t eager = {.eager = true};
    return co_await_task(co_spawn_with(&eager, return_9, NULL)) == 9;
}

typedef int call_fn(void);

static int call_until_it_ran(void *arg)
{
    call_fn *call = *(call_fn **)arg;
    int calls = 0;
    done_task = co_spawn(return_9, NULL);
    CHECK_INT(co_yield_now(), 0);
    ran = false;
    CHECK_INT(co_go(run_once, NULL), 0);
    for (; !ran && calls < BOUND; calls++)
        CHECK(call() > 0);
    co_task_release(done_task);
    CHECK(calls > 1 && calls < BOUND);
    return 0;
}

static void check_bound(call_fn *call)
{
    loop_t *loop = open_loop();
    make_socketpair(fds);
    assert_int_equal(co_adopt(fds[0]), 0);
    assert_int_equal(co_adopt(fds[1]), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, call_until_it_ran, &call)), 0);
    assert_int_equal(co_close(fds[0]), 0);
    assert_int_equal(co_close(fds[1]), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void a_task_whose_calls_all_succeed_at_once_gives_way(void **state)
{
    (void)state;
    static call_fn *const calls[] = {
        call_await_fd,       call_bad_fd,     call_wait,       call_await,     call_gather,
        call_gather_nothing, call_gather_all, call_in_timeout, call_in_shield, call_write_and_read,
        call_send,           call_mutex,      call_rwlock,     call_sem,
    };
    chan = co_chan_new(0, CO_UNBOUNDED);
    co_sem_init(&sem, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        check_bound(calls[i]);
    co_chan_free(chan);
}

static int try_often(void *arg)
{
    (void)arg;
    ran = false;
    CHECK_INT(co_go(run_once, NULL), 0);
    for (int i = 0; i < 10 * BOUND; i++) {
        CHECK_INT(co_chan_try_send(chan, NULL), 0);
        CHECK_INT(co_chan_try_recv(chan, NULL), 0);
        CHECK_INT(co_chan_try_recv(chan, NULL), -EAGAIN);
        CHECK_INT(co_mutex_trylock(&mutex), 0);
        co_mutex_unlock(&mutex);
        CHECK_INT(co_sem_tryacquire(&sem), 0);
        co_sem_release(&sem);
    }
    CHECK(!ran);
    return 0;
}

static void the_try_forms_never_give_way(void **state)
{
    (void)state;
    chan = co_chan_new(0, CO_UNBOUNDED);
    co_sem_init(&sem, 1);
    assert_int_equal(run_task(try_often, NULL), 0);
    co_chan_free(chan);
}

static void eager_spawns_do_not_renew_the_budget(void **state)
{
    (void)state;
    check_bound(call_eager);
}

static void set_flag(void *flag)
{
    *(bool *)flag = true;
}

static int call_until_flag(void *arg)
{
    bool *flag = arg;
    done_task = co_spawn(return_9, NULL);
    CHECK_INT(co_yield_now(), 0);
    for (int64_t calls = 0; !*flag && calls < INT64_C(1000000000); calls++)
        CHECK_INT(call_wait(), 1);
    co_task_release(done_task);
    return *flag;
}

static void timers_are_not_starved(void **state)
{
    (void)state;
    bool flag = false;
    loop_t *loop = open_real_loop();
    assert_int_equal(loop_call_later(loop, 2, set_flag, &flag, NULL), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, call_until_flag, &flag)), 1);
    assert_int_equal(close_loop(loop), 0);
}

static int read_and_set(void *flag)
{
    char byte;
    CHECK_INT(co_read(fds[1], &byte, 1), 1);
    set_flag(flag);
    return 0;
}

static int write_then_call(void *flag)
{
    CHECK_INT(co_yield_now(), 0);
    CHECK_INT(co_write(fds[0], "x", 1), 1);
    return call_until_flag(flag);
}

static void fds_are_not_starved(void **state)
{
    (void)state;
    bool flag = false;
    loop_t *loop = open_loop();
    make_socketpair(fds);
    assert_int_equal(co_go(read_and_set, &flag), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, write_then_call, &flag)), 1);
    assert_int_equal(loop_run(loop), 0);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Ignored cancellations -------------------------------------------------------------------- */

static int ignore_cancellation(void *arg)
{
    char byte;
    int calls = 0;
    (void)arg;
    co_task_cancel(co_self());
    ran = false;
    CHECK_INT(co_go(run_once, NULL), 0);
    for (; !ran && calls < BOUND; calls++)
        CHECK_INT(calls % 2 ? co_read(-1, &byte, 1) : co_sleep(-1), -ECANCELED);
    CHECK(calls < BOUND);
    return 0;
}

static void a_task_that_ignores_its_cancellation_does_not_starve_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(ignore_cancellation, NULL), 0);
}

static int ignore_timeout(void *arg)
{
    int calls = 0;
    (void)arg;
    co_timeout(0)
    {
        CHECK_INT(co_sleep(5), -ETIMEDOUT);
        ran = false;
        CHECK_INT(co_go(run_once, NULL), 0);
        for (; !ran && calls < BOUND; calls++)
            CHECK_INT(co_yield_now(), -ETIMEDOUT);
    }
    CHECK(calls < BOUND);
    return 0;
}

static void a_task_that_ignores_a_deadline_does_not_starve_others(void **state)
{
    (void)state;
    assert_int_equal(run_task(ignore_timeout, NULL), 0);
}

/* Its cancelled calls go on between those of the others; the one it ignores is still there. */
static int ignore_for_long(void *arg)
{
    bool *stop = arg;
    int calls = 0;
    while (!*stop && calls < 1000000) {
        CHECK_INT(co_sleep(1000), -ECANCELED);
        calls++;
    }
    return calls < 1000000 ? 0 : 1;
}

static int sleep_and_set(void *flag)
{
    for (int i = 0; i < 10; i++)
        CHECK_INT(co_yield_now(), 0);
    set_flag(flag);
    return 0;
}

static void sleepers_wake_beside_a_task_that_ignores_its_cancellation(void **state)
{
    (void)state;
    bool stop = false;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, ignore_for_long, &stop);
    co_task_cancel(task);
    assert_int_equal(co_go(sleep_and_set, &stop), 0);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Order ------------------------------------------------------------------------------------ */

static int take_turns(void *word)
{
    for (int i = 1; i <= 3; i++) {
        trace("%s%d", (const char *)word, i);
        CHECK_INT(i % 2 ? co_yield_now() : co_sleep(0), 0);
    }
    return 0;
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void tasks_and_calls_take_turns_in_the_order_they_came(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(take_turns, "a"), 0);
    assert_int_equal(loop_call_soon(loop, say, "call", NULL), 0);
    assert_int_equal(co_go(take_turns, "b"), 0);
    assert_int_equal(co_go(take_turns, "c"), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a1 call b1 c1 a2 b2 c2 a3 b3 c3");
    assert_int_equal(close_loop(loop), 0);
}

static int sleep_and_say(void *word)
{
    CHECK_INT(co_sleep(10), 0);
    say(word);
    return 0;
}

static void sleepers_of_one_deadline_wake_in_the_order_they_lay_down(void **state)
{
    (void)state;
    static char *const words[] = {"a", "b", "c", "d", "e"};
    loop_t *loop = open_loop();
    for (int i = 0; i < 5; i++)
        assert_int_equal(co_go(sleep_and_say, words[i]), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a b c d e");
    assert_int_equal(close_loop(loop), 0);
}

static int spawn_on(void *arg)
{
    intptr_t left = (intptr_t)arg;
    if (left > 0 && !ran)
        CHECK_INT(co_go(spawn_on, (void *)(left - 1)), 0);
    return 0;
}

/* A chain of tasks, each of which spawns the next, lets a timer of now through. */
static void a_chain_of_spawns_does_not_starve_timers(void **state)
{
    (void)state;
    ran = false;
    loop_t *loop = open_loop();
    assert_int_equal(loop_call_later(loop, 0, set_flag, &ran, NULL), 0);
    assert_int_equal(co_go(spawn_on, (void *)100000), 0);
    assert_int_equal(loop_run(loop), 0);
    loop_stats_t stats;
    loop_stats(loop, &stats);
    assert_true(ran && stats.tasks_total < 10000);
    assert_int_equal(close_loop(loop), 0);
}

static int yield_once(void *word)
{
    say(word);
    CHECK_INT(co_go(take_turns, "new"), 0);
    CHECK_INT(co_yield_now(), 0);
    say(word);
    return 0;
}

static void a_pass_runs_only_what_was_ready_when_it_began(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(yield_once, "a"), 0);
    assert_int_equal(co_go(yield_once, "b"), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_string_equal(traced(), "a b");
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_string_equal(traced(), "a b new1 a new1 b");
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_whose_calls_all_succeed_at_once_gives_way),
        cmocka_unit_test(the_try_forms_never_give_way),
        cmocka_unit_test(eager_spawns_do_not_renew_the_budget),
        cmocka_unit_test(timers_are_not_starved),
        cmocka_unit_test(fds_are_not_starved),
        cmocka_unit_test(a_task_that_ignores_its_cancellation_does_not_starve_others),
        cmocka_unit_test(a_task_that_ignores_a_deadline_does_not_starve_others),
        cmocka_unit_test(sleepers_wake_beside_a_task_that_ignores_its_cancellation),
        cmocka_unit_test(tasks_and_calls_take_turns_in_the_order_they_came),
        cmocka_unit_test(sleepers_of_one_deadline_wake_in_the_order_they_lay_down),
        cmocka_unit_test(a_chain_of_spawns_does_not_starve_timers),
        cmocka_unit_test(a_pass_runs_only_what_was_ready_when_it_began),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
