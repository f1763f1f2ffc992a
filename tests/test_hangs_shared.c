/* Files that are shared: one fd in two loops, duplicates, forked children; and files that no
 * selector takes. */
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

enum { GUARD_MS = 20000, STARTED = -1000, ROUNDS = 200 };

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

static void open_pair(int fds[2], bool own)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (own)
        CHECK_INT(co_adopt(fds[0]), 0);
}

/* --- Two loops -------------------------------------------------------------------------------- */

/* Both wait for the same fd, both are told; only one gets the byte and the other waits on. */
static void one_fd_waits_in_two_loops_run_alternately(void **state)
{
    (void)state;
    loop_t *loops[2] = {open_loop(), open_loop()};
    struct waiter waiters[2] = {{.fd = -1}, {.fd = -1}};
    co_task_t *tasks[2];
    int fds[2], turns = 0;
    make_socketpair(fds);
    for (int i = 0; i < 2; i++) {
        waiters[i].fd = fds[0];
        tasks[i] = loop_spawn(loops[i], read_one, &waiters[i]);
        loop_run_once(loops[i], 0);
        loop_run_once(loops[i], 0);
    }
    for (int byte = 0; byte < 2; byte++) {
        assert_int_equal(write(fds[1], "x", 1), 1);
        for (int done = 0; done <= byte && turns < 1000; turns++) {
            loop_run_once(loops[turns % 2], 0);
            done = co_task_done(tasks[0]) + co_task_done(tasks[1]);
        }
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waiters[i].result, 1);
        co_task_release(tasks[i]);
    }
    assert_int_equal(loop_close(loops[1]), 0);
    close_loop(loops[0]);
    close(fds[0]);
    close(fds[1]);
}

struct two_threads {
    int fd;
    _Atomic int got;
    _Atomic int code;
};

static int read_until_end(void *arg)
{
    struct two_threads *t = arg;
    char byte;
    ssize_t n;
    while ((n = co_read(t->fd, &byte, 1)) > 0)
        t->got++;
    return (int)n;
}

static void *read_in_thread(void *arg)
{
    struct two_threads *t = arg;
    t->code = co_run(read_until_end, t);
    return NULL;
}

static void one_fd_is_read_by_loops_of_two_threads(void **state)
{
    (void)state;
    loop_t *loop = open_real_loop(); /* for the allocator; it stays idle */
    struct two_threads t = {.code = 0};
    pthread_t threads[2];
    int fds[2];
    make_socketpair(fds);
    t.fd = fds[0];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, &t), 0);
    for (int i = 0; i < ROUNDS; i++) {
        while (write(fds[1], "x", 1) != 1)
            usleep(100);
        if (i % 8 == 0)
            usleep(100);
    }
    close(fds[1]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(t.got, ROUNDS);
    assert_int_equal(t.code, 0);
    close(fds[0]);
    close_loop(loop);
}

/* --- Duplicates ------------------------------------------------------------------------------- */

/* Waits on an fd and on its duplicate; one of them is closed; the other one is read. */
static int close_one_of_two(void *arg)
{
    int *how = arg, fds[2];
    bool own = how[0], plain = how[1], close_first = how[2];
    open_pair(fds, own);
    int copy = dup(fds[0]), closed = close_first ? fds[0] : copy;
    struct waiter waiters[2] = {{.fd = fds[0]}, {.fd = copy}};
    struct waiter *loser = &waiters[!close_first], *winner = &waiters[close_first];
    co_task_t *tasks[2] = {co_spawn(read_one, &waiters[0]), co_spawn(read_one, &waiters[1])};
    co_yield_now();
    CHECK_INT(plain ? close(closed) : co_close(closed), 0);
    for (int i = 0; i < 10 && loser->result == STARTED; i++)
        co_sleep(10);
    CHECK_INT(loser->result, -EBADF);
    CHECK_INT(winner->result, STARTED);
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(winner->result, 1);
    co_close(winner->fd);
    close(fds[1]);
    return 0;
}

static void of_an_fd_and_its_duplicate_one_is_closed(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(run_task(close_one_of_two, ((int[]){i & 1, i & 2, i & 4})), 0);
}

static int wait_on_both(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    int copy = dup(fds[0]);
    struct waiter waiters[2] = {{.fd = fds[0], .events = CO_READ}, {.fd = copy, .events = CO_READ}};
    co_task_t *tasks[2] = {co_spawn(await_one, &waiters[0]), co_spawn(await_one, &waiters[1])};
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(waiters[0].result, CO_READ);
    CHECK_INT(waiters[1].result, CO_READ);
    co_close(fds[0]);
    close(copy);
    close(fds[1]);
    return 0;
}

static void an_fd_and_its_duplicate_are_both_ready(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_on_both, (&(bool){true})), 0);
    assert_int_equal(run_task(wait_on_both, (&(bool){false})), 0);
}

/* --- Files that are always ready -------------------------------------------------------------- */

static int open_kind(int kind)
{
    char path[] = "/tmp/coloop-test-XXXXXX";
    if (kind == 0)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    if (kind == 1)
        return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = mkstemp(path);
    unlink(path);
    return fd;
}

static int always_ready(void *arg)
{
    char buffer[8] = "";
    struct iovec iov = {.iov_base = buffer, .iov_len = sizeof buffer};
    for (int i = 0; i < 6; i++) {
        int kind = i / 2, fd = open_kind(kind);
        CHECK(fd >= 0);
        if (i % 2)
            CHECK_INT(co_adopt(fd), 0);
        for (int round = 0; round < 3; round++) {
            CHECK_INT(co_await_fd(fd, CO_READ), CO_READ);
            CHECK_INT(co_await_fd(fd, CO_READ | CO_WRITE), CO_READ | CO_WRITE);
            CHECK_INT(co_read(fd, buffer, sizeof buffer), kind == 1 ? -EISDIR : 0);
            CHECK_INT(co_readv(fd, &iov, 1), kind == 1 ? -EISDIR : 0);
            CHECK_INT(co_write(fd, "abc", 3), kind == 1 ? -EBADF : 3);
            CHECK_INT(co_writev(fd, &iov, 1), kind == 1 ? -EBADF : 8);
        }
        if (kind == 2) {
            CHECK_INT(lseek(fd, 0, SEEK_SET), 0);
            CHECK_INT(co_read(fd, buffer, 3), 3);
            CHECK_INT(memcmp(buffer, "abc", 3), 0);
        }
        CHECK_INT(co_close(fd), 0);
    }
    return arg ? -1 : 0;
}

static void files_that_no_selector_takes_are_always_ready(void **state)
{
    (void)state;
    assert_int_equal(run_task(always_ready, NULL), 0);
}

static int cancelled_file(void *arg)
{
    char byte;
    int fd = open_kind(2);
    (void)arg;
    co_task_cancel(co_self());
    CHECK_INT(co_await_fd(fd, CO_READ), -ECANCELED);
    CHECK_INT(co_read(fd, &byte, 1), -ECANCELED);
    CHECK_INT(co_write(fd, "x", 1), -ECANCELED);
    CHECK_INT(lseek(fd, 0, SEEK_END), 0);
    co_close(fd);
    return 0;
}

static void a_cancelled_task_does_not_touch_a_regular_file(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancelled_file, NULL), 0);
}

/* --- Forked children -------------------------------------------------------------------------- */

/* A child that keeps every file open until it is told to go; the parent closes and reuses the
 * number. */
static pid_t fork_holder(int go[2])
{
    make_pipe(go);
    fcntl(go[0], F_SETFL, 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(go[1]);
        _exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(go[0]);
    return child;
}

static int close_while_child_holds(void *arg)
{
    bool own = *(bool *)arg;
    int fds[2], go[2], status;
    open_pair(fds, own);
    struct waiter waiter = {.fd = fds[0]}, next = {.fd = fds[0]};
    co_task_t *task = co_spawn(read_one, &waiter);
    co_yield_now();
    pid_t child = fork_holder(go);
    CHECK(child > 0);
    CHECK_INT(co_close(fds[0]), 0);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(waiter.result, -EBADF);
    CHECK_INT(write(fds[1], "old", 3),
              3); /* the child's copy is readable now, and still registered */
    int young[2];
    open_pair(young, own);
    next.fd = young[0];
    task = co_spawn(read_one, &next);
    loop_stats_t before, after;
    loop_stats(loop_current(), &before);
    for (int i = 0; i < 10; i++)
        co_sleep(10);
    loop_stats(loop_current(), &after);
    CHECK(after.polls - before.polls < 100);
    CHECK_INT(write(young[1], "n", 1), 1);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(next.byte, 'n');
    close(go[1]);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    co_close(young[0]);
    close(young[1]);
    close(fds[1]);
    return 0;
}

static void a_child_that_holds_a_closed_socket_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(run_task(close_while_child_holds, (&(bool){true})), 0);
    assert_int_equal(run_task(close_while_child_holds, (&(bool){false})), 0);
}

/* In the child: fds are closed, with the loop's help and without, and then the loop. */
static int leave_in_child(loop_t *loop, int fd)
{
    int rc = loop_run(loop);
    if (rc != -ECHILD)
        return 1;
    if (co_close(fd) != 0)
        return 2;
    return loop_close(loop) < 0 ? 3 : 0;
}

static void a_child_that_closes_fds_and_loop_leaves_the_parent_waiting(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        loop_t *loop = open_real_loop();
        int fds[2], status;
        make_socketpair(fds);
        if (own)
            assert_int_equal(co_adopt(fds[0]), 0);
        struct waiter waiter = {.fd = fds[0]};
        co_task_t *task = loop_spawn(loop, read_one, &waiter);
        for (int i = 0; i < 3; i++)
            loop_run_once(loop, 0);
        assert_int_equal(waiter.result, STARTED);
        pid_t child = fork();
        if (child == 0)
            _exit(leave_in_child(loop, fds[0]));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(loop_run_until(loop, task), 0);
        assert_int_equal(waiter.result, 1);
        close_loop(loop);
        close(fds[0]);
        close(fds[1]);
    }
}

/* --- Numbers that cannot be ------------------------------------------------------------------- */

static int bad_numbers(void *arg)
{
    static const int numbers[] = {-1, INT32_MIN, 19999, INT32_MAX};
    char byte;
    (void)arg;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        CHECK_INT(co_await_fd(numbers[i], CO_READ), -EBADF);
        CHECK_INT(co_read(numbers[i], &byte, 1), -EBADF);
        CHECK_INT(co_write(numbers[i], "x", 1), -EBADF);
        CHECK_INT(co_accept(numbers[i], NULL, NULL), -EBADF);
        CHECK_INT(co_adopt(numbers[i]), -EBADF);
    }
    CHECK_INT(co_await_fd(0, 0), -EINVAL);
    CHECK_INT(co_await_fd(0, 4), -EINVAL);
    return 0;
}

static void numbers_that_are_no_fds_are_ebadf(void **state)
{
    (void)state;
    assert_int_equal(run_task(bad_numbers, NULL), 0);
}

static void outside_a_coroutine_every_call_is_eperm(void **state)
{
    (void)state;
    char byte;
    int fds[2];
    make_socketpair(fds);
    assert_int_equal(co_adopt(fds[0]), -EPERM); /* there is no loop */
    loop_t *loop = open_loop();
    assert_int_equal(co_await_fd(fds[0], CO_READ), -EPERM);
    assert_int_equal(co_read(fds[0], &byte, 1), -EPERM);
    assert_int_equal(co_write(fds[0], "x", 1), -EPERM);
    assert_int_equal(co_accept(fds[0], NULL, NULL), -EPERM);
    assert_int_equal(co_tcp_connect("127.0.0.1", 1), -EPERM);
    assert_int_equal(co_unix_connect("@coloop"), -EPERM);
    assert_int_equal(co_close(fds[0]), 0);
    close_loop(loop);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_fd_waits_in_two_loops_run_alternately),
        cmocka_unit_test(one_fd_is_read_by_loops_of_two_threads),
        cmocka_unit_test(of_an_fd_and_its_duplicate_one_is_closed),
        cmocka_unit_test(an_fd_and_its_duplicate_are_both_ready),
        cmocka_unit_test(files_that_no_selector_takes_are_always_ready),
        cmocka_unit_test(a_cancelled_task_does_not_touch_a_regular_file),
        cmocka_unit_test(a_child_that_holds_a_closed_socket_does_no_harm),
        cmocka_unit_test(a_child_that_closes_fds_and_loop_leaves_the_parent_waiting),
        cmocka_unit_test(numbers_that_are_no_fds_are_ebadf),
        cmocka_unit_test(outside_a_coroutine_every_call_is_eperm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
