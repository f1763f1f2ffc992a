/* Reads and writes on streams: sockets, pipes, own and foreign, blocking or not. */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

enum { GUARD_MS = 20000, STARTED = -1000, BIG = 1 << 20 };

static unsigned char pattern[BIG], received[BIG];

static void make_pattern(void)
{
    uint32_t random = 7;
    for (size_t i = 0; i < BIG; i++) {
        random = random * 1664525 + 1013904223;
        pattern[i] = (unsigned char)(random >> 24);
    }
    memset(received, 0, sizeof received);
}

/* Kinds of a stream: fds[0] is read and fds[1] is written. */
enum { OWN = 1, PIPE = 2, BLOCKING = 4, KINDS = 8 };

static void open_stream(int fds[2], int kind)
{
    int flags = kind & BLOCKING ? 0 : O_NONBLOCK;
    if (kind & PIPE)
        CHECK_INT(pipe2(fds, flags | O_CLOEXEC), 0);
    else
        CHECK_INT(
            socketpair(AF_UNIX, SOCK_STREAM | (flags ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, 0, fds),
            0);
    for (int i = 0; i < 2 && kind & OWN; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
}

static void close_stream(int fds[2])
{
    co_close(fds[0]);
    co_close(fds[1]);
}

static void run_all_kinds(co_fn *fn)
{
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(run_task(fn, &kind), 0);
}

/* --- All of it, in order ---------------------------------------------------------------------- */

struct flow {
    int fd, call;
    size_t done;
    ssize_t result;
};

static ssize_t write_by(int call, int fd, unsigned char *data, size_t size)
{
    struct iovec iov[4] = {{data, 0},
                           {data, size / 3},
                           {data + size / 3, 1},
                           {data + size / 3 + 1, size - size / 3 - 1}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 4};
    switch (call) {
    case 0:
        return co_write(fd, data, size);
    case 1:
        return co_writev(fd, iov, 4);
    case 2:
        return co_send(fd, data, size, 0);
    case 3:
        return co_sendto(fd, data, size, 0, NULL, 0);
    default:
        return co_sendmsg(fd, &message, 0);
    }
}

static ssize_t read_by(int call, int fd, unsigned char *data, size_t size)
{
    struct iovec iov[2] = {{data, size / 2}, {data + size / 2, size - size / 2}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    switch (call) {
    case 0:
        return co_read(fd, data, size);
    case 1:
        return co_readv(fd, iov, 2);
    case 2:
        return co_recv(fd, data, size, 0);
    case 3:
        return co_recvfrom(fd, data, size, 0, NULL, NULL);
    default:
        return co_recvmsg(fd, &message, 0);
    }
}

static int write_big(void *arg)
{
    struct flow *flow = arg;
    flow->result = write_by(flow->call, flow->fd, pattern, BIG);
    co_close(flow->fd);
    return 0;
}

/* Slow: pieces of odd sizes with pauses in between. */
static int read_big(void *arg)
{
    struct flow *flow = arg;
    ssize_t n = 1;
    for (size_t step = 1; n > 0; step = step * 3 % 65537) {
        size_t room = BIG - flow->done;
        n = read_by(flow->call, flow->fd, received + flow->done,
                    step < room ? step
                    : room      ? room
                                : 1);
        flow->done += n > 0 ? (size_t)n : 0;
        if (step % 16 == 1)
            co_sleep(1);
    }
    flow->result = n;
    return 0;
}

static void transfer_big(int kind, int call)
{
    int fds[2];
    make_pattern();
    open_stream(fds, kind);
    struct flow out = {.fd = fds[1], .call = call}, in = {.fd = fds[0], .call = call};
    int rc = -1;
    co_timeout(GUARD_MS) rc = co_gather(co_spawn(write_big, &out), co_spawn(read_big, &in));
    CHECK_INT(rc, 0);
    CHECK_INT(out.result, BIG);
    CHECK_INT(in.result, 0);
    CHECK_INT(in.done, BIG);
    CHECK_INT(memcmp(pattern, received, BIG), 0);
    co_close(fds[0]);
}

static int all_calls(void *arg)
{
    int kind = *(int *)arg;
    for (int call = 0; call < (kind & PIPE ? 2 : 5); call++)
        transfer_big(kind, call);
    return 0;
}

static void a_slow_reader_gets_every_byte_by_every_call(void **state)
{
    (void)state;
    run_all_kinds(all_calls);
}

/* --- Nothing at all --------------------------------------------------------------------------- */

static void call_for_nothing(int fds[2])
{
    char byte = 0;
    struct iovec none[2] = {{&byte, 0}, {&byte, 0}};
    ssize_t n = -1;
    co_timeout(GUARD_MS) n = co_write(fds[1], &byte, 0);
    CHECK_INT(n, 0);
    for (int count = 0; count <= 2; count++) {
        co_timeout(GUARD_MS) n = co_writev(fds[1], none, count);
        CHECK_INT(n, 0);
        co_timeout(GUARD_MS) n = co_readv(fds[0], none, count);
        CHECK_INT(n, 0);
    }
    co_timeout(GUARD_MS) n = co_read(fds[0], &byte, 0);
    CHECK_INT(n, 0);
}

/* Also when it is known that there is nothing to read and no room. */
static int empty_calls(void *arg)
{
    int fds[2];
    char byte = 0;
    open_stream(fds, *(int *)arg);
    call_for_nothing(fds);
    co_timeout(1) CHECK_INT(co_read(fds[0], &byte, 1), -ETIMEDOUT);
    call_for_nothing(fds);
    ssize_t n = 0;
    while (n >= 0)
        co_timeout(1) n = co_write(fds[1], pattern, BIG);
    CHECK_INT(n, -ETIMEDOUT);
    call_for_nothing(fds);
    close_stream(fds);
    return 0;
}

static void calls_for_no_bytes_return_0_without_waiting(void **state)
{
    (void)state;
    run_all_kinds(empty_calls);
}

/* --- A peer that is gone ---------------------------------------------------------------------- */

static int write_to_nobody(void *arg)
{
    int fds[2], kind = *(int *)arg;
    open_stream(fds, kind);
    co_close(fds[0]);
    struct iovec iov[2] = {{(char[]){'a'}, 0}, {(char[]){'a'}, 1}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    for (int round = 0; round < 2; round++) {
        CHECK_INT(co_write(fds[1], "a", 1), -EPIPE);
        CHECK_INT(co_writev(fds[1], iov + 1, 1), -EPIPE);
        CHECK_INT(co_writev(fds[1], iov, 2), -EPIPE);
        if (kind & PIPE)
            continue;
        CHECK_INT(co_send(fds[1], "a", 1, 0), -EPIPE);
        CHECK_INT(co_sendto(fds[1], "a", 1, 0, NULL, 0), -EPIPE);
        CHECK_INT(co_sendmsg(fds[1], &message, 0), -EPIPE);
    }
    co_close(fds[1]);
    return 0;
}

static sig_atomic_t caught;

static void count_signal(int signo)
{
    (void)signo;
    caught++;
}

/* With the default disposition a SIGPIPE would end the child; with a handler or a mask it would
 * show. */
static int write_in_child(void)
{
    signal(SIGPIPE, SIG_DFL);
    for (int kind = 0; kind < KINDS; kind++)
        if (co_run(write_to_nobody, &kind) != 0)
            return 10 + kind;
    signal(SIGPIPE, count_signal);
    sigset_t pipe_only, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    for (int masked = 0; masked < 2; masked++) {
        if (masked)
            sigprocmask(SIG_BLOCK, &pipe_only, NULL);
        for (int kind = 0; kind < KINDS; kind++)
            if (co_run(write_to_nobody, &kind) != 0)
                return 20 + kind;
        sigpending(&pending);
        if (caught || sigismember(&pending, SIGPIPE))
            return 30 + masked;
    }
    raise(SIGPIPE); /* one of the program's own stays pending, and is not eaten */
    int kind = PIPE;
    if (co_run(write_to_nobody, &kind) != 0)
        return 40;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) ? 0 : 41;
}

static void a_closed_peer_is_epipe_and_never_sigpipe(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(write_in_child());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- Interrupted ------------------------------------------------------------------------------ */

/* The deadline passes in the middle of a write: what was written is told, then the code. */
static int write_too_much(void *arg)
{
    int fds[2];
    ssize_t n = 0, more = 0;
    make_pattern();
    open_stream(fds, *(int *)arg);
    co_timeout(50)
    {
        n = co_write(fds[1], pattern, BIG);
        more = co_write(fds[1], pattern, BIG);
    }
    CHECK(n > 0 && n < BIG);
    CHECK_INT(more, -ETIMEDOUT);
    co_timeout(50) more = co_write(fds[1], pattern, 1);
    CHECK_INT(more, -ETIMEDOUT);
    for (size_t got = 0; got < (size_t)n; got += (size_t)more) {
        more = co_read(fds[0], received, BIG);
        CHECK(more > 0);
        CHECK_INT(memcmp(received, pattern + got, (size_t)more), 0);
    }
    co_timeout(50) more = co_read(fds[0], received, 1); /* and not one byte more */
    CHECK_INT(more, -ETIMEDOUT);
    close_stream(fds);
    return 0;
}

static void a_write_that_runs_out_of_time_tells_how_much_was_written(void **state)
{
    (void)state;
    run_all_kinds(write_too_much);
}

/* The same in pieces, of which the first are empty. */
static int writev_too_much(void *arg)
{
    int fds[2];
    ssize_t n = 0;
    open_stream(fds, *(int *)arg);
    struct iovec iov[3] = {{pattern, 0}, {pattern, BIG}, {pattern, BIG}};
    co_timeout(50) n = co_writev(fds[1], iov, 3);
    CHECK(n > 0 && n < BIG);
    co_timeout(50) n = co_writev(fds[1], iov, 3); /* full: nothing is written */
    CHECK_INT(n, -ETIMEDOUT);
    close_stream(fds);
    return 0;
}

static void a_gathered_write_of_nothing_for_lack_of_time_is_no_success(void **state)
{
    (void)state;
    run_all_kinds(writev_too_much);
}

struct endless {
    int fd, code;
    ssize_t written;
};

static int write_until_cancelled(void *arg)
{
    struct endless *endless = arg;
    endless->written = co_write(endless->fd, pattern, BIG);
    endless->code = (int)co_write(endless->fd, pattern, BIG);
    return endless->code;
}

static int cancel_writer(void *arg)
{
    int fds[2];
    open_stream(fds, *(int *)arg);
    struct endless endless = {.fd = fds[1]};
    co_task_t *task = co_spawn(write_until_cancelled, &endless);
    co_sleep(1);
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK(endless.written > 0 && endless.written < BIG);
    CHECK_INT(endless.code, -ECANCELED);
    close_stream(fds);
    return 0;
}

static void a_cancelled_write_tells_how_much_was_written(void **state)
{
    (void)state;
    run_all_kinds(cancel_writer);
}

static int read_nothing(void *arg)
{
    int *fd = arg;
    char byte;
    return (int)co_read(*fd, &byte, 1);
}

/* A byte that arrives with the cancellation is either read, or still there. */
static int cancel_reader(void *arg)
{
    int fds[2];
    char byte;
    open_stream(fds, *(int *)arg);
    for (int order = 0; order < 3; order++) {
        co_task_t *task = co_spawn(read_nothing, &fds[0]);
        co_yield_now();
        if (order != 1)
            co_task_cancel(task);
        CHECK_INT(write(fds[1], "x", 1), 1);
        if (order == 1)
            co_task_cancel(task);
        int rc = co_await_task(task), left = 0;
        CHECK(rc == 1 || rc == -ECANCELED);
        co_timeout(5) left = (int)co_read(fds[0], &byte, 1);
        CHECK_INT(left, rc == 1 ? -ETIMEDOUT : 1);
    }
    close_stream(fds);
    return 0;
}

static void a_byte_that_meets_a_cancellation_is_read_or_left(void **state)
{
    (void)state;
    run_all_kinds(cancel_reader);
}

/* co_timeout(0) means "try". */
static int try_calls(void *arg)
{
    int fds[2];
    char byte;
    ssize_t n = 0;
    open_stream(fds, *(int *)arg);
    co_timeout(0) n = co_read(fds[0], &byte, 1);
    CHECK_INT(n, -ETIMEDOUT);
    co_timeout(0) n = co_write(fds[1], "x", 1);
    CHECK_INT(n, 1);
    co_timeout(0) n = co_read(fds[0], &byte, 1);
    CHECK_INT(n, 1);
    co_task_cancel(co_self());
    CHECK_INT(co_write(fds[1], "x", 1), -ECANCELED);
    CHECK_INT(co_read(fds[0], &byte, 1), -ECANCELED);
    CHECK_INT(co_close(fds[0]), 0); /* does not suspend */
    CHECK_INT(co_close(fds[1]), 0);
    return 0;
}

static void a_timeout_of_0_tries_and_a_cancelled_task_does_not(void **state)
{
    (void)state;
    run_all_kinds(try_calls);
}

/* --- Fairness and memory ---------------------------------------------------------------------- */

static int tick(void *arg)
{
    int *ticks = arg;
    for (;;) {
        int rc = co_yield_now();
        if (rc < 0)
            return rc;
        ++*ticks;
    }
}

/* Every call succeeds at once; the others get their turns all the same. */
static int greedy(void *arg)
{
    int fds[2], ticks = 0;
    char byte;
    open_stream(fds, *(int *)arg);
    co_task_t *ticker = co_spawn(tick, &ticks);
    for (int i = 0; i < 1000; i++) {
        CHECK_INT(co_write(fds[1], "x", 1), 1);
        CHECK_INT(co_read(fds[0], &byte, 1), 1);
    }
    CHECK(ticks >= 10);
    co_task_cancel(ticker);
    CHECK_INT(co_await_task(ticker), -ECANCELED);
    close_stream(fds);
    return 0;
}

static void calls_that_succeed_at_once_give_way_now_and_then(void **state)
{
    (void)state;
    run_all_kinds(greedy);
}

static int ping(void *arg)
{
    int fds[2];
    char byte = 0;
    (void)arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    ssize_t n = co_adopt(fds[0]);
    co_timeout(5) n = n < 0 ? n : co_read(fds[0], &byte, 1);
    if (n == -ETIMEDOUT)
        n = co_write(fds[1], "x", 1);
    if (n == 1)
        n = co_read(fds[0], &byte, 1);
    close_stream(fds);
    return n == 1 && byte == 'x' ? 0 : n < 0 ? (int)n : -EPROTO;
}

static void without_memory_a_read_fails_and_leaves_no_wait(void **state)
{
    (void)state;
    int rc = -ENOMEM;
    for (size_t n = 1; rc == -ENOMEM && n < 100; n++) {
        loop_t *loop = open_loop();
        loop_stats_t stats;
        fail_allocation(n, true);
        co_task_t *task = loop_spawn(loop, ping, NULL);
        rc = task ? loop_run_until(loop, task) : -errno;
        fail_allocation(0, false);
        assert_true(rc == 0 || rc == -ENOMEM);
        loop_stats(loop, &stats);
        assert_int_equal(stats.fd_waiters, 0);
        assert_int_equal(stats.timers, 0);
        close_loop(loop);
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_gets_every_byte_by_every_call),
        cmocka_unit_test(calls_for_no_bytes_return_0_without_waiting),
        cmocka_unit_test(a_closed_peer_is_epipe_and_never_sigpipe),
        cmocka_unit_test(a_write_that_runs_out_of_time_tells_how_much_was_written),
        cmocka_unit_test(a_gathered_write_of_nothing_for_lack_of_time_is_no_success),
        cmocka_unit_test(a_cancelled_write_tells_how_much_was_written),
        cmocka_unit_test(a_byte_that_meets_a_cancellation_is_read_or_left),
        cmocka_unit_test(a_timeout_of_0_tries_and_a_cancelled_task_does_not),
        cmocka_unit_test(calls_that_succeed_at_once_give_way_now_and_then),
        cmocka_unit_test(without_memory_a_read_fails_and_leaves_no_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
