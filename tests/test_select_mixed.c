/* Select over all kinds of cases mixed: one happens, and the others are undone, however it ends. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

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

static bool is_ignored(int signo)
{
    struct sigaction action;
    return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void run_own_and_foreign(co_fn *fn)
{
    signal(SIGUSR1, SIG_IGN);
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_task(fn, &(bool){own}), 0);
        assert_true(is_ignored(SIGUSR1));
    }
    signal(SIGUSR1, SIG_DFL);
}

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

/* Whether SIGUSR1 is there at once. */
static bool has_signal(void)
{
    co_case_t cases[] = {CO_SIGNAL(SIGUSR1), CO_AFTER(0)};
    return co_select(cases, 2) == 0;
}

/* Nobody is left where the select waited: all that happens now is for others. */
static void check_undone(struct mix *mix)
{
    int n = 44;
    CHECK_INT(co_chan_try_send(mix->in, &n), -EAGAIN);
    CHECK_INT(co_chan_try_recv(mix->out, &n), -EAGAIN);
    (void)has_signal(); /* asked for, if the select had no memory to do so */
    for (int kind = 0; kind < KINDS; kind++)
        make_happen(mix, kind);
    settle();
    CHECK(has_signal());
    CHECK(!has_signal());
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
    signal(SIGUSR1, SIG_IGN);
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
        cmocka_unit_test(of_all_kinds_mixed_the_first_happens_and_the_others_are_undone),
        cmocka_unit_test(when_all_kinds_happen_at_once_one_does),
        cmocka_unit_test(cancelled_or_out_of_time_all_kinds_are_undone),
        cmocka_unit_test(without_memory_none_happens_and_all_are_undone),
        cmocka_unit_test(among_ready_cases_of_all_kinds_none_starves),
        cmocka_unit_test(closing_the_loop_cancels_a_select_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
