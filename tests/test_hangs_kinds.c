/* Readiness that is easy to miss: ends of file that show only as a hang-up, bytes and FIN together,
 * urgent data, several waiters on one fd, one fd in several loops, duplicates, forks, and files no
 * selector takes. */
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/wait.h>

enum { GUARD_MS = 20000, STARTED = -1000 };

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

static void fill(int fd)
{
    static const char block[4096];
    while (write(fd, block, sizeof block) > 0)
        ;
}

static void open_pair(int fds[2], bool own)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (own)
        CHECK_INT(co_adopt(fds[0]), 0);
}

/* A connected TCP pair, both non-blocking and foreign. */
static void open_tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&address, length), 0);
    CHECK_INT(listen(listener, 1), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(fds[1], (struct sockaddr *)&address, length), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(fds[0] >= 0);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    close(listener);
}

/* --- Hang-ups --------------------------------------------------------------------------------- */

static int hang_up_pipe(void *arg)
{
    bool own = *(bool *)arg;
    int in[2], out[2];
    CHECK_INT(pipe2(in, O_NONBLOCK), 0);
    CHECK_INT(pipe2(out, O_NONBLOCK), 0);
    fill(out[1]);
    if (own) {
        CHECK_INT(co_adopt(in[0]), 0);
        CHECK_INT(co_adopt(out[1]), 0);
    }
    struct waiter reader = {.fd = in[0]}, writer = {.fd = out[1], .events = CO_WRITE};
    co_task_t *tasks[] = {co_spawn(read_one, &reader), co_spawn(await_one, &writer)};
    co_yield_now();
    close(in[1]);  /* the reader's poll says POLLHUP and not POLLIN */
    close(out[0]); /* the writer's says POLLERR */
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(reader.result, 0);
    CHECK_INT(writer.result, CO_WRITE);
    co_close(in[0]);
    co_close(out[1]);
    return 0;
}

static void a_pipe_closed_at_the_other_end_wakes_reader_and_writer(void **state)
{
    (void)state;
    assert_int_equal(run_task(hang_up_pipe, (&(bool){false})), 0);
    assert_int_equal(run_task(hang_up_pipe, (&(bool){true})), 0);
}

static int hang_up_socket(void *arg)
{
    int *how = arg, fds[2];
    open_pair(fds, how[0]);
    struct waiter reader = {.fd = fds[0]}, both = {.fd = fds[0], .events = CO_READ};
    co_task_t *tasks[] = {co_spawn(read_one, &reader), co_spawn(await_one, &both)};
    co_yield_now();
    if (how[1] == 0)
        shutdown(fds[1], SHUT_WR);
    else if (how[1] == 1)
        shutdown(fds[1], SHUT_RDWR);
    else
        shutdown(fds[0], SHUT_RDWR); /* our own end */
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    CHECK_INT(reader.result, 0);
    CHECK_INT(both.result, CO_READ);
    CHECK_INT(co_read(fds[0], &both.byte, 1), 0); /* the end stays */
    CHECK_INT(co_await_fd(fds[0], CO_READ), CO_READ);
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void a_shutdown_by_either_end_wakes_readers(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        assert_int_equal(run_task(hang_up_socket, ((int[]){i & 1, i / 2})), 0);
}

/* --- A short read, then FIN ------------------------------------------------------------------- */

enum { ROUNDS = 300 };

static int read_to_end(int fd, size_t *total)
{
    char buffer[64];
    ssize_t n = 0;
    co_timeout(GUARD_MS) while ((n = co_read(fd, buffer, sizeof buffer)) > 0) *total += (size_t)n;
    return (int)n;
}

/* Bytes and FIN at once, a moment apart, or with the reader asleep in between. */
static int close_after_bytes(void *arg)
{
    int fd = *(int *)arg;
    static unsigned round;
    round++;
    CHECK_INT(write(fd, "abc", 3), 3);
    for (unsigned i = 0; i < round % 4; i++)
        co_yield_now();
    if (round % 8 == 7)
        co_sleep_ns(100000);
    close(fd);
    return 0;
}

static int fin_rounds(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        int fds[2];
        size_t total = 0;
        open_tcp_pair(fds);
        if (*(bool *)arg)
            CHECK_INT(co_adopt(fds[0]), 0);
        if (i % 3 == 0) { /* registered before anything comes */
            int rc = 0;
            co_timeout(0) rc = co_await_fd(fds[0], CO_READ);
            CHECK_INT(rc, -ETIMEDOUT);
        }
        CHECK_INT(co_go(close_after_bytes, &fds[1]), 0);
        if (i % 2)
            co_yield_now();
        CHECK_INT(read_to_end(fds[0], &total), 0);
        CHECK_INT(total, 3);
        co_close(fds[0]);
    }
    return 0;
}

static void a_short_tcp_read_does_not_miss_the_end(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(fin_rounds, (&(bool){true})), 0);
    assert_int_equal(run_real_task(fin_rounds, (&(bool){false})), 0);
}

/* --- Urgent data ------------------------------------------------------------------------------ */

static int urgent_byte_pending(void *arg)
{
    int fds[2], rc = 0;
    char byte;
    loop_stats_t before, after;
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(send(fds[1], "!", 1, MSG_OOB), 1);
    co_sleep(5);
    loop_stats(loop_current(), &before);
    co_timeout(100) rc = (int)co_read(fds[0], &byte, 1);
    CHECK_INT(rc, -ETIMEDOUT); /* an urgent byte is no part of the stream */
    loop_stats(loop_current(), &after);
    CHECK(after.polls - before.polls < 50);
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void a_pending_urgent_byte_neither_ends_nor_spins_a_read(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(urgent_byte_pending, (&(bool){true})), 0);
    assert_int_equal(run_real_task(urgent_byte_pending, (&(bool){false})), 0);
}

static int urgent_byte_is_not_readable(void *arg)
{
    int fds[2], rc = 0;
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(send(fds[1], "!", 1, MSG_OOB), 1);
    co_sleep(5);
    co_timeout(50) rc = co_await_fd(fds[0], CO_READ);
    co_close(fds[0]);
    close(fds[1]);
    return rc;
}

static void a_pending_urgent_byte_does_not_make_a_socket_readable(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(urgent_byte_is_not_readable, (&(bool){true})), -ETIMEDOUT);
    assert_int_equal(run_real_task(urgent_byte_is_not_readable, (&(bool){false})), -ETIMEDOUT);
}

/* The bytes before it have been read, and there is nothing else to be read. */
static int receive_urgent_byte(void *arg)
{
    int fds[2], rc = 0;
    char bytes[8];
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(co_recv(fds[0], bytes, 1, MSG_OOB), -EINVAL); /* there is none: as recv(2) says */
        CHECK_INT(send(fds[1], "abc", 3, 0), 3);
        CHECK_INT(send(fds[1], "!", 1, MSG_OOB), 1);
        co_timeout(GUARD_MS) rc = (int)co_read(fds[0], bytes, sizeof bytes);
        CHECK_INT(rc, 3);
        co_timeout(GUARD_MS) while ((rc = (int)co_recv(fds[0], bytes, 1, MSG_OOB)) == -EINVAL &&
                                    co_sleep(1) ==
                                        0); /* it may come later than the bytes before it */
        CHECK_INT(rc, 1);
        CHECK_INT(bytes[0], '!');
        co_timeout(5) rc = (int)co_read(fds[0], bytes, 1);
        CHECK_INT(rc, -ETIMEDOUT);
    }
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void an_urgent_byte_is_received_where_it_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(receive_urgent_byte, (&(bool){true})), 0);
    assert_int_equal(run_real_task(receive_urgent_byte, (&(bool){false})), 0);
}

/* Reads stop short at the urgent mark; what is behind it must be read all the same. */
static int read_past_mark(void *arg)
{
    int fds[2];
    char buffer[64];
    size_t total = 0;
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    for (int round = 0; round < 20; round++) {
        CHECK_INT(send(fds[1], "abc", 3, 0), 3);
        CHECK_INT(send(fds[1], "!", 1, MSG_OOB), 1);
        CHECK_INT(send(fds[1], "def", 3, 0), 3);
        for (size_t n = 0; n < 6; n += total) {
            total = 0;
            co_timeout(GUARD_MS) total = (size_t)co_read(fds[0], buffer, sizeof buffer);
            CHECK(total <= 6);
        }
    }
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void bytes_behind_the_urgent_mark_are_read(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(read_past_mark, (&(bool){true})), 0);
    assert_int_equal(run_real_task(read_past_mark, (&(bool){false})), 0);
}

/* --- Several waiters on one fd ---------------------------------------------------------------- */

static int reader_and_writer(void *arg)
{
    int fds[2];
    char drain[4096];
    open_pair(fds, *(bool *)arg);
    fill(fds[0]);
    struct waiter reader = {.fd = fds[0]}, writer = {.fd = fds[0], .events = CO_WRITE};
    co_task_t *tasks[] = {co_spawn(read_one, &reader), co_spawn(await_one, &writer)};
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_await_task(tasks[0]), 0);
    CHECK_INT(reader.byte, 'x');
    CHECK_INT(writer.result, STARTED);
    while (read(fds[1], drain, sizeof drain) > 0)
        ;
    CHECK_INT(co_await_task(tasks[1]), 0);
    CHECK_INT(writer.result, CO_WRITE);
    CHECK_INT(co_await_fd(fds[0], CO_READ | CO_WRITE), CO_WRITE);
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void a_reader_and_a_writer_wait_on_one_socket(void **state)
{
    (void)state;
    assert_int_equal(run_task(reader_and_writer, (&(bool){true})), 0);
    assert_int_equal(run_task(reader_and_writer, (&(bool){false})), 0);
}

static int many_readers(void *arg)
{
    enum { READERS = 5 };
    int fds[2];
    open_pair(fds, *(bool *)arg);
    struct waiter readers[READERS];
    co_task_t *tasks[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct waiter){.fd = fds[0]};
        tasks[i] = co_spawn(read_one, &readers[i]);
    }
    for (int i = 0; i < READERS; i++) {
        co_sleep(1);
        CHECK_INT(write(fds[1], &"abcde"[i], 1), 1);
    }
    CHECK_INT(co_gather_tasks(tasks, READERS), 0);
    for (int i = 0; i < READERS; i++)
        trace("%c", readers[i].byte);
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void several_readers_get_a_byte_each(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_task(many_readers, (&(bool){own})), 0);
        for (int i = 0; i < 5; i++)
            assert_non_null(strchr(traced(), "abcde"[i]));
    }
}

/* The one that is woken first takes the byte and cancels the other, which is ready but has not run.
 */
struct rivals {
    int fd;
    co_task_t *second;
    int codes[2];
};

static int first_rival(void *arg)
{
    struct rivals *rivals = arg;
    char byte;
    rivals->codes[0] = (int)co_read(rivals->fd, &byte, 1);
    co_task_cancel(rivals->second);
    return 0;
}

static int second_rival(void *arg)
{
    struct rivals *rivals = arg;
    char byte;
    rivals->codes[1] = STARTED;
    rivals->codes[1] = (int)co_read(rivals->fd, &byte, 1);
    return 0;
}

static int cancel_the_woken(void *arg)
{
    int fds[2];
    open_pair(fds, *(bool *)arg);
    struct rivals rivals = {.fd = fds[0]};
    co_task_t *first = co_spawn(first_rival, &rivals);
    rivals.second = co_spawn(second_rival, &rivals);
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_await_task(first), 0);
    for (int i = 0; i < 10 && rivals.codes[1] == STARTED; i++)
        co_sleep(10);
    co_close(fds[0]); /* ends one that hangs */
    CHECK_INT(co_await_task(rivals.second), 0);
    CHECK_INT(rivals.codes[1], -ECANCELED);
    close(fds[1]);
    return 0;
}

static void a_reader_cancelled_after_it_was_woken_in_vain_ends(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_the_woken, (&(bool){true})), 0);
    assert_int_equal(run_task(cancel_the_woken, (&(bool){false})), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_closed_at_the_other_end_wakes_reader_and_writer),
        cmocka_unit_test(a_shutdown_by_either_end_wakes_readers),
        cmocka_unit_test(a_short_tcp_read_does_not_miss_the_end),
        cmocka_unit_test(a_pending_urgent_byte_neither_ends_nor_spins_a_read),
        cmocka_unit_test(a_pending_urgent_byte_does_not_make_a_socket_readable),
        cmocka_unit_test(an_urgent_byte_is_received_where_it_is_asked_for),
        cmocka_unit_test(bytes_behind_the_urgent_mark_are_read),
        cmocka_unit_test(a_reader_and_a_writer_wait_on_one_socket),
        cmocka_unit_test(several_readers_get_a_byte_each),
        cmocka_unit_test(a_reader_cancelled_after_it_was_woken_in_vain_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
