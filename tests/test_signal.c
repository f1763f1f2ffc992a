/* Signals as calls in the loop. */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

static loop_t *loop;

static void finish(const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), expected);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void add(int signo, char *word)
{
    assert_int_equal(loop_add_signal_handler(loop, signo, say, word), 0);
}

static void once(void)
{
    (void)loop_run_once(loop, 0);
}

static void a_signal_becomes_a_call_in_the_next_pass(void **state)
{
    (void)state;
    loop = open_loop();
    add(SIGUSR1, "usr1");
    raise(SIGUSR1);
    assert_string_equal(traced(), "");
    once();
    once();
    assert_string_equal(traced(), "usr1");
    raise(SIGUSR1);
    once();
    finish("usr1 usr1");
}

static void signals_faster_than_the_loop_are_one_call_each(void **state)
{
    (void)state;
    loop = open_loop();
    add(SIGUSR2, "usr2");
    add(SIGUSR1, "usr1");
    for (int i = 0; i < 3; i++) {
        raise(SIGUSR2);
        raise(SIGUSR1);
    }
    once();
    once();
    assert_true(strcmp(traced(), "usr1 usr2") == 0 || strcmp(traced(), "usr2 usr1") == 0);
    finish(traced());
}

static void handlers_alone_do_not_keep_the_loop_running(void **state)
{
    (void)state;
    loop = open_loop();
    add(SIGUSR1, "no");
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    finish("");
}

static void raise_it(void *arg)
{
    raise(*(int *)arg);
}

static void a_signal_wakes_a_loop_that_waits(void **state)
{
    (void)state;
    int signo = SIGTERM;
    loop = open_real_loop();
    loop_hold(loop);
    assert_int_equal(loop_add_signal_handler(loop, SIGTERM, stop, NULL), 0);
    assert_int_equal(loop_call_later(loop, 2, raise_it, &signo, NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    loop_release(loop);
    finish("");
}

static void *send_to_process(void *arg)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, *(int *)arg);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), *(int *)arg); /* handled before it returns, as all others block the signal */
    return NULL;
}

/* Were the signal blocked only later, it might be handed from thread to thread, and come as this
 * one ends: ThreadSanitizer loses it then. */
static void a_signal_that_another_thread_gets_wakes_the_loop_too(void **state)
{
    (void)state;
    int signo = SIGUSR1;
    sigset_t set, old;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, stop, NULL), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    assert_int_equal(pthread_create(&thread, NULL, send_to_process, &signo), 0);
    assert_int_equal(loop_run(loop), 1);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    loop_release(loop);
    finish("");
}

#ifdef SIGRTMIN
static void real_time_signals_are_signals_like_others(void **state)
{
    (void)state;
    int kept = under_emulator() ? 2 : under_valgrind() ? 1 : 0, last = SIGRTMAX - kept;
    loop = open_loop();
    add(SIGRTMIN, "min");
    add(last, "max");
    raise(last);
    once();
    raise(SIGRTMIN);
    once();
    finish("max min");
}
#else
ONLY_ON_LINUX(real_time_signals_are_signals_like_others)
#endif

/* --- Replacing and removing ------------------------------------------------------------------- */

static void a_second_call_replaces_the_handler_even_while_a_signal_is_pending(void **state)
{
    (void)state;
    loop = open_loop();
    add(SIGUSR1, "no");
    raise(SIGUSR1);
    add(SIGUSR1, "yes");
    once();
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 0);
    finish("yes");
}

static void a_handler_removed_while_its_signal_is_pending_is_not_called(void **state)
{
    (void)state;
    loop = open_loop();
    add(SIGUSR1, "no");
    raise(SIGUSR1);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    add(SIGUSR1, "no");
    once();
    once();
    finish("");
}

static void remove_both(void *word)
{
    say(word);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR2), 1);
}

static void a_handler_removed_by_another_of_the_same_pass_is_not_called(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, remove_both, "x"), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR2, remove_both, "x"), 0);
    raise(SIGUSR2);
    raise(SIGUSR1);
    once();
    once();
    finish("x");
}

static void raise_again(void *word)
{
    say(word);
    if (strcmp(word, "again") == 0)
        return;
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, raise_again, "again"), 0);
    raise(SIGUSR1);
}

static void a_signal_during_its_handler_is_another_call(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, raise_again, "first"), 0);
    raise(SIGUSR1);
    once();
    assert_string_equal(traced(), "first");
    once();
    once();
    finish("first again");
}

/* --- The disposition -------------------------------------------------------------------------- */

static volatile sig_atomic_t plain;

static void plain_handler(int signo)
{
    plain = signo;
}

static void expect_plain_handler(int signo)
{
    plain = 0;
    raise(signo);
    assert_int_equal(plain, signo);
}

static void the_previous_disposition_comes_back_with_the_last_removal(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = plain_handler, .sa_flags = SA_NODEFER}, now;
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    loop = open_loop();
    loop_t *other = loop_new(NULL);
    add(SIGUSR1, "usr1");
    assert_int_equal(loop_add_signal_handler(other, SIGUSR1, say, "other"), 0);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    plain = 0;
    raise(SIGUSR1);
    assert_int_equal(plain, 0);
    assert_int_equal(loop_remove_signal_handler(other, SIGUSR1), 1);
    expect_plain_handler(SIGUSR1);
    sigaction(SIGUSR1, NULL, &now);
    assert_true(now.sa_flags & SA_NODEFER && sigismember(&now.sa_mask, SIGUSR2));
    assert_int_equal(loop_close(other), 0);
    signal(SIGUSR1, SIG_DFL);
    finish("");
}

static void loop_close_removes_the_handlers(void **state)
{
    (void)state;
    signal(SIGUSR1, plain_handler);
    loop = open_loop();
    add(SIGUSR1, "no");
    raise(SIGUSR1);
    finish("");
    expect_plain_handler(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
}

static void what_cannot_be_handled_is_refused(void **state)
{
    (void)state;
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,    SIGILL,
                                  0,       -1,      65,      32,     INT32_MAX, INT32_MIN};
    loop = open_loop();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(loop_add_signal_handler(loop, refused[i], say, "no"), -EINVAL);
        assert_int_equal(loop_remove_signal_handler(loop, refused[i]), 0);
    }
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, NULL, NULL), -EINVAL);
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 0);
    finish("");
}

static void without_memory_a_handler_is_refused_and_the_disposition_left(void **state)
{
    (void)state;
    signal(SIGUSR1, plain_handler);
    loop = open_loop();
    fail_allocation(1, true);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, say, "no"), -ENOMEM);
    fail_allocation(0, false);
    expect_plain_handler(SIGUSR1);
    add(SIGUSR1, "yes");
    raise(SIGUSR1);
    once();
    finish("yes");
    signal(SIGUSR1, SIG_DFL);
}

/* --- Several loops ---------------------------------------------------------------------------- */

static void several_loops_of_one_thread_handle_the_same_signal(void **state)
{
    (void)state;
    loop = open_loop();
    loop_t *other = loop_new(NULL);
    add(SIGUSR1, "a");
    assert_int_equal(loop_add_signal_handler(other, SIGUSR1, say, "b"), 0);
    raise(SIGUSR1);
    (void)loop_run_once(other, 0);
    once();
    (void)loop_run_once(other, 0);
    assert_string_equal(traced(), "b a");
    assert_int_equal(loop_close(other), 0);
    raise(SIGUSR1);
    once();
    finish("b a a");
}

enum { LOOPS = 4 };
static atomic_int listening, called;

static void count(void *own)
{
    atomic_fetch_add(&called, 1);
    loop_stop(own);
}

static void *listen_in_own_loop(void *failed)
{
    loop_t *own = loop_new(NULL);
    loop_hold(own);
    int rc = loop_add_signal_handler(own, SIGUSR1, count, own);
    atomic_fetch_add(&listening, 1);
    rc = rc == 0 ? loop_run(own) : rc;
    loop_close(own);
    return rc == 1 ? NULL : failed;
}

static void loops_in_several_threads_all_hear_a_signal_of_the_process(void **state)
{
    (void)state;
    pthread_t threads[LOOPS];
    void *failed[LOOPS];
    loop = open_real_loop();
    atomic_store(&listening, 0);
    atomic_store(&called, 0);
    loop_hold(loop);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, count, loop), 0);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, listen_in_own_loop, &loop), 0);
    while (atomic_load(&listening) < LOOPS)
        sched_yield();
    kill(getpid(), SIGUSR1);
    assert_int_equal(loop_run(loop), 1);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], &failed[i]);
    for (int i = 0; i < LOOPS; i++)
        assert_null(failed[i]);
    assert_int_equal(atomic_load(&called), LOOPS + 1);
    loop_release(loop);
    finish("");
}

static void *come_and_go(void *failed)
{
    int done = 0;
    for (; done < 100; done++) {
        loop_t *own = loop_new(NULL);
        if (!own || loop_add_signal_handler(own, SIGUSR1, say, NULL) != 0 || loop_close(own) != 0)
            break;
    }
    atomic_fetch_add(&called, 1);
    return done == 100 ? NULL : failed;
}

static void ignore(void *arg)
{
    (void)arg;
}

/* Signals while loops come and go: nobody may write to the wake fd of a loop that is closed. */
static void loops_come_and_go_in_a_storm_of_signals(void **state)
{
    (void)state;
    pthread_t threads[2];
    void *failed[2];
    loop = open_real_loop();
    atomic_store(&called, 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, ignore, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &loop), 0);
    while (atomic_load(&called) < 2) {
        kill(getpid(), SIGUSR1);
        once();
        sched_yield();
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &failed[i]);
    assert_null(failed[0]);
    assert_null(failed[1]);
    finish("");
}

static void *raise_though_cancelled(void *unused)
{
    pthread_cancel(pthread_self()); /* will act in the next call that is a point for it */
    raise(SIGUSR1);
    return unused;
}

/* Else loops would not hear of it, and wait when they are closed for a handler that is gone. */
static void a_cancelled_thread_handles_a_signal_to_the_end(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, stop, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, raise_though_cancelled, NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    pthread_join(thread, NULL);
    loop_release(loop);
    finish("");
}

static void the_sixty_fifth_loop_is_refused(void **state)
{
    (void)state;
    loop_t *loops[64];
    loop = open_loop();
    for (int i = 0; i < 64; i++) {
        loops[i] = loop_new(NULL);
        assert_non_null(loops[i]);
        assert_int_equal(loop_add_signal_handler(loops[i], SIGUSR1, say, "x"), 0);
    }
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, say, "no"), -EAGAIN);
    assert_int_equal(loop_close(loops[20]), 0);
    add(SIGUSR1, "yes");
    raise(SIGUSR1);
    once();
    for (int i = 0; i < 64; i++)
        if (i != 20)
            assert_int_equal(loop_close(loops[i]), 0);
    finish("yes");
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static void cancel_it(void *task)
{
    co_task_cancel(task);
}

static void a_task_that_a_signal_may_wake_is_no_deadlock(void **state)
{
    (void)state;
    int signo = SIGUSR1;
    loop = open_loop();
    co_task_t *task = loop_spawn(loop, wait_for_ever, NULL);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, cancel_it, task), 0);
    assert_int_equal(loop_call_soon(loop, raise_it, &signo, NULL), 0);
    assert_int_equal(loop_run_until(loop, task), -ECANCELED);
    finish("");
}

static void without_its_handler_a_stuck_task_is_a_deadlock_again(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(co_go(wait_for_ever, NULL), 0);
    add(SIGUSR1, "no");
    assert_int_equal(loop_remove_signal_handler(loop, SIGUSR1), 1);
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), 1);
    assert_int_equal(close_loop(loop), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_becomes_a_call_in_the_next_pass),
        cmocka_unit_test(signals_faster_than_the_loop_are_one_call_each),
        cmocka_unit_test(handlers_alone_do_not_keep_the_loop_running),
        cmocka_unit_test(a_signal_wakes_a_loop_that_waits),
        cmocka_unit_test(a_signal_that_another_thread_gets_wakes_the_loop_too),
        cmocka_unit_test(real_time_signals_are_signals_like_others),
        cmocka_unit_test(a_second_call_replaces_the_handler_even_while_a_signal_is_pending),
        cmocka_unit_test(a_handler_removed_while_its_signal_is_pending_is_not_called),
        cmocka_unit_test(a_handler_removed_by_another_of_the_same_pass_is_not_called),
        cmocka_unit_test(a_signal_during_its_handler_is_another_call),
        cmocka_unit_test(the_previous_disposition_comes_back_with_the_last_removal),
        cmocka_unit_test(loop_close_removes_the_handlers),
        cmocka_unit_test(what_cannot_be_handled_is_refused),
        cmocka_unit_test(without_memory_a_handler_is_refused_and_the_disposition_left),
        cmocka_unit_test(several_loops_of_one_thread_handle_the_same_signal),
        cmocka_unit_test(loops_in_several_threads_all_hear_a_signal_of_the_process),
        cmocka_unit_test(loops_come_and_go_in_a_storm_of_signals),
        cmocka_unit_test(a_cancelled_thread_handles_a_signal_to_the_end),
        cmocka_unit_test(the_sixty_fifth_loop_is_refused),
        cmocka_unit_test(a_task_that_a_signal_may_wake_is_no_deadlock),
        cmocka_unit_test(without_its_handler_a_stuck_task_is_a_deadlock_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
