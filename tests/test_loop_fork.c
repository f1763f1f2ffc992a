/* A loop in a forked child refuses to run, is closed without harm to the parent, and replaced. */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static loop_t *loop;

/* Runs fn in a child and returns its result, 0 to 99; -1 if it was killed, as in a hang. */
static int in_child(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    return co_sleep(-1);
}

static int sum_up(void *arg)
{
    int sum = 0;
    for (int i = 1; i <= *(int *)arg; i++)
        sum += co_sleep(i) == 0 ? i : 1000;
    return sum;
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

/* --- In the child: 0 is success, else the step that failed ------------------------------------ */

static int own_loop_works(void)
{
    int four = 4;
    loop_t *own = loop_new(&(loop_options_t){.virtual_time = true});
    if (!own || loop_current() != own)
        return 21;
    if (loop_run_until(own, loop_spawn(own, sum_up, &four)) != 10)
        return 22;
    if (loop_close(own) != 0)
        return 23;
    return 0;
}

static int child_uses_the_parents_loop(void)
{
    if (loop_run(loop) != -ECHILD || loop_run_once(loop, 0) != -ECHILD)
        return 1;
    errno = 0;
    if (loop_spawn(loop, wait_for_ever, NULL) || errno != ECHILD)
        return 2;
    return co_go(wait_for_ever, NULL) == -ECHILD ? 0 : 3;
}

static co_task_t *parked;

static int child_runs_until_a_task_of_the_parent(void)
{
    return loop_run_until(loop, parked) == -ECHILD && !co_task_done(parked) ? 0 : 1;
}

static int child_closes_and_makes_its_own(void)
{
    if (loop_close(loop) != 0 || loop_current())
        return 1;
    return own_loop_works();
}

static int child_makes_its_own_first(void)
{
    int rc = own_loop_works();
    if (rc)
        return rc;
    if (loop_current() != loop)
        return 1;
    return loop_close(loop) == 0 && !loop_current() ? 0 : 2;
}

static int child_tries_and_closes_all(void)
{
    int rc = child_uses_the_parents_loop();
    return rc ? rc : child_closes_and_makes_its_own();
}

/* --- The parent ------------------------------------------------------------------------------- */

static void the_child_of_an_idle_loop_gets_echild(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, say, "parent", NULL), 0);
    parked = loop_spawn(loop, wait_for_ever, NULL);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(in_child(child_uses_the_parents_loop), 0);
    assert_int_equal(in_child(child_runs_until_a_task_of_the_parent), 0);
    co_task_release(parked);
    assert_int_equal(close_loop(loop), 1);
    assert_string_equal(traced(), "parent");
}

static void the_child_closes_the_loop_and_makes_its_own(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(in_child(child_closes_and_makes_its_own), 0);
    assert_int_equal(in_child(child_makes_its_own_first), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static void on_readable(void *arg)
{
    char byte;
    trace("read%d", (int)read(*(int *)arg, &byte, 1));
    loop_remove_reader(loop, *(int *)arg);
}

static void on_signal(void *arg)
{
    (void)arg;
    trace("signal");
}

static int read_byte(void *arg)
{
    char byte;
    ssize_t n = co_read(*(int *)arg, &byte, 1);
    trace("coread%d", (int)n);
    return 0;
}

/* Everything a loop can have goes on in the parent after the child has closed its copy. */
static void a_close_in_the_child_does_not_disturb_the_parent(void **state)
{
    (void)state;
    int watched[2], own[2];
    loop = open_loop();
    make_socketpair(watched);
    make_socketpair(own);
    assert_int_equal(co_adopt(own[0]), 0);
    assert_int_equal(loop_add_reader(loop, watched[0], on_readable, &watched[0]), 0);
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    assert_int_equal(co_go(read_byte, &own[0]), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_call_later(loop, 10, say, "timer", NULL), 0);
    assert_int_equal(loop_call_soon(loop, say, "soon", NULL), 0);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "posted"), 0);
    assert_int_equal(in_child(child_tries_and_closes_all), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_string_equal(traced(), "soon posted");
    assert_int_equal(write(watched[1], "x", 1), 1);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(write(own[1], "x", 1), 1);
    assert_int_equal(loop_run_once(loop, 0), 1);
    raise(SIGUSR1);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "soon posted read1 coread1 signal timer");
    close(watched[0]), close(watched[1]), close(own[1]);
    assert_int_equal(co_close(own[0]), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int child_signals_itself(void)
{
    struct sigaction action;
    if (loop_close(loop) != 0)
        return 1;
    sigaction(SIGUSR1, NULL, &action);
    return action.sa_handler == SIG_IGN ? 0 : 2;
}

static void the_child_gets_the_disposition_back_and_the_parent_keeps_its_handler(void **state)
{
    (void)state;
    signal(SIGUSR1, SIG_IGN);
    loop = open_loop();
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    assert_int_equal(in_child(child_signals_itself), 0);
    raise(SIGUSR1);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_string_equal(traced(), "signal");
    assert_int_equal(close_loop(loop), 0);
    signal(SIGUSR1, SIG_DFL);
}

static int child_inside_a_run(void)
{
    if (loop_run(loop) != -EBUSY && loop_run(loop) != -ECHILD)
        return 1;
    return own_loop_works();
}

static void fork_in_callback(void *arg)
{
    (void)arg;
    trace("cb%d", in_child(child_inside_a_run));
}

static int fork_in_task(void *arg)
{
    (void)arg;
    trace("task%d", in_child(child_inside_a_run));
    CHECK_INT(co_sleep(1), 0);
    return 0;
}

static void a_child_forked_in_a_callback_or_a_task_can_run_a_loop_of_its_own(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, fork_in_callback, NULL, NULL), 0);
    assert_int_equal(co_go(fork_in_task, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "cb0 task0");
    assert_int_equal(close_loop(loop), 0);
}

static int passed;

static void pass(void *arg)
{
    (void)arg;
    passed++;
}

static int child_goes_on(void)
{
    char byte;
    int fds[2];
    if (co_yield_now() < 0 || co_sleep(1) < 0 || passed != 1)
        return 1;
    make_pipe(fds);
    co_timeout(1) return co_read(fds[0], &byte, 1) < 0 ? 0 : 2;
    return 3;
}

static int fork_in_the_middle(void *arg)
{
    (void)arg;
    CHECK_INT(loop_call_soon(loop, pass, NULL, NULL), 0);
    CHECK_INT(in_child(child_goes_on), 0);
    CHECK_INT(co_sleep(1), 0);
    CHECK_INT(passed, 1);
    return 0;
}

/* It is not what a child should do, but nothing to be killed for. */
static void a_child_forked_in_a_task_can_go_on_in_it(void **state)
{
    (void)state;
    passed = 0;
    loop = open_loop();
    assert_int_equal(co_go(fork_in_the_middle, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int child_gets_echild_inside_a_run(void)
{
    if (loop_run(loop) != -ECHILD || loop_run_once(loop, 0) != -ECHILD)
        return 1;
    return loop_close(loop) == -EBUSY ? 0 : 2;
}

static void fork_and_run(void *arg)
{
    (void)arg;
    trace("%d", in_child(child_gets_echild_inside_a_run));
}

static void a_child_forked_inside_a_run_gets_echild_and_cannot_close(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon(loop, fork_and_run, NULL, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "0");
    assert_int_equal(close_loop(loop), 0);
}

static int grandchild(void)
{
    loop_t *own = loop_new(NULL);
    if (!own || loop_run(own) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(loop_run(own) == -ECHILD && loop_close(own) == 0 && loop_close(loop) == 0 ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0 && loop_run(own) == 0 && loop_close(own) == 0 ? 0 : 2;
}

static void a_child_can_be_the_parent_of_another(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(in_child(grandchild), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(close_loop(loop), 0);
}

static int watched_fd;

/* Its copies of the loop's tables are the child's own, the selector behind them is not. */
static int child_changes_watchers(void)
{
    if (loop_remove_reader(loop, watched_fd) != 1)
        return 1;
    return loop_add_writer(loop, watched_fd, say, "no") == -ECHILD ? 0 : 2;
}

static void watchers_changed_in_the_child_go_on_in_the_parent(void **state)
{
    (void)state;
    int watched[2];
    loop = open_loop();
    make_socketpair(watched);
    watched_fd = watched[0];
    assert_int_equal(loop_add_reader(loop, watched_fd, on_readable, &watched_fd), 0);
    assert_int_equal(in_child(child_changes_watchers), 0);
    assert_int_equal(write(watched[1], "x", 1), 1);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_string_equal(traced(), "read1");
    close(watched[0]), close(watched[1]);
    assert_int_equal(close_loop(loop), 0);
}

/* --- Threads ---------------------------------------------------------------------------------- */

static atomic_bool over;

static void *get_signals(void *unused)
{
    while (!atomic_load(&over)) {
        raise(SIGUSR1);
        sched_yield(); /* valgrind runs one thread at a time */
    }
    return unused;
}

static void *add_and_remove_handlers(void *unused)
{
    loop_t *own = loop_new(NULL);
    while (!atomic_load(&over)) {
        (void)loop_add_signal_handler(own, SIGUSR2, on_signal, NULL);
        loop_remove_signal_handler(own, SIGUSR2);
        sched_yield();
    }
    loop_close(own);
    return unused;
}

static int child_closes(void)
{
    return loop_close(loop);
}

/* The child is without the threads that were in the middle of it. */
static void fork_beside(void *(*fn)(void *))
{
    enum { CHILDREN = 100 };
    pthread_t threads[2];
    int closed = 0;
    loop = open_real_loop();
    assert_int_equal(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    atomic_store(&over, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fn, NULL), 0);
    while (closed < CHILDREN && in_child(child_closes) == 0)
        closed++;
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(closed, CHILDREN);
    assert_int_equal(close_loop(loop), 0);
}

static void a_child_forked_while_threads_handle_signals_closes_the_loop(void **state)
{
    (void)state;
    fork_beside(get_signals);
}

static void a_child_forked_while_threads_add_handlers_closes_the_loop(void **state)
{
    (void)state;
    fork_beside(add_and_remove_handlers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_child_of_an_idle_loop_gets_echild),
        cmocka_unit_test(the_child_closes_the_loop_and_makes_its_own),
        cmocka_unit_test(a_close_in_the_child_does_not_disturb_the_parent),
        cmocka_unit_test(the_child_gets_the_disposition_back_and_the_parent_keeps_its_handler),
        cmocka_unit_test(a_child_forked_in_a_callback_or_a_task_can_run_a_loop_of_its_own),
        cmocka_unit_test(a_child_forked_in_a_task_can_go_on_in_it),
        cmocka_unit_test(a_child_forked_inside_a_run_gets_echild_and_cannot_close),
        cmocka_unit_test(watchers_changed_in_the_child_go_on_in_the_parent),
        cmocka_unit_test(a_child_can_be_the_parent_of_another),
        cmocka_unit_test(a_child_forked_while_threads_handle_signals_closes_the_loop),
        cmocka_unit_test(a_child_forked_while_threads_add_handlers_closes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
