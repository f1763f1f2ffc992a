/* Fds that are open, but not for what is asked of them: the calls end as the system's do, and what
 * is merely not ready is waited for. */
#include "support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static char dir[] = "/tmp/coloop-XXXXXX", path[64];

/* --- Every call for one direction ------------------------------------------------------------- */

typedef ssize_t call_fn(int fd);

static ssize_t call_read(int fd)
{
    char bytes[2];
    return co_read(fd, bytes, 2);
}

static ssize_t call_readv(int fd)
{
    char bytes[2];
    struct iovec iov[2] = {{bytes, 1}, {bytes + 1, 1}};
    return co_readv(fd, iov, 2);
}

static ssize_t call_write(int fd)
{
    return co_write(fd, "xy", 2);
}

static ssize_t call_writev(int fd)
{
    char bytes[2] = {'x', 'y'};
    struct iovec iov[2] = {{bytes, 1}, {bytes + 1, 1}};
    return co_writev(fd, iov, 2);
}

static call_fn *const readers[2] = {call_read, call_readv};
static call_fn *const writers[2] = {call_write, call_writev};

/* In virtual time: what waits is out of time as soon as nothing else happens. */
static void check_calls(call_fn *const calls[2], int fd, ssize_t expected)
{
    for (int i = 0; i < 2; i++) {
        ssize_t n = 0;
        co_timeout(1000) n = calls[i](fd);
        CHECK_INT(n, expected);
    }
}

static void check_ends(int read_end, int write_end)
{
    check_calls(readers, read_end, -ETIMEDOUT);
    check_calls(readers, write_end, -EBADF);
    check_calls(writers, read_end, -EBADF);
    check_calls(writers, write_end, 2);
    check_calls(readers, write_end, -EBADF);
    check_calls(readers, read_end, 2);
}

/* As they are, then as the loop's own; both are closed. */
static int check_both_ways(int read_end, int write_end)
{
    CHECK(read_end >= 0 && write_end >= 0);
    check_ends(read_end, write_end);
    CHECK_INT(co_adopt(read_end), 0);
    CHECK_INT(co_adopt(write_end), 0);
    check_ends(read_end, write_end);
    co_close(read_end);
    co_close(write_end);
    return 0;
}

/* --- Pipes and fifos -------------------------------------------------------------------------- */

static int use_pipe(void *arg)
{
    int fds[2];
    CHECK_INT(pipe2(fds, *(int *)arg | O_CLOEXEC), 0);
    return check_both_ways(fds[0], fds[1]);
}

static void the_wrong_end_of_a_pipe_is_ebadf(void **state)
{
    int flags[2] = {0, O_NONBLOCK};
    (void)state;
    assert_int_equal(run_task(use_pipe, &flags[0]), 0);
    assert_int_equal(run_task(use_pipe, &flags[1]), 0);
}

/* Polls neither readable nor writable. */
static int fill_pipe(void *arg)
{
    int fds[2];
    char byte = 0;
    (void)arg;
    CHECK_INT(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    while (write(fds[1], &byte, 1) == 1)
        ;
    CHECK_INT(fcntl(fds[1], F_SETFL, 0), 0);
    check_calls(readers, fds[1], -EBADF);
    check_calls(writers, fds[1], -ETIMEDOUT);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static void a_full_pipe_is_waited_for_by_writers_alone(void **state)
{
    (void)state;
    assert_int_equal(run_task(fill_pipe, NULL), 0);
}

/* Whoever opens one for both directions does not wait for somebody at the other end. */
static int use_fifo(void *arg)
{
    (void)arg;
    int both = open(path, O_RDWR | O_CLOEXEC);
    int read_end = open(path, O_RDONLY | O_CLOEXEC);
    int write_end = open(path, O_WRONLY | O_CLOEXEC);
    unlink(path);
    check_calls(readers, both, -ETIMEDOUT);
    check_calls(writers, both, 2);
    check_calls(readers, both, 2);
    check_both_ways(read_end, write_end);
    close(both);
    return 0;
}

static void the_wrong_end_of_a_fifo_is_ebadf(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(run_task(use_fifo, NULL), 0);
}

/* --- Files, terminals, sockets ---------------------------------------------------------------- */

static int use_file(void *arg)
{
    (void)arg;
    int write_end = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int read_end = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    CHECK(read_end >= 0 && write_end >= 0);
    check_calls(readers, read_end, 0);
    check_calls(readers, write_end, -EBADF);
    check_calls(writers, read_end, -EBADF);
    check_calls(writers, write_end, 2);
    check_calls(readers, read_end, 2);
    close(read_end);
    close(write_end);
    return 0;
}

static void a_file_opened_for_the_other_direction_is_ebadf(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_file, NULL), 0);
}

static int use_terminal(void *arg)
{
    int terminal = *(int *)arg;
    int read_end = open(ptsname(terminal), O_RDONLY | O_NOCTTY | O_CLOEXEC);
    int write_end = open(ptsname(terminal), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    CHECK(read_end >= 0 && write_end >= 0);
    check_calls(readers, terminal, -ETIMEDOUT);
    check_calls(readers, read_end, -ETIMEDOUT);
    check_calls(readers, write_end, -EBADF);
    check_calls(writers, read_end, -EBADF);
    check_calls(writers, write_end, 2);
    close(read_end);
    close(write_end);
    return 0;
}

static void a_terminal_opened_for_the_other_direction_is_ebadf(void **state)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    (void)state;
    if (terminal < 0)
        skip();
    assert_int_equal(grantpt(terminal), 0);
    assert_int_equal(unlockpt(terminal), 0);
    assert_int_equal(run_task(use_terminal, &terminal), 0);
    close(terminal);
}

/* A socket is open for both directions whatever was shut down. */
static int shut_down(void *arg)
{
    int fds[2];
    bool own = *(bool *)arg;
    make_socketpair(fds);
    for (int i = 0; i < 2 && own; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    CHECK_INT(shutdown(fds[0], SHUT_WR), 0);
    check_calls(readers, fds[0], -ETIMEDOUT);
    check_calls(writers, fds[0], -EPIPE);
    check_calls(readers, fds[1], 0);
    check_calls(writers, fds[1], 2);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void a_socket_that_was_shut_down_is_open_still(void **state)
{
    bool own[2] = {false, true};
    (void)state;
    assert_int_equal(run_task(shut_down, &own[0]), 0);
    assert_int_equal(run_task(shut_down, &own[1]), 0);
}

/* --- Mere waiting ----------------------------------------------------------------------------- */

/* So that a writer can wait for the end of its reader. */
static int await_wrong_end(void *arg)
{
    int fds[2], rc = 0;
    (void)arg;
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    co_timeout(1000) rc = co_await_fd(fds[1], CO_READ);
    CHECK_INT(rc, -ETIMEDOUT);
    close(fds[0]);
    CHECK_INT(co_await_fd(fds[1], CO_READ), CO_READ);
    close(fds[1]);
    return 0;
}

static void waiting_for_the_wrong_end_ends_with_the_peer(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_wrong_end, NULL), 0);
}

static int make_dir(void **state)
{
    (void)state;
    return !mkdtemp(dir) || snprintf(path, sizeof path, "%s/file", dir) < 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wrong_end_of_a_pipe_is_ebadf),
        cmocka_unit_test(a_full_pipe_is_waited_for_by_writers_alone),
        cmocka_unit_test(the_wrong_end_of_a_fifo_is_ebadf),
        cmocka_unit_test(a_file_opened_for_the_other_direction_is_ebadf),
        cmocka_unit_test(a_terminal_opened_for_the_other_direction_is_ebadf),
        cmocka_unit_test(a_socket_that_was_shut_down_is_open_still),
        cmocka_unit_test(waiting_for_the_wrong_end_ends_with_the_peer),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
