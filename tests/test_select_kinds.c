/* Select over everything else: fds, tasks, futures, events, signals, time, and all of them mixed. */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

enum { BOTH = CO_READ | CO_WRITE };

static void settle(void)
{
    for (int i = 0; i < 4; i++)
        co_yield_now();
}

/* A select in a task of its own. */
struct selector {
    co_case_t cases[8];
    size_t n;
    int rc;
    co_task_t *task;
};

static int run_selector(void *arg)
{
    struct selector *selector = arg;
    co_timeout(20000) selector->rc = co_select(selector->cases, selector->n);
    return 0;
}

static void park_selector(struct selector *selector)
{
    selector->rc = -1000;
    selector->task = co_spawn(run_selector, selector);
    CHECK(selector->task != NULL);
    settle();
    CHECK_INT(selector->rc, -1000);
}

static void join_selector(struct selector *selector)
{
    CHECK_INT(co_await_task(selector->task), 0);
}

static int try_select(co_case_t cases[], size_t n)
{
    int rc = 0;
    co_timeout(0) rc = co_select(cases, n);
    return rc;
}

static void open_pair(int fds[2], bool own)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (own)
        CHECK_INT(co_adopt(fds[0]), 0);
}

static void close_pair(int fds[2])
{
    co_close(fds[0]);
    co_close(fds[1]);
}

static void put_byte(int fd)
{
    CHECK_INT(write(fd, "x", 1), 1);
}

static void take_byte(int fd)
{
    char byte;
    CHECK_INT(read(fd, &byte, 1), 1);
}

static void run_own_and_foreign(co_fn *fn)
{
    for (int own = 0; own < 2; own++)
        assert_int_equal(run_task(fn, &(bool){own}), 0);
}

/* --- Fds -------------------------------------------------------------------------------------- */

static int fd_ready(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 3; round++) {
        co_case_t cases[] = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], BOTH)};
        CHECK_INT(try_select(cases, 1), -ETIMEDOUT);
        CHECK_INT(try_select(cases, 2), 1);
        CHECK_INT(cases[1].events, CO_WRITE);
        CHECK_INT(cases[1].result, 0);
        put_byte(fds[1]);
        CHECK_INT(try_select(cases, 1), 0);
        CHECK_INT(cases[0].events, CO_READ);
        CHECK_INT(try_select(cases, 1), 0); /* a level: told until it is read */
        cases[1].events = BOTH;
        CHECK_INT(try_select(&cases[1], 1), 0);
        CHECK_INT(cases[1].events, BOTH);
        take_byte(fds[0]);
    }
    close_pair(fds);
    return 0;
}

static void a_ready_fd_happens_at_once_and_tells_its_events(void **state)
{
    (void)state;
    run_own_and_foreign(fd_ready);
}

static int fd_becomes_ready(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 5; round++) {
        struct selector selector = {.cases = {CO_AFTER(15000), CO_FD(fds[0], CO_READ)}, .n = 2};
        park_selector(&selector);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        CHECK_INT(selector.cases[1].result, 0);
        CHECK_INT(selector.cases[1].events, CO_READ);
        take_byte(fds[0]);
    }
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ)}, .n = 1};
    park_selector(&selector);
    CHECK_INT(close(fds[1]), 0);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    CHECK_INT(selector.cases[0].result, 0);
    CHECK_INT(co_close(fds[0]), 0);
    return 0;
}

static void a_parked_select_is_woken_by_bytes_and_by_hang_up(void **state)
{
    (void)state;
    run_own_and_foreign(fd_becomes_ready);
}

static int fd_becomes_writable(void *arg)
{
    static char block[4096];
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 2; round++) {
        while (write(fds[0], block, sizeof block) > 0)
            ;
        struct selector selector = {.cases = {CO_FD(fds[0], CO_WRITE)}, .n = 1};
        park_selector(&selector);
        while (read(fds[1], block, sizeof block) > 0)
            ;
        join_selector(&selector);
        CHECK_INT(selector.rc, 0);
        CHECK_INT(selector.cases[0].events, CO_WRITE);
    }
    close_pair(fds);
    return 0;
}

static void a_parked_select_is_woken_by_room_to_write(void **state)
{
    (void)state;
    run_own_and_foreign(fd_becomes_writable);
}

/* What select waits for in vain or in part, co_read must still be told of, and the other way
 * round. */
static int fd_shared(void *arg)
{
    int fds[2];
    char byte = 0;
    ssize_t n = 0;
    open_pair(fds, *(bool *)arg);
    co_chan_t *chan = co_chan_new(0, 0);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_RECV(chan, NULL)},
                                    .n = 2};
        park_selector(&selector);
        CHECK_INT(co_chan_send(chan, NULL), 0);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        co_timeout(10000) n = co_read(fds[0], &byte, 1);
        CHECK_INT(n, 1);
        park_selector(&selector);
        put_byte(fds[1]);
        co_timeout(10000) n = co_read(fds[0], &byte, 1);
        CHECK_INT(n, 1);
        put_byte(fds[1]);
        join_selector(&selector);
        CHECK_INT(selector.rc, 0);
        take_byte(fds[0]);
    }
    co_chan_free(chan);
    close_pair(fds);
    return 0;
}

static void select_and_read_share_an_fd(void **state)
{
    (void)state;
    run_own_and_foreign(fd_shared);
}

static int fd_many_cases(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    for (int round = 0; round < 4; round++) {
        struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_READ),
                                              CO_FD(fds[0], CO_READ)},
                                    .n = 3};
        struct selector other = {.cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_READ)}, .n = 2};
        park_selector(&selector);
        park_selector(&other);
        if (round == 3)
            CHECK_INT(co_close(fds[0]), 0);
        else
            put_byte(fds[1]);
        join_selector(&selector);
        join_selector(&other);
        CHECK(selector.rc >= 0 && selector.rc < 3 && other.rc >= 0 && other.rc < 2);
        CHECK_INT(selector.cases[selector.rc].result, round == 3 ? -EBADF : 0);
        CHECK_INT(other.cases[other.rc].result, round == 3 ? -EBADF : 0);
        if (round < 3)
            take_byte(fds[0]);
    }
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void one_fd_in_several_cases_is_told_once(void **state)
{
    (void)state;
    run_own_and_foreign(fd_many_cases);
}

/* A hang-up is both, and wakes a case for reading and one for writing at the same time. */
static int fd_both_ways(void *arg)
{
    static const char block[4096];
    int fds[2];
    open_pair(fds, *(bool *)arg);
    while (write(fds[0], block, sizeof block) > 0)
        ;
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_FD(fds[0], CO_WRITE)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(close(fds[1]), 0);
    join_selector(&selector);
    CHECK(selector.rc == 0 || selector.rc == 1);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(co_close(fds[0]), 0);
    return 0;
}

static void a_hang_up_wakes_one_of_two_cases(void **state)
{
    (void)state;
    run_own_and_foreign(fd_both_ways);
}

static int fd_reused(void *arg)
{
    int fds[2], again[2];
    (void)arg;
    co_chan_t *chan = co_chan_new(0, 0);
    open_pair(fds, false);
    struct selector selector = {.cases = {CO_FD(fds[0], CO_READ), CO_RECV(chan, NULL)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_chan_send(chan, NULL), 0);
    join_selector(&selector);
    CHECK_INT(close(fds[0]), 0);
    open_pair(again, false);
    CHECK_INT(again[0], fds[0]); /* the same number, another file */
    park_selector(&selector);
    put_byte(again[1]);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    co_chan_free(chan);
    close_pair(again);
    co_close(fds[1]);
    return 0;
}

static void an_fd_number_may_become_another_file_between_selects(void **state)
{
    (void)state;
    assert_int_equal(run_task(fd_reused, NULL), 0);
}

static int fd_closed(void *arg)
{
    int fds[2], n = 1;
    co_chan_t *chan = co_chan_new(sizeof n, 0);
    open_pair(fds, *(bool *)arg);
    struct selector selector = {.cases = {CO_RECV(chan, &n), CO_FD(fds[0], CO_READ)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_close(fds[0]), 0);
    CHECK_INT(co_chan_try_send(chan, &n), -EAGAIN);
    join_selector(&selector);
    CHECK_INT(selector.rc, 1);
    CHECK_INT(selector.cases[1].result, -EBADF);
    CHECK_INT(co_select(selector.cases, 2), -EBADF); /* not open at all: none happens */
    CHECK_INT(co_chan_try_send(chan, &n), -EAGAIN);
    co_case_t negative = CO_FD(-1, CO_READ);
    CHECK_INT(co_select(&negative, 1), -EBADF);
    co_chan_free(chan);
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void a_closed_fd_is_an_error_and_leaves_the_other_cases_alone(void **state)
{
    (void)state;
    run_own_and_foreign(fd_closed);
}

static int fd_nonsense(void *arg)
{
    co_case_t none = CO_FD(0, 0);
    (void)arg;
    CHECK_INT(co_select(&none, 1), -EINVAL);
    return 0;
}

static void an_fd_case_without_events_is_refused(void **state)
{
    (void)state;
    assert_int_equal(run_task(fd_nonsense, NULL), 0);
}

static int fd_always(void *arg)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    for (int i = 0; i < 2; i++) {
        co_case_t cases[] = {CO_FD(fd, CO_READ), CO_AFTER(100)};
        CHECK_INT(co_select(cases, 2), 0);
        CHECK_INT(cases[0].events, CO_READ);
    }
    co_close(fd);
    return 0;
}

static void a_regular_file_is_always_ready(void **state)
{
    (void)state;
    run_own_and_foreign(fd_always);
}

/* --- Tasks ------------------------------------------------------------------------------------ */

static int sleep_then(void *arg)
{
    int n = *(int *)arg;
    co_sleep(n < 0 ? -n : n);
    return n;
}

static int select_task(void *arg)
{
    int fast = 10, slow = 50, bad = -30;
    (void)arg;
    co_task_t *tasks[] = {co_spawn(sleep_then, &slow), co_spawn(sleep_then, &fast),
                          co_spawn(sleep_then, &bad)};
    co_case_t cases[] = {CO_TASK(tasks[0]), CO_TASK(tasks[1]), CO_TASK(tasks[0])};
    CHECK_INT(co_select(cases, 3), 1);
    CHECK_INT(cases[1].result, 0);
    CHECK_INT(co_select(cases, 3), 1); /* done is done, and it is not consumed */
    CHECK_INT(co_await_task(tasks[1]), 10);
    cases[1] = CO_TASK(tasks[2]);
    CHECK_INT(co_select(cases, 3), 1);
    CHECK_INT(cases[1].result, 0);
    CHECK_INT(co_task_result(tasks[2]), -30);
    co_task_release(tasks[2]);
    cases[1] = CO_TASK(tasks[0]); /* the same task three times */
    CHECK(co_select(cases, 3) >= 0);
    CHECK_INT(co_await_task(tasks[0]), 50);
    return 0;
}

static void a_task_case_tells_that_it_is_done_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_task, NULL), 0);
}

static int let_go(void *arg)
{
    int slow = 50, n = 0;
    (void)arg;
    co_chan_t *chan = co_chan_new(sizeof n, 0);
    co_task_t *task = co_spawn(sleep_then, &slow);
    struct selector selector = {.cases = {CO_TASK(task), CO_RECV(chan, &n)}, .n = 2};
    park_selector(&selector);
    CHECK_INT(co_chan_send(chan, &n), 0);
    join_selector(&selector);
    CHECK_INT(selector.rc, 1);
    CHECK(!co_task_cancelled(task)); /* nothing is cancelled either */
    CHECK_INT(co_await_task(task), 50);
    CHECK_INT(co_task_done(co_self()), false);
    co_case_t self = CO_TASK(co_self());
    CHECK_INT(try_select(&self, 1), -EDEADLK);
    co_chan_free(chan);
    return 0;
}

static void a_task_that_was_waited_for_in_vain_goes_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(let_go, NULL), 0);
}

/* The last handle goes while the select waits. */
static int released(void *arg)
{
    int slow = 50;
    (void)arg;
    co_task_t *task = co_spawn(sleep_then, &slow);
    struct selector selector = {.cases = {CO_TASK(task), CO_AFTER(1000)}, .n = 2};
    park_selector(&selector);
    co_task_release(task);
    join_selector(&selector);
    CHECK_INT(selector.rc, 0);
    return 0;
}

static void a_task_may_be_released_while_a_select_waits_for_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(released, NULL), 0);
}

/* --- Futures and events ----------------------------------------------------------------------- */

static int select_future(void *arg)
{
    co_future_t futures[2] = {0};
    void *value = NULL;
    (void)arg;
    struct selector selector = {
        .cases = {CO_FUTURE(&futures[0]), CO_FUTURE(&futures[1]), CO_FUTURE(&futures[1])}, .n = 3};
    park_selector(&selector);
    CHECK_INT(co_future_resolve(&futures[1], -7, &value), 0);
    CHECK_INT(co_future_resolve(&futures[0], 1, NULL), 0); /* too late to be the one */
    join_selector(&selector);
    CHECK(selector.rc > 0);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(co_await_future(&futures[1], &value), -7);
    CHECK(value == (void *)&value);
    CHECK_INT(try_select(&selector.cases[1], 1), 0);
    return 0;
}

static void a_future_case_tells_that_it_is_settled_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_future, NULL), 0);
}

static int select_event(void *arg)
{
    co_event_t events[2] = {0};
    (void)arg;
    struct selector selector = {
        .cases = {CO_EVENT(&events[0]), CO_EVENT(&events[1]), CO_EVENT(&events[1])}, .n = 3};
    park_selector(&selector);
    co_event_set(&events[1]);
    co_event_clear(&events[1]); /* who waited is woken all the same */
    co_event_set(&events[0]);
    join_selector(&selector);
    CHECK(selector.rc > 0);
    CHECK_INT(selector.cases[selector.rc].result, 0);
    CHECK_INT(try_select(selector.cases, 3), 0);
    CHECK(co_event_is_set(&events[0]));
    co_event_clear(&events[0]);
    CHECK_INT(try_select(selector.cases, 3), -ETIMEDOUT);
    return 0;
}

static void an_event_case_tells_that_it_was_set_and_consumes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_event, NULL), 0);
}

/* --- Signals ---------------------------------------------------------------------------------- */

static bool is_ignored(int signo)
{
    struct sigaction action;
    return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int select_signal(void *arg)
{
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {.cases = {CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR2)}, .n = 2};
        park_selector(&selector);
        raise(SIGUSR2);
        join_selector(&selector);
        CHECK_INT(selector.rc, 1);
        CHECK_INT(selector.cases[1].result, 0);
        CHECK(is_ignored(SIGUSR1) && is_ignored(SIGUSR2));
        CHECK_INT(try_select(selector.cases, 2), -ETIMEDOUT); /* it is not told again */
    }
    co_case_t none = CO_SIGNAL(SIGKILL), negative = CO_SIGNAL(-1);
    CHECK_INT(co_select(&none, 1), -EINVAL);
    CHECK_INT(co_select(&negative, 1), -EINVAL);
    return 0;
}

static void a_signal_case_happens_when_it_arrives(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_signal, NULL), 0);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

static void on_signal(void *arg)
{
    (void)arg;
    trace("handler");
}

static int signal_for_all(void *arg)
{
    loop_t *loop = loop_current();
    struct selector a = {.cases = {CO_SIGNAL(SIGUSR1), CO_AFTER(1000)}, .n = 2}, b = a;
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    CHECK_INT(loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL), 0);
    park_selector(&a);
    park_selector(&b);
    raise(SIGUSR1);
    join_selector(&a);
    join_selector(&b);
    CHECK_INT(a.rc + b.rc, 0);
    settle();
    CHECK_INT(loop_remove_signal_handler(loop, SIGUSR1), 1);
    CHECK(is_ignored(SIGUSR1));
    return 0;
}

static void a_signal_is_told_to_every_select_and_to_the_handler(void **state)
{
    (void)state;
    assert_int_equal(run_task(signal_for_all, NULL), 0);
    assert_string_equal(traced(), "handler");
    signal(SIGUSR1, SIG_DFL);
}

static int same_signal(void *arg)
{
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    for (int round = 0; round < 3; round++) {
        struct selector selector = {
            .cases = {CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR1), CO_SIGNAL(SIGUSR1)}, .n = 3};
        park_selector(&selector);
        CHECK(!is_ignored(SIGUSR1));
        raise(SIGUSR1);
        join_selector(&selector);
        CHECK(selector.rc >= 0);
        CHECK(is_ignored(SIGUSR1));
    }
    return 0;
}

static int wait_for_ever(void *arg)
{
    co_event_t never = {0};
    (void)arg;
    return co_event_wait(&never);
}

static void one_signal_in_several_cases_is_told_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(same_signal, NULL), 0);
    signal(SIGUSR1, SIG_DFL);
}

static int same_signal_then_wait(void *arg)
{
    same_signal(arg);
    return wait_for_ever(arg);
}

static void after_signal_cases_a_deadlock_is_still_noticed(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, same_signal_then_wait, NULL));
    alarm(20);
    assert_int_equal(loop_run(loop), -EDEADLK);
    alarm(0);
    assert_int_equal(close_loop(loop), 1);
    signal(SIGUSR1, SIG_DFL);
}

/* --- Time ------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    return loop_time(loop_current()) / MS;
}

static int select_after(void *arg)
{
    int64_t start = now_ms(), n = 0;
    (void)arg;
    co_case_t cases[] = {CO_AFTER(500), CO_AFTER(200), CO_AFTER(-1), CO_AFTER(INT64_MAX)};
    CHECK_INT(co_select(cases, 4), 1);
    CHECK_INT(now_ms() - start, 200);
    CHECK_INT(cases[1].result, 0);
    co_sleep(2000); /* the others are not left behind */
    CHECK_INT(now_ms() - start, 2200);
    co_chan_t *chan = co_chan_new(sizeof n, 1);
    co_case_t now[] = {CO_AFTER(0), CO_RECV(chan, &n)};
    CHECK_INT(co_select(now, 2), 0);
    CHECK_INT(now_ms() - start, 2200);
    for (int i = 0; i < 50; i++) { /* it happens only when no other case can */
        CHECK_INT(co_chan_try_send(chan, &n), 0);
        CHECK_INT(co_select(now, 2), 1);
    }
    co_chan_free(chan);
    return 0;
}

static void time_passes_as_a_case_and_no_time_as_a_default(void **state)
{
    (void)state;
    assert_int_equal(run_task(select_after, NULL), 0);
}

static int never_early(void *arg)
{
    (void)arg;
    for (int ms = 1; ms < 20; ms += 6) {
        int64_t start = loop_time(loop_current());
        co_case_t after = CO_AFTER(ms);
        CHECK_INT(co_select(&after, 1), 0);
        CHECK(loop_time(loop_current()) - start >= ms * MS);
    }
    return 0;
}

static void in_real_time_it_is_never_early(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(never_early, NULL), 0);
}

static int deadline_and_after(void *arg)
{
    int rc = 0;
    co_case_t after = CO_AFTER(100);
    (void)arg;
    co_timeout(50) rc = co_select(&after, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(200) rc = co_select(&after, 1);
    CHECK_INT(rc, 0);
    return 0;
}

static void a_deadline_and_an_after_case_are_two_things(void **state)
{
    (void)state;
    assert_int_equal(run_task(deadline_and_after, NULL), 0);
}

/* --- All of them ------------------------------------------------------------------------------ */

enum { RECV, SEND, FD, TASK, FUTURE, EVENT, SIGNAL, AFTER, KINDS };

struct mix {
    co_chan_t *in, *out;
    int received, sent, fds[2];
    co_event_t task_may_end, event;
    co_future_t future;
    co_task_t *task;
    struct selector selector;
};

static int end_when_told(void *arg)
{
    return co_event_wait((co_event_t *)arg);
}

static void open_mix(struct mix *mix, bool own)
{
    signal(SIGUSR1, SIG_IGN);
    *mix = (struct mix){.received = -1, .sent = 7};
    mix->in = co_chan_new(sizeof(int), 0);
    mix->out = co_chan_new(sizeof(int), 0);
    open_pair(mix->fds, own);
    mix->task = co_spawn(end_when_told, &mix->task_may_end);
    mix->selector = (struct selector){
        .cases = {CO_RECV(mix->in, &mix->received), CO_SEND(mix->out, &mix->sent),
                  CO_FD(mix->fds[0], CO_READ), CO_TASK(mix->task), CO_FUTURE(&mix->future),
                  CO_EVENT(&mix->event), CO_SIGNAL(SIGUSR1), CO_AFTER(5000)},
        .n = KINDS};
}

static void close_mix(struct mix *mix)
{
    co_event_set(&mix->task_may_end);
    CHECK_INT(co_await_task(mix->task), 0);
    co_chan_free(mix->in);
    co_chan_free(mix->out);
    close_pair(mix->fds);
}

static void make_happen(struct mix *mix, int kind)
{
    int n = 33;
    switch (kind) {
    case RECV:
        co_chan_try_send(mix->in, &n);
        break;
    case SEND:
        co_chan_try_recv(mix->out, NULL);
        break;
    case FD:
        put_byte(mix->fds[1]);
        break;
    case TASK:
        co_event_set(&mix->task_may_end);
        break;
    case FUTURE:
        co_future_resolve(&mix->future, 1, NULL);
        break;
    case EVENT:
        co_event_set(&mix->event);
        break;
    case SIGNAL:
        raise(SIGUSR1);
        break;
    default:
        co_sleep(6000);
    }
}

/* Nobody is left where the select waited. */
static void check_undone(struct mix *mix)
{
    int n = 44;
    CHECK_INT(co_chan_try_send(mix->in, &n), -EAGAIN);
    CHECK_INT(co_chan_try_recv(mix->out, &n), -EAGAIN);
    CHECK(is_ignored(SIGUSR1));
    for (int kind = 0; kind < KINDS; kind++)
        make_happen(mix, kind);
    settle();
}

static int mix_one(void *arg)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct mix mix;
        open_mix(&mix, *(bool *)arg);
        park_selector(&mix.selector);
        make_happen(&mix, kind);
        join_selector(&mix.selector);
        CHECK_INT(mix.selector.rc, kind);
        CHECK_INT(mix.selector.cases[kind].result, 0);
        CHECK_INT(mix.received, kind == RECV ? 33 : -1);
        check_undone(&mix);
        close_mix(&mix);
    }
    return 0;
}

static void of_all_kinds_mixed_the_first_happens_and_the_others_are_undone(void **state)
{
    (void)state;
    run_own_and_foreign(mix_one);
    signal(SIGUSR1, SIG_DFL);
}

/* Everything at once, from the stack of one task: still one. */
static int mix_all(void *arg)
{
    for (int first = 0; first < AFTER; first++) {
        struct mix mix;
        open_mix(&mix, *(bool *)arg);
        park_selector(&mix.selector);
        for (int i = 0; i < AFTER; i++)
            make_happen(&mix, (first + i) % AFTER);
        join_selector(&mix.selector);
        CHECK(mix.selector.rc >= 0);
        CHECK_INT(mix.selector.cases[mix.selector.rc].result, 0);
        CHECK_INT(mix.received, mix.selector.rc == RECV ? 33 : -1);
        check_undone(&mix);
        close_mix(&mix);
    }
    return 0;
}

static void when_all_kinds_happen_at_once_one_does(void **state)
{
    (void)state;
    run_own_and_foreign(mix_all);
    signal(SIGUSR1, SIG_DFL);
}

static int mix_cancelled(void *arg)
{
    for (int late = 0; late < 2; late++) {
        struct mix mix;
        open_mix(&mix, *(bool *)arg);
        mix.selector.cases[AFTER].number = 50000;
        park_selector(&mix.selector);
        if (!late)
            co_task_cancel(mix.selector.task);
        join_selector(&mix.selector);
        CHECK_INT(mix.selector.rc, late ? -ETIMEDOUT : -ECANCELED);
        CHECK_INT(mix.received, -1);
        check_undone(&mix);
        close_mix(&mix);
    }
    return 0;
}

static void cancelled_or_out_of_time_all_kinds_are_undone(void **state)
{
    (void)state;
    run_own_and_foreign(mix_cancelled);
    signal(SIGUSR1, SIG_DFL);
}

static int mix_without_memory(void *arg)
{
    int failed = 0;
    for (size_t n = 1; n < 50; n++) {
        struct mix mix;
        open_mix(&mix, *(bool *)arg);
        mix.selector.cases[AFTER].number = 1000;
        fail_allocation(n, n % 2);
        int rc = co_select(mix.selector.cases, KINDS);
        size_t count = allocations();
        fail_allocation(0, false);
        CHECK_INT(rc, count >= n ? -ENOMEM : AFTER);
        failed += rc < 0;
        CHECK_INT(mix.received, -1);
        check_undone(&mix);
        close_mix(&mix);
        if (count < n)
            break;
    }
    trace("%s", failed ? "failed" : "never");
    return 0;
}

static void without_memory_none_happens_and_all_are_undone(void **state)
{
    (void)state;
    run_own_and_foreign(mix_without_memory);
    signal(SIGUSR1, SIG_DFL);
}

static int mix_in_order(void *arg)
{
    int counts[KINDS] = {0}, n = 3;
    struct mix mix;
    open_mix(&mix, *(bool *)arg);
    co_chan_free(mix.in);
    mix.in = mix.selector.cases[RECV].object = co_chan_new(sizeof(int), 1);
    for (int kind = FD; kind <= EVENT; kind++)
        make_happen(&mix, kind);
    settle();
    for (int round = 0; round < 600; round++) {
        co_chan_try_send(mix.in, &n);
        int i = co_select(mix.selector.cases, KINDS);
        CHECK(i >= 0);
        counts[i]++;
    }
    for (int kind = 0; kind < KINDS; kind++)
        CHECK((counts[kind] > 20) == (kind == RECV || (kind >= FD && kind <= EVENT)));
    close_mix(&mix);
    return 0;
}

static void among_ready_cases_of_all_kinds_none_starves(void **state)
{
    (void)state;
    run_own_and_foreign(mix_in_order);
    signal(SIGUSR1, SIG_DFL);
}

static int mix_closed(void *arg)
{
    struct mix *mix = arg;
    open_mix(mix, true);
    return co_select(mix->selector.cases, KINDS) == -ECANCELED ? 0 : -EBADMSG;
}

static void closing_the_loop_cancels_a_select_of_all_kinds(void **state)
{
    (void)state;
    struct mix mix;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, mix_closed, &mix);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    co_task_release(mix.task);
    co_task_release(task);
    assert_int_equal(loop_close(loop), 2);
    assert_true(is_ignored(SIGUSR1));
    assert_string_equal(reported(), "");
    co_chan_free(mix.in);
    co_chan_free(mix.out);
    close(mix.fds[0]);
    close(mix.fds[1]);
    assert_int_equal(blocks(), 0);
    signal(SIGUSR1, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ready_fd_happens_at_once_and_tells_its_events),
        cmocka_unit_test(a_parked_select_is_woken_by_bytes_and_by_hang_up),
        cmocka_unit_test(a_parked_select_is_woken_by_room_to_write),
        cmocka_unit_test(select_and_read_share_an_fd),
        cmocka_unit_test(one_fd_in_several_cases_is_told_once),
        cmocka_unit_test(a_hang_up_wakes_one_of_two_cases),
        cmocka_unit_test(an_fd_number_may_become_another_file_between_selects),
        cmocka_unit_test(a_closed_fd_is_an_error_and_leaves_the_other_cases_alone),
        cmocka_unit_test(an_fd_case_without_events_is_refused),
        cmocka_unit_test(a_regular_file_is_always_ready),
        cmocka_unit_test(a_task_case_tells_that_it_is_done_and_consumes_nothing),
        cmocka_unit_test(a_task_that_was_waited_for_in_vain_goes_on),
        cmocka_unit_test(a_task_may_be_released_while_a_select_waits_for_it),
        cmocka_unit_test(a_future_case_tells_that_it_is_settled_and_consumes_nothing),
        cmocka_unit_test(an_event_case_tells_that_it_was_set_and_consumes_nothing),
        cmocka_unit_test(a_signal_case_happens_when_it_arrives),
        cmocka_unit_test(a_signal_is_told_to_every_select_and_to_the_handler),
        cmocka_unit_test(one_signal_in_several_cases_is_told_once),
        cmocka_unit_test(after_signal_cases_a_deadlock_is_still_noticed),
        cmocka_unit_test(time_passes_as_a_case_and_no_time_as_a_default),
        cmocka_unit_test(in_real_time_it_is_never_early),
        cmocka_unit_test(a_deadline_and_an_after_case_are_two_things),
        cmocka_unit_test(of_all_kinds_mixed_the_first_happens_and_the_others_are_undone),
        cmocka_unit_test(when_all_kinds_happen_at_once_one_does),
        cmocka_unit_test(cancelled_or_out_of_time_all_kinds_are_undone),
        cmocka_unit_test(without_memory_none_happens_and_all_are_undone),
        cmocka_unit_test(among_ready_cases_of_all_kinds_none_starves),
        cmocka_unit_test(closing_the_loop_cancels_a_select_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
