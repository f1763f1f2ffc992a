/* Waiters whose fd is closed under them, and numbers that become other files: each classic way to
 * hang, by co_close and by plain close, for fds of the loop's own and foreign ones. */
#include "support.h"

#include <fcntl.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

enum { GUARD_MS = 20000, STARTED = -1000 };

static bool notices_reuse(void)
{
    return !selector_is("poll"); /* it knows numbers only */
}

/* Opens a pair and puts its first end at the number `at`, which is free. */
static int open_pair_at(int at)
{
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (fds[0] == at)
        return fds[1];
    int peer = fds[1];
    if (peer == at) { /* it is free for the other end then */
        peer = fcntl(peer, F_DUPFD_CLOEXEC, 0);
        close(at);
    }
    CHECK_INT(dup2(fds[0], at), at);
    close(fds[0]);
    return peer;
}

/* --- Waiters ---------------------------------------------------------------------------------- */

struct waiter {
    int fd, events, result;
    char byte;
};

static int await_one(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = STARTED;
    co_timeout(GUARD_MS) waiter->result = co_await_fd(waiter->fd, waiter->events);
    return 0;
}

static int read_one(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = STARTED;
    co_timeout(GUARD_MS) waiter->result = (int)co_read(waiter->fd, &waiter->byte, 1);
    return 0;
}

static void start_waiting(co_fn *fn, struct waiter *waiter)
{
    CHECK_INT(co_go(fn, waiter), 0);
    co_yield_now();
    CHECK_INT(waiter->result, STARTED);
}

/* A selector may take in what is new of the loop's own fds at its next turn only. Until then it
 * cannot tell that one was closed behind the loop's back. */
static void let_register(bool own)
{
    if (own && selector_is("kqueue"))
        co_sleep(1);
}

static void fill(int fd)
{
    static const char block[4096];
    while (write(fd, block, sizeof block) > 0)
        ;
    CHECK_INT(errno, EAGAIN);
}

/* --- Closing ---------------------------------------------------------------------------------- */

struct closing {
    bool own, plain;
};

/* Two readers and a writer that wait on one socket while it is closed. */
static int close_under_three(void *arg)
{
    struct closing *how = arg;
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    if (how->own)
        CHECK_INT(co_adopt(fds[0]), 0);
    fill(fds[0]);
    struct waiter readers[2] = {{.fd = fds[0]}, {.fd = fds[0], .events = CO_READ}};
    struct waiter writer = {.fd = fds[0], .events = CO_WRITE};
    start_waiting(read_one, &readers[0]);
    start_waiting(await_one, &readers[1]);
    start_waiting(await_one, &writer);
    CHECK_INT(how->plain ? close(fds[0]) : co_close(fds[0]), 0);
    while (readers[0].result == STARTED || readers[1].result == STARTED || writer.result == STARTED)
        co_sleep(10);
    CHECK_INT(readers[0].result, -EBADF);
    CHECK_INT(readers[1].result, -EBADF);
    CHECK_INT(writer.result, -EBADF);
    close(fds[1]);
    return 0;
}

static void co_close_wakes_all_waiters_with_ebadf(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_under_three, (&(struct closing){.own = true})), 0);
    assert_int_equal(run_task(close_under_three, (&(struct closing){.own = false})), 0);
}

static void plain_close_of_an_own_fd_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(
        run_real_task(close_under_three, (&(struct closing){.own = true, .plain = true})), 0);
    assert_int_equal(run_task(close_under_three, (&(struct closing){.own = true, .plain = true})),
                     0);
}

static void plain_close_of_a_foreign_fd_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(close_under_three, (&(struct closing){.plain = true})), 0);
    assert_int_equal(run_task(close_under_three, (&(struct closing){.plain = true})), 0);
}

/* --- Numbers that are other files by now ------------------------------------------------------ */

struct reuse {
    bool old_own, plain, new_own;
};

static int reuse_number(void *arg)
{
    struct reuse *how = arg;
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    if (how->old_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    struct waiter before = {.fd = fds[0]}, after = {.fd = fds[0]};
    start_waiting(read_one, &before);
    let_register(how->old_own && how->plain);
    CHECK_INT(how->plain ? close(fds[0]) : co_close(fds[0]), 0);
    int peer = open_pair_at(fds[0]);
    if (how->new_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    start_waiting(read_one, &after);
    CHECK_INT(write(peer, "x", 1), 1);
    while (after.result == STARTED || before.result == STARTED)
        co_sleep(10);
    CHECK_INT(before.result, -EBADF);
    if (how->old_own && how->plain && !how->new_own && after.result == -EBADF)
        after.result =
            (int)read(fds[0], &after.byte, 1); /* against the contract, but it did not hang */
    CHECK_INT(after.result, 1);
    CHECK_INT(after.byte, 'x');
    co_close(fds[0]);
    close(fds[1]);
    close(peer);
    return 0;
}

static void a_reused_number_reaches_its_new_waiter_and_not_the_old(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct reuse how = {.old_own = i & 1, .plain = i & 2, .new_own = i & 4};
        if (how.plain && !notices_reuse())
            continue; /* both wait for the new file then, and one gets the byte */
        assert_int_equal(run_task(reuse_number, &how), 0);
    }
}

/* The wait has ended before, by a deadline or an event, and the number was not waited for when its
 * file changed. */
static int wait_reuse_wait(void *arg)
{
    struct reuse *how = arg;
    int fds[2], rc = 0;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    if (how->old_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    co_timeout(10) rc = co_await_fd(fds[0], CO_READ);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(how->plain ? close(fds[0]) : co_close(fds[0]), 0);
    int peer = open_pair_at(fds[0]);
    if (how->new_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    struct waiter waiter = {.fd = fds[0]};
    start_waiting(read_one, &waiter);
    CHECK_INT(write(peer, "x", 1), 1);
    while (waiter.result == STARTED)
        co_sleep(10);
    CHECK_INT(waiter.result, 1);
    co_close(fds[0]);
    close(fds[1]);
    close(peer);
    return 0;
}

static void a_wait_on_a_number_whose_last_wait_timed_out_sees_the_new_file(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct reuse how = {.old_own = i & 1, .plain = i & 2, .new_own = i & 4};
        if (how.old_own && how.plain && !how.new_own)
            continue; /* own fds are closed with co_close, or at least replaced by own ones */
        assert_int_equal(run_task(wait_reuse_wait, &how), 0);
    }
}

/* A reader is woken by data, but before it runs its fd is closed and the number goes to another
 * file. */
struct replaced {
    struct reuse how;
    int fds[2], peer;
    struct waiter victim;
};

/* Waits for the same fd, but before the victim, and so is woken before it. */
static int replacer(void *arg)
{
    struct replaced *r = arg;
    CHECK_INT(co_await_fd(r->fds[0], CO_READ), CO_READ);
    CHECK_INT(co_close(r->fds[0]), 0);
    r->peer = open_pair_at(r->fds[0]);
    if (r->how.new_own)
        CHECK_INT(co_adopt(r->fds[0]), 0);
    CHECK_INT(write(r->peer, "n", 1), 1);
    return 0;
}

static int close_between(void *arg)
{
    struct replaced r = {.how = *(struct reuse *)arg};
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, r.fds), 0);
    if (r.how.old_own)
        CHECK_INT(co_adopt(r.fds[0]), 0);
    r.victim.fd = r.fds[0];
    co_task_t *task = co_spawn(replacer, &r);
    co_yield_now();
    start_waiting(read_one, &r.victim);
    CHECK_INT(write(r.fds[1], "o", 1), 1);
    CHECK_INT(co_await_task(task), 0);
    while (r.victim.result == STARTED)
        co_sleep(10);
    CHECK_INT(r.victim.result, -EBADF);
    co_close(r.fds[0]);
    close(r.fds[1]);
    close(r.peer);
    return 0;
}

static void a_woken_reader_does_not_read_the_file_that_took_its_number(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct reuse how = {.old_own = i & 1, .new_own = i & 2};
        assert_int_equal(run_task(close_between, &how), 0);
    }
}

/* --- Files that live on elsewhere ------------------------------------------------------------- */

/* The file stays open through a duplicate and stays ready: the loop must not spin on it, nor
 * confuse it with the file that has its number now. */
static int leave_a_ghost(void *arg)
{
    struct reuse *how = arg;
    int fds[2];
    loop_stats_t before, after;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    int ghost = dup(fds[0]);
    if (how->old_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    struct waiter old = {.fd = fds[0]}, young = {.fd = fds[0]};
    start_waiting(read_one, &old);
    let_register(how->old_own && how->plain);
    CHECK_INT(how->plain ? close(fds[0]) : co_close(fds[0]), 0);
    int peer = open_pair_at(fds[0]);
    if (how->new_own)
        CHECK_INT(co_adopt(fds[0]), 0);
    start_waiting(read_one, &young);
    CHECK_INT(write(fds[1], "o", 1), 1); /* for the ghost */
    loop_stats(loop_current(), &before);
    for (int i = 0; i < 10; i++)
        co_sleep(10);
    loop_stats(loop_current(), &after);
    CHECK(after.polls - before.polls < 100);
    CHECK_INT(old.result, -EBADF);
    CHECK_INT(young.result, STARTED);
    CHECK_INT(write(peer, "n", 1), 1);
    while (young.result == STARTED)
        co_sleep(10);
    CHECK_INT(young.byte, 'n');
    co_close(fds[0]);
    close(ghost);
    close(fds[1]);
    close(peer);
    return 0;
}

static void a_closed_file_that_lives_on_in_a_duplicate_is_ignored(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct reuse how = {.old_own = i & 1, .plain = i & 2, .new_own = i & 4};
        if (how.plain && ((how.old_own && !how.new_own) || !notices_reuse()))
            continue;
        assert_int_equal(run_task(leave_a_ghost, &how), 0);
    }
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

/* A level-triggered registration of a closed file would be told for ever. */
static void a_closed_watched_file_that_lives_on_is_told_but_once(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    loop_stats_t stats;
    bool seen = false;
    int fds[2];
    make_socketpair(fds);
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], set_flag, &seen), 0);
    loop_run_once(loop, 0);
    assert_int_equal(co_close(fds[0]), 0);
    assert_int_equal(write(fds[1], "o", 1), 1);
    for (int i = 0; i < 20; i++)
        loop_run_once(loop, 0);
    loop_stats(loop, &stats);
    assert_true(stats.events <= 2);
    assert_false(seen);
    close(ghost);
    close(fds[1]);
    close_loop(loop);
}

#ifdef __linux__
/* Makes the loop see an event of a file it has closed. */
static void haunt(loop_t *loop)
{
    int fds[2];
    make_socketpair(fds);
    int ghost = dup(fds[0]);
    bool seen = false;
    assert_int_equal(loop_add_reader(loop, fds[0], set_flag, &seen), 0);
    assert_int_equal(co_close(fds[0]), 0);
    assert_int_equal(write(fds[1], "o", 1), 1);
    for (int i = 0; i < 3; i++)
        loop_run_once(loop, 0);
    assert_false(seen);
    close(ghost);
    close(fds[1]);
}

/* Another event loop, on epoll, polls ours. */
static void the_exported_fd_stays_registered_elsewhere_after_a_ghost(void **state)
{
    (void)state;
    loop_t *loop = open_real_loop();
    if (loop_fd(loop) == -ENOTSUP) {
        close_loop(loop);
        skip();
    }
    int foreign = epoll_create1(EPOLL_CLOEXEC), fds[2];
    struct epoll_event event = {.events = EPOLLIN}, got;
    bool seen = false;
    assert_int_equal(epoll_ctl(foreign, EPOLL_CTL_ADD, loop_fd(loop), &event), 0);
    haunt(loop);
    make_socketpair(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], set_flag, &seen), 0);
    loop_run_once(loop, 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(epoll_wait(foreign, &got, 1, 1000), 1);
    loop_run_once(loop, 0);
    assert_true(seen);
    loop_remove_reader(loop, fds[0]);
    close_loop(loop);
    close(foreign);
    close(fds[0]);
    close(fds[1]);
}
#else
ONLY_ON_LINUX(the_exported_fd_stays_registered_elsewhere_after_a_ghost)
#endif

/* --- Closing from everywhere ------------------------------------------------------------------ */

static int close_twice(void *arg)
{
    int fds[2];
    (void)arg;
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(co_close(fds[0]), 0);
    CHECK_INT(co_close(fds[0]), -EBADF);
    CHECK_INT(co_close(-1), -EBADF);
    CHECK_INT(co_close(INT32_MAX), -EBADF);
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void closing_what_is_not_open_is_ebadf(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_twice, NULL), 0);
}

struct callback_close {
    loop_t *loop;
    int fds[2], calls;
};

static void close_from_reader(void *arg)
{
    struct callback_close *c = arg;
    c->calls++;
    assert_int_equal(co_close(c->fds[0]), 0);
}

static void a_callback_may_close_its_own_fd_under_a_waiter(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct callback_close c = {.loop = open_loop()};
        make_socketpair(c.fds);
        if (own)
            assert_int_equal(co_adopt(c.fds[0]), 0);
        struct waiter waiter = {.fd = c.fds[0], .events = CO_WRITE};
        for (ssize_t n = 1; n > 0;)
            n = write(c.fds[0], (char[4096]){0}, 4096);
        co_task_t *task = loop_spawn(c.loop, await_one, &waiter);
        assert_int_equal(loop_add_reader(c.loop, c.fds[0], close_from_reader, &c), 0);
        loop_run_once(c.loop, 0);
        assert_int_equal(write(c.fds[1], "x", 1), 1);
        assert_int_equal(loop_run_until(c.loop, task), 0);
        assert_int_equal(waiter.result, -EBADF);
        assert_int_equal(c.calls, 1);
        assert_int_equal(loop_run(c.loop), 0);
        close_loop(c.loop);
        close(c.fds[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(co_close_wakes_all_waiters_with_ebadf),
        cmocka_unit_test(plain_close_of_an_own_fd_is_noticed),
        cmocka_unit_test(plain_close_of_a_foreign_fd_is_noticed),
        cmocka_unit_test(a_reused_number_reaches_its_new_waiter_and_not_the_old),
        cmocka_unit_test(a_wait_on_a_number_whose_last_wait_timed_out_sees_the_new_file),
        cmocka_unit_test(a_woken_reader_does_not_read_the_file_that_took_its_number),
        cmocka_unit_test(a_closed_file_that_lives_on_in_a_duplicate_is_ignored),
        cmocka_unit_test(a_closed_watched_file_that_lives_on_is_told_but_once),
        cmocka_unit_test(the_exported_fd_stays_registered_elsewhere_after_a_ghost),
        cmocka_unit_test(closing_what_is_not_open_is_ebadf),
        cmocka_unit_test(a_callback_may_close_its_own_fd_under_a_waiter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
